"""Requests for exports that no plan went ahead with yet; they stay with their runs, also with those that ended."""

from __future__ import annotations

import json
from dataclasses import asdict

from sync.cadence import DailyTime
from sync.store.database import Table

# A cohort that was cleared is as one that was never exported.
_SINCE_CLEAR = "id > ifnull((select max(id) from run where sync_id = ?1 and purpose = 'clear'), 0)"
# A request is taken off its run when its plan goes ahead, in steps with the last one.
_GONE_AHEAD = f"""
    exists (
        select 1
        from run
        where sync_id = ?1 and planned and request is null and purpose not in ('clear', 'undo') and {_SINCE_CLEAR}
    )
"""
# The run whose request, purpose, dryness and steps the next one goes on with: the last one, if it failed before its
# plan. While nothing of a cohort went ahead, the last one that was asked for: whatever sends this cohort then is
# that export, with all that holds it; and a dry run, if a plan was there that nobody approved for everybody.
LEFT_OPEN = f"""
    iif(
        {_GONE_AHEAD},
        (
            select run.id
            from sync
            join run on run.id = last_run_id
            where sync.id = ?1 and run.state = 'failed' and not planned and run.purpose not in ('clear', 'undo')
        ),
        (select max(id) from run where sync_id = ?1 and request is not null and {_SINCE_CLEAR})
    )
"""


def last_asked(sync: str) -> str:
    """Return as SQL the request of the last run of a sync, while no plan went ahead for everybody since it was cleared.

    Its own terms are those of a sync that nobody let go ahead yet. Null when the last plan took its request off.
    """
    return f"""
        (
            select asked.request
            from run as asked
            where asked.id = (
                select id
                from run
                where sync_id = {sync} and purpose not in ('clear', 'undo')
                    and (request is not null or planned or state = 'succeeded')
                order by id desc
                limit 1
            ) and asked.request is not null and not exists (
                select 1
                from run as ahead
                where ahead.sync_id = {sync} and ahead.planned and ahead.request is null
                    and ahead.purpose not in ('clear', 'undo')
                    and ahead.id > ifnull((select max(id) from run where sync_id = {sync} and purpose = 'clear'), 0)
            )
        )
    """


class OpenRequests(Table):
    """The requests that wait for their plan to go ahead."""

    def has_gone_ahead(self, sync_id: int) -> bool:
        """Return whether any plan of a sync went ahead, for everybody in it, since it was cleared if it was."""
        return bool(self._fetch_value(f"select {_GONE_AHEAD}", (sync_id,)))

    def find_last_asked(self, sync_id: int) -> str | None:
        """Return what was asked for last of a sync of which nothing went ahead, as its run holds it; None otherwise."""
        found = self._fetch_value(f"select {last_asked('?1')}", (sync_id,))
        return None if found is None else str(found)

    def set_cadence(
        self, sync_id: int, interval_seconds: float, daily: DailyTime | None, ends_at: float | None
    ) -> None:
        """Change when a sync is refreshed in the request that its next run goes on with, if there is one."""
        self._execute(
            f"""
            update run
            set request = json_set(request, '$.interval_seconds', ?2, '$.daily', json(?3), '$.ends_at', json(?4))
            where id = {LEFT_OPEN} and request is not null
            """,
            (sync_id, interval_seconds, json.dumps(asdict(daily) if daily else None), json.dumps(ends_at)),
        )
