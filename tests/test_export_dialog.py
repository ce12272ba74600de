"""Specify the export dialog, without a browser: interval, mapping, what the guards will say."""

from __future__ import annotations

import re
from datetime import time

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.cadence_fields import AT_TIME_OF_DAY
from pages.parts.export_draft import RESTORED
from sync.cadence import DailyTime
from sync.model import DEFAULT_INTERVAL, INTERVAL_CHOICES, Mode, RunState
from sync.property_values import ValueType
from sync.steps import Steps
from tests.sandbox.control import PROJECT, SECRET, USERNAME, Sandbox, member
from tests.workspace import ATTRIBUTE, Workspace, click_button, make_fans, page_text


@pytest.mark.slow
def test_the_interval_is_chosen_where_dynamic_is(fans: Workspace) -> None:
    """Two hours at first, six choices from half an hour to a day; a one-time export has no interval."""
    first, other = fans.cohort, fans.add_cohort(3, "Once")
    app = fans.page("cohorts", export=str(first))
    interval = app.selectbox(key=f"export-interval-{first}")
    assert interval.value == DEFAULT_INTERVAL and len(interval.options) == len(INTERVAL_CHOICES) + 1 == 7
    assert interval.options[0] == "Every 30 minutes" and interval.options[4] == "Every 12 hours"
    interval.set_value(43200.0)
    click_button(app, "Start Sync")
    with fans.open() as service:
        assert [(one.mode, one.interval_seconds) for one in service.syncs.list()] == [(Mode.DYNAMIC, 43200.0)]
    app = fans.page("cohorts", export=str(other))
    app.radio(key=f"export-mode-{other}").set_value(Mode.ONE_TIME).run()
    assert f"export-interval-{other}" not in [box.key for box in app.selectbox]
    click_button(app, "Start Sync")
    with fans.open() as service:
        assert service.syncs.list()[0].interval_seconds is None


@pytest.mark.slow
def test_an_interval_chosen_elsewhere_is_kept(fans: Workspace) -> None:
    """An interval that is none of the six stands among them."""
    fans.export(interval=2700.0)
    app = fans.page("cohorts", export=str(fans.cohort))
    assert app.selectbox(key=f"export-interval-{fans.cohort}").value == 2700.0
    click_button(app, "Start Sync")
    with fans.open() as service:
        assert service.syncs.list()[0].interval_seconds == 2700.0


@pytest.mark.slow
def test_a_property_sent_before_can_be_taken_back(fans: Workspace) -> None:
    """What was mapped is chosen in the field; without it, the next export sends membership only."""
    fans.export(mapping=(("$email", "email"),))
    app = fans.page("cohorts", export=str(fans.cohort))
    field = app.multiselect(key=f"export-properties-{fans.cohort}")
    assert field.value == ["$email=email"]
    field.set_value([])
    click_button(app, "Start Sync")
    fans.run_queued()
    with fans.open() as service:
        assert service.cohorts.propose_export(PROJECT, fans.cohort).mapping == ()


@pytest.mark.slow
def test_the_dialog_says_when_a_run_would_be_held(fans: Workspace, sandbox: Sandbox) -> None:
    """A first export is held a fifth above its preview, later ones by the limits of the sync."""
    assert "Held for your approval if more than 36 people would be sent." in page_text(
        fans.page("cohorts", export=str(fans.cohort))
    )
    many = fans.add_cohort(700, "Many")
    fans.export(many)
    with fans.open() as service:
        service.cohorts.preview(PROJECT, many, fresh=True)
    shown = page_text(fans.page("cohorts", export=str(many)))
    assert "Held for your approval if more than 350 people would be added or more than 140 removed." in shown
    sandbox.set_members(many, [*make_fans(690), member("new")])
    with fans.open() as service:
        service.cohorts.preview(PROJECT, many, fresh=True)
    assert "After this export: 691, as 1 would be added, 10 would be removed." in page_text(
        fans.page("cohorts", export=str(many))
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("we_power", "WebEngage reserves"),
        ("x" * 50, "WebEngage takes at most 49"),
        (" padded", "without spaces at its ends"),
        ("", "needs a name"),
    ],
)
def test_an_attribute_is_checked_as_typed(name: str, said: str, fans: Workspace) -> None:
    """A name that WebEngage would not take is said, and nothing can be started."""
    app = fans.page("cohorts", export=str(fans.cohort))
    app.text_input(key=f"export-attribute-{fans.cohort}").set_value(name).run()
    assert said in page_text(app)
    assert all(button.disabled for button in app.button if button.label in ("Start Sync", "Dry run"))


