"""The pages of exports in steps, of take-backs and of the approval by a second person, as AppTest shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from sync.model import Mode, RunState
from sync.steps import Steps
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import ATTRIBUTE, Workspace, click_button, make_fans, page_text


@pytest.fixture
def fans(workspace: Workspace, sandbox: Sandbox) -> Workspace:
    """Connect to a cohort of thirty that was not exported yet."""
    workspace.connect(sandbox)
    workspace.add_cohort(30)
    with workspace.open() as service:
        service.cohorts.list()
    return workspace


def told(workspace: Workspace) -> set[str]:
    """Return whom WebEngage holds as true."""
    return workspace.sandbox.holding(ATTRIBUTE)[0]


def open_dialog(workspace: Workspace) -> AppTest:
    """Open the export dialog of the cohort."""
    return workspace.page("cohorts", project=str(PROJECT), export=str(workspace.cohort))


def test_beginning_with_the_first_people_sends_to_as_many_as_the_dialog_says(fans: Workspace) -> None:
    """Ten unless somebody types another number."""
    app = open_dialog(fans)
    app.selectbox(key=f"export-beginning-{fans.cohort}").select("The first people, then ask me").run()
    assert app.number_input(key=f"export-first-{fans.cohort}").value == 10
    app.number_input(key=f"export-first-{fans.cohort}").set_value(3).run()
    app.button(key="export-start").click().run()
    fans.run_queued()
    assert len(told(fans)) == 3


@pytest.mark.slow
def test_trying_on_certain_people_in_the_dialog_sends_to_them_and_opens_the_run(fans: Workspace) -> None:
    """Without an id nothing can be started; the run then names what to look at, and offers both ways on."""
    app = open_dialog(fans)
    app.selectbox(key=f"export-beginning-{fans.cohort}").select("Me, or certain people, then ask me").run()
    assert app.button(key="export-start").disabled and "Type at least one User ID" in page_text(app)
    app.text_area(key=f"export-chosen-{fans.cohort}").set_value("fan-7, fan-8").run()
    assert app.button(key="export-start").disabled and "Write one User ID per line" in page_text(app)
    app.text_area(key=f"export-chosen-{fans.cohort}").set_value("fan-7\nfan-8").run()
    app.button(key="export-start").click().run()
    assert not app.exception
    fans.run_queued()
    assert told(fans) == {"fan-7", "fan-8"}
    app = fans.page("runs", run="1")
    text = page_text(app)
    assert "Sent for 2 people so far; 28 wait for approval" in text
    assert "fan-7\nfan-8" in text or "fan-8\nfan-7" in text
    assert {"Send to the other 28", "Take it back", "Cancel run"} <= {button.label for button in app.button}
    click_button(app, "Send to the other 28")
    fans.run_queued()
    assert fans.get_run(1).state is RunState.SUCCEEDED and len(told(fans)) == 30


def test_sending_to_the_last_person_of_an_export_in_steps_says_so_in_the_singular(fans: Workspace) -> None:
    """One person is sent, not “are”."""
    run = fans.export(steps=Steps(first=29))
    app = fans.page("runs", run=str(run.id))
    click_button(app, "Send to the other person")
    assert "Approved. 1 person is being sent." in page_text(app)


@pytest.mark.parametrize(("page", "number"), [("runs", "run"), ("syncs", "sync")])
def test_cancelling_what_is_not_on_its_way_says_that_it_is_cancelled(fans: Workspace, page: str, number: str) -> None:
    """“Is being cancelled” stood above the badge “Cancelled”."""
    fans.start_export(mode=Mode.DYNAMIC)
    app = fans.page(page, **{number: "1"})
    click_button(app, "Cancel run")
    assert "is cancelled. Nobody was sent, so its sync is stopped." in page_text(app)


@pytest.mark.slow
def test_the_pages_of_a_sync_count_whom_a_first_step_sent(fans: Workspace) -> None:
    """“0 people in WebEngage” stood below “Sent for 10 people so far”."""
    fans.export(steps=Steps(first=10))
    assert "0 people in WebEngage before run 1, which sent 10 so far" in page_text(fans.page("syncs", sync="1"))
    assert "0 people before run 1, which sent 10 so far" in page_text(fans.page("syncs"))


def test_taking_back_a_first_step_shows_the_plan_and_then_empties_webengage(fans: Workspace) -> None:
    """What cannot be undone is said first."""
    fans.start_export(steps=Steps(first=10))
    fans.run_queued()
    app = fans.page("runs", run="1")
    click_button(app, "Take it back")
    fans.run_queued()
    app = fans.page("runs", run="2")
    assert "A message that was sent cannot be unsent." in page_text(app) and "taking back run 1" in page_text(app)
    assert len(told(fans)) == 10
    click_button(app, "Take back run 1")
    fans.run_queued()
    assert told(fans) == set() and fans.get_run(1).state is RunState.CANCELLED
    assert "Cancelled after a first step: 10 people sent to WebEngage" in page_text(fans.page("runs", run="1"))


@pytest.mark.slow
def test_a_run_that_ended_is_taken_back_from_its_page(fans: Workspace) -> None:
    """The sync is paused with its reason; a run that sent nothing offers no such button."""
    fans.export()
    quiet = fans.export()
    assert "Take back this run" not in {button.label for button in fans.page("runs", run=str(quiet.id)).button}
    click_button(fans.page("runs", run="1"), "Take back this run")
    fans.run_queued()
    click_button(fans.page("runs", run="3"), "Take back run 1")
    fans.run_queued()
    assert told(fans) == set()
    assert "Run 1 was taken back" in page_text(fans.page("syncs", sync="1"))


def test_steps_by_share_say_how_many_are_next(fans: Workspace) -> None:
    """The button names the next step and what is left after it."""
    fans.sandbox.set_members(fans.cohort, [])
    fans.add_cohort(600, "Crowd")
    fans.start_export(fans.cohort, Mode.ONE_TIME, steps=Steps(shares=(1.0, 10.0)))
    fans.run_queued()
    labels = [button.label for button in fans.page("runs", run="1").button]
    with fans.open() as service:
        numbers = service.runs.count_steps(1)
    assert numbers.sent + numbers.left == 600 and 0 < numbers.next < numbers.left
    assert f"Send to the next {numbers.next}, of {numbers.left} left" in labels


def test_the_approval_by_a_second_person_is_set_on_the_administration_page(workspace: Workspace) -> None:
    """It is off until an admin turns it on."""
    app = workspace.page("administration")
    app.checkbox[0].check()
    app.number_input[-1].set_value(250)
    next(button for button in app.button if button.key and "save-second-person" in button.key).click().run()
    with workspace.open() as service:
        assert service.admin.get_approval_limit() == 250


def test_the_commands_try_on_a_few_go_on_and_take_back(fans: Workspace, tmp_path: Path) -> None:
    """A script does the same as the pages; held after its step is no failure."""
    chosen = tmp_path / "ids.txt"
    chosen.write_text("fan-1\nfan-2\n")
    cohort = str(fans.cohort)
    started = fans.read_json("export", cohort, "--mode", "one-time", "--only-ids", str(chosen), "--wait")
    assert told(fans) == {"fan-1", "fan-2"} and fans.read_json("run", str(started["run_id"]))["state"] == "held"
    undo = fans.read_json("undo", str(started["run_id"]))
    assert undo["run_id"] != started["run_id"]
    fans.run_queued()
    assert fans.read_json("run", str(undo["run_id"]))["state"] == "held" and len(told(fans)) == 2
    assert fans.run_cli("approve", str(undo["run_id"])).returncode == 0
    fans.run_queued()
    assert told(fans) == set()
    assert fans.run_cli("export", cohort, "--mode", "one-time", "--first", "3", "--in-steps").returncode == 2
    assert fans.read_json("second-person", "--above", "5") == {"above": 5}


@pytest.mark.parametrize("after", ["cancelled", "taken back", "cleared"])
def test_a_dynamic_export_that_ended_after_its_first_step_is_shown_and_proposed_as_dynamic(
    fans: Workspace, after: str
) -> None:
    """Its sync took nothing over, so what was asked for is in its run only; “One-time” was nobody's word."""
    mapping = (("$email", "Mail"),)
    fans.export(steps=Steps(first=10), interval=3600.0, mapping=mapping)
    with fans.open() as service:
        if after == "taken back":
            undo_id = service.runs.undo(1).run_id
        else:
            service.runs.cancel(1)
        if after == "cleared":
            service.syncs.stop(1, clear=True)
    fans.run_queued()
    if after == "taken back":
        with fans.open() as service:
            service.runs.approve(undo_id)
        fans.run_queued()
    assert len(told(fans)) == (10 if after == "cancelled" else 0)
    for name, parameters in (("syncs", {}), ("syncs", {"sync": "1"})):
        assert "Dynamic" in page_text(fans.page(name, **parameters)), parameters
        assert "One-time" not in page_text(fans.page(name, **parameters)), parameters
    assert "Dynamic" in fans.run_cli("syncs").stdout
    with fans.open() as service:
        terms = service.cohorts.propose_export(PROJECT, fans.cohort)
    assert (terms.mode, terms.interval_seconds, terms.mapping) == (Mode.DYNAMIC, 3600.0, mapping)


