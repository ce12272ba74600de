"""A reading of a cohort, page by page: which page is next, whether everybody is here, and who of them has a profile."""

from __future__ import annotations

import pytest

from sync.model import Eligibility, Member, Page
from sync.service.member_reading import MAX_RESTARTS, MemberReading, MixedPages, PageSeries, PropertyChoice

CHOICE = PropertyChoice()
IDENTIFIED, NOBODY, DEVICE = Eligibility.IDENTIFIED, Eligibility.NO_PROFILE, Eligibility.DEVICE_ONLY
EMPTY = None  # the profile of a row without any property: a person without those asked for, or nobody known


def row(
    name: str, has_profile: bool | None = True, eligibility: Eligibility = IDENTIFIED, user_id: str | None = None
) -> Member:
    """Return a row of a page; nobody has a value."""
    return Member(name if user_id is None else user_id, eligibility, ("",) * len(CHOICE.asked), name, has_profile)


def rows(count: int, has_profile: bool | None = True, prefix: str = "fan") -> list[Member]:
    """Return as many rows, named by a prefix and a number."""
    return [row(f"{prefix}-{number}", has_profile) for number in range(count)]


def page(number: int, people: int | list[Member], total: int | None = None, size: int | None = 10) -> Page:
    """Return a page of people, or of so many."""
    shown = rows(people, prefix=f"page-{number}") if isinstance(people, int) else people
    return Page(number, size, "session", total, tuple(shown))


def read_series(*pages: Page) -> PageSeries:
    """Return a series of these pages."""
    series = PageSeries()
    for one in pages:
        series.accept(one)
    return series


def read_members(
    *pages: Page, profile_total: int | None = None, head: tuple[str, ...] = (), id_property: str = ""
) -> MemberReading:
    """Return a reading of these pages, whose first page of those with a profile names ``head`` and their total."""
    reading = MemberReading(1, 2, "Fans", CHOICE, id_property)
    known = tuple(Member(name, IDENTIFIED, distinct_id=name) for name in head)
    reading.accept_head(Page(0, len(known) + 1 if profile_total is not None else 0, None, profile_total, known))
    for one in pages:
        reading.accept_page(one)
    assert reading.profile_total == profile_total
    return reading


def names_of(reading: MemberReading, eligibility: Eligibility = IDENTIFIED) -> set[str]:
    """Return the distinct_ids of those who are this by now."""
    return {one.distinct_id for one in reading.iterate_members() if one.eligibility is eligibility}


@pytest.mark.parametrize(("count", "size", "pages"), [(10, None, 3), (3, 10, 3), (10, 10, 3)])
def test_the_pages_announced_are_counted_by_the_size_named_or_the_rows_of_the_first_page(
    count: int, size: int | None, pages: int
) -> None:
    """The page says what reading all of a cohort costs; the last page that is not full counts, too."""
    assert read_series(page(0, count, 25, size)).announced_pages == pages


def test_a_full_first_page_without_a_session_ends_a_reading_that_is_not_exact() -> None:
    """Nothing can be asked for without a session, and others may follow: nobody may be said to leave."""
    series = read_series(Page(0, 10, None, None, tuple(rows(10))))
    assert series.next_page() is None
    assert series.problem == "Mixpanel gave no session to read on in after 10 members"


def test_more_members_than_announced_are_not_exact() -> None:
    """Two numbers that disagree prove nothing, whichever is the larger one."""
    series = read_series(page(0, 10, 11), page(1, 2, 11))
    assert series.next_page() is None
    assert series.problem == "Mixpanel announced 11 members and sent 12"


def test_a_first_page_of_nobody_where_members_are_announced_is_a_mismatch_and_no_refusal() -> None:
    """The reason is what Mixpanel did: it sent empty pages, and refused none."""
    series = read_series(page(0, 0, 2, None), page(1, 0, 2, None))
    assert series.next_page() is None
    assert series.problem == "Mixpanel announced 2 members and sent 0"


def test_a_page_that_names_no_size_is_full_by_the_size_of_the_first_one() -> None:
    """It costs no further query where the first page, of fewer rows than its size, says what a full page is."""
    series = read_series(page(0, 3, 11), page(1, 8, 11, None))
    assert (series.next_page(), series.problem) == (None, "")


def test_an_empty_page_behind_the_announced_members_leaves_their_total_known() -> None:
    """A total counts its own page only where rows follow it."""
    series = read_series(page(0, 10, 10), page(1, 0, 10))
    assert (series.total, series.next_page(), series.problem) == (10, None, "")


def test_a_total_of_each_page_is_none_of_the_cohort_also_where_the_second_page_is_the_last() -> None:
    """Fifteen members are no contradiction between ten and five."""
    series = read_series(page(0, 10, 10), page(1, 5, 5))
    assert (series.total, series.row_count, series.problem) == (None, 15, "")


def test_a_later_page_that_names_the_number_of_its_rows_where_more_were_announced_is_of_another_reading() -> None:
    """Only the first page's total shows whether totals count their own page; 25 of 10 rows does not."""
    series = read_series(page(0, 10, 25), page(1, 10, 25))
    with pytest.raises(MixedPages, match="another total"):
        series.accept(page(2, 5, 5))


