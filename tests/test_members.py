"""The members of a cohort: everybody, exact, identified or not and why, beside what WebEngage holds."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

import pytest

from sync.errors import CohortSyncError, InvalidRequest, RetryLater
from sync.permissions import AccessLevel, Actor, Forbidden
from sync.service import Service
from sync.service.member_reading import MemberReading
from sync.service.members import RETRY_PAUSES, mask_value
from sync.store import Store
from sync.views import MemberChange, MemberList, MemberRow, MemberStatus
from tests.sandbox.control import PROJECT, Member, Sandbox, anonymous, member, odd
from tests.workspace import Workspace, read_everything_stored

IDENTIFIED, ANONYMOUS, INVALID, LEFT = MemberStatus
DEVICE_PREFIX = "$device:"


@pytest.fixture(scope="module")
def seeded() -> Iterator[Sandbox]:
    """Start the demo's project; only looked at."""
    with Sandbox.start(empty=False) as running:
        yield running


@pytest.fixture
def small_pages(connected: Workspace) -> Workspace:
    """Connect a workspace to a Mixpanel that sends ten members a page."""
    connected.sandbox.settings(page_size=10)
    return connected


def read_all(service: Service, cohort: int, properties: tuple[str, ...] = ()) -> MemberReading:
    """Read a whole cohort without waiting between tries."""
    reading = service.members.begin(PROJECT, cohort, properties)
    while service.members.read_next(reading, sleep=lambda _: None):
        pass
    return reading


def list_all(workspace: Workspace, cohort: int) -> MemberList:
    """Return everybody in a cohort, masked."""
    with workspace.open() as service:
        return service.members.list(read_all(service, cohort))


def rows_of(listed: MemberList, status: MemberStatus) -> list[MemberRow]:
    """Return those with a status."""
    return [row for row in listed.rows if row.status is status]


def ids_of(listed: MemberList, status: MemberStatus) -> set[str]:
    """Return the ids of those with a status."""
    return {row.user_id for row in rows_of(listed, status)}


@pytest.mark.slow
def test_every_demo_cohort_is_listed_as_mixpanel_has_it(workspace: Workspace, seeded: Sandbox) -> None:
    """Each identified, anonymous and invalid member of each cohort of people, counted and named exactly."""
    workspace.connect(seeded)
    with workspace.open() as service:
        cohorts = [one for one in service.cohorts.list().cohorts if not one.group]
        assert len(cohorts) == 12
        for cohort in cohorts:
            listed = service.members.list(read_all(service, cohort.id))
            truth = seeded.call("GET", f"cohorts/{cohort.id}/ids")
            devices = {one for one in truth["with_profile"] if one.startswith(DEVICE_PREFIX)}
            long = {one for one in truth["with_profile"] if len(one) > 100}
            assert listed.is_exact, cohort.name
            assert ids_of(listed, IDENTIFIED) == seeded.exportable(cohort.id), cohort.name
            assert ids_of(listed, ANONYMOUS) == {*truth["without_profile"], *devices}, cohort.name
            assert ids_of(listed, INVALID) == long, cohort.name
            assert all(row.reason for row in listed.rows), cohort.name


@pytest.mark.parametrize("shape", ["missing", "null", "empty", "rotate"])
@pytest.mark.parametrize("page_size", [10, 1000])
def test_an_empty_profile_is_told_from_none(connected: Workspace, shape: str, page_size: int) -> None:
    """Whatever Mixpanel sends for nobody, and whoever has none of the properties asked for: the numbers are exact."""
    connected.sandbox.settings(bare_shape=shape, page_size=page_size)
    bare = [member(f"bare-{number}", plan="gold") for number in range(15)]
    nobody = [anonymous(f"nobody-{number}") for number in range(12)]
    cohort = connected.sandbox.add_cohort(
        "Mixed", [*bare, *nobody, member("ann"), anonymous("$device:1"), member("x" * 101)]
    )
    listed = list_all(connected, cohort)
    assert listed.is_exact
    assert ids_of(listed, IDENTIFIED) == {"ann", *(one["id"] for one in bare)}
    assert ids_of(listed, ANONYMOUS) == {"$device:1", *(one["id"] for one in nobody)}
    assert ids_of(listed, INVALID) == {"x" * 101}