def test_a_trial_of_a_stopped_sync_shows_the_sync_as_it_is(fans: Workspace) -> None:
    """Its own terms are known, and no approval replaced them."""
    fans.export()
    with fans.open() as service:
        service.syncs.stop(1)
    fans.sandbox.set_members(fans.cohort, make_fans(40))
    fans.export(mode=Mode.ONE_TIME, steps=Steps(first=5))
    with fans.open() as service:
        service.runs.cancel(2)
        assert service.syncs.get(1).requested_mode is Mode.DYNAMIC
        assert service.cohorts.propose_export(PROJECT, fans.cohort).mode is Mode.DYNAMIC
    assert "One-time" not in page_text(fans.page("syncs"))


def test_the_dry_run_button_keeps_what_was_asked_for_before_it_was_cancelled(fans: Workspace) -> None:
    """Mode and properties of an export that nobody approved are in its run; the next plan is of the same."""
    fans.export(dry_run=True, interval=3600.0, mapping=(("$email", "Mail"),))
    with fans.open() as service:
        service.runs.cancel(1)
    click_button(fans.page("cohorts", project=str(PROJECT), cohort=str(fans.cohort)), "Dry run")
    with fans.open() as service:
        request = json.loads(service.runs.get(2).request or "")
    assert request["mode"] == "dynamic" and request["interval_seconds"] == 3600.0
    assert request["mapping"] == [["$email", "Mail"]]
