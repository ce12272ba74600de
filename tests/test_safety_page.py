"""The page of the never-export list and tripwires, and the guards of a sync, as a person uses them."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from sync.guards import GuardLimits
from sync.model import RunState
from sync.permissions import AccessLevel
from tests.sandbox.control import LICENSE, PROJECT, Sandbox
from tests.workspace import ATTRIBUTE, Workspace, click_button, make_fans, page_text, sign_in_as

TABLE_PIXELS = 907  # the width of a table on a laptop, beside the side bar


@pytest.fixture
def fans(workspace: Workspace, sandbox: Sandbox) -> Workspace:
    """Return a workspace with an exported cohort of twenty."""
    workspace.connect(sandbox)
    workspace.add_cohort(20)
    workspace.export()
    return workspace


@pytest.mark.slow
def test_people_typed_into_the_page_are_on_the_list_and_can_be_taken_off(fans: Workspace) -> None:
    """The page shows labels, who added them and why; whoever is true becomes false with the next run."""
    app = fans.page("safety")
    app.text_area(key="never-ids").set_value("fan-1\n fan-2 \n")
    app.text_input(key="never-note").set_value("asked not to be mailed")
    click_button(app, "Add to the list")
    assert "2 people added." in page_text(app)
    app.text_area(key="never-ids").set_value("fan-1")
    click_button(app, "Add to the list")
    assert "0 people added. 1 person was on the list already." in page_text(app)
    table = app.dataframe[0].value
    assert list(table["User ID"]) == ["f•••1", "f•••2"] and list(table["Note"]) == ["asked not to be mailed"] * 2
    assert fans.export().removed_by_list == 2
    assert fans.sandbox.holding(ATTRIBUTE)[0] == fans.sandbox.exportable(fans.cohort) - {"fan-1", "fan-2"}
    app = fans.page("safety")
    app.text_area(key="never-ids").set_value("fan-1\nfan-9")
    click_button(app, "Take off the list")
    assert "1 person taken off the list." in page_text(app)
    app.text_area(key="never-ids").set_value("")
    click_button(app, "Add to the list")
    assert "No User ID was given" in page_text(app)


@pytest.mark.slow
def test_a_list_that_is_refused_stays_in_its_form_to_be_corrected(fans: Workspace) -> None:
    """The refusal names the entry that is wrong, which is looked for in what was pasted; what was taken is gone."""
    app = fans.page("safety")
    app.text_area(key="never-ids").set_value("fan-1\n" + "x" * 101)
    app.text_input(key="never-note").set_value("ticket 4711")
    click_button(app, "Add to the list")
    assert "Entry 2 cannot be a User ID" in page_text(app)
    assert (app.text_area(key="never-ids").value, app.text_input(key="never-note").value) == (
        "fan-1\n" + "x" * 101,
        "ticket 4711",
    )
    app.text_area(key="never-ids").set_value("fan-1")
    click_button(app, "Add to the list")
    assert "1 person added." in page_text(app)
    assert not app.text_area(key="never-ids").value and not app.text_input(key="never-note").value


@pytest.mark.parametrize("pasted", ["fan-1, fan-2", "fan-1;fan-2", "fan-1\tfan-2"])
def test_ids_pasted_on_one_line_are_refused_and_stay_in_the_form(fans: Workspace, pasted: str) -> None:
    """Taken for one id, nobody would be kept out, and the page would say that one person was added."""
    app = fans.page("safety")
    app.text_area(key="never-ids").set_value(f"fan-3\n{pasted}")
    click_button(app, "Add to the list")
    assert "Line 2 has a comma, a semicolon or a tab. Write one User ID per line" in page_text(app)
    assert app.text_area(key="never-ids").value == f"fan-3\n{pasted}"
    with fans.open() as service:
        assert not service.safety.list_never_export(LICENSE)


@pytest.mark.slow
def test_both_pages_say_where_a_listed_person_stays_true(fans: Workspace) -> None:
    """A paused sync sets nobody to false before it is resumed."""
    with fans.open() as service:
        service.syncs.pause(1)
    app = fans.page("safety")
    app.text_area(key="never-ids").set_value("fan-1")
    click_button(app, "Add to the list")
    assert "1 person added. Still true in WebEngage for “Fans”" in page_text(app)
    app = fans.page("people")
    app.text_input(key="person-id").set_value("fan-2")
    for label in ("Look up", "Never export", "Put on the list"):
        click_button(app, label)
    assert "On the never-export list from now on. Still true in WebEngage for “Fans”" in page_text(app)


@pytest.mark.slow
def test_a_tripwire_set_on_the_page_holds_the_run(fans: Workspace) -> None:
    """The cohort is chosen by its name; the run's page says whom it found, by a label."""
    app = fans.page("safety")
    app.selectbox(key=f"trip-cohort-{PROJECT}").set_value(fans.cohort)
    app.text_area(key="trip-ids").set_value("fan-11")
    next(button for button in app.button if button.key == "trip-add").click().run()
    assert list(app.dataframe[0].value["Cohort"]) == ["Fans"]
    run = fans.export()
    assert run.state is RunState.HELD
    assert "1 person who must never be in this cohort is in it (f•••1)" in page_text(fans.page("runs", run=str(run.id)))


