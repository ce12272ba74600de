"""Each page alone, without a browser: empty, under way, failed, held; and the words pages are written with."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import formatting, polling, run_progress
from sync.export_terms import ExportTerms
from sync.model import Mode, Run, RunState
from tests.browser import connect, run_queued, service
from tests.sandbox.control import (
    API_KEY,
    API_KEY_2,
    LICENSE,
    LICENSE_2,
    PROJECT,
    SECRET,
    USERNAME,
    Sandbox,
    anonymous,
    member,
)
from tests.workspace import ROOT, Workspace, click_button, page_text

PAGES = ("overview", "cohorts", "integrations", "syncs", "runs")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_alone_says_what_to_do_when_there_is_nothing(name: str, workspace: Workspace) -> None:
    """Without any connection every page stands, has its title, and leads on or says why it is empty."""
    app = workspace.page(name)
    assert app.title[0].value == name.capitalize()
    assert app.info[0].value
    assert "The runner is not running" in page_text(app)


@pytest.mark.slow
def test_a_run_under_way_failed_and_held(workspace: Workspace, sandbox: Sandbox) -> None:
    """The Syncs page and the run's own page tell the three apart, with the reason and what can be done."""
    queued, held, failing = (
        sandbox.add_cohort(name, [member("a"), anonymous("b"), member("x" * 101)])
        for name in ("Waiting", "Held", "Failing")
    )
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        hold = here.syncs.start_export(None, held, ExportTerms(mode=Mode.DYNAMIC, dry_run=True)).run_id
        run_queued(workspace.data_dir)
        sandbox.fault("status", api="mixpanel", path="/engage", code=403)
        fail = here.syncs.start_export(None, failing, ExportTerms(mode=Mode.DYNAMIC)).run_id
        run_queued(workspace.data_dir)
        wait = here.syncs.start_export(None, queued, ExportTerms(mode=Mode.DYNAMIC)).run_id
    story = workspace.page("runs", run=str(hold))
    assert "Dry run: nothing is sent until a person approves." in page_text(story)
    assert [button.label for button in story.button if "Approve" in button.label or "Cancel" in button.label] == [
        "Approve",
        "Cancel run",
    ]
    story = workspace.page("runs", run=str(fail))
    assert "answered 403" in story.error[0].value.replace("\\", "")
    assert not [button for button in story.button if button.label == "Cancel run"]
    assert "Starts in a moment." in page_text(workspace.page("runs", run=str(wait)))
    with service(workspace.data_dir) as here:
        failed, decided = (str(here.runs.get(run_id).sync_id) for run_id in (fail, hold))
    syncs = workspace.page("syncs", sync=failed)
    assert "answered 403" in syncs.warning[0].value
    labels = [button.label for name in (failed, decided) for button in workspace.page("syncs", sync=name).button]
    assert labels.count("Resume") == 1 and labels.count("Decide") == 1 and "Pause" not in labels
    assert "Needs approval" in page_text(workspace.page("cohorts"))
    assert len(workspace.page("runs").get("button")) >= 3


@pytest.mark.slow
def test_a_run_that_ended_tells_who_was_not_taken_and_why(workspace: Workspace, sandbox: Sandbox) -> None:
    """Rejected and invalid people are grouped by reason, each with advice; the recipe names the attribute."""
    number = sandbox.add_cohort(
        "Mixed", [*(member(f"u{n}") for n in range(5)), member(""), member("x" * 101), anonymous("g")]
    )
    sandbox.poison("u1", "u2")
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        run_id = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC)).run_id
    run_queued(workspace.data_dir)
    app = workspace.page("runs", run=str(run_id))
    reasons = [expander.label.replace("\\", "") for expander in app.expander]
    assert reasons[0].startswith("2 members:") and "invalid user" in reasons[0]
    assert {"1 member: empty id", "1 member: id over 100 characters"} <= set(reasons)
    assert "Give these profiles a User ID in Mixpanel" in page_text(app)
    assert "Shorten these User IDs to 100 characters" in page_text(app)
    assert "Correct the reason above in their Mixpanel profiles" in page_text(app)
    assert "Mixpanel - Mixed" in [code.value for code in app.code]
    assert {"Open sync", "See members"} <= {link.proto.label for link in app.get("page_link")}
    click_button(app, "Try rejected people again")
    run_queued(workspace.data_dir)
    with service(workspace.data_dir) as here:
        retry = here.runs.list(limit=1)[0]
        assert (retry.purpose, retry.rejected) == ("retry", 2)


