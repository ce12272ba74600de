"""One fact, whichever road leads to it: the numbers of dialogs, pages and commands about the same people agree."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from sync.model import RunState
from sync.steps import Steps
from tests.engine_workspace import DAY, keep_out
from tests.sandbox.control import PROJECT, Member, anonymous, member
from tests.workspace import Workspace, click_button, page_numbers, page_text, wait_until


def people(first: int, end: int) -> list[Member]:
    """Return fan-first … up to end, whose profiles Mixpanel knows by an e-mail address."""
    return [member(f"fan-{number}", **{"$email": f"fan{number}@example.com"}) for number in range(first, end)]


def open_cohort(workspace: Workspace) -> AppTest:
    """Open the page of the workspace's cohort and wait until its reading ended."""
    app = workspace.page("cohorts", cohort=str(workspace.cohort))
    wait_until(lambda: not any(button.label == "Cancel" for button in app.run().button))
    assert not app.exception
    return app


def read_dialogs(workspace: Workspace) -> list[str]:
    """Return what the export dialog says when it is opened from the list, and from the page of the cohort."""
    listed = page_text(workspace.page("cohorts", export=str(workspace.cohort)))
    app = open_cohort(workspace)
    app.query_params["export"] = str(workspace.cohort)
    return [listed, page_text(app.run())]


@pytest.fixture
def rejected(connected: Workspace) -> Workspace:
    """Export thirty people; WebEngage rejects adding fan-3, fan-4 and fan-5."""
    sandbox = connected.sandbox
    connected.cohort = sandbox.add_cohort("Fans", people(0, 30))
    sandbox.poison("fan-3", "fan-4", "fan-5")
    connected.export()
    sandbox.clear_faults()
    return connected


def leave_people_behind(workspace: Workspace) -> None:
    """Let fan-6 and fan-7 leave, and WebEngage reject removing fan-6."""
    workspace.sandbox.poison("fan-6")
    workspace.sandbox.set_members(workspace.cohort, [*people(0, 6), *people(8, 30)])
    workspace.export()
    workspace.sandbox.clear_faults()


def test_people_rejected_before_are_not_counted_as_added_in_any_dialog(rejected: Workspace) -> None:
    """A run does not try them again, so a preview that adds them promises people whom no campaign reaches."""
    for shown in read_dialogs(rejected):
        assert "In WebEngage now: 27 people. Nobody would be added or removed." in shown
    assert rejected.read_json("preview", str(rejected.cohort), "--fresh")["entering"] == 0
    assert rejected.export().change_count == 0


def test_people_whose_removal_was_rejected_are_not_counted_as_removed(rejected: Workspace) -> None:
    """They stay true: the page, the table and both dialogs must not promise that the next export takes them out."""
    leave_people_behind(rejected)
    app = open_cohort(rejected)
    numbers = page_numbers(app)
    assert (numbers["In WebEngage now"], numbers["Would be removed"], numbers["After the next export"]) == (
        "26",
        "0",
        "26",
    )
    [left] = [row for row in app.dataframe[0].value.values.tolist() if row[0] == "fan-6"]
    assert left[1:3] == ["← Left", "No longer in the cohort; WebEngage rejected removing them"]
    assert left[-2:] == ["true", "Stays true"]
    assert rejected.read_json("preview", str(rejected.cohort), "--fresh")["leaving"] == 0
    for shown in read_dialogs(rejected):
        assert "In WebEngage now: 26 people. Nobody would be added or removed." in shown
    assert rejected.export().change_count == 0


def test_somebody_listed_after_their_removal_was_rejected_is_counted_as_removed(rejected: Workspace) -> None:
    """The list promises false by the next run, which tries them again."""
    leave_people_behind(rejected)
    rejected.sandbox.set_members(rejected.cohort, people(0, 30))
    keep_out(rejected, "fan-6")
    for shown in read_dialogs(rejected):
        assert "In WebEngage now: 26 people. After this export: 26, as 1 would be added, 1 would be removed." in shown
    run = rejected.export()
    assert (run.entered, run.exited) == (1, 1)


