"""Whom a run adds, updates, removes or could not take: before anybody approves, under way, and afterwards."""

from __future__ import annotations

import itertools
import json

import pytest
from click.testing import CliRunner

from sync.cli.commands import cli
from sync.errors import InvalidRequest
from sync.model import Mode
from sync.service.run_people import PeopleFilter
from sync.views import RunPeople
from tests.sandbox.control import PROJECT, Sandbox, anonymous, member, odd
from tests.workspace import Workspace, click_button, page_text

TABLE_PIXELS = 907  # the width of a table on a laptop, beside the side bar
FIRST, AFTERWARDS = range(60), range(5, 70)  # the fans of the first export and of the refresh that is held


def count(people: RunPeople) -> dict[tuple[str, str], int]:
    """Return the counts of a page by operation and outcome."""
    return {(one.operation, one.outcome): one.people for one in people.counts}


@pytest.fixture
def held(connected: Workspace, sandbox: Sandbox) -> int:
    """Export some fans, change the cohort, and hold its next run; return the number of that run."""
    connected.cohort = sandbox.add_cohort("Fans", [member(f"fan-{n}") for n in FIRST])
    connected.export()
    people = [*(member(f"fan-{n}") for n in AFTERWARDS), anonymous("ghost"), member(""), member("x" * 101)]
    sandbox.set_members(connected.cohort, people)
    return connected.export(dry_run=True).id


def test_people_of_a_held_run_are_the_difference_of_the_sandbox(held: int, connected: Workspace) -> None:
    """Everybody whom approving would add or remove is listed with their id, and who cannot be sent with the reason."""
    with connected.open() as service:
        people = service.runs.list_people(held, limit=1000)
        found = {(row.operation, row.user_id) for row in people.rows if row.outcome == "not sent"}
        assert found == {("add", f"fan-{n}") for n in range(60, 70)} | {("remove", f"fan-{n}") for n in range(5)}
        assert [row.reason for row in people.rows if row.outcome == "invalid"] == ["empty id", "id over 100 characters"]
        assert count(people) == {("add", "not sent"): 10, ("remove", "not sent"): 5, ("none", "invalid"): 2}


def test_people_when_paged_and_filtered_are_each_listed_once(held: int, connected: Workspace) -> None:
    """Pages do not overlap, a filter leaves what its count promised, and part of an id in any letters finds a person."""
    with connected.open() as service:
        whole = service.runs.list_people(held, limit=1000).rows
        pages = [service.runs.list_people(held, limit=4, offset=at).rows for at in range(0, len(whole), 4)]
        assert tuple(itertools.chain.from_iterable(pages)) == whole and len(pages[-1]) == 1
        removed = service.runs.list_people(held, PeopleFilter(operation="remove"), limit=2)
        assert (len(removed.rows), removed.matching, sum(one.people for one in removed.counts)) == (2, 5, 17)
        found = service.runs.list_people(held, PeopleFilter(outcome="not sent", text=" FAN-6"))
        assert {row.user_id for row in found.rows} == {f"fan-{n}" for n in range(60, 70)}
        assert not service.runs.list_people(held, offset=1000).rows
        with pytest.raises(InvalidRequest, match="no run 999"):
            service.runs.list_people(999)


