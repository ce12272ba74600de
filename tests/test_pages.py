"""Each page alone, without a browser: empty, under way, failed, held; and the words pages are written with."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import pictures, progress, run_files, words
from sync.access import Grade, Person
from sync.model import Mode, Run, RunState
from sync.views import ExportRow
from tests.browsing import carry, connect, service
from tests.desk import ROOT, Desk, press, said
from tests.sandbox.control import Sandbox, anonymous, member

PAGES = ("cohorts", "integrations", "syncs", "runs")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_alone_says_what_to_do_when_there_is_nothing(name: str, desk: Desk) -> None:
    """Without any connection every page stands, has its title, and leads on or says why it is empty."""
    app = desk.page(name)
    assert app.title[0].value == name.capitalize()
    assert app.info[0].value
    assert "The runner is not working" in said(app)


def test_a_run_under_way_failed_and_held(desk: Desk, sandbox: Sandbox) -> None:
    """The Syncs page and the run's own page tell the three apart, with the reason and what can be done."""
    queued, held, failing = (
        sandbox.add_cohort(name, [member("a"), anonymous("b"), member("x" * 101)])
        for name in ("Waiting", "Held", "Failing")
    )
    connect(desk.data_dir, sandbox)
    with service(desk.data_dir) as here:
        hold = here.export(None, held, Mode.DYNAMIC, dry=True).run_id
        carry(desk.data_dir)
        sandbox.fault("status", api="mixpanel", path="/engage", code=403)
        fail = here.export(None, failing, Mode.DYNAMIC).run_id
        carry(desk.data_dir)
        wait = here.export(None, queued, Mode.DYNAMIC).run_id
    story = desk.page("runs", run=str(hold))
    assert "Dry run: nothing is sent until a person approves." in said(story)
    assert [button.label for button in story.button if "Approve" in button.label or "Cancel" in button.label] == [
        "Approve",
        "Cancel run",
    ]
    story = desk.page("runs", run=str(fail))
    assert "answered 403" in story.error[0].value.replace("\\", "")
    assert not [button for button in story.button if button.label == "Cancel run"]
    assert "Starts in a moment." in said(desk.page("runs", run=str(wait)))
    syncs = desk.page("syncs")
    assert "answered 403" in syncs.warning[0].value
    labels = [button.label for button in syncs.button]
    assert labels.count("Resume") == 1 and labels.count("Pause") == 2 and labels.count("Decide") == 1
    assert "Waiting for your yes" in said(desk.page("cohorts"))
    assert len(desk.page("runs").get("button")) >= 3


def test_a_run_that_ended_tells_who_was_not_taken_and_why(desk: Desk, sandbox: Sandbox) -> None:
    """Rejected and invalid people are grouped by reason, each with advice; the recipe names the attribute."""
    number = sandbox.add_cohort(
        "Mixed", [*(member(f"u{n}") for n in range(5)), member(""), member("x" * 101), anonymous("g")]
    )
    sandbox.poison("u1", "u2")
    connect(desk.data_dir, sandbox)
    with service(desk.data_dir) as here:
        run_id = here.export(None, number, Mode.DYNAMIC).run_id
    carry(desk.data_dir)
    app = desk.page("runs", run=str(run_id))
    reasons = [expander.label.replace("\\", "") for expander in app.expander]
    assert reasons[0].startswith("2 members:") and "invalid user" in reasons[0]
    assert {"1 member: empty id", "1 member: id over 100 characters"} <= set(reasons)
    assert "Give these profiles a user id in Mixpanel" in said(app)
    assert "Shorten these user ids to 100 characters" in said(app)
    assert "Correct what it names in their Mixpanel profiles" in said(app)
    assert "Mixpanel - Mixed" in [code.value for code in app.code]


def test_nobody_is_called_synced_before_anything_went(desk: Desk, sandbox: Sandbox) -> None:
    """Queued, held or cancelled before the first batch: the cohort is not shown as synced; after a success it is."""
    number = sandbox.add_cohort("First", [member("a"), member("b")])
    connect(desk.data_dir, sandbox)
    with service(desk.data_dir) as here:
        started = here.export(None, number, Mode.DYNAMIC)
        assert shown(desk, "syncs") == ["Nothing exported yet", "Dynamic", "Queued"]
        here.cancel(started.run_id)
        assert shown(desk, "cohorts") == ["Nothing exported yet"]
        assert "Cancelled before anything was sent; WebEngage is as it was" in said(desk.page("cohorts"))
        here.sync_now(started.sync_id)
        carry(desk.data_dir)
        assert shown(desk, "cohorts") == ["Synced"]
        assert "Last export: +2 −0 · next " in said(desk.page("cohorts"))
        here.stop(started.sync_id)
        assert shown(desk, "syncs") == ["Stopped", "Dynamic", "Succeeded"]


