"""An export tried on a few and gone on with, and a run taken back, in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from tests.browser import (
    at_rest,
    badge,
    choose,
    connect,
    ended,
    press,
    press_to_start,
    run_queued,
    runs,
    service,
    tab,
    visit,
    wait_for,
)
from tests.conftest import RunnerProcess, StreamlitServer
from tests.sandbox.control import Sandbox
from tests.workspace import ATTRIBUTE, make_fans


def test_an_export_is_tried_on_ten_looked_at_and_sent_to_the_rest(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, runner_process: RunnerProcess, browser: Browser
) -> None:
    """Ten are sent; one click sends to the other forty."""
    cohort = sandbox.add_cohort("Fans", make_fans(50))
    connect(data_dir, sandbox)
    url = streamlit_server(data_dir)
    runner_process(data_dir)
    with tab(browser) as page:
        visit(page, f"{url}/cohorts?export={cohort}", "Export to WebEngage")
        choose(page, "Begin with", "The first people, then ask me")
        expect(page.get_by_label("People", exact=True)).to_have_value("10")
        at_rest(page)
        press_to_start(page, "Start Sync")
        expect(page.get_by_text("Sent for 10 people so far; 40 wait for approval.").first).to_be_visible()
        told = sandbox.holding(ATTRIBUTE)[0]
        assert len(told) == 10
        for who in told:
            expect(page.get_by_text(who).first).to_be_visible()
        press(page, "Send to the other 40")
        wait_for(page, ended(data_dir, 1))
        expect(badge(page, "Succeeded")).to_be_visible()
    assert runs(data_dir)[0].state is RunState.SUCCEEDED
    assert sandbox.holding(ATTRIBUTE)[0] == sandbox.exportable(cohort)


def test_a_refresh_is_taken_back(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, runner_process: RunnerProcess, browser: Browser
) -> None:
    """Its page offers it, the plan says first that messages stay sent, and WebEngage holds who was there before."""
    cohort = sandbox.add_cohort("Fans", make_fans(20))
    connect(data_dir, sandbox)
    for people in (20, 30):
        sandbox.set_members(cohort, make_fans(people))
        with service(data_dir) as here:
            here.syncs.start_export(None, cohort, ExportTerms(mode=Mode.DYNAMIC))
        run_queued(data_dir)
    url = streamlit_server(data_dir)
    runner_process(data_dir)
    with tab(browser) as page:
        visit(page, f"{url}/runs?run=2", "Fans")
        press(page, "Take back this run")
        expect(page.get_by_text("A message that was sent cannot be unsent.").first).to_be_visible()
        assert len(sandbox.holding(ATTRIBUTE)[0]) == 30
        press(page, "Take back run 2")
        wait_for(page, ended(data_dir, 3))
        expect(badge(page, "Succeeded")).to_be_visible()
    assert len(sandbox.holding(ATTRIBUTE)[0]) == 20
