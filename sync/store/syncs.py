"""Syncs: one per cohort, each with an attribute of its own in its WebEngage account."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from sync.errors import InvalidRequest
from sync.model import Mode, Run, Sync, SyncState, next_scheduled_at
from sync.store.database import Row, Table, write_transaction
from sync.store.runs import Runs
from sync.views import SyncView

_COLUMNS = (
    "id, project_id, cohort_id, cohort_name, license_code, attribute, mode, state, pause_reason, interval_seconds, "
    "schedule_anchor, "
    "next_run_at, last_run_id, guard_enabled, mapping"
)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What a person asked for when exporting a cohort."""

    project_id: int
    cohort_id: int
    cohort_name: str
    license_code: str
    attribute: str
    mode: Mode
    interval_seconds: float | None
    mapping: tuple[tuple[str, str], ...] | None = None


def sync_from_row(row: Row) -> Sync:
    """Make a Sync of a row."""
    values = dict(zip(row.keys(), tuple(row), strict=True))
    values |= {
        "mode": Mode(values["mode"]),
        "state": SyncState(values["state"]),
        "guard_enabled": bool(values["guard_enabled"]),
    }
    values["mapping"] = tuple((str(a), str(b)) for a, b in json.loads(values["mapping"]))
    return Sync(**values)


class Syncs(Table):
    """The standing wishes."""

    def save_sync(self, request: ExportRequest, now: float) -> int:
        """Make the cohort's sync, or make the existing one what was asked; its attribute stays.

        The first export fixes the attribute, since WebEngage cannot rename one. InvalidRequest when
        another cohort of the account already has it.
        """
        mapping = None if request.mapping is None else json.dumps(request.mapping)
        values = (
            request.project_id,
            request.cohort_id,
            request.cohort_name,
            request.license_code,
            request.attribute,
            request.mode.value,
            request.interval_seconds,
            now,
            now + request.interval_seconds if request.interval_seconds else None,
            mapping or "[]",
            mapping,
        )
        try:
            with write_transaction(self._db):
                row = self._fetch_one(
                    "insert into sync (project_id, cohort_id, cohort_name, license_code, attribute, mode, state, "
                    "interval_seconds, "
                    "schedule_anchor, next_run_at, mapping) values (?1, ?2, ?3, ?4, ?5, ?6, 'active', ?7, ?8, ?9, ?10) "
                    "on conflict (project_id, cohort_id) do update set mode = excluded.mode, state = 'active', "
                    "pause_reason = null, interval_seconds = excluded.interval_seconds, schedule_anchor = "
                    "excluded.schedule_anchor, "
                    "next_run_at = excluded.next_run_at, mapping = coalesce(?11, mapping) returning id",
                    values,
                )
        except sqlite3.IntegrityError as taken:
            raise InvalidRequest(
                f"“{request.attribute}” already belongs to another cohort of this WebEngage account; choose another name.",
                "attribute",
            ) from taken
        assert row is not None  # both branches of the upsert return the row
        return int(row["id"])

    def get_sync(self, sync_id: int) -> Sync | None:
        """One sync, or None."""
        row = self._fetch_one(f"select {_COLUMNS} from sync where id = ?", (sync_id,))
        return sync_from_row(row) if row else None

    def get_sync_of_cohort(self, project_id: int, cohort_id: int) -> Sync | None:
        """The sync of a cohort, or None."""
        row = self._fetch_one(
            f"select {_COLUMNS} from sync where project_id = ? and cohort_id = ?", (project_id, cohort_id)
        )
        return sync_from_row(row) if row else None

    def taken_attributes(self, license_code: str, besides: int | None = None) -> frozenset[str]:
        """The attributes of an account that belong to cohorts other than ``besides``."""
        rows = self._fetch_all(
            "select attribute from sync where license_code = ? and id is not ?", (license_code, besides)
        )
        return frozenset(row[0] for row in rows)

    def list_views(
        self, project_id: int | None = None, license_code: str | None = None, sync_id: int | None = None
    ) -> tuple[SyncView, ...]:
        """Syncs as people see them, newest first."""
        rows = self._fetch_all(
            f"select {_COLUMNS}, size from sync where (?1 is null or project_id = ?1) "
            "and (?2 is null or license_code = ?2) and (?3 is null or id = ?3) order by id desc",
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

    def list_due(self, now: float) -> tuple[Sync, ...]:
        """Dynamic syncs whose beat has come, or lies so far ahead that the clock was set back."""
        rows = self._fetch_all(
            f"select {_COLUMNS} from sync where state = 'active' and mode = 'dynamic' "
            "and (next_run_at <= ?1 or next_run_at > ?1 + interval_seconds)",
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
            "update sync set interval_seconds = ?, schedule_anchor = ?, next_run_at = ? where id = ? and mode = 'dynamic' "
            "and state <> 'finished'",
            (interval_seconds, now, now + interval_seconds, sync_id),
        )

    def disable_guard(self, sync_id: int) -> None:
        """Never hold this sync for the number of people who leave."""
        self._execute("update sync set guard_enabled = 0 where id = ?", (sync_id,))

    def rename_cohort(self, sync_id: int, name: str) -> None:
        """Follow a cohort's new name; the attribute keeps its own."""
        self._execute("update sync set cohort_name = ? where id = ?", (name, sync_id))
