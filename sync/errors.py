"""What can go wrong, sorted by who must act.

Every error's text is one plain sentence for a person: what was asked, what was answered, what to
do. It never carries a secret or a profile value.
"""

from __future__ import annotations


class CohortSyncError(Exception):
    """Anything Cohort Sync refuses or fails at; its text is meant for people."""


class InvalidRequest(CohortSyncError):
    """What was asked cannot be done as asked; the person changes the request."""

    def __init__(self, message: str, field: str = "") -> None:
        """Say why, and which field of the form it belongs to (empty: none in particular)."""
        super().__init__(message)
        self.field = field


class DatabaseUnusable(InvalidRequest):
    """The database file is missing, damaged or cannot be opened; `restore` may put a backup in its place."""


class DatabaseReplaced(InvalidRequest):
    """The database file was moved or replaced under a running process: it must stop."""


class ApiError(CohortSyncError):
    """One of the two APIs did not give what was asked of it."""


class RetryLater(ApiError):
    """Time alone may mend it (a limit, a 5xx, a lost reply): try again, then put it off.

    ``seconds`` is how long the other side asked us to wait, or None when it did not say.
    ``limit`` names the limit that was hit: "hourly", "concurrent", "minute", "unnamed" when the answer
    did not say which, or "" when none was.
    """

    def __init__(self, message: str, seconds: float | None = None, limit: str = "") -> None:
        """Keep what the other side said about waiting."""
        super().__init__(message)
        self.seconds = seconds
        self.limit = limit


class NoAnswer(RetryLater):
    """The request was sent and we stopped waiting for its answer: the other side may still be working on it."""


class ConfigurationError(ApiError):
    """A person must mend a setting (401, 403, 404): the run fails and its sync pauses."""


class BatchRejected(ApiError):
    """WebEngage refused the content of a batch (400, 413, 422): halve it until the bad stand alone."""


class SessionExpired(ApiError):
    """Mixpanel no longer knows the paging session: start again at page 0."""


class UnexpectedResponse(ApiError):
    """A reply that is not what the documentation says; never taken for an empty result."""


class ReplyTooLarge(UnexpectedResponse):
    """A reply larger than is read into memory; ask for less."""


class LeaseLost(CohortSyncError):
    """Another runner holds this run now: stop writing at once."""


class KeyUnavailable(InvalidRequest):
    """The key that opens the stored secrets is missing or another one."""
