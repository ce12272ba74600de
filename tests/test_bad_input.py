"""Bad input: one plain sentence, exit 1, no traceback, nothing half-written."""

from __future__ import annotations

import itertools
import os
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode
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
from tests.workspace import Workspace, assert_refused


def mixpanel(
    cli: Cli, folder: Path, region: str, *, username: str = USERNAME, secret: str = SECRET, project: int = PROJECT
) -> subprocess.CompletedProcess[str]:
    """Connect Mixpanel with something changed."""
    return cli(
        folder,
        "connect",
        "mixpanel",
        "--project-id",
        str(project),
        "--username",
        username,
        "--region",
        region,
        MIXPANEL_SECRET=secret,
    )


def webengage(
    cli: Cli, folder: Path, center: str, *, code: str = LICENSE, key: str = API_KEY
) -> subprocess.CompletedProcess[str]:
    """Connect WebEngage with something changed."""
    return cli(folder, "connect", "webengage", "--license-code", code, "--data-center", center, WEBENGAGE_API_KEY=key)


def test_connect_when_credentials_are_wrong_is_refused_and_stores_nothing(
    cli: Cli, data_dir: Path, sandbox: Sandbox
) -> None:
    """A wrong secret, project, key or license is said, and nothing is connected afterwards."""
    assert_refused(mixpanel(cli, data_dir, sandbox.url, secret="wrong"), "401", "secret")
    assert_refused(mixpanel(cli, data_dir, sandbox.url, project=4), "project 4")
    assert_refused(webengage(cli, data_dir, sandbox.url, key="wrong"), "401", "API key")
    assert_refused(webengage(cli, data_dir, sandbox.url, code="wrong"), "license code")
    assert_refused(cli(data_dir, "cohorts"), "No Mixpanel project is connected")


def test_connect_when_the_host_is_unknown_sends_no_request(cli: Cli, data_dir: Path) -> None:
    """Credentials go to the known regions and to this machine only."""
    for host in ("http://example.com", "https://mixpanel.com.example.com", "http://127.0.0.1@example.com", "mars", ""):
        assert_refused(mixpanel(cli, data_dir, host), "region")
        assert_refused(webengage(cli, data_dir, host), "data center")


def test_connect_when_the_role_is_below_admin_is_refused(cli: Cli, data_dir: Path, sandbox: Sandbox) -> None:
    """An analyst's service account is refused with the role Mixpanel named."""
    assert_refused(
        mixpanel(cli, data_dir, sandbox.url, username=ANALYST_USERNAME, secret=ANALYST_SECRET), "admin", "analyst"
    )


@pytest.mark.parametrize(("username", "secret"), [(CUSTOM_USERNAME, CUSTOM_SECRET), (BLIND_USERNAME, BLIND_SECRET)])
def test_connect_when_the_role_cannot_be_verified_says_so(
    cli: Cli, data_dir: Path, sandbox: Sandbox, username: str, secret: str
) -> None:
    """A custom role, or one Mixpanel does not show, connects with the words not verified."""
    done = mixpanel(cli, data_dir, sandbox.url, username=username, secret=secret)
    assert done.returncode == 0 and "not verified" in done.stdout, done.stderr


def test_export_when_the_cohort_cannot_be_exported_gives_the_reason(connected: Workspace, sandbox: Sandbox) -> None:
    """An unknown, a deleted and a group cohort each get their reason, and no sync is left behind."""
    group = sandbox.add_cohort("Companies", [member("acme")], data_group_id="7")
    gone = sandbox.add_cohort("Gone", [member("a")])
    connected.read_json("cohorts")
    sandbox.delete_cohort(gone)
    assert_refused(connected.run_cli("export", "999999", "--mode", "dynamic"), "999999")
    assert_refused(connected.run_cli("export", str(gone), "--mode", "dynamic"), str(gone))
    assert_refused(connected.run_cli("export", str(group), "--mode", "dynamic"), "groups")
    assert connected.read_json("syncs") == []


def test_export_when_webengage_would_not_take_the_attribute_is_refused(connected: Workspace, sandbox: Sandbox) -> None:
    """Too long, reserved, empty, another cohort's or a user's field: refused before anything is written."""
    first, second = (sandbox.add_cohort(name, [member("a")]) for name in ("One", "Two"))
    connected.read_json("export", str(first), "--mode", "dynamic", "--attribute", "Taken")
    for name, word in (("x" * 50, "49"), ("we_fans", "we_"), ("", "name"), ("Taken", "already belongs to")):
        assert_refused(connected.run_cli("export", str(second), "--mode", "dynamic", "--attribute", name), word)
    assert_refused(connected.run_cli("export", str(first), "--mode", "dynamic", "--attribute", "Other"), "permanent")
    for name in ("email", "emailOptIn"):
        assert_refused(connected.run_cli("export", str(second), "--mode", "dynamic", "--attribute", name), "field")
    assert len(connected.read_json("syncs")) == 1