def test_somebody_listed_whose_removal_is_rejected_stays_true_and_is_said_to(rejected: Workspace) -> None:
    """WebEngage rejected it after they were listed: no run tries again, and they still count as never exported."""
    keep_out(rejected, "fan-6")
    rejected.sandbox.poison("fan-6")
    rejected.export()
    app = open_cohort(rejected)
    [listed] = [row for row in app.dataframe[0].value.values.tolist() if row[0] == "fan-6"]
    assert listed[2] == "On the never-export list, so not sent; WebEngage rejected removing them"
    assert listed[-2:] == ["true", "Stays true"] and page_numbers(app)["Of them never exported"] == "1"
    assert rejected.export().change_count == 0


def devices(count: int) -> list[Member]:
    """Return devices that never signed in."""
    return [anonymous(f"$device:{number}") for number in range(count)]


@pytest.mark.parametrize("profile", [{"$email": "a@example.com"}, {"plan": "gold"}], ids=["an address", "no address"])
def test_the_estimate_of_a_part_is_as_good_from_the_page_as_from_the_list(
    connected: Workspace, profile: dict[str, object]
) -> None:
    """Mixpanel says exactly how many have a profile; a part of the members must not make a worse guess of that.

    A lower number is stored, too, and the export that is started from it is held for having more.
    """
    connected.sandbox.settings(page_size=10)
    fans = [member(f"fan-{number}", **profile) for number in range(95)]
    connected.cohort = connected.sandbox.add_cohort("Fans", [*devices(40), *fans])
    for shown in read_dialogs(connected):
        assert "\nabout 95\nabout 40\n0\n135\n" in shown  # identified, anonymous, invalid, all
    assert connected.read_json("preview", str(connected.cohort))["identified"] == 95
    assert connected.export().state is RunState.SUCCEEDED


def test_the_numbers_of_a_part_without_a_total_are_the_least_in_every_dialog(connected: Workspace) -> None:
    """What was read is then not a share of anything known, so “about” would promise too much."""
    connected.sandbox.settings(page_size=10, untold="total")
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 195))
    listed, paged = read_dialogs(connected)
    assert "at least 10" in listed and "at least 100" in paged and "about 10" not in listed + paged


def test_the_command_preview_counts_as_sent_whom_the_dialog_says_will_go(connected: Workspace) -> None:
    """Identified members on the never-export list are not sent, and doubles are one person: the command says so, too."""
    fans = [member(f"fan-{n}", customer=f"c-{min(n, 8)}") for n in range(10)]
    connected.cohort = connected.sandbox.add_cohort("Fans", fans)
    connected.export(id_property="customer")
    keep_out(connected, "c-1", "c-2")
    said = " ".join(connected.run_cli("preview", str(connected.cohort)).stdout.split())
    assert (
        "Fans: 10 members, 7 identified (sent), 1 double (sent as one), 2 never export (not sent), 0 anonymous" in said
    )
    for sentence in (
        "In WebEngage now: 9 people. After this export: 7, as 2 would be removed.",
        "1 request, about 1 second",
    ):
        assert sentence in said and all(sentence in shown for shown in read_dialogs(connected))


def test_what_sending_takes_is_said_as_the_most_where_only_changed_values_are_sent(connected: Workspace) -> None:
    """Of mapped properties nobody knows before the run whose values changed: often nobody's."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    connected.export(mapping=(("$email", "Address"),))
    for shown in read_dialogs(connected):
        assert "Nobody would be added or removed." in shown and "Up to 3 requests, about 1 second" in shown
    assert "Up to 3 requests, about 1 second" in connected.run_cli("preview", str(connected.cohort)).stdout


def test_what_sending_takes_is_not_what_it_took_before_the_last_run(connected: Workspace) -> None:
    """A preview that found nobody to send was stored; the cohort was cleared since, so everybody would be sent."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    connected.export()
    assert "Nobody needs to be sent now, so no request" in read_dialogs(connected)[1]
    connected.sandbox.set_members(connected.cohort, people(20, 80))
    connected.export()
    listed, _ = read_dialogs(connected)
    assert "only the difference is sent" in listed and "Up to 5 requests, about 1 second" in listed


