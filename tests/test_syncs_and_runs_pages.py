"""The lists of syncs and runs, and the page of a sync, without a browser."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.formatting import shorten_name
from sync.model import Mode, RunState
from tests.sandbox.control import PROJECT, member
from tests.workspace import Workspace, click_button, page_numbers, page_text


@pytest.mark.slow
def test_runs_of_a_day_are_those_requested_then(fans: Workspace) -> None:
    """The filter of the address leaves the runs of that day in the viewer's time zone, and says when there are none."""
    run = fans.export()
    with fans.open_database() as db:
        db.execute("update run set queued_at = ? where id = ?", (1_790_000_000.0, run.id))  # 2026-09-21, 14:13 UTC
    later = fans.export()
    openers = [button.label for button in fans.page("runs", day="2026-09-21").button if button.label.startswith("Run ")]
    assert openers == [f"Run {run.id}"]
    assert f"Run {later.id}" in [button.label for button in fans.page("runs").button]
    assert "No run matches these filters." in page_text(fans.page("runs", day="2026-09-20"))


@pytest.mark.slow
def test_page_of_a_sync_is_opened_by_its_name_and_lists_its_runs(fans: Workspace) -> None:
    """A row has the state, the next and the last result; its name opens the page with the buttons and the last runs."""
    run = fans.export()
    app = fans.page("syncs")
    text = page_text(app)
    assert "Synced" in text and re.search(r"in [12] h \d\d min", text) and "30 added" in text and "30 people" in text
    assert "Sync now" not in [button.label for button in app.button]
    click_button(app, "Fans")
    assert app.title[0].value == "Fans"
    assert {"Sync now", f"Run {run.id}"} <= {button.label for button in app.button}
    assert "There is no sync 77" in fans.page("syncs", sync="77").warning[0].value


def test_a_first_export_that_nobody_approved_shows_the_mode_asked_for(fans: Workspace) -> None:
    """Its sync takes the mode over with the approval; until then, and after a cancel, the pages show what was asked."""
    run = fans.export(mode=Mode.DYNAMIC, dry_run=True)
    shown = page_text(fans.page("syncs")), page_text(fans.page("syncs", sync=str(run.sync_id)))
    assert all("Dynamic" in text and "One-time" not in text for text in shown)
    with fans.open() as service:
        service.runs.cancel(run.id)
        assert service.syncs.get(run.sync_id).mode is Mode.ONE_TIME
    fans.run_queued()
    assert "Dynamic" in page_text(fans.page("syncs"))


def test_a_run_that_mixpanel_limits_says_so_in_plain_words(fans: Workspace) -> None:
    """The pages have a short sentence; what Mixpanel answered is in the run's history."""
    fans.sandbox.fault("status", api="mixpanel", path="/engage", code=429, retry_after=3000, times=0)
    run = fans.export()
    app = fans.page("runs", run=str(run.id))
    assert re.match(r"Mixpanel's query limit is reached; continues at .*\.$", app.info[0].value.replace("\\", ""))
    assert "answered 429" in page_text(app)


def test_page_of_a_sync_whose_last_day_is_over_says_so(fans: Workspace) -> None:
    """It was not stopped by a person, and exporting it again does not offer the day that is over."""
    fans.ahead = -86400.0
    run = fans.export(interval=300.0, ends_at=fans.now() + 3600.0)
    fans.ahead = 0.0
    fans.run_queued()
    assert "Its last day ended" in page_text(fans.page("syncs", sync=str(run.sync_id)))
    app = fans.page("cohorts", export=str(fans.cohort))
    assert [field.value for field in app.date_input] == [None]


def test_dry_run_of_a_cohort_whose_last_day_is_over_asks_for_the_terms_first(fans: Workspace) -> None:
    """Its own terms would be refused for a day that nobody can choose there."""
    fans.ahead = -86400.0
    fans.export(interval=300.0, ends_at=fans.now() + 3600.0)
    fans.ahead = 0.0
    fans.run_queued()
    app = fans.page("cohorts", cohort=str(fans.cohort))
    click_button(app, "Dry run")
    assert "in the past" not in page_text(app)
    assert {"export-dry", "export-start"} <= {button.key for button in app.button}


