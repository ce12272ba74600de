"""Live state: progress in every tab, through a restart of the pages; and every request about syncs and runs."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from playwright.sync_api import Browser, Page, expect

from pages.parts.notices import GLANCE_SECONDS
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState
from sync.store import Store
from tests.browser import (
    PHONE,
    STOP_SECONDS,
    at_rest,
    badge,
    choose_action,
    connect,
    export_fans,
    free_port,
    press,
    press_to_start,
    run_queued,
    runs,
    service,
    serving,
    succeeded,
    success,
    tab,
    visit,
    wait_for,
)
from tests.conftest import RunnerProcess, StreamlitServer
from tests.sandbox.control import PROJECT, Sandbox, member
from tests.workspace import make_fans

PEOPLE = 700
MOVING = re.compile(r"[\d,]+ of 700 people sent to WebEngage")
WAITS = re.compile(r"Mixpanel's hourly query limit is used up; continues at (tomorrow )?\d\d:\d\d\.")
PACED = re.compile(r"people a second · .* left")


def test_every_tab_follows_a_run_through_a_restart(
    sandbox: Sandbox, data_dir: Path, runner_process: RunnerProcess, browser: Browser
) -> None:
    """Two tabs that were idle show the run's pace; a dialog stays open; reload and a new server lose nothing."""
    number = sandbox.add_cohort("Large", [member(f"user-{n}") for n in range(PEOPLE)])
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.cohorts.list()
    slow = runner_process(data_dir, COHORT_SYNC_BATCHES_A_MINUTE="8")
    port = free_port()
    with tab(browser) as list_tab, tab(browser) as sync_tab:
        with serving(data_dir, port) as url:
            visit(list_tab, f"{url}/cohorts?export={number}", "Export to WebEngage")
            visit(sync_tab, f"{url}/syncs", "Syncs")
            expect(sync_tab.get_by_text("Nothing has been exported yet.")).to_be_visible()
            with service(data_dir) as here:
                sync_id = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC)).sync_id
            expect(badge(sync_tab, "Sending to WebEngage")).to_be_visible()
            visit(sync_tab, f"{url}/syncs?interval={sync_id}", "Change interval")
            expect(list_tab.get_by_text(MOVING)).to_be_visible()
            expect(list_tab.get_by_text(PACED)).to_be_visible()
            expect(sync_tab.get_by_text(PACED)).to_be_visible()
            for page in (list_tab, sync_tab):
                expect(page.get_by_role("dialog")).to_have_count(1)
            visit(list_tab, f"{url}/runs", "Runs")
            expect(list_tab.get_by_text(MOVING)).to_be_visible()
            list_tab.reload()
            expect(list_tab.get_by_text(MOVING)).to_be_visible()
            slow.terminate()
            slow.wait(STOP_SECONDS)
        runner_process(data_dir)
        with serving(data_dir, port):
            wait_for(list_tab, succeeded(data_dir))
            expect(list_tab.get_by_text("700 added")).to_be_visible()
            expect(sync_tab.get_by_text("700 people", exact=True)).to_be_visible()
    assert sandbox.holding("Mixpanel - Large")[0] == sandbox.exportable(number)


