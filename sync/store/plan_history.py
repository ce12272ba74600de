"""Read what earlier runs of a sync planned, read and sent: the next one is judged and planned by it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import chain

from sync.guards import PlanNumbers, Reading
from sync.model import Run
from sync.packing import ID_SIZE, hash_id, split_digests
from sync.store.database import Table
from sync.store.run_lists import RUN_COLUMNS, run_from_row

IN_PAIRS = bytes(ID_SIZE)  # stands before pairs of hashes: earlier versions stored only whom a plan left out


@dataclass(frozen=True, slots=True)
class UserIdBasis:
    """By which property people are known, empty: the distinct_id; the last run that read them by it, and since when.

    Zeros when none succeeded.
    """

    id_property: str
    run_id: int
    read_at: float


class PlanHistory(Table):
    """The numbers of planned runs."""

    def is_first(self, run: Run, size: int) -> bool:
        """Return whether a run that finds ``size`` people exported is a first export, which its preview is for.

        An earlier success makes it a refresh, unless everything was cleared and a person exports again.
        """
        return (size == 0 and run.purpose == "export") or self.find_last_reading(run.sync_id, run.id) is None

    def is_completed(self, sync_id: int) -> bool:
        """Return whether a run of a sync succeeded since it began to be refreshed, or since an export made it go on.

        After it was stopped, cleared, paused or at its end, an earlier success says nothing about whom the export that
        made it go on was to send.
        """
        return self._fetch_bool(
            """
                select exists (
                    select 1
                    from run
                    where sync_id = ?1 and state = 'succeeded' and purpose not in ('clear', 'undo') and id >= ifnull((
                        select max(id)
                        from run
                        where sync_id = ?1 and (restarted or purpose = 'clear')
                    ), 0)
                )
                """,
            (sync_id,),
        )

    def list_numbers(self, sync_id: int, limit: int) -> tuple[PlanNumbers, ...]:
        """Return the numbers of the last runs of a sync that were planned, newest first.

        Another User ID property adds and removes everybody; as for the guard, that is nobody added and nobody removed.
        """
        rows = self._fetch_all(
            f"""
            select {RUN_COLUMNS}
            from run
            where sync_id = ? and size_before is not null and purpose not in ('clear', 'undo')
            order by id desc
            limit ?
            """,
            (sync_id, limit),
        )
        return tuple(self._read_numbers(run_from_row(row)) for row in rows)

    def _read_numbers(self, run: Run) -> PlanNumbers:
        is_of_cohort, size, identified = run.id_property_before is None, run.size_before or 0, run.identified or 0
        return PlanNumbers(
            added=run.entered if is_of_cohort else 0,
            removed=run.exited - run.removed_by_list if is_of_cohort else 0,
            size=size,
            reading=Reading(identified, run.members_read or identified),
            is_first=self.is_first(run, size),
        )

    def list_tripped(self, run_id: int) -> frozenset[bytes]:
        """Return the id hashes of the tripwires that a run's plan found."""
        return frozenset(split_digests(self._fetch_value("select tripped from run where id = ?", (run_id,)) or b""))

    def list_left_out(self, sync_id: int, first_run: int, never_export: Set[bytes]) -> frozenset[bytes]:
        """Return who was left out of plans, from this run on, for an entry that is on the never-export list now.

        A plan of an earlier version does not say for which entry: then it counts as one of now.
        """
        found = self._fetch_all(
            """
            select listed
            from run
            where sync_id = ? and id >= ? and planned and listed is not null and purpose not in ('clear', 'undo')
            """,
            (sync_id, first_run),
        )
        pairs = (pair for row in found for pair in _cut_listed(row[0]))
        return frozenset(who for who, entry in pairs if entry is None or entry in never_export)

    def find_user_id(self, sync_id: int) -> UserIdBasis:
        """Return by which property the people of a sync are known in WebEngage, and when they were last read by it.

        A run that sent somebody and did not succeed counts, too: it may have sent some by another property.
        """
        id_property = self._fetch_value(
            """
            select id_property
            from run
            where sync_id = ?1 and planned and id_property <> '' and id >= ifnull((
                select max(id)
                from run
                where sync_id = ?1 and state = 'succeeded' and purpose <> 'clear'
            ), 0) and (
                state = 'succeeded' and purpose <> 'clear' or delivered + unconfirmed > 0
                or exists (select 1 from batch where run_id = run.id and batch.state <> 'pending')
            )
            order by id desc
            limit 1
            """,
            (sync_id,),
        )
        last = self.find_last_reading(sync_id, id_property=id_property) if id_property else None
        return UserIdBasis(id_property or "", last.id if last else 0, (last and last.started_at) or 0.0)

    def find_last_reading(self, sync_id: int, before: int | None = None, id_property: str | None = None) -> Run | None:
        """Return the last run that read a cohort and succeeded; with these, before a run and by a User ID property.

        A plan that did not succeed proves nothing about people who were in WebEngage before it.
        """
        row = self._fetch_one(
            f"""
            select {RUN_COLUMNS}
            from run
            where sync_id = ?1 and state = 'succeeded' and purpose not in ('clear', 'undo')
                and (?2 is null or id < ?2) and (?3 is null or id_property = ?3)
            order by id desc
            limit 1
            """,
            (sync_id, before, id_property),
        )
        return run_from_row(row) if row else None

    def list_chosen(self, run_id: int) -> frozenset[bytes]:
        """Return the id hashes of those whom a person chose for the first step of a run."""
        return frozenset(split_digests(self._fetch_value("select step_hashes from run where id = ?", (run_id,)) or b""))

    def find_first_steps(self, run_id: int) -> tuple[str, bytes | None] | None:
        """Return the first steps of a run as they are stored, with the id hashes of those chosen; None without any."""
        row = self._fetch_one("select steps, step_hashes from run where id = ? and steps is not null", (run_id,))
        return (row[0], row[1]) if row else None

    def find_undone(self, sync_id: int, run_id: int) -> int | None:
        """Return the run that was taken back before this one, while no later run of the sync succeeded; else None."""
        found = self._fetch_value(
            """
            select undoes
            from run as undo
            where sync_id = ?1 and id < ?2 and undoes is not null and delivered > 0 and not exists (
                select 1
                from run
                where sync_id = ?1 and id > undo.id and state = 'succeeded' and undoes is null
            )
            order by id desc
            limit 1
            """,
            (sync_id, run_id),
        )
        return None if found is None else int(found)

    def list_later(self, sync_id: int, run_id: int) -> tuple[int, ...]:
        """Return the runs of a sync that came after this one."""
        rows = self._fetch_all("select id from run where sync_id = ? and id > ? order by id", (sync_id, run_id))
        return tuple(row[0] for row in rows)

    def list_since_success(self, sync_id: int, run_id: int) -> tuple[int, ...]:
        """Return the runs of a sync before this one since the last that succeeded: that left nobody unconfirmed.

        A take-back is about some people only, so it does not count.
        """
        rows = self._fetch_all(
            """
            select id
            from run
            where sync_id = ?1 and id < ?2 and id > ifnull((
                select max(id)
                from run
                where sync_id = ?1 and id < ?2 and state = 'succeeded' and purpose <> 'undo'
            ), 0)
            order by id
            """,
            (sync_id, run_id),
        )
        return tuple(row[0] for row in rows)


def join_people(user_ids: Iterable[str], salt: int) -> tuple[int, bytes | None]:
    """Return how many different people these are, and their id hashes as a run stores them; None when there are none."""
    hashes = {hash_id(user_id, salt) for user_id in user_ids if user_id}
    return len(hashes), join_hashes(hashes)


def join_listed(people: Collection[tuple[bytes, bytes]]) -> bytes | None:
    """Return who was left out for which entry of the never-export list as a run stores it; None when nobody was."""
    return b"".join(chain([IN_PAIRS], *sorted(people))) if people else None


def _cut_listed(blob: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield whom a plan left out, and for which entry of the never-export list; None where that was not stored."""
    hashes = list(split_digests(blob))
    if hashes[0] != IN_PAIRS:
        yield from ((who, None) for who in hashes)
        return
    yield from zip(hashes[1::2], hashes[2::2], strict=True)


def join_hashes(id_hashes: Iterable[bytes]) -> bytes | None:
    """Return id hashes as a run stores them; None when there are none."""
    return b"".join(sorted(id_hashes)) or None
