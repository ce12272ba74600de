"""Output of commands for people: tables with headings and names, on any terminal; JSON stays JSON."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sync.cli import tables
from sync.cli.commands import main
from sync.model import Mode
from tests.sandbox.control import Sandbox, member
from tests.workspace import Workspace

NAME = "Zoë’s “Power” users ☃ (US) − trial_ended!"
Command = Callable[..., str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process, with standard output in an encoding; return what was written, as text."""

    def run(*arguments: str, encoding: str = "utf-8") -> str:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "argv", ["sync", *arguments])
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
        assert main() == 0
        return written.getvalue().decode(encoding)

    return run


@pytest.fixture
def exported(connected: Workspace, sandbox: Sandbox) -> Workspace:
    """Export a cohort of 30 people with an odd name once."""
    connected.cohort = sandbox.add_cohort(NAME, [member(f"fan-{number}") for number in range(30)])
    connected.export(mode=Mode.DYNAMIC)
    return connected


def test_listings_have_headings_and_the_names_of_cohorts(exported: Workspace, command: Command) -> None:
    """Cohorts, syncs, runs and a run name the cohort, the state and what changed, in the words of the pages."""
    shown = {name: command(*name.split()).splitlines() for name in ("cohorts", "syncs", "runs", "run 1", "accounts")}
    for name in ("cohorts", "syncs", "runs", "run 1"):
        assert NAME in shown[name][2], name
        assert set(shown[name][1]) == {"-", " "}, name
    assert shown["runs"][0].split() == ["Run", "Cohort", "State", "People", "Requested", "Problem"]
    assert "Succeeded" in shown["runs"][2] and "30 added" in shown["runs"][2]
    assert "Synced" in shown["syncs"][2] and "Dynamic" in shown["syncs"][2]
    assert command("audit").splitlines()[0].split() == ["When", "Who", "Action", "Target", "Before", "After"]


def test_listings_when_there_is_nothing_say_so(connected: Workspace, command: Command) -> None:
    """Without a row there is a sentence, and with --json an empty list."""
    assert command("syncs") == "Nothing has been exported yet.\n"
    assert command("runs") == "No run yet.\n"
    assert json.loads(command("runs", "--json")) == []


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "koi8-r"])
def test_commands_when_the_terminal_is_not_utf8_do_not_fail(
    encoding: str, exported: Workspace, command: Command
) -> None:
    """Every listing and `export --wait` is written, with near signs; JSON has every character."""
    for name in ("cohorts", "syncs", "runs", "run 1", "audit"):
        command(*name.split(), encoding=encoding)
    assert 's "Power" users \\u2603 (US) - trial_ended!' in command("runs", encoding="latin-1")
    assert "Succeeded" in command("export", str(exported.cohort), "--mode", "dynamic", "--wait", encoding=encoding)
    assert json.loads(command("cohorts", "--json", encoding=encoding))[0]["name"] == NAME


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["syncs", "status --json", "members COHORT", "members COHORT --json"])
def test_a_command_when_a_stream_is_closed_does_its_work(
    connected: Workspace, sandbox: Sandbox, arguments: str
) -> None:
    """Who closes a stream does not want to hear it, as with /dev/null; the other one says what it always does."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    command = f"{sys.executable} -m sync {arguments.replace('COHORT', str(cohort))}"
    env = os.environ | {"COHORT_SYNC_DATA": str(connected.data_dir)}
    for closed, is_heard in (("2>&-", True), (">&-", False), (">&- 2>&-", False)):
        done = subprocess.run(["sh", "-c", f"{command} {closed}"], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr, bool(done.stdout)) == (0, "", is_heard), closed


def test_a_table_when_the_terminal_is_narrow_wraps_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal each line fits; elsewhere each row is one line."""
    row = ("7", "A cohort with a long name", "The service account has no right to it; check the project.")
    rows = list(tables.format_table(("Run", "Cohort", "Problem"), [row], ""))
    assert len(rows) == 3 and row[2] in rows[2]
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((50, 20)))
        rows = list(tables.format_table(("Run", "Cohort", "Problem"), [row], ""))
    os.close(leader)
    assert max(map(len, rows)) <= 50
    assert sorted("".join(rows[2:]).split()) == sorted(" ".join(row).split())


@pytest.mark.parametrize("width", [80, 40])
def test_a_table_when_its_columns_would_be_too_narrow_lists_cell_below_cell(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Eight columns of a sync with a sentence: on a usual terminal the sentence had nine characters a line."""
    headings = ("Sync", "Cohort", "State", "Mode", "In WebEngage", "Next refresh", "Attribute", "Problem")
    problem = "Exports to more than 20 people need the approval of a second person, not only of the one who asked."
    row = ("15", "Customers", "Needs approval", "Dynamic", "0", "", "Mixpanel - Customers", problem)
    monkeypatch.setattr(tables, "_find_width", lambda: width)
    rows = list(tables.format_table(headings, [row, row], ""))
    assert max(map(len, rows)) <= width and not any("Next refresh" in line for line in rows)  # it has none
    assert " ".join(" ".join(rows).split()).count(problem) == 2
    assert [line for line in rows if line.startswith("State ")] == ["State         Needs approval"] * 2


def test_sentences_about_a_cohort_show_no_control_characters(
    connected: Workspace, sandbox: Sandbox, command: Command
) -> None:
    """A name that would clear the screen or turn the line around does neither in what is no table."""
    cohort = sandbox.add_cohort("Fans\x1b[2J\u202eVIP", [member("a")])
    connected.ahead = -86400.0
    connected.export(cohort)
    with connected.open() as service:
        service.safety.add_tripwires(None, cohort, ["a"])
    shown = [command(*words) for words in (("preview", str(cohort)), ("receipt", str(cohort)), ("person", "a"))]
    shown.append(connected.run_cli("status").stdout)
    assert all("VIP" in text for text in shown)
    assert not [text for text in shown if "\x1b" in text or "\u202e" in text]


def test_a_table_shows_no_control_characters() -> None:
    """A name that would clear the screen, or begin a new row, is text on one line."""
    [_, _, line] = tables.format_table(("Name",), [("\x1b[2Jred\n2  second",)], "")
    assert line == "[2Jred 2 second"


@pytest.mark.slow
def test_a_command_when_interrupted_while_it_loads_ends_without_a_traceback(connected: Workspace) -> None:
    """Loading takes a second, in which people notice a mistyped command; the shell sees that Ctrl-C ended it."""
    command = [sys.executable, "-m", "sync", "syncs"]
    env = os.environ | {"COHORT_SYNC_DATA": str(connected.data_dir)}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as loading:
        while "orjson" not in Path(f"/proc/{loading.pid}/maps").read_text(encoding="utf-8"):
            assert loading.poll() is None
        loading.send_signal(signal.SIGINT)
        said = loading.communicate(timeout=30)[1]
    assert loading.returncode and "Traceback" not in said, said
