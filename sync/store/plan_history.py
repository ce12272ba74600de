"""Read what earlier runs of a sync planned and read, by which guards judge the next one."""

from __future__ import annotations

from collections.abc import Iterable

from sync.guards import PlanNumbers, Reading
from sync.packing import ID_SIZE
from sync.store.database import Table

# An earlier success makes a run a refresh, unless everything was cleared and a person exports again.
_IS_FIRST = """
    not exists (
        select 1
        from run as earlier
        where earlier.sync_id = run.sync_id and earlier.id < run.id
            and earlier.state = 'succeeded' and earlier.purpose <> 'clear'
    ) or (run.size_before = 0 and run.purpose = 'export')
"""


class PlanHistory(Table):
    """The numbers of planned runs."""

    def is_first(self, run_id: int, size: int) -> bool:
        """Return whether a run that finds ``size`` people exported is a first export, which its preview is for."""
        return bool(
            self._fetch_value(
                f"select {_IS_FIRST.replace('run.size_before', '?1')} from run where id = ?2", (size, run_id)
            )
        )

    def former_reading(self, sync_id: int) -> Reading | None:
        """Return what the last successful run of a sync read, or None when that is not known."""
        row = self._fetch_one(
            """
            select identified, members_read
            from run
            where sync_id = ? and state = 'succeeded' and purpose <> 'clear'
            order by id desc
            limit 1
            """,
            (sync_id,),
        )
        return Reading(row[0], row[1]) if row and row[1] is not None else None

    def list_numbers(self, sync_id: int, limit: int) -> tuple[PlanNumbers, ...]:
        """Return the numbers of the last runs of a sync that were planned, newest first."""
        rows = self._fetch_all(
            f"""
            select entered, exited - removed_by_list as removed, size_before, identified, members_read,
                {_IS_FIRST} as is_first
            from run
            where sync_id = ? and size_before is not null and purpose <> 'clear'
            order by id desc
            limit ?
            """,
            (sync_id, limit),
        )
        return tuple(
            PlanNumbers(
                added=row["entered"],
                removed=row["removed"],
                size=row["size_before"],
                reading=Reading(row["identified"], row["members_read"] or row["identified"]),
                is_first=bool(row["is_first"]),
            )
            for row in rows
        )

    def tripped(self, run_id: int) -> frozenset[bytes]:
        """Return the id hashes of the tripwires that a run's plan found."""
        found = self._fetch_value("select tripped from run where id = ?", (run_id,)) or b""
        return frozenset(found[at : at + ID_SIZE] for at in range(0, len(found), ID_SIZE))


def join_hashes(id_hashes: Iterable[bytes]) -> bytes | None:
    """Return id hashes as a run stores them; None when there are none."""
    return b"".join(sorted(id_hashes)) or None
