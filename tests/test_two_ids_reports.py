"""Receipts, lists and people where a profile property is the User ID: what is known by distinct_id, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync.model import RunState
from sync.service import Service
from sync.steps import Steps
from tests.engine_workspace import (
    CUSTOMER,
    EngineWorkspace,
    approve,
    customer_ids,
    customers,
    fans,
    refresh_when_due,
    stop_and_clear,
)
from tests.sandbox.control import LICENSE, PROJECT, Sandbox
from tests.workspace import click_button, page_text

UNSURE = (
    "1 person was put on the never-export list after this cohort was last read, and may be in it by another ID than "
    "customer"
)
STAYING = (
    "Perhaps still true in WebEngage for “Fans” (User ID: customer), where another ID than that is found only when the "
    "cohort is read again, and not refreshed by itself now: sync it, resume it, clear it again or decide about its held "
    "run, or its campaigns still reach them."
)
STAYS = (
    "Still true in WebEngage for “Fans”, and not refreshed by itself now: sync it, resume it, clear it again or "
    "decide about its held run, or its campaigns still reach them."
)
BOTH = (
    "“Fans” (customer) knows people by a profile property: there they are found by its value, not by distinct_id, and on "
    "the lists by the ID that was listed."
)


@pytest.fixture
def workspace(
    data_dir: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, local_browser: None
) -> EngineWorkspace:
    """Connect a data folder to a cohort of six, exported by a property; its pages run in this process."""
    monkeypatch.setenv("COHORT_SYNC_DATA", str(data_dir))
    monkeypatch.delenv("COHORT_SYNC_KEY", raising=False)
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*customers(*range(6)))
    assert found.export(id_property=CUSTOMER).state is RunState.SUCCEEDED
    return found


def keep_out(service: Service, *user_ids: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put people on the never-export list; return in which cohorts they stay true, and in which they may."""
    found = service.safety.add_never_export(LICENSE, user_ids)
    return found.stay_true, tuple(one.cohort_name for one in found.may_stay_true)


def read_remarks(workspace: EngineWorkspace) -> tuple[str, ...]:
    """Return the remarks of the receipt."""
    with workspace.open() as service:
        return service.receipts.read(PROJECT, workspace.cohort).remarks


