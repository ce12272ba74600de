"""Bad input: one plain sentence, exit 1, no traceback, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sync.errors import Refused
from sync.model import Mode
from sync.service import Service
from tests.conftest import Cli, RunnerProcess
from tests.sandbox.control import (
    ANALYST_SECRET,
    ANALYST_USERNAME,
    API_KEY,
    BLIND_SECRET,
    BLIND_USERNAME,
    CUSTOM_SECRET,
    CUSTOM_USERNAME,
    LICENSE,
    PROJECT,
    SECRET,
    USERNAME,
    Sandbox,
    member,
)
from tests.test_command_line import answer, connected

__all__ = ["connected"]


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check for one plain sentence that holds these words, and exit code 1."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def mixpanel(cli: Cli, folder: Path, region: str, *, username: str = USERNAME, secret: str = SECRET,
             project: int = PROJECT) -> subprocess.CompletedProcess[str]:
    """Connect Mixpanel with something changed."""
    return cli(folder, "connect", "mixpanel", "--project-id", str(project), "--username", username,
               "--region", region, MIXPANEL_SECRET=secret)


def webengage(cli: Cli, folder: Path, center: str, *, code: str = LICENSE,
              key: str = API_KEY) -> subprocess.CompletedProcess[str]:
    """Connect WebEngage with something changed."""
    return cli(folder, "connect", "webengage", "--license-code", code, "--data-center", center, WEBENGAGE_API_KEY=key)


def test_wrong_credentials_are_refused_and_not_stored(cli: Cli, data_dir: Path, sandbox: Sandbox) -> None:
    """A wrong secret, project, key or license is said, and nothing is connected afterwards."""
    refused(mixpanel(cli, data_dir, sandbox.url, secret="wrong"), "401", "secret")
    refused(mixpanel(cli, data_dir, sandbox.url, project=4), "project 4")
    refused(webengage(cli, data_dir, sandbox.url, key="wrong"), "401", "API key")
    refused(webengage(cli, data_dir, sandbox.url, code="wrong"), "license code")
    refused(cli(data_dir, "cohorts"), "No Mixpanel project is connected")


def test_unknown_hosts_are_never_spoken_to(cli: Cli, data_dir: Path) -> None:
    """Credentials go to the known regions and to this machine only."""
    for host in ("http://example.com", "https://mixpanel.com.example.com", "http://127.0.0.1@example.com", "mars", ""):
        refused(mixpanel(cli, data_dir, host), "region")
        refused(webengage(cli, data_dir, host), "data center")


def test_a_proven_non_admin_may_not_connect(cli: Cli, data_dir: Path, sandbox: Sandbox) -> None:
    """An analyst's service account is refused with the role Mixpanel named."""
    refused(mixpanel(cli, data_dir, sandbox.url, username=ANALYST_USERNAME, secret=ANALYST_SECRET), "admin", "analyst")


@pytest.mark.parametrize(("username", "secret"), [(CUSTOM_USERNAME, CUSTOM_SECRET), (BLIND_USERNAME, BLIND_SECRET)])
def test_an_unverifiable_role_is_said_to_be_so(cli: Cli, data_dir: Path, sandbox: Sandbox, username: str,
                                                secret: str) -> None:
    """A custom role, or one Mixpanel does not show, connects with the words not verified."""
    done = mixpanel(cli, data_dir, sandbox.url, username=username, secret=secret)
    assert done.returncode == 0 and "not verified" in done.stdout, done.stderr


