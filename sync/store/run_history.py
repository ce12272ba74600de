"""Look back on runs: which read a cohort or changed people last, and how many there were, each answered from an index."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sync.model import Run
from sync.records import HourCount
from sync.store.database import Table, read_row
from sync.store.run_lists import RUN_COLUMNS, run_from_row


class RunHistory(Table):
    """Runs that ended."""

    def list_sizes(self, sync_id: int, limit: int) -> tuple[int, ...]:
        """Return how many people were in WebEngage after each of the last successful runs, newest first."""
        rows = self._fetch_all(
            """
            select id
            from run
            where sync_id = ? and state = 'succeeded'
            order by id desc
            limit ?
            """,
            (sync_id, limit),
        )
        sizes = self._read_sizes(row["id"] for row in rows)
        return tuple(sizes[row["id"]] for row in rows)

    def _read_sizes(self, run_ids: Iterable[int]) -> dict[int, int]:
        """Return how many people were in WebEngage after each of these runs, which succeeded.

        Who was rejected is there, or not, as before. Runs of earlier versions did not note how many were there before;
        rejections that are no longer kept count as if they had been accepted.
        """
        rows = self._fetch_all(
            """
            select id,
                iif(
                    size_before is null, max(0, unchanged + entered + updated - rejected),
                    size_before + entered - exited + iif(rejected = 0, 0, (
                        select ifnull(sum(iif(kind = 'remove', 1, iif(kind = 'add' and not may_be_sent, -1, 0))), 0)
                        from rejection
                        where run_id = run.id and outcome = 'rejected'
                    ))
                ) as people
            from run
            where id in (select value from json_each(?))
            """,
            (json.dumps(list(run_ids)),),
        )
        return {row["id"]: int(row["people"]) for row in rows}

    def list_failures(self, now: float) -> dict[int, str]:
        """Return why the last run that ended failed, by sync, also while the next one is under way.

        Of a finished sync no refresh follows, so this is the only sign of an export, a first step or a take-back that
        failed: until a person stops it. A failed clear says itself what to do, and the end of a sync is one a person
        chose beforehand.
        """
        rows = self._fetch_all(
            """
            select sync.id, run.error
            from sync
            join run on run.id = (
                select id
                from run
                where sync_id = sync.id and finished_at is not null
                order by id desc
                limit 1
            )
            where run.state = 'failed' and (
                sync.state <> 'finished'
                or run.purpose <> 'clear' and not run.cancel_requested
                    and not ifnull(sync.ends_at > run.queued_at and sync.ends_at <= ?, 0)
                    and not exists (
                        select 1
                        from audit
                        where action in ('stop', 'stop and clear') and target = 'sync ' || sync.id
                            and at >= run.finished_at
                    )
            )
            """,
            (now,),
        )
        return {row["id"]: row["error"] for row in rows}

    def count_by_hour(self, project_id: int | None, now: float, hours: int) -> dict[int, HourCount]:
        """Return how the runs of the last ``hours`` ended, by how many full hours ago; an hour without any is left out."""
        rows = self._fetch_all(
            """
            select cast((:now - finished_at) / 3600 as integer) as ago,
                sum(run.state = 'succeeded') as succeeded, sum(run.state = 'failed') as failed,
                sum(run.state = 'cancelled') as cancelled,
                sum(iif(run.state = 'succeeded', entered, 0)) as added,
                sum(iif(run.state = 'succeeded', exited, 0)) as removed,
                sum(iif(run.state = 'succeeded', 0, delivered + unconfirmed)) as sent_half_way
            from run
            join sync on sync.id = run.sync_id
            where finished_at > :now - 3600.0 * :hours and finished_at <= :now
                and (:project is null or project_id = :project)
            group by ago
            """,
            {"now": now, "hours": hours, "project": project_id},
        )
        return {row["ago"]: read_row(HourCount, row) for row in rows}

    def list_daily_sizes(self, project_id: int | None, now: float, days: int) -> tuple[int, ...]:
        """Return how many people were in WebEngage so many days ago, by the last run that succeeded until then, oldest first.

        An index answers each day of each sync, so it costs the same however many runs there are.
        """
        rows = self._fetch_all(
            """
            with recursive day (ago) as (select 0 union all select ago + 1 from day where ago < :days - 1)
            select ago, (
                select run.id
                from run
                where run.sync_id = sync.id and state = 'succeeded' and finished_at <= :now - 86400.0 * ago
                order by finished_at desc
                limit 1
            ) as run_id
            from day
            join sync on :project is null or project_id = :project
            """,
            {"now": now, "days": days, "project": project_id},
        )
        lasts = [(row["ago"], row["run_id"]) for row in rows if row["run_id"] is not None]
        sizes, counts = self._read_sizes({run_id for _, run_id in lasts}), [0] * days
        for ago, run_id in lasts:
            counts[days - 1 - ago] += sizes[run_id]
        return tuple(counts)

    def list_later(self, sync_id: int, run_id: int) -> tuple[Run, ...]:
        """Return the runs of a sync after this one that changed people, and its last one; the newest first, three at most."""
        rows = self._fetch_all(
            f"""
            select {RUN_COLUMNS}
            from run
            where sync_id = ?1 and id > ?2
                and (delivered + unconfirmed > 0 or id = (select last_run_id from sync where id = ?1))
            order by id desc
            limit 3
            """,
            (sync_id, run_id),
        )
        return tuple(run_from_row(row) for row in rows)
