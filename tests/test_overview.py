"""The page people open first: one sentence, what needs a person, what comes next; equal to what happened."""

from __future__ import annotations

import time

import pytest

from pages.overview import summarize
from sync.model import Mode, RunState
from sync.permissions import AccessLevel
from sync.records import HourCount
from sync.reports import AttentionKind, Overview
from sync.steps import Steps
from tests.sandbox.control import PROJECT, Sandbox, member
from tests.workspace import Workspace, click_button, make_fans, page_text, sign_in_as

DAY, HOUR = 86400.0, 3600.0


def read(workspace: Workspace) -> Overview:
    """Return the overview of the project."""
    with workspace.open() as service:
        return service.overview.read(PROJECT)


def beat(workspace: Workspace) -> None:
    """Write the heartbeat of a runner that works."""
    with workspace.open_store() as store:
        store.runners.record_heartbeat("somewhere-else-1", workspace.now())


def attention(workspace: Workspace) -> list[tuple[AttentionKind, str]]:
    """Return what needs a person, by cohort."""
    return [(one.kind, one.sync.cohort_name) for one in read(workspace).attention]


def test_overview_of_an_empty_installation_leads_to_integrations(workspace: Workspace) -> None:
    """Without a connection there is one button, and it opens Integrations."""
    app = workspace.page("overview")
    assert app.title[0].value == "Overview" and "Connect Mixpanel and WebEngage" in app.info[0].value
    click_button(app, "Go to Integrations")
    assert app.title[0].value == "Integrations"


@pytest.mark.parametrize("page", ["cohorts", "syncs"])
def test_lists_of_an_empty_installation_lead_to_integrations_at_once(workspace: Workspace, page: str) -> None:
    """Nobody is sent to Cohorts, to be sent on from there."""
    app = workspace.page(page)
    click_button(app, "Go to Integrations")
    assert app.title[0].value == "Integrations"


def test_overview_without_a_sync_leads_to_the_cohorts(fans: Workspace) -> None:
    """Connected on both sides, with nothing exported: choose a cohort."""
    app = fans.page("overview")
    assert "Nothing has been exported yet" in app.info[0].value
    click_button(app, "Go to Cohorts")
    assert app.title[0].value == "Cohorts"


def test_overview_when_all_is_in_step_says_so_and_has_no_button_to_mend(fans: Workspace) -> None:
    """After a success the sentence is green; first exports that go on by themselves need nobody either."""
    fans.export()
    beat(fans)
    app = fans.page("overview")
    assert app.success[0].value == "The only sync is in step"
    assert not [one for one in app.button if one.key and one.key.startswith("mend-")]
    fans.start_export(fans.add_cohort(3, "Others"))
    app = fans.page("overview")
    assert app.info[0].value == "1 of 2 syncs is in step; 1 sync is being exported for the first time"
    assert "Starts in a moment." in page_text(app) and "Others" in page_text(app)


def test_overview_when_a_run_is_held_leads_to_the_decision(fans: Workspace) -> None:
    """A held run needs a person, says why, and its button opens the run."""
    run = fans.export(dry_run=True)
    beat(fans)
    assert attention(fans) == [(AttentionKind.HELD, "Fans")]
    app = fans.page("overview")
    assert app.warning[0].value == "1 sync needs you"
    assert "Dry run: nothing is sent until a person approves." in page_text(app)
    click_button(app, "Decide")
    assert f"Run {run.id}, an export" in page_text(app)


