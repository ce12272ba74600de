"""The ways a run stops short of its end, and how long a failing call is tried."""

from __future__ import annotations


class CancelRequested(Exception):
    """A person asked to end the run."""


class ShutdownRequested(Exception):
    """The runner is asked to stop: leave the run to go on later."""


class RunPostponed(Exception):
    """The run has to wait longer than it is worth holding: ``seconds``, and why."""

    def __init__(self, seconds: float, reason: str) -> None:
        """Say how long and why."""
        super().__init__(reason)
        self.seconds = seconds
        self.reason = reason