def shown(desk: Desk, page: str) -> list[str]:
    """The words of a page's badges."""
    marks = "\n".join(one.value for one in desk.page(page).markdown)
    return re.findall(r"-badge\[:material/\w+: ([\w ]+)\]", marks)


def test_a_run_says_planned_until_it_is_done(desk: Desk, sandbox: Sandbox) -> None:
    """Held and cancelled, people are to be added and nobody was told; after a success they were added."""
    number = sandbox.add_cohort("Planned", [member("a"), member("b")])
    connect(desk.data_dir, sandbox)
    with service(desk.data_dir) as here:
        started = here.export(None, number, Mode.ONE_TIME, dry=True)
        carry(desk.data_dir)
        here.cancel(started.run_id)
        carry(desk.data_dir)
        story = said(desk.page("runs", run=str(started.run_id)))
        assert "To add" in story and "Added" not in story
        assert "Cancelled before anything was sent" in story
        done = here.export(None, number, Mode.ONE_TIME).run_id
        carry(desk.data_dir)
    assert "Added" in said(desk.page("runs", run=str(done)))


def test_a_reason_is_said_once_and_in_a_list_shortly(desk: Desk, sandbox: Sandbox) -> None:
    """The Syncs card has the whole reason once; the lists say what to do, the run's page what was answered."""
    number = sandbox.add_cohort("Failing", [member("a")])
    connect(desk.data_dir, sandbox)
    sandbox.fault("status", api="mixpanel", path="/engage", code=403)
    with service(desk.data_dir) as here:
        run_id = here.export(None, number, Mode.DYNAMIC).run_id
    carry(desk.data_dir)
    assert said(desk.page("syncs")).count("answered 403") == 1
    for name in ("cohorts", "runs"):
        assert "answered 403" not in said(desk.page(name))
        assert "The service account has no right to it; check the project" in said(desk.page(name))
    assert "answered 403" in said(desk.page("runs", run=str(run_id)))


def test_the_preview_costs_what_would_be_sent(desk: Desk, sandbox: Sandbox) -> None:
    """Before the first export everybody is counted, afterwards only the difference, and nobody when there is none."""
    people = [member(f"u{n}") for n in range(60)]
    number, nobody = sandbox.add_cohort("Costly", people), sandbox.add_cohort("Nobody", [])
    connect(desk.data_dir, sandbox)
    assert "Nobody here can be sent now; 1 of the" in said(desk.page("cohorts", view=str(nobody)))
    assert "3 requests, about 1 second" in said(desk.page("cohorts", view=str(number)))
    with service(desk.data_dir) as here:
        here.export(None, number, Mode.DYNAMIC)
        carry(desk.data_dir)
        here.preview(None, number, fresh=True)
        assert "Nobody needs to be sent now, so no request" in said(desk.page("cohorts", view=str(number)))
        sandbox.set_members(number, [*people[1:], member("new")])
        here.preview(None, number, fresh=True)
    asked = said(desk.page("cohorts", view=str(number)))
    assert "1 person would enter and 1 would leave" in asked
    assert "1 request, about 1 second" in asked


BUTTONS = {
    "viewer": {
        "cohorts": {"View members of Power Users"},
        "integrations": {"Go to Cohorts"},
        "syncs": {"See runs"},
        "runs": {"All runs"},
    },
    "marketer": {
        "cohorts": {"Export", "View members of Power Users"},
        "integrations": {"Go to Cohorts"},
        "syncs": {"Sync now", "Pause", "Interval", "Stop", "See runs"},
        "runs": {"All runs"},
    },
    "admin": {
        "integrations": {
            "Go to Cohorts",
            "Add another project",
            "Add another account",
            "Replace secret",
            "Replace key",
            "Check again",
            "Disconnect",
        }
    },
}