@pytest.mark.parametrize("shape", ["missing", "null", "empty"])
@pytest.mark.parametrize("nameless", [[anonymous(""), anonymous(" ")], [anonymous(""), member(" ")]])
def test_a_member_without_a_profile_is_anonymous_everywhere_whatever_their_id(
    connected: Workspace, shape: str, nameless: list[Member]
) -> None:
    """Mixpanel's totals, of which a preview is made, know no ids: an empty one without a profile was invalid here only."""
    connected.sandbox.settings(bare_shape=shape)
    fans = [member(f"fan-{number}") for number in range(5)]
    connected.cohort = connected.sandbox.add_cohort("Fans", [*fans, *nameless, anonymous("x" * 101)])
    invalid = sum(one["properties"] is not None for one in nameless)
    counts = {"identified": 5, "anonymous": 3 - invalid, "invalid": invalid}
    shown = connected.read_json("preview", str(connected.cohort))
    assert {name: shown[name] for name in counts} == counts
    listed = list_all(connected, connected.cohort)
    assert {status.value: len(rows_of(listed, status)) for status in (IDENTIFIED, ANONYMOUS, INVALID)} == counts
    assert listed.is_exact
    run = connected.export()
    with connected.open() as service:
        receipt = service.receipts.read(PROJECT, connected.cohort)
    assert (run.identified, run.anonymous, run.invalid) == (5, 0, invalid)  # a run reads profiles only
    assert (receipt.anonymous, receipt.invalid) == (3 - invalid, invalid)


def test_odd_rows_are_invalid_members_each(connected: Workspace) -> None:
    """Rows without a usable id are counted one by one and never merged."""
    cohort = connected.sandbox.add_cohort(
        "Odd",
        [
            member("ann"),
            member(""),
            odd("null"),
            odd("half_emoji"),
            odd("list"),
            odd("null_row", place="row"),
        ],
    )
    listed = list_all(connected, cohort)
    assert (len(rows_of(listed, INVALID)), ids_of(listed, IDENTIFIED)) == (5, {"ann"})


def test_each_member_is_compared_with_what_webengage_holds(fans: Workspace) -> None:
    """Who came would be added, who left or lost the profile removed, who was removed before holds false."""
    fans.export()
    fans.sandbox.set_members(fans.cohort, [member(f"fan-{number}") for number in range(2, 30)])
    fans.export()
    now = [anonymous("fan-3"), *(member(f"fan-{number}") for number in range(4, 30)), member("fan-0"), member("new")]
    fans.sandbox.set_members(fans.cohort, now)
    rows = {row.user_id: row for row in list_all(fans, fans.cohort).rows}
    found = {user_id: (row.in_webengage, row.change) for user_id, row in rows.items()}
    assert found["new"] == (None, MemberChange.ADD)
    assert found["fan-0"] == (False, MemberChange.ADD)
    assert found["fan-2"] == (True, MemberChange.REMOVE) and rows["fan-2"].status is LEFT
    assert found["fan-3"] == (True, MemberChange.REMOVE) and rows["fan-3"].status is ANONYMOUS
    assert found["fan-9"] == (True, MemberChange.UNCHANGED)
    assert "fan-1" not in rows
    assert Counter(row.change for row in rows.values()) == {"add": 2, "remove": 2, "unchanged": 26}


@pytest.mark.parametrize("untold", ["", "total"])
def test_nobody_would_be_removed_before_everybody_is_read(small_pages: Workspace, untold: str) -> None:
    """A part of a cohort proves nothing about who is missing from it, also where no total says that it is a part."""
    small_pages.add_cohort(25)
    small_pages.export()
    if untold:
        small_pages.sandbox.settings(untold=untold)
    with small_pages.open() as service:
        reading = service.members.begin(PROJECT, small_pages.cohort)
        for _ in range(2):
            assert service.members.read_next(reading)
        listed = service.members.list(reading)
        assert (listed.read, listed.total, listed.is_complete) == (10, None if untold else 25, False)
        assert listed.count_change(MemberChange.REMOVE) == 0


