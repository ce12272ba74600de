"""The register of attributes: each one of an account belongs to one sync's membership, or to one mapped property."""

from __future__ import annotations

from collections.abc import Iterable

from sync.errors import InvalidRequest
from sync.store.database import Table, write_transaction
from sync.text import fold_name


class Attributes(Table):
    """The owner of each attribute of each WebEngage account; those that read alike are the same."""

    def find_problem(
        self, license_code: str, sync_id: int | None, attribute: str, mapping: Iterable[tuple[str, str]]
    ) -> tuple[str, str] | None:
        """Return the field and the reason why a sync cannot use these attributes, naming the owner; None when it can."""
        owner = self.find_owner(license_code, attribute)
        if owner and owner[0] != sync_id:
            return (
                "attribute",
                f"“{attribute}” already belongs to {self._describe_owner(*owner)} in this WebEngage account; "
                "choose another name.",
            )
        for source, target in mapping:
            if fold_name(target) == fold_name(attribute):
                return "mapping", f"“{target}” is the cohort's own attribute."
            owner = self.find_owner(license_code, target)
            if owner and owner != (None, source):
                return "mapping", (
                    f"“{target}” already belongs to {self._describe_owner(*owner)} in this WebEngage account; "
                    f"send “{source}” to another attribute."
                )
        return None

    def claim(
        self,
        license_code: str,
        sync_id: int,
        attribute: str,
        mapping: Iterable[tuple[str, str]],
        forms: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Make a sync the owner of its attributes, or raise InvalidRequest with the owner's name when one is taken.

        A mapped attribute stays its property's for good: the first value ever sent fixed its type. ``forms``: how the
        values of some of them are written from now on, by every sync.
        """
        mapping = tuple(mapping)
        with write_transaction(self._db):
            found = self.find_problem(license_code, sync_id, attribute, mapping)
            if found:
                raise InvalidRequest(found[1], found[0])
            self._db.executemany(
                """
                insert into attribute_owner (license_code, folded, name, sync_id, property) values (?, ?, ?, ?, ?)
                on conflict do nothing
                """,
                [
                    (license_code, attribute.casefold(), attribute, sync_id, None),
                    *((license_code, target.casefold(), target, None, source) for source, target in mapping),
                ],
            )
            self._db.executemany(
                "update attribute_owner set form = ? where license_code = ? and name = ? and property is not null",
                [(form, license_code, target) for target, form in forms],
            )

    def read_forms(self, license_code: str) -> dict[str, str]:
        """Return how the values of mapped attributes are written, for those of which a person said so."""
        rows = self._fetch_all(
            "select name, form from attribute_owner where license_code = ? and form is not null", (license_code,)
        )
        return {row[0]: row[1] for row in rows}

    def read_data_types(self, license_code: str) -> dict[str, str]:
        """Return the data type in WebEngage of each mapped attribute that a value was sent to, as far as it is known."""
        rows = self._fetch_all(
            "select name, data_type from attribute_owner where license_code = ? and data_type <> 'unknown'",
            (license_code,),
        )
        return {row[0]: row[1] for row in rows}

    def fix_data_types(self, license_code: str, run_id: int) -> None:
        """Note the data types that a run's plan is about to send first; one that is fixed stays.

        An attribute of an earlier version, whose type nobody noted, gets the one that a person chose for it.
        """
        self._execute(
            """
            update attribute_owner
            set data_type = sent.value
            from (select key, value from run, json_each(run.data_types) where run.id = ?2) as sent
            where license_code = ?1 and name = sent.key and property is not null
                and (data_type is null or (data_type = 'unknown' and form is not null))
            """,
            (license_code, run_id),
        )

    def list_taken(self, license_code: str) -> frozenset[str]:
        """Return the attributes of an account that have an owner, in case-folded form."""
        return frozenset(
            row[0]
            for row in self._fetch_all("select folded from attribute_owner where license_code = ?", (license_code,))
        )

    def find_owner(self, license_code: str, name: str) -> tuple[int | None, str | None] | None:
        """Return who owns an attribute that reads like this one, whatever its case and however its accents are written."""
        rows = self._fetch_all(
            "select sync_id, property, name from attribute_owner where license_code = ?", (license_code,)
        )
        return next(((row[0], row[1]) for row in rows if fold_name(row[2]) == fold_name(name)), None)

    def _describe_owner(self, sync_id: int | None, source: str | None) -> str:
        if sync_id is None:
            return f"the profile property “{source}”"
        return f"the cohort “{self._fetch_value('select cohort_name from sync where id = ?', (sync_id,))}”"

    def count_cohorts(self, license_code: str) -> int:
        """Return how many cohorts own an attribute in an account."""
        return self._fetch_int(
            "select count(*) from attribute_owner where license_code = ? and sync_id is not null", (license_code,)
        )
