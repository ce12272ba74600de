"""The terms a person exports a cohort on, as pages, commands and configuration files give them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync.cadence import DailyTime
from sync.model import Mode
from sync.property_values import Forms
from sync.steps import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTerms:
    """Terms a person asks for; what is left out stays as it is, or gets its default."""

    mode: Mode
    attribute: str | None = None
    """The WebEngage attribute; None: the sync's own, or one suggested from the cohort's name."""
    interval: float | None = None
    """Seconds between two refreshes of a dynamic sync; None: two hours."""
    daily: DailyTime | None = None
    """The time of day it is refreshed at, instead of an interval."""
    ends_at: float | None = None
    """When it is refreshed no more, seconds since 1970; None: never."""
    mapping: tuple[tuple[str, str], ...] | None = None
    """Pairs of a profile property and a WebEngage attribute; None: as chosen before."""
    id_property: str | None = None
    """The profile property that is the User ID, empty for the distinct_id; None: as chosen before."""
    forms: Forms = ()
    """How the values of mapped attributes are written; of others as before."""
    license_code: str | None = None
    """The account the person was shown; None: whichever it is."""
    last_halt: int | None = None
    """The last stop, pause, cancel or take-back the person was shown, by its line of the audit log; None: that of now."""
    previewed: int | None = None
    """How many identified people the person was shown; None: those of the last preview, if it is still shown."""
    dry_run: bool = False
    """Plan, and send nothing before somebody approves."""
    steps: Steps | None = None
    """What is sent before the rest; the run is held after each step."""
    chosen: Iterable[str] = ()
    """The user ids the first step is for."""
