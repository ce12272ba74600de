"""The lists of syncs and runs, and the page of a sync, without a browser."""

from __future__ import annotations

import re

import pytest

from sync.model import RunState
from tests.workspace import Workspace, click_button, page_text


@pytest.mark.slow
def test_runs_of_a_day_are_those_requested_then(fans: Workspace) -> None:
    """The filter of the address leaves the runs of that day in the viewer's time zone, and says when there are none."""
    run = fans.export()
    with fans.open_database() as db:
        db.execute("update run set queued_at = ? where id = ?", (1_790_000_000.0, run.id))  # 2026-09-21, 14:13 UTC
    later = fans.export()
    openers = [button.label for button in fans.page("runs", day="2026-09-21").button if button.label.startswith("Run ")]
    assert openers == [f"Run {run.id}"]
    assert f"Run {later.id}" in [button.label for button in fans.page("runs").button]
    assert "No run matches these filters." in page_text(fans.page("runs", day="2026-09-20"))


@pytest.mark.slow
def test_page_of_a_sync_is_opened_by_its_name_and_lists_its_runs(fans: Workspace) -> None:
    """A row has the state, the next and the last result; its name opens the page with the buttons and the last runs."""
    run = fans.export()
    app = fans.page("syncs")
    text = page_text(app)
    assert "Synced" in text and re.search(r"in [12] h \d\d min", text) and "30 added" in text and "30 people" in text
    assert "Sync now" not in [button.label for button in app.button]
    click_button(app, "Fans")
    assert app.title[0].value == "Fans"
    assert {"Sync now", f"Run {run.id}"} <= {button.label for button in app.button}
    assert "There is no sync 77" in fans.page("syncs", sync="77").warning[0].value


def test_a_sync_whose_latest_run_is_held_says_everywhere_that_it_needs_approval(fans: Workspace) -> None:
    """The lists, the overview, the pages of sync and cohort and the tables of the commands; nowhere that it is in step."""
    fans.export()
    run = fans.export(dry_run=True)
    assert run.state is RunState.HELD
    for name, parameters in (
        ("cohorts", {}),
        ("cohorts", {"cohort": str(fans.cohort)}),
        ("syncs", {}),
        ("syncs", {"sync": "1"}),
        ("overview", {}),
    ):
        text = page_text(fans.page(name, **parameters))
        assert "Needs approval]" in text and "Synced]" not in text, (name, parameters)
    assert "Once approved" in page_text(fans.page("syncs")) and "No refresh until" in page_text(
        fans.page("syncs", sync="1")
    )
    assert "No refresh is planned." in page_text(fans.page("overview"))
    for command in ("cohorts", "syncs", "runs"):
        assert "Needs approval" in fans.run_cli(command).stdout, command
    assert fans.read_json("syncs")[0]["state"] == "active"
    with fans.open() as service:
        service.runs.cancel(run.id)
    assert "Synced]" in page_text(fans.page("syncs"))
    assert "Active" in fans.run_cli("cohorts").stdout