@pytest.mark.parametrize("grade", list(BUTTONS))
def test_people_are_offered_what_their_grade_allows(
    grade: str, desk: Desk, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer sees no button that would be refused, a marketer none that connects, an admin all."""
    number = sandbox.add_cohort("Power Users", [member("a")])
    connect(desk.data_dir, sandbox)
    with service(desk.data_dir) as here:
        run_id = here.export(None, number, Mode.DYNAMIC).run_id
    carry(desk.data_dir)
    monkeypatch.setattr("pages.parts.desk.person", lambda: Person("pat@example.com", Grade[grade.upper()]))
    for name, wanted in BUTTONS[grade].items():
        app = desk.page(name, **({"run": str(run_id)} if name == "runs" else {}))
        assert {button.label for button in app.button} - {"Refresh list"} == wanted, name
        if name == "runs":
            assert bool(app.get("download_button")) is (grade != "viewer")


def test_a_viewer_who_follows_a_link_to_an_export_is_told(
    desk: Desk, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dialog stays shut, and the page says who may export."""
    number = sandbox.add_cohort("Power Users", [member("a")])
    connect(desk.data_dir, sandbox)
    monkeypatch.setattr("pages.parts.desk.person", lambda: Person("pat@example.com", Grade.VIEWER))
    app = desk.page("cohorts", export=str(number))
    assert "exporting needs a marketer" in said(app)
    assert "Start Sync" not in [button.label for button in app.button]


def test_a_guard_that_tripped_can_be_approved_once_or_always(desk: Desk, sandbox: Sandbox) -> None:
    """A run that would tell most people they left waits with the numbers; Always lifts the guard of its sync."""
    number = sandbox.add_cohort("Shrinking", [member(f"u{n}") for n in range(200)])
    connect(desk.data_dir, sandbox)
    with service(desk.data_dir) as here:
        sync_id = here.export(None, number, Mode.DYNAMIC).sync_id
        carry(desk.data_dir)
        sandbox.set_members(number, [member("u1")])
        run_id = here.sync_now(sync_id).run_id
        carry(desk.data_dir)
        app = desk.page("runs", run=str(run_id))
        assert "199 of 200 people exported before would be told they left." in said(app)
        press(app, "Always approve for this sync")
        assert "Approved, now and in future." in said(app)
        carry(desk.data_dir)
        assert here.run(run_id).state == RunState.SUCCEEDED
    assert sandbox.holding("Mixpanel - Shrinking")[0] == {"u1"}


def test_an_interval_nobody_can_mean_is_refused_in_the_dialog(desk: Desk, sandbox: Sandbox) -> None:
    """Another interval may be typed; what is no interval, or too short, is one sentence and changes nothing."""
    number = sandbox.add_cohort("Paced", [member("a")])
    connect(desk.data_dir, sandbox)
    with service(desk.data_dir) as here:
        sync_id = here.export(None, number, Mode.DYNAMIC).sync_id
    app = desk.page("syncs", interval=str(sync_id))
    app.radio(key="interval-choice").set_value(0.0).run()
    for text, answer in (("soon", "is not an interval"), ("1m", "between 5 minutes and 30 days")):
        app.text_input(key="interval-own").set_value(text)
        press(app, "Save")
        assert answer in said(app)
    app.text_input(key="interval-own").set_value("45m")
    press(app, "Save")
    with service(desk.data_dir) as here:
        assert here.sync(sync_id).every == 2700.0


def test_a_lost_key_is_one_sentence(desk: Desk, sandbox: Sandbox) -> None:
    """Without the key that opens the secrets the pages stand and say what to do."""
    sandbox.add_cohort("Only", [member("a")])
    connect(desk.data_dir, sandbox)
    (desk.data_dir / "secret.key").unlink()
    assert "key" in desk.page("cohorts").error[0].value
    for name in ("integrations", "syncs", "runs"):
        assert not desk.page(name).error


def test_waits_are_said_in_few_words() -> None:
    """The limits everybody meets have a sentence of their own; anything else is said as it was answered."""
    run = Run(**dict.fromkeys(Run.__slots__, 0) | {"state": RunState.QUEUED, "not_before": 50.0})
    said_of = {
        waiting: progress.sentence(replace(run, waiting=waiting), now=60.0)
        for waiting in (
            "Mixpanel's hourly limit of queries is used up",
            "Mixpanel … answered 429 “61/60 queries running in the last hour”.",
            "WebEngage was sent a batch of users and answered 429 “Too many”.",
            "The disk is full.",
        )
    }
    assert list(said_of.values()) == [
        f"{progress.HOURLY}.",
        f"{progress.HOURLY}.",
        f"{progress.MINUTE}.",
        "The disk is full.",
    ]


def test_a_run_just_asked_for_is_looked_at_at_once() -> None:
    """Four times a second until it begins, every two seconds while it moves or waits; a held or ended one moves nothing."""
    run = Run(**dict.fromkeys(Run.__slots__, 0) | {"state": RunState.QUEUED, "queued_at": 100.0})
    assert progress.look_every([None, run], 101.0) == progress.BEGIN
    assert progress.look_every([run], 110.0) == progress.FAST
    assert progress.look_every([replace(run, waiting="The disk is full.")], 101.0) == progress.FAST
    assert progress.look_every([replace(run, state=RunState.PULLING)], 101.0) == progress.FAST
    resting = [replace(run, state=state) for state in (RunState.HELD, RunState.SUCCEEDED)]
    assert progress.look_every([None, *resting], 101.0) == progress.IDLE


def test_wishes_for_what_is_not_there_are_answered(desk: Desk, sandbox: Sandbox) -> None:
    """A shared link to a run, cohort or sync that does not exist is one sentence, and the page stands."""
    sandbox.add_cohort("Only", [member("a")])
    connect(desk.data_dir, sandbox)
    assert "There is no run 77" in desk.page("runs", run="77").warning[0].value
    assert "no cohort 77" in desk.page("cohorts", export="77").warning[0].value
    assert "no cohort seven" in said(desk.page("cohorts", export="seven"))
    assert not desk.page("syncs", stop="77").exception
    assert not desk.page("runs", sync="77").exception
    assert not desk.page("cohorts", cohort_page="9", show="nonsense", sort="nonsense").exception


def test_secrets_are_not_on_the_page(desk: Desk, sandbox: Sandbox) -> None:
    """A connection is shown by the end of its key, and the dialog to replace it begins without one."""
    connect(desk.data_dir, sandbox)
    app = desk.page("integrations", setup="webengage")
    assert "ends in -key" in said(app) and "sandbox-api-key" not in said(app)
    assert [box.value for box in app.text_input if box.label == "API key"] == [""]


def test_a_connection_is_checked_again(desk: Desk, sandbox: Sandbox) -> None:
    """Check again says that the other side accepts the key, or names the setting it does not; nothing is lost."""
    connect(desk.data_dir, sandbox)
    app = desk.page("integrations")
    app.button(key="account-sandbox1-check").click().run()
    assert app.success[0].value == words.escape("WebEngage accepts the API key.")
    app.button(key="project-42-check").click().run()
    assert app.success[0].value == words.escape("Mixpanel accepts the service account.")
    sandbox.fault("status", api="webengage", code=401)
    app.button(key="account-sandbox1-check").click().run()
    assert "check the API key" in app.error[0].value
    app.button(key="account-sandbox1-replace").click().run()
    assert [box.value for box in app.text_input] == ["", "sandbox1"]
    assert app.selectbox(key="setup-data_center").value == sandbox.url


def test_when_mixpanel_is_away_the_last_list_is_shown(desk: Desk, sandbox: Sandbox) -> None:
    """A list that cannot be read anew is shown as it was, with the reason."""
    sandbox.add_cohort("Kept in mind", [member("a")])
    connect(desk.data_dir, sandbox)
    desk.page("cohorts")
    sandbox.fault("status", api="mixpanel", code=503, times=0)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).switch_page("pages/cohorts.py")
    app.session_state["_fresh"] = True
    app.run()
    assert any("503" in warning.value for warning in app.warning)
    assert "Kept in mind" in said(app)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a *b* _c_", "a \\*b\\* \\_c\\_"),
        ("<b>", "\\<b\\>"),
        (":smile: at 16:25", ":\u2060smile: at 16:25"),
        ("two\nlines", "two lines"),
        ("$x$ [y](z)", "\\$x\\$ \\[y\\]\\(z\\)"),
    ],
)
def test_text_of_others_is_escaped(text: str, shown: str) -> None:
    """What Markdown would take for a sign is shown as the character it is; a time of day stays whole."""
    assert words.escape(text) == shown


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_of_the_csv_is_a_formula(cell: str) -> None:
    """A spreadsheet is not told to compute what somebody took for a user id."""
    rows = run_files.run_csv([ExportRow(cell, "add", "accepted", cell)])
    line = rows.split("\r\n")[1] if cell != "\rx" else rows
    assert f"'{cell}" in line
    assert run_files.run_csv([]).strip() == "User ID,Operation,Outcome,Reason"


