"""The main job through the command line: real commands, a real database, both APIs over HTTP."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Cli, RunnerProcess
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, anonymous, member

ATTRIBUTE = "Mixpanel - Fans"
PEOPLE = [member(f"fan-{number}", **{"$email": f"fan{number}@example.com"}) for number in range(60)]


@pytest.fixture
def connected(cli: Cli, data_dir: Path, sandbox: Sandbox) -> Path:
    """A data folder connected to the sandbox on both sides."""
    mixpanel = cli(
        data_dir,
        "connect",
        "mixpanel",
        "--project-id",
        str(PROJECT),
        "--username",
        USERNAME,
        "--region",
        sandbox.url,
        MIXPANEL_SECRET=SECRET,
    )
    webengage = cli(
        data_dir,
        "connect",
        "webengage",
        "--license-code",
        LICENSE,
        "--data-center",
        sandbox.url,
        WEBENGAGE_API_KEY=API_KEY,
    )
    assert (mixpanel.returncode, webengage.returncode) == (0, 0), mixpanel.stderr + webengage.stderr
    return data_dir


def answer(cli: Cli, folder: Path, *arguments: str) -> Any:
    """Run a command with --json and read its one document."""
    done = cli(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def export(cli: Cli, folder: Path, cohort: int, mode: str = "dynamic") -> dict[str, Any]:
    """Export a cohort, wait for its end and answer the run."""
    started = answer(cli, folder, "export", str(cohort), "--mode", mode, "--wait")
    run: dict[str, Any] = answer(cli, folder, "run", str(started["run_id"]))
    return run


def bulk_calls(sandbox: Sandbox) -> int:
    """How many batches WebEngage was sent."""
    return sandbox.meter().requests.get(f"/v1/accounts/{LICENSE}/bulk-users", 0)


def test_exactly_the_identified_members_arrive(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """After an export WebEngage holds true for everyone with a profile and a sendable id, and for nobody else."""
    strange = [member("zoë ☃"), member(" spaced "), member("x" * 101), member("$device:owns-a-profile")]
    cohort = sandbox.add_cohort("Fans", [*PEOPLE, *strange, anonymous("a1"), anonymous("$device:d1")])
    run = export(cli, connected, cohort, "one-time")
    assert sandbox.holding(ATTRIBUTE) == (sandbox.exportable(cohort), set())
    assert (run["state"], run["entered"], run["invalid"]) == ("succeeded", 62, 1)


def test_a_second_export_tells_leavers_and_newcomers_only(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """Who left is told false, who came is told true, and nobody else is sent again."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort)
    before = sandbox.meter().users_delivered
    sandbox.set_members(cohort, [*PEOPLE[5:], member("new-1"), member("new-2")])
    run = export(cli, connected, cohort)
    assert (run["entered"], run["updated"], run["exited"]) == (2, 0, 5)
    assert sandbox.meter().users_delivered - before == 7
    assert sandbox.holding(ATTRIBUTE) == (sandbox.exportable(cohort), {f"fan-{number}" for number in range(5)})


