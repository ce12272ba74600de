"""Runs that ended while WebEngage did not answer: what the people of whom nothing was heard count as, everywhere."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sync.steps import Steps
from sync.store import Store
from tests.engine_workspace import PATIENT
from tests.workspace import Workspace, make_fans, page_numbers, page_text, wait_until


def cancel_unanswered(workspace: Workspace, size: int, answered: int = 0) -> None:
    """Export a cohort to a WebEngage that answers so many requests and is silent then, and cancel the run."""
    workspace.policy = PATIENT
    workspace.add_cohort(size)
    workspace.sandbox.fault("status", api="webengage", path="bulk-users", times=0, code=503, after=answered)
    workspace.start_export()
    workspace.run_queued()
    with workspace.open() as service:
        service.runs.cancel(1)
    workspace.run_queued()


def test_a_cancelled_run_that_webengage_did_not_answer_is_not_said_to_have_changed_nothing(
    connected: Workspace,
) -> None:
    """All forty may be true there: “WebEngage is unchanged” stood beside “40 people in WebEngage”."""
    cancel_unanswered(connected, 40)
    said = "0 of 40 people were sent to WebEngage; 40 sent without an answer, so they may be changed there."
    for app in (
        connected.page("runs"),
        connected.page("runs", run="1"),
        connected.page("syncs"),
        connected.page("syncs", sync="1"),
    ):
        shown = page_text(app)
        assert said in shown and "unchanged" not in shown and "before anything was sent" not in shown
    app = connected.page("runs", run="1")
    assert page_numbers(app)["Not confirmed"] == "40"
    assert "Take back this run" in [button.label for button in app.button]
    assert "1 run cancelled; 40 people sent by runs that ended half-way." in page_text(connected.page("overview"))
    for command in (("runs",), ("run", "1"), ("receipt", str(connected.cohort))):
        done = connected.run_cli(*command)
        assert "40 to be added; 40 of them sent, not confirmed" in done.stdout + done.stderr, command
    assert connected.read_json("run", "1")["unconfirmed"] == 40


def test_a_run_that_was_cancelled_half_way_adds_up_in_every_sentence(connected: Workspace) -> None:
    """Whom WebEngage took, rejected and did not answer for: together they are those its people are listed as."""
    cancel_unanswered(connected, 1000, answered=20)
    run = connected.get_run(1)
    with connected.open() as service:
        assert run.delivered and run.unconfirmed and run.sent == service.syncs.get(1).size
    said = f"{run.delivered:,} of 1,000 people were sent to WebEngage; {run.unconfirmed:,} sent without an answer"
    assert said in page_text(connected.page("runs", run="1"))
    assert f"{run.sent:,} people sent by runs that ended half-way" in page_text(connected.page("overview"))


def test_rejected_people_of_a_cancelled_run_are_not_among_those_sent(connected: Workspace) -> None:
    """The page counted them as sent, the command did not."""
    connected.add_cohort(30)
    connected.sandbox.poison("fan-3")
    run = connected.export(steps=Steps(), chosen=("fan-1", "fan-2", "fan-3"))
    with connected.open() as service:
        service.runs.cancel(run.id)
    said = "Cancelled after a first step: 2 people sent to WebEngage; 1 rejected by WebEngage, and nobody else."
    assert said in page_text(connected.page("runs", run="1"))
    assert "30 to be added; 2 of them sent; 1 of them rejected" in connected.run_cli("run", "1").stdout


def test_no_receipt_while_a_first_run_waits_does_not_say_that_nobody_is_there(connected: Workspace) -> None:
    """What it has sent so far is not counted yet, so the answer is to look again."""
    connected.policy = PATIENT
    connected.add_cohort(10)
    connected.sandbox.fault("status", api="webengage", path="bulk-users", times=0, code=503)
    connected.start_export()
    connected.run_queued()
    said = connected.run_cli("receipt", str(connected.cohort)).stderr
    assert "Run 1 is queued; look again when it has ended." in said and "obody is" not in said


def test_runs_of_an_earlier_schema_note_whom_they_sent_without_an_answer(tmp_path: Path) -> None:
    """It is counted in their log, as long as that is kept."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript((Path(__file__).parent / "schemas" / "21.sql").read_text())
    with Store.open(tmp_path) as store:
        found = {run.id: (run.delivered, run.unconfirmed) for run in store.runs.list_runs(None, None, 9, 0, None)}
    assert found[4] == (2, 2) and not any(unconfirmed for number, (_, unconfirmed) in found.items() if number != 4)


def test_a_run_that_waits_half_way_has_the_state_and_the_numbers_of_its_page_in_commands(connected: Workspace) -> None:
    """The page says “Waiting”; the command said “Queued”, and nothing of those it had sent."""
    connected.policy = PATIENT
    connected.add_cohort(1000)
    connected.sandbox.fault("status", api="webengage", path="bulk-users", times=0, code=503, after=20)
    connected.start_export()
    connected.run_queued()
    run = connected.get_run(1)
    assert "Waiting" in page_text(connected.page("runs"))
    for command in (("runs",), ("run", "1")):
        said = connected.run_cli(*command).stdout
        assert "Waiting" in said and "Queued" not in said
        assert f"1,000 to be added; {run.delivered:,} of them sent" in said


def test_the_table_of_a_cohort_says_of_whom_webengage_did_not_answer_that_they_are_not_confirmed(
    connected: Workspace,
) -> None:
    """As *People* and the receipt do; “true” was said of them as of those whom WebEngage took."""
    cancel_unanswered(connected, 1000, answered=20)
    run = connected.get_run(1)
    app = connected.page("cohorts", cohort=str(connected.cohort))
    wait_until(lambda: not any(button.label == "Cancel" for button in app.run().button))
    options = str(app.selectbox(key="member-held").options)
    assert f"true {run.delivered}'" in options and f"not confirmed {run.unconfirmed}'" in options
    numbers = page_numbers(app)
    assert numbers["In WebEngage now"] == f"{run.sent:,}"
    assert numbers["Of them not confirmed"] == f"{run.unconfirmed:,}"
    app.selectbox(key="member-held").set_value("not confirmed").run()
    shown = app.dataframe[0].value.values.tolist()
    assert shown and {row[-2] for row in shown} == {"not confirmed"}
    assert connected.read_json("person", shown[0][0])["syncs"][0]["presence"] == "unconfirmed"


def test_the_table_follows_a_run_that_is_not_answered_yet(connected: Workspace) -> None:
    """Before it has ended, too: whom it may have added, and whom it may have removed."""
    connected.policy = PATIENT
    connected.add_cohort(30)
    connected.export()
    connected.sandbox.set_members(connected.cohort, make_fans(40)[5:])
    connected.sandbox.fault("status", api="webengage", path="bulk-users", times=0, code=503)
    connected.start_export()
    connected.run_queued()
    app = connected.page("cohorts", cohort=str(connected.cohort))
    wait_until(lambda: not any(button.label == "Cancel" for button in app.run().button))
    options = str(app.selectbox(key="member-held").options)
    assert "true 25'" in options and "not confirmed 15'" in options
