"""Check what the commands say: true of an empty installation, whole, and in the words of the pages."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.cli.command_names import name_commands
from sync.cli.run_output import report_outcome
from sync.errors import CohortSyncError
from sync.guards import DRY_RUN
from sync.model import Mode, Run, RunState, format_utc_time
from sync.wording import RUN_STANDING
from tests.sandbox.control import PROJECT, SECRET, USERNAME
from tests.workspace import ROOT, Workspace


def say(workspace: Workspace, *arguments: str) -> str:
    """Run a command in this process and return what it says, of a refusal the sentence."""
    done = workspace.run_command(*arguments)
    return str(done.exception) if done.exception and not done.output else done.output


@pytest.mark.parametrize("group", [(), ("alerts",), ("webhooks",), ("never-export",), ("tripwire",), ("connect",)])
def test_help_of_a_group_has_whole_sentences(workspace: Workspace, group: tuple[str, ...]) -> None:
    """No line ends in three dots, where the half that was cut says what the command needs."""
    assert "..." not in say(workspace, *group, "--help").replace("[ARGS]...", "")


def list_sentences(folder: Path) -> Iterator[str]:
    """Yield the texts in the code of a folder, documentation aside; what is filled in is a number, 7."""
    for path in {*folder.rglob("*.py")} - {folder / "cli" / "command_names.py"}:
        tree = ast.parse(path.read_text("utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        aside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | aside:
                yield node.value


def test_what_names_a_page_names_the_command_when_a_command_says_it() -> None:
    """Who works at a terminal has no page called Integrations, and nothing to press; who works at the pages has both."""
    pages = re.compile("under Integrations|account there|[Pp]ress “|on its page|with use-account")
    said = [name_commands(one) for one in list_sentences(ROOT / "sync") if pages.search(one)]
    assert len(said) > 10 and not [one for one in said if pages.search(one) or "python -m sync" not in one]


def test_a_refusal_when_nothing_is_connected_names_the_command_that_connects(workspace: Workspace) -> None:
    """The runner stores its sentence in the words of the pages, and the pages refuse with the same services."""
    said = workspace.run_cli("cohorts").stderr
    assert said == "No Mixpanel project is connected yet; connect it with `python -m sync connect`.\n"


def test_rotate_key_when_nothing_is_stored_says_so(workspace: Workspace) -> None:
    """No secret was ever stored, so none has lost its key."""
    assert "No secret is stored yet" in say(workspace, "rotate-key")
    assert not (workspace.data_dir / "secret.key").exists()


def test_alert_times_when_nothing_is_set_say_so(workspace: Workspace) -> None:
    """Without quiet hours and digest there is no time, and no zone of it."""
    assert (
        say(workspace, "alerts", "times") == "Alerts do not wait: no quiet hours are set.\nNo daily digest is sent.\n"
    )
    said = say(workspace, "alerts", "times", "--quiet", "22:00-07:00", "--zone", "Europe/Berlin")
    assert "from 22:00 to 07:00." in said and "Times are those of Europe/Berlin." in said


def test_a_secret_when_it_is_missing_is_called_by_its_name(workspace: Workspace) -> None:
    """An address of alerts is no secret to whoever types it, and an API key is one of two."""
    account = ("--license-code", "a", "--data-center", "in")
    assert say(workspace, "alerts", "add").startswith("No address (URL) was given; set COHORT_SYNC_ALERT_URL")
    assert say(workspace, "connect", "webengage", *account).startswith("No API key was given; set WEBENGAGE_API_KEY")


def test_export_config_of_an_empty_installation_counts_nobody(workspace: Workspace) -> None:
    """No list follows “They hold”, so it is not said."""
    assert "They hold" not in say(workspace, "export-config")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (RunState.PULLING, "Run 1 is reading Mixpanel, so there is nothing to approve."),
        (RunState.SUCCEEDED, "Run 1 has succeeded, so there is nothing to approve."),
        (RunState.CANCELLED, "Run 1 was cancelled, so there is nothing to approve."),
    ],
)
def test_approve_when_nothing_is_held_says_in_words_what_the_run_does(
    fans: Workspace, state: RunState, words: str
) -> None:
    """In a sentence, and with the words of the pages, not of the database."""
    fans.start_export()
    with fans.open_database() as db:
        db.execute("update run set state = ?, finished_at = ?", (state.value, 1.0 if state.is_final else None))
    assert words in say(fans, "approve", "1")
    assert set(RUN_STANDING) == set(RunState)


def test_a_sync_that_webengage_refused_names_the_command_that_connects_again(fans: Workspace) -> None:
    """What the run stored is said in the words of whoever reads it."""
    fans.sandbox.fault("status", api="webengage", path="bulk-users", code=401)
    fans.export(mode=Mode.DYNAMIC)
    for command in ("syncs", "runs", "status"):
        assert "check the API key, and connect again with `python -m sync connect`" in fans.run_cli(command).stdout


def test_pause_when_a_failure_paused_the_sync_keeps_its_reason(fans: Workspace) -> None:
    """The reason says what to mend; pausing what is paused must not hide it."""
    fans.sandbox.fault("status", api="webengage", path="bulk-users", code=401)
    sync_id = fans.export(mode=Mode.DYNAMIC).sync_id
    assert "Done" in say(fans, "pause", str(sync_id))
    with fans.open() as service:
        assert "check the API key" in str(service.syncs.get(sync_id).pause_reason)
        service.syncs.pause(sync_id, fans.now() + 3600)
        service.syncs.pause(sync_id)  # for good, where it was until a time
        assert service.syncs.get(sync_id).pause_reason == "Paused by a person."


def test_waiting_for_a_run_that_is_put_off_says_when_it_goes_on(fans: Workspace) -> None:
    """“Is queued” and a limit alone leave open whether it has to be started again."""
    fans.sandbox.fault("status", api="mixpanel", path="/engage", code=429, retry_after=600)
    said = fans.run_cli("export", str(fans.cohort), "--mode", "one-time", "--wait").stderr
    assert re.search(r"^Run 1 is queued: .+[^.]\. A runner continues it at [0-9-]+ [0-9:]+ UTC or later\.$", said)
    assert re.search(r"[^.]; continues at [0-9-]+ [0-9:]+ UTC\n$", say(fans, "runs"))
    with fans.open_database() as db:
        db.execute("update run set not_before = 1")  # a time that has passed says nothing
    assert "continues at" not in say(fans, "runs")


def test_waiting_for_a_run_that_somebody_cancels_gives_no_reason_of_before(fans: Workspace) -> None:
    """Neither “was cancelled: it was cancelled”, nor why it was held."""
    run = fans.export(dry_run=True)
    with fans.open() as service:
        service.runs.cancel(run.id)
        with pytest.raises(CohortSyncError, match=r"^Run 1 was cancelled\.$"):
            report_outcome(service.runs.get(run.id), as_json=False)


def test_the_table_of_runs_when_a_held_run_went_ahead_has_no_problem(fans: Workspace) -> None:
    """What would have been is not said of what was done; its history has it."""
    run = fans.export(dry_run=True)
    assert "Dry run: nothing is sent" in say(fans, "runs")
    with fans.open() as service:
        service.runs.approve(run.id)
    fans.run_queued()
    assert "Succeeded" in say(fans, "runs") and "Dry run: nothing is sent" not in say(fans, "runs")


def test_the_table_of_syncs_has_the_states_of_the_pages_and_no_refresh_of_what_rests(fans: Workspace) -> None:
    """A paused sync has kept its time, but nothing happens then; a stopped one is not called finished here."""
    fans.export(mode=Mode.DYNAMIC)
    year = f"{format_utc_time(fans.now())[:4]}-"
    assert "Synced" in say(fans, "syncs") and year in say(fans, "syncs")
    say(fans, "pause", "1")
    assert "Paused" in say(fans, "syncs") and year not in say(fans, "syncs")
    say(fans, "stop", "1")
    assert "Stopped" in say(fans, "syncs") and "Stopped" in say(fans, "cohorts")


def test_status_says_what_the_operations_page_promises_of_it(fans: Workspace) -> None:
    """Queries left and free disk are there for whoever reads, not in the JSON alone."""
    fans.read_json("cohorts")
    words, answer = fans.run_cli("status").stdout, fans.read_json("status")
    [meter] = answer["meters"]
    assert f"Mixpanel queries left this hour: {meter['queries_left']} (project {PROJECT})." in words
    assert re.search(r"^Free disk: [0-9,]+ MB\.$", words, re.MULTILINE)


def test_status_when_something_needs_a_person_names_only_that(fans: Workspace) -> None:
    """Whoever reads it does not look for what is in order."""
    fans.export(dry_run=True)
    done = fans.run_cli("status")
    assert done.returncode == 1 and done.stderr == "Something needs a person: 1 held run.\n"


@pytest.mark.parametrize(("fault", "line"), [(418, "Failed: “Fans” (sync 1): "), (403, "Paused: “Fans” (sync 1): ")])
def test_status_when_a_sync_needs_a_person_names_it_with_the_reason(fans: Workspace, fault: int, line: str) -> None:
    """“1 failed” alone sends whoever reads it to another list."""
    fans.sandbox.fault("status", api="mixpanel", path="/engage", code=fault)
    fans.export(mode=Mode.DYNAMIC)
    assert re.search(rf"^{re.escape(line)}.*Mixpanel", fans.run_cli("status").stdout, re.MULTILINE)


def test_status_when_there_are_several_projects_names_that_of_each_sync(fans: Workspace) -> None:
    """Their cohorts may have the same names; with one project there is nothing to tell apart."""
    fans.export(mode=Mode.DYNAMIC)
    with fans.open_database() as db:
        db.execute("update sync set next_run_at = 1")
    assert "Overdue: “Fans” (sync 1) since" in fans.run_cli("status").stdout
    fans.sandbox.add_project(43, "Film Finder")
    with fans.open() as service:
        service.connections.connect_mixpanel(43, USERNAME, SECRET, fans.sandbox.url)
    assert f"Overdue: “Fans” (sync 1, project {PROJECT}) since" in fans.run_cli("status").stdout
    assert [one["project_id"] for one in json.loads(fans.run_cli("status", "--json").stdout)["overdue"]] == [PROJECT]
    fans.export(dry_run=True)
    assert f"Held: “Fans” (sync 1, project {PROJECT}, run 2): Dry run" in fans.run_cli("status").stdout
    say(fans, "pause", "1")
    assert f"Paused: “Fans” (sync 1, project {PROJECT}): Paused by a person." in fans.run_cli("status").stdout


def test_status_when_a_run_is_held_names_it_with_the_reason(fans: Workspace) -> None:
    """Its number is what `approve` asks for."""
    fans.export(dry_run=True)
    assert "Held: “Fans” (sync 1, run 1): Dry run: nothing is sent" in fans.run_cli("status").stdout


def test_a_run_that_failed_before_it_was_planned_is_not_called_unchanged(fans: Workspace) -> None:
    """“No changes” would mean that the cohort was compared."""
    fans.sandbox.fault("status", api="mixpanel", path="/engage", code=403)
    fans.export()
    assert "no changes" not in say(fans, "runs")


def test_commands_say_in_a_sentence_what_they_did(fans: Workspace) -> None:
    """A take-back is held and not started; a sync that is stopped is not finished before it is cleared."""
    fans.export(mode=Mode.DYNAMIC)
    assert say(fans, "pause", "1", "--until", "2099-01-07") == "Done: sync 1 is paused until 2099-01-07 00:00 UTC.\n"
    assert say(fans, "resume", "1") == "Done: sync 1 is resumed.\n"
    assert say(fans, "cancel", "2") == "Done: run 2 is cancelled.\n"
    fans.run_queued()
    said = say(fans, "undo", "1")
    assert "Run 3 plans to take back run 1, and is held then" in said and "started" not in said
    say(fans, "cancel", "3")
    fans.run_queued()
    assert say(fans, "stop", "1", "--clear") == "Done: sync 1 is stopped. Run 4 sets everyone to false.\n"


def test_the_command_guard_of_a_lifted_guard_does_not_say_that_its_limits_hold_a_run(fans: Workspace) -> None:
    """“A run is held when it adds more than 50 %” stood below “is lifted”; only nobody read is held then."""
    fans.export()
    assert "A run is held when it adds more than 50 %" in say(fans, "guard", "1")
    assert "Held also: a first export with over a fifth more people than its preview" in say(fans, "guard", "1")
    with fans.open() as service:
        service.guards.lift(1)
    said = say(fans, "guard", "1")
    assert "The guard of sync 1 is lifted: no number of people holds a run until it is put back (--reset)." in said
    assert "Held always: nobody was read." in said
    assert "A run is held when" not in said and "Held also" not in said


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"state": RunState.SUCCEEDED, "entered": 2}, "Succeeded: 2 added.\n"),
        (
            {"state": RunState.HELD, "steps_sent": 1, "held_reason": "1 was sent."},
            "1 was sent. Send the rest: approve 7. Take it back: undo 7.\n",
        ),
        (
            {"state": RunState.HELD, "held_reason": DRY_RUN, "planned": True, "entered": 2},
            "Planned: 2 to be added. Nothing is sent until a person approves: approve 7.\n",
        ),
    ],
)
def test_export_wait_says_what_became_of_the_run(
    numbers: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that succeeded, or is held as was asked for; with --json nothing is added to the document."""
    run = Run(**dict.fromkeys(Run.__slots__, 0) | {"id": 7} | numbers)
    report_outcome(run, as_json=True)
    assert capsys.readouterr().out == ""
    report_outcome(run, as_json=False)
    assert capsys.readouterr().out == said


def test_export_wait_fails_with_the_reason_of_a_run_that_is_held_or_failed() -> None:
    """Whoever waits in a script learns it by the exit code."""
    values = dict.fromkeys(Run.__slots__, 0) | {"id": 7, "state": RunState.HELD, "held_reason": "Too many."}
    with pytest.raises(CohortSyncError, match=r"Run 7 is held: Too many\."):
        report_outcome(Run(**values), as_json=False)
