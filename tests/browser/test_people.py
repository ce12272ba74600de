"""One person and one receipt, in a real browser: looked up, kept out, and printed."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser import box, ended, export_fans, press, runs, service, success, tab, visit, wait_for
from tests.conftest import RunnerProcess, StreamlitServer
from tests.sandbox.control import Sandbox
from tests.workspace import ATTRIBUTE


def test_a_person_is_looked_up_and_kept_out_and_the_receipt_says_so_on_paper(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, runner_process: RunnerProcess, browser: Browser
) -> None:
    """The id is never in an address; after the next run the receipt counts the person, without the side bar on paper."""
    cohort = export_fans(data_dir, sandbox)
    url = streamlit_server(data_dir)
    with tab(browser, color_scheme="dark") as page:
        visited: list[str] = []
        page.on("request", lambda request: visited.append(request.url))
        visit(page, f"{url}/people", "What happened to this person?")
        box(page, "User ID").fill("fan-3")
        page.keyboard.press("Enter")
        expect(page.get_by_text(f"✓ {ATTRIBUTE} = true")).to_be_visible()
        press(page, "Never export")
        dialog = page.get_by_role("dialog")
        box(dialog, "Note").fill("asked by phone")
        press(dialog, "Put on the list")
        expect(success(page, "On the never-export list from now on.")).to_be_visible()
        expect(page.get_by_text("Note: asked by phone")).to_be_visible()
        with service(data_dir) as here:
            run_id = here.syncs.refresh_now(1).run_id
        runner_process(data_dir)
        wait_for(page, ended(data_dir, run_id))
        assert runs(data_dir)[0].removed_by_list == 1
        assert not any("fan-3" in address for address in [*visited, page.url])
        visit(page, f"{url}/receipt?cohort={cohort}", "Receipt: Fans")
        expect(page.get_by_text("1 on the never-export list").first).to_be_visible()
        expect(page.get_by_role("link", name="Integrations")).to_be_visible()
        page.emulate_media(media="print", color_scheme="dark")
        expect(page.get_by_role("heading", name="Receipt: Fans")).to_be_visible()
        expect(page.get_by_role("link", name="Integrations")).to_be_hidden()
        expect(page.get_by_text("To print it")).to_be_hidden()
        labels = page.locator(".st-key-numbers-preview").get_by_test_id("stCaptionContainer").all()
        assert len(labels) > 4 and len({one.bounding_box()["y"] for one in labels}) == 1  # type: ignore[index]
        assert page.get_by_role("heading", name="Receipt: Fans").evaluate("it => getComputedStyle(it).color") == (
            "rgb(17, 17, 17)"
        )
    assert "fan-3" in sandbox.holding(ATTRIBUTE)[1]
