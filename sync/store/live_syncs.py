"""Keep, when a backup is restored, the syncs it does not have, and whatever holds a sync back in the database it replaces.

WebEngage cannot go back to the time of the backup: people of a cohort first exported later stay true there, and a sync
that was stopped or changed later would send again what a person took out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from sync.errors import InvalidRequest
from sync.records import RestoreReport
from sync.store.attributes import Attributes
from sync.store.database import Row
from sync.store.plan_history import PlanHistory
from sync.store.snapshot import Snapshot

IDENTITY = ("project_id", "cohort_id", "license_code", "attribute")  # what a sync is for
NOT_REFRESHED = "It was not refreshed any more when a backup was restored. Check it, then resume."
CHANGED = (
    "Its properties or its User ID property were changed after the backup that was restored, and are those of the backup "
    "again. Check them, then resume."
)
NOT_IN_BACKUP = "It was first exported after the backup that was restored, and is as it was. Check it, then resume."
_OF_SYNC = ("event", "rejection", "snapshot_bucket", "attribute_owner")
_OF_RUN = ("batch", "batch_block", "delivery_log")


@dataclass(frozen=True, slots=True)
class LiveSyncs:
    """The syncs of the database that is replaced: ``common`` have a number in the backup, ``kept`` are brought into it."""

    common: Mapping[int, int]
    kept: tuple[int, ...]


def match_syncs(live: sqlite3.Connection, copy: sqlite3.Connection, *, same_salt: bool) -> LiveSyncs:
    """Return which syncs of the live database the backup has, and which can be kept besides.

    Raise InvalidRequest when one cannot be kept for which WebEngage has people as true: nobody would know them.
    """
    wanted = f"select id, {', '.join(IDENTITY)} from sync order by id"
    known = {tuple(row)[1:]: row[0] for row in copy.execute(wanted)}
    mine = {row[0]: tuple(row)[1:] for row in live.execute(wanted)}
    common = {one: known[identity] for one, identity in mine.items() if same_salt and identity in known}
    unknown = tuple(one for one in mine if one not in common)
    kept = tuple(one for one in unknown if same_salt and _has_room(live, copy, one))
    lost = [one for one in unknown if one not in kept and _may_hold_people(live, one)]
    if lost:
        names = ", ".join(f"“{_name_cohort(live, one)}”" for one in lost)
        raise InvalidRequest(
            f"The backup is of another database, or this one went on without it, so the people of {names} who are true in "
            "WebEngage could not be kept; clear what is named first, or restore into an empty data folder. Nothing was "
            "changed."
        )
    return LiveSyncs(common, kept)


def keep_unknown_syncs(live: sqlite3.Connection, copy: sqlite3.Connection, syncs: LiveSyncs) -> None:
    """Bring the syncs that the backup does not have into it, with their runs, people and connections."""
    for sync_id in syncs.kept:
        sync = _read(live, sync_id)
        _copy_rows(live, copy, "webengage_account", "license_code = ?", sync["license_code"])
        _copy_rows(
            live,
            copy,
            "webengage_account",
            "license_code = (select license_code from mixpanel_project where id = ?)",
            sync["project_id"],
        )
        _copy_rows(live, copy, "mixpanel_project", "id = ?", sync["project_id"])
        for table, column in (("sync", "id"), ("run", "sync_id"), *((table, "sync_id") for table in _OF_SYNC)):
            _copy_rows(live, copy, table, f"{column} = ?", sync_id)
        for table in _OF_RUN:
            _copy_rows(live, copy, table, "run_id in (select id from run where sync_id = ?)", sync_id)


def keep_restarts(live: sqlite3.Connection, copy: sqlite3.Connection, syncs: LiveSyncs) -> None:
    """Keep the exports that made a sync go on and that no run completed: who cancels their rest has it paused then."""
    for sync_id, number in syncs.common.items():
        restart = live.execute("select max(id) from run where sync_id = ? and restarted", (sync_id,)).fetchone()[0]
        # Where nothing is completed in the backup either, a cancel ends the schedule anyway.
        if restart is None or PlanHistory(live).is_completed(sync_id) or not PlanHistory(copy).is_completed(number):
            continue
        # A run that the backup has under way is ended by the restore, and so completes nothing either.
        marked = copy.execute(
            "update run set restarted = 1 where sync_id = ? and finished_at is null returning id", (number,)
        ).fetchall()
        is_free = not copy.execute("select 1 from run where id = ?", (restart,)).fetchone()
        if not marked and is_free and sync_id == number:
            _copy_run(live, copy, restart)


def keep_attributes(live: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Keep which property each mapped attribute is for, and the data type it has in WebEngage for good."""
    copy.executemany(
        """
        insert into attribute_owner (license_code, folded, name, property, form, data_type)
        values (?, ?, ?, ?, ?, ?)
        on conflict do update set form = excluded.form, data_type = excluded.data_type
        where property = excluded.property and ifnull(data_type, 'unknown') = 'unknown' and excluded.data_type is not null
        """,
        live.execute(
            """
            select license_code, folded, name, property, form, data_type
            from attribute_owner
            where property is not null
            """
        ),
    )