def test_a_command_when_used_wrongly_is_exit_2(connected: Workspace) -> None:
    """A missing or impossible option is usage, not refusal."""
    assert connected.run_cli("export", "1").returncode == 2
    assert connected.run_cli("export", "1", "--mode", "dynamic", "--every", "soon").returncode == 2
    assert connected.run_cli("export", "1", "--mode", "one-time", "--every", "2h").returncode == 2
    assert connected.run_cli("no-such-command").returncode == 2


def test_a_database_when_corrupt_is_named_and_not_changed(cli: Cli, data_dir: Path) -> None:
    """A file that is no database is neither overwritten nor opened."""
    (data_dir / "app.db").write_bytes(b"not a database at all, " * 100)
    before = (data_dir / "app.db").read_bytes()
    assert_refused(cli(data_dir, "syncs"), "app.db", "backup")
    assert (data_dir / "app.db").read_bytes() == before


def test_a_data_folder_when_unusable_is_named(cli: Cli, tmp_path: Path) -> None:
    """A file in the folder's place is named."""
    (tmp_path / "file").write_text("")
    assert_refused(cli(tmp_path / "file", "syncs"), "file", "COHORT_SYNC_DATA")


def test_a_key_when_damaged_missing_or_wrong_asks_to_connect_again(
    cli: Cli, connected: Workspace, sandbox: Sandbox
) -> None:
    """Losing the key loses no sync; connecting again makes everything work, with a new key."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    connected.read_json("export", str(cohort), "--mode", "dynamic", "--wait")
    (connected.data_dir / "secret.key").write_text("cut\n")
    for done in (connected.run_cli("preview", str(cohort)), mixpanel(cli, connected.data_dir, sandbox.url)):
        assert_refused(done, "secret.key", "damaged", "move it away and connect again")
    (connected.data_dir / "secret.key").unlink()
    assert_refused(connected.run_cli("preview", str(cohort)), "secret.key", "connect again")
    assert_refused(
        connected.run_cli("export", str(cohort), "--mode", "dynamic", "--wait"), "secret.key", "connect again"
    )
    assert_refused(
        connected.run_cli("preview", str(cohort), COHORT_SYNC_KEY="another key of enough length"), "another key"
    )
    assert (
        mixpanel(cli, connected.data_dir, sandbox.url).returncode
        == webengage(cli, connected.data_dir, sandbox.url).returncode
        == 0
    )
    assert connected.read_json("preview", str(cohort))["identified"] == 1
    assert len(connected.read_json("syncs")) == 1


def test_a_run_when_access_is_denied_pauses_its_sync(connected: Workspace, sandbox: Sandbox) -> None:
    """A 401 in the middle fails the run, pauses the sync with the setting to correct, and removes nobody."""
    cohort = sandbox.add_cohort("Fans", [member(f"fan-{number}") for number in range(60)])
    connected.read_json("export", str(cohort), "--mode", "dynamic", "--wait")
    sandbox.fault("status", api="webengage", path="bulk-users", code=401, times=1)
    sandbox.set_members(cohort, [member("fan-1")])
    sandbox.fault("status", api="mixpanel", path="engage", code=403, times=1)
    assert_refused(connected.run_cli("export", str(cohort), "--mode", "dynamic", "--wait"), "403")
    [sync] = connected.read_json("syncs")
    assert sync["state"] == "paused" and "403" in sync["reason"]
    assert len(sandbox.holding("Mixpanel - Fans")[0]) == 60


def test_a_run_when_the_key_is_lost_fails_and_pauses_its_sync(
    connected: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """A key lost while a run is queued fails the run and pauses the sync with the reason; it is not tried for ever."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    connected.read_json("export", str(cohort), "--mode", "dynamic")
    (connected.data_dir / "secret.key").unlink()
    assert runner_process(connected.data_dir, "--once").wait(60) == 0
    [run] = connected.read_json("runs")
    [sync] = connected.read_json("syncs")
    assert (run["state"], sync["state"]) == ("failed", "paused") and "secret.key" in run["error"] == sync["reason"]


def on_a_full_disk(folder: Path, size: int, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command while no file may grow beyond a size, the write-ahead log neither."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); "
        f"from {module} import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", limited, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COHORT_SYNC_DATA": str(folder)},
    )