def test_who_would_be_removed_only_as_another_user_id_is_chosen_has_not_left_the_cohort(connected: Workspace) -> None:
    """One fan left, the other stays under the ID of the property; the table says which of both it is."""
    connected.cohort = connected.sandbox.add_cohort("Fans", [member("a", customer="c-1"), member("b")])
    connected.export()
    connected.sandbox.set_members(connected.cohort, [member("a", customer="c-1")])
    left, old = "No longer in the cohort", "A User ID of another property"
    with connected.open() as service:
        for chosen, reasons in ((None, {"b": left}), ("customer", {"a": old, "b": old})):
            reading = service.members.begin(PROJECT, connected.cohort, id_property=chosen)
            while service.members.read_next(reading):
                pass
            gone = [row for row in service.members.list(reading).rows if row.change is MemberChange.REMOVE]
            assert {row.user_id: row.reason for row in gone} == reasons


def test_a_reading_when_pages_repeat_somebody_is_not_exact(small_pages: Workspace) -> None:
    """Nobody is said to leave, and the reason is said."""
    small_pages.add_cohort(25)
    small_pages.export()
    small_pages.sandbox.fault("displaced", path="/engage", page=1, by=3, times=0)
    listed = list_all(small_pages, small_pages.cohort)
    assert not listed.is_exact and "more than once" in listed.problem
    assert listed.count_change(MemberChange.REMOVE) == 0
    done = small_pages.run_cli("members", str(small_pages.cohort), "--json")
    assert done.returncode == 1 and "more than once" in done.stderr and not done.stdout


@pytest.mark.parametrize(
    "fault", ["expired_session", "another_session", "another_page_size", "another_total", "status"]
)
def test_a_reading_when_disturbed_once_begins_again(small_pages: Workspace, fault: str) -> None:
    """A page of another session, size or total, a session that ended and a 503 cost requests, never a member."""
    small_pages.add_cohort(45)
    more = {"code": 503} if fault == "status" else {"by": 3}
    small_pages.sandbox.fault(fault, path="/engage", page=2, times=1, **more)
    assert len(ids_of(list_all(small_pages, small_pages.cohort), IDENTIFIED)) == 45


def test_a_reading_when_pages_never_agree_ends_with_the_reason(small_pages: Workspace) -> None:
    """It does not begin again for ever."""
    small_pages.add_cohort(45)
    small_pages.sandbox.fault("another_session", path="/engage", page=1, times=0)
    with pytest.raises(CohortSyncError, match="did not stay together"):
        list_all(small_pages, small_pages.cohort)


def test_a_page_when_mixpanel_fails_again_and_again_is_asked_for_four_times_and_then_given_up(
    small_pages: Workspace,
) -> None:
    """A reading that only went on would ask for the same page for ever; meanwhile it says why it waits."""
    cohort = small_pages.add_cohort(25)
    small_pages.sandbox.fault("status", path="/engage", code=503, times=0)
    waits: list[tuple[float, bool]] = []
    with small_pages.open() as service:
        reading = service.members.begin(PROJECT, cohort)
        before = sum(small_pages.sandbox.meter().requests.values())
        with pytest.raises(RetryLater):
            service.members.read_next(
                reading, sleep=lambda seconds: waits.append((seconds, "503" in reading.why_again))
            )
        assert waits == [(pause, True) for pause in RETRY_PAUSES] and reading.why_again == ""
        assert sum(small_pages.sandbox.meter().requests.values()) == before + 4


@pytest.mark.parametrize("said", ["61/60 queries running in the last hour", "Too many requests"])
def test_a_page_when_mixpanel_says_that_the_hour_is_used_up_is_not_asked_for_again(
    small_pages: Workspace, said: str
) -> None:
    """The hour ends in many minutes: a person who waits some seconds more waits for nothing."""
    cohort = small_pages.add_cohort(25)
    with small_pages.open() as service:
        reading = service.members.begin(PROJECT, cohort)
        small_pages.sandbox.fault("status", path="/engage", code=429, times=0, body={"error": said})
        waits: list[float] = []
        with pytest.raises(RetryLater, match="its limit is reached"):
            service.members.read_next(reading, sleep=waits.append)
        assert waits == []


