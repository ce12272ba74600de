"""A click that comes while an earlier one is worked on: what was done is said, and what was filled in is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequest, ScriptRequests, ScriptRequestType
from streamlit.testing.v1 import AppTest

from pages.parts.export_draft import RESTORED
from sync.model import SyncState
from tests.workspace import Workspace, page_text


class NewerClick:
    """A click for which Streamlit stops a script at its nth use of the session, of the address or of an element.

    The stopped script is told so at each use from then on; the newer click's own is the next run of the AppTest.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wait until ``at`` says when the click comes."""
        self._left, self._hear = 0, ScriptRequests.on_scriptrunner_yield
        self._counts: Callable[[], bool] = lambda: True
        self.stopped: ScriptRequests | None = None
        monkeypatch.setattr(ScriptRequests, "on_scriptrunner_yield", lambda requests: self._look(requests))

    def at(self, moment: int, counts: Callable[[], bool] = lambda: True) -> None:
        """Let the click come at this use, the first being 1, of those that count."""
        self._left, self._counts, self.stopped = moment, counts, None

    def _look(self, requests: ScriptRequests) -> ScriptRequest | None:
        if requests is self.stopped:
            return ScriptRequest(ScriptRequestType.STOP)
        if get_script_run_ctx() and self._left and self._counts():
            self._left -= 1
            if not self._left:
                self.stopped = requests
                return ScriptRequest(ScriptRequestType.STOP)
        return self._hear(requests)


@pytest.fixture
def newer_click(monkeypatch: pytest.MonkeyPatch) -> NewerClick:
    """Let a newer click come whenever a test asks for it."""
    return NewerClick(monkeypatch)


def press(app: AppTest, label: str) -> None:
    """Press a button, and then anything else."""
    next(button for button in app.button if button.label == label).click().run()
    app.run()
    assert not app.exception


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2, 4])
def test_a_webhook_when_a_newer_click_comes_after_it_was_added_shows_its_secret(
    workspace: Workspace, newer_click: NewerClick, moment: int
) -> None:
    """A secret that is not shown now is never shown again."""

    def is_added() -> bool:
        with workspace.open() as service:
            return bool(service.alerts.list("webhook"))

    app = workspace.page("alerts")
    app.text_input(key="url-webhook").set_value("http://127.0.0.1:9/x")
    newer_click.at(moment, is_added)
    press(app, "Add webhook")
    assert newer_click.stopped and is_added()
    assert "Added." in page_text(app) and [one.value.startswith("whsec_") for one in app.code] == [True]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2, 4])
def test_people_when_a_newer_click_comes_after_they_were_listed_are_counted(
    fans: Workspace, newer_click: NewerClick, moment: int
) -> None:
    """The page says how many were added, as if nobody had clicked again."""

    def is_listed() -> bool:
        with fans.open() as service:
            return bool(service.safety.list_never_export("sandbox1"))

    app = fans.page("safety")
    app.text_area(key="never-ids").set_value("fan-3\nfan-4")
    newer_click.at(moment, is_listed)
    press(app, "Add to the list")
    assert newer_click.stopped and [one.value for one in app.success] == ["2 people added\\."]


@pytest.mark.slow
@pytest.mark.parametrize("form", [0, 1])
def test_settings_when_a_newer_click_comes_after_they_were_saved_are_said_to_be(
    workspace: Workspace, newer_click: NewerClick, form: int
) -> None:
    """How long data is kept, and whether a second person approves."""
    before = count_audit_lines(workspace)
    app = workspace.page("administration")
    app.number_input[0].set_value(40)
    app.checkbox[0].set_value(True)
    newer_click.at(1, lambda: count_audit_lines(workspace) > before)
    [one for one in app.button if one.label == "Save"][form].click().run()
    app.run()
    assert newer_click.stopped and count_audit_lines(workspace) > before and not app.exception
    assert [one.value for one in app.success if one.value.startswith("Saved")]


def count_audit_lines(workspace: Workspace) -> int:
    """Return how many lines the audit log has."""
    with workspace.open() as service:
        return len(service.admin.list_audit())


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
    app.run()
    assert newer_click.stopped and is_paused() and not app.exception
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
    press(app, "Start Sync")
    assert newer_click.stopped and has_begun()
    assert [one.value for one in app.success if "is on its way" in one.value]


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(1, 10))
def test_an_export_dialog_when_a_newer_click_comes_while_it_closes_keeps_what_was_filled_in(
    fans: Workspace, newer_click: NewerClick, moment: int
) -> None:
    """Opened again, it is as it was left and says so, also where its closing was not heard at all."""
    app = fans.page("cohorts", cohort=str(fans.cohort))
    app.button(key="cohort-export").click().run()
    app.text_input(key=f"export-attribute-{fans.cohort}").set_value("Fans of ours").run()
    newer_click.at(moment)
    closing, opening = app.button(key="export-see-everybody"), app.button(key="cohort-export")
    closing.click().run()
    assert newer_click.stopped
    closing.set_value(False)
    opening.click().run()
    assert app.text_input(key=f"export-attribute-{fans.cohort}").value == "Fans of ours"
    assert RESTORED in page_text(app) and not app.exception


@pytest.mark.slow
@pytest.mark.parametrize("moment", [12, 40, 80])
def test_a_page_when_a_newer_click_stops_its_drawing_is_whole_again(
    fans: Workspace, newer_click: NewerClick, moment: int
) -> None:
    """Nothing of the drawing that was stopped is left: the next one has its layout and its rows, once."""
    app = fans.page("cohorts").run()
    whole = page_text(app)
    newer_click.at(moment)
    app.run()
    assert newer_click.stopped and page_text(app) != whole
    assert page_text(app.run()) == whole and not app.exception
