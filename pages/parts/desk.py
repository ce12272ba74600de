"""Where the pages open the service: the one place that says who asks, and what they are offered."""

from __future__ import annotations

import os

from pages.parts.door import person
from sync.access import Grade
from sync.redaction import guard_logs
from sync.service import Service


def open_service() -> Service:
    """Open the service for one look or one click, in the name of whoever sits here."""
    guard_logs("streamlit")
    return Service.open(os.environ, person())


def may(grade: Grade) -> bool:
    """Whether to offer what needs this grade; the service refuses it anyway."""
    return person().grade >= grade
