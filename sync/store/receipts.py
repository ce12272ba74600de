"""Find what a receipt of a cohort names: the last run that read it, and who decided about its runs."""

from __future__ import annotations

from sync.records import Decision
from sync.store.database import Table, read_row


class Receipts(Table):
    """The runs and decisions behind the numbers of a sync."""

    def find_last_reading(self, sync_id: int) -> int | None:
        """Return the last run of a sync that succeeded and read its cohort, None when there is none."""
        found = self._fetch_value(
            """
            select max(id)
            from run
            where sync_id = ? and state = 'succeeded' and purpose not in ('clear', 'undo')
            """,
            (sync_id,),
        )
        return None if found is None else int(found)

    def list_later(self, sync_id: int, run_id: int) -> list[int]:
        """Return the runs of a sync after this one that changed people, and its last one; the newest first, three at most."""
        rows = self._fetch_all(
            """
            select run.id
            from run
            join sync on sync.id = sync_id
            where sync_id = ? and run.id > ? and (delivered + unconfirmed > 0 or run.id = last_run_id)
            order by run.id desc
            limit 3
            """,
            (sync_id, run_id),
        )
        return [row[0] for row in rows]

    def find_last_change(self, sync_id: int, run_id: int) -> int | None:
        """Return the last run of a sync after this one that has ended and changed people, None when none has."""
        found = self._fetch_value(
            """
            select max(id)
            from run
            where sync_id = ? and id > ? and delivered + unconfirmed > 0 and finished_at is not null
            """,
            (sync_id, run_id),
        )
        return None if found is None else int(found)

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