def test_a_command_when_the_disk_is_full_prints_one_sentence(connected: Workspace, sandbox: Sandbox) -> None:
    """When the database cannot grow, nothing is half-written and there is one sentence, from the runner too."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    connected.read_json("cohorts")
    assert_refused(
        on_a_full_disk(connected.data_dir, 4096, "sync.cli.commands", "export", str(cohort), "--mode", "dynamic"),
        "database",
        "disk",
    )
    with connected.open() as service:
        # A log that is longer than its limit: it opens, and then nothing can be written.
        for days in itertools.count(1):
            service.admin.set_retention(rejections=days)
            if (connected.data_dir / "app.db-wal").stat().st_size >= 40_000:
                break
        assert_refused(on_a_full_disk(connected.data_dir, 36_864, "sync.runner", "--once"), "database", "disk")
    assert connected.read_json("syncs") == []


@pytest.mark.slow
def test_an_export_when_25_attributes_exist_is_refused(connected: Workspace, sandbox: Sandbox) -> None:
    """WebEngage would drop its values without a word, so the export is refused before anything is written."""
    cohorts = [sandbox.add_cohort(f"Cohort {number}", [member("a")]) for number in range(26)]
    with connected.open() as service:
        for cohort in cohorts[:25]:
            service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.ONE_TIME))
        with pytest.raises(InvalidRequest, match="25 of this type"):
            service.syncs.start_export(PROJECT, cohorts[25], ExportTerms(mode=Mode.ONE_TIME))
        assert service.syncs.start_export(PROJECT, cohorts[0], ExportTerms(mode=Mode.DYNAMIC)).started is False
        assert len(service.syncs.list()) == 25


@pytest.mark.parametrize("command", ["run", "pause", "stop", "cancel", "approve", "retry", "preview"])
def test_a_command_when_the_number_is_unknown_is_refused(connected: Workspace, command: str) -> None:
    """A number too large for the database is unknown like any other."""
    assert_refused(connected.run_cli(command, "9" * 30, "--json"))


@pytest.mark.parametrize(
    "arguments", [("syncs", "--project", "43"), ("runs", "--project", "43"), ("runs", "--sync", "9")]
)
def test_a_listing_when_the_project_or_sync_is_unknown_is_refused(
    connected: Workspace, arguments: tuple[str, ...]
) -> None:
    """An empty list would say that there is such a project or sync, and nothing in it."""
    assert_refused(connected.run_cli(*arguments), arguments[-1])


def test_forget_when_the_id_is_empty_is_refused(connected: Workspace) -> None:
    """Nobody has an empty id; it would be found in every stored preview."""
    assert_refused(connected.run_cli("forget", " "), "User ID")


def test_backup_when_the_folder_is_missing_gives_the_reason_without_the_draft(
    connected: Workspace, tmp_path: Path
) -> None:
    """The sentence has no number of an error and no name of the unfinished copy."""
    done = connected.run_cli("backup", str(tmp_path / "none" / "copy.db"))
    assert_refused(done, "could not be written (No such file or directory).")


def test_a_command_when_a_number_is_out_of_range_is_refused(cli: Cli, data_dir: Path) -> None:
    """An impossible project or length of a list is refused before any request is sent."""
    for project in (0, -1, 2**63):
        assert_refused(mixpanel(cli, data_dir, "us", project=project), "project id")
    for limit in ("-1", "0", "9" * 30):
        assert (
            cli(data_dir, "runs", "--limit", limit).returncode
            == cli(data_dir, "audit", "--limit", limit).returncode
            == 2
        )


def test_connect_without_a_terminal_reads_a_pipe_or_names_the_variable(
    cli: Cli, data_dir: Path, sandbox: Sandbox
) -> None:
    """With no input the sentence names the variable; a line piped in is used without a warning."""
    assert_refused(mixpanel(cli, data_dir, sandbox.url, secret=""), "MIXPANEL_SECRET")
    command = [
        sys.executable,
        "-m",
        "sync",
        "connect",
        "mixpanel",
        "--project-id",
        str(PROJECT),
        "--username",
        USERNAME,
        "--region",
        sandbox.url,
    ]
    env = {name: value for name, value in os.environ.items() if name != "MIXPANEL_SECRET"} | {
        "COHORT_SYNC_DATA": str(data_dir)
    }
    closed = subprocess.run(
        ["sh", "-c", f"{shlex.join(command)} <&-"], env=env, capture_output=True, text=True, check=False
    )
    assert_refused(closed, "MIXPANEL_SECRET")
    piped = subprocess.run(command, env=env, input=f"{SECRET}\n", capture_output=True, text=True, check=False)
    assert (piped.returncode, piped.stderr) == (0, "")


def test_connect_when_credentials_hold_any_letters_is_only_refused(cli: Cli, data_dir: Path, sandbox: Sandbox) -> None:
    """Letters beyond Latin reach Mixpanel, which refuses them; what cannot be shown is not sent at all."""
    assert_refused(mixpanel(cli, data_dir, sandbox.url, secret="süß☃"), "401")
    assert_refused(mixpanel(cli, data_dir, sandbox.url, username="☃"), "401")
    assert_refused(mixpanel(cli, data_dir, sandbox.url, secret="a\nb"), "secret", "copy it again")
    assert_refused(mixpanel(cli, data_dir, sandbox.url, secret="\udcff"), "secret", "copy it again")


def test_export_when_two_properties_have_one_attribute_is_refused(connected: Workspace, sandbox: Sandbox) -> None:
    """The last one would win without a word; nothing is exported instead."""
    cohort = sandbox.add_cohort("Fans", [member("a", x=1, y=2)])
    assert_refused(
        connected.run_cli("export", str(cohort), "--mode", "dynamic", "--map", "x=Score", "--map", "y=Score"), "Score"
    )
    assert connected.read_json("syncs") == []


def test_an_argument_when_not_utf8_is_wrong_usage(cli: Cli, data_dir: Path) -> None:
    """Broken bytes are refused before they are stored, where they would fail in the middle of a run."""
    for arguments in (("forget", "\udcff"), ("export", "1", "--mode", "dynamic", "--map", "\udcff=email")):
        done = cli(data_dir, *arguments)
        assert done.returncode == 2 and "UTF-8" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_command_when_stdout_cannot_be_written_prints_one_sentence(data_dir: Path) -> None:
    """A full disk behind stdout is one sentence; a reader that left early is none."""
    command = f"{sys.executable} -m sync status --json"
    env = os.environ | {"COHORT_SYNC_DATA": str(data_dir)}
    full = subprocess.run(["sh", "-c", f"{command} > /dev/full"], env=env, capture_output=True, text=True, check=False)
    assert_refused(full, "could not be written")
    left = subprocess.run(["sh", "-c", f"{command} | true"], env=env, capture_output=True, text=True, check=False)
    assert left.stderr == ""


def test_a_command_when_a_table_is_damaged_names_the_restore(
    connected: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The file opens, but one of its tables does not: every command says so, and a backup brings all of it back."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    connected.read_json("export", str(cohort), "--mode", "dynamic")
    assert connected.run_cli("backup", str(tmp_path / "good.db")).returncode == 0
    with closing(sqlite3.connect(connected.data_dir / "app.db")) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        [page] = db.execute("select rootpage from sqlite_master where name = 'cohort'").fetchone()
        [size] = db.execute("pragma page_size").fetchone()
    with (connected.data_dir / "app.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    for command in (("cohorts",), ("preview", str(cohort)), ("export", str(cohort), "--mode", "dynamic", "--wait")):
        assert_refused(connected.run_cli(*command), "damaged", "restore")
    connected.read_json("restore", str(tmp_path / "good.db"))
    assert [one["id"] for one in connected.read_json("cohorts")] == [cohort]


def test_a_database_when_of_a_newer_version_is_not_changed(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    """Neither opened nor restored: an older version would not keep what the newer one knows."""
    assert cli(data_dir, "backup", str(tmp_path / "newer.db")).returncode == 0
    with sqlite3.connect(tmp_path / "newer.db") as db:
        db.execute("insert into _sqlite_migrations (migration_set, name) values ('cohort-sync', 'of_tomorrow')")
    assert_refused(cli(data_dir, "restore", str(tmp_path / "newer.db")), "newer version")
    assert cli(data_dir, "status").returncode == 0
    (tmp_path / "newer.db").rename(data_dir / "app.db")
    assert_refused(cli(data_dir, "status"), "newer version")


def test_the_runner_when_the_log_level_is_unknown_prints_one_sentence(data_dir: Path) -> None:
    """The runner names the variable and what it may be."""
    done = subprocess.run(
        [sys.executable, "-m", "sync.runner", "--once"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COHORT_SYNC_DATA": str(data_dir), "COHORT_SYNC_LOG": "loud"},
    )
    assert_refused(done, "COHORT_SYNC_LOG", "INFO")


def test_every_command_takes_a_project(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    """Scripts may pass --project everywhere, also where nothing depends on it."""
    for arguments in (("status",), ("audit",), ("purge",), ("retention",), ("backup", str(tmp_path / "copy.db"))):
        assert cli(data_dir, *arguments, "--project", "42", "--json").returncode == 0
    for arguments in (
        ("mixpanel", "--project-id", "42", "--username", "x", "--region", "moon"),
        ("webengage", "--license-code", "x", "--data-center", "mars"),
    ):
        done = cli(data_dir, "connect", *arguments, "--project", "42", MIXPANEL_SECRET="x", WEBENGAGE_API_KEY="x")
        assert_refused(done, arguments[-1])