def test_an_unchanged_cohort_sends_nobody(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """A refresh without news makes no call to WebEngage."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort)
    before = bulk_calls(sandbox)
    run = export(cli, connected, cohort)
    assert (run["state"], run["unchanged"], bulk_calls(sandbox)) == ("succeeded", 60, before)


def test_a_member_who_loses_the_profile_leaves(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """Only identified members are in; one who becomes anonymous is told false."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort)
    sandbox.set_members(cohort, [*PEOPLE[1:], anonymous("fan-0")])
    export(cli, connected, cohort)
    assert sandbox.holding(ATTRIBUTE)[1] == {"fan-0"}


def test_a_one_time_export_is_never_refreshed(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """Once it succeeded, no runner touches it again."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort, "one-time")
    [sync] = answer(cli, connected, "syncs")
    assert (sync["state"], sync["next_run_at"]) == ("finished", None)


def test_a_dynamic_export_is_refreshed_when_due(
    cli: Cli, connected: Path, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """A runner started after five missed beats makes one refresh, and the next beat lies on the old grid."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort)
    sandbox.set_members(cohort, PEOPLE[:50])
    with sqlite3.connect(connected / "app.db") as db:
        db.execute("update sync set schedule_anchor = schedule_anchor - 37000, next_run_at = next_run_at - 37000")
    assert runner_process(connected, "--once").wait(60) == 0
    runs = answer(cli, connected, "runs")
    [sync] = answer(cli, connected, "syncs")
    with sqlite3.connect(connected / "app.db") as db:
        [anchor] = db.execute("select schedule_anchor from sync").fetchone()
    assert [run["purpose"] for run in runs] == ["refresh", "export"]
    assert (sync["next_run_at"] - anchor) % 7200 == pytest.approx(0, abs=1e-3)
    assert len(sandbox.holding(ATTRIBUTE)[0]) == 50


def test_a_held_run_waits_for_a_yes(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """When Mixpanel suddenly returns nobody, nobody is told they left until a person approves."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort)
    sandbox.set_members(cohort, [])
    held = cli(connected, "export", str(cohort), "--mode", "dynamic", "--wait")
    assert held.returncode == 1 and "returned nobody" in held.stderr
    assert len(sandbox.holding(ATTRIBUTE)[0]) == 60
    answer(cli, connected, "approve", "2")
    export(cli, connected, cohort)
    assert sandbox.holding(ATTRIBUTE) == (set(), {f"fan-{number}" for number in range(60)})


def test_stop_and_clear_tells_everyone_false(
    cli: Cli, connected: Path, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Stopping with --clear takes everyone out of the segment and ends the sync."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort)
    answer(cli, connected, "stop", "1", "--clear")
    assert runner_process(connected, "--once").wait(60) == 0
    assert sandbox.holding(ATTRIBUTE)[0] == set()
    assert answer(cli, connected, "syncs")[0]["state"] == "finished"


def test_pause_and_resume(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """A paused sync says why and needs a person; resuming queues what it missed."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort)
    answer(cli, connected, "pause", "1")
    assert answer(cli, connected, "syncs")[0]["reason"] == "Paused by a person."
    assert cli(connected, "status").returncode == 1
    answer(cli, connected, "resume", "1")
    assert answer(cli, connected, "syncs")[0]["state"] == "active"
    assert [run["state"] for run in answer(cli, connected, "runs")] == ["queued", "succeeded"]


def test_two_exports_at_once_are_one_run(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """Asked again while a run is queued, the same run is answered and `started` says so."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    first = answer(cli, connected, "export", str(cohort), "--mode", "dynamic")
    second = answer(cli, connected, "export", str(cohort), "--mode", "dynamic")
    assert (first["run_id"], first["started"], second["started"]) == (second["run_id"], True, False)


def test_rejected_people_stand_alone_with_the_reason(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """One poison user costs nobody else their place, is named with WebEngage's words, and is not sent again."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    sandbox.poison("fan-7")
    run = export(cli, connected, cohort)
    assert (run["rejected"], run["delivered"]) == (1, 59)
    assert [(one["user_id"], "invalid user" in one["reason"]) for one in run["refusals"]] == [("fan-7", True)]
    before = bulk_calls(sandbox)
    export(cli, connected, cohort)
    assert bulk_calls(sandbox) == before
    sandbox.clear_faults()
    answer(cli, connected, "retry", "1")
    export(cli, connected, cohort)
    assert sandbox.holding(ATTRIBUTE)[0] == sandbox.exportable(cohort)


def test_mapped_properties_travel_and_changes_update(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """A property mapped on purpose arrives as the WebEngage field, and a new value is an update of one person."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    answer(cli, connected, "export", str(cohort), "--mode", "dynamic", "--map", "$email=email", "--wait")
    changed = member("fan-3", **{"$email": "new@example.com"})
    sandbox.set_members(cohort, [changed if one == PEOPLE[3] else one for one in PEOPLE])
    run = export(cli, connected, cohort)
    profile = sandbox.profile("fan-3")
    assert profile is not None and profile["email"] == "new@example.com"
    assert (run["entered"], run["updated"], run["exited"]) == (0, 1, 0)


def test_a_property_sent_to_another_attribute_is_told_to_everybody(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """The values are the same, but WebEngage has never heard them under the new name."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    answer(cli, connected, "export", str(cohort), "--mode", "dynamic", "--map", "$email=email", "--wait")
    started = answer(cli, connected, "export", str(cohort), "--mode", "dynamic", "--map", "$email=Address", "--wait")
    assert answer(cli, connected, "run", str(started["run_id"]))["updated"] == len(PEOPLE)
    profile = sandbox.profile("fan-3")
    assert profile is not None and profile["attributes"]["Address"] == "fan3@example.com"


def test_a_preview_counts_who_would_enter_and_leave(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """For a cohort exported before, the preview says the difference; after the next export it no longer does."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    export(cli, connected, cohort)
    sandbox.set_members(cohort, [*PEOPLE[3:], member("new")])
    found = answer(cli, connected, "preview", str(cohort), "--fresh")
    assert (found["exported_before"], found["entering"], found["leaving"]) == (60, 1, 3)
    export(cli, connected, cohort)
    assert answer(cli, connected, "preview", str(cohort))["entering"] is None


def test_every_listing_is_one_json_document(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """With --json stdout is one document and nothing else, also when nothing is there."""
    cohort = sandbox.add_cohort("Fans", [*PEOPLE, anonymous("a1")])
    assert answer(cli, connected, "syncs") == answer(cli, connected, "runs") == []
    preview = answer(cli, connected, "preview", str(cohort))
    assert (preview["total"], preview["identified"], preview["anonymous"]) == (61, 60, 1)
    assert [(one["id"], one["name"], one["count"]) for one in answer(cli, connected, "cohorts")] == [
        (cohort, "Fans", 61)
    ]
    assert answer(cli, connected, "status")["runner"]["alive"] is False


def test_a_preview_costs_two_queries_and_none_when_fresh(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """The answer of a minute ago is shown again without asking Mixpanel."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    answer(cli, connected, "cohorts")
    asked = []
    for _ in range(2):
        answer(cli, connected, "preview", str(cohort))
        asked.append(sandbox.meter().requests["/api/query/engage"])
    assert asked == [2, 2]


def test_ctrl_c_ends_the_waiting_and_lets_the_run_go(
    cli: Cli, connected: Path, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Interrupted while it carries the run itself, the command is soon gone, and the next runner goes on."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    sandbox.fault("slow", path="/api/query/engage", ms=60_000, times=1)
    command = [sys.executable, "-m", "sync", "export", str(cohort), "--mode", "dynamic", "--wait"]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, env=os.environ | {"COHORT_SYNC_DATA": str(connected)}, stderr=subprocess.PIPE
    ) as waiting:
        deadline = time.monotonic() + 60
        while not any(run["requests"] for run in answer(cli, connected, "runs")):
            assert time.monotonic() < deadline and waiting.poll() is None
            time.sleep(0.05)
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate(timeout=30)[1]
    assert waiting.returncode == 1 and "Stopped waiting" in said and len(said.splitlines()) == 1, said
    assert runner_process(connected, "--once").wait(60) == 0
    assert answer(cli, connected, "runs")[0]["state"] == "succeeded"