def keep_what_holds(live: sqlite3.Connection, copy: sqlite3.Connection, syncs: LiveSyncs) -> RestoreReport:
    """Pause what a person has to look at, keep the stricter guards and the earlier ends, and return what was done."""
    _keep_second_person(live, copy)
    paused = []
    for sync_id, number in syncs.common.items():
        now, then = _read(live, sync_id), _read(copy, number)
        _keep_guard(copy, number, now)
        _keep_end(copy, number, now)
        if _hold_back(copy, number, now, then):
            paused.append(_name_cohort(copy, number))
    for sync_id in syncs.kept:
        kept = _read(copy, sync_id)
        if kept["mode"] == "dynamic" and kept["state"] == "active":
            _pause(copy, sync_id, NOT_IN_BACKUP, None)
            paused.append(_name_cohort(copy, sync_id))
    return RestoreReport(kept=tuple(_name_cohort(copy, one) for one in syncs.kept), paused=tuple(paused))


def _copy_run(live: sqlite3.Connection, copy: sqlite3.Connection, run_id: int) -> None:
    """Bring one run of a sync that both have, and whom it sent, into the backup; it is the last one of its sync there."""
    _copy_rows(live, copy, "run", "id = ?", run_id)
    for table in ("event", "rejection", *_OF_RUN):
        _copy_rows(live, copy, table, "run_id = ?", run_id)
    copy.execute("update sync set last_run_id = ?1 where id = (select sync_id from run where id = ?1)", (run_id,))


def _has_room(live: sqlite3.Connection, copy: sqlite3.Connection, sync_id: int) -> bool:
    """Return whether neither the cohort, the attribute nor a number of a sync is something else in the backup."""
    sync = _read(live, sync_id)
    taken = copy.execute(
        """
        select exists (
            select 1
            from sync
            where id = ?1 or (project_id = ?2 and cohort_id = ?3)
        )
        """,
        (sync_id, sync["project_id"], sync["cohort_id"]),
    ).fetchone()[0]
    taken = taken or Attributes(copy).find_owner(sync["license_code"], sync["attribute"])
    runs = live.execute("select id from run where sync_id = ?", (sync_id,)).fetchall()
    return not taken and not any(copy.execute("select 1 from run where id = ?", run).fetchone() for run in runs)


def _may_hold_people(live: sqlite3.Connection, sync_id: int) -> bool:
    """Return whether WebEngage has, or may have, somebody as true for a sync."""
    is_sending = live.execute(
        """
        select exists (
            select 1
            from batch
            join run on run.id = run_id
            where sync_id = ? and finished_at is null and batch.state <> 'pending'
        )
        """,
        (sync_id,),
    ).fetchone()[0]
    return bool(is_sending or Snapshot(live).count_members(sync_id))