def test_what_sending_takes_counts_people_who_are_sent_again_as_not_confirmed(connected: Workspace) -> None:
    """After a restore everybody is sent once more, although nobody would be added or removed."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    connected.export()
    with connected.open_store() as store:
        store.snapshot.unconfirm()
    for shown in read_dialogs(connected):
        assert "Nobody would be added or removed." in shown and "3 requests, about 1 second" in shown


def test_no_receipt_names_whom_a_cancelled_first_step_left_true_and_nobody_as_waiting(connected: Workspace) -> None:
    """The run is over: its reason to be held is history, and ten people are reached by a campaign all the same."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    run = connected.export(steps=Steps(first=10))
    assert "50 wait for approval" in connected.run_cli("receipt", str(connected.cohort)).stderr
    with connected.open() as service:
        service.runs.cancel(run.id)
    said = connected.run_cli("receipt", str(connected.cohort)).stderr
    assert said.strip().endswith(
        "so there is no receipt. Run 1 was cancelled: 60 to be added; 10 of them sent. 10 people are in WebEngage."
    )
    assert "10 people are in WebEngage." in page_text(connected.page("receipt", cohort=str(connected.cohort)))


@pytest.mark.parametrize(
    ("code", "came_to"),
    [
        (401, "10 to be added. Nobody is in WebEngage."),
        (400, "10 to be added; 10 of them sent, not confirmed. 10 people are in WebEngage, 10 of them not confirmed."),
    ],
)
def test_no_receipt_of_a_failed_first_export_says_what_it_came_to(
    connected: Workspace, code: int, came_to: str
) -> None:
    """It says what the run was to do, and whom it may have left in WebEngage."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 10))
    connected.sandbox.refuse_everybody("not allowed", code)
    connected.export()
    said = connected.run_cli("receipt", str(connected.cohort)).stderr.strip()
    assert said.endswith(f"so there is no receipt. Run 1 has failed: {came_to}")


def test_the_charts_count_people_as_the_syncs_do_after_rejections(rejected: Workspace) -> None:
    """Who was not added is not there, who was not removed is, and so after a clear: no less than nobody, either."""
    counted = []
    for members in (people(0, 32), [*people(0, 6), *people(8, 32)], people(0, 32)):
        rejected.sandbox.poison("fan-6", "fan-31")
        rejected.sandbox.set_members(rejected.cohort, members)
        rejected.export()
        counted.insert(0, count_people(rejected))
    assert count_people(rejected) == 28  # thirty-two, without those never taken
    with rejected.open() as service:
        assert service.syncs.list_sizes(1, 3) == tuple(counted)
        service.syncs.stop(1, clear=True)
    rejected.run_queued()
    with rejected.open() as service:
        assert service.syncs.list_sizes(1, 1) == (count_people(rejected),) == (1,)
        assert service.overview.list_daily_sizes(PROJECT)[-1] == 1
        rejected.ahead += DAY
    with rejected.open() as service:
        assert service.overview.list_daily_sizes(PROJECT)[-2:] == (1, 1)


def count_people(workspace: Workspace) -> int:
    """Return how many people a sync has in WebEngage, as the lists of syncs say."""
    with workspace.open() as service:
        return service.syncs.get(1).size


def test_whom_a_first_step_sent_is_in_webengage_wherever_that_is_said(connected: Workspace) -> None:
    """They can be mailed now: the page of the cohort, its table and the dialogs must not say that nobody is there."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    connected.export(steps=Steps(first=10))
    sent = connected.sandbox.holding("Mixpanel - Fans")[0]
    app = open_cohort(connected)
    numbers = page_numbers(app)
    assert [numbers[label] for label in ("In WebEngage now", "Would be added", "After the next export")] == [
        "10",
        "50",
        "60",
    ]
    assert {row[0] for row in app.dataframe[0].value.values.tolist() if row[-2] == "true"} <= sent
    assert "true 10" in str(app.selectbox(key="member-held").options)
    for shown in read_dialogs(connected):
        assert "In WebEngage now: 10 people" in shown
    assert "0 people before run 1, which sent 10 so far" in connected.run_cli("syncs").stdout
    for person in sent:
        assert connected.read_json("person", person)["syncs"][0]["in_webengage"] is True


