"""Decisions about runs: who asked and approved, above how many people a second person has to, and what came too late."""

from __future__ import annotations

from sync.model import Run
from sync.records import Decision
from sync.store.database import Table, read_row
from sync.store.plan_history import PlanHistory


class Approvals(Table):
    """The limit, and what the audit log says about runs."""

    def get_limit(self) -> int | None:
        """Return above how many people an export needs another person's approval; None: never."""
        found = self._fetch_value("select value from setting where name = 'second_person_above'")
        return None if found is None else int(found)

    def set_limit(self, people: int | None) -> None:
        """Set above how many people an export needs another person's approval; None: never."""
        if people is None:
            self._execute("delete from setting where name = 'second_person_above'")
            return
        self._write_setting("second_person_above", str(people))

    def is_asked_for(self, run: Run) -> bool:
        """Return whether somebody asked for what a run sends.

        Nobody did for a refresh, but for one after a take-back, and for one that a person started of a sync without a
        schedule: that moves nothing forward.
        """
        if run.purpose in ("export", "undo") or run.request or self._list_starters(run.id):
            return True
        return PlanHistory(self._db).find_undone(run.sync_id, run.id) is not None

    def list_askers(self, run_id: int) -> frozenset[str]:
        """Return who asked for what a run sends; of a run that goes on with an earlier request, who asked for that.

        A take-back was asked for by itself.
        """
        starters = self._list_starters(run_id)
        if starters:
            return starters
        rows = self._fetch_all(
            """
            with asked as (
                select actor, run_id
                from audit
                where action in ('export', 'dry run', 'change')
            )
            select actor
            from asked
            where run_id = (
                select max(asked.run_id)
                from asked
                join run as other on other.id = asked.run_id
                join run on run.sync_id = other.sync_id
                where run.id = ?1 and run.undoes is null and asked.run_id <= run.id
            )
            union
            select actor
            from audit
            where action = 'undo' and run_id = ?1
            """,
            (run_id,),
        )
        return frozenset(row[0] for row in rows)

    def _list_starters(self, run_id: int) -> frozenset[str]:
        """Return who started a run of a sync that nothing refreshes, if it goes on with no earlier request."""
        rows = self._fetch_all(
            """
            select distinct actor
            from audit
            join run on run.id = audit.run_id
            join sync on sync.id = run.sync_id
            where run.id = ? and request is null
                and action in ('refresh', 'retry', 'resync', 'resume')
                and (sync.mode <> 'dynamic' or sync.state = 'finished')
            """,
            (run_id,),
        )
        return frozenset(row[0] for row in rows)

    def find_last_time(self, run_id: int) -> float | None:
        """Return when somebody approved a run last, None when nobody did."""
        found = self._fetch_value("select max(at) from audit where action = 'approve' and run_id = ?", (run_id,))
        return None if found is None else float(found)

    def find_last_halt(self, sync_id: int | None) -> int:
        """Return which line of the audit log last stopped, paused, cancelled or took back something of a sync, 0 for none."""
        return self._fetch_int(
            """
            select ifnull(max(id), 0)
            from audit
            where (action in ('stop', 'stop and clear', 'pause') and target = 'sync ' || ?1)
                or (action in ('cancel', 'undo') and run_id in (select id from run where sync_id = ?1))
            """,
            (sync_id,),
        )

    def list_too_late(self, now: float) -> frozenset[int]:
        """Return the held refreshes that were due before the end of their sync, which has come; not what a person asked for."""
        rows = self._fetch_all(
            """
            select run.id
            from run
            join sync on sync.id = run.sync_id
            where finished_at is null and run.state = 'held' and purpose = 'refresh' and request is null
                and not cancel_requested and queued_at < ends_at and ends_at <= ?
            """,
            (now,),
        )
        return frozenset(row[0] for row in rows)

    def has_second_person(self, run_id: int) -> bool:
        """Return whether somebody approved a run who did not ask for it."""
        rows = self._fetch_all("select distinct actor from audit where action = 'approve' and run_id = ?", (run_id,))
        return bool({row[0] for row in rows} - self.list_askers(run_id))

    def find_request(self, sync_id: int, up_to_run: int) -> Decision | None:
        """Return who last asked for an export or for other terms, in a run up to this one, by the audit log."""
        return self._find_decision(
            """
            select audit.run_id, actor, at
            from audit
            join run on run.id = audit.run_id
            where sync_id = ? and run.id <= ? and action in ('export', 'dry run', 'change')
            order by audit.id desc
            limit 1
            """,
            sync_id,
            up_to_run,
        )

    def find_approval(self, sync_id: int, up_to_run: int) -> Decision | None:
        """Return who last approved a run, up to this one, that sent something or succeeded, by the audit log."""
        return self._find_decision(
            """
            select audit.run_id, actor, at
            from audit
            join run on run.id = audit.run_id
            where sync_id = ? and run.id <= ? and action = 'approve'
                and (state = 'succeeded' or delivered + unconfirmed > 0)
            order by audit.id desc
            limit 1
            """,
            sync_id,
            up_to_run,
        )

    def _find_decision(self, sql: str, sync_id: int, up_to_run: int) -> Decision | None:
        row = self._fetch_one(sql, (sync_id, up_to_run))
        return read_row(Decision, row) if row else None
