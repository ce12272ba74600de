"""The never-export list of each WebEngage account, and the tripwires of each Mixpanel project.

A person is kept as the salted hash of the user id, beside a label that shows only its ends; the id itself is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from sync.packing import FORGOTTEN, hash_id
from sync.records import ListedPerson, Tripwire
from sync.store.connections import Connections
from sync.store.database import Table, read_row, write_transaction
from sync.text import MASK

SHOWN_FROM, MORE_SHOWN_FROM = 4, 8  # characters; shorter ids show nothing, or one character less


def mask_id(user_id: str) -> str:
    """Return a label by which a person who knows the id recognizes it, and nobody else finds it out."""
    if len(user_id) < SHOWN_FROM:
        return MASK
    start = 2 if len(user_id) >= MORE_SHOWN_FROM else 1
    return f"{user_id[:start]}{MASK}{user_id[-1]}"


class SafetyLists(Table):
    """Keep who is never exported, and who must never be in a cohort."""

    def get_version(self) -> int:
        """Return a number that grows with every change of a never-export list, and with every tripwire that is set."""
        return int(self._fetch_value("select value from setting where name = 'list_version'") or 0)

    def load_never_export(self, license_code: str, since: float | None = None) -> frozenset[bytes]:
        """Return the id hashes of those never exported to an account, with a time those put on its list after that."""
        rows = self._fetch_all(
            "select id_hash from never_export where license_code = ?1 and (?2 is null or added_at > ?2)",
            (license_code, since),
        )
        return frozenset(row[0] for row in rows)

    def load_tripwires(self, project_id: int, cohort_id: int | None) -> dict[bytes, str]:
        """Return the labels, by id hash, of those who must not be in a cohort, or with None in any of the project."""
        rows = self._fetch_all(
            """
            select id_hash, label
            from tripwire
            where project_id = ? and (cohort_id is null or cohort_id = ?)
            """,
            (project_id, cohort_id),
        )
        return {row[0]: row[1] for row in rows}

    def list_tripwires_since(self, project_id: int, cohort_id: int, since: float) -> frozenset[bytes]:
        """Return the id hashes of the tripwires of a cohort that were set after this time, and not before as well."""
        rows = self._fetch_all(
            """
            select id_hash
            from tripwire
            where project_id = ? and (cohort_id is null or cohort_id = ?)
            group by id_hash
            having min(added_at) > ?
            """,
            (project_id, cohort_id, since),
        )
        return frozenset(row[0] for row in rows)

    def find_never_exported(self, license_code: str, user_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these people are never exported to an account."""
        listed = self.load_never_export(license_code)
        if not listed:
            return frozenset()
        salt = Connections(self._db).get_salt()
        return frozenset(user_id for user_id in user_ids if hash_id(user_id, salt) in listed)

    def add_never_export(self, license_code: str, user_ids: Iterable[str], note: str, added_by: str, now: float) -> int:
        """Add people to an account's list; return how many were not on it. They leave with each sync's next run."""
        salt = Connections(self._db).get_salt()
        with write_transaction(self._db):
            self._note_change(license_code)
            return self._db.executemany(
                """
                insert into never_export (license_code, id_hash, label, note, added_by, added_at)
                values (?, ?, ?, ?, ?, ?)
                on conflict do nothing
                """,
                ((license_code, hash_id(one, salt), mask_id(one), note, added_by, now) for one in user_ids),
            ).rowcount

    def remove_never_export(self, license_code: str, id_hashes: Iterable[bytes]) -> int:
        """Take people off an account's list; return how many were on it. They are exported again with the next run."""
        with write_transaction(self._db):
            self._note_change(license_code)
            return self._db.executemany(
                "delete from never_export where license_code = ? and id_hash = ?",
                ((license_code, one) for one in id_hashes),
            ).rowcount

    def hash_ids(self, user_ids: Iterable[str]) -> list[bytes]:
        """Return the id hash of each user id."""
        salt = Connections(self._db).get_salt()
        return [hash_id(one, salt) for one in user_ids]

    def count_never_export(self, license_code: str) -> int:
        """Return how many people are never exported to an account."""
        return self._fetch_int("select count(*) from never_export where license_code = ?", (license_code,))

    def _note_change(self, license_code: str) -> None:
        """Let plans made before look again, know no chunk of a page any more, and show no earlier preview."""
        self._count_setting_up("list_version")
        self._db.execute(
            """
            delete from chunk_group
            where sync_id in (select id from sync where license_code = ?)
            """,
            (license_code,),
        )
        self._db.execute("update cohort set preview = null where preview is not null")

    def list_never_export(self, license_code: str) -> tuple[ListedPerson, ...]:
        """Return who is never exported to an account, those added last first."""
        rows = self._fetch_all(
            """
            select lower(hex(id_hash)) as key, label, note, added_by, added_at
            from never_export
            where license_code = ?
            order by added_at desc, label, id_hash
            """,
            (license_code,),
        )
        return tuple(read_row(ListedPerson, row) for row in rows)

    def add_tripwires(
        self, project_id: int, cohort_id: int | None, user_ids: Iterable[str], note: str, added_by: str, now: float
    ) -> int:
        """Add people who must not be in a cohort, or with None in any of the project; return how many were new."""
        salt = Connections(self._db).get_salt()
        with write_transaction(self._db):
            self._count_setting_up("list_version")  # runs that were planned before look again before they send more
            return self._db.executemany(
                """
                insert into tripwire (project_id, cohort_id, id_hash, label, note, added_by, added_at)
                values (?, ?, ?, ?, ?, ?, ?)
                on conflict do nothing
                """,
                ((project_id, cohort_id, hash_id(one, salt), mask_id(one), note, added_by, now) for one in user_ids),
            ).rowcount

    def remove_tripwires(self, project_id: int, cohort_id: int | None, user_ids: Iterable[str]) -> int:
        """Take off the tripwires of these people for a cohort, or for any; return how many there were."""
        with write_transaction(self._db):
            return self._db.executemany(
                "delete from tripwire where project_id = ? and cohort_id is ? and id_hash = ?",
                ((project_id, cohort_id, id_hash) for id_hash in self.hash_ids(user_ids)),
            ).rowcount

    def delete_tripwires(self, numbers: Iterable[int]) -> int:
        """Delete tripwires by their numbers; return how many there were."""
        with write_transaction(self._db):
            return self._db.executemany("delete from tripwire where id = ?", ((number,) for number in numbers)).rowcount

    def list_tripwires(self, project_id: int) -> tuple[Tripwire, ...]:
        """Return the tripwires of a project, those added last first."""
        rows = self._fetch_all(
            """
            select id, cohort_id, label, note, added_by, added_at
            from tripwire
            where project_id = ?
            order by id desc
            """,
            (project_id,),
        )
        return tuple(read_row(Tripwire, row) for row in rows)

    def forget(self, id_hash: bytes) -> int:
        """Blank the labels and notes of a person; return on how many lists they stay, by the hash alone.

        A forgotten person must not be exported again because of that.
        """
        blank = (FORGOTTEN, id_hash)
        with write_transaction(self._db):
            kept = self._execute("update never_export set label = ?, note = '' where id_hash = ?", blank)
            return kept + self._execute("update tripwire set label = ?, note = '' where id_hash = ?", blank)
