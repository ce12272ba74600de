"""Check a stored secret again: it is stored, and called refused, only when that is so."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from sync.errors import InvalidRequest
from sync.service import Service
from sync.store.rate_limits import QUERIES_AN_HOUR
from tests.sandbox.control import API_KEY_2, LICENSE, LICENSE_2, PROJECT, SECRET, USERNAME
from tests.workspace import Workspace, wait_until

SIDES = pytest.mark.parametrize("side", ["WebEngage", "Mixpanel"])
SLOW_MS = 1500  # how long the other side takes to answer, in milliseconds; never asserted


def check(workspace: Workspace, side: str) -> None:
    """Check the stored secret of one side."""
    with workspace.open() as service:
        if side == "WebEngage":
            service.connections.check_webengage(LICENSE)
        else:
            service.connections.check_mixpanel(PROJECT)


def disconnect(service: Service, side: str) -> None:
    """Disconnect one side."""
    if side == "WebEngage":
        service.connections.disconnect_webengage(LICENSE)
    else:
        service.connections.disconnect_mixpanel(PROJECT)


def begin_check(pool: ThreadPoolExecutor, workspace: Workspace, side: str) -> Future[None]:
    """Begin a check that the other side answers late, and return it once it was asked."""
    workspace.sandbox.fault("slow", api=side.lower(), ms=SLOW_MS)
    checking = pool.submit(check, workspace, side)
    wait_until(lambda: workspace.sandbox.faults() == [])
    return checking


@SIDES
def test_a_side_that_is_disconnected_while_it_is_checked_stays_disconnected(connected: Workspace, side: str) -> None:
    """Its secret was deleted, perhaps as somebody else has it; a check that ends later does not bring it back."""
    with ThreadPoolExecutor(1) as pool:
        checking = begin_check(pool, connected, side)
        with connected.open() as service:
            disconnect(service, side)
        with pytest.raises(InvalidRequest, match="was changed or disconnected while it was checked"):
            checking.result()
    with connected.open() as service:
        found = service.connections.list_accounts() if side == "WebEngage" else service.connections.list_projects()
        assert found == () and service.connections.list_problems() == {}


def test_a_service_account_that_is_replaced_while_the_former_one_is_checked_stays(connected: Workspace) -> None:
    """The check was of a secret that is not in use any more, whatever became of it."""
    connected.sandbox.add_project(PROJECT, username="other.sa", secret="other-secret-of-16", role="admin")
    with ThreadPoolExecutor(1) as pool:
        checking = begin_check(pool, connected, "Mixpanel")
        with connected.open() as service:
            service.connections.connect_mixpanel(PROJECT, "other.sa", "other-secret-of-16", connected.sandbox.url)
        with pytest.raises(InvalidRequest, match="was changed or disconnected while it was checked"):
            checking.result()
    with connected.open() as service:
        assert service.connections.list_projects()[0].username == "other.sa"


@SIDES
def test_two_checks_at_once_both_say_that_the_secret_is_accepted(connected: Workspace, side: str) -> None:
    """The second click of an impatient person is no change of the connection."""
    with ThreadPoolExecutor(1) as pool:
        checking = begin_check(pool, connected, side)
        check(connected, side)
        checking.result()
    with connected.open() as service:
        assert service.connections.list_problems() == {}


def test_a_service_account_is_not_called_refused_when_the_hour_of_queries_is_used_up(connected: Workspace) -> None:
    """Nothing is known of it then; the check says when to try again, and the page goes on to say “Connected”."""
    for path in ("/me", "service-accounts"):
        connected.sandbox.fault("status", api="mixpanel", path=path, code=403, times=0)
    check(connected, "Mixpanel")
    with connected.open_store() as store:
        for _ in range(QUERIES_AN_HOUR):
            slot = store.rate_limits.acquire_query(PROJECT, connected.now(), later_page=False)
            if slot.id is not None:
                store.rate_limits.release_query(slot, connected.now())
    with pytest.raises(InvalidRequest, match="used up; try again at"):
        check(connected, "Mixpanel")
    with connected.open() as service:
        assert service.connections.list_problems() == {}


@SIDES
def test_a_secret_is_not_called_refused_when_a_runner_has_another_encryption_key(
    connected: Workspace, side: str
) -> None:
    """The other side took it; what is to be mended is here, and the check says what."""
    with connected.open_store() as store:
        store.runners.record_heartbeat("elsewhere/1:1-a.another", connected.now())
    with pytest.raises(InvalidRequest, match="A working runner has another encryption key"):
        check(connected, side)
    with connected.open() as service:
        assert service.connections.list_problems() == {}


def test_a_service_account_that_is_no_admin_any_more_is_called_refused(connected: Workspace) -> None:
    """Its exports go on until Mixpanel refuses them, but everybody sees that it was not accepted again."""
    connected.sandbox.add_project(PROJECT, username=USERNAME, secret=SECRET, role="analyst")
    with pytest.raises(InvalidRequest, match="Only a project admin"):
        check(connected, "Mixpanel")
    with connected.open() as service:
        (problem,) = service.connections.list_problems().values()
        assert "Only a project admin" in problem


@SIDES
def test_a_side_that_is_disconnected_twice_is_in_the_audit_log_once(connected: Workspace, side: str) -> None:
    """Two people press the button, or one of them names what was never connected: nothing was done, so nothing is said."""
    with connected.open() as service:
        disconnect(service, side)
        lines = service.admin.count_audit()
        disconnect(service, side)
        assert service.connections.disconnect_mixpanel(77) == ()
        assert service.connections.disconnect_webengage("elsewhere") == ()
        assert service.admin.count_audit() == lines


@pytest.mark.parametrize(
    ("project_id", "username", "secret", "field"),
    [
        (0, USERNAME, SECRET, "project_id"),
        (-7, USERNAME, SECRET, "project_id"),
        (2**63, USERNAME, SECRET, "project_id"),
        (PROJECT, " ", SECRET, "username"),
        (PROJECT, "", "", "username"),
        (PROJECT, USERNAME, " ", "secret"),
        (PROJECT, "demo\u200b.abc", SECRET, "username"),
        (PROJECT, USERNAME, "se\u00a0cret", "secret"),
    ],
)
def test_what_can_be_no_service_account_is_refused_at_its_field_and_asks_nobody(
    connected: Workspace, project_id: int, username: str, secret: str, field: str
) -> None:
    """The dialog marks the field; what is connected stays as it is."""
    asked = len(connected.sandbox.log())
    with connected.open() as service:
        before = service.connections.list_projects()
        with pytest.raises(InvalidRequest) as refused:
            service.connections.connect_mixpanel(project_id, username, secret, connected.sandbox.url)
        assert refused.value.field == field and service.connections.list_projects() == before
    assert len(connected.sandbox.log()) == asked


def test_every_change_of_a_connection_leaves_one_line_with_what_was_before_and_after(connected: Workspace) -> None:
    """Who reads the log sees whose account was replaced by whose, and where new exports go; secrets are fingerprints."""
    url = connected.sandbox.url
    connected.sandbox.add_project(PROJECT, username="other.sa", secret="other-secret-of-16", role="admin")
    with connected.open() as service:
        first, key = (service.admin.list_audit()[number].after.rpartition(" ")[2] for number in (2, 1))
        service.connections.connect_mixpanel(PROJECT, "other.sa", "other-secret-of-16", url)
        second = service.admin.list_audit()[0].after.rpartition(" ")[2]
        service.connections.check_webengage(LICENSE)
        service.connections.connect_webengage(LICENSE_2, API_KEY_2, url)
        other_key = service.admin.list_audit()[0].after.rpartition(" ")[2]
        service.connections.use_account(PROJECT, LICENSE_2)
        service.connections.disconnect_webengage(LICENSE)
        service.connections.disconnect_mixpanel(PROJECT)
        lines = [(one.action, one.target, one.before, one.after) for one in reversed(service.admin.list_audit())]
    assert len({first, second, key, other_key}) == 4
    assert lines == [
        ("connect Mixpanel", f"project {PROJECT}", "", f"{USERNAME}, {url}, role admin, secret {first}"),
        ("connect WebEngage", LICENSE, "", f"{url}, key {key}"),
        ("use account", f"project {PROJECT}", "", LICENSE),
        (
            "connect Mixpanel",
            f"project {PROJECT}",
            f"{USERNAME}, {url}",
            f"other.sa, {url}, role admin, secret {second}",
        ),
        ("connect WebEngage", LICENSE, url, f"{url}, key {key}"),
        ("connect WebEngage", LICENSE_2, "", f"{url}, key {other_key}"),
        ("use account", f"project {PROJECT}", LICENSE, LICENSE_2),
        ("disconnect WebEngage", LICENSE, "connected", "0 syncs paused"),
        ("disconnect Mixpanel", f"project {PROJECT}", "connected", "0 syncs paused"),
    ]
