"""A User ID property on the pages, without a browser: the dialog, the cohort, the sync, the run and the receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sync.model import RunState
from sync.views import Preview
from sync.wording import describe_coverage
from tests.engine_workspace import CUSTOMER, EngineWorkspace, approve, customer, customer_ids, customers, fan_ids, last
from tests.sandbox.control import Sandbox, anonymous, member
from tests.workspace import click_button, page_text

pytestmark = pytest.mark.usefixtures("local_browser")


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> EngineWorkspace:
    """Connect to a cohort of eight: two share a User ID, one has none, one has no profile."""
    monkeypatch.setenv("COHORT_SYNC_DATA", str(data_dir))
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*customers(*range(5)), customer(5, "c-4"), member("fan-7"), anonymous("fan-9"))
    return found


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"id_property": ""}, ""),
        (
            {"exact": True},
            "3 of 4 members with a profile have a User ID in customer (75 %). No two have the same User ID.",
        ),
        (
            {"exact": True, "doubles": 1},
            "3 of 4 members with a profile have a User ID in customer (75 %). "
            "1 is a double: another member has the same User ID, and WebEngage knows them as one person.",
        ),
        (
            {"exact": False, "doubles": 1200},
            "About 3 of 4 members with a profile have a User ID in customer (75 %). Of those read, 1,200 are doubles: "
            "another member has the same User ID, and WebEngage knows them as one person.",
        ),
        (
            {"exact": False, "identified": 0, "invalid": 0},
            "About 0 of 0 members with a profile have a User ID in customer. Of those read, no two have the same User ID.",
        ),
    ],
)
def test_a_preview_by_a_property_says_who_has_a_user_id(numbers: dict[str, Any], said: str) -> None:
    """Pages and commands say the same; by distinct_id there is nothing to say."""
    values: dict[str, Any] = dict.fromkeys(Preview.__slots__, 0) | {"id_property": CUSTOMER}
    assert describe_coverage(Preview(**values | {"identified": 3, "invalid": 1} | numbers)) == said


def test_the_dialog_shows_the_share_and_the_doubles_and_exports_by_the_property(workspace: EngineWorkspace) -> None:
    """Choosing the property counts again; what is started is by it."""
    app = workspace.page("cohorts", export=str(workspace.cohort))
    field = app.selectbox(key=f"export-user-id-{workspace.cohort}")
    assert field.value == "$distinct_id" and CUSTOMER in field.options
    assert "members with a profile" not in page_text(app)
    field.set_value(CUSTOMER).run()
    text = page_text(app)
    assert "6 of 7 members with a profile have a User ID in customer (86 %). 1 is a double: another member has" in text
    assert "Another User ID is another profile" not in text  # nobody was exported before
    click_button(app, "Start Sync")
    workspace.run_queued()
    assert workspace.holders() == customer_ids(*range(5))


def test_the_dialog_says_that_another_property_is_held(workspace: EngineWorkspace) -> None:
    """It proposes the property of the sync, warns of another one, and the run page shows why it is held."""
    workspace.export(id_property=CUSTOMER)
    app = workspace.page("cohorts", export=str(workspace.cohort))
    field = app.selectbox(key=f"export-user-id-{workspace.cohort}")
    assert field.value == CUSTOMER and "Another User ID" not in page_text(app)
    field.set_value("$distinct_id").run()
    assert "This export is held for your approval" in page_text(app)
    click_button(app, "Start Sync")
    workspace.run_queued()
    run = last(workspace)
    assert run.state is RunState.HELD
    assert "changes from customer to $distinct_id" in page_text(workspace.page("runs", run=str(run.id)))
    approve(workspace, run)
    assert workspace.holders() == fan_ids(0, 1, 2, 3, 4, 5, 7)


def test_the_pages_of_a_cohort_its_sync_its_run_and_its_receipt_name_the_property(workspace: EngineWorkspace) -> None:
    """Whoever looks sees by what people are known in WebEngage, and who shares it."""
    run = workspace.export(id_property=CUSTOMER)
    app = workspace.page("cohorts", cohort=str(workspace.cohort))
    assert "User ID: the profile property customer" in page_text(app)
    table = app.dataframe[0].value
    assert list(table.columns)[:4] == ["User ID", "Status", "Why", "distinct_id"]
    rows = {row["distinct_id"]: row["User ID"] for _, row in table.iterrows()}
    assert (rows["fan-5"], rows["fan-7"]) == ("c-4", "(empty)")
    assert "User ID: customer" in page_text(workspace.page("syncs", sync="1"))
    assert "Give these profiles a value in the property" in page_text(workspace.page("runs", run=str(run.id)))
    assert "customer, with 1 double" in page_text(workspace.page("receipt", cohort=str(workspace.cohort)))


def test_a_change_that_ended_half_way_is_shown_on_its_sync(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """People may still be true under an old User ID: the sync says so until a run sets them to false."""
    workspace.export()
    sandbox.refuse_everybody("Error: attribute limit reached.")
    approve(workspace, workspace.export(id_property=CUSTOMER))
    assert last(workspace).state is RunState.FAILED
    assert "changed the User ID property and did not end" in page_text(workspace.page("syncs", sync="1"))
    sandbox.clear_faults()
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert workspace.holders() == customer_ids(*range(5))
    assert "did not end" not in page_text(workspace.page("syncs", sync="1"))
