"""Find one person in everything that is stored about runs, and on the lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sync.model import BATCH_SIZE
from sync.packing import FORGOTTEN, find_places
from sync.records import NO_OPERATION, OUTCOMES, PersonEntry, PersonListing
from sync.store.batches import BATCHES_A_BLOCK, KINDS, STATES, WITHHELD
from sync.store.database import Row, Table, read_row
from sync.store.rejections import INVALID, LONG_ID_KEPT

WITHHELD_REASON = "Taken out of the run before it was sent"


class People(Table):
    """Everything stored about one person, by user id."""

    def list_history(self, user_id: str) -> tuple[PersonEntry, ...]:
        """Return what the runs of all syncs had to do with a person, newest first.

        Sent changes are known as long as the detail of their run is kept. Every block of the log is decompressed and
        searched, and only one with the person is parsed: some 30 µs of CPU for each 1,000 changes.
        """
        rows = self._read_rejections(user_id)
        rejections = {row["run_id"]: row for row in rows if row["outcome"] != INVALID}
        found = [_merge(entry, rejections.pop(entry.run_id, None)) for entry in self._iterate_changes(user_id)]
        # Who is invalid is somebody else than who was sent under an id that reads the same.
        invalid = (row for row in rows if row["outcome"] == INVALID)
        found += [_entry_of_rejection(row) for row in (*rejections.values(), *invalid)]
        return tuple(sorted(found, key=lambda one: (not one.ended, one.at, one.run_id), reverse=True))

    def list_standing_rejections(self, user_id: str) -> dict[int, str]:
        """Return why a person is not taken by a sync until they are tried again, by sync."""
        rows = self._fetch_all(
            """
            select sync_id, reason
            from rejection
            where user_id = ? and active = 1
            """,
            (user_id,),
        )
        return {row["sync_id"]: row["reason"] for row in rows}

    def list_listings(self, id_hash: bytes) -> tuple[PersonListing, ...]:
        """Return the never-export lists and tripwires a person is on."""
        rows = self._fetch_all(
            """
            select 'never-export' as kind, license_code, null as project_id, null as cohort_id, null as cohort_name,
                note, added_by, added_at, label = ?2 as forgotten
            from never_export
            where id_hash = ?1
            union all
            select 'tripwire', null, tripwire.project_id, cohort_id, coalesce(cohort.name, 'Cohort ' || cohort_id),
                note, added_by, added_at, label = ?2
            from tripwire
            left join cohort on cohort.project_id = tripwire.project_id and cohort.id = cohort_id
            where id_hash = ?1
            """,
            (id_hash, FORGOTTEN),
        )
        return tuple(read_row(PersonListing, row) for row in rows)

    def _iterate_changes(self, user_id: str) -> Iterator[PersonEntry]:
        for row in self._iterate_rows():
            for place in find_places(row["ids"], user_id):
                yield self._entry_of_change(row, place)

    def _iterate_rows(self) -> Iterator[Row]:
        """Yield the blocks of the log of ended runs, then the planned blocks of the others."""
        yield from self._db.execute(
            """
            select run_id, sync_id, finished_at, planned_at, queued_at, block, kinds, outcomes, ids
            from delivery_log
            join run on run.id = delivery_log.run_id
            where finished_at is not null
            """
        )
        yield from self._db.execute(
            """
            select run_id, sync_id, finished_at, planned_at, queued_at, block, kinds, null as outcomes, ids
            from batch_block
            join run on run.id = batch_block.run_id
            where block >= 0 and finished_at is null
            """
        )

    def _entry_of_change(self, row: Row, place: int) -> PersonEntry:
        kind = row["kinds"][place]
        letter = row["outcomes"][place] if row["outcomes"] else self._read_state(row["run_id"], row["block"], place)
        is_withheld = kind == WITHHELD
        return PersonEntry(
            at=row["finished_at"] or row["planned_at"] or row["queued_at"],
            run_id=row["run_id"],
            sync_id=row["sync_id"],
            operation=NO_OPERATION if is_withheld else KINDS[kind].value,
            outcome=OUTCOMES["p" if is_withheld else letter],
            reason=WITHHELD_REASON if is_withheld else "",
            ended=row["finished_at"] is not None,
        )

    def _read_state(self, run_id: int, block: int, place: int) -> str:
        number = block * BATCHES_A_BLOCK + place // BATCH_SIZE
        state = self._fetch_value("select state from batch where run_id = ? and number = ?", (run_id, number))
        return STATES[state or "pending"]

    def _read_rejections(self, user_id: str) -> list[Row]:
        return self._fetch_all(
            """
            select rejection.run_id, rejection.sync_id, kind, outcome, reason, at, finished_at
            from rejection
            left join run on run.id = rejection.run_id
            where user_id in (?, ?)
            """,
            (user_id, user_id[:LONG_ID_KEPT]),
        )


def _merge(entry: PersonEntry, rejection: Row | None) -> PersonEntry:
    """Return an entry with the outcome of the run's rejection, which is the last word of a run about a person."""
    return replace(entry, outcome=rejection["outcome"], reason=rejection["reason"]) if rejection else entry


def _entry_of_rejection(row: Row) -> PersonEntry:
    """Return the entry of somebody of whom no change is stored: an invalid id, or an older run."""
    return PersonEntry(
        at=row["at"],
        run_id=row["run_id"],
        sync_id=row["sync_id"],
        operation=NO_OPERATION if row["kind"] == "invalid" else row["kind"],
        outcome=row["outcome"],
        reason=row["reason"],
        ended=row["finished_at"] is not None,
    )
