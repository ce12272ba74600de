"""The numbers of a list of members: who would be removed, and what a part of a cohort says about the whole."""

from __future__ import annotations

import pytest

from sync.model import Eligibility, Member, Page
from sync.service import Service
from sync.service.member_reading import MemberReading
from sync.views import MemberChange, MemberStatus, Preview
from tests.engine_workspace import keep_out
from tests.sandbox.control import PROJECT, anonymous, member
from tests.workspace import Workspace

IDENTIFIED, NOBODY = Eligibility.IDENTIFIED, Eligibility.NO_PROFILE


@pytest.fixture
def small_pages(connected: Workspace) -> Workspace:
    """Connect a workspace to a Mixpanel that sends ten members a page, and give it a cohort of 25."""
    connected.sandbox.settings(page_size=10)
    connected.add_cohort(25)
    return connected


def read(service: Service, cohort: int, requests: int = 99, id_property: str | None = None) -> MemberReading:
    """Read a cohort, or its part of so many requests; the first one reads who has a profile."""
    reading = service.members.begin(PROJECT, cohort, id_property=id_property)
    for _ in range(requests):
        if not service.members.read_next(reading, sleep=lambda _: None):
            break
    return reading


def summarize(workspace: Workspace, requests: int = 99) -> Preview:
    """Return the numbers of the workspace's cohort by so many requests."""
    with workspace.open() as service:
        return service.members.summarize(read(service, workspace.cohort, requests))


def row(workspace: Workspace, reading: MemberReading, number: int, eligibility: Eligibility = IDENTIFIED) -> Member:
    """Return a row of a page: fan-number with a profile, or nobody without."""
    has_profile = eligibility is not NOBODY
    return Member(f"fan-{number}", eligibility, ("",) * len(reading.choice.asked), f"fan-{number}", has_profile)


def estimate(
    workspace: Workspace, total: int | None, profile_total: int | None, *pages: tuple[Eligibility, ...]
) -> Preview:
    """Return the numbers of a part of the workspace's cohort: of so many, with these on its pages of ten."""
    with workspace.open() as service:
        reading = service.members.begin(PROJECT, workspace.cohort)
        head = (Member("fan-0", IDENTIFIED, distinct_id="fan-0"),)
        reading.accept_head(Page(0, 2 if profile_total else 1, None, profile_total or 1, head))
        for number, page in enumerate(pages):
            rows = tuple(row(workspace, reading, 10 * number + at, one) for at, one in enumerate(page))
            reading.accept_page(Page(number, 10, "session", total, rows))
        assert reading.profile_total == profile_total and not reading.is_complete
        return service.members.summarize(reading)


def counts(found: Preview) -> tuple[int, int, int, int]:
    """Return how many are identified, anonymous, invalid, and all of them."""
    return found.identified, found.anonymous, found.invalid, found.total


def test_somebody_on_the_never_export_list_who_is_not_in_webengage_is_not_removed(connected: Workspace) -> None:
    """Nothing is sent about them: neither before the first export nor after it."""
    cohort = connected.add_cohort(5)
    keep_out(connected, "fan-1")
    for _ in range(2):
        with connected.open() as service:
            listed = service.members.list(read(service, cohort))
        [kept_out] = [one for one in listed.rows if one.user_id == "fan-1"]
        assert (kept_out.in_webengage, kept_out.change) == (None, MemberChange.NONE)
        assert listed.count_change(MemberChange.REMOVE) == 0
        connected.export()


def test_somebody_listed_who_has_no_profile_is_not_counted_as_identified_and_never_exported(
    connected: Workspace,
) -> None:
    """The number is said to be of the identified; whoever is anonymous is not sent in any case."""
    cohort = connected.sandbox.add_cohort("Mixed", [member("ann"), member("bob"), anonymous("ghost")])
    keep_out(connected, "ann", "ghost")
    with connected.open() as service:
        listed = service.members.list(read(service, cohort))
    assert (listed.never_exported, listed.count_status(MemberStatus.IDENTIFIED)) == (1, 2)


@pytest.mark.parametrize("listed_as", ["c-1", "fan-1"])
def test_somebody_listed_by_either_id_is_never_exported_by_a_property(connected: Workspace, listed_as: str) -> None:
    """The list has User IDs of WebEngage, or of Mixpanel as it was before."""
    cohort = connected.sandbox.add_cohort("Fans", [member(f"fan-{n}", customer=f"c-{n}") for n in range(3)])
    keep_out(connected, listed_as)
    with connected.open() as service:
        listed = service.members.list(read(service, cohort, id_property="customer"))
    assert [one.user_id for one in listed.rows if one.change is MemberChange.NONE] == ["c-1"]
    assert listed.never_exported == 1


