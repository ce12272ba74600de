"""Keep what one person's browser or command has read of a cohort: page by page, in memory only.

Like a run's reading it is one session, one total and one page size throughout; while a page is full the next one is
asked for, whatever the total says; an odd row is one invalid member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from sync.mixpanel.parsing import write_value
from sync.model import Eligibility, Member, Page

MAX_RESTARTS = 3  # readings begun again before a person is asked to
REFUSED = (0, True)  # nobody on a page that was refused, and others may follow
# What an id is only if its owner has a profile.
NEEDS_PROFILE = (
    Eligibility.IDENTIFIED,
    Eligibility.EMPTY_ID,
    Eligibility.ODD_ID,
    Eligibility.LONG_ID,
    Eligibility.NO_ID_VALUE,
)


class MixedPages(Exception):
    """A page belongs to another session than the first one."""


class PageSeries:
    """The pages of one session of Mixpanel, as far as they were read."""

    def __init__(self) -> None:
        self.session_id: str | None = None
        self.total: int | None = None
        self._size: int | None = None
        self._read: dict[int, tuple[int, bool]] = {}  # page: rows, whether others may follow it

    @property
    def row_count(self) -> int:
        """Return how many rows were read."""
        return sum(rows for rows, _ in self._read.values())

    @property
    def page_count(self) -> int:
        """Return how many pages were read."""
        return len(self._read)

    @property
    def announced_pages(self) -> int:
        """Return how many pages there are by the total, at least those that were read."""
        size = max(1, self._size or self._read.get(0, (0, False))[0])
        return max(1, self.page_count, -(-(self.total or 0) // size))

    @property
    def is_contiguous(self) -> bool:
        """Return whether the pages read are the first ones."""
        return all(number in self._read for number in range(self.page_count))

    def next_page(self, *, backwards: bool = False) -> int | None:
        """Return the page to ask for: the first missing one, or the last; None when everybody is here or cannot be."""
        number = 0
        while number in self._read:
            number += 1
        if number == 0:
            return 0
        exists = number < self.announced_pages or all(self._read[number - 1])
        if not exists or self.session_id is None:
            return None
        missing = [one for one in range(number, self.announced_pages) if one not in self._read]
        return missing[-1] if backwards and missing else number

    @property
    def problem(self) -> str:
        """Return why the pages are not known to be everybody, once there is no next one; empty when they are."""
        last = max(self._read, default=0)
        if self._read.get(last) == REFUSED:
            return f"Mixpanel refused the page after {self.row_count:,} members"
        if self._read and self._read[last][1] and self.session_id is None:
            return f"Mixpanel gave no session to read on in after {self.row_count:,} members"
        if self.total is not None and self.total != self.row_count:
            return f"Mixpanel announced {self.total:,} members and sent {self.row_count:,}"
        return ""

    def accept(self, page: Page) -> None:
        """Add a page; raise MixedPages when it is not of this session."""
        rows = len(page.members)
        if page.number == 0:
            self.session_id, self.total, self._size = page.session_id, page.total, page.size
        else:
            self._require_same(page)
            if rows and self.total == self._read[0][0]:
                self.total = None  # it counts its own page only
        size = page.size or self._size or self._read.get(0, (1, True))[0]  # the first page shows a size none names
        self._read[page.number] = rows, rows >= max(1, size)

    def end_before(self, number: int, *, is_again: bool) -> bool:
        """Count a page that Mixpanel refused as empty where everybody announced is here; return whether it is so.

        How Mixpanel answers for a page behind the last one is not documented. ``is_again``: the session before was
        refused the same page. Where no total announces it either, the reading ends there, and is not exact.
        """
        if self.row_count != self.total and (not is_again or number < self.announced_pages):
            return False
        self._read[number] = (0, False) if self.row_count == self.total else REFUSED
        return True

    def _require_same(self, page: Page) -> None:
        counts_itself = page.total == len(page.members) and self.total == self._read[0][0]
        if page.session_id not in (None, self.session_id):
            raise MixedPages(f"page {page.number} is of another session")
        if None not in (page.size, self._size) and page.size != self._size:
            raise MixedPages(f"page {page.number} has another size")
        if None not in (page.total, self.total) and page.total != self.total and not counts_itself:
            raise MixedPages(f"page {page.number} names another total")


@dataclass(frozen=True, slots=True)
class PropertyChoice:
    """The properties read of each member: several may hold the name or the e-mail address; others are shown as they are."""

    others: tuple[str, ...] = ()

    NAMES = ("$name", "name")
    FIRST_NAMES, LAST_NAMES = ("$first_name", "first_name"), ("$last_name", "last_name")
    EMAILS = ("$email", "email")
    SEEN = ("$last_seen",)  # asked for because nearly every profile has it, so that it is seen to be one

    @property
    def asked(self) -> tuple[str, ...]:
        """Return the names of the properties to ask Mixpanel for."""
        known = (*self.NAMES, *self.FIRST_NAMES, *self.LAST_NAMES, *self.EMAILS, *self.SEEN)
        return (*known, *(one for one in self.others if one not in known))

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the headings of what ``arrange`` returns."""
        return ("Name", "E-mail", *self.others)

    def arrange(self, values: Iterable[object]) -> tuple[str, ...]:
        """Return name, e-mail address and the other properties, as people read them, of values in the order of ``asked``."""
        given = dict(zip(self.asked, map(write_value, values), strict=True))

        def first(names: tuple[str, ...]) -> str:
            return next((given[one] for one in names if given[one]), "")

        parts = (first(self.FIRST_NAMES), first(self.LAST_NAMES))
        name = first(self.NAMES) or " ".join(filter(None, parts))
        return (name, first(self.EMAILS), *(given[one] for one in self.others))


