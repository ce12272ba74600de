"""The commands of guards, the never-export list and tripwires, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync.model import RunState
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, member
from tests.workspace import ATTRIBUTE, Workspace, make_fans


@pytest.fixture
def fans(workspace: Workspace, sandbox: Sandbox) -> Workspace:
    """Return a workspace with an exported cohort of twenty."""
    workspace.connect(sandbox)
    workspace.add_cohort(20)
    workspace.export()
    return workspace


def test_a_file_of_ids_keeps_people_out_and_lets_them_in_by_command(fans: Workspace, tmp_path: Path) -> None:
    """`never-export add --file` adds, `list` shows labels only, `remove` takes off; scripts may name the project."""
    file = tmp_path / "people.csv"
    file.write_text("name;user_id\nZoe;fan-1\nBo;fan-2\n", encoding="utf-8")
    added = fans.read_answer("never-export", "add", "fan-3", "--file", str(file), "--note", "complained")
    assert added == {"added": 3, "already_there": 0, "stay_true": [], "may_stay_true": []}
    assert fans.read_answer("never-export", "add", "fan-3", "--project", str(PROJECT))["already_there"] == 1
    listed = fans.read_answer("never-export", "list", "--account", LICENSE)
    assert {one["label"] for one in listed} == {"f•••1", "f•••2", "f•••3"}
    assert {one["note"] for one in listed} == {"complained"}
    run = fans.export()
    answer = fans.read_answer("run", str(run.id))
    assert (answer["exited"], answer["removed_by_list"], answer["never_exported"]) == (3, 3, 3)
    assert "list_version" not in answer
    assert fans.read_answer("preview", str(fans.cohort))["never_exported"] == 3
    assert fans.read_answer("never-export", "remove", "fan-1", "unknown") == {"removed": 1}
    fans.export()
    assert fans.sandbox.holding(ATTRIBUTE)[0] == fans.sandbox.exportable(fans.cohort) - {"fan-2", "fan-3"}
    with fans.open() as service:
        audit = json.dumps([line.after + line.before + line.target for line in service.admin.list_audit(50)])
    assert "fan-" not in audit and "3 people" in audit


def test_a_downloaded_file_keeps_out_exactly_those_who_are_in_it(
    workspace: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A phone number is one of the commonest user ids, and a formula to a spreadsheet."""
    workspace.connect(sandbox)
    cohort = sandbox.add_cohort("Fans", [member(one) for one in ("+491711", "-5", "007", "'+491711", "ann")])
    file = tmp_path / "members.csv"
    file.write_text(workspace.run_command("members", str(cohort), "--csv").stdout, encoding="utf-8")
    assert workspace.read_answer("never-export", "add", "--file", str(file))["added"] == 5
    assert workspace.export(cohort).change_count == 0


@pytest.mark.parametrize(
    "command", ["never-export add bob", "never-export remove bob", "tripwire add bob", "person", "forget"]
)
def test_an_id_with_an_invisible_character_is_refused_by_command(
    workspace: Workspace, sandbox: Sandbox, command: str
) -> None:
    """A script that reads a list from somewhere passes on what stood in it."""
    workspace.connect(sandbox)
    refused = workspace.run_command(*command.split(), "ann\u200b")
    assert (refused.exit_code, "has an invisible character (U+200B)" in str(refused.exception)) == (1, True)


def test_a_command_says_where_a_listed_person_stays_true(fans: Workspace) -> None:
    """A paused sync sets nobody to false before it is resumed."""
    assert "Still true" not in fans.run_command("never-export", "add", "fan-1").output
    with fans.open() as service:
        service.syncs.pause(1)
    assert "Still true in WebEngage for “Fans”" in fans.run_command("never-export", "add", "fan-2").output


def test_a_tripwire_holds_a_run_by_command(fans: Workspace) -> None:
    """Set for one cohort, listed with it, and taken off again."""
    cohort = str(fans.cohort)
    assert fans.read_answer("tripwire", "add", "fan-7", "--cohort", cohort) == {"added": 1, "already_there": 0}
    assert [one["cohort_id"] for one in fans.read_answer("tripwire", "list", "--cohort", cohort)] == [fans.cohort]
    run = fans.export()
    assert run.state is RunState.HELD
    assert fans.run_command("status").exit_code == 1
    assert "Tripwire: 1 person" in fans.read_answer("run", str(run.id))["held_reason"]
    assert fans.read_answer("tripwire", "remove", "fan-7", "--cohort", cohort) == {"removed": 1}


def test_a_tripwire_in_a_cohort_that_is_not_there_is_refused(fans: Workspace) -> None:
    """It would hold nothing, and its owner would feel safe; one of a cohort that was deleted since still can be set."""
    done = fans.run_command("tripwire", "add", "fan-7", "--cohort", str(fans.cohort + 1))
    assert f"does not list a cohort {fans.cohort + 1}" in str(done.exception)
    assert fans.read_answer("tripwire", "list") == []
    new = fans.sandbox.add_cohort("Made since the list was read")
    assert fans.run_command("tripwire", "add", "fan-7", "--cohort", str(new)).exit_code == 0
    fans.export()
    fans.sandbox.delete_cohort(fans.cohort)
    assert fans.run_command("tripwire", "add", "fan-7", "--cohort", str(fans.cohort)).exit_code == 0


def test_limits_are_tried_set_and_raised_by_command(fans: Workspace) -> None:
    """`guard` says what would have been held; `approve --raise-limit` lets the number of the held run pass."""
    assert fans.read_answer("guard", "1") == {
        "sync_id": 1,
        "enabled": True,
        "add_share": 50.0,
        "add_people": 100,
        "remove_share": 20.0,
        "remove_people": 100,
        "would_have_held": 0,
        "of_runs": 1,
    }
    fans.sandbox.set_members(fans.cohort, make_fans(40))
    assert fans.export().state is RunState.SUCCEEDED
    assert fans.read_answer("guard", "1", "--add-people", "19", "--try")["would_have_held"] == 1
    assert fans.read_answer("guard", "1")["add_people"] == 100
    assert fans.read_answer("guard", "1", "--add-people", "5", "--remove-share", "0.5")["add_people"] == 5
    fans.sandbox.set_members(fans.cohort, make_fans(90))
    run = fans.export()
    assert run.state is RunState.HELD
    assert fans.run_command("approve", str(run.id), "--always", "--raise-limit").exit_code == 2
    assert "may add 50 and remove 100 people" in fans.run_command("approve", str(run.id), "--raise-limit").output
    assert fans.read_answer("guard", "1")["add_people"] == 50
    assert fans.read_answer("guard", "1", "--reset")["add_people"] == 100
    assert fans.run_command("guard", "1", "--add-share=-1").exit_code == 2