@pytest.mark.slow
def test_history_of_a_run_says_of_one_person_on_the_list_what_is_done(fans: Workspace) -> None:
    """“1 of the members, not exported; 0 exported before are removed” counted what was not there, in the plural."""
    with fans.open() as service:
        service.safety.add_never_export(None, ["fan-1"], "")
    run = fans.export()
    listed = "On the never-export list: 1 member is not exported; 1 person exported before is removed."
    assert listed in page_text(fans.page("runs", run=str(run.id)))
    again = fans.export()
    assert "On the never-export list: 1 member is not exported." in page_text(fans.page("runs", run=str(again.id)))


@pytest.mark.slow
def test_long_names_and_notes_leave_each_column_of_a_list_its_place(fans: Workspace) -> None:
    """A note of 200 characters left “Cohort” ten letters, and “Added” none on a laptop."""
    with fans.open() as service:
        service.safety.add_tripwires(PROJECT, fans.cohort, ["fan-1"], "note " * 40)
    [table] = fans.page("safety").dataframe
    widths = {name: one.get("width", 0) for name, one in json.loads(table.proto.columns).items()}
    assert widths["Cohort"] >= 200 and sum(widths.values()) <= TABLE_PIXELS - 140


@pytest.mark.slow
def test_viewers_see_the_lists_and_guards_and_change_nothing(fans: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """No form, no button, and no box to tick beside a person, which would lead to nothing."""
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel.VIEWER)
    app = fans.page("safety")
    assert not app.text_area and "Nobody is on the list." in page_text(app)
    with fans.open() as service:
        service.safety.add_never_export(None, ["fan-1"], "")
    app = fans.page("safety")
    assert list(app.dataframe[0].value["Added by"]) and not list(app.dataframe[0].proto.selection_mode)
    app = fans.page("syncs", sync="1")
    assert "Save limits" not in [button.label for button in app.button]
    assert all(field.disabled for field in app.number_input)


@pytest.mark.slow
def test_all_guards_of_a_sync_are_shown_and_its_limits_tried_before_they_are_saved(fans: Workspace) -> None:
    """Before saving, the dialog says how many of the last runs the limits would have held."""
    assert "These limits would not have held the last run." in page_text(fans.page("syncs", sync="1"))
    fans.sandbox.set_members(fans.cohort, make_fans(80))
    assert fans.export().state is RunState.SUCCEEDED
    app = fans.page("syncs", sync="1")
    text = page_text(app)
    for rule in ("finds nobody", "half the share", "over a fifth more", "tripwire", "0 of the last 2 runs"):
        assert rule in text.replace("**", ""), rule
    app.number_input(key="adds-people-1-100").set_value(50).run()
    assert "would have held 1 of the last 2 runs" in page_text(app)
    click_button(app, "Save limits")
    with fans.open() as service:
        assert service.guards.get(1).limits == GuardLimits(add_people=50)
        service.guards.lift(1)
    app = fans.page("syncs", sync="1")
    assert "lifted the guard" in page_text(app)
    click_button(app, "Put the guard back")
    with fans.open() as service:
        assert service.guards.get(1).enabled