@pytest.mark.slow
def test_without_an_account_the_dialog_says_so_and_starts_nothing(workspace: Workspace, sandbox: Sandbox) -> None:
    """Where nothing can be exported to, the dialog says why, and its buttons are off."""
    cohort = sandbox.add_cohort("Fans", make_fans(3))
    with workspace.open() as service:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
    app = workspace.page("cohorts", export=str(cohort))
    assert [one.value for one in app.warning if "WebEngage" in one.value]
    assert all(button.disabled for button in app.button if button.label in ("Start Sync", "Dry run"))


@pytest.mark.slow
def test_the_dialog_proposes_a_type_and_counts_what_would_be_dropped(fans: Workspace, sandbox: Sandbox) -> None:
    """One query for all properties; another type or a country counts anew, and what was chosen is what is sent."""
    people = [member("fan-0", mobile="030 1234567", age=5), member("fan-1", mobile="+14155552671", age=6)]
    sandbox.set_members(fans.cohort, [*people, member("fan-2", mobile="none", age=7)])
    app = fans.page("cohorts", export=str(fans.cohort))
    before = sandbox.meter().requests["/api/query/engage"]
    chosen = ["mobile=mobile", "age=age"]
    app.multiselect(key=f"export-properties-{fans.cohort}").set_value(chosen).run()
    kind, age = (app.selectbox(key=f"export-type-{fans.cohort}-{name}") for name in ("mobile", "age"))
    assert (kind.value, age.value) == (ValueType.TEXT, ValueType.NUMBER)
    assert "3 fit · 0 empty" in page_text(app)
    kind.set_value(ValueType.PHONE).run()
    assert "1 fit · 0 empty · **2 would be dropped** (not an international phone number" in page_text(app)
    assert "030 1234567" not in page_text(app)
    app.selectbox(key=f"export-country-{fans.cohort}").set_value("DE").run()
    assert "2 fit · 0 empty · **1 would be dropped**" in page_text(app)
    assert sandbox.meter().requests["/api/query/engage"] == before + 1
    click_button(app, "Start Sync")
    fans.run_queued()
    assert sandbox.attributes() | {ATTRIBUTE: "boolean"} == {ATTRIBUTE: "boolean", "mobile": "string", "age": "number"}
    assert (sandbox.profile("fan-0") or {})["attributes"]["mobile"] == "+49301234567"
    app = fans.page("cohorts", export=str(fans.cohort))
    assert app.selectbox(key=f"export-country-{fans.cohort}").value == "DE"
    assert app.selectbox(key=f"export-type-{fans.cohort}-age").disabled


def test_values_that_cannot_be_read_leave_the_types_open(fans: Workspace, sandbox: Sandbox) -> None:
    """The dialog says why, asks once, and the export can be started all the same."""
    app = fans.page("cohorts", export=str(fans.cohort))
    sandbox.fault("status", path="engage", code=500, times=0)
    app.multiselect(key=f"export-properties-{fans.cohort}").set_value(["$email=email"]).run()
    assert [one.value for one in app.warning if "Mixpanel" in one.value]
    assert not [box for box in app.selectbox if (box.key or "").startswith("export-type-")]
    assert not next(button for button in app.button if button.label == "Start Sync").disabled


@pytest.mark.slow
def test_a_time_of_day_when_chosen_in_the_dialog_is_the_syncs_and_is_offered_again(fans: Workspace) -> None:
    """The dialog says whether all syncs fit the hour; opened again it keeps the time, and Start Sync does not lose it."""
    cohort = fans.cohort
    app = fans.page("cohorts", export=str(cohort))
    assert "fit Mixpanel's limit" in page_text(app)
    app.selectbox(key=f"export-interval-{cohort}").set_value(AT_TIME_OF_DAY).run()
    app.time_input(key=f"export-{cohort}-at").set_value(time(6, 45))
    app.selectbox(key=f"export-{cohort}-zone").set_value("Europe/Berlin")
    click_button(app, "Start Sync")
    daily = DailyTime.parse("06:45", "Europe/Berlin")
    fans.run_queued()
    app = fans.page("cohorts", export=str(cohort))
    assert app.selectbox(key=f"export-interval-{cohort}").value == AT_TIME_OF_DAY
    click_button(app, "Start Sync")
    fans.run_queued()
    with fans.open() as service:
        assert service.syncs.list()[0].daily == daily
    assert "at 06:45 Europe/Berlin" in page_text(fans.page("syncs", sync="1"))