def test_waiting_is_explained_with_its_time(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A run that met Mixpanel's hourly limit says so, with the time in the viewer's own clock; it can be cancelled."""
    number = sandbox.add_cohort("Limited", [member("a"), member("b")])
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC))
    sandbox.settings(queries_per_hour=1, retry_after=1800)
    run_queued(data_dir)
    assert runs(data_dir)[0].wait_reason
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/runs?run=1", "Limited")
        expect(page.get_by_text(WAITS)).to_be_visible()
        expect(badge(page, "Waiting")).to_be_visible()
        until = time.time() + 2400
        with Store.open(data_dir) as store:
            store.rate_limits.block_until(PROJECT, until, pages_count=False, now=time.time())
        again = re.compile(f"try again at (tomorrow )?{datetime.fromtimestamp(until, ZoneInfo('Europe/Berlin')):%H:%M}")
        url = page.url.partition("/runs")[0]
        visit(page, f"{url}/cohorts?cohort={number}", "Limited")
        expect(page.get_by_text(again)).to_be_visible()
        visit(page, f"{url}/cohorts?export={number}", "Export to WebEngage")
        expect(page.get_by_role("dialog").get_by_text(again)).to_be_visible()
        visit(page, f"{url}/runs?run=1", "Limited")
        press(page, "Cancel run")
        expect(badge(page, "Cancelled")).to_be_visible()
    assert runs(data_dir)[0].state == RunState.CANCELLED


def test_a_held_run_waits_for_a_yes(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A dry run shows what would be told, sends nothing, and goes on after Approve; then the recipe is shown."""
    number = sandbox.add_cohort("Careful", [member("a"), member("b"), member("c")])
    connect(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts?export={number}", "Export to WebEngage")
        press_to_start(page, "Dry run")
        expect(badge(page, "Queued")).to_be_visible()
        run_queued(data_dir)
        expect(badge(page, "Needs approval")).to_be_visible()
        expect(number_of(page, "To-add")).to_have_text("To add3")
        assert not sandbox.holding("Mixpanel - Careful")[0]
        visit(page, page.url.split("/runs")[0] + "/cohorts", "Cohorts")
        page.get_by_role("link", name="Decide").click()
        press(page, "Approve")
        expect(badge(page, "Queued")).to_be_visible()
        run_queued(data_dir)
        expect(badge(page, "Succeeded")).to_be_visible()
        expect(number_of(page, "Added")).to_have_text("Added3")
        assert sandbox.holding("Mixpanel - Careful")[0] == {"a", "b", "c"}
        expect(page.get_by_text("Build a Live Segment once")).to_be_visible()
        expect(page.get_by_test_id("stMain").get_by_test_id("stCode")).to_have_text("Mixpanel - Careful")
        with page.expect_download() as listed:
            press(page, "User IDs for a Static List")
        head, *ids = listed.value.path().read_text(encoding="utf-8").splitlines()
        assert (head, set(ids), len(ids)) == ("User ID", {"a", "b", "c"}, 3)


def test_what_a_click_did_stays_when_the_run_goes_on_and_goes_with_the_next_click(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The page of a run is drawn again at each of its stages; the message of the click is read meanwhile."""
    number = sandbox.add_cohort("Careful", [member("a"), member("b")])
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.syncs.start_export(PROJECT, number, ExportTerms(mode=Mode.DYNAMIC, dry_run=True))
    run_queued(data_dir)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/runs?run=1", "Careful")
        press(page, "Approve")
        expect(success(page, "Approved. The run is being sent.")).to_be_visible()
        run_queued(data_dir)
        expect(badge(page, "Succeeded")).to_be_visible()
        at_rest(page)
        expect(success(page, "Approved. The run is being sent.")).to_be_visible()
        page.wait_for_timeout(GLANCE_SECONDS * 1000)  # a click that comes sooner leaves it
        press(page, "All runs")
        expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
        at_rest(page)
        expect(success(page, "Approved. The run is being sent.")).to_have_count(0)


def test_the_history_is_pictured_and_its_file_is_complete(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The page of a sync draws the size, the run draws what the refreshes changed, and its CSV names everybody it told."""
    number = sandbox.add_cohort("Drawn", [member("=a"), member("b")])
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        sync_id = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC)).sync_id
        run_queued(data_dir)
        for people in (("=a", "b", "c"), ("=a", "c", "d", "e")):
            sandbox.set_members(number, [member(one) for one in people])
            run_id = here.syncs.refresh_now(sync_id).run_id
            run_queued(data_dir)
    with tab(browser) as page:
        url = streamlit_server(data_dir)
        visit(page, f"{url}/syncs?sync={sync_id}", "Drawn")
        expect(page.get_by_role("img", name="Size over the last 3 runs: from 2 to 4")).to_be_visible()
        visit(page, f"{url}/runs?run={run_id}", "Drawn")
        changes = "run 2: 1 added, 0 updated, 0 removed; run 3: 2 added, 0 updated, 1 removed"
        expect(page.get_by_role("img", name=changes)).to_be_visible()
        with page.expect_download() as file:
            press(page, "CSV of this run")
        head, *lines = file.value.path().read_text(encoding="utf-8-sig").replace('"', "").splitlines()
    assert head == "User ID,Operation,Outcome,Reason"
    assert sorted(lines) == [
        "'=a,no-op,unchanged,",
        "b,remove,accepted,",
        "c,no-op,unchanged,",
        "d,add,accepted,",
        "e,add,accepted,",
    ]


def number_of(page: Page, label: str) -> object:
    """One of a run's numbers."""
    return page.locator(f".st-key-big-run-{label}")


def test_a_sync_is_paused_resumed_changed_and_cleared(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Every button of the Syncs page does what it says, and Clear leaves nobody true in WebEngage."""
    number = sandbox.add_cohort("Kept", [member("a"), member("b")])
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        sync_id = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC)).sync_id
    run_queued(data_dir)
    with tab(browser) as page, service(data_dir) as here:
        visit(page, f"{streamlit_server(data_dir)}/syncs", "Syncs")
        press(page, "Kept")
        expect(page.get_by_role("heading", name="Kept")).to_be_visible()
        beat = datetime.fromtimestamp(here.syncs.get(sync_id).next_run_at or 0.0, ZoneInfo("Europe/Berlin"))
        expect(
            page.get_by_text(re.compile(f"Next refresh (tomorrow )?{beat:%H:%M}, in 1 h \\d\\d min"))
        ).to_be_visible()
        press(page, "Pause")
        expect(page.get_by_text("Paused by a person.")).to_be_visible()
        at_rest(page)
        press(page, "Resume")
        expect(success(page, "Kept is resumed.")).to_be_visible()
        run_queued(data_dir)
        press(page, "Interval")
        page.get_by_text("Every 6 hours").click()
        press(page, "Save")
        expect(page.get_by_text("Refreshed every 6 hours")).to_be_visible()
        expect(page.get_by_role("button", name="Sync now")).to_be_visible()
        press(page, "Stop")
        page.get_by_text("Clear them").click()
        page.get_by_role("dialog").get_by_role("button", name="Stop").click()
        expect(success(page, "Kept is stopped. The people exported before are being cleared.")).to_be_visible()
        run_queued(data_dir)
        expect(page.get_by_text("0 people in WebEngage", exact=True)).to_be_visible()
    assert sandbox.holding("Mixpanel - Kept") == (set(), {"a", "b"})
    with service(data_dir) as here:
        assert (here.syncs.get(sync_id).interval_seconds, here.syncs.get(sync_id).state) == (
            21600.0,
            SyncState.FINISHED,
        )


def test_disconnect_says_what_it_pauses(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The syncs that will pause are named before; afterwards they are paused, with the reason in the row."""
    number = sandbox.add_cohort("Kept", [member("a")])
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC))
    run_queued(data_dir)
    with tab(browser) as page:
        url = streamlit_server(data_dir)
        visit(page, f"{url}/integrations", "Integrations")
        press(page.locator("[class*='st-key-account-']"), "Disconnect")
        expect(
            page.get_by_role("dialog").get_by_text("account sandbox1 is deleted, and 1 sync is paused:")
        ).to_be_visible()
        expect(page.get_by_role("dialog").get_by_text("• Kept")).to_be_visible()
        press(page.get_by_role("dialog"), "Disconnect")
        expect(page.get_by_text("Step 2 of 2.")).to_be_visible()
        visit(page, f"{url}/cohorts", "Cohorts")
        expect(page.get_by_text("WebEngage was disconnected; connect it again, then resume.")).to_be_visible()


