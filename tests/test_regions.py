"""Every WebEngage data center: the key goes to the one a person chose, and to no other."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from pages.parts.connection_dialogs import CENTER_NAMES, DATA_CENTERS
from sync import webengage
from sync.errors import CohortSyncError, ConfigurationError
from sync.mixpanel.client import REGIONS
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import ATTRIBUTE, Workspace


class Tunnels(socketserver.BaseRequestHandler):
    """A proxy that notes which hosts it is asked to reach, and reaches none."""

    hosts: list[str]

    def handle(self) -> None:
        """Note the host and refuse."""
        self.hosts.append(self.request.recv(65536).split()[1].decode())
        self.request.sendall(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")


@pytest.fixture
def asked_hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Send every call through a proxy on this machine; return the hosts that were asked for."""
    hosts: list[str] = []
    handler = type("Noting", (Tunnels,), {"hosts": hosts})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield hosts
        proxy.shutdown()


@pytest.mark.parametrize("region", webengage.DATA_CENTERS)
def test_key_when_a_data_center_is_chosen_is_sent_to_no_other(
    workspace: Workspace, asked_hosts: list[str], region: str
) -> None:
    """Only the host of the chosen data center is asked for, also when it does not answer; nothing is stored."""
    with workspace.open() as service, pytest.raises(CohortSyncError):
        service.connections.connect_webengage(LICENSE, API_KEY, region)
    assert set(asked_hosts) == {f"{webengage.get_base_url(region).removeprefix('https://')}:443"}
    with workspace.open() as service:
        assert service.connections.list_accounts() == ()


@pytest.mark.parametrize(("domain", "region"), [("eu.mixpanel.com", "eu"), ("in.mixpanel.com", "in")])
def test_a_project_of_another_region_is_refused_with_the_right_one(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, domain: str, region: str
) -> None:
    """Mixpanel shows a project in the role of its service account also from another region, and names its domain."""
    monkeypatch.setitem(REGIONS, "us", sandbox.url)
    project = {"name": "Music Finder", "organization_id": 7, "domain": domain, "role": {"id": 1, "name": "admin"}}
    body = {"status": "ok", "results": {"projects": {str(PROJECT): project}}}
    sandbox.fault("status", path="/api/app/me", code=200, body=body)
    with workspace.open() as service, pytest.raises(ConfigurationError, match=f"is {region}, not us; choose {region}"):
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, "us")
    with workspace.open() as service:
        assert service.connections.list_projects() == ()


def test_europe_when_chosen_is_checked_and_exported_to(
    fans: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account in Europe is proven by the check at connect, kept by its region's name, and gets the cohort."""
    monkeypatch.setitem(webengage.DATA_CENTERS, "eug", sandbox.url)
    with fans.open() as service:
        assert service.connections.connect_webengage(LICENSE, API_KEY, "eug").data_center == "eug"
    fans.export()
    assert len(sandbox.holding(ATTRIBUTE)[0]) == 30


@pytest.mark.parametrize(("license_code", "key"), [(LICENSE, "another key"), ("va1w264d", API_KEY)])
def test_credentials_when_refused_say_that_the_region_may_be_wrong(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, license_code: str, key: str
) -> None:
    """A key or license code that this data center does not know may belong to another one."""
    monkeypatch.setitem(webengage.DATA_CENTERS, "eug", sandbox.url)
    with workspace.open() as service, pytest.raises(ConfigurationError, match=r"data center \(eug\) may also be the"):
        service.connections.connect_webengage(license_code, key.replace(" ", "-"), "eug")


def test_data_centers_when_offered_on_the_page_are_those_of_the_client() -> None:
    """The page offers every region by name, and no other."""
    assert list(DATA_CENTERS) == list(CENTER_NAMES) == list(webengage.DATA_CENTERS)
