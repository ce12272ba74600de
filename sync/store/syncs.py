"""Syncs: one per cohort, each with an attribute of its own in its WebEngage account."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict

from sync.cadence import DailyTime
from sync.errors import InvalidRequest
from sync.guards import GuardLimits
from sync.model import Mode, Sync, SyncState
from sync.records import SyncView
from sync.store.database import Row, Table, read_row, write_transaction
from sync.store.export_requests import ExportRequest, Request
from sync.store.open_requests import OpenRequests
from sync.store.runs import Runs

_COLUMNS = (
    # How the values of mapped attributes are written belongs to the attribute, whichever sync sends it.
    "*, (select json_group_array(json_array(name, form)) from (select owner.name, owner.form "
    "from json_each(sync.mapping) as pair join attribute_owner as owner on owner.name = pair.value ->> 1 "
    "where owner.license_code = sync.license_code and owner.form is not null order by pair.key)) as forms"
)
CLOCK_STEP_SECONDS = 3600.0  # a clock that goes back so much after a time of day, or less, does not repeat it


def sync_from_row(row: Row) -> Sync:
    """Make a Sync of a row."""
    pairs = {name: tuple((str(a), str(b)) for a, b in json.loads(row[name])) for name in ("mapping", "forms")}
    return read_row(
        Sync,
        row,
        mode=Mode(row["mode"]),
        state=SyncState(row["state"]),
        limits=GuardLimits(**{name: row[f"guard_{name}"] for name in GuardLimits.__slots__}),
        daily=_daily_from_row(row),
        **pairs,
    )


def _daily_values(daily: DailyTime | None) -> dict[str, str | None]:
    return {
        "daily_at": daily.at if daily else None,
        "daily_zone": daily.zone if daily else None,
        "daily_days": daily.days if daily else None,
    }


def _first_run_at(interval_seconds: float | None, daily: DailyTime | None, now: float) -> float | None:
    if daily is not None:
        return daily.find_next(now)
    return None if interval_seconds is None else now + interval_seconds


def _find_schedule(before: Sync, request: Request, now: float) -> tuple[float, float | None]:
    """Return since when a sync is refreshed, and when next, once it took a request over."""
    if before.next_run_at is None or (before.interval_seconds, before.daily) != (
        request.interval_seconds,
        request.daily,
    ):
        return now, _first_run_at(request.interval_seconds, request.daily, now)
    is_paused = before.state is SyncState.PAUSED
    return before.schedule_anchor, before.find_next_run(now) if is_paused else before.next_run_at


def _is_time_due(sync: Sync, now: float) -> bool:
    """Return whether something is to be done for a sync whose time is over, or a day or more ahead.

    Over a weekend, for instance, a time of day lies far ahead and is right. One that comes after the next such time is
    left by a clock that was ahead. A zone that is not known here needs a person.
    """
    times = (sync.next_run_at, sync.resume_at, sync.ends_at)
    if sync.daily is None or sync.next_run_at is None or any(one is not None and one <= now for one in times):
        return True
    try:
        return sync.next_run_at > sync.daily.find_next(now + CLOCK_STEP_SECONDS)
    except ValueError:
        return True


def _daily_from_row(row: Row) -> DailyTime | None:
    return DailyTime(row["daily_at"], row["daily_zone"], row["daily_days"]) if row["daily_at"] else None


class Syncs(Table):
    """The standing requests."""

    def create(self, request: ExportRequest, now: float, *, active: bool) -> int:
        """Make a cohort's sync; its attribute is permanent, since WebEngage cannot rename one.

        Not ``active``: nothing is repeated before somebody approves. Raise InvalidRequest when another cohort of the
        account already has the attribute.
        """
        terms = request.terms if active else Request(mode=Mode.ONE_TIME, interval_seconds=None)
        values = {
            "project_id": request.project_id,
            "cohort_id": request.cohort_id,
            "cohort_name": request.cohort_name,
            "license_code": request.license_code,
            "attribute": request.attribute,
            "mode": terms.mode.value,
            "state": "active" if active else "finished",
            "interval_seconds": terms.interval_seconds,
            "schedule_anchor": now,
            "next_run_at": _first_run_at(terms.interval_seconds, terms.daily, now),
            "ends_at": terms.ends_at,
            **_daily_values(terms.daily),
            "mapping": json.dumps(terms.mapping or []),
            "id_property": terms.id_property or "",
        }
        try:
            with write_transaction(self._db):
                return self._fetch_int(
                    """
                    insert into sync (project_id, cohort_id, cohort_name, license_code, attribute, mode, state,
                      interval_seconds, schedule_anchor, next_run_at, mapping, daily_at, daily_zone, daily_days, ends_at,
                      id_property)
                    values (:project_id, :cohort_id, :cohort_name, :license_code, :attribute, :mode, :state,
                      :interval_seconds, :schedule_anchor, :next_run_at, :mapping,
                      :daily_at, :daily_zone, :daily_days, :ends_at, :id_property)
                    returning id
                    """,
                    values,
                )
        except sqlite3.IntegrityError as taken:
            raise InvalidRequest(
                f"“{request.attribute}” already belongs to another cohort of this WebEngage account; choose another name.",
                "attribute",
            ) from taken

    def take_over(self, sync_id: int, request: Request, now: float) -> None:
        """Make a sync what was asked, since the plan goes ahead; its schedule begins now unless it stays the same.

        One whose end came meanwhile is finished; one that was paused is due at its next time, not at those missed. That
        it was not active is kept with the run under way.
        """
        before = self.get_sync(sync_id)
        assert before is not None  # its run names it
        anchor, next_run = _find_schedule(before, request, now)
        values = {
            "id": sync_id,
            "mode": request.mode.value,
            "interval": request.interval_seconds,
            "now": now,
            "anchor": anchor,
            "next": next_run,
            "mapping": None if request.mapping is None else json.dumps(request.mapping),
            "ends_at": request.ends_at,
            "id_property": request.id_property,
            **_daily_values(request.daily),
        }
        self._execute(
            """
            update sync
            set mode = :mode, state = iif(:ends_at <= :now, 'finished', 'active'), pause_reason = null, resume_at = null,
                mapping = coalesce(:mapping, mapping), id_property = coalesce(:id_property, id_property),
                schedule_anchor = :anchor, next_run_at = iif(:ends_at <= :now, null, :next),
                interval_seconds = :interval, daily_at = :daily_at, daily_zone = :daily_zone,
                daily_days = :daily_days, ends_at = :ends_at
            where id = :id
            """,
            values,
        )
        if before.state is not SyncState.ACTIVE:
            self._execute("update run set restarted = 1 where sync_id = ? and finished_at is null", (sync_id,))

    def get_sync(self, sync_id: int) -> Sync | None:
        """Return one sync, or None."""
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
        rows = self._list_rows(project_id, license_code, sync_id)
        asked = OpenRequests(self._db).list_last_asked(row["id"] for row in rows if row["state"] == "finished")
        lasts = Runs(self._db).latest_by_sync(project_id, license_code, sync_id)
        return tuple(
            read_row(
                SyncView,
                row,
                mode=Mode(row["mode"]),
                state=SyncState(row["state"]),
                next_run_at=row["next_refresh_at"],
                last_run=lasts.get(row["last_run_id"] or 0),
                daily=_daily_from_row(row),
                requested_mode=Mode(json.loads(asked[row["id"]])["mode"] if row["id"] in asked else row["mode"]),
            )
            for row in rows
        )

    def _list_rows(self, project_id: int | None, license_code: str | None, sync_id: int | None) -> list[Row]:
        """Return syncs, newest first, with what each was asked to do last, and did last where nobody is in WebEngage.

        A take-back counts as asked for when it sent something, a refresh when it got as far as a plan.
        """
        return self._fetch_all(
            f"""
            select {_COLUMNS},
                state = 'finished' and 'clear' is (
                    select purpose
                    from run
                    where sync_id = sync.id and (
                        purpose = 'clear' or (purpose = 'undo' and delivered > 0)
                        or (purpose not in ('clear', 'undo') and (request is not null or planned or state = 'succeeded'))
                    )
                    order by id desc
                    limit 1
                ) as is_cleared,
                iif(size = 0, (
                    select purpose
                    from run
                    where sync_id = sync.id and run.state = 'succeeded'
                    order by id desc
                    limit 1
                ), null) as last_success
            from sync
            where (?1 is null or project_id = ?1) and (?2 is null or license_code = ?2) and (?3 is null or id = ?3)
            order by id desc
            """,
            (project_id, license_code, sync_id),
        )

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
        """Return dynamic syncs whose time, end of pause or end has come, or whose time lies too far ahead: a clock was set back.

        A refresh waits until a run that is being cancelled has ended.
        """
        rows = self._fetch_all(
            f"""
            select {_COLUMNS} from sync where mode = 'dynamic' and state <> 'finished'
            and (ends_at <= ?1 or resume_at <= ?1 or (state = 'active' and
              (next_run_at <= ?1 or next_run_at > ?1 + iif(daily_at is null, interval_seconds, 86400))
              and not exists (select 1 from run where sync_id = sync.id and finished_at is null and cancel_requested)))
            """,
            (now,),
        )
        return tuple(one for one in map(sync_from_row, rows) if _is_time_due(one, now))

    def advance_schedule(self, sync: Sync, now: float) -> None:
        """Move a sync to its first time after now; missed ones merge into the run just queued."""
        next_run = sync.find_next_run(now)
        if next_run is not None:
            self._execute(
                "update sync set next_run_at = ? where id = ? and next_run_at is not null", (next_run, sync.id)
            )

    def pause_sync(self, sync_id: int, reason: str, resume_at: float | None = None) -> bool:
        """Stop refreshing until a person resumes, or until a time, with the reason; return False when it is finished."""
        return bool(
            self._execute(
                """
                update sync set state = 'paused', pause_reason = ?, resume_at = ?
                where id = ? and state <> 'finished'
                """,
                (reason, resume_at, sync_id),
            )
        )

    def resume_sync(self, sync: Sync, now: float, *, due_now: bool = False) -> None:
        """Go on refreshing, at the times the sync always had; with ``due_now`` once more as soon as that can be."""
        self._execute(
            """
            update sync set state = 'active', pause_reason = null, resume_at = null, next_run_at = ?
            where id = ? and state = 'paused'
            """,
            (now if due_now else sync.find_next_run(now), sync.id),
        )

    def finish_sync(self, sync_id: int) -> None:
        """Never refresh again."""
        self._execute(
            """
            update sync set state = 'finished', pause_reason = null, resume_at = null, next_run_at = null where id = ?
            """,
            (sync_id,),
        )

    def set_cadence(
        self, sync_id: int, interval_seconds: float, daily: DailyTime | None, ends_at: float | None, now: float
    ) -> None:
        """Refresh a dynamic sync at this time of day, or with None this often, from now on."""
        values = {"id": sync_id, "interval": interval_seconds, "now": now, "ends_at": ends_at, **_daily_values(daily)}
        self._execute(
            """
            update sync
            set interval_seconds = :interval, schedule_anchor = :now, next_run_at = :next, ends_at = :ends_at,
                daily_at = :daily_at, daily_zone = :daily_zone, daily_days = :daily_days
            where id = :id and mode = 'dynamic' and state <> 'finished'
            """,
            values | {"next": _first_run_at(interval_seconds, daily, now)},
        )

    def set_id_property(self, sync_id: int, id_property: str) -> None:
        """Make a profile property the User ID from now on; empty: the distinct_id."""
        self._execute("update sync set id_property = ? where id = ?", (id_property, sync_id))

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