def test_cohorts_that_cannot_be_exported(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """An unknown, a deleted and a group cohort each get their reason, and no sync is left behind."""
    group = sandbox.add_cohort("Companies", [member("acme")], data_group_id="7")
    gone = sandbox.add_cohort("Gone", [member("a")])
    answer(cli, connected, "cohorts")
    sandbox.delete_cohort(gone)
    refused(cli(connected, "export", "999999", "--mode", "dynamic"), "999999")
    refused(cli(connected, "export", str(gone), "--mode", "dynamic"), str(gone))
    refused(cli(connected, "export", str(group), "--mode", "dynamic"), "groups")
    assert answer(cli, connected, "syncs") == []


def test_attributes_that_webengage_would_not_take(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """Too long, reserved, empty or another cohort's: refused before anything is written."""
    first, second = (sandbox.add_cohort(name, [member("a")]) for name in ("One", "Two"))
    answer(cli, connected, "export", str(first), "--mode", "dynamic", "--attribute", "Taken")
    for name, word in (("x" * 50, "49"), ("we_fans", "we_"), ("", "name"), ("Taken", "another cohort")):
        refused(cli(connected, "export", str(second), "--mode", "dynamic", "--attribute", name), word)
    refused(cli(connected, "export", str(first), "--mode", "dynamic", "--attribute", "Other"), "permanent")
    assert len(answer(cli, connected, "syncs")) == 1


def test_wrong_usage_is_exit_2(cli: Cli, connected: Path) -> None:
    """A missing or impossible option is usage, not refusal."""
    assert cli(connected, "export", "1").returncode == 2
    assert cli(connected, "export", "1", "--mode", "dynamic", "--every", "soon").returncode == 2
    assert cli(connected, "no-such-command").returncode == 2


def test_a_corrupt_database_is_said_and_left_alone(cli: Cli, data_dir: Path) -> None:
    """A file that is no database is neither overwritten nor opened."""
    (data_dir / "app.db").write_bytes(b"not a database at all, " * 100)
    before = (data_dir / "app.db").read_bytes()
    refused(cli(data_dir, "syncs"), "app.db", "backup")
    assert (data_dir / "app.db").read_bytes() == before


def test_a_data_folder_that_cannot_be_used(cli: Cli, tmp_path: Path) -> None:
    """A file in the folder's place is named."""
    (tmp_path / "file").write_text("")
    refused(cli(tmp_path / "file", "syncs"), "file", "COHORT_SYNC_DATA")


def test_a_missing_or_wrong_key_asks_to_reconnect(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """Losing the key loses no sync; connecting again makes everything work, with a new key."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    answer(cli, connected, "export", str(cohort), "--mode", "dynamic", "--wait")
    (connected / "secret.key").unlink()
    refused(cli(connected, "preview", str(cohort)), "secret.key", "connect again")
    refused(cli(connected, "export", str(cohort), "--mode", "dynamic", "--wait"), "secret.key", "connect again")
    refused(cli(connected, "preview", str(cohort), COHORT_SYNC_KEY="another key of enough length"), "another key")
    assert mixpanel(cli, connected, sandbox.url).returncode == webengage(cli, connected, sandbox.url).returncode == 0
    assert answer(cli, connected, "preview", str(cohort))["identified"] == 1
    assert len(answer(cli, connected, "syncs")) == 1


def test_a_run_whose_key_is_wrong_pauses_its_sync(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """A 401 in the middle fails the run, pauses the sync with the setting to mend, and tells nobody they left."""
    cohort = sandbox.add_cohort("Fans", [member(f"fan-{number}") for number in range(60)])
    answer(cli, connected, "export", str(cohort), "--mode", "dynamic", "--wait")
    sandbox.fault("status", api="webengage", path="bulk-users", code=401, times=1)
    sandbox.set_members(cohort, [member("fan-1")])
    sandbox.fault("status", api="mixpanel", path="engage", code=403, times=1)
    refused(cli(connected, "export", str(cohort), "--mode", "dynamic", "--wait"), "403")
    [sync] = answer(cli, connected, "syncs")
    assert sync["state"] == "paused" and "403" in sync["reason"]
    assert len(sandbox.holding("Mixpanel - Fans")[0]) == 60


def test_a_run_without_the_key_ends_and_says_so(cli: Cli, connected: Path, sandbox: Sandbox,
                                                runner_process: RunnerProcess) -> None:
    """A key lost while a run is queued fails the run and pauses the sync with the reason; nobody tries for ever."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    answer(cli, connected, "export", str(cohort), "--mode", "dynamic")
    (connected / "secret.key").unlink()
    assert runner_process(connected, "--once").wait(60) == 0
    [run] = answer(cli, connected, "runs")
    [sync] = answer(cli, connected, "syncs")
    assert (run["state"], sync["state"]) == ("failed", "paused") and "secret.key" in run["error"] == sync["reason"]


def test_a_full_disk_is_one_sentence(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """When the database cannot grow, nothing is half-written and the person is told."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    answer(cli, connected, "cohorts")
    size = 4096  # no file may grow beyond its first page, the write-ahead log neither
    limited = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
               f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); "
               f"sys.argv = ['sync', 'export', '{cohort}', '--mode', 'dynamic']; "
               "from sync.__main__ import main; sys.exit(main())")
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=False,
                          env=os.environ | {"COHORT_SYNC_DATA": str(connected)})
    refused(done, "database", "disk")
    assert answer(cli, connected, "syncs") == []


def test_a_twenty_sixth_attribute_is_refused(connected: Path, sandbox: Sandbox) -> None:
    """WebEngage would drop its values without a word, so the export is refused before anything is written."""
    cohorts = [sandbox.add_cohort(f"Cohort {number}", [member("a")]) for number in range(26)]
    with Service.open({"COHORT_SYNC_DATA": str(connected)}) as service:
        for cohort in cohorts[:25]:
            service.export(PROJECT, cohort, Mode.ONE_TIME)
        with pytest.raises(Refused, match="25 of this type"):
            service.export(PROJECT, cohorts[25], Mode.ONE_TIME)
        assert service.export(PROJECT, cohorts[0], Mode.DYNAMIC).started is False
        assert len(service.syncs()) == 25
