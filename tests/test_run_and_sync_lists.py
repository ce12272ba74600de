"""Runs and Syncs: lists of rows, filtered, whose names open what they are about."""

from __future__ import annotations

import re

from tests.workspace import Workspace, click_button, page_text


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
