"""Requests about people who are never exported, and about tripwires."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from sync.errors import InvalidRequest
from sync.model import USER_ID_MAX
from sync.permissions import AccessLevel, requires
from sync.records import ListedPerson, PropertyCohort, Tripwire
from sync.service.base import choose_connected, name_cohort
from sync.service.cohorts import CohortTopic
from sync.service.listed_people import find_listed, list_known_by
from sync.spreadsheet import restore_id
from sync.text import count_people, find_invisible
from sync.views import AddedPeople, NeverExported

MAX_NOTE = 200  # characters of a note
MAX_WATCHED_ID = 1000  # characters of an id that a tripwire is set for: WebEngage takes fewer, Mixpanel has longer ones
ID_HEADERS = ("user id", "userid", "user_id", "id", "distinct_id", "$distinct_id", "distinct id", "user")
SEPARATORS = ",;\t"
LINE_END = re.compile(r"\r\n|\r|\n")  # others, such as U+2028, may be within an id


def parse_lines(text: str) -> list[str]:
    """Return the user ids of pasted text, one per line; spaces around an id and empty lines are left out.

    It may come from a spreadsheet that opened one of our files, whose apostrophes belong to no id. Raise InvalidRequest
    for a line that may have several ids, or an invisible character: taken for one id it would protect nobody.
    """
    lines = [line.strip() for line in LINE_END.split(text)]
    unclear = next((number for number, line in enumerate(lines, 1) if any(one in line for one in SEPARATORS)), None)
    if unclear:
        raise InvalidRequest(
            f"Line {unclear:,} has a comma, a semicolon or a tab. Write one User ID per line; an ID that has such a "
            "character itself can only be given in a CSV file."
        )
    return [restore_id(require_visible(line, f"Line {number:,}")) for number, line in enumerate(lines, 1) if line]


def require_visible(user_id: str, where: str = "This User ID") -> str:
    """Return a user id that was typed or pasted ``where``; raise InvalidRequest when it has an invisible character."""
    if found := find_invisible(user_id):
        raise InvalidRequest(
            f"{where} has an invisible character ({found}), which often comes along when text is copied. Type the ID again "
            "by hand. One that has it in Mixpanel, too, can be looked up and listed under People once it was exported."
        )
    return user_id


def parse_csv(content: bytes) -> list[str]:
    """Return the user ids of a CSV file: of the column that is named like one, or of the only column.

    Ids are taken letter by letter, but for an apostrophe that one of our own files has before what a spreadsheet would
    compute. Raise InvalidRequest when the file is not a CSV in UTF-8, when several columns could have the ids, and for an
    id with an invisible character: what is guessed wrongly leaves somebody unprotected.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("The file is not a CSV in UTF-8; save it as “CSV UTF-8” and try again.") from None
    first = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count) if any(one in first for one in SEPARATORS) else ","
    rows = _read_rows(text, separator)
    header = [cell.strip().casefold() for cell in rows[0][1]] if rows else []
    column = next((header.index(name) for name in ID_HEADERS if name in header), None)
    if column is None and len(header) > 1:
        raise InvalidRequest(
            "No column of the file is called User ID, so it is not clear where the ids are; name it so, or leave the "
            "other columns out."
        )
    cells = ((line, row[column or 0]) for line, row in rows[column is not None :] if len(row) > (column or 0))
    return [restore_id(require_visible(cell, f"Line {line:,} of the file")) for line, cell in cells if cell.strip()]