def test_somebody_who_left_and_whose_removal_webengage_rejected_stays_true(connected: Workspace) -> None:
    """No run tries them again, so the list must not promise that the next one does."""
    connected.add_cohort(5)
    connected.export()
    connected.sandbox.poison("fan-0")
    connected.sandbox.set_members(connected.cohort, [member(f"fan-{n}") for n in range(1, 5)])
    connected.export()
    with connected.open() as service:
        listed = service.members.list(read(service, connected.cohort))
    [left] = [one for one in listed.rows if one.status is MemberStatus.LEFT]
    assert (left.user_id, left.change) == ("fan-0", MemberChange.UNCHANGED)
    assert left.reason == "No longer in the cohort; WebEngage rejected removing them"


def save_and_look(workspace: Workspace, requests: int = 99) -> tuple[bool, int]:
    """Store the numbers of so many requests; return whether those stored are exact, and of how many members."""
    with workspace.open() as service:
        service.members.save_numbers(read(service, workspace.cohort, requests))
        found = service.cohorts.get_known(PROJECT, workspace.cohort, "")
        assert found
        return found.exact, found.total


def test_a_part_read_later_replaces_other_parts_and_exact_numbers_only_once_they_are_old(
    small_pages: Workspace,
) -> None:
    """The list of cohorts says “25”, and not “about 30”, for ten minutes; then anything newer is better."""
    sandbox, cohort = small_pages.sandbox, small_pages.cohort
    assert save_and_look(small_pages, 2) == (False, 25)
    sandbox.set_members(cohort, [member(f"fan-{n}") for n in range(27)])
    assert save_and_look(small_pages, 2) == (False, 27)
    assert save_and_look(small_pages) == (True, 27)
    sandbox.set_members(cohort, [member(f"fan-{n}") for n in range(30)])
    assert save_and_look(small_pages, 2) == (True, 27)
    small_pages.ahead = 601.0
    assert save_and_look(small_pages, 2) == (False, 30)


def test_exact_numbers_replace_older_exact_numbers(small_pages: Workspace) -> None:
    """Reading everybody again is how a marketer sees who came since."""
    assert save_and_look(small_pages) == (True, 25)
    small_pages.sandbox.set_members(small_pages.cohort, [member(f"fan-{n}") for n in range(30)])
    assert save_and_look(small_pages) == (True, 30)


def test_only_everybody_of_a_cohort_in_webengage_is_compared_with_it(small_pages: Workspace) -> None:
    """A part does not say who would come or go, and neither does a cohort of whom nobody was sent."""
    first = summarize(small_pages)
    assert (first.exact, first.to_add, first.to_remove) == (True, None, None)
    small_pages.export()
    small_pages.sandbox.set_members(small_pages.cohort, [member(f"fan-{n}") for n in range(2, 28)])
    part, whole = summarize(small_pages, 2), summarize(small_pages)
    assert (part.exact, part.to_add, part.to_remove) == (False, None, None)
    assert (whole.exact, whole.to_add, whole.to_remove) == (True, 3, 2)


def test_a_cohort_whose_pages_repeat_somebody_is_counted_and_not_compared(small_pages: Workspace) -> None:
    """Everybody Mixpanel sent was read: the numbers are theirs, and prove nothing about the three not sent."""
    small_pages.export()
    small_pages.sandbox.fault("displaced", path="/engage", page=1, by=3, times=0)
    with small_pages.open() as service:
        reading = read(service, small_pages.cohort)
        found, listed = service.members.summarize(reading), service.members.list(reading)
    assert (counts(found), found.exact, found.is_least) == ((22, 0, 0, 22), False, False)
    assert (found.to_remove, listed.count_change(MemberChange.REMOVE), len(listed.rows)) == (None, 0, 22)


@pytest.mark.parametrize(("profiles", "identified"), [(25, 10), (8, 8)])
def test_a_part_whose_total_counts_its_own_page_is_the_least(
    small_pages: Workspace, profiles: int, identified: int
) -> None:
    """“About 10” would promise that nobody else is in a cohort of 25, whether or not the first page of profiles is full."""
    small_pages.sandbox.settings(total="page")
    people = [*(member(f"fan-{n}") for n in range(profiles)), *(anonymous(f"ghost-{n}") for n in range(25 - profiles))]
    small_pages.sandbox.set_members(small_pages.cohort, people)
    found = summarize(small_pages, 2)
    assert (found.total, found.identified, found.is_least, found.exact) == (10, identified, True, False)


@pytest.mark.parametrize(("profile_total", "total"), [(25, 25), (5, 10)])
def test_a_part_without_a_total_has_at_least_those_read_and_those_with_a_profile(
    connected: Workspace, profile_total: int, total: int
) -> None:
    """Whichever number is larger is known to be too low at most."""
    connected.add_cohort(1)
    found = estimate(connected, None, profile_total, (IDENTIFIED,) * 10)
    assert (found.total, found.identified, found.is_least) == (total, 10, True)