def test_everybody_is_read_when_mixpanel_refuses_the_page_behind_a_full_last_one(small_pages: Workspace) -> None:
    """400 says that nobody follows where everybody announced is here; twice without a total, that it is not known."""
    cohort = small_pages.sandbox.add_cohort("Mixed", [*(member(f"fan-{n}") for n in range(19)), anonymous("ghost")])
    small_pages.sandbox.fault("status", path="/engage", page=2, code=400, times=0)
    listed = list_all(small_pages, cohort)
    assert (listed.is_exact, len(ids_of(listed, IDENTIFIED)), ids_of(listed, ANONYMOUS)) == (True, 19, {"ghost"})
    small_pages.sandbox.settings(untold="total")
    listed = list_all(small_pages, cohort)
    assert not listed.is_exact and "refused the page after 20 members" in listed.problem
    assert len(ids_of(listed, IDENTIFIED)) == 19


def test_a_list_ends_when_both_kinds_of_pages_are_refused_behind_a_full_one(small_pages: Workspace) -> None:
    """Everybody, and those with a profile, are read in sessions of their own: each is refused twice."""
    small_pages.sandbox.settings(untold="page_size and total", behind_last=404, bare_shape="empty")
    ghosts = [anonymous(f"ghost-{number}") for number in range(5)]
    cohort = small_pages.sandbox.add_cohort("Mixed", [member("fan"), *ghosts])
    listed = list_all(small_pages, cohort)
    assert (listed.is_exact, len(ids_of(listed, ANONYMOUS)), ids_of(listed, IDENTIFIED)) == (False, 5, {"fan"})


@pytest.mark.parametrize(
    "reading",
    [
        {"total": "page"},
        {"untold": "total"},
        {"untold": "page_size"},
        {"null_session_at_end": True},
        {"untold": "page_size and total", "behind_last": 400},
        {"total": "page", "total_on_later_pages": False, "behind_last": 404},
    ],
    ids=str,
)
def test_everybody_is_read_whatever_the_pages_leave_out(small_pages: Workspace, reading: dict[str, object]) -> None:
    """While a page is full the next one is asked for, whatever the total says."""
    small_pages.sandbox.settings(**reading)
    cohort = small_pages.sandbox.add_cohort("Mixed", [*(member(f"fan-{n}") for n in range(30)), anonymous("ghost")])
    listed = list_all(small_pages, cohort)
    assert (listed.is_exact, len(ids_of(listed, IDENTIFIED)), ids_of(listed, ANONYMOUS)) == (True, 30, {"ghost"})


def test_numbers_when_everybody_was_read_replace_the_estimate(small_pages: Workspace) -> None:
    """The stored preview says them exactly, names nobody new, and asks Mixpanel nothing."""
    cohort = small_pages.sandbox.add_cohort(
        "Mixed",
        [*(member(f"fan-{n}") for n in range(30)), *[anonymous(f"$device:{n}") for n in range(9)], member("x" * 101)],
    )
    with small_pages.open() as service:
        assert not service.cohorts.preview(PROJECT, cohort).exact
        service.members.save_numbers(read_all(service, cohort))
        asked = small_pages.sandbox.meter().requests
        found = service.cohorts.preview(PROJECT, cohort)
        assert small_pages.sandbox.meter().requests == asked
        assert (found.exact, found.total, found.identified, found.anonymous, found.invalid) == (True, 40, 30, 9, 1)
        assert "$email" in found.properties
    assert "fan-27" not in read_everything_stored(small_pages.data_dir).decode(errors="replace")


@pytest.mark.parametrize("stays", [True, False])
def test_an_id_that_only_reads_like_that_of_somebody_is_nobody_in_webengage(connected: Workspace, stays: bool) -> None:
    """A number beyond 2^53 is no id. The person who has it as text was said to be removed, or was not listed as left."""
    same = member("12345678901234567891")
    cohort = connected.sandbox.add_cohort("People", [member("a"), same])
    connected.export(cohort)
    connected.sandbox.set_members(cohort, [member("a"), *([same] if stays else []), odd("beyond_2_53")])
    with connected.open() as service:
        listed = service.members.list(read_all(service, cohort))
    rows = {row.status: row for row in listed.rows if row.user_id == same["id"]}
    assert (rows[MemberStatus.INVALID].in_webengage, rows[MemberStatus.INVALID].change) == (None, MemberChange.NONE)
    other = rows[MemberStatus.IDENTIFIED if stays else MemberStatus.LEFT]
    assert other.in_webengage and other.change is (MemberChange.UNCHANGED if stays else MemberChange.REMOVE)
    assert connected.export(cohort).exited == listed.count_change(MemberChange.REMOVE) == int(not stays)