def run_command(workspace: EngineWorkspace, *arguments: str) -> str:
    """Run a command and return what it prints."""
    done = workspace.run_command(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


# The answer to "add to the list" --------------------------------------------------------------------------------------


def test_who_may_stay_true_by_distinct_id_is_said_when_listed(workspace: EngineWorkspace) -> None:
    """Found by the User ID it is certain; with a refresh to come, or listed before the last reading, nothing is left."""
    with workspace.open() as service:
        assert keep_out(service, "fan-1", "c-2") == ((), ())
    refresh_when_due(workspace)
    with workspace.open() as service:
        service.syncs.pause(1)
        assert keep_out(service, "fan-3") == ((), ("Fans",))
        assert keep_out(service, "c-3") == (("Fans",), ())
        assert keep_out(service, "c-3", "fan-4") == (("Fans",), ("Fans",))
        assert keep_out(service, "fan-1") == ((), ())


def test_who_may_stay_true_is_said_by_the_command_in_the_same_words(workspace: EngineWorkspace) -> None:
    """JSON names the cohorts with their property."""
    with workspace.open() as service:
        service.syncs.pause(1)
    assert STAYING in run_command(workspace, "never-export", "add", "fan-3")
    answer = json.loads(run_command(workspace, "never-export", "add", "fan-3", "--json"))
    [one] = answer["may_stay_true"]
    assert answer["stay_true"] == []
    assert (one["cohort_name"], one["user_id_property"], one["sync_id"]) == ("Fans", CUSTOMER, 1)


def test_who_was_sent_in_a_step_of_a_held_run_is_said_to_stay_true(data_dir: Path, sandbox: Sandbox) -> None:
    """The snapshot does not have them before the run ends; their attribute is true all the same."""
    workspace = EngineWorkspace(data_dir, sandbox)
    workspace.set_members(*fans(*range(30)))
    workspace.export(steps=Steps(first=10))
    [sent, *_], unsent = sorted(workspace.holders()), sorted(workspace.sandbox.exportable(workspace.cohort))
    waiting = next(one for one in unsent if one not in workspace.holders())
    with workspace.open() as service:
        assert keep_out(service, sent) == (("Fans",), ())
        assert keep_out(service, waiting) == ((), ())


def test_a_first_step_by_a_property_may_have_been_sent_to_somebody_listed_by_distinct_id(
    data_dir: Path, sandbox: Sandbox
) -> None:
    """The sync takes over the property with the last step only; the run that is held has it."""
    workspace = EngineWorkspace(data_dir, sandbox)
    workspace.set_members(*customers(*range(30)))
    workspace.export(steps=Steps(first=10), id_property=CUSTOMER)
    with workspace.open() as service:
        assert keep_out(service, "fan-3") == ((), ("Fans",))


# Receipts -------------------------------------------------------------------------------------------------------------


def test_a_receipt_says_how_many_may_be_on_the_list_by_distinct_id(workspace: EngineWorkspace) -> None:
    """Until the next run has read the cohort; then it is known."""
    assert read_remarks(workspace) == ()
    with workspace.open() as service:
        keep_out(service, "fan-3", "c-4")
        found = service.receipts.read(PROJECT, workspace.cohort)
    assert (found.listed_now, found.may_be_listed_now) == (1, 1)
    assert found.remarks == (
        "1 person in WebEngage is on the never-export list now; the next run sets them to false.",
        f"{UNSURE}; the next run finds out, and sets them to false.",
    )
    refresh_when_due(workspace)
    assert read_remarks(workspace) == () and workspace.holders() == customer_ids(0, 1, 2, 5)


def test_a_receipt_of_a_sync_that_is_not_refreshed_says_who_stays_in_the_words_of_the_lists(
    workspace: EngineWorkspace,
) -> None:
    """A paused sync has no next run by itself: page, command and JSON say so."""
    with workspace.open() as service:
        service.syncs.pause(1)
        keep_out(service, "fan-3", "c-4")
    expected = [f"1 person in WebEngage is on the never-export list now. {STAYS}", f"{UNSURE}. {STAYING}"]
    assert list(read_remarks(workspace)[:2]) == expected
    answer = json.loads(run_command(workspace, "receipt", str(workspace.cohort), "--json"))
    assert answer["remarks"][:2] == expected
    assert (answer["listed_now"], answer["may_be_listed_now"]) == (1, 1)
    text = run_command(workspace, "receipt", str(workspace.cohort))
    page = workspace.page("receipt", cohort=str(workspace.cohort))
    for words in expected:
        assert words in text and words in page_text(page)


def test_a_receipt_says_that_a_tripwire_may_be_in_webengage_by_distinct_id(workspace: EngineWorkspace) -> None:
    """Set since the cohort was read, or found then and approved; one that was not found says nothing."""
    said = "It is not known whether 1 tripwire is in WebEngage: they may be listed by another ID than customer."
    with workspace.open() as service:
        service.safety.add_tripwires(PROJECT, None, ["fan-3"])
    assert read_remarks(workspace) == (said,)
    approve(workspace, refresh_when_due(workspace))
    assert read_remarks(workspace) == (said,)
    workspace.set_members(*customers(0, 1, 2))
    refresh_when_due(workspace)
    assert read_remarks(workspace) == ()


def test_a_receipt_counts_no_tripwire_as_unknown_that_is_known_to_be_there_or_where_nobody_is(
    workspace: EngineWorkspace,
) -> None:
    """One of two was found under its User ID; once the sync is cleared nobody is in WebEngage for it."""
    with workspace.open() as service:
        service.safety.add_tripwires(PROJECT, None, ["fan-3", "c-4"])
    remarks = "\n".join(read_remarks(workspace))
    assert "It is not known whether 1 tripwire is in WebEngage" in remarks
    stop_and_clear(workspace)
    assert "not known whether" not in "\n".join(read_remarks(workspace))


def test_a_receipt_by_distinct_id_says_of_no_tripwire_that_it_may_be_there(data_dir: Path, sandbox: Sandbox) -> None:
    """There is no other ID by which a member could be listed."""
    workspace = EngineWorkspace(data_dir, sandbox)
    workspace.set_members(*customers(*range(3)))
    workspace.export()
    with workspace.open() as service:
        service.safety.add_tripwires(PROJECT, None, ["a stranger"])
    assert read_remarks(workspace) == ()


def test_a_receipt_by_distinct_id_knows_everybody_on_the_lists(data_dir: Path, sandbox: Sandbox) -> None:
    """Also after a change of the User ID property was taken back."""
    workspace = EngineWorkspace(data_dir, sandbox)
    workspace.set_members(*customers(*range(3)))
    workspace.export()
    change = approve(workspace, workspace.export(id_property=CUSTOMER))
    with workspace.open() as service:
        undo = service.runs.undo(change.id).run_id
    workspace.run_queued()
    approve(workspace, workspace.get_run(undo))
    with workspace.open() as service:
        assert keep_out(service, "fan-1", "a stranger") == (("Fans",), ())
        found = service.receipts.read(PROJECT, workspace.cohort)
        assert (found.listed_now, found.may_be_listed_now) == (1, 0)
        assert service.people.find("nobody").known_by == ()


# One person -----------------------------------------------------------------------------------------------------------


def test_a_person_looked_up_by_distinct_id_is_said_to_have_another_id_there(workspace: EngineWorkspace) -> None:
    """Nothing is stored under it, which does not mean that nothing was sent; page, command and JSON say so."""
    with workspace.open() as service:
        found = service.people.find("fan-3")
    assert not found.is_known and [(one.cohort_name, one.id_property) for one in found.known_by] == [("Fans", CUSTOMER)]
    assert f"{BOTH} Look up both IDs." in run_command(workspace, "person", "fan-3")
    assert f"{BOTH} Look up both IDs." in run_command(workspace, "person", "c-3")
    answer = json.loads(run_command(workspace, "person", "fan-3", "--json"))
    assert [one["user_id_property"] for one in answer["known_by"]] == [CUSTOMER]
    app = workspace.page("people")
    app.text_input(key="person-id").set_value("fan-3")
    click_button(app, "Look up")
    assert f"{BOTH} Look up both IDs." in page_text(app)
    app.button(key="person-forget").click().run()
    assert f"{BOTH} Forget both IDs." in page_text(app)


def test_forgetting_by_distinct_id_says_that_another_id_is_stored(workspace: EngineWorkspace) -> None:
    """Nothing is deleted by it; by the User ID everything is."""
    assert f"{BOTH} Forget both IDs." in run_command(workspace, "forget", "fan-3")
    answer = json.loads(run_command(workspace, "forget", "c-3", "--json"))
    assert answer["places"] > 0 and [one["cohort_name"] for one in answer["known_by"]] == ["Fans"]
    app = workspace.page("administration")
    next(field for field in app.text_input if field.label.startswith("User ID")).set_value("fan-3")
    click_button(app, "Forget")
    click_button(app, "Forget this person")
    assert f"{BOTH} Forget both IDs." in page_text(app)
