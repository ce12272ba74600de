"""The entries of a configuration file, and what applying it changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import SyncState

VERSION = 1  # of the file's format


def fail_at(line: int, text: str) -> InvalidRequest:
    """Return the error that line of the file is wrong."""
    return InvalidRequest(f"Line {line}: {text}")


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """A WebEngage account of the file."""

    license_code: str
    data_center: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class ProjectEntry:
    """A Mixpanel project of the file; ``account`` is where its new exports go, ``name`` is for those who read it."""

    id: int
    username: str
    region: str
    account: str | None = None
    name: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class GuardEntry:
    """The guard of a sync; ``limits`` holds those the file names, by their names in `GuardLimits`."""

    lifted: bool | None = None
    limits: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncEntry(ExportTerms):
    """A sync of the file and its terms. None: the file does not say, so it stays as it is; ``name`` is for readers.

    ``resume_at`` is the end of its pause, so ``state`` is paused.
    """

    project: int
    cohort: int
    name: str | None = None
    resume_at: float | None = None
    state: SyncState | None = None
    guard: GuardEntry = field(default_factory=GuardEntry)
    line: int = 0


@dataclass(frozen=True, slots=True)
class NeverExportEntry:
    """A CSV file of people who are never exported to an account."""

    account: str
    file: str
    note: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class TripwireEntry:
    """A CSV file of people who must not be in a cohort, or with None in any of the project."""

    project: int
    file: str
    cohort: int | None = None
    note: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything a file says."""

    accounts: tuple[AccountEntry, ...] = ()
    projects: tuple[ProjectEntry, ...] = ()
    syncs: tuple[SyncEntry, ...] = ()
    never_export: tuple[NeverExportEntry, ...] = ()
    tripwires: tuple[TripwireEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One change that applying a file makes, and the line that asks for it."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ConfigPlan:
    """The changes of a file in their order, and what it leaves as it is."""

    changes: tuple[ConfigChange, ...]
    notes: tuple[str, ...] = ()
