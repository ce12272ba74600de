"""The members of a cohort for people: who is identified, anonymous or invalid, why, and what an export would do."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Self

from sync.errors import CohortSyncError, RetryLater, SessionExpired
from sync.mixpanel.client import Mixpanel
from sync.model import Eligibility, Member, Page, Sync
from sync.permissions import AccessLevel, check_level, requires
from sync.service.base import name_cohort
from sync.service.cohorts import (
    PREVIEW_FRESH_SECONDS,
    QUERY_PATIENCE_SECONDS,
    CohortTopic,
    read_with_properties,
)
from sync.service.held_people import HeldPeople, count_held, read_held
from sync.service.member_reading import MemberReading, MixedPages, PageSeries, PropertyChoice
from sync.views import MemberChange, MemberList, MemberRow, MemberStatus, Preview

RETRY_PAUSES = (1.0, 4.0, 15.0)  # seconds before a page is asked for once more, while a person waits
ACCESS_PATIENCE_SECONDS = 30.0  # the App API takes two to five
SHOWN_ONCE_IN = 3600.0  # seconds in which one line of the audit log stands for every look at names and addresses
REASONS = {
    Eligibility.IDENTIFIED: "Has a profile and a User ID",
    Eligibility.NO_PROFILE: "No profile in Mixpanel",
    Eligibility.DEVICE_ONLY: "A device that never signed in",
    Eligibility.EMPTY_ID: "The User ID is empty",
    Eligibility.LONG_ID: "The User ID has over 100 characters, more than WebEngage takes",
    Eligibility.ODD_ID: "The User ID is neither text nor a whole number",
    Eligibility.NO_ID_VALUE: "No value in the property that is the User ID",
    Eligibility.NEVER_EXPORT: "On the never-export list, so not sent",
}
SHARED = "Another member has this User ID, too: one person in WebEngage"
VALUES_SENT = "Values sent; another member has this User ID, too"
VALUES_NOT_SENT = "Values not sent; those of another member with this User ID are"
LEFT = "No longer in the cohort"
OLD_ID = "A User ID of another property"
REJECTED = "Rejected by WebEngage before"
NOT_REMOVED = "WebEngage rejected removing them"


class MemberService(CohortTopic):
    """Requests about the members of a cohort."""

    @requires(AccessLevel.VIEWER)
    def begin(
        self,
        project_id: int | None,
        cohort_id: int,
        properties: tuple[str, ...] = (),
        id_property: str | None = None,
    ) -> MemberReading:
        """Return a reading of a cohort that is still empty; raise InvalidRequest when there is no such cohort of people.

        ``id_property`` is the profile property that is the User ID, None for the one the cohort has.
        """
        project = self._state.get_project(project_id).id
        cohort = self._cohorts.get_exportable(project, cohort_id)
        self._state.add_audit_line("view members", name_cohort(project, cohort_id), once_in=PREVIEW_FRESH_SECONDS)
        wanted = self._cohorts.choose_id_property(project, cohort_id, id_property)
        return MemberReading(project, cohort_id, cohort.name, PropertyChoice(properties), wanted)

    @requires(AccessLevel.VIEWER)
    def read_next(
        self, reading: MemberReading, *, backwards: bool = False, sleep: Callable[[float], None] = time.sleep
    ) -> bool:
        """Ask Mixpanel for the next page of a reading; return whether there is another one after it.

        One query each, and two more for a profile that is too large to read. What fails for a moment is tried three
        times more, within 20 seconds, and the reading says why meanwhile; pages of different sessions begin the reading
        again. ``backwards``: the last missing page instead of the first. ``sleep`` may raise to end the tries.
        """
        client = self._state.open_mixpanel(reading.project_id)
        try:
            self._try_page(client, reading, backwards, sleep)
        except (SessionExpired, MixedPages) as problem:
            if not reading.restart():
                raise CohortSyncError(f"Mixpanel's pages did not stay together ({problem}); try again.") from None
        finally:
            reading.why_again = ""
        reading.read_at = self._state.now()
        return not reading.is_complete

    def _try_page(
        self, client: Mixpanel, reading: MemberReading, backwards: bool, sleep: Callable[[float], None]
    ) -> None:
        for pause in RETRY_PAUSES:
            try:
                self._read_page(client, reading, backwards)
                return
            except RetryLater as problem:
                if problem.limit in ("hourly", "unnamed"):
                    raise
                reading.why_again = str(problem)
                sleep(pause)
        self._read_page(client, reading, backwards)

    def _read_page(self, client: Mixpanel, reading: MemberReading, backwards: bool) -> None:
        if not reading.has_head:
            cohort = self._cohorts.get_exportable(reading.project_id, reading.cohort_id)
            reading.accept_head(read_with_properties(self._state, client, cohort, all_users=False))
            return
        series = reading.profiles if reading.needs_profiles else reading.everyone
        number = series.next_page(backwards=backwards)
        if number is None:
            return
        try:
            page = self._ask_for_page(client, reading, series, number)
        except SessionExpired:
            if not reading.end_before(series, number):
                raise
            return
        if series is reading.everyone:
            reading.accept_page(page)
        else:
            reading.accept_profiles(page)

    def _ask_for_page(self, client: Mixpanel, reading: MemberReading, series: PageSeries, number: int) -> Page:
        with self._state.mixpanel_query(reading.project_id, later_page=number > 0, patience=QUERY_PATIENCE_SECONDS):
            return client.read_page(
                reading.cohort_id,
                number,
                series.session_id,
                all_users=series is reading.everyone,
                properties=reading.choice.asked,
                id_property=reading.id_property,
                bare_counts=True,
            )

    @requires(AccessLevel.VIEWER)
    def sees_classified_data(self, project_id: int) -> bool | None:
        """Return whether Mixpanel says that the project's service account may see classified data; None: not known.

        One request that is no query, answered within half a minute.
        """
        try:
            return self._state.open_mixpanel(project_id, ACCESS_PATIENCE_SECONDS).sees_classified_data()
        except CohortSyncError:
            return None  # what may be withheld then stays an open question, and is said to be one

    @requires(AccessLevel.VIEWER)
    def count_queries_left(self, project_id: int) -> int:
        """Return how many of the hour's queries are left."""
        return self._store.rate_limits.queries_left(project_id, self._state.now())

    @requires(AccessLevel.VIEWER)
    def more_queries_at(self, project_id: int) -> float:
        """Return when more queries than now may be asked."""
        return self._store.rate_limits.more_queries_at(project_id, self._state.now())

    @requires(AccessLevel.VIEWER)
    def count_held(self, sync_id: int) -> int:
        """Return for how many people the attribute of a sync may be true now, with what a run under way sent so far."""
        return count_held(self._store, self._state.get_sync(sync_id))

    @requires(AccessLevel.VIEWER)
    def list(self, reading: MemberReading, reveal: bool = False) -> MemberList:
        """Return everybody read so far, and, once that is everybody, who would be removed; asks nobody.

        Profile values are masked. ``reveal`` shows them: to a marketer, and once an hour in the audit log.
        """
        if reveal:
            check_level(self.actor, AccessLevel.MARKETER)
            self._state.add_audit_line(
                "show names and e-mail addresses",
                name_cohort(reading.project_id, reading.cohort_id),
                once_in=SHOWN_ONCE_IN,
            )
        sync = self._store.syncs.get_sync_of_cohort(reading.project_id, reading.cohort_id)
        listed = self._cohorts.find_never_exported(reading.project_id, reading.cohort_id, reading.iterate_members())
        held = read_held(self._store, sync)
        rows = [
            row if reveal else replace(row, values=tuple(mask_value(one) for one in row.values))
            for row in self._compare(reading, sync, held, listed)
        ]
        return MemberList(
            rows=tuple(rows),
            columns=reading.choice.labels,
            empty_columns=reading.find_empty_columns(),
            read=reading.member_count,
            total=reading.everyone.total,
            profile_total=reading.profile_total,
            is_complete=reading.is_complete,
            is_contiguous=reading.everyone.is_contiguous,
            problem=reading.problem if reading.is_complete else "",
            read_at=reading.read_at,
            id_property=reading.id_property,
            never_exported=len(listed),
            exported=len(held.true) if sync else None,
            unsure=len(held.unsure),
        )

    def _compare(
        self, reading: MemberReading, sync: Sync | None, held: HeldPeople, listed: frozenset[str]
    ) -> Iterator[MemberRow]:
        """Yield each member beside what WebEngage holds, then those it holds who are no members any more."""
        nothing = ("",) * len(reading.choice.labels)
        shared = self._find_shared(reading) if reading.id_property else {}
        for one in reading.iterate_members():
            row = _describe_member(one, held, is_listed=one.id in listed)
            if one.id in shared and row.reason == REASONS[Eligibility.IDENTIFIED]:
                is_sender = shared[one.id] == one.distinct_id
                row = replace(row, reason=_explain_shared(is_sender, sends_values=bool(sync and sync.mapping)))
            yield row
        if reading.is_complete and not reading.problem:  # nobody leaves unproven
            listed_ids = set(map(_name_in_webengage, reading.iterate_members()))
            why = LEFT if sync and reading.id_property == sync.id_property else OLD_ID
            for user_id in held.true:
                if user_id not in listed_ids:
                    row = MemberRow(
                        user_id=user_id,
                        status=MemberStatus.LEFT,
                        reason=why,
                        in_webengage=True,
                        change=MemberChange.REMOVE,
                        values=nothing,
                        is_unsure=user_id in held.unsure,
                    )
                    yield _explain_staying(row, held)

    def _find_shared(self, reading: MemberReading) -> dict[str, str]:
        """Return the User IDs of several identified members, each with the distinct_id of whose values are sent.

        That is the one whose hash is the lowest, as in a run.
        """
        members = defaultdict[str, list[str]](list)
        for one in reading.iterate_members():
            if one.eligibility is Eligibility.IDENTIFIED:
                members[one.id].append(one.distinct_id)
        shared = {user_id: names for user_id, names in members.items() if len(names) > 1}
        names = [name for group in shared.values() for name in group]
        hashes = dict(zip(names, self._store.safety_lists.hash_ids(names), strict=True))
        return {user_id: min(group, key=hashes.__getitem__) for user_id, group in shared.items()}

    @requires(AccessLevel.VIEWER)
    def summarize(self, reading: MemberReading) -> Preview:
        """Return the numbers of a reading as a preview; exact once everybody was read. Asks nobody."""
        listed = self.list(reading)
        known = self._cohorts.get_known(reading.project_id, reading.cohort_id, reading.id_property)
        found = _build_preview(reading, listed, known)
        return self._cohorts.add_current_limits(reading.project_id, found)

    @requires(AccessLevel.VIEWER)
    def save_numbers(self, reading: MemberReading) -> None:
        """Let the stored preview of the cohort say what was read: numbers and names of properties, nobody's id.

        Exact numbers replace estimates; a reading that is not complete replaces nothing that is exact and fresh.
        """
        version, found = self._store.maintenance.get_forget_version(), self.summarize(reading)
        known = self._cohorts.get_known(reading.project_id, reading.cohort_id, reading.id_property)
        if found.exact or not (known and known.exact):
            place, text = (reading.project_id, reading.cohort_id), json.dumps(asdict(found))
            self._store.connections.save_preview(*place, text, found.total, version, self._state.now())

    @requires(AccessLevel.MARKETER)
    def note_download(self, reading: MemberReading, what: str) -> None:
        """Add to the audit log that a list of members was downloaded; ``what`` describes it without naming anybody."""
        self._state.add_audit_line(
            "download", f"project {reading.project_id}, members of cohort {reading.cohort_id}", after=what
        )