def test_a_later_page_without_a_size_belongs_to_a_session_that_named_one() -> None:
    """What is left out contradicts nothing: the reading must not begin again until it is given up."""
    assert read_series(page(0, 10, 15), page(1, 5, 15, None)).row_count == 15


def test_a_refused_page_that_the_total_announces_is_never_the_end() -> None:
    """Members are missing, however often Mixpanel refuses them."""
    series = read_series(page(0, 10, 25), page(1, 10, 25))
    assert not series.end_before(2, is_again=False) and not series.end_before(2, is_again=True)
    assert series.next_page() == 2


def test_a_page_refused_behind_everybody_announced_is_the_end_at_once() -> None:
    """Reading the whole cohort again would cost its queries a second time, for the same."""
    series = read_series(page(0, 10, 10))
    assert series.end_before(1, is_again=False)
    assert (series.next_page(), series.problem) == (None, "")


def test_a_page_refused_once_without_a_total_may_be_a_lost_session() -> None:
    """Only the second session that ends there ends the reading, which is not exact."""
    series = read_series(page(0, 10), page(1, 10))
    assert not series.end_before(2, is_again=False) and series.next_page() == 2
    assert series.end_before(2, is_again=True) and series.next_page() is None
    assert "refused the page after 20 members" in series.problem


def test_a_page_refused_after_other_rows_than_before_is_refused_for_the_first_time() -> None:
    """Two sessions that were lost at different members prove no end."""
    reading = read_members(page(0, 10), page(1, 10))
    assert not reading.end_before(reading.everyone, 2) and reading.restart()
    for one in (page(0, 8, size=8), page(1, 8, size=8)):
        reading.accept_page(one)
    assert not reading.end_before(reading.everyone, 2)


def test_a_page_of_profiles_refused_after_one_of_everybody_is_refused_for_the_first_time() -> None:
    """They are sessions of their own: one that was lost says nothing of the other."""
    reading = read_members(page(0, 10))
    assert not reading.end_before(reading.everyone, 1) and reading.restart()
    reading.accept_profiles(page(0, 10))
    assert not reading.end_before(reading.profiles, 1)


def test_a_reading_begins_again_as_often_as_said() -> None:
    """Three times without anybody of before, then a person is asked to."""
    reading = read_members(page(0, 10))
    assert [reading.restart() for _ in range(MAX_RESTARTS + 1)] == [True] * MAX_RESTARTS + [False]
    assert (reading.member_count, reading.everyone.next_page()) == (0, 0)


def test_a_chosen_property_that_is_read_anyway_is_asked_for_once() -> None:
    """An address chosen as a column is in the column of addresses and in its own."""
    choice = PropertyChoice(("$email", "plan"))
    assert len(set(choice.asked)) == len(choice.asked)
    given = tuple({"$email": "ann@example.com", "plan": "gold"}.get(name, "") for name in choice.asked)
    assert choice.arrange(given) == ("", "ann@example.com", "ann@example.com", "gold")


@pytest.mark.parametrize(
    ("someone", "is_missed"),
    [
        (row("ann"), True),
        (row("bare", EMPTY), True),
        (row("ghost", EMPTY), False),
        (row("ghost", False, NOBODY), False),
        (row("$device:1", True, DEVICE), False),
    ],
    ids=["a person", "an empty profile known to be one", "an empty one of nobody", "nobody", "a device"],
)
def test_a_part_is_read_on_from_the_end_only_until_somebody_anonymous_is_in_it(
    someone: Member, is_missed: bool
) -> None:
    """A page more costs a query; and without it the list shows no anonymous member although there are some."""
    reading = read_members(page(0, [*rows(9), someone], 30), profile_total=20, head=("bare",))
    assert (reading.anonymous_total, reading.misses_anonymous) == (10, is_missed)


def test_more_profiles_than_members_are_nobody_anonymous() -> None:
    """The cohort grew between two queries: no page is asked for to find less than nobody."""
    reading = read_members(page(0, 10, 20), profile_total=22)
    assert (reading.anonymous_total, reading.misses_anonymous) == (0, False)


@pytest.mark.parametrize(
    ("certain", "unclear", "profile_total", "needs"),
    [
        (5, 3, 5, False),  # those are nobody
        (5, 3, 8, False),  # all of those have a profile
        (5, 3, 7, True),
        (5, 3, None, True),
        (5, 0, 4, False),  # there is nothing to find out
    ],
)
def test_profiles_are_read_as_well_only_where_the_totals_do_not_say_whose_is_one(
    certain: int, unclear: int, profile_total: int | None, needs: bool
) -> None:
    """Each of their pages costs one of the sixty queries of an hour."""
    people = [*rows(certain), *rows(unclear, EMPTY, "bare")]
    reading = read_members(page(0, people, len(people)), profile_total=profile_total)
    assert (reading.needs_profiles, reading.is_complete) == (needs, not needs)