@pytest.mark.slow
def test_nobody_is_called_synced_before_anything_went(workspace: Workspace, sandbox: Sandbox) -> None:
    """Queued, held or cancelled before the first batch: the cohort is not shown as synced; after a success it is."""
    number = sandbox.add_cohort("First", [member("a"), member("b")])
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        started = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC))
        assert shown(workspace, "syncs") == ["Nothing exported yet", "Dynamic", "Queued"]
        here.runs.cancel(started.run_id)
        assert shown(workspace, "cohorts") == ["Stopped"]
        assert "Cancelled before anything was sent. WebEngage is unchanged" in page_text(workspace.page("cohorts"))
        here.syncs.refresh_now(started.sync_id)
        run_queued(workspace.data_dir)
        assert shown(workspace, "cohorts") == ["Synced"]
        assert "Last export: 2 added · next " in page_text(workspace.page("cohorts"))
        here.syncs.stop(started.sync_id)
        assert shown(workspace, "syncs") == ["Stopped", "Dynamic", "Succeeded"]


def shown(workspace: Workspace, page: str) -> list[str]:
    """Return the words of a page's badges."""
    marks = "\n".join(one.value for one in workspace.page(page).markdown)
    return re.findall(r"-badge\[:material/\w+: ([\w ]+)\]", marks)


def test_a_run_says_planned_until_it_is_done(workspace: Workspace, sandbox: Sandbox) -> None:
    """Held and cancelled, people are to be added and nobody was told; after a success they were added."""
    number = sandbox.add_cohort("Planned", [member("a"), member("b")])
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        started = here.syncs.start_export(None, number, ExportTerms(mode=Mode.ONE_TIME, dry_run=True))
        run_queued(workspace.data_dir)
        here.runs.cancel(started.run_id)
        run_queued(workspace.data_dir)
        story = page_text(workspace.page("runs", run=str(started.run_id)))
        assert "To add" in story and "Added" not in story
        assert "Cancelled before anything was sent" in story
        done = here.syncs.start_export(None, number, ExportTerms(mode=Mode.ONE_TIME)).run_id
        run_queued(workspace.data_dir)
    assert "Added" in page_text(workspace.page("runs", run=str(done)))


@pytest.mark.slow
def test_names_in_select_boxes_are_shown_as_they_are(workspace: Workspace, sandbox: Sandbox) -> None:
    """Options of a select box are no Markdown: nothing is escaped in them, on any page that has one."""
    name = "Power users (US) - trial_ended!"
    sandbox.add_project(43, name)
    workspace.connect(sandbox)
    with service(workspace.data_dir) as here:
        here.connections.connect_mixpanel(43, USERNAME, SECRET, sandbox.url)
        here.connections.connect_webengage(LICENSE_2, API_KEY_2, sandbox.url)
        here.syncs.start_export(PROJECT, sandbox.add_cohort(name, [member("a")]), ExportTerms(mode=Mode.DYNAMIC))
    offered = [
        option
        for page in PAGES
        for box in workspace.page(page, project=str(PROJECT)).selectbox
        for option in box.options
    ]
    assert offered.count(name) == len(PAGES) + 1 and LICENSE_2 in offered
    assert not [option for option in offered if "\\" in option]


@pytest.mark.slow
def test_a_reason_is_said_once_and_in_a_list_shortly(workspace: Workspace, sandbox: Sandbox) -> None:
    """The page of a sync has the whole reason once; the lists say what to do, the run's page what was answered."""
    number = sandbox.add_cohort("Failing", [member("a")])
    connect(workspace.data_dir, sandbox)
    sandbox.fault("status", api="mixpanel", path="/engage", code=403)
    with service(workspace.data_dir) as here:
        run_id = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC)).run_id
    run_queued(workspace.data_dir)
    assert page_text(workspace.page("syncs", sync="1")).count("answered 403") == 1
    for name in ("cohorts", "runs", "syncs"):
        assert "answered 403" not in page_text(workspace.page(name))
        assert "The service account has no right to it; check the project" in page_text(workspace.page(name))
    assert "answered 403" in page_text(workspace.page("runs", run=str(run_id)))


@pytest.mark.slow
def test_the_preview_costs_what_would_be_sent(workspace: Workspace, sandbox: Sandbox) -> None:
    """Before the first export everybody is counted, afterwards only the difference, and nobody when there is none."""
    people = [member(f"u{n}") for n in range(60)]
    number, nobody = sandbox.add_cohort("Costly", people), sandbox.add_cohort("Nobody", [])
    connect(workspace.data_dir, sandbox)
    assert "Nobody here can be sent now; 1 of the" in page_text(workspace.page("cohorts", export=str(nobody)))
    assert "3 requests, about 1 second" in page_text(workspace.page("cohorts", export=str(number)))
    with service(workspace.data_dir) as here:
        here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC))
        run_queued(workspace.data_dir)
        here.cohorts.preview(None, number, fresh=True)
        assert "Nobody needs to be sent now, so no request" in page_text(workspace.page("cohorts", export=str(number)))
        sandbox.set_members(number, [*people[1:], member("new")])
        here.cohorts.preview(None, number, fresh=True)
    asked = page_text(workspace.page("cohorts", export=str(number)))
    assert "as 1 would be added, 1 would be removed." in asked
    assert "1 request, about 1 second" in asked