@pytest.mark.parametrize(
    ("wanted", "matching"),
    [
        (PeopleFilter(), 2400),
        (PeopleFilter(operation="add"), 2100),
        (PeopleFilter(operation="remove"), 300),
        (PeopleFilter(outcome="rejected"), 2),
        (PeopleFilter(outcome="accepted", text="fan-1"), 1109),
    ],
)
def test_people_of_a_large_run_when_paged_under_a_filter_are_each_on_one_page(
    connected: Workspace, sandbox: Sandbox, wanted: PeopleFilter, matching: int
) -> None:
    """Its people are stored a thousand together, and page 2 of those it removes begins within the second thousand."""
    connected.cohort = sandbox.add_cohort("Fans", [member(f"fan-{n}") for n in range(600)])
    connected.export()
    sandbox.set_members(connected.cohort, [member(f"fan-{n}") for n in range(300, 2700)])
    run = connected.export(dry_run=True)
    if wanted.outcome:
        sandbox.poison("fan-1000", "fan-1001")
        with connected.open() as service:
            service.runs.approve(run.id)
        connected.run_queued()
    with connected.open() as service:
        whole = service.runs.list_people(run.id, wanted, limit=5000)
        pages = [service.runs.list_people(run.id, wanted, limit=130, offset=at) for at in range(0, matching, 130)]
    assert len(whole.rows) == len({row.user_id for row in whole.rows}) == whole.matching == matching
    assert tuple(itertools.chain.from_iterable(page.rows for page in pages)) == whole.rows
    assert {page.matching for page in pages} == {matching} and {page.counts for page in pages} == {whole.counts}


def test_people_are_found_by_the_label_with_which_a_tripwire_names_them(connected: Workspace) -> None:
    """The reason of a held run shows the ends of an id only; searched for as it stands, it finds whom it may mean."""
    ids = ("person7@example.com", "Peter@example.com", "person7@example.org", "ann@example.com")
    connected.cohort = connected.sandbox.add_cohort("Fans", [member(one) for one in ids])
    with connected.open() as service:
        service.safety.add_tripwires(PROJECT, None, ["person7@example.com"])
    run = connected.export()
    assert "(pe•••m)" in str(run.held_reason)
    with connected.open() as service:
        found = service.runs.list_people(run.id, PeopleFilter(text="pe•••m"))
        assert {row.user_id for row in found.rows} == {"person7@example.com", "Peter@example.com"}
    app = connected.page("cohorts", cohort=str(connected.cohort))
    app.text_input(key="member-search").set_value("PE•••g").run()
    assert list(app.dataframe[0].value["User ID"]) == ["person7@example.org"]


def test_people_after_the_run_have_what_webengage_answered(held: int, connected: Workspace, sandbox: Sandbox) -> None:
    """Accepted and rejected people stand with the reason, equal to what WebEngage holds, and to the run's CSV."""
    sandbox.poison("fan-61", "fan-62")
    with connected.open() as service:
        service.runs.approve(held)
        connected.run_queued()
        people = service.runs.list_people(held, limit=1000)
        rejected = service.runs.list_people(held, PeopleFilter(outcome="rejected"))
        assert set(people.rows) == {row for row in service.runs.iterate_export_rows(held) if row.operation != "no-op"}
    assert count(people)[("add", "accepted")] == 8 and count(people)[("remove", "accepted")] == 5
    assert {row.user_id for row in rejected.rows} == {"fan-61", "fan-62"} and all(row.reason for row in rejected.rows)
    added = {row.user_id for row in people.rows if (row.operation, row.outcome) == ("add", "accepted")}
    assert added <= sandbox.holding("Mixpanel - Fans")[0]


def test_people_of_a_run_under_way_that_were_rejected_are_listed_so(held: int, connected: Workspace) -> None:
    """Between two batches the plan is not yet logged: a rejection stands over what was planned, and in flight is told."""
    with connected.open_database() as db:
        db.execute("update batch set state = 'in_flight' where run_id = ?", (held,))
        db.execute(
            "insert into rejection (run_id, sync_id, user_id, kind, outcome, reason, at, active) "
            "values (?, 1, 'fan-60', 'add', 'rejected', 'bad phone', 0, 1)",
            (held,),
        )
    with connected.open() as service:
        assert count(service.runs.list_people(held)) == {
            ("add", "unconfirmed"): 9,
            ("add", "rejected"): 1,
            ("remove", "unconfirmed"): 5,
            ("none", "invalid"): 2,
        }


def test_people_while_an_approved_plan_is_compared_are_not_those_of_the_old_plan(
    held: int, connected: Workspace
) -> None:
    """A plan set aside, to be compared with the cohort of now, is not what the run is going to send."""
    with connected.open_store() as store:
        store.batches.set_aside(held)
    with connected.open() as service:
        assert count(service.runs.list_people(held)) == {("none", "invalid"): 2}