def test_overview_to_a_viewer_says_who_can_decide(fans: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A held run needs nobody who may only look: no button is there, and nothing says "you"."""
    fans.export(dry_run=True)
    beat(fans)
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel.VIEWER)
    app = fans.page("overview")
    assert app.warning[0].value == "1 sync needs a marketer"
    assert "Needs a marketer" in page_text(app) and "Needs you" not in page_text(app)


def test_overview_when_a_pause_ends_by_itself_needs_nobody(fans: Workspace) -> None:
    """As `status` has it: only a pause without an end, or one that should have ended, waits for a person."""
    run = fans.export()
    beat(fans)
    with fans.open() as service:
        service.syncs.pause(run.sync_id, fans.now() + 3600.0)
        assert not service.check_health().paused
    assert attention(fans) == []
    fans.ahead = 3600.0 + 120.0
    assert attention(fans) == [(AttentionKind.PAUSED, "Fans")]


def test_overview_when_a_run_failed_resumes_the_sync_with_one_button(fans: Workspace, sandbox: Sandbox) -> None:
    """A failure pauses its sync; Resume on the overview starts it, and the overview is in step again."""
    sandbox.fault("status", api="mixpanel", path="/engage", code=403)
    fans.export()
    beat(fans)
    assert attention(fans) == [(AttentionKind.PAUSED, "Fans")]
    app = fans.page("overview")
    assert "The service account has no right to it" in page_text(app)
    click_button(app, "Resume")
    assert "Fans is resumed." in page_text(app)
    fans.run_queued()
    beat(fans)
    assert attention(fans) == [] and read(fans).hours[-1] == HourCount(succeeded=1, failed=1, added=30)


def test_overview_when_clearing_failed_asks_to_clear_again(fans: Workspace, sandbox: Sandbox) -> None:
    """People still true after a clear that failed are named with their number."""
    sync_id = fans.export(mode=Mode.ONE_TIME).sync_id
    with fans.open() as service:
        service.syncs.stop(sync_id, clear=True)
    sandbox.fault("status", api="webengage", code=401)
    fans.run_queued()
    assert attention(fans) == [(AttentionKind.NOT_CLEARED, "Fans")]
    click_button(app := fans.page("overview"), "Clear again")
    assert app.query_params["stop"] == [str(sync_id)] or app.query_params["stop"] == str(sync_id)
    app = fans.page("syncs", sync=str(sync_id), stop=str(sync_id))
    assert str(app.radio(key="stop-choice").value).startswith("Clear them")  # else "Stop" would keep them after all
    labels = {button.label for button in fans.page("syncs", sync=str(sync_id)).button}
    assert "Clear again" in labels and not labels & {"Stop", "Sync now"}


def test_a_clear_that_was_refused_says_once_what_webengage_answered_and_what_to_do(
    fans: Workspace, sandbox: Sandbox
) -> None:
    """Nothing can be resumed of a stopped sync; the answer stands on its page once, and in a row of the list."""
    run = fans.export()
    sandbox.refuse_everybody("Account is suspended")
    with fans.open() as service:
        service.syncs.stop(run.sync_id, clear=True)
    fans.run_queued()
    app = fans.page("syncs", sync=str(run.sync_id))
    assert "Account is suspended" in app.error[0].value and "clear again" in app.error[0].value
    assert "resume" not in app.error[0].value and "suspended" not in "".join(one.value for one in app.caption)
    assert "Account is suspended" in page_text(fans.page("runs"))


@pytest.mark.parametrize("silent", [False, True])
def test_overview_without_a_runner_says_that_nothing_is_sent(silent: bool, fans: Workspace) -> None:
    """No heartbeat, or an old one: the sentence is red, and no sync is blamed for being late."""
    fans.export()
    if silent:
        beat(fans)
    fans.ahead = 10 * HOUR
    state, text = summarize(read(fans))
    assert (state, text) == ("problem", "No runner is working, so nothing is sent to WebEngage.")


def test_overview_for_a_viewer_shows_what_is_wrong_without_the_buttons(
    fans: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who may not decide sees why the sync is held and may open it."""
    fans.export(dry_run=True)
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel.VIEWER)
    app = fans.page("overview")
    assert "Open sync" in {link.proto.label for link in app.get("page_link")}
    assert "Decide" not in {button.label for button in app.button}


def test_hours_and_days_are_those_of_the_runs(fans: Workspace) -> None:
    """Each run counts in its hour, each day has the size after its last success, and another project counts nowhere."""
    fans.export()
    now = time.time()
    with fans.open_database() as db:
        db.executemany(
            "insert into run (sync_id, state, purpose, queued_at, finished_at, not_before, unchanged, entered, exited, error) "
            "values (1, ?, 'refresh', 0, ?, 0, ?, ?, ?, ?)",
            [
                ("succeeded", now - 10 * DAY - HOUR, 100, 7, 0, None),
                ("succeeded", now - 3 * DAY - HOUR, 50, 0, 50, None),
                ("failed", now - 2.5 * HOUR, 0, 9, 9, "Broken."),
                ("cancelled", now - 25 * HOUR, 0, 0, 0, None),
            ],
        )
        db.execute("update run set delivered = 4 where state = 'failed'")
    seen = read(fans)
    assert len(seen.hours) == 24
    assert seen.hours[-1] == HourCount(succeeded=1, added=30) and seen.hours[-3] == HourCount(failed=1, sent_half_way=4)
    assert sum(hour.cancelled for hour in seen.hours) == 0
    with fans.open() as service:
        sizes = service.overview.list_daily_sizes(PROJECT)
        assert len(sizes) == 30 and sizes[-1] == 30
        assert sizes[29 - 11 :] == (0, *(7 * [107]), *(3 * [50]), 30)
        assert set(service.overview.list_daily_sizes(PROJECT + 1)) == {0}
        other = service.overview.read(PROJECT + 1)
        assert (other.syncs, set(other.hours)) == ((), {HourCount()})