def test_interval_of_its_own_stands_in_the_dialog_that_changes_it(fans: Workspace) -> None:
    """Who changes only the last day need not type the interval again; the empty field was refused."""
    run = fans.export(interval=5400.0)
    app = fans.page("syncs", sync=str(run.sync_id), interval=str(run.sync_id))
    assert app.text_input(key="interval-own").value == "90m"
    app.text_input(key="interval-own").set_value(" ")
    click_button(app, "Save")
    assert "Type an interval, such as 45m, 3h or 1d." in page_text(app)
    app.text_input(key="interval-own").set_value("90m")
    click_button(app, "Save")
    assert "is not an interval" not in page_text(app) and "The interval of Fans is changed." in page_text(app)
    with fans.open() as service:
        assert service.syncs.get(run.sync_id).interval_seconds == 5400.0


def test_a_sync_whose_refreshes_changed_nobody_says_so_instead_of_an_empty_chart(fans: Workspace) -> None:
    """With no column to draw there is a sentence."""
    run = fans.export()
    for _ in range(2):
        with fans.open() as service:
            service.syncs.refresh_now(run.sync_id)
        fans.run_queued()
    text = page_text(fans.page("runs", run=str(run.id)))
    assert "None of the last 2 changed anybody." in text and "the largest changed" not in text
    fans.sandbox.set_members(fans.cohort, [member("fan-1")])
    with fans.open() as service:
        service.guards.lift(run.sync_id)
        service.syncs.refresh_now(run.sync_id)
    fans.run_queued()
    removed = fans.get_run(4).exited
    assert f"Run 2 to run 4; the largest changed {removed} people" in page_text(fans.page("runs", run=str(run.id)))


def test_a_sync_whose_latest_run_is_held_says_everywhere_that_it_needs_approval(fans: Workspace) -> None:
    """The lists, the overview, the pages of sync and cohort and the tables of the commands; nowhere that it is in step."""
    fans.export()
    run = fans.export(dry_run=True)
    assert run.state is RunState.HELD
    for name, parameters in (
        ("cohorts", {}),
        ("cohorts", {"cohort": str(fans.cohort)}),
        ("syncs", {}),
        ("syncs", {"sync": "1"}),
        ("overview", {}),
    ):
        text = page_text(fans.page(name, **parameters))
        assert "Needs approval]" in text and "Synced]" not in text, (name, parameters)
    assert "Once approved" in page_text(fans.page("syncs")) and "No refresh until" in page_text(
        fans.page("syncs", sync="1")
    )
    assert "No refresh is planned." in page_text(fans.page("overview"))
    for command in ("cohorts", "syncs", "runs"):
        assert "Needs approval" in fans.run_cli(command).stdout, command
    assert fans.read_json("syncs")[0]["state"] == "active"
    with fans.open() as service:
        service.runs.cancel(run.id)
    assert "Synced]" in page_text(fans.page("syncs"))
    assert "Synced" in fans.run_cli("cohorts").stdout


def test_a_held_run_says_for_how_many_it_is_true_now_and_after_it_and_where(fans: Workspace) -> None:
    """Before the decision a person reads how many are in WebEngage, how many would be, which attribute and account it is."""
    fans.export()
    fans.sandbox.set_members(fans.cohort, [member(f"fan-{number}") for number in range(20, 55)])
    run = fans.export(dry_run=True)
    app = fans.page("runs", run=str(run.id))
    numbers = page_numbers(app)
    assert (numbers["In WebEngage now"], numbers["After this run"]) == ("30", "35"), numbers
    assert "Sets “Mixpanel - Fans” in WebEngage account sandbox1" in page_text(app)


def fill_with_paused_syncs(workspace: Workspace, count: int) -> None:
    """Write syncs that wait for a person, beside those there are."""
    with workspace.open_database() as db:
        for number in range(count):
            db.execute(
                """
                insert into sync (project_id, cohort_id, cohort_name, license_code, attribute, mode, state,
                    pause_reason, schedule_anchor, interval_seconds, next_run_at)
                values (?, ?, ?, 'sandbox1', ?, 'dynamic', 'paused', 'The key was refused.', 0, 7200, 7200)
                """,
                (PROJECT, 9000 + number, f"Paused {number}", f"Mixpanel - Paused {number}"),
            )