def test_table_of_people_gives_the_reason_nearly_half_of_its_width(connected: Workspace, sandbox: Sandbox) -> None:
    """Why somebody was rejected is a sentence; the other columns are a few words each."""
    connected.cohort = sandbox.add_cohort("Fans", [member("fan-1"), member("")])
    run = connected.export()
    [table] = connected.page("runs", run=str(run.id)).dataframe
    widths = {name: one["width"] for name, one in json.loads(table.proto.columns).items() if "width" in one}
    assert set(widths) == {"User ID", "Change", "Outcome", "Reason"}
    assert widths["Reason"] >= 400 and sum(widths.values()) <= TABLE_PIXELS


def test_people_after_their_retention_are_not_listed(held: int, connected: Workspace) -> None:
    """Once the details of a run were deleted, its page says so instead of an empty table."""
    connected.ahead = 40 * 86400.0
    with connected.open() as service:
        service.runs.approve(held)
        connected.run_queued()
        connected.ahead = 80 * 86400.0
        service.admin.purge_expired()
        assert service.runs.list_people(held).counts == ()
    assert "no longer stored" in page_text(connected.page("runs", run=str(held)))


def test_page_of_a_run_cancelled_before_it_sent_offers_no_empty_file(connected: Workspace) -> None:
    """Its people are not kept because nothing was sent, not because their days are over."""
    connected.add_cohort(5)
    run = connected.export(dry_run=True)
    with connected.open() as service:
        service.runs.cancel(run.id)
    connected.run_queued()
    app = connected.page("runs", run=str(run.id))
    assert "Nothing was sent, so the people it would have changed are not kept." in page_text(app)
    assert "no longer stored" not in page_text(app) and not app.get("download_button")


def test_page_of_a_held_run_shows_whom_it_would_add_and_remove(held: int, connected: Workspace) -> None:
    """Before Approve is pressed the names of the table's rows are there, with the file, and no number that is zero."""
    app = connected.page("runs", run=str(held))
    frame = app.dataframe[0].value
    assert {"fan-60", "fan-0"} <= set(frame["User ID"]) and "Approve" in {button.label for button in app.button}
    assert [button.label for button in app.get("download_button")] == ["CSV of this run"]
    text = page_text(app)
    assert "To add" in text and "To update" not in text and "Rejected\n" not in text
    pills = [str(option) for option in app.get_by_key(f"people-operation-{held}").options]
    assert pills == ["Everybody 17", "To add 10", "To remove 5", "Cannot be sent 2"]


def test_page_of_people_when_a_filter_is_pressed_shows_only_those(held: int, connected: Workspace) -> None:
    """The table follows the filter and the search, and says how many there are."""
    app = connected.page("runs", run=str(held))
    app.get_by_key(f"people-operation-{held}").set_value("remove").run()
    assert set(app.dataframe[0].value["User ID"]) == {f"fan-{n}" for n in range(5)}
    app.text_input(key=f"people-text-{held}").set_value("fan-3").run()
    assert list(app.dataframe[0].value["User ID"]) == ["fan-3"]
    app.text_input(key=f"people-text-{held}").set_value("nobody").run()
    assert "Nobody matches" in page_text(app)


def test_page_of_a_run_when_somebody_is_not_among_its_people_says_where_they_are_found(
    held: int, connected: Workspace
) -> None:
    """Who stays as they are or is anonymous is in no list of a run: the page says so, and looks them up as typed."""
    app = connected.page("runs", run=str(held))
    app.text_input(key=f"people-text-{held}").set_value("Ghost-7").run()
    text = page_text(app)
    assert "or are anonymous in Mixpanel" in text and "See members lists everybody" in text
    click_button(app, "Look up this User ID")
    assert app.title[0].value == "What happened to this person?"
    assert "Ghost-7" in page_text(app) and "Nothing is stored about this person" in page_text(app)