@pytest.mark.slow
def test_a_pause_until_a_time_when_asked_for_on_the_page_is_shown_with_its_end(fans: Workspace) -> None:
    """The dialog proposes tomorrow at eight; the sync's page says when it resumes."""
    fans.export()
    click_button(fans.page("syncs", pause="1"), "Pause")
    with fans.open() as service:
        resume_at = service.syncs.get(1).resume_at
    assert resume_at and resume_at > fans.now()
    assert "Resumes " in page_text(fans.page("syncs", sync="1"))


@pytest.mark.slow
def test_the_dialog_when_closed_without_a_start_opens_again_as_it_was_left(fans: Workspace) -> None:
    """A look at everybody loses nothing that was filled in; Cancel discards it, and so does a start."""
    cohort = fans.cohort
    app = fans.page("cohorts", export=str(cohort))
    assert RESTORED not in page_text(app)
    app.text_input(key=f"export-attribute-{cohort}").set_value("Fans of ours").run()
    app.multiselect(key=f"export-properties-{cohort}").set_value(["$email=email", "plan=Plan"]).run()
    app.selectbox(key=f"export-interval-{cohort}").set_value(AT_TIME_OF_DAY).run()
    app.time_input(key=f"export-{cohort}-at").set_value(time(6, 45)).run()
    app.button(key="export-see-everybody").click().run()
    assert "export" not in app.query_params
    reopen(app, cohort)
    assert RESTORED in page_text(app)
    assert app.text_input(key=f"export-attribute-{cohort}").value == "Fans of ours"
    assert {f"export-type-{cohort}-{name}" for name in ("email", "Plan")} <= {box.key for box in app.selectbox}
    assert app.time_input(key=f"export-{cohort}-at").value == time(6, 45)
    app.button(key="export-see-everybody").click().run()
    reopen(app, cohort)
    assert RESTORED in page_text(app)
    click_button(app, "Cancel")
    reopen(app, cohort)
    assert app.text_input(key=f"export-attribute-{cohort}").value == ATTRIBUTE and RESTORED not in page_text(app)


@pytest.mark.slow
def test_a_dialog_left_unchanged_or_whose_terms_changed_since_opens_with_what_is_proposed(fans: Workspace) -> None:
    """Only what a person filled in is kept, and not beyond another person's export of the cohort."""
    cohort = fans.cohort
    app = fans.page("cohorts", export=str(cohort))
    app.button(key="export-see-everybody").click().run()
    reopen(app, cohort)
    assert RESTORED not in page_text(app)
    app.selectbox(key=f"export-interval-{cohort}").set_value(1800.0).run()
    app.button(key="export-see-everybody").click().run()
    fans.export(interval=3600.0)
    reopen(app, cohort)
    assert app.selectbox(key=f"export-interval-{cohort}").value == 3600.0 and RESTORED not in page_text(app)


def reopen(app: AppTest, cohort: int) -> None:
    """Open the export dialog of a cohort again, in the same browser session."""
    app.query_params["export"] = str(cohort)
    app.run()
    assert not app.exception


def test_a_property_of_which_no_value_came_may_be_withheld(fans: Workspace) -> None:
    """Mixpanel leaves classified properties out without a word, so the dialog does not say that nobody has one."""
    app = fans.page("cohorts", export=str(fans.cohort))
    app.multiselect(key=f"export-properties-{fans.cohort}").set_value(["mobile=mobile"]).run()
    assert "nobody has one, or Mixpanel withholds it as classified" in page_text(app)


def test_the_dialog_when_a_cohort_needs_more_queries_than_are_left_says_so(connected: Workspace) -> None:
    """A hundred pages are not “up to 100 of the 58 queries left”: the export goes on in the next hours."""
    cohort = connected.sandbox.generate("Large", 100_000)
    text = page_text(connected.page("cohorts", export=str(cohort)))
    assert re.search(r"up to 100 Mixpanel queries, but only 5\d are left this hour; the export then goes on", text), (
        text
    )


