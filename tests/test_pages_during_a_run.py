"""Each page while a run is under way, without a browser: how far it is, what it waits for, who works."""

from __future__ import annotations

import re
import time

import pytest
from streamlit.testing.v1 import AppTest

from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.process_identity import process_name
from sync.store import Store
from tests.browser import connect, service
from tests.sandbox.control import Sandbox, member
from tests.workspace import Workspace, page_text

PEOPLE = 60


def under_way(workspace: Workspace, sandbox: Sandbox) -> int:
    """Start a run that a runner works on."""
    number = sandbox.add_cohort("Moving", [member(f"u{n}") for n in range(PEOPLE)])
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        run_id = here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC)).run_id
    with Store.open(workspace.data_dir) as store:
        assert store.runs.claim_run("runner-1", time.time())
    return run_id


def bars(app: AppTest) -> list[tuple[int, str]]:
    """Return how full each bar of a page is, in percent, and what stands above it."""
    return [(bar.proto.value, bar.proto.text.replace("\\", "")) for bar in app.get("progress")]


@pytest.mark.slow
def test_pages_when_a_run_is_under_way_show_its_progress(workspace: Workspace, sandbox: Sandbox) -> None:
    """While it reads and while it sends, the row, the card, the history and the run's page say done of total.

    Whom WebEngage rejected counts as done on the bar, and is not said to be sent.
    """
    run_id = under_way(workspace, sandbox)
    with Store.open(workspace.data_dir) as store:
        store.runs.write_run(run_id, "runner-1", expected_total=PEOPLE, staged=15)
        assert {page: bars(workspace.page(*page)) for page in (("cohorts",), ("syncs",), ("runs",))} == {
            page: [(25, "15 of 60 people read from Mixpanel")] for page in (("cohorts",), ("syncs",), ("runs",))
        }
        assert "Nothing exported yet" in page_text(workspace.page("syncs", sync="1"))
        store.runs.write_run(
            run_id, "runner-1", state="delivering", planned=1, entered=PEOPLE, delivered=29, rejected=1
        )
    for text in (page_text(workspace.page("syncs")), page_text(workspace.page("syncs", sync="1"))):
        assert "Being exported" in text and "Nothing exported yet" not in text
    for app in (
        workspace.page("cohorts"),
        workspace.page("syncs"),
        workspace.page("runs"),
        workspace.page("runs", run=str(run_id)),
    ):
        assert bars(app) == [(50, "29 of 60 people sent to WebEngage, 1 rejected")]
    for app in (workspace.page("syncs", sync="1"), workspace.page("runs", run=str(run_id))):
        assert [button.label for button in app.button].count("Cancel run") == 1
    with service(workspace.data_dir) as here:
        here.runs.cancel(run_id)
    app = workspace.page("runs", run=str(run_id))
    assert "Cancelling. Requests already on their way are finished first." in page_text(app) + str(bars(app))
    assert "Cancel run" not in [button.label for button in app.button]


@pytest.mark.slow
def test_pages_when_a_run_was_cancelled_show_how_far_it_came(workspace: Workspace, sandbox: Sandbox) -> None:
    """Ended half-way, the run's page and the card say how many were sent, and that no others go by this run."""
    run_id = under_way(workspace, sandbox)
    with Store.open(workspace.data_dir) as store:
        store.runs.write_run(run_id, "runner-1", planned=1, entered=PEOPLE, delivered=25)
        store.runs.write_run(
            run_id, "runner-1", state="cancelled", finished_at=time.time(), lease_owner=None, lease_until=None
        )
    for app in (workspace.page("syncs"), workspace.page("runs"), workspace.page("runs", run=str(run_id))):
        said = "Cancelled after 25 of 60 people were sent to WebEngage. Nobody else is sent before another run starts."
        assert said in page_text(app)


def test_the_side_bar_when_runners_work_shows_them_and_the_queries_left(workspace: Workspace, sandbox: Sandbox) -> None:
    """The side bar says when the runner was seen, and how many of the hour's queries are left after each."""
    sandbox.add_cohort("Any", [member("a")])
    connect(workspace.data_dir, sandbox)
    with Store.open(workspace.data_dir) as store:
        store.runners.record_heartbeat(f"{process_name()}-1", time.time() - 4)
    words = page_text(workspace.page("integrations"))
    assert re.search(r"Runner last seen [4-9] s ago", words)
    assert "The runner is not running" not in words
    left = int(re.search(r"(\d+) Mixpanel queries left this hour", words)[1])
    workspace.page("cohorts")
    assert f"{left - 1} Mixpanel queries left this hour" in page_text(workspace.page("syncs"))