def test_whom_a_first_step_removed_is_not_in_webengage_and_whom_it_rejected_is_as_before(connected: Workspace) -> None:
    """The table of the cohort says of each person what People says."""
    sandbox = connected.sandbox
    connected.cohort = sandbox.add_cohort("Fans", people(0, 60))
    connected.export()
    sandbox.poison("fan-3", "fan-60")
    sandbox.set_members(connected.cohort, people(4, 64))
    connected.export(steps=Steps(), chosen=("fan-2", "fan-3", "fan-60", "fan-61"))
    true, false = sandbox.holding("Mixpanel - Fans")
    app = open_cohort(connected)
    assert page_numbers(app)["In WebEngage now"] == f"{len(true)}" == "60"
    with connected.open() as service:
        held = {one: service.people.find(one).syncs[0].presence.value for one in ("fan-2", "fan-3", "fan-60", "fan-61")}
    assert held == {"fan-2": "false", "fan-3": "true", "fan-60": "never sent", "fan-61": "true"} and false == {"fan-2"}
    options = str(app.selectbox(key="member-held").options)
    assert "true 60" in options and "never 3" in options


def test_the_size_of_a_sync_while_a_run_sends_is_that_before_it_in_every_list(connected: Workspace) -> None:
    """The list said “0 people” and the page of the sync “before this run”; now both say how many were sent since."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    run_id = connected.start_export()
    with connected.open_store() as store:
        assert store.runs.claim_run("runner-1", connected.now())
        store.runs.write_run(run_id, "runner-1", state="delivering", planned=1, entered=60, delivered=25)
    said = "before run 1, which sent 25 so far"
    assert f"0 people {said}" in page_text(connected.page("syncs"))
    assert f"0 people in WebEngage {said}" in page_text(connected.page("syncs", sync="1"))
    assert f"0 people {said}" in connected.run_cli("syncs").stdout


def test_no_refresh_is_announced_that_would_come_after_the_end_of_its_sync(connected: Workspace) -> None:
    """“Next refresh 14:00” stood above “Last refresh before 13:00”; the sync just ends then."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 20))
    connected.export(interval=7200.0, ends_at=connected.now() + 3600)
    shown = page_text(connected.page("syncs", sync="1"))
    assert "No further refresh planned" in shown and "Last refresh before" in shown and "Next refresh" not in shown
    assert "No refresh is planned." in page_text(connected.page("overview"))
    assert "next" not in page_text(connected.page("cohorts"))
    assert "No refresh" in page_text(connected.page("syncs"))
    assert "UTC" not in connected.run_cli("syncs").stdout
    assert connected.read_json("syncs")[0]["next_run_at"] is None
    with connected.open() as service:
        service.syncs.change_interval(1, 1800.0, ends_at=connected.now() + 3600)
    assert "Next refresh" in page_text(connected.page("syncs", sync="1"))


def test_the_overview_counts_no_queries_for_refreshes_that_wait_for_an_approval(connected: Workspace) -> None:
    """“The refreshes of the next hour need about 1” stood beside “No refresh is planned.”"""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 20))
    connected.export(interval=1800.0)
    connected.sandbox.set_members(connected.cohort, [])
    connected.ahead = 1900.0
    connected.sandbox.advance(1900.0)
    connected.run_queued()
    shown = page_text(connected.page("overview"))
    assert "No refresh is planned." in shown and "The refreshes of the next hour need none." in shown


