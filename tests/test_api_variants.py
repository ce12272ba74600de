"""Innocent differences: another server, written from the same documentation, is understood just as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.errors import RetryLater
from sync.export_terms import ExportTerms
from sync.mixpanel.client import Mixpanel
from sync.model import Account, Mode, Project, Role
from sync.runner import Runner
from sync.service import Service
from sync.webengage import WebEngage
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, anonymous, member

ENGAGE, BULK = "/api/query/engage", "/bulk-users"
MISSING = {"response": {"message": "Error: userId and anonymousId cannot be empty.", "status": "error"}}


@pytest.fixture
def service(data_dir: Path, sandbox: Sandbox) -> Iterator[Service]:
    """Connect a service to the sandbox on both sides."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as opened:
        opened.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        opened.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)
        yield opened


@pytest.fixture
def asker(sandbox: Sandbox) -> Mixpanel:
    """Make a client of the sandbox's Mixpanel."""
    return Mixpanel(Project(PROJECT, USERNAME, SECRET, sandbox.url))


@pytest.mark.parametrize("untold", ["page_size", "total", "page_size and total"])
def test_a_cohort_is_read_whole_whatever_its_pages_leave_out(
    service: Service, data_dir: Path, sandbox: Sandbox, untold: str
) -> None:
    """A page that says neither its size nor the total is never taken for the last one while people are on it."""
    cohort = sandbox.add_cohort("Fans", [member(f"fan-{number}") for number in range(25)])
    sandbox.settings(page_size=10, untold=untold)
    Runner({"COHORT_SYNC_DATA": str(data_dir)}).run_once(
        service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.ONE_TIME)).run_id
    )
    assert sandbox.holding("Mixpanel - Fans")[0] == sandbox.exportable(cohort)


@pytest.mark.parametrize("settings", [{"untold": "total"}, {"total": "page"}, {"untold": "page_size", "total": "page"}])
@pytest.mark.parametrize(("people", "ghosts"), [(25, 0), (10, 0), (8, 15)])
def test_a_preview_of_a_full_page_without_a_whole_total_is_not_exact(
    service: Service, sandbox: Sandbox, settings: dict[str, str], people: int, ghosts: int
) -> None:
    """A page of ten whose total is ten, or that says none: more may come, with a profile or without."""
    listed = [member(f"fan-{number}") for number in range(people)]
    cohort = sandbox.add_cohort("Fans", [*listed, *(anonymous(f"ghost-{number}") for number in range(ghosts))])
    sandbox.settings(page_size=10, **settings)
    found = service.cohorts.preview(PROJECT, cohort)
    assert (found.exact, found.qualifier) == (False, "at least ")
    assert found.identified == min(people, 10)


@pytest.mark.parametrize("settings", [{}, {"untold": "total"}, {"total": "page"}], ids=str)
def test_a_preview_of_a_page_that_is_not_full_is_exact(
    service: Service, sandbox: Sandbox, settings: dict[str, str]
) -> None:
    """Nine of ten are everybody, whatever the total counts."""
    cohort = sandbox.add_cohort("Fans", [*(member(f"fan-{number}") for number in range(8)), anonymous("ghost")])
    sandbox.settings(page_size=10, **settings)
    found = service.cohorts.preview(PROJECT, cohort)
    assert (found.exact, found.qualifier, found.identified, found.anonymous) == (True, "", 8, 1)


@pytest.mark.parametrize(
    "more",
    [
        {"session_id": 7},
        {"session_id": None},
        {"error": None},
        {"error": ""},
        {"status": "OK"},
        {"status": "success"},
        {"computed_at": "now", "extra": {"a": [1]}},
    ],
    ids=str,
)
def test_a_page_may_say_the_same_in_other_words(asker: Mixpanel, sandbox: Sandbox, more: dict[str, object]) -> None:
    """Numbers for sessions, empty errors, louder words and further fields change nothing."""
    body = {
        "page": 0,
        "page_size": 1000,
        "total": 1,
        "session_id": "s",
        "results": [{"$distinct_id": "a", "$properties": {}}],
    }
    sandbox.fault("status", path=ENGAGE, code=200, body=body | more)
    page = asker.read_columns(5, 0, None, ())
    assert page.ids == ["a"]
    assert page.session_id == (str(more["session_id"]) if more.get("session_id") else more.get("session_id", "s"))


def test_a_cohort_answered_with_400_pauses_its_sync(service: Service, data_dir: Path, sandbox: Sandbox) -> None:
    """One of the ways a deleted cohort may be answered; nobody is told they left, and a person is asked."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    Runner({"COHORT_SYNC_DATA": str(data_dir)}).run_once(
        service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    )
    service.syncs.refresh_now(1)
    sandbox.settings(unknown_cohort=400)
    sandbox.delete_cohort(cohort)
    Runner({"COHORT_SYNC_DATA": str(data_dir)}).run_once()
    assert service.syncs.get(1).state.value == "paused" and "400" in str(service.syncs.get(1).pause_reason)
    assert sandbox.holding("Mixpanel - Fans") == ({"a"}, set())


@pytest.mark.parametrize("code", [402, 403, 404, 405, 501])
def test_a_role_that_nobody_tells_is_not_verified(sandbox: Sandbox, code: int) -> None:
    """However the App API keeps the role to itself, the other way is tried, and at worst it is not verified."""
    account = Project(PROJECT, USERNAME, SECRET, sandbox.url)
    sandbox.fault("status", path="/api/app/me", code=code)
    assert Mixpanel(account).check_credentials().role is Role.ADMIN
    sandbox.fault("status", path="/api/app", code=code, times=2)
    assert Mixpanel(account).check_credentials().role is Role.UNVERIFIED


def test_a_concurrency_limit_in_other_words_is_no_lost_hour(asker: Mixpanel, sandbox: Sandbox) -> None:
    """Without the two fractions the words tell; when they do not, it is waited for like the hour, and teaches nothing."""
    for text, limit in (
        ("Too many concurrent queries", "concurrent"),
        ("Rate limit exceeded", "unnamed"),
        ("60 queries per hour, 5 concurrent", "hourly"),
    ):
        sandbox.fault("status", path=ENGAGE, code=429, body={"error": text})
        with pytest.raises(RetryLater) as waiting:
            asker.read_columns(5, 0, None, ())
        assert waiting.value.limit == limit


def test_a_cohort_with_a_number_no_database_holds_is_left_out_and_counted(asker: Mixpanel, sandbox: Sandbox) -> None:
    """It is said, not stumbled over, and the others are listed."""
    sandbox.fault("status", path="cohorts/list", code=200, body=[{"id": "9" * 30}, {"id": "7", "name": "Fans"}])
    cohorts, left_out = asker.list_cohorts()
    assert ([one.id for one in cohorts], left_out) == ([7], 1)


@pytest.mark.parametrize("code", [200, 201, 400, 422])
def test_the_missing_id_proves_the_account_with_any_status(sandbox: Sandbox, code: int) -> None:
    """The documentation shows the body of the refusal, not its status."""
    sandbox.fault("status", path="/users", code=code, body=MISSING)
    WebEngage(Account(LICENSE, API_KEY, sandbox.url)).check_credentials()


@pytest.mark.parametrize("body", [{"status": "queued"}, {"response": {"status": "Success"}}], ids=str)
def test_queued_is_queued_wherever_it_stands(sandbox: Sandbox, body: dict[str, object]) -> None:
    """With or without the envelope."""
    sandbox.fault("status", path=BULK, code=202, body=body)
    WebEngage(Account(LICENSE, API_KEY, sandbox.url)).send_batch(b'{"users":[]}', "ab12")