def test_the_dialog_when_an_export_changes_nobody_says_nobody(fans: Workspace) -> None:
    """Of a cohort exported before it says who is in WebEngage now, and no “0 people”."""
    fans.export()
    fans.page("cohorts", cohort=str(fans.cohort))
    text = page_text(fans.page("cohorts", export=str(fans.cohort)))
    assert "In WebEngage now: 30 people. Nobody would be added or removed." in text


def draw_dialog() -> None:
    """Draw a dialog of one field as the export dialog is drawn, closed or interrupted as the session state asks."""
    import streamlit as st

    from pages.parts import export_draft
    from sync.model import Mode
    from sync.views import Proposal

    proposal = Proposal("Fans", permanent=False, mode=Mode.DYNAMIC, interval_seconds=7200.0, license_code="sandbox1")
    if st.session_state.get("closed"):
        export_draft.keep_draft()
        st.stop()
    project = st.session_state.get("project", 42)
    restored = export_draft.restore_draft(project, 7, proposal)
    st.caption(export_draft.RESTORED if restored else "New")
    st.text_input("Attribute", "Fans", key="export-attribute-7")
    if st.session_state.get("interrupted"):
        st.stop()
    export_draft.note_opened(project, 7, proposal)


def test_a_kept_dialog_when_its_first_drawing_is_interrupted_is_still_as_it_was_left() -> None:
    """A redraw may come before the last field is drawn: the dialog says the same after it, and is kept once more."""
    app = AppTest.from_function(draw_dialog).run()
    app.text_input[0].set_value("Fans of ours").run()
    for _ in range(2):
        app.session_state["closed"] = True
        assert not app.run().text_input
        app.session_state["closed"], app.session_state["interrupted"] = False, True
        app.run()
        app.session_state["interrupted"] = False
        app.run()
        assert (app.caption[0].value, app.text_input[0].value) == (RESTORED, "Fans of ours")


def test_a_kept_dialog_when_a_cohort_of_another_project_has_its_number_and_name_is_not_its() -> None:
    """Its terms are proposed alike; what was filled in may name people."""
    app = AppTest.from_function(draw_dialog).run()
    app.text_input[0].set_value("Fans of ours").run()
    app.session_state["closed"] = True
    app.run()
    app.session_state["closed"], app.session_state["project"] = False, 43
    assert app.run().caption[0].value == "New"


def test_a_dialog_when_the_one_before_was_of_the_same_number_in_another_project_is_not_filled_in_by_it() -> None:
    """The browser's way back leads from one to the other without closing it."""
    app = AppTest.from_function(draw_dialog).run()
    app.text_input[0].set_value("Fans of ours").run()
    app.session_state["project"] = 43
    app.run()
    assert (app.caption[0].value, app.text_input[0].value) == ("New", "Fans")
    app.text_input[0].set_value("Others").run()
    assert app.text_input[0].value == "Others"


def test_the_dialog_names_the_guard_that_the_run_is_judged_by_while_no_export_has_succeeded(
    connected: Workspace,
) -> None:
    """A first export that ended half-way is still one: it adds everybody, and is compared with its preview only."""
    connected.add_cohort(300)
    run = connected.export(steps=Steps(first=10))
    with connected.open() as service:
        service.runs.cancel(run.id)
    shown = page_text(connected.page("cohorts", export=str(connected.cohort)))
    assert "In WebEngage now: 10 people" in shown
    assert "Held for your approval if more than 360 people would be sent or more than 100 removed." in shown
    assert connected.export().state is RunState.SUCCEEDED  # 290 were added
    with connected.open() as service:
        service.guards.lift(1)
    shown = page_text(connected.page("cohorts", export=str(connected.cohort)))
    assert "Its guard is lifted" in shown and "Held for your approval" not in shown
    assert "or if a tripwire is in the cohort." in shown, "as the page of the sync says"


def test_the_page_of_a_sync_whose_guard_is_lifted_lists_only_what_holds_its_runs(fans: Workspace) -> None:
    """A lifted guard judges neither the share of identified people nor a first export: nobody read, and tripwires."""
    fans.export()
    shown = page_text(fans.page("syncs", sync="1"))
    assert "**half the share**" in shown and "**over a fifth more**" in shown and "**nobody**" in shown
    with fans.open() as service:
        service.guards.lift(1)
    shown = page_text(fans.page("syncs", sync="1"))
    assert "**nobody**" in shown and "**tripwire**" in shown
    assert "**half the share**" not in shown and "**over a fifth more**" not in shown