def test_a_held_run_is_approved_with_the_limit_it_needs(fans: Workspace) -> None:
    """The button names the number; afterwards the sync lets as many pass."""
    fans.sandbox.set_members(fans.cohort, make_fans(150))
    run = fans.export()
    app = fans.page("runs", run=str(run.id))
    click_button(app, "Approve and raise the limit to 130")
    fans.run_queued()
    assert fans.get_run(run.id).state is RunState.SUCCEEDED
    with fans.open() as service:
        assert service.guards.get(1).limits == GuardLimits(add_people=130)


def test_the_button_that_raises_a_limit_names_the_number_of_the_limit_that_holds_the_run(fans: Workspace) -> None:
    """More people are added than removed, but adding so many is allowed."""
    with fans.open() as service:
        service.guards.set_limits(1, GuardLimits(remove_people=2))
    fans.sandbox.set_members(fans.cohort, make_fans(29)[5:])
    run = fans.export()
    assert (run.state, run.entered, run.exited) == (RunState.HELD, 9, 5)
    click_button(fans.page("runs", run=str(run.id)), "Approve and raise the limit to 5")
    with fans.open() as service:
        assert service.guards.get(1).limits == GuardLimits(remove_people=5)


def test_the_button_that_raises_both_limits_names_both(fans: Workspace) -> None:
    """The smaller one is a limit from now on, too."""
    with fans.open() as service:
        service.guards.set_limits(1, GuardLimits(add_people=2, remove_people=2))
    fans.sandbox.set_members(fans.cohort, make_fans(40)[5:])
    run = fans.export()
    click_button(fans.page("runs", run=str(run.id)), "Approve and raise the limits to 20 added and 5 removed")
    with fans.open() as service:
        assert service.guards.get(1).limits == GuardLimits(add_people=20, remove_people=5)


def test_a_guard_lifted_on_the_syncs_page_holds_nothing_until_it_is_put_back_there(fans: Workspace) -> None:
    """A second click confirms it, below what it means; both are in the audit log."""
    app = fans.page("syncs", sync="1")
    assert "Put the guard back" not in [button.label for button in app.button]
    assert "A mistake in the cohort's rule then reaches WebEngage at once." in page_text(app)
    click_button(app, "Lift it")
    assert "lifted the guard" in page_text(app) and "Lift it" not in [button.label for button in app.button]
    fans.sandbox.set_members(fans.cohort, make_fans(400))
    assert fans.export().state is RunState.SUCCEEDED
    app = fans.page("syncs", sync="1")
    click_button(app, "Put the guard back")
    assert "lifted the guard" not in page_text(app) and "Lift it" in [button.label for button in app.button]
    fans.sandbox.set_members(fans.cohort, make_fans(1))
    assert fans.export().state is RunState.HELD
    with fans.open() as service:
        assert [line.action for line in service.admin.list_audit(20)].count("guard") == 2


def choose_rows(app: AppTest, *places: int) -> None:
    """Choose rows of the first table of a page by their places, which is all that a browser sends of a choice."""
    table = app.dataframe[0]
    states = table.root.get_widget_states()
    choice = {"selection": {"rows": places, "columns": [], "cells": []}}
    states.widgets.add(id=table.proto.id, string_value=json.dumps(choice))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table.root, "get_widget_states", lambda: states)
        app.run()


def test_who_is_chosen_is_taken_off_when_another_person_was_added_meanwhile(fans: Workspace) -> None:
    """The newest stands first, so somebody else has the place of the chosen one when the click arrives."""
    with fans.open() as service:
        service.safety.add_never_export(LICENSE, ["ann-1"], "")
    app = fans.page("safety")
    choose_rows(app, 0)
    with fans.open() as service:
        service.safety.add_never_export(LICENSE, ["zoe-9"], "")
    click_button(app, "Take 1 person off the list")
    assert "1 person taken off the list." in page_text(app)
    assert list(app.dataframe[0].value["User ID"]) == ["z•••9"]


def test_nobody_else_is_chosen_once_the_chosen_person_is_off_the_list(fans: Workspace) -> None:
    """A second click on the same place would take off the next person."""
    with fans.open() as service:
        service.safety.add_tripwires(PROJECT, None, ["ann-1", "bob-2"], "")
    app = fans.page("safety")
    choose_rows(app, 0)
    click_button(app, "Take 1 person off the list")
    assert len(app.dataframe[0].value) == 1
    assert "Take 1 person off the list" not in [button.label for button in app.button]