@pytest.mark.parametrize(
    ("standing", "advice"),
    [
        ("active", "sync once more if the campaign needs the newest."),
        ("held", "decide about run 2 if the campaign needs the newest."),
        ("paused", "resume the sync if the campaign needs the newest."),
        ("cleared", "export it once more if the campaign needs the newest."),
    ],
)
def test_the_receipt_advises_what_can_be_done_to_have_the_newest(
    connected: Workspace, standing: str, advice: str
) -> None:
    """*Sync now* is refused for a sync that is paused, cleared or held."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 20))
    connected.export()
    connected.sandbox.set_members(connected.cohort, people(0, 25))
    with connected.open() as service:
        if standing == "paused":
            service.syncs.pause(1)
        if standing == "cleared":
            service.syncs.stop(1, clear=True)
    if standing == "held":
        connected.start_export(dry_run=True)
    connected.run_queued()
    connected.read_json("preview", str(connected.cohort), "--fresh")
    assert advice in connected.run_cli("receipt", str(connected.cohort)).stdout


def test_the_export_dialog_does_not_show_what_this_browser_read_long_ago(connected: Workspace) -> None:
    """Without its age it looked like now, while a command, or another browser, had the cohort of now."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 20))
    app = open_cohort(connected)
    connected.sandbox.set_members(connected.cohort, people(0, 29))
    app.query_params["export"] = str(connected.cohort)
    assert "\n20\n0\n0\n20\n" in page_text(app.run())
    click_button(app, "Cancel")
    app.session_state["_member_reading"].reading.read_at -= 601
    with connected.open_database() as db:
        db.execute("update cohort set preview = null")
    app.query_params["export"] = str(connected.cohort)
    assert "\n29\n0\n0\n29\n" in page_text(app.run())


def test_somebody_on_the_never_export_list_is_not_said_to_be_in_no_exported_cohort(connected: Workspace) -> None:
    """They are in it and left out of its runs, so nothing is stored: the page of the cohort lists them, with the reason."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 5))
    keep_out(connected, "fan-3")
    connected.export()
    assert "fan-3" in [row[0] for row in open_cohort(connected).dataframe[0].value.values.tolist()]
    app = connected.page("people")
    app.text_input(key="person-id").set_value("fan-3")
    click_button(app, "Look up")
    for shown in (page_text(app), connected.run_cli("person", "fan-3").stdout):
        assert (
            "None is known here: people who are anonymous or on the never-export list are left out of every run."
            in shown
        )
        assert "In none." not in shown and "In no exported cohort" not in shown


def test_a_run_counts_devices_under_another_name_than_all_who_are_anonymous(connected: Workspace) -> None:
    """A run reads who has a profile, so of the anonymous it knows devices with one: “Anonymous 2” was not all six."""
    owned = [member(f"$device:{number}", plan="gold") for number in range(2)]
    connected.cohort = connected.sandbox.add_cohort("Fans", [*people(0, 5), *owned, *devices(6)[2:]])
    connected.export()
    assert page_numbers(open_cohort(connected))["Anonymous"] == "6"
    numbers = page_numbers(connected.page("runs", run="1"))
    assert numbers["Devices"] == "2" and "Anonymous" not in numbers


def test_the_table_says_of_people_whose_values_changed_that_they_stay_true_and_not_that_they_are_unchanged(
    connected: Workspace,
) -> None:
    """The page does not compare mapped properties: “Unchanged” was said of somebody the next run updates."""
    connected.cohort = connected.sandbox.add_cohort("Fans", [member("ann", plan="gold")])
    connected.export(mapping=(("plan", "Plan"),))
    connected.sandbox.set_members(connected.cohort, [member("ann", plan="silver")])
    [row] = open_cohort(connected).dataframe[0].value.values.tolist()
    assert row[-2:] == ["true", "Stays true"]
    assert connected.export().updated == 1