def mask_value(value: str) -> str:
    """Return a profile value so that nobody can tell it: its first letter, of an address also the domain's."""
    if not value:
        return ""
    name, sign, domain = value.partition("@")
    return f"{name[:1]}…@{domain[:1]}…" if sign else f"{value[:1]}…"


def _explain_shared(is_sender: bool, *, sends_values: bool) -> str:
    """Return that another member has this one's User ID, and whose values are sent if any are."""
    if not sends_values:
        return SHARED
    return VALUES_SENT if is_sender else VALUES_NOT_SENT


def _describe_member(one: Member, held: HeldPeople, *, is_listed: bool) -> MemberRow:
    """Return one member beside whether WebEngage holds them as true, false or was never sent them (None)."""
    holds, user_id = None, _name_in_webengage(one)
    if user_id in held.true or user_id in held.false:
        holds = user_id in held.true
    status, change, reason = MemberStatus.IDENTIFIED, MemberChange.NONE, REASONS[one.eligibility]
    if one.eligibility is not Eligibility.IDENTIFIED:
        status = MemberStatus.ANONYMOUS if one.eligibility.is_anonymous else MemberStatus.INVALID
        change = MemberChange.REMOVE if holds else MemberChange.NONE
    elif is_listed:
        reason = REASONS[Eligibility.NEVER_EXPORT]
        change = MemberChange.REMOVE if holds else MemberChange.NONE
    elif holds:
        change = MemberChange.UNCHANGED
    elif one.id in held.not_added:
        reason = REJECTED
    else:
        change = MemberChange.ADD
    row = MemberRow(
        user_id=one.id,
        status=status,
        reason=reason,
        in_webengage=holds,
        change=change,
        values=one.values,
        distinct_id=one.distinct_id,
        is_unsure=user_id in held.unsure,
    )
    return _explain_staying(row, held)


