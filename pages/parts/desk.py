"""Where the pages open the service: the one place that says who asks."""

from __future__ import annotations

import os

from pages.parts.door import person
from sync.service import Service


def open_service() -> Service:
    """Open the service for one look or one click, in the name of whoever sits here."""
    return Service.open(os.environ, person())
