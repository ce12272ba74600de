"""A page that is left while its polls are under way, in a real browser over a slow line."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, WebSocketRoute, expect
from streamlit.proto.BackMsg_pb2 import BackMsg

from tests.browser import at_rest, choose, connect, press, tab, visit
from tests.conftest import StreamlitServer
from tests.sandbox.control import Sandbox
from tests.workspace import make_fans

LATE_SECONDS, EVERY_MILLISECONDS = 4.0, 20.0  # how long, and how often, the polls of the page that was left come in


class Line:
    """The line between the browser and the server, with the polls that the browser sent over it."""

    def __init__(self, route: WebSocketRoute) -> None:
        """Pass everything on, and keep each fragment's last poll."""
        self.polls: dict[str, bytes] = {}
        self._server = route.connect_to_server()
        route.on_message(self._pass_on)

    def _pass_on(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        asked = BackMsg.FromString(message).rerun_script
        if asked.is_auto_rerun:
            self.polls[asked.fragment_id] = message
        self._server.send(message)

    def repeat(self, polls: dict[str, bytes]) -> None:
        """Send these polls to the server once more."""
        for poll in polls.values():
            self._server.send(poll)


def test_a_page_when_polls_of_the_one_before_come_late_is_shown(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Streamlit answers a poll with the page it was sent from: the page opened since would go white."""
    cohort = sandbox.add_cohort("Fans", make_fans(20))
    connect(data_dir, sandbox)
    lines: list[Line] = []
    with tab(browser) as page:
        page.route_web_socket("**/_stcore/stream", lambda route: lines.append(Line(route)))
        visit(page, f"{streamlit_server(data_dir)}/cohorts?export={cohort}", "Export to WebEngage")
        choose(page, "Begin with", "The first people, then ask me")
        expect(page.get_by_text("They are sent, and the run is held.")).to_be_visible()
        lines[-1].polls.clear()  # a poll from before the choice would take it back, which no browser does
        while len(lines[-1].polls) < 2:
            page.wait_for_timeout(100)
        at_rest(page)
        left = dict(lines[-1].polls)
        press(page, "Start Sync")
        for _ in range(int(LATE_SECONDS * 1000 / EVERY_MILLISECONDS)):
            lines[-1].repeat(left)
            page.wait_for_timeout(EVERY_MILLISECONDS)
        expect(page.get_by_role("heading", name="People", exact=True)).to_be_visible()
        at_rest(page)
        expect(page.get_by_role("heading", name="Fans", exact=True)).to_be_visible()
        expect(page.get_by_role("link", name="Open sync")).to_be_visible()