def _read_rows(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return the rows of a CSV, each with its line; raise InvalidRequest where it is not clear which cells one has."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = list[tuple[int, list[str]]]()
    try:
        for row in filter(None, reader):
            rows.append((reader.line_num, row))
            if any(cell.strip() for cell in row[len(rows[0][1]) :]):
                raise InvalidRequest(
                    f"Line {reader.line_num:,} of the file has more cells than the first line; a User ID with a comma or a "
                    "semicolon has to stand in quotation marks."
                )
    except csv.Error:
        raise InvalidRequest(
            f"The file is not a CSV: a quotation mark in or before line {reader.line_num:,} does not belong there, or is "
            "not closed."
        ) from None
    return rows


class SafetyService(CohortTopic):
    """The never-export list of each WebEngage account, and the tripwires of each project."""

    @requires(AccessLevel.VIEWER)
    def choose_account(self, license_code: str | None = None, project_id: int | None = None) -> str:
        """Return the named account, else the one the named project exports to, else the only one connected.

        Raise InvalidRequest when it is not clear which.
        """
        if license_code is None and project_id is not None:
            return self._state.account_of(self._state.get_project(project_id))
        known = [one.license_code for one in self._store.connections.list_accounts()]
        return choose_connected("WebEngage account", known, license_code, "--account")

    @requires(AccessLevel.MARKETER)
    def add_never_export(self, license_code: str | None, user_ids: Iterable[str], note: str = "") -> NeverExported:
        """Put people on an account's never-export list; they are not sent from now on, and leave with the next runs.

        The answer names the cohorts in which they stay true, since no refresh comes by itself.
        """
        account, people = self.choose_account(license_code), _check_ids(user_ids)
        with self._store.transaction():
            added = self._store.safety_lists.add_never_export(
                account, people, _check_note(note), self.actor.name, self._state.now()
            )
            self._store.rejections.forgive_removals(people, license_code=account)
            self._state.add_audit_line("never-export add", f"account {account}", after=count_people(added))
        with self._store.reading():  # afterwards: searching a large run that is held must keep no other writer waiting
            stay_true, may_stay_true = self._find_staying(account, people)
        return NeverExported(added, len(people) - added, stay_true, may_stay_true)

    def _find_staying(
        self, license_code: str, user_ids: Iterable[str]
    ) -> tuple[tuple[str, ...], tuple[PropertyCohort, ...]]:
        """Return the cohorts that are not refreshed now in which WebEngage may hold one of these people as true.

        The second ones know people by a profile property, so that it is not known whether one is there by another ID.
        """
        watched = frozenset(self._store.safety_lists.hash_ids(user_ids))
        found = [
            (one, find_listed(self._store, one, watched))
            for one in self._store.syncs.list_views()
            if one.license_code == license_code and not one.is_due_again
        ]
        unsure = list_known_by(self._store, [sync for sync, people in found if people.unsure])
        return tuple(sync.cohort_name for sync, people in found if people.known), unsure

    @requires(AccessLevel.MARKETER)
    def remove_never_export(
        self, license_code: str | None, user_ids: Iterable[str] = (), keys: Iterable[str] = ()
    ) -> int:
        """Take people off an account's never-export list, by id or by the key of the entry; return how many were on it.

        They are exported again with the next runs of the cohorts they are in.
        """
        account = self.choose_account(license_code)
        hashes = [*self._store.safety_lists.hash_ids(user_ids), *_parse_keys(keys)]
        with self._store.transaction():
            gone = self._store.safety_lists.remove_never_export(account, hashes)
            self._state.add_audit_line("never-export remove", f"account {account}", before=count_people(gone))
        return gone

    @requires(AccessLevel.VIEWER)
    def list_never_export(self, license_code: str | None = None) -> tuple[ListedPerson, ...]:
        """Return who is never exported to an account, those added last first."""
        return self._store.safety_lists.list_never_export(self.choose_account(license_code))

    @requires(AccessLevel.MARKETER)
    def add_tripwires(
        self, project_id: int | None, cohort_id: int | None, user_ids: Iterable[str], note: str = ""
    ) -> AddedPeople:
        """Hold every run that finds one of these people in the cohort, or with None in any cohort of the project.

        Runs that were planned before look again before they send more. An id may be one that is never exported: of a
        device, or too long for WebEngage. A cohort without a sync has to be in Mixpanel's list, which may be asked for
        (one query): a tripwire in a mistyped cohort would hold nothing. Raise InvalidRequest when it is not.
        """
        project, people = self._state.get_project(project_id).id, _check_ids(user_ids, MAX_WATCHED_ID)
        if cohort_id is not None and self._store.syncs.get_sync_of_cohort(project, cohort_id) is None:
            self._cohorts.get(project, cohort_id)
        with self._store.transaction():
            added = self._store.safety_lists.add_tripwires(
                project, cohort_id, people, _check_note(note), self.actor.name, self._state.now()
            )
            self._state.add_audit_line("tripwire add", name_cohort(project, cohort_id), after=count_people(added))
        return AddedPeople(added=added, already_there=len(people) - added)

    @requires(AccessLevel.MARKETER)
    def remove_tripwires(self, project_id: int | None, cohort_id: int | None, user_ids: Iterable[str]) -> int:
        """Take off the tripwires of these people for one cohort, or those for any; return how many there were."""
        project = self._state.get_project(project_id).id
        with self._store.transaction():
            gone = self._store.safety_lists.remove_tripwires(project, cohort_id, user_ids)
            self._state.add_audit_line("tripwire remove", name_cohort(project, cohort_id), before=count_people(gone))
        return gone

    @requires(AccessLevel.MARKETER)
    def delete_tripwires(self, numbers: Sequence[int]) -> int:
        """Take off tripwires by their numbers; return how many there were."""
        with self._store.transaction():
            gone = self._store.safety_lists.delete_tripwires(numbers)
            self._state.add_audit_line("tripwire remove", before=count_people(gone))
        return gone

    @requires(AccessLevel.VIEWER)
    def list_tripwires(self, project_id: int | None = None, cohort_id: int | None = None) -> tuple[Tripwire, ...]:
        """Return the tripwires of a project, or those that hold one cohort; those added last first."""
        found = self._store.safety_lists.list_tripwires(self._state.get_project(project_id).id)
        return tuple(one for one in found if cohort_id is None or one.cohort_id in (None, cohort_id))


def _check_ids(user_ids: Iterable[str], longest: int = USER_ID_MAX) -> list[str]:
    """Return different user ids in their order; raise InvalidRequest, and quote none, when one cannot be a user id."""
    found = list(dict.fromkeys(user_ids))
    if not found:
        raise InvalidRequest("No User ID was given; type one per line, or choose a CSV file.")
    wrong = [at for at, one in enumerate(found, 1) if not one.strip() or len(one) > longest]
    if wrong:
        raise InvalidRequest(
            f"Entry {wrong[0]:,} cannot be a User ID: it is empty or has over {longest} characters. Nobody was added."
        )
    return found


def _check_note(note: str) -> str:
    if len(note) > MAX_NOTE:
        raise InvalidRequest(f"A note has at most {MAX_NOTE} characters.", "note")
    return note.strip()


def _parse_keys(keys: Iterable[str]) -> list[bytes]:
    try:
        return [bytes.fromhex(key) for key in keys]
    except ValueError:
        raise InvalidRequest("That is not an entry of the list; look at the list again.") from None
