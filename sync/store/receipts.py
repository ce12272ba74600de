"""Find what a receipt of a cohort names: the last run that read it, and who decided about its runs."""

from __future__ import annotations

from collections.abc import Sequence

from sync.records import Decision
from sync.store.database import Table


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

    def find_decision(self, sync_id: int, actions: Sequence[str]) -> Decision | None:
        """Return who last took one of these actions on a run of a sync, by the audit log."""
        row = self._fetch_one(
            f"""
            select run_id, actor, at
            from audit
            where run_id in (select id from run where sync_id = ?)
                and action in ({", ".join("?" * len(actions))})
            order by audit.id desc
            limit 1
            """,
            (sync_id, *actions),
        )
        return Decision(**dict(row)) if row else None