def test_profiles_are_not_read_before_everybody_is() -> None:
    """Whose empty profile is one may be clear in the end, without a query."""
    reading = read_members(page(0, rows(10, EMPTY), 20), profile_total=15)
    assert not reading.needs_profiles and not reading.is_complete


def test_members_sent_twice_are_a_problem_and_one_member_each() -> None:
    """The pages shifted meanwhile, so somebody else is missing."""
    reading = read_members(page(0, 10, 15), page(1, [*rows(3, prefix="page-0"), *rows(2)], 15))
    assert (reading.member_count, reading.problem) == (12, "Mixpanel listed 3 members more than once")


def test_rows_without_an_id_are_members_each() -> None:
    """Nothing says that two of them are one."""
    people = [row("", True, Eligibility.EMPTY_ID, ""), row("", True, Eligibility.EMPTY_ID, "")]
    reading = read_members(page(0, people, 2))
    assert (reading.member_count, reading.problem) == (2, "")


def test_a_device_without_a_profile_stays_a_device() -> None:
    """The reason says what it is, whatever Mixpanel sends in place of its profile."""
    people = [row("$device:1", False, DEVICE), row("$device:2", EMPTY, DEVICE), row("ghost", EMPTY)]
    reading = read_members(page(0, [*people, row("ann")], 4), profile_total=1)
    assert (names_of(reading, DEVICE), names_of(reading, NOBODY)) == ({"$device:1", "$device:2"}, {"ghost"})


@pytest.mark.parametrize("kind", [Eligibility.LONG_ID, Eligibility.ODD_ID, Eligibility.EMPTY_ID])
def test_an_empty_profile_of_nobody_is_anonymous_whatever_is_wrong_with_the_id(kind: Eligibility) -> None:
    """An id is invalid only where somebody known has it; the totals of a preview say the same."""
    reading = read_members(page(0, [row("ann"), row("odd", EMPTY, kind)], 2), profile_total=1)
    assert (names_of(reading, NOBODY), names_of(reading, kind)) == ({"odd"}, set())


def test_an_empty_profile_in_a_part_is_one_only_where_that_is_known() -> None:
    """Ten of twenty have a profile; that they are the first ten is nothing but a coincidence."""
    reading = read_members(page(0, rows(10, EMPTY), 20), profile_total=10, head=("fan-1", "fan-2"))
    assert names_of(reading) == {"fan-1", "fan-2"} and len(names_of(reading, NOBODY)) == 8


def test_an_empty_profile_in_a_part_without_totals_is_one_only_where_that_is_known() -> None:
    """Two totals that are not known do not agree."""
    reading = read_members(page(0, rows(10, EMPTY)), head=("fan-1",))
    assert names_of(reading) == {"fan-1"}


def test_an_empty_profile_in_a_part_is_one_where_the_totals_say_that_everybody_has_one() -> None:
    """Nobody waits for the last page to be called identified."""
    assert len(names_of(read_members(page(0, rows(10, EMPTY), 20), profile_total=20))) == 10


def test_those_known_to_have_a_profile_are_those_with_properties_and_those_on_the_first_page_of_them() -> None:
    """Of them Mixpanel's total counts, so the estimates are shares of it."""
    people = [*rows(3), *rows(3, EMPTY, "bare"), row("ghost", False, NOBODY)]
    reading = read_members(page(0, people, 20), profile_total=12, head=("bare-0",))
    assert {one.distinct_id for one in reading.iterate_owners()} == {"fan-0", "fan-1", "fan-2", "bare-0"}


def test_a_member_without_a_profile_is_known_to_have_none_whatever_the_totals_say() -> None:
    """Totals by which everybody has one decide only of whom the row itself says nothing."""
    people = [*rows(2), *rows(1, EMPTY, "bare"), row("ghost", False, NOBODY)]
    reading = read_members(page(0, people, 20), profile_total=20)
    assert {one.distinct_id for one in reading.iterate_owners()} == {"fan-0", "fan-1", "bare-0"}


def test_an_empty_profile_by_a_property_is_found_by_the_distinct_id() -> None:
    """It has no User ID; on the pages of those with a profile it is one without a value, and the others are nobody."""
    people = [row(f"bare-{number}", EMPTY, Eligibility.NO_ID_VALUE, "") for number in range(3)]
    reading = read_members(page(0, people, 3), profile_total=2, id_property="customer")
    assert reading.needs_profiles
    reading.accept_profiles(page(0, people[:2], 2))
    assert names_of(reading, Eligibility.NO_ID_VALUE) == {"bare-0", "bare-1"}
    assert names_of(reading, NOBODY) == {"bare-2"} and reading.is_complete


def test_no_column_is_named_empty_while_nobody_is_identified() -> None:
    """Anonymous members have no values: the page must not say that Mixpanel withholds a column."""
    assert read_members(page(0, [row("ghost", False, NOBODY)], 1)).find_empty_columns() == ()
    assert read_members(page(0, 1, 1)).find_empty_columns() == ("Name", "E-mail")
