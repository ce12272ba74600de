"""A click that comes while an earlier one is worked on: what the first one began is done, once, and is shown."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest
from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequest, ScriptRequests, ScriptRequestType
from streamlit.runtime.scriptrunner_utils.script_run_context import RunLocation, ThreadState
from streamlit.testing.v1 import AppTest

from pages.parts.export_draft import RESTORED
from sync.model import SyncState
from tests.source_files import application_files, iterate_nodes
from tests.workspace import Workspace, click_button, page_text

CALLBACK_PARAMETERS = {"on_click", "on_change", "on_dismiss"}
NO_CALLBACK = {"'ignore'", "'rerun'", "st.login", "st.logout"}


def is_in_callback() -> bool:
    """Return whether a callback runs, not the page itself."""
    return ThreadState.get().run_location is RunLocation.CALLBACK


class NewerClick:
    """A click on nothing that Streamlit hears when a page uses its session, the address or an element for the nth time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wait until ``at`` says when the click comes."""
        self._left, self._hear, self._counts = 0, ScriptRequests.on_scriptrunner_yield, is_in_callback
        monkeypatch.setattr(ScriptRequests, "on_scriptrunner_yield", lambda requests: self._look(requests))

    def at(self, moment: int, counts: Callable[[], bool] = is_in_callback) -> None:
        """Let the click come at this use, the first being 1, of those that count."""
        self._left, self._counts = moment, counts

    @property
    def came(self) -> bool:
        """Return whether there were so many uses."""
        return self._left == 0

    def _look(self, requests: ScriptRequests) -> ScriptRequest | None:
        context = get_script_run_ctx()
        if context and self._left and self._counts():
            self._left -= 1
            if self.came:
                data = RerunData(query_string=context.query_string, page_script_hash=context.page_script_hash)
                return ScriptRequest(ScriptRequestType.RERUN, data)
        return self._hear(requests)


@pytest.fixture
def newer_click(monkeypatch: pytest.MonkeyPatch) -> NewerClick:
    """Let a newer click come whenever a test asks for it."""
    return NewerClick(monkeypatch)


def try_moments(
    newer_click: NewerClick, prepare: Callable[[], AppTest], press: str, check: Callable[[AppTest], None]
) -> None:
    """Press a button with the newer click at each moment of its callback, until it comes too late for that."""
    moment = 0
    while not moment or newer_click.came:
        moment += 1
        app = prepare()
        newer_click.at(moment)
        click_button(app, press)
        check(app)
    assert moment > 2  # so it was interrupted at least twice
    newer_click.at(0)


@pytest.mark.slow
def test_a_webhook_when_a_newer_click_comes_is_added_once_and_shows_its_secret(
    workspace: Workspace, newer_click: NewerClick
) -> None:
    """A secret that is not shown now is never shown again."""

    def prepare() -> AppTest:
        with workspace.open() as service:
            for one in service.alerts.list("webhook"):
                service.alerts.remove(one.id, "webhook")
        app = workspace.page("alerts")
        app.text_input(key="url-webhook").set_value("http://127.0.0.1:9/x")
        return app

    def check(app: AppTest) -> None:
        assert "Added." in page_text(app) and [one.value.startswith("whsec_") for one in app.code] == [True]
        with workspace.open() as service:
            assert len(service.alerts.list("webhook")) == 1

    try_moments(newer_click, prepare, "Add webhook", check)


@pytest.mark.slow
def test_people_when_a_newer_click_comes_are_on_the_list_and_counted_and_the_form_is_empty(
    fans: Workspace, newer_click: NewerClick
) -> None:
    """The outcome of the first click is said, not that of doing it twice (“were on the list already”)."""

    def prepare() -> AppTest:
        with fans.open() as service:
            service.safety.remove_never_export("sandbox1", ["fan-3", "fan-4"])
        app = fans.page("safety")
        app.text_area(key="never-ids").set_value("fan-3\nfan-4")
        return app

    def check(app: AppTest) -> None:
        assert [one.value for one in app.success] == ["2 people added\\."]
        assert app.text_area(key="never-ids").value == ""

    try_moments(newer_click, prepare, "Add to the list", check)


@pytest.mark.slow
def test_an_export_dialog_when_a_newer_click_comes_while_it_closes_keeps_what_was_filled_in(
    fans: Workspace, newer_click: NewerClick
) -> None:
    """It opens again as it was left, and says so."""

    def prepare() -> AppTest:
        app = fans.page("cohorts", export=str(fans.cohort))
        return app.text_input(key=f"export-attribute-{fans.cohort}").set_value("Fans of ours").run()

    def check(app: AppTest) -> None:
        app.query_params["export"] = str(fans.cohort)
        app.run()
        assert app.text_input(key=f"export-attribute-{fans.cohort}").value == "Fans of ours"
        assert RESTORED in page_text(app)

    try_moments(newer_click, prepare, "See everybody, and why somebody does not go", check)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 3, 5])
def test_a_pause_when_a_newer_click_comes_after_it_is_said(
    fans: Workspace, newer_click: NewerClick, moment: int
) -> None:
    """What was done in a dialog is said, whatever the newer click keeps the page from doing after it."""
    fans.export()

    def is_paused() -> bool:
        with fans.open() as service:
            return service.syncs.get(1).state is SyncState.PAUSED

    app = fans.page("syncs", pause="1")
    newer_click.at(moment, is_paused)
    app.button(key="sync-sure").click().run()
    assert newer_click.came and is_paused() and not app.exception
    assert [one.value for one in app.success if "is paused until" in one.value]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 4, 8])
def test_an_export_when_a_newer_click_comes_after_it_began_is_said(
    fans: Workspace, newer_click: NewerClick, moment: int
) -> None:
    """So nobody starts it once more because the page said nothing."""

    def has_begun() -> bool:
        with fans.open() as service:
            return bool(service.runs.list())

    app = fans.page("cohorts", export=str(fans.cohort))
    newer_click.at(moment, has_begun)
    click_button(app, "Start Sync")
    assert newer_click.came and has_begun()
    assert [one.value for one in app.success if "is on its way" in one.value]


def draw_buttons() -> None:
    """Draw a button whose callback does two things once, of which the second is refused, and writes the session."""
    import streamlit as st

    from pages.parts.callbacks import finish, once
    from sync.errors import CohortSyncError, InvalidRequest

    done = st.session_state.setdefault("done", [])

    def refuse() -> None:
        done.append("refused")
        raise InvalidRequest("No.")

    def work() -> None:
        number = once(lambda: done.append("first") or len(done))
        st.session_state["first"] = number
        try:
            once(refuse)
        except CohortSyncError as problem:
            st.session_state["problem"] = str(problem)
        st.session_state["last"] = True

    st.button("Work", on_click=finish(work))
    st.text("\n".join(f"{name}={st.session_state.get(name)}" for name in ("first", "problem", "last")))


def test_a_callback_when_begun_again_does_and_raises_once_what_it_may_not_repeat(newer_click: NewerClick) -> None:
    """Each action's outcome, an answer or a refusal, is the same when the callback begins again."""

    def check(app: AppTest) -> None:
        assert app.session_state["done"] == ["first", "refused"]
        assert app.text[0].value == "first=1\nproblem=No.\nlast=True"

    try_moments(newer_click, lambda: AppTest.from_function(draw_buttons).run(), "Work", check)


def test_each_callback_of_the_pages_is_finished() -> None:
    """One that is not may end half-way, without a word, when somebody clicks twice."""
    given = {
        f"{path}: {keyword.arg}={ast.unparse(keyword.value)}"
        for path, text in application_files().items()
        for node in iterate_nodes(text, "on_")
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in CALLBACK_PARAMETERS and ast.unparse(keyword.value) not in NO_CALLBACK
    }
    assert len(given) > 20 and {one for one in given if "=finish(" not in one} == set()