def test_an_empty_list_of_cohorts_says_what_may_be_missing(workspace: Workspace, sandbox: Sandbox) -> None:
    """A project without a paid plan has no saved cohorts, and a cohort is its author's alone until it is shared."""
    connect(workspace.data_dir, sandbox)
    shown = page_text(workspace.page("cohorts"))
    assert "Mixpanel lists no cohort in this project yet. Saving cohorts needs a paid plan of Mixpanel." in shown
    assert "Not listed? Share the cohort" in shown


def test_the_preview_says_at_least_where_mixpanel_gives_no_total(workspace: Workspace, sandbox: Sandbox) -> None:
    """The first page is full, so more may follow: on the page and at the command line alike."""
    number = sandbox.add_cohort("Fans", [member(f"u{n}") for n in range(25)])
    connect(workspace.data_dir, sandbox)
    sandbox.settings(page_size=10, untold="total")
    shown = page_text(workspace.page("cohorts", export=str(number)))
    assert "at least 10" in shown and "does not say how many members there are" in shown
    said = workspace.run_cli("preview", str(number)).stdout
    assert "at least 10 members, at least 10 identified (sent)" in " ".join(said.split())


@pytest.mark.slow
def test_a_guard_that_tripped_can_be_approved_once_or_always(workspace: Workspace, sandbox: Sandbox) -> None:
    """A run that would tell most people they left waits with the numbers; Always lifts the guard of its sync."""
    number = sandbox.add_cohort("Shrinking", [member(f"u{n}") for n in range(200)])
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        sync_id = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC)).sync_id
        run_queued(workspace.data_dir)
        sandbox.set_members(number, [member("u1")])
        run_id = here.syncs.refresh_now(sync_id).run_id
        run_queued(workspace.data_dir)
        app = workspace.page("runs", run=str(run_id))
        assert "199 of 200 people exported before would be removed." in page_text(app)
        click_button(app, "Always approve for this sync")
        assert "The guard of this sync is lifted, until somebody puts it back" in page_text(app)
        run_queued(workspace.data_dir)
        assert here.runs.get(run_id).state == RunState.SUCCEEDED
    assert sandbox.holding("Mixpanel - Shrinking")[0] == {"u1"}


@pytest.mark.slow
def test_an_interval_nobody_can_mean_is_refused_in_the_dialog(workspace: Workspace, sandbox: Sandbox) -> None:
    """Another interval may be typed; what is no interval, or too short, is one sentence and changes nothing."""
    number = sandbox.add_cohort("Paced", [member("a")])
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        sync_id = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC)).sync_id
    app = workspace.page("syncs", interval=str(sync_id))
    app.radio(key="interval-choice").set_value(0.0).run()
    for text, answer in (("soon", "is not an interval"), ("1m", "between 5 minutes and 30 days")):
        app.text_input(key="interval-own").set_value(text)
        click_button(app, "Save")
        assert answer in page_text(app)
    app.text_input(key="interval-own").set_value("45m")
    click_button(app, "Save")
    with service(workspace.data_dir) as here:
        assert here.syncs.get(sync_id).interval_seconds == 2700.0


@pytest.mark.slow
def test_a_lost_key_is_one_sentence(workspace: Workspace, sandbox: Sandbox) -> None:
    """Without the key that opens the secrets the pages stand and say what to do."""
    sandbox.add_cohort("Only", [member("a")])
    connect(workspace.data_dir, sandbox)
    (workspace.data_dir / "secret.key").unlink()
    assert "key" in workspace.page("cohorts").error[0].value
    for name in ("integrations", "syncs", "runs"):
        assert not workspace.page(name).error


def test_waits_are_said_in_few_words() -> None:
    """The limits everybody meets have a sentence of their own; anything else is said as it was answered."""
    run = Run(**dict.fromkeys(Run.__slots__, 0) | {"state": RunState.QUEUED, "not_before": 50.0})
    said_of = {
        waiting: run_progress.describe_run(replace(run, wait_reason=waiting), now=60.0)
        for waiting in (
            "Mixpanel's hourly limit of queries is used up",
            "Mixpanel … answered 429 “61/60 queries running in the last hour”.",
            "WebEngage was sent a batch of users and answered 429 “Too many”.",
            "The disk is full.",
        )
    }
    assert list(said_of.values()) == [
        f"{run_progress.HOURLY_LIMIT_TEXT}.",
        f"{run_progress.HOURLY_LIMIT_TEXT}.",
        f"{run_progress.MINUTE_LIMIT_TEXT}.",
        "The disk is full.",
    ]


