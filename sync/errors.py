"""The errors of Cohort Sync, one class for each answer to "who must act?".

Every error's text is one plain sentence for a person: what was asked, what was answered, what to
do. It never contains a secret or a profile value.
"""

from __future__ import annotations

CHECK_API_KEY = "check the API key"
CHECK_SERVICE_ACCOUNT = "check the service account's username, secret and data residency"


class CohortSyncError(Exception):
    """The base of all errors raised on purpose; the text is meant for people."""


class InvalidRequest(CohortSyncError):
    """The request cannot be done as it was made; the person must change it."""

    def __init__(self, message: str, field: str = "") -> None:
        """Keep the message, and the name of the form field it belongs to (empty: none)."""
        super().__init__(message)
        self.field = field


class DatabaseUnusable(InvalidRequest):
    """The database file is missing, damaged or cannot be opened; `restore` may put a backup in its place."""


class DatabaseReplaced(InvalidRequest):
    """The database file was moved or replaced under a running process: it must stop."""


class ApiError(CohortSyncError):
    """Mixpanel or WebEngage did not do what was asked."""


class RetryLater(ApiError):
    """The same request may succeed later (a limit, a 5xx, a lost reply): retry, then postpone the run.

    ``seconds`` is how long the API asked us to wait, or None when it named no time.
    ``limit`` names the limit that was hit: "hourly", "concurrent", "minute", "unnamed" when the answer
    did not say which, or "" when none was.
    """

    def __init__(self, message: str, seconds: float | None = None, limit: str = "") -> None:
        super().__init__(message)
        self.seconds = seconds
        self.limit = limit


class NoAnswer(RetryLater):
    """The request was sent and we stopped waiting for its answer: the API may still be working on it."""


class ConfigurationError(ApiError):
    """A person must correct a setting (401, 403, 404): the run fails and its sync pauses."""


class BatchRejected(ApiError):
    """WebEngage rejected the content of a batch (400, 413, 422): halve it until each bad member is alone."""


class SessionExpired(ApiError):
    """Mixpanel no longer knows the session of the pages: start again at page 0."""


class UnexpectedResponse(ApiError):
    """A reply the documentation does not describe; it is never treated as an empty result."""


class ReplyTooLarge(UnexpectedResponse):
    """A reply larger than is read into memory; ask for less."""


class LeaseLost(CohortSyncError):
    """Another runner holds the lease of this run now: stop writing at once."""


class KeyUnavailable(InvalidRequest):
    """The key of the stored secrets is missing, or another key sealed them."""
