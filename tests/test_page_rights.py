"""Check what people at the pages may do: each is offered what their access level allows, and no link leads around it."""

from __future__ import annotations

import pytest

from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.permissions import AccessLevel
from tests.browser import connect, run_queued, service
from tests.sandbox.control import Sandbox, member
from tests.workspace import Workspace, page_text, sign_in_as

PARAMETERS = {"runs": {"run": "1"}, "syncs": {"sync": "1"}, "receipt": {"cohort": "1000"}}


BUTTONS = {
    "viewer": {
        "overview": set(),
        "cohorts": {"Name", "Members", "Created"},
        "integrations": {"Go to Cohorts"},
        "syncs": {"All syncs", "Run 1"},
        "people": {"Look up"},
        "receipt": {"See run 1"},
        "safety": set(),
        "runs": {"All runs"},
    },
    "marketer": {
        "overview": set(),
        "cohorts": {"Name", "Members", "Created", "Export"},
        "integrations": {"Go to Cohorts"},
        "syncs": {
            "All syncs",
            "Run 1",
            "Sync now",
            "Pause",
            "Pause until",
            "Interval",
            "Stop",
            "Save limits",
            "Lift it",
        },
        "people": {"Look up"},
        "safety": {"Add to the list", "Take off the list"},
        "runs": {"All runs", "Take back this run"},
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


def export_a_cohort(workspace: Workspace, sandbox: Sandbox) -> None:
    """Connect both sides and export a cohort, so that every page has something to show."""
    number = sandbox.add_cohort("Power Users", [member("a")])
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC))
    run_queued(workspace.data_dir)


@pytest.mark.slow
@pytest.mark.parametrize("grade", list(BUTTONS))
def test_people_are_offered_what_their_grade_allows(
    grade: str, workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer sees no button that would be refused, a marketer none that connects, an admin all."""
    export_a_cohort(workspace, sandbox)
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel[grade.upper()])
    for name, wanted in BUTTONS[grade].items():
        app = workspace.page(name, **PARAMETERS.get(name, {}))
        assert {button.label for button in app.button} - {"Refresh list", "Sign out"} == wanted, name
        if name == "runs":
            assert bool(app.get("download_button")) is (grade != "viewer")
        if name == "cohorts":
            assert ("Export to WebEngage" in app.menu_button[0].options) is (grade != "viewer")


@pytest.mark.parametrize("request_", ["stop", "pause", "interval"])
def test_a_viewer_who_follows_a_link_to_a_change_of_a_sync_sees_who_may(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    """The dialog stays shut: what it offers would be refused."""
    export_a_cohort(workspace, sandbox)
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel.VIEWER)
    app = workspace.page("syncs", **{request_: "1"})
    assert "needs a marketer" in page_text(app) and request_ not in app.query_params
    assert "Cancel" not in {button.label for button in app.button}


@pytest.mark.parametrize("setup", ["mixpanel", "webengage"])
def test_a_marketer_who_follows_a_link_to_connect_sees_who_may(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, setup: str
) -> None:
    """Nobody types a secret into a form that refuses it at its end."""
    connect(workspace.data_dir, sandbox)
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel.MARKETER)
    app = workspace.page("integrations", setup=setup)
    assert not app.text_input and "Only an admin of Cohort Sync can connect" in page_text(app)


def test_a_viewer_who_follows_a_link_to_an_export_is_told(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dialog stays shut, and the page says who may export."""
    number = sandbox.add_cohort("Power Users", [member("a")])
    connect(workspace.data_dir, sandbox)
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel.VIEWER)
    app = workspace.page("cohorts", export=str(number))
    assert "exporting needs a marketer" in page_text(app)
    assert "Start Sync" not in [button.label for button in app.button]


def test_a_link_to_a_dialog_says_to_a_viewer_above_the_list_who_may(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below twenty-five rows nobody would see it."""
    export_a_cohort(workspace, sandbox)
    sign_in_as(monkeypatch, "vera@example.com", AccessLevel.VIEWER)
    shown = [one.type for one in workspace.page("syncs", stop="1").main]
    assert shown.index("warning") < shown.index("title")