def test_the_menu_of_a_cohort_counts_and_tells(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Refresh count asks Mixpanel anew, View members shows both kinds, See runs leads to the history."""
    number = sandbox.add_cohort("Small", [member("a")])
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.syncs.start_export(None, number, ExportTerms(mode=Mode.ONE_TIME))
    run_queued(data_dir)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts", "Cohorts")
        sandbox.set_members(number, [member("a"), member("b"), {"id": "$device:1", "properties": None}])
        choose_action(page, "Small", "Refresh count")
        expect(success(page, "Small has 3 members now.")).to_be_visible()
        at_rest(page)
        choose_action(page, "Small", "View members")
        expect(page.get_by_text("○ Anonymous 1")).to_be_visible()
        press(page, "All cohorts")
        at_rest(page)
        choose_action(page, "Small", "See runs")
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        expect(page.get_by_text("1 to 1 of 1 run")).to_be_visible()


def test_what_a_click_did_is_in_sight_far_down_a_page(
    data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """On a phone the button to test a webhook is two screens below the top, where the message stands."""
    with service(data_dir) as here:
        here.alerts.add_webhook(f"http://127.0.0.1:{free_port()}/nobody-listens")
    with tab(browser, viewport=PHONE) as page:
        visit(page, f"{streamlit_server(data_dir)}/alerts", "Alerts")
        press(page, "Send a test")
        refusal = page.get_by_test_id("stAlertContentError")
        expect(refusal).to_be_visible()
        at_rest(page)
        expect(page.get_by_role("heading", name="Alerts", exact=True)).not_to_be_in_viewport()
        expect(refusal).to_be_in_viewport(ratio=1)
        header = page.get_by_test_id("stHeader").bounding_box()
        assert refusal.bounding_box()["y"] >= header["y"] + header["height"]  # type: ignore[index]


def test_the_alerts_page_shows_what_changed_elsewhere_and_keeps_what_is_typed(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A message that could not be delivered meanwhile was seen after a reload only."""
    export_fans(data_dir, sandbox)
    with service(data_dir) as here:
        here.alerts.add_webhook(f"http://127.0.0.1:{free_port()}/nobody-listens", "Warehouse")
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/alerts", "Alerts")
        typed = page.get_by_label("Name").first
        typed.fill("Ann")
        with service(data_dir) as here:
            here.syncs.pause(1)
            here.alerts.deliver()
        expect(page.get_by_text("Not reached since")).to_be_visible()
        expect(typed).to_have_value("Ann")
        expect(typed).to_be_focused()


def test_the_overview_when_a_run_has_ended_counts_its_people_at_once(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The chart's number of now follows as everything above it does; it was up to ten minutes old."""
    number = export_fans(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, streamlit_server(data_dir), "Overview")
        expect(page.get_by_text("now: 20")).to_be_visible()
        sandbox.set_members(number, make_fans(25))
        with service(data_dir) as here:
            here.syncs.refresh_now(1)
        run_queued(data_dir)
        expect(page.get_by_text("now: 25")).to_be_visible()
