"""Define what a person asks for when they export a cohort: in full for a new sync, as a change of one on its run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from sync.cadence import DailyTime
from sync.model import Mode, Sync, SyncState


@dataclass(frozen=True, slots=True)
class Request:
    """A change a person asked of a sync; it stays with its run until the plan goes ahead.

    ``mapping`` and ``id_property`` None: as it is; ``id_property`` empty: the distinct_id is the User ID.

    ``previewed``: the identified people of the preview the person saw, None when there was none. ``forms``: how the
    values of the mapping are written.
    """

    mode: Mode
    interval_seconds: float | None
    mapping: tuple[tuple[str, str], ...] | None = None
    previewed: int | None = None
    forms: tuple[tuple[str, str], ...] = ()
    daily: DailyTime | None = None
    ends_at: float | None = None
    id_property: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Request | None:
        """Return the request that a run holds as text."""
        if text is None:
            return None
        values = json.loads(text)
        mapping = values["mapping"]
        return cls(
            mode=Mode(values["mode"]),
            interval_seconds=values["interval_seconds"],
            mapping=None if mapping is None else tuple((a, b) for a, b in mapping),
            previewed=values.get("previewed"),
            forms=tuple((a, b) for a, b in values.get("forms", ())),
            daily=DailyTime(**values["daily"]) if values.get("daily") else None,
            ends_at=values.get("ends_at"),
            id_property=values.get("id_property"),
        )

    def dump(self) -> str:
        """Return a request as the text that a run holds."""
        return json.dumps(asdict(self))

    def apply(self, sync: Sync) -> Sync:
        """Return a sync as it will be once it took the request over."""
        mapping = sync.mapping if self.mapping is None else self.mapping
        active = replace(sync, state=SyncState.ACTIVE, pause_reason=None, resume_at=None)
        timed = replace(active, interval_seconds=self.interval_seconds, daily=self.daily, ends_at=self.ends_at)
        if self.id_property is not None:
            timed = replace(timed, id_property=self.id_property)
        return replace(timed, mode=self.mode, mapping=mapping, forms=sync.forms if self.mapping is None else self.forms)

    @property
    def terms(self) -> tuple[object, ...]:
        """Return what may change while a run is under way."""
        return self.mode, self.interval_seconds, self.daily, self.ends_at


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The export a person asked for: of which cohort, where to, and on which terms."""

    project_id: int
    cohort_id: int
    cohort_name: str
    license_code: str
    attribute: str
    terms: Request
