"""Requests for exports that no plan went ahead with yet; they stay with their runs, also with those that ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from sync.cadence import DailyTime
from sync.store.database import Table, write_transaction


class OpenRequests(Table):
    """The requests that wait for their plan to go ahead."""

    def has_gone_ahead(self, sync_id: int) -> bool:
        """Return whether any plan of a sync went ahead, for everybody in it, since it was cleared if it was.

        A request is taken off its run when its plan goes ahead, in steps with the last one.
        """
        return self._fetch_bool(
            """
                select exists (
                    select 1
                    from run
                    where sync_id = ?1 and planned and request is null and purpose <> 'undo'
                        and id > ifnull((select max(id) from run where sync_id = ?1 and purpose = 'clear'), 0)
                )
                """,
            (sync_id,),
        )

    def find_left_open(self, sync_id: int) -> int | None:
        """Return the run whose request, purpose, dryness and steps the next one goes on with, or None.

        The last one, if it failed before its plan. While nothing of a cohort went ahead since it was cleared, the last
        one that was asked for: whatever sends this cohort then is that export, with all that holds it; and a dry run,
        if a plan was there that nobody approved for everybody.
        """
        if self.has_gone_ahead(sync_id):
            sql = """
                select run.id
                from sync
                join run on run.id = last_run_id
                where sync.id = ? and run.state = 'failed' and not planned and run.purpose <> 'undo'
            """
        else:
            sql = """
                select max(id)
                from run
                where sync_id = ?1 and request is not null
                    and id > ifnull((select max(id) from run where sync_id = ?1 and purpose = 'clear'), 0)
            """
        found: int | None = self._fetch_value(sql, (sync_id,))
        return found

    def list_last_asked(self, sync_ids: Iterable[int]) -> dict[int, str]:
        """Return, by sync, the request of its last run, where no plan went ahead for everybody since it was cleared.

        Its own terms are those of a sync that nobody let go ahead yet. The last plan that did took its request off.
        """
        rows = self._fetch_all(
            """
            select sync.id as sync_id, request
            from sync
            join run on run.id = (
                select id
                from run
                where sync_id = sync.id and purpose not in ('clear', 'undo')
                    and (request is not null or planned or state = 'succeeded')
                order by id desc
                limit 1
            )
            where sync.id in (select value from json_each(?)) and request is not null
            """,
            (json.dumps(list(sync_ids)),),
        )
        return {row["sync_id"]: row["request"] for row in rows if not self.has_gone_ahead(row["sync_id"])}

    def set_cadence(
        self, sync_id: int, interval_seconds: float, daily: DailyTime | None, ends_at: float | None
    ) -> None:
        """Change when a sync is refreshed in each request that would set it back, unless that is a one-time export.

        That is the one its next run goes on with, and the one of a run under way whose plan did not go ahead yet.
        """
        with write_transaction(self._db):
            self._db.execute(
                """
                update run
                set request = json_set(request, '$.interval_seconds', ?2, '$.daily', json(?3), '$.ends_at', json(?4))
                where (id = ?1 or (sync_id = ?5 and finished_at is null)) and request ->> 'mode' = 'dynamic'
                """,
                (
                    self.find_left_open(sync_id),
                    interval_seconds,
                    json.dumps(asdict(daily) if daily else None),
                    json.dumps(ends_at),
                    sync_id,
                ),
            )
