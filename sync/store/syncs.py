"""Syncs: one per cohort, each with an attribute of its own in its WebEngage account."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from sync.errors import InvalidRequest
from sync.guards import GuardLimits
from sync.model import Mode, Run, Sync, SyncState, next_scheduled_at
from sync.records import SyncView
from sync.store.database import Row, Table, write_transaction
from sync.store.runs import Runs

_COLUMNS = (
    "id, project_id, cohort_id, cohort_name, license_code, attribute, mode, state, pause_reason, interval_seconds, "
    "schedule_anchor, "
    "next_run_at, last_run_id, guard_enabled, guard_add_share, guard_add_people, guard_remove_share, "
    "guard_remove_people, mapping, "
    # How the values of mapped attributes are written belongs to the attribute, whichever sync sends it.
    "(select json_group_array(json_array(name, form)) from (select owner.name, owner.form "
    "from json_each(sync.mapping) as pair join attribute_owner as owner on owner.name = pair.value ->> 1 "
    "where owner.license_code = sync.license_code and owner.form is not null order by pair.key)) as forms"
)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The export a person asked for."""

    project_id: int
    cohort_id: int
    cohort_name: str
    license_code: str
    attribute: str
    mode: Mode
    interval_seconds: float | None
    mapping: tuple[tuple[str, str], ...] | None = None
    forms: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A change a person asked of a sync; it stays with its run until the plan goes ahead. ``mapping`` None: as it is.

    ``previewed``: the identified people of the preview the person saw, None when there was none. ``forms``: how the
    values of the mapping are written.
    """

    mode: Mode
    interval_seconds: float | None
    mapping: tuple[tuple[str, str], ...] | None = None
    previewed: int | None = None
    forms: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Request | None:
        """Return the request that a run holds as text."""
        if text is None:
            return None
        values = json.loads(text)
        mapping = values["mapping"]
        return cls(
            Mode(values["mode"]),
            values["interval_seconds"],
            None if mapping is None else tuple((a, b) for a, b in mapping),
            values.get("previewed"),
            tuple((a, b) for a, b in values.get("forms", ())),
        )

    def dump(self) -> str:
        """Return a request as the text that a run holds."""
        return json.dumps(asdict(self))

    def apply(self, sync: Sync) -> Sync:
        """Return a sync as it will be once it took the request over."""
        mapping = sync.mapping if self.mapping is None else self.mapping
        active = replace(sync, state=SyncState.ACTIVE, pause_reason=None)
        forms = sync.forms if self.mapping is None else self.forms
        return replace(active, mode=self.mode, interval_seconds=self.interval_seconds, mapping=mapping, forms=forms)


def sync_from_row(row: Row) -> Sync:
    """Make a Sync of a row."""
    values = dict(zip(row.keys(), tuple(row), strict=True))
    values |= {
        "mode": Mode(values["mode"]),
        "state": SyncState(values["state"]),
        "guard_enabled": bool(values["guard_enabled"]),
        "limits": GuardLimits(**{name: values.pop(f"guard_{name}") for name in GuardLimits.__slots__}),
    }
    values |= {name: tuple((str(a), str(b)) for a, b in json.loads(values[name])) for name in ("mapping", "forms")}
    return Sync(**values)


class Syncs(Table):
    """The standing requests."""

    def create(self, request: ExportRequest, now: float, *, active: bool) -> int:
        """Make a cohort's sync; its attribute is permanent, since WebEngage cannot rename one.

        Not ``active``: nothing is repeated before somebody approves. InvalidRequest when another cohort of the
        account already has the attribute.
        """
        mode, interval_seconds = (request.mode, request.interval_seconds) if active else (Mode.ONE_TIME, None)
        values = {
            "project_id": request.project_id,
            "cohort_id": request.cohort_id,
            "cohort_name": request.cohort_name,
            "license_code": request.license_code,
            "attribute": request.attribute,
            "mode": mode.value,
            "state": "active" if active else "finished",
            "interval_seconds": interval_seconds,
            "schedule_anchor": now,
            "next_run_at": now + interval_seconds if interval_seconds else None,
            "mapping": json.dumps(request.mapping or []) if active else "[]",
        }
        try:
            with write_transaction(self._db):
                row = self._fetch_one(
                    """
                    insert into sync (project_id, cohort_id, cohort_name, license_code, attribute, mode, state,
                      interval_seconds, schedule_anchor, next_run_at, mapping)
                    values (:project_id, :cohort_id, :cohort_name, :license_code, :attribute, :mode, :state,
                      :interval_seconds, :schedule_anchor, :next_run_at, :mapping)
                    returning id
                    """,
                    values,
                )
        except sqlite3.IntegrityError as taken:
            raise InvalidRequest(
                f"“{request.attribute}” already belongs to another cohort of this WebEngage account; choose another name.",
                "attribute",
            ) from taken
        assert row is not None  # an insert returns its row
        return int(row["id"])

    def take_over(self, sync_id: int, request: Request, now: float) -> None:
        """Make a sync what was asked, since the plan goes ahead; its beat begins now unless it stays the same."""
        mapping = None if request.mapping is None else json.dumps(request.mapping)
        self._execute(
            """
            update sync set mode = ?1, state = 'active', pause_reason = null, mapping = coalesce(?4, mapping),
            schedule_anchor = iif(interval_seconds is ?2 and next_run_at is not null, schedule_anchor, ?3),
            next_run_at = iif(interval_seconds is ?2 and next_run_at is not null, next_run_at, ?3 + ?2),
            interval_seconds = ?2 where id = ?5
            """,
            (request.mode.value, request.interval_seconds, now, mapping, sync_id),
        )

    def get_sync(self, sync_id: int) -> Sync | None:
        """One sync, or None."""
        row = self._fetch_one(f"select {_COLUMNS} from sync where id = ?", (sync_id,))
        return sync_from_row(row) if row else None

    def get_sync_of_cohort(self, project_id: int, cohort_id: int) -> Sync | None:
        """Return the sync of a cohort, or None."""
        row = self._fetch_one(
            f"select {_COLUMNS} from sync where project_id = ? and cohort_id = ?", (project_id, cohort_id)
        )
        return sync_from_row(row) if row else None

    def list_views(
        self, project_id: int | None = None, license_code: str | None = None, sync_id: int | None = None
    ) -> tuple[SyncView, ...]:
        """Return syncs as people see them, newest first."""
        rows = self._fetch_all(
            f"""
            select {_COLUMNS}, size from sync where (?1 is null or project_id = ?1)
            and (?2 is null or license_code = ?2) and (?3 is null or id = ?3) order by id desc
            """,
            (project_id, license_code, sync_id),
        )
        runs = Runs(self._db)
        if sync_id is not None:
            return tuple(self._view(row, runs.get_run(row["last_run_id"] or 0)) for row in rows)
        lasts = runs.latest_by_sync(project_id, license_code)
        return tuple(self._view(row, lasts.get(row["last_run_id"] or 0)) for row in rows)

    def _view(self, row: Row, last: Run | None) -> SyncView:
        return SyncView(
            row["id"],
            row["project_id"],
            row["cohort_id"],
            row["cohort_name"],
            row["license_code"],
            row["attribute"],
            Mode(row["mode"]),
            SyncState(row["state"]),
            row["pause_reason"],
            row["interval_seconds"],
            row["next_run_at"],
            row["size"],
            last,
        )

    def with_failed_run(self) -> frozenset[int]:
        """Return the syncs whose last run that ended failed, also while the next one is under way."""
        rows = self._fetch_all(
            """
            select id from sync where (select state from run where sync_id = sync.id and finished_at is not null
            order by id desc limit 1) = 'failed'
            """
        )
        return frozenset(row[0] for row in rows)

    def accounts_of(self, run_ids: Iterable[int]) -> list[str]:
        """Return the account of each of these runs."""
        rows = self._fetch_all(
            """
            select license_code from run join sync on sync.id = run.sync_id
            where run.id in (select value from json_each(?))
            """,
            (json.dumps(list(run_ids)),),
        )
        return [row[0] for row in rows]

    def list_due(self, now: float) -> tuple[Sync, ...]:
        """Dynamic syncs whose beat has come, or lies so far ahead that the clock was set back."""
        rows = self._fetch_all(
            f"""
            select {_COLUMNS} from sync where state = 'active' and mode = 'dynamic'
            and (next_run_at <= ?1 or next_run_at > ?1 + interval_seconds)
            """,
            (now,),
        )
        return tuple(sync_from_row(row) for row in rows)

    def advance_schedule(self, sync: Sync, now: float) -> None:
        """Move a sync to its first beat after now; missed ones merge into the run just queued."""
        if sync.interval_seconds:
            self._execute(
                "update sync set next_run_at = ? where id = ? and next_run_at is not null",
                (next_scheduled_at(sync.schedule_anchor, sync.interval_seconds, now), sync.id),
            )

    def pause_sync(self, sync_id: int, reason: str) -> bool:
        """Stop refreshing until a person resumes, with the reason; False when finished."""
        return bool(
            self._execute(
                "update sync set state = 'paused', pause_reason = ? where id = ? and state <> 'finished'",
                (reason, sync_id),
            )
        )

    def resume_sync(self, sync: Sync, now: float) -> None:
        """Go on refreshing, on the beats the sync always had."""
        with write_transaction(self._db):
            self._db.execute(
                "update sync set state = 'active', pause_reason = null where id = ? and state = 'paused'", (sync.id,)
            )
            self.advance_schedule(sync, now)

    def finish_sync(self, sync_id: int) -> None:
        """Never refresh again."""
        self._execute(
            "update sync set state = 'finished', pause_reason = null, next_run_at = null where id = ?", (sync_id,)
        )

    def set_interval(self, sync_id: int, interval_seconds: float, now: float) -> None:
        """Refresh a dynamic sync this often from now on."""
        self._execute(
            """
            update sync set interval_seconds = ?, schedule_anchor = ?, next_run_at = ? where id = ? and mode = 'dynamic'
            and state <> 'finished'
            """,
            (interval_seconds, now, now + interval_seconds, sync_id),
        )

    def set_guard(self, sync_id: int, on: bool) -> None:
        """Hold this sync when a run exceeds its limits, or never; nobody read at all is always held."""
        self._execute("update sync set guard_enabled = ? where id = ?", (int(on), sync_id))

    def set_limits(self, sync_id: int, limits: GuardLimits) -> None:
        """Set from how many people on a run of this sync is held."""
        self._execute(
            """
            update sync
            set guard_add_share = :add_share, guard_add_people = :add_people,
                guard_remove_share = :remove_share, guard_remove_people = :remove_people
            where id = :id
            """,
            asdict(limits) | {"id": sync_id},
        )

    def rename_cohort(self, sync_id: int, name: str) -> None:
        """Follow a cohort's new name; the attribute keeps its own."""
        self._execute("update sync set cohort_name = ? where id = ?", (name, sync_id))