def list_openers(app: AppTest) -> list[str]:
    """Return the names of the rows of a list."""
    return [button.label.replace("\\", "") for button in app.button if button.key.startswith("open-")]


def test_syncs_are_found_by_name_attribute_and_by_what_they_need(fans: Workspace) -> None:
    """Among sixty syncs those that need a person are on the first page of a filter, which the address keeps."""
    fans.export()
    fill_with_paused_syncs(fans, 59)
    assert "1 to 25 of 60 syncs" in page_text(fans.page("syncs"))
    app = fans.page("syncs", show_syncs="Synced")
    assert list_openers(app) == ["Fans"] and "of 60" not in page_text(app)
    app = fans.page("syncs", show_syncs="Needs a person", sync_q="PAUSED 58")
    assert list_openers(app) == ["Paused 58"]
    app = fans.page("syncs", show_syncs="Needs a person", sync_q="mixpanel - fans")
    assert "No sync matches." in page_text(app)
    assert "No sync is in this state now." in page_text(fans.page("syncs", show_syncs="Stopped"))


def test_overview_when_much_needs_a_person_leads_to_all_of_it(fans: Workspace) -> None:
    """Five are shown; the link behind them opens the list of exactly these, not three pages of everything."""
    fill_with_paused_syncs(fans, 7)
    links = {link.label: link.query_string for link in (one.proto for one in fans.page("overview").get("page_link"))}
    assert links["See all 7"] == "show_syncs=Needs+a+person"
    assert len(list_openers(fans.page("syncs", show_syncs="Needs a person"))) == 7


def test_last_runs_on_the_page_of_a_sync_do_not_repeat_its_name(fans: Workspace) -> None:
    """The page has it as its title; a long name made every row four lines high."""
    run = fans.export()
    app = fans.page("syncs", sync=str(run.sync_id))
    assert [text.value for text in app.text].count("Fans") == 0
    assert "Cohort" not in [caption.value for caption in app.caption]
    assert "Fans" in [text.value for text in fans.page("runs").text]


def test_a_long_name_is_a_short_title_with_all_of_it_below(connected: Workspace) -> None:
    """As a title two hundred characters fill the screen of a phone; the page still says all of them, as they are."""
    name = f"<b>Q4</b> *win-back* {'of lapsed subscribers ' * 8}who live in Graz"
    connected.cohort = connected.sandbox.add_cohort(name, [member("a")])
    run = connected.export()
    for page, parameters in (
        ("cohorts", {"cohort": str(connected.cohort)}),
        ("syncs", {"sync": str(run.sync_id)}),
        ("runs", {"run": str(run.id)}),
        ("receipt", {"cohort": str(connected.cohort)}),
    ):
        app = connected.page(page, **parameters)
        title = app.title[0].value.replace("\\", "")
        assert len(title) < 80 and title.endswith("who live in Graz"), page
        assert name in page_text(app), page


def test_a_long_name_is_short_in_dialogs_and_messages(connected: Workspace) -> None:
    """On a phone it took six lines of each; the export dialog, which decides who is mailed, has the whole name in small."""
    name = f"Q4 win-back {'of lapsed subscribers ' * 8}who live in Graz"
    connected.cohort = connected.sandbox.add_cohort(name, [member("a")])
    sync_id = connected.export().sync_id
    for dialog in ("stop", "interval", "pause"):
        app = connected.page("syncs", **{dialog: str(sync_id)})
        assert shorten_name(name) in [one.value for one in app.text] and name not in page_text(app), dialog
    app = connected.page("cohorts", export=str(connected.cohort), cohort=str(connected.cohort))
    assert {shorten_name(name), name} <= {one.value for one in app.text}
    app = connected.page("syncs", sync=str(sync_id))
    click_button(app, "Pause")
    assert app.success[0].value.replace("\\", "") == f"{shorten_name(name)} is paused."