def _read(db: sqlite3.Connection, sync_id: int) -> Row:
    found: Row = db.execute("select * from sync where id = ?", (sync_id,)).fetchone()
    return found


def _name_cohort(db: sqlite3.Connection, sync_id: int) -> str:
    """Return the name of a sync's cohort; where several projects have a sync, with the project's name or number."""
    found = db.execute(
        """
        select cohort_name || iif(
            (select count(distinct project_id) from sync) > 1,
            ' (' || ifnull(nullif(mixpanel_project.name, ''), 'project ' || project_id) || ')',
            ''
        )
        from sync
        left join mixpanel_project on mixpanel_project.id = project_id
        where sync.id = ?
        """,
        (sync_id,),
    )
    return str(found.fetchone()[0])


def _copy_rows(live: sqlite3.Connection, copy: sqlite3.Connection, table: str, where: str, value: object) -> None:
    """Copy rows that are not there yet; those of the history get numbers of their own."""
    stored = [row[1] for row in live.execute(f"pragma table_info({table})")]  # not what is computed from them
    names = ", ".join(name for name in stored if (table, name) != ("event", "id"))
    places = ", ".join("?" * len(names.split(",")))
    rows = live.execute(f"select {names} from {table} where {where}", (value,))
    copy.executemany(f"insert or ignore into {table} ({names}) values ({places})", rows)


def _hold_back(copy: sqlite3.Connection, number: int, now: Row, then: Row) -> bool:
    """Pause a sync of the backup that would be refreshed, when it is held back now or is another one now."""
    if then["mode"] != "dynamic" or then["state"] == "finished" or _is_paused_for_good(then):
        return False
    if now["state"] == "paused":
        _pause(copy, number, now["pause_reason"], now["resume_at"])
    elif now["state"] == "finished" or now["mode"] != "dynamic":
        _pause(copy, number, NOT_REFRESHED, None)
    elif (now["mapping"], now["id_property"]) != (then["mapping"], then["id_property"]):
        _pause(copy, number, CHANGED, None)
    else:
        return False
    return True


def _is_paused_for_good(sync: Row) -> bool:
    return bool(sync["state"] == "paused" and sync["resume_at"] is None)


def _pause(copy: sqlite3.Connection, number: int, reason: str, resume_at: float | None) -> None:
    copy.execute(
        "update sync set state = 'paused', pause_reason = ?, resume_at = ? where id = ?", (reason, resume_at, number)
    )


def _keep_guard(copy: sqlite3.Connection, number: int, now: Row) -> None:
    """Let the guard of a sync be on when it is on in either database, with the lower one of each limit."""
    copy.execute(
        """
        update sync
        set guard_enabled = max(guard_enabled, :guard_enabled),
            guard_add_share = min(guard_add_share, :guard_add_share),
            guard_add_people = min(guard_add_people, :guard_add_people),
            guard_remove_share = min(guard_remove_share, :guard_remove_share),
            guard_remove_people = min(guard_remove_people, :guard_remove_people)
        where id = :number
        """,
        {**now, "number": number},
    )


def _keep_end(copy: sqlite3.Connection, number: int, now: Row) -> None:
    """Let a sync end at the earlier one of both ends; one that is over now is paused, for a person to look at."""
    if now["state"] != "finished":
        copy.execute(
            "update sync set ends_at = min(?1, ifnull(ends_at, ?1)) where id = ?2 and mode = 'dynamic' and ?1 is not null",
            (now["ends_at"], number),
        )


def _keep_second_person(live: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Let exports need a second person above the lower one of both limits; a database without a limit has none."""
    copy.executemany(
        """
        insert into setting (name, value)
        values ('second_person_above', ?)
        on conflict (name) do update set value = min(cast(value as integer), cast(excluded.value as integer))
        """,
        live.execute("select value from setting where name = 'second_person_above'"),
    )
