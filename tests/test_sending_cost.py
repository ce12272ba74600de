"""Specify what an export takes: the requests that the dialog and the command promise are those its run needs."""

from __future__ import annotations

import re

import pytest

from sync.model import Run, RunState
from tests.sandbox.control import LICENSE, PROJECT, Member, member
from tests.workspace import Workspace, page_text

REQUESTS = re.compile(r"([^\n;:]*) requests?, about")


@pytest.fixture
def exported(connected: Workspace) -> Workspace:
    """Export sixty people, which takes three requests."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    connected.export()
    assert count_requests(connected) == 3
    return connected


def count_requests(workspace: Workspace) -> int:
    """Return how many batches WebEngage was sent so far."""
    return workspace.sandbox.meter().requests.get(f"/v1/accounts/{LICENSE}/bulk-users", 0)


def people(first: int, end: int) -> list[Member]:
    """Return fan-first … up to end, with an e-mail address each."""
    return [member(f"fan-{number}", **{"$email": f"fan{number}@example.com"}) for number in range(first, end)]


def read_cost(workspace: Workspace) -> str:
    """Return how many requests the export dialog says that the export takes."""
    return find_cost(page_text(workspace.page("cohorts", export=str(workspace.cohort))))


def find_cost(shown: str) -> str:
    """Return how many requests a text says that an export takes."""
    found = REQUESTS.search(shown)
    return found[1].strip() if found else shown


def approve_if_held(workspace: Workspace, run: Run) -> Run:
    """Approve a run that a guard holds, and return it when it has ended."""
    if run.state is RunState.HELD:
        with workspace.open() as service:
            service.runs.approve(run.id)
        workspace.run_queued()
    return workspace.get_run(run.id)


def test_the_most_requests_count_who_joined_and_who_left_when_neither_is_known(exported: Workspace) -> None:
    """Everybody may be another person: sixty to add and sixty to remove are five requests, not three."""
    exported.sandbox.settings(page_size=10)  # only the first of several pages is previewed, so nobody is compared
    exported.sandbox.set_members(exported.cohort, people(100, 160))
    assert read_cost(exported) == "Up to about 5"
    assert "Up to about 5 requests" in exported.run_cli("preview", str(exported.cohort)).stdout
    before = count_requests(exported)
    assert approve_if_held(exported, exported.export()).change_count == 120
    assert count_requests(exported) - before == 5


def test_the_requests_count_everybody_when_another_property_is_chosen(exported: Workspace) -> None:
    """Nobody would be added or removed, but everybody is sent the property: the dialog said that no request is needed."""
    app = exported.page("cohorts", export=str(exported.cohort))
    assert "Nobody needs to be sent now, so no request" in page_text(app)
    app.multiselect(key=f"export-properties-{exported.cohort}").set_value(["$email=Address"]).run()
    assert find_cost(page_text(app)) == "Up to 3"
    said = exported.run_cli("preview", str(exported.cohort), "--map", "$email=Address").stdout
    assert "Up to 3 requests" in said
    before = count_requests(exported)
    assert exported.export(mapping=(("$email", "Address"),)).updated == 60
    assert count_requests(exported) - before == 3


def test_the_requests_count_everybody_when_the_properties_are_dropped(exported: Workspace) -> None:
    """What was sent with a property is sent once more without it."""
    exported.export(mapping=(("$email", "Address"),))
    app = exported.page("cohorts", export=str(exported.cohort))
    app.multiselect(key=f"export-properties-{exported.cohort}").set_value([]).run()
    assert find_cost(page_text(app)) == "Up to 3"
    before = count_requests(exported)
    assert exported.export(mapping=()).updated == 60
    assert count_requests(exported) - before == 3


def test_more_requests_than_said_come_of_rejected_people_only_and_are_announced(connected: Workspace) -> None:
    """A batch that WebEngage rejects is halved until the person it objects to stands alone."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    assert "about 1 second at WebEngage's limit, more if it rejects people" in page_text(
        connected.page("cohorts", export=str(connected.cohort))
    )
    assert read_cost(connected) == "3"
    connected.sandbox.poison("fan-7")
    connected.export()
    assert count_requests(connected) > 3


def test_what_sending_takes_is_counted_at_the_pace_that_is_set(
    connected: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a pace below WebEngage's limit an export takes longer, and neither page nor command names the limit."""
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 60))
    monkeypatch.setenv("COHORT_SYNC_BATCHES_A_MINUTE", "12")
    said = "3 requests, about 15 seconds at 12 requests a minute, more if it rejects people"
    assert said in page_text(connected.page("cohorts", export=str(connected.cohort)))
    assert said in connected.run_cli("preview", str(connected.cohort), COHORT_SYNC_BATCHES_A_MINUTE="12").stdout


def test_where_mixpanel_says_no_total_the_requests_are_the_least_or_not_said(connected: Workspace) -> None:
    """Only the first page is known: at first it takes as many requests at least; later the difference may be any."""
    connected.sandbox.settings(page_size=30, untold="total")
    connected.cohort = connected.sandbox.add_cohort("Fans", people(0, 195))
    assert read_cost(connected) == "At least 2"
    assert approve_if_held(connected, connected.export()).delivered == 195
    with connected.open() as service:
        service.cohorts.preview(PROJECT, connected.cohort, fresh=True)
    shown = page_text(connected.page("cohorts", export=str(connected.cohort)))
    assert "The run finds out how many requests it takes" in shown
