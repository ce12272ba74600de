"""The sandbox's other side: faults on demand, cohorts by recipe, meters and the log."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest
import requests

from tests.sandbox import control
from tests.sandbox.authentication import ADMIN, bulk, engage, ids, mixpanel, webengage
from tests.sandbox.control import Sandbox, member


@pytest.fixture
def sandbox(module_sandbox: Sandbox) -> Sandbox:
    """Reset the process, so that it is empty."""
    module_sandbox.reset(empty=True)
    return module_sandbox


def test_a_status_comes_as_often_as_asked_and_then_no_more(sandbox: Sandbox) -> None:
    """Code, body, type and Retry-After are the test's to choose, and nothing is applied."""
    sandbox.fault(
        "status", api="webengage", times=2, code=429, body="slow down", content_type="text/plain", retry_after="date:30"
    )
    replies = [bulk(sandbox, "ada"), bulk(sandbox, "ada")]
    seen = [(reply.status_code, reply.text, reply.headers["Content-Type"]) for reply in replies]
    assert seen == [(429, "slow down", "text/plain")] * 2
    ahead = parsedate_to_datetime(replies[0].headers["Retry-After"]).timestamp() - time.time()
    assert 25 < ahead <= 31 and sandbox.profile_count() == 0
    assert bulk(sandbox, "ada").status_code == 201 and sandbox.faults() == []