class MemberReading:
    """The members of one cohort as far as they were read; never stored, and forgotten with its owner."""

    def __init__(
        self, project_id: int, cohort_id: int, cohort_name: str, choice: PropertyChoice, id_property: str = ""
    ) -> None:
        """Begin before the first request; ``id_property`` is the User ID, empty for the distinct_id."""
        self.id_property = id_property
        self.project_id, self.cohort_id, self.cohort_name, self.choice = project_id, cohort_id, cohort_name, choice
        self.properties: tuple[str, ...] = ()
        """The names of the profile properties seen, the most frequent first."""
        self.profile_total: int | None = None
        """How many members have a profile; exact, by Mixpanel."""
        self.has_head = False
        self.restarts = 0
        self.read_at = 0.0
        self.why_again = ""
        """Why Mixpanel is asked for the same page again; empty when it is not."""
        self._head_ids: frozenset[str] = frozenset()
        self._refused = set[tuple[bool, int, int]]()  # of everybody or not, which page, after how many rows
        self._begin()

    def _begin(self) -> None:
        self.everyone, self.profiles = PageSeries(), PageSeries()
        self._members: dict[str, Member] = {}
        self._nameless: list[Member] = []
        self._profile_ids: set[str] = set()
        self.anonymous_found = 0

    def restart(self) -> bool:
        """Forget what was read and begin again at page 0; return whether that may still help."""
        self.restarts += 1
        self._begin()
        return self.restarts <= MAX_RESTARTS

    def end_before(self, series: PageSeries, number: int) -> bool:
        """End a series before a page that Mixpanel refused, if it need not exist; return whether it is so."""
        refused = series is self.everyone, number, series.row_count
        is_again = refused in self._refused
        self._refused.add(refused)
        return series.end_before(number, is_again=is_again)

    def accept_head(self, page: Page) -> None:
        """Keep what the first page of those with a profile says."""
        self.has_head, self.properties, self.profile_total = True, page.properties, page.known_total
        self._head_ids = frozenset(one.id for one in page.members)

    def accept_page(self, page: Page) -> None:
        """Add a page of everybody; raise MixedPages when it belongs to another session."""
        self.everyone.accept(page)
        for row in page.members:
            kept = replace(row, values=self.choice.arrange(row.values))
            if row.distinct_id:
                self._members.setdefault(row.distinct_id, kept)
            else:
                self._nameless.append(kept)  # nothing distinguishes such rows: each is a member
            self.anonymous_found += row.eligibility.is_anonymous or (
                _is_unclear(row) and _given_id(row) not in self._head_ids
            )

    def accept_profiles(self, page: Page) -> None:
        """Add a page of those with a profile, which settles whose empty profile is one."""
        self.profiles.accept(page)
        self._profile_ids.update(_given_id(row) for row in page.members)

    @property
    def member_count(self) -> int:
        """Return how many different members were read."""
        return len(self._members) + len(self._nameless)

    @property
    def anonymous_total(self) -> int | None:
        """Return how many members have no profile by Mixpanel's two totals, None when it does not say."""
        if self.everyone.total is None or self.profile_total is None:
            return None
        return max(0, self.everyone.total - self.profile_total)

    @property
    def misses_anonymous(self) -> bool:
        """Return whether there are anonymous members, and none of them was read yet."""
        return bool(self.anonymous_total) and not self.anonymous_found

    @property
    def needs_profiles(self) -> bool:
        """Return whether those with a profile must be read as well: the totals do not say whose empty profile is one."""
        if not self._has_everyone or self._has_all_profiles:
            return False
        certain, unclear = self._certain_count, self._unclear_count
        return unclear > 0 and self.profile_total not in (certain, certain + unclear)

    @property
    def _certain_count(self) -> int:
        return sum(1 for one in self._iterate_raw() if one.has_profile)

    @property
    def _unclear_count(self) -> int:
        return sum(1 for one in self._iterate_raw() if one.has_profile is None)

    @property
    def _has_everyone(self) -> bool:
        return self.everyone.next_page() is None

    @property
    def _has_all_profiles(self) -> bool:
        return self.profiles.next_page() is None

    @property
    def is_complete(self) -> bool:
        """Return whether everybody was read, and is known to be identified or not."""
        return self._has_everyone and not self.needs_profiles

    @property
    def problem(self) -> str:
        """Return why a complete reading is not exact, empty when it is."""
        if self.everyone.problem:
            return self.everyone.problem
        if self.everyone.row_count != self.member_count:
            return f"Mixpanel listed {self.everyone.row_count - self.member_count:,} members more than once"
        return ""

    def iterate_members(self) -> Iterator[Member]:
        """Yield everybody read so far, as identified, anonymous or invalid as is known by now."""
        owns_profile = self._make_owner_check()
        for one in self._iterate_raw():
            is_nobody = _is_unclear(one) and not owns_profile(one)
            yield replace(one, eligibility=Eligibility.NO_PROFILE) if is_nobody else one

    def iterate_owners(self) -> Iterator[Member]:
        """Yield those read so far who have a profile, as far as is known by now; of them Mixpanel's total counts."""
        return filter(self._make_owner_check(), self._iterate_raw())

    def _make_owner_check(self) -> Callable[[Member], bool]:
        """Return the question whether somebody is known to have a profile."""
        all_own_theirs = self.profile_total is not None and self.profile_total == (
            self._certain_count + self._unclear_count if self._has_everyone else self.everyone.total
        )
        owners = self._profile_ids if self._has_all_profiles else self._head_ids

        def owns_profile(one: Member) -> bool:
            return bool(one.has_profile) or _given_id(one) in owners or (one.has_profile is None and all_own_theirs)

        return owns_profile

    def find_empty_columns(self) -> tuple[str, ...]:
        """Return the headings under which no identified member has a value; none while nobody is identified."""
        people = [one for one in self.iterate_members() if one.eligibility is Eligibility.IDENTIFIED]
        return tuple(
            label for at, label in enumerate(self.choice.labels) if people and not any(one.values[at] for one in people)
        )

    def _iterate_raw(self) -> Iterator[Member]:
        yield from list(self._members.values())  # a copy: the page may draw while another page is added
        yield from list(self._nameless)


def _is_unclear(one: Member) -> bool:
    """Return whether it depends on an empty profile what somebody is."""
    return one.has_profile is None and one.eligibility in NEEDS_PROFILE


def _given_id(one: Member) -> str:
    """Return by what a row is found on a page of those with a profile: its distinct_id, or what stands in its place."""
    return one.distinct_id or one.id