def _name_in_webengage(one: Member) -> str:
    """Return the User ID by which WebEngage may know somebody; empty for an id that only reads like one, as a number may."""
    return one.id if one.eligibility is Eligibility.IDENTIFIED or one.id == one.distinct_id else ""


def _explain_staying(row: MemberRow, held: HeldPeople) -> MemberRow:
    """Return the row of somebody whose removal WebEngage rejected, which no run tries again, with that; else as it is."""
    if row.change is not MemberChange.REMOVE or row.user_id not in held.not_removed:
        return row
    return replace(row, reason=f"{row.reason}; {NOT_REMOVED}", change=MemberChange.UNCHANGED)


def _build_preview(reading: MemberReading, listed: MemberList, known: Preview | None) -> Preview:
    """Return the numbers of a reading; of one that is not complete, devices and invalid ids by their share."""
    part = _Part.of(reading, listed)
    compares = listed.is_exact and bool(listed.exported)
    return Preview(
        cohort_id=reading.cohort_id,
        cohort_name=reading.cohort_name,
        total=part.total,
        identified=part.identified,
        anonymous=max(0, part.total - part.identified - part.invalid),
        invalid=part.invalid,
        exact=listed.is_exact,
        is_least=part.is_least,
        sample=known.sample if known else (),
        read_at=listed.read_at,
        to_add=listed.count_change(MemberChange.ADD) if compares else None,
        to_remove=listed.count_change(MemberChange.REMOVE) if compares else None,
        never_exported=part.never_exported,
        properties=reading.properties,
        id_property=reading.id_property,
        doubles=listed.doubles,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The numbers of a whole cohort by what was read of it; ``is_least``: Mixpanel does not say how many others follow."""

    total: int
    identified: int
    invalid: int
    never_exported: int
    is_least: bool = False

    @classmethod
    def of(cls, reading: MemberReading, listed: MemberList) -> Self:
        """Return the numbers of a reading: counted when it is complete or no totals are known, else estimated.

        Mixpanel counts exactly how many have a profile, as in a preview; only which of these are devices or invalid is
        estimated, by the share among those read who have one.
        """
        identified, invalid = (listed.count_status(one) for one in (MemberStatus.IDENTIFIED, MemberStatus.INVALID))
        counts_itself = reading.everyone.total == reading.everyone.row_count  # as the first page of several may
        if listed.is_complete:
            return cls(listed.read, identified, invalid, listed.never_exported)
        if listed.total is None or counts_itself or listed.profile_total is None:
            total = max(listed.read, listed.profile_total or 0)
            return cls(total, identified, invalid, listed.never_exported, is_least=True)
        owners = [one.eligibility for one in reading.iterate_owners()]
        share = listed.profile_total / len(owners) if owners else 0.0
        invalid = round(share * sum(one.is_invalid for one in owners))
        devices = round(share * sum(one.is_anonymous for one in owners))
        return cls(
            max(listed.total, listed.read, listed.profile_total),
            max(0, listed.profile_total - devices - invalid),
            invalid,
            round(share * listed.never_exported),
        )