def test_the_last_day_says_whom_runs_sent_that_were_cancelled_half_way(fans: Workspace) -> None:
    """They are in WebEngage, so “nobody added or removed” would be untrue."""
    fans.export()
    with fans.open_database() as db:
        db.execute("update run set state = 'cancelled', delivered = 1")
    assert "1 run cancelled; 1 person sent by runs that ended half-way." in page_text(fans.page("overview"))
    with fans.open_database() as db:
        db.execute("update run set delivered = 0")
    assert "1 run cancelled; nobody added or removed." in page_text(fans.page("overview"))


def test_people_in_webengage_are_said_to_be_without_those_whom_a_run_has_sent_so_far(fans: Workspace) -> None:
    """They are counted when the run has ended; until then the number of now is from before it, also while it is held."""
    fans.export()
    fans.sandbox.set_members(fans.cohort, make_fans(60))
    fans.export(steps=Steps(first=10))
    shown = page_text(fans.page("overview"))
    assert "now: 30" in shown and "Not counted yet: 10 people sent so far by a run that has not ended." in shown
    with fans.open() as service:
        service.runs.approve(2)
    fans.run_queued()
    shown = page_text(fans.page("overview"))
    assert "now: 60" in shown and "Not counted yet" not in shown


def test_queries_and_attributes_are_counted_as_the_limits_count_them(fans: Workspace, sandbox: Sandbox) -> None:
    """Used is what the ledger holds; needed is each refresh of an hour; attributes are those cohorts own."""
    fans.export(interval=600.0)
    with fans.open() as service:
        left = dict(service.check_health().queries)[PROJECT]
    seen = read(fans)
    assert (seen.queries_used, seen.queries_limit, seen.queries_needed) == (60 - left, 60, 6)
    assert (seen.attributes_used, seen.attributes_limit, seen.license_code) == (1, 25, "sandbox1")
    with fans.open_database() as db:  # Mixpanel showed that later pages count
        db.execute("update mixpanel_project set later_pages_counted_at = ?", (time.time(),))
        db.execute("update sync set size = 2500")
    assert read(fans).queries_needed == 18
    with fans.open() as service:  # and one of a cohort that is to be refreshed each day
        assert "19 of 50 queries in the busiest hour" in service.hourly_fit.check(PROJECT, 0, 86_400.0)[1]


def test_next_is_the_refresh_that_comes_first(fans: Workspace) -> None:
    """Active dynamic syncs stand in the order of their time; paused and one-time ones are not there."""
    for name, interval in (("Later", 7200.0), ("Sooner", 3600.0), ("Paused", 600.0)):
        run = fans.export(fans.sandbox.add_cohort(name, [member(name)]), interval=interval)
    fans.export(fans.add_cohort(1, "Once"), mode=Mode.ONE_TIME)
    with fans.open() as service:
        service.syncs.pause(run.sync_id)
    assert [one.cohort_name for one in read(fans).upcoming] == ["Sooner", "Later"]
    assert fans.get_run(run.id).state is RunState.SUCCEEDED


@pytest.mark.slow
def test_phone_without_a_runner_is_told_on_every_page(fans: Workspace) -> None:
    """Beside the side bar, which a phone hides, each page has the sentence in its main part."""
    for name in ("overview", "cohorts", "syncs", "runs", "integrations"):
        app = fans.page(name)
        assert [one.value for one in app.main.caption if "No runner is working" in one.value], name
    beat(fans)
    assert "No runner is working" not in page_text(fans.page("runs"))