def test_the_static_list_holds_who_is_there_exactly_as_written() -> None:
    """Removed, rejected, invalid and unsent people are not in it; ids are never altered."""
    rows = [
        ExportRow("=a", "add", "accepted", ""),
        ExportRow("b", "remove", "accepted", ""),
        ExportRow("c", "add", "rejected", "bad"),
        ExportRow("d", "no-op", "unchanged", ""),
        ExportRow("e", "none", "invalid", "empty id"),
        ExportRow("f", "add", "not sent", ""),
    ]
    assert run_files.static_list_csv(rows).split() == ["User", "ID", "=a", "d"]


def test_pictures_hold_numbers_only() -> None:
    """The bar and the line are drawn from numbers; a constant line and an empty bar do not divide by zero."""
    assert pictures.bar_svg((0, 0, 0)).count("<rect") == 5
    assert 'width="500.00"' in pictures.bar_svg((1, 1, 0))
    assert "31.0 176.0,31.0" in pictures.spark_svg([4, 4])


def test_moments_are_in_the_viewers_words() -> None:
    """Spans and intervals are said as people say them."""
    assert [words.span(seconds) for seconds in (0.2, 41.6, 90, 7200)] == [
        "1 second",
        "42 seconds",
        "2 minutes",
        "2 hours",
    ]
    assert [words.every(seconds) for seconds in (None, 3600.0, 7200.0, 2700.0)] == [
        "once",
        "every hour",
        "every 2 hours",
        "every 45 minutes",
    ]
    assert words.short(7260) == "2 h 01 min"