def test_devices_and_invalid_ids_of_a_part_are_estimated_by_their_share_of_those_with_a_profile(
    connected: Workspace,
) -> None:
    """Five of twenty profiles were read: one device, one invalid id and one person never exported stand for four each."""
    connected.add_cohort(1)
    keep_out(connected, "fan-0")
    owners = (IDENTIFIED,) * 3 + (Eligibility.DEVICE_ONLY, Eligibility.LONG_ID)
    found = estimate(connected, 40, 20, owners + (NOBODY,) * 5)
    assert (counts(found), found.never_exported) == ((12, 24, 4, 40), 4)
    assert not found.is_least and not found.exact


@pytest.mark.parametrize(("profile_total", "total"), [(18, 20), (22, 22)])
def test_a_part_is_never_more_than_the_estimate_of_the_whole(
    connected: Workspace, profile_total: int, total: int
) -> None:
    """The cohort grew while it was read: fifteen were announced, and twenty are here."""
    connected.add_cohort(1)
    found = estimate(connected, 15, profile_total, (IDENTIFIED,) * 10, (IDENTIFIED,) * 10)
    assert found.total == total


def test_somebody_whose_removal_was_rejected_and_who_is_back_is_a_member_like_others(connected: Workspace) -> None:
    """Nobody removes them now, so that it was rejected explains nothing."""
    connected.add_cohort(5)
    connected.export()
    connected.sandbox.poison("fan-0")
    everybody = [member(f"fan-{n}") for n in range(5)]
    connected.sandbox.set_members(connected.cohort, everybody[1:])
    connected.export()
    connected.sandbox.set_members(connected.cohort, everybody)
    with connected.open() as service:
        listed = service.members.list(read(service, connected.cohort))
    assert {(one.change, one.reason) for one in listed.rows} == {
        (MemberChange.UNCHANGED, "Has a profile and a User ID")
    }


def test_people_held_by_another_property_are_removed_for_that_reason(connected: Workspace) -> None:
    """They have not left the cohort: their User ID is another one by the property that is looked at."""
    connected.cohort = connected.sandbox.add_cohort("Fans", [member(f"fan-{n}", customer=f"c-{n}") for n in range(2)])
    connected.export(id_property="customer")
    with connected.open() as service:
        listed = service.members.list(read(service, connected.cohort, id_property=""))
    gone = {one.user_id: one.reason for one in listed.rows if one.status is MemberStatus.LEFT}
    assert gone == dict.fromkeys(("c-0", "c-1"), "A User ID of another property")


def test_people_who_are_not_confirmed_are_counted_and_named(connected: Workspace) -> None:
    """The next run sends them again; until then nobody knows that they are true."""
    connected.add_cohort(3)
    connected.export()
    with connected.open_store() as store:
        store.snapshot.unconfirm()
    with connected.open() as service:
        listed = service.members.list(read(service, connected.cohort))
    assert (listed.unsure, [one.is_unsure for one in listed.rows]) == (3, [True] * 3)


def test_a_part_with_its_last_page_is_not_the_first_members_and_has_no_problem_yet(small_pages: Workspace) -> None:
    """Pages that nobody asked for are not missing; “first 15” would be others."""
    with small_pages.open() as service:
        reading = read(service, small_pages.cohort, 2)
        assert service.members.list(reading).is_contiguous
        service.members.read_next(reading, backwards=True)
        listed = service.members.list(reading)
    assert (listed.read, listed.is_contiguous, listed.problem) == (15, False, "")


def test_numbers_of_a_reading_count_doubles_and_keep_the_sample_of_the_preview(connected: Workspace) -> None:
    """Two members with one User ID are one person, and the dialog goes on showing the ids it showed."""
    people = [member(f"fan-{n}", customer=f"c-{min(n, 3)}") for n in range(5)]
    cohort = connected.sandbox.add_cohort("Fans", people)
    with connected.open() as service:
        before = service.cohorts.preview(PROJECT, cohort, id_property="customer")
        found = service.members.summarize(read(service, cohort, id_property="customer"))
    assert before.sample and (found.sample, found.doubles) == (before.sample, 1)


def test_somebody_in_webengage_whose_new_values_were_rejected_stays_true(connected: Workspace) -> None:
    """They are reached by campaigns as before: only those who never came in are rejected."""
    connected.cohort = connected.sandbox.add_cohort("Fans", [member(f"fan-{n}", plan="gold") for n in range(3)])
    connected.export(mapping=(("plan", "Plan"),))
    connected.sandbox.poison("fan-1")
    connected.sandbox.set_members(connected.cohort, [member(f"fan-{n}", plan="silver") for n in range(3)])
    connected.export()
    with connected.open() as service:
        listed = service.members.list(read(service, connected.cohort))
    assert {(one.in_webengage, one.change) for one in listed.rows} == {(True, MemberChange.UNCHANGED)}
