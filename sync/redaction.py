"""Keep secrets and addresses out of every log line, whoever wrote it, tracebacks included."""

from __future__ import annotations

import logging
import re

SHORTEST = 6  # characters; a shorter secret would blank harmless words
_ADDRESS = re.compile(r"[^\s@<>\"'=:,;/?&]+@[^\s@<>\"',;/?&]+\.\w+")
_SECRET_LIKE = re.compile(r"\b(?:Basic|Bearer)\s+\S+|[A-Za-z0-9+/_-]{40,}={0,2}")
_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Never let this secret pass from now on."""
    if len(secret) >= SHORTEST:
        _hidden.add(secret)


def redacted(text: str) -> str:
    """A text without the secrets we know, without what looks like one, and without e-mail addresses."""
    for secret in _hidden:
        text = text.replace(secret, "…")
    return _SECRET_LIKE.sub("…", _ADDRESS.sub("…@…", text))


class Redacting(logging.Formatter):
    """Formats with another formatter and redacts the outcome, tracebacks included."""

    def __init__(self, inner: logging.Formatter) -> None:
        """Redact what ``inner`` writes."""
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Write a record without secrets."""
        return redacted(self._inner.format(record))


def guard_logs(*names: str) -> None:
    """Redact what the root logger's handlers write, and those of the named loggers; again is harmless."""
    for logger in (logging.getLogger(), *(logging.getLogger(name) for name in names)):
        for handler in logger.handlers:
            if not isinstance(handler.formatter, Redacting):
                handler.setFormatter(Redacting(handler.formatter or logging.Formatter()))