@pytest.mark.parametrize(("kind", "applied"), [("reset", 0), ("stall", 0), ("vanish", 1), ("truncated", 1)])
def test_a_connection_can_break_before_or_after(sandbox: Sandbox, kind: str, applied: int) -> None:
    """The caller never hears; only vanish and truncated have applied what was sent."""
    sandbox.fault(kind, api="webengage", seconds=0.1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        bulk(sandbox, "ada")
    assert sandbox.profile_count() == applied and bulk(sandbox, "ada").status_code == 201


def test_replies_when_malformed_are_html_half_json_or_errors(sandbox: Sandbox) -> None:
    """HTML from a gateway, half a JSON, or an error with a 200."""
    for kind in ("html", "garbled", "says_error"):
        sandbox.fault(kind, api="mixpanel")
    html, garbled, error = (mixpanel(sandbox, "cohorts/list") for _ in range(3))
    assert html.status_code == 502 and html.text.startswith("<html>")
    assert error.status_code == 200 and error.json()["status"] == "error"
    with pytest.raises(requests.JSONDecodeError):
        garbled.json()


def test_pages_when_falsified_differ_from_the_cohort(sandbox: Sandbox) -> None:
    """Empty, short, with repeated people, with a wrong total, with integers for ids."""
    sandbox.settings(page_size=4)
    cohort_id = sandbox.add_cohort("Numbers", [member(str(n)) for n in range(1, 7)])
    sandbox.fault("wrong_total", by=3)
    first = engage(sandbox, cohort_id).json()
    for kind in ("empty_page", "short_page", "duplicate_ids", "integer_ids", "expired_session"):
        sandbox.fault(kind, by=2, page=1)
    later = [engage(sandbox, cohort_id, page=1, session_id=first["session_id"]) for _ in range(5)]
    assert first["total"] == 9
    assert [ids(reply) for reply in later[:4]] == [[], ["5"], ["3", "4", "5", "6"], [5, 6]]
    assert later[4].status_code == 400


def test_a_fault_when_delayed_or_random_is_repeatable(sandbox: Sandbox) -> None:
    """`after` lets some pass; a probability with a seed is the same every time."""
    sandbox.fault("status", path="bulk-users", after=2)
    assert [bulk(sandbox, "ada").status_code for _ in range(4)] == [201, 201, 503, 201]
    runs = []
    for _ in range(2):
        sandbox.fault("status", probability=0.5, seed=3)
        runs.append([bulk(sandbox, "ada").status_code for _ in range(12)])
        sandbox.clear_faults()
    assert runs[0] == runs[1] and set(runs[0]) == {201, 503}


def test_an_unknown_fault_or_setting_is_refused(sandbox: Sandbox) -> None:
    """A typing error in a test does not pass silently."""
    for wrong in (
        lambda: sandbox.fault("explode"),
        lambda: sandbox.settings(speed=1),
        lambda: sandbox.settings(bare_shape="round"),
        lambda: sandbox.churn(1, 0.1),
    ):
        with pytest.raises(AssertionError):
            wrong()


def test_a_generated_cohort_is_the_same_each_time_and_churns(sandbox: Sandbox) -> None:
    """Members by recipe, the anonymous among them, and a part that changes."""
    cohort_id = sandbox.generate("Many", 2000, seed=5, anonymous=500, properties=10)
    before = sandbox.exportable(cohort_id)
    assert len(before) == 1500 and before == sandbox.exportable(sandbox.generate("Again", 2000, seed=5, anonymous=500))
    assert len(engage(sandbox, cohort_id, include_all_users="false").json()["results"][0]["$properties"]) == 10
    assert sandbox.churn(cohort_id, 0.1, seed=1) == (200, 200)
    assert 0 < len(before - sandbox.exportable(cohort_id)) <= 200


def test_cohorts_can_be_renamed_and_deleted(sandbox: Sandbox) -> None:
    """The id stays through a renaming; after deletion it is unknown."""
    cohort_id = sandbox.add_cohort("Fans", [member("ada")])
    sandbox.rename_cohort(cohort_id, "Friends")
    assert [(row["id"], row["name"]) for row in sandbox.cohorts()] == [(cohort_id, "Friends")]
    sandbox.delete_cohort(cohort_id)
    assert sandbox.cohorts() == [] and engage(sandbox, cohort_id).status_code == 404


def test_more_projects_and_accounts_can_be_opened(sandbox: Sandbox) -> None:
    """Each project has its own hour, each account its own minute."""
    sandbox.add_project(43, "Second")
    sandbox.add_account("extra", "extra-key")
    reply = requests.post(f"{sandbox.url}/api/query/cohorts/list?project_id=43", auth=ADMIN, timeout=10)
    assert reply.json() == [] and sandbox.meter().queries_in_an_hour == {"42": 0, "43": 1}
    extra = webengage(sandbox, "users", {"userId": "ada"}, "extra", Authorization="Bearer extra-key")
    assert extra.status_code == 201


def test_the_log_when_requests_came_has_them_without_secrets(sandbox: Sandbox) -> None:
    """Method, path, status, number of people and x-request-id."""
    bulk(sandbox, "ada", "bob", **{"x-request-id": "r1"})
    mixpanel(sandbox, "cohorts/list")
    first, second = sandbox.log()
    assert (first["method"], first["status"], first["users"], first["request_id"]) == ("POST", 201, 2, "r1")
    assert second["path"] == "/api/query/cohorts/list"
    assert control.SECRET not in str(sandbox.log()) and control.API_KEY not in str(sandbox.log())


@pytest.mark.slow
def test_the_seeded_project_is_believable_and_always_the_same(sandbox: Sandbox) -> None:
    """About a dozen cohorts from nobody to 20,000, one shared population."""
    sandbox.reset(empty=False)
    rows = {row["name"]: row for row in sandbox.cohorts()}
    power = sandbox.exportable(rows["Power Users"]["id"])
    assert rows["Power Users"]["count"] == 8729 and rows["Weekly Listeners"]["count"] == 20_000
    assert rows["Refund Requests"]["count"] == 0 and rows["Family Plan Prospects"]["count"] is None
    assert sandbox.exportable(rows["Pricing Page Visitors"]["id"]) == set()
    assert power & sandbox.exportable(rows["Playlist Creators"]["id"])
    sandbox.reset(empty=False)
    assert power == sandbox.exportable(rows["Power Users"]["id"])


def test_drift_changes_cohorts_by_itself(sandbox: Sandbox) -> None:
    """Every so many seconds a little leaves and a little enters."""
    cohort_id = sandbox.generate("Many", 300)
    before = sandbox.exportable(cohort_id)
    sandbox.settings(drift=0.1)
    deadline = time.monotonic() + 30
    while sandbox.exportable(cohort_id) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sandbox.exportable(cohort_id) != before and len(sandbox.exportable(cohort_id)) == 300


def test_sigterm_ends_it_at_once_even_while_a_request_hangs() -> None:
    """Nothing is waited for."""
    with Sandbox.start(seed=3, latency=20_000) as sandbox, ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(mixpanel, sandbox, "cohorts/list")
        time.sleep(0.2)
        began = time.monotonic()
        sandbox.process.send_signal(signal.SIGTERM)
        assert sandbox.process.wait(15) == 0 and time.monotonic() - began < 10
        assert hanging.exception(15) is not None
