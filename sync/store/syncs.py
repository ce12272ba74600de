"""Syncs: one per cohort, each with an attribute of its own in its WebEngage account."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from sync.errors import Refused
from sync.model import Mode, Run, Sync, SyncState, next_beat
from sync.store.database import Row, Table, immediate
from sync.store.runs import Runs
from sync.views import SyncView

_COLUMNS = (
    "id, project_id, cohort_id, cohort_name, license_code, attribute, mode, state, reason, every, anchor, "
    "next_run_at, last_run as last_run_id, guard, mapping"
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for when exporting a cohort."""

    project_id: int
    cohort_id: int
    cohort_name: str
    license_code: str
    attribute: str
    mode: Mode
    every: float | None
    mapping: tuple[tuple[str, str], ...] | None = None


def sync_of(row: Row) -> Sync:
    """Make a Sync of a row."""
    values = dict(zip(row.keys(), tuple(row), strict=True))
    values |= {"mode": Mode(values["mode"]), "state": SyncState(values["state"]), "guard": bool(values["guard"])}
    values["mapping"] = tuple((str(a), str(b)) for a, b in json.loads(values["mapping"]))
    return Sync(**values)


class Syncs(Table):
    """The standing wishes."""

    def save(self, wish: Wish, now: float) -> int:
        """Make the cohort's sync, or make the existing one what was asked; its attribute stays.

        The first export fixes the attribute, since WebEngage cannot rename one. Refused when
        another cohort of the account already has it.
        """
        mapping = None if wish.mapping is None else json.dumps(wish.mapping)
        values = (
            wish.project_id,
            wish.cohort_id,
            wish.cohort_name,
            wish.license_code,
            wish.attribute,
            wish.mode.value,
            wish.every,
            now,
            now + wish.every if wish.every else None,
            mapping or "[]",
            mapping,
        )
        try:
            with immediate(self._plain):
                row = self._one(
                    "insert into sync (project_id, cohort_id, cohort_name, license_code, attribute, mode, state, every, "
                    "anchor, next_run_at, mapping) values (?1, ?2, ?3, ?4, ?5, ?6, 'active', ?7, ?8, ?9, ?10) "
                    "on conflict (project_id, cohort_id) do update set mode = excluded.mode, state = 'active', "
                    "reason = null, every = excluded.every, anchor = excluded.anchor, "
                    "next_run_at = excluded.next_run_at, mapping = coalesce(?11, mapping) returning id",
                    values,
                )
        except sqlite3.IntegrityError as taken:
            raise Refused(
                f"“{wish.attribute}” already belongs to another cohort of this WebEngage account; choose another name.",
                "attribute",
            ) from taken
        assert row is not None  # both branches of the upsert return the row
        return int(row["id"])

    def get(self, sync_id: int) -> Sync | None:
        """One sync, or None."""
        row = self._one(f"select {_COLUMNS} from sync where id = ?", (sync_id,))
        return sync_of(row) if row else None

    def of_cohort(self, project_id: int, cohort_id: int) -> Sync | None:
        """The sync of a cohort, or None."""
        row = self._one(f"select {_COLUMNS} from sync where project_id = ? and cohort_id = ?", (project_id, cohort_id))
        return sync_of(row) if row else None

    def taken(self, license_code: str, besides: int | None = None) -> frozenset[str]:
        """The attributes of an account that belong to cohorts other than ``besides``."""
        rows = self._all("select attribute from sync where license_code = ? and id is not ?", (license_code, besides))
        return frozenset(row[0] for row in rows)

    def views(
        self, project_id: int | None = None, license_code: str | None = None, sync_id: int | None = None
    ) -> tuple[SyncView, ...]:
        """Syncs as people see them, newest first."""
        rows = self._all(
            f"select {_COLUMNS}, size from sync where (?1 is null or project_id = ?1) "
            "and (?2 is null or license_code = ?2) and (?3 is null or id = ?3) order by id desc",
            (project_id, license_code, sync_id),
        )
        runs = Runs(self._plain)
        if sync_id is not None:
            return tuple(self._view(row, runs.get(row["last_run_id"] or 0)) for row in rows)
        lasts = runs.lasts(project_id, license_code)
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
            row["reason"],
            row["every"],
            row["next_run_at"],
            row["size"],
            last,
        )

    def due(self, now: float) -> tuple[Sync, ...]:
        """Dynamic syncs whose beat has come, or lies so far ahead that the clock was set back."""
        rows = self._all(
            f"select {_COLUMNS} from sync where state = 'active' and mode = 'dynamic' "
            "and (next_run_at <= ?1 or next_run_at > ?1 + every)",
            (now,),
        )
        return tuple(sync_of(row) for row in rows)

    def beat(self, sync: Sync, now: float) -> None:
        """Move a sync to its first beat after now; missed ones merge into the run just queued."""
        if sync.every:
            self._do(
                "update sync set next_run_at = ? where id = ? and next_run_at is not null",
                (next_beat(sync.anchor, sync.every, now), sync.id),
            )

    def pause(self, sync_id: int, reason: str) -> bool:
        """Stop refreshing until a person resumes, with the reason; False when finished."""
        return bool(
            self._do(
                "update sync set state = 'paused', reason = ? where id = ? and state <> 'finished'", (reason, sync_id)
            )
        )

    def resume(self, sync: Sync, now: float) -> None:
        """Go on refreshing, on the beats the sync always had."""
        with immediate(self._plain):
            self._plain.execute(
                "update sync set state = 'active', reason = null where id = ? and state = 'paused'", (sync.id,)
            )
            self.beat(sync, now)

    def end(self, sync_id: int) -> None:
        """Never refresh again."""
        self._do("update sync set state = 'finished', reason = null, next_run_at = null where id = ?", (sync_id,))

    def set_interval(self, sync_id: int, every: float, now: float) -> None:
        """Refresh a dynamic sync this often from now on."""
        self._do(
            "update sync set every = ?, anchor = ?, next_run_at = ? where id = ? and mode = 'dynamic' "
            "and state <> 'finished'",
            (every, now, now + every, sync_id),
        )

    def lift_guard(self, sync_id: int) -> None:
        """Never hold this sync for the number of people who leave."""
        self._do("update sync set guard = 0 where id = ?", (sync_id,))

    def renamed(self, sync_id: int, name: str) -> None:
        """Follow a cohort's new name; the attribute keeps its own."""
        self._do("update sync set cohort_name = ? where id = ?", (name, sync_id))