def test_the_two_filters_of_a_run_are_named_apart(fans: Workspace, sandbox: Sandbox) -> None:
    """One is about everybody, the other about the outcomes of those who are changed."""
    sandbox.poison("fan-1")
    run = fans.export()
    app = fans.page("runs", run=str(run.id))
    first = [str(app.get_by_key(f"people-{name}-{run.id}").options[0]) for name in ("operation", "outcome")]
    assert first == ["Everybody 30", "Any outcome 30"]


def test_command_lists_the_people_of_a_held_run(held: int, connected: Workspace) -> None:
    """The command prints the same people as the page, as lines and as one JSON document."""
    listed = CliRunner().invoke(cli, ["people", str(held), "--json"])
    assert listed.exit_code == 0 and len(json.loads(listed.stdout)) == 17
    assert {"user_id": "fan-60", "operation": "add", "outcome": "not sent", "reason": ""} in json.loads(listed.stdout)
    assert (
        "fan-0    remove     not sent\n"
        in CliRunner().invoke(cli, ["people", str(held), "--operation", "remove"]).stdout
    )
    file = CliRunner().invoke(cli, ["people", str(held), "--search", "fan-61", "--csv"]).stdout.splitlines()
    assert file == ['"user_id","operation","outcome","reason"', '"fan-61","add","not sent",""']


def test_people_of_a_run_that_clears_are_all_removed(fans: Workspace) -> None:
    """The run that clears an attribute names whom it removes."""
    run = fans.export(mode=Mode.ONE_TIME)
    with fans.open() as service:
        started = service.syncs.stop(run.sync_id, clear=True)
        assert started
        fans.run_queued()
        assert count(service.runs.list_people(started.run_id)) == {("remove", "accepted"): 30}


def test_a_run_that_failed_before_its_plan_does_not_say_that_nobody_was_concerned(fans: Workspace) -> None:
    """Nothing is known of whom it would have changed, so there is no file either."""
    fans.sandbox.fault("status", path="/engage", code=403, times=1)
    run = fans.export()
    app = fans.page("runs", run=str(run.id))
    assert "ended before it was known whom to add" in page_text(app) and not app.get("download_button")


def test_page_of_people_when_fewer_are_left_in_the_filter_is_the_last_one(
    connected: Workspace, sandbox: Sandbox
) -> None:
    """Who is sent leaves "not sent yet" while somebody looks at a page of it; an empty table had no way back."""
    connected.cohort = sandbox.add_cohort("Fans", [member(f"fan-{n}") for n in range(210)])
    run = connected.export(dry_run=True)
    with connected.open_store() as store:
        store.batches.confirm(run.id, 0)
    app = connected.page("runs", run=str(run.id))
    app.session_state[f"people-outcome-{run.id}"], app.session_state[f"people-page-{run.id}"] = "not sent", 4
    app.run()
    assert "151 to 185 of 185 people" in page_text(app)
    for confirmed, shown, number in ((range(1, 5), "51 to 85 of 85 people", 35), (range(5, 8), "", 10)):
        with connected.open_store() as store:
            for batch in confirmed:
                store.batches.confirm(run.id, batch)
        app.run()
        assert not app.exception and shown in page_text(app)
        assert len(app.dataframe[0].value) == number


def test_people_when_an_odd_id_reads_like_a_members_id_are_two_lines_of_the_csv(
    connected: Workspace, sandbox: Sandbox
) -> None:
    """Yes is no id; the member whose id is the text True is sent all the same, and the CSV says so as the page does."""
    connected.cohort = sandbox.add_cohort("Fans", [member("True"), odd("true")])
    run = connected.export()
    with connected.open() as service:
        rows = list(service.runs.iterate_export_rows(run.id))
        assert [(one.user_id, one.outcome) for one in rows] == [("True", "accepted"), ("True", "invalid")]
        assert rows == list(service.runs.list_people(run.id).rows)
        assert [one.outcome for one in service.people.find("True").history] == ["accepted", "invalid"]
