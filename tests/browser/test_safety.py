"""Nobody is mailed by mistake, in a real browser: a held run approved with a raised limit, and the never-export list."""

from __future__ import annotations

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from sync.guards import GuardLimits
from sync.model import RunState
from tests.browser import (
    at_rest,
    box,
    ended,
    export_fans,
    press,
    run_queued,
    runs,
    service,
    success,
    tab,
    visit,
    wait_for,
)
from tests.conftest import RunnerProcess, StreamlitServer
from tests.sandbox.control import Sandbox
from tests.workspace import ATTRIBUTE, make_fans


def test_a_run_that_adds_too_many_is_approved_with_a_higher_limit(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, runner_process: RunnerProcess, browser: Browser
) -> None:
    """The run says why it is held; one click sends it and lets as many pass; the sync's guards show the new limit."""
    cohort = export_fans(data_dir, sandbox)
    sandbox.set_members(cohort, make_fans(150))
    with service(data_dir) as here:
        run_id = here.syncs.refresh_now(1).run_id
    run_queued(data_dir)
    url = streamlit_server(data_dir)
    with tab(browser) as page:
        visit(page, f"{url}/runs?run={run_id}", "Fans")
        expect(page.get_by_text("130 people would be added to the 20 exported before.").first).to_be_visible()
        press(page, "Approve and raise the limit to 130")
        expect(success(page, "From now on a run of this sync may add 130 and remove 100 people.")).to_be_visible()
        runner_process(data_dir)
        wait_for(page, ended(data_dir, run_id))
        visit(page, f"{url}/syncs?sync=1", "Fans")
        page.get_by_text("Guards: held above 50 % and 130 people added").click()
        expect(page.get_by_label("and more than (people)").first).to_have_value("130")
        expect(page.get_by_text("These limits would have held 0 of the last 2 runs.")).to_be_visible()
    assert runs(data_dir)[0].state is RunState.SUCCEEDED
    assert sandbox.holding(ATTRIBUTE)[0] == sandbox.exportable(cohort)
    with service(data_dir) as here:
        assert here.guards.get(1).limits == GuardLimits(add_people=130)


def test_ids_pasted_and_from_a_file_are_kept_out(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, runner_process: RunnerProcess, browser: Browser
) -> None:
    """A marketer pastes ids and chooses a file; the next run sets them to false, and the page names nobody."""
    cohort = export_fans(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/safety", "Never export and tripwires")
        box(page, "User IDs, one per line").first.fill("fan-3\nfan-4")
        page.locator("input[type=file]").first.set_input_files(
            {"name": "people.csv", "mimeType": "text/csv", "buffer": b"name,user_id\nZoe,fan-5\n"}
        )
        expect(page.get_by_text("people.csv").first).to_be_visible()
        box(page, "Note").first.fill("asked not to be mailed")
        press(page, "Add to the list")
        expect(success(page, "3 people added.")).to_be_visible()
        expect(box(page, "User IDs, one per line").first).to_have_value("")
        at_rest(page)
        assert "fan-3" not in page.content() and "fan-5" not in page.content()
        with service(data_dir) as here:
            run_id = here.syncs.refresh_now(1).run_id
        runner_process(data_dir)
        wait_for(page, ended(data_dir, run_id))
    assert sandbox.holding(ATTRIBUTE)[0] == sandbox.exportable(cohort) - {"fan-3", "fan-4", "fan-5"}
    assert sandbox.holding(ATTRIBUTE)[1] == {"fan-3", "fan-4", "fan-5"}


def test_a_guard_is_lifted_and_put_back_by_keyboard_and_axe_finds_nothing(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The guards unfold and stay so, the second click stands below what it means, and both states are right for readers."""
    export_fans(data_dir, sandbox)
    for theme in ("light", "dark"):
        with tab(browser, color_scheme=theme) as page:
            visit(page, f"{streamlit_server(data_dir)}/syncs?sync=1", "Fans")
            page.locator("summary", has_text="Guards: held above").press("Enter")
            page.get_by_role("button", name="Lift the guard").press("Enter")
            expect(page.get_by_text("not even one that is still reading")).to_be_visible()
            assert wrong_for_readers(page) == []
            page.get_by_role("button", name="Lift it").press("Enter")
            expect(success(page, "The guard is lifted.")).to_be_visible()
            expect(page.locator("summary", has_text="Guards: lifted")).to_be_visible()
            page.get_by_role("button", name="Put the guard back").press("Enter")
            expect(success(page, "The guard is back.")).to_be_visible()
            expect(page.locator("summary", has_text="Guards: held above")).to_be_visible()
            expect(page.get_by_role("button", name="Lift the guard")).to_be_visible()
            at_rest(page)
            assert wrong_for_readers(page) == []


def wrong_for_readers(page: Page) -> list[str]:
    """Return what axe finds on the page as it is."""
    return [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in Axe().run(page).response["violations"]]