def test_values_are_masked_and_shown_to_a_marketer_only(connected: Workspace) -> None:
    """Name, address and any other property; plain and reserved names; asked once an hour, the audit has one line."""
    people = [
        member("a", **{"$first_name": "Ann", "$last_name": "Lee", "$email": "ann@example.com", "plan": "gold"}),
        member("b", name="Bob", email="bob@there.org", plan=7),
    ]
    cohort = connected.sandbox.add_cohort("People", people)
    with connected.open() as service:
        reading = read_all(service, cohort, ("plan",))
        masked = service.members.list(reading)
        assert masked.columns == ("Name", "E-mail", "plan")
        assert [row.values for row in masked.rows] == [("A…", "a…@e…", "g…"), ("B…", "b…@t…", "7…")]
        for _ in range(3):
            shown = service.members.list(reading, reveal=True)
        assert [row.values for row in shown.rows] == [
            ("Ann Lee", "ann@example.com", "gold"),
            ("Bob", "bob@there.org", "7"),
        ]
        lines = [line for line in service.admin.list_audit(100) if line.action.startswith("show names")]
        assert len(lines) == 1 and lines[0].target == f"project {PROJECT}, cohort {cohort}"
    viewer = Service(Store.open(connected.data_dir), connected.env, connected.now, Actor("vic", AccessLevel.VIEWER))
    with viewer:
        assert viewer.members.list(reading).rows == masked.rows
        with pytest.raises(Forbidden):
            viewer.members.list(reading, reveal=True)
        with pytest.raises(Forbidden):
            viewer.members.note_download(reading, "everybody")
    stored = read_everything_stored(connected.data_dir).decode(errors="replace")
    assert not [value for value in ("ann@example.com", "Ann Lee", "bob@there", "gold") if value in stored]


def test_a_column_when_nobody_has_a_value_is_named(connected: Workspace) -> None:
    """Mixpanel leaves classified properties out without a word; the page must not look as if people had none."""
    cohort = connected.sandbox.add_cohort("People", [member("a", **{"$name": "Ann"})])
    assert list_all(connected, cohort).empty_columns == ("E-mail",)


@pytest.mark.parametrize(("value", "masked"), [("", ""), ("ann@example.com", "a…@e…"), ("Ann", "A…"), ("@", "…@…")])
def test_a_masked_value_names_nobody(value: str, masked: str) -> None:
    """A letter is left of each part."""
    assert mask_value(value) == masked


def test_the_command_lists_members_with_their_reasons(connected: Workspace) -> None:
    """As JSON and CSV, all or of one status, with ids exactly as Mixpanel has them."""
    cohort = connected.sandbox.add_cohort("Mixed", [member("007"), member("=1"), anonymous("ghost"), member("y" * 101)])
    found = connected.read_json("members", str(cohort))
    assert [(one["user_id"], one["status"]) for one in found] == [
        ("007", "identified"),
        ("=1", "identified"),
        ("ghost", "anonymous"),
        ("y" * 101, "invalid"),
    ]
    assert all(one["reason"] for one in found)
    done = connected.run_cli("members", str(cohort), "--only", "anonymous", "--csv")
    [row] = csv.DictReader(io.StringIO(done.stdout))
    assert (row["user_id"], row["status"]) == ("ghost", "anonymous")
    assert connected.read_json("preview", str(cohort))["exact"] is True
    assert connected.run_cli("members", "1", "--json").returncode == 1
    assert connected.run_cli("members", str(cohort), "--json", "--csv").returncode == 2


def test_a_group_cohort_has_no_members_to_list(connected: Workspace) -> None:
    """It is refused with the reason."""
    cohort = connected.sandbox.add_cohort("Rooms", [member("room")], data_group_id="7")
    with pytest.raises(InvalidRequest, match="groups"):
        list_all(connected, cohort)