def test_a_run_just_asked_for_is_looked_at_at_once() -> None:
    """Four times a second until it begins, every two seconds while it moves or waits; a held or ended one moves nothing."""
    run = Run(**dict.fromkeys(Run.__slots__, 0) | {"state": RunState.QUEUED, "queued_at": 100.0})
    assert polling.choose_interval([None, run], 101.0) == polling.STARTING_SECONDS
    assert polling.choose_interval([run], 110.0) == polling.MOVING_SECONDS
    assert polling.choose_interval([replace(run, wait_reason="The disk is full.")], 101.0) == polling.MOVING_SECONDS
    assert polling.choose_interval([replace(run, state=RunState.PULLING)], 101.0) == polling.MOVING_SECONDS
    resting = [replace(run, state=state) for state in (RunState.HELD, RunState.SUCCEEDED)]
    assert polling.choose_interval([None, *resting], 101.0) == polling.IDLE_SECONDS


@pytest.mark.slow
def test_requests_for_what_is_not_there_are_answered(workspace: Workspace, sandbox: Sandbox) -> None:
    """A shared link to a run, cohort or sync that does not exist is one sentence, and the page stands."""
    sandbox.add_cohort("Only", [member("a")])
    connect(workspace.data_dir, sandbox)
    assert "There is no run 77" in workspace.page("runs", run="77").warning[0].value
    assert "no cohort 77" in workspace.page("cohorts", export="77").warning[0].value
    assert "no cohort seven" in page_text(workspace.page("cohorts", export="seven"))
    assert not workspace.page("cohorts", cohort_page="9", show="nonsense", sort="nonsense").exception


def test_secrets_are_not_on_the_page(workspace: Workspace, sandbox: Sandbox) -> None:
    """A connection is shown by the end of its key, and the dialog to replace it begins without one."""
    connect(workspace.data_dir, sandbox)
    app = workspace.page("integrations", setup="webengage")
    assert "ends in -key" in page_text(app) and "sandbox-api-key" not in page_text(app)
    assert [box.value for box in app.text_input if box.label == "API key"] == [""]


def test_a_connection_is_checked_again(workspace: Workspace, sandbox: Sandbox) -> None:
    """Check again says that the other side accepts the key, or names the setting it does not; nothing is lost."""
    connect(workspace.data_dir, sandbox)
    app = workspace.page("integrations")
    app.button(key="account-sandbox1-check").click().run()
    assert app.success[0].value == formatting.escape_markdown("WebEngage accepts the API key.")
    app.button(key="project-42-check").click().run()
    assert app.success[0].value == formatting.escape_markdown("Mixpanel accepts the service account.")
    sandbox.fault("status", api="webengage", code=401)
    app.button(key="account-sandbox1-check").click().run()
    assert "check the API key" in app.error[0].value
    app.button(key="account-sandbox1-replace").click().run()
    assert [box.value for box in app.text_input] == ["", "sandbox1"]
    assert app.selectbox(key="setup-data_center").value == sandbox.url


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "code", "said"),
    [
        ("wrong-key", LICENSE, "check the API key"),
        (API_KEY, "unknown1", "check the license code and the data center"),
        (API_KEY, "../users", "Enter the license code as your WebEngage dashboard shows it"),
        ("", LICENSE, "Enter the API key"),
    ],
)
def test_wrong_settings_are_said_at_the_form(
    workspace: Workspace, sandbox: Sandbox, key: str, code: str, said: str
) -> None:
    """A wrong key or license is one sentence in the dialog, which stays open."""
    connect(workspace.data_dir, sandbox)
    app = workspace.page("integrations")
    app.button(key="account-sandbox1-replace").click().run()
    for box, typed in zip(app.text_input, (key, code), strict=True):
        box.set_value(typed)
    click_button(app, "Continue")
    [error] = app.error
    assert formatting.escape_markdown(said) in error.value
    assert len(app.text_input) == 2


def test_when_mixpanel_is_away_the_last_list_is_shown(workspace: Workspace, sandbox: Sandbox) -> None:
    """A list that cannot be read anew is shown as it was, with the reason."""
    sandbox.add_cohort("Kept in mind", [member("a")])
    connect(workspace.data_dir, sandbox)
    workspace.page("cohorts")
    sandbox.fault("status", api="mixpanel", code=503, times=0)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).switch_page("pages/cohorts.py")
    app.session_state["_fresh"] = True
    app.run()
    assert any("503" in warning.value for warning in app.warning)
    assert "Kept in mind" in [link.proto.label for link in app.get("page_link")]
