"""The main job through the command line: real commands, a real database, both APIs over HTTP."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.conftest import RunnerProcess
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, anonymous, member
from tests.workspace import ATTRIBUTE, ROOT, Workspace, assert_refused, make_fans

PEOPLE = make_fans(60)


def bulk_calls(sandbox: Sandbox) -> int:
    """Return how many batches WebEngage was sent."""
    return sandbox.meter().requests.get(f"/v1/accounts/{LICENSE}/bulk-users", 0)


def test_an_export_when_some_members_are_anonymous_sends_the_identified_ones(
    connected: Workspace, sandbox: Sandbox
) -> None:
    """After an export WebEngage holds true for everyone with a profile and a sendable id, and for nobody else."""
    strange = [member("zoë ☃"), member(" spaced "), member("x" * 101), member("$device:owns-a-profile")]
    cohort = sandbox.add_cohort("Fans", [*PEOPLE, *strange, anonymous("a1"), anonymous("$device:d1")])
    run = connected.export_by_command(cohort, "one-time")
    assert sandbox.holding(ATTRIBUTE) == (sandbox.exportable(cohort), set())
    assert (run["state"], run["entered"], run["invalid"]) == ("succeeded", 62, 1)


def test_a_second_export_when_members_changed_sends_the_changes_only(connected: Workspace, sandbox: Sandbox) -> None:
    """Removed members get false, added ones true, and nobody else is sent again."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort)
    before = sandbox.meter().users_delivered
    sandbox.set_members(cohort, [*PEOPLE[5:], member("new-1"), member("new-2")])
    run = connected.export_by_command(cohort)
    assert (run["entered"], run["updated"], run["exited"]) == (2, 0, 5)
    assert sandbox.meter().users_delivered - before == 7
    assert sandbox.holding(ATTRIBUTE) == (sandbox.exportable(cohort), {f"fan-{number}" for number in range(5)})


def test_a_second_export_when_nothing_changed_sends_nobody(connected: Workspace, sandbox: Sandbox) -> None:
    """A refresh without news makes no call to WebEngage."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort)
    before = bulk_calls(sandbox)
    run = connected.export_by_command(cohort)
    assert (run["state"], run["unchanged"], bulk_calls(sandbox)) == ("succeeded", 60, before)


def test_a_member_when_the_profile_is_gone_is_removed(connected: Workspace, sandbox: Sandbox) -> None:
    """Only identified members are in; one who becomes anonymous gets false."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort)
    sandbox.set_members(cohort, [*PEOPLE[1:], anonymous("fan-0")])
    connected.export_by_command(cohort)
    assert sandbox.holding(ATTRIBUTE)[1] == {"fan-0"}


def test_a_one_time_export_when_done_is_never_refreshed(connected: Workspace, sandbox: Sandbox) -> None:
    """Once it succeeded, no runner touches it again."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort, "one-time")
    [sync] = connected.read_json("syncs")
    assert (sync["state"], sync["next_run_at"]) == ("finished", None)


def test_a_dynamic_export_when_due_is_refreshed_once(
    connected: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """A runner started after five missed refreshes makes one, and the next time keeps to the interval."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort)
    sandbox.set_members(cohort, PEOPLE[:50])
    with sqlite3.connect(connected.data_dir / "app.db") as db:
        db.execute("update sync set schedule_anchor = schedule_anchor - 37000, next_run_at = next_run_at - 37000")
    assert runner_process(connected.data_dir, "--once").wait(60) == 0
    runs = connected.read_json("runs")
    [sync] = connected.read_json("syncs")
    with sqlite3.connect(connected.data_dir / "app.db") as db:
        [anchor] = db.execute("select schedule_anchor from sync").fetchone()
    assert [run["purpose"] for run in runs] == ["refresh", "export"]
    assert (sync["next_run_at"] - anchor) % 7200 == pytest.approx(0, abs=1e-3)
    assert len(sandbox.holding(ATTRIBUTE)[0]) == 50


def test_a_run_when_mixpanel_returns_nobody_is_held_until_approved(connected: Workspace, sandbox: Sandbox) -> None:
    """When Mixpanel suddenly returns nobody, nobody is removed until a person approves."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort)
    sandbox.set_members(cohort, [])
    held = connected.run_cli("export", str(cohort), "--mode", "dynamic", "--wait")
    assert held.returncode == 1 and "returned nobody" in held.stderr
    assert len(sandbox.holding(ATTRIBUTE)[0]) == 60
    connected.read_json("approve", "2")
    connected.export_by_command(cohort)
    assert sandbox.holding(ATTRIBUTE) == (set(), {f"fan-{number}" for number in range(60)})


def test_a_dry_run_that_is_waited_for_is_done_when_it_is_planned(connected: Workspace, sandbox: Sandbox) -> None:
    """Held is what was asked for: exit 0 and the numbers; held for anything else besides, exit 1 with the reason."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    command = ("export", str(cohort), "--mode", "dynamic", "--dry-run", "--wait")
    planned = connected.run_cli(*command)
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "Planned: 60 to be added. Nothing is sent until a person approves: approve 1." in planned.stdout
    connected.read_json("cancel", "1")
    with connected.open() as service:
        service.safety.add_tripwires(PROJECT, None, ["fan-3"])
    held = connected.run_cli(*command)
    assert held.returncode == 1 and "Tripwire" in held.stderr
    assert sandbox.profile_count() == 0


def test_stop_when_clearing_sends_false_for_everyone(
    connected: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Stopping with --clear takes everyone out of the segment and ends the sync."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort)
    connected.read_json("stop", "1", "--clear")
    assert runner_process(connected.data_dir, "--once").wait(60) == 0
    assert sandbox.holding(ATTRIBUTE)[0] == set()
    assert connected.read_json("syncs")[0]["state"] == "finished"


def test_a_sync_when_paused_and_resumed_queues_what_it_missed(connected: Workspace, sandbox: Sandbox) -> None:
    """A paused sync has its reason and needs a person; resuming queues what it missed."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort)
    connected.read_json("pause", "1")
    assert connected.read_json("syncs")[0]["reason"] == "Paused by a person."
    assert connected.run_cli("status").returncode == 1
    connected.read_json("resume", "1")
    assert connected.read_json("syncs")[0]["state"] == "active"
    assert [run["state"] for run in connected.read_json("runs")] == ["queued", "succeeded"]


def test_an_export_when_one_is_queued_returns_the_same_run(connected: Workspace, sandbox: Sandbox) -> None:
    """Asked again while a run is queued, the same run is answered and `started` says so."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    first = connected.read_json("export", str(cohort), "--mode", "dynamic")
    second = connected.read_json("export", str(cohort), "--mode", "dynamic")
    assert (first["run_id"], first["started"], second["started"]) == (second["run_id"], True, False)


def test_a_person_when_rejected_is_listed_with_the_reason_and_costs_nobody_else(
    connected: Workspace, sandbox: Sandbox
) -> None:
    """One poison user costs nobody else their place, is listed with WebEngage's words, and is not sent again."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    sandbox.poison("fan-7")
    run = connected.export_by_command(cohort)
    assert (run["rejected"], run["delivered"]) == (1, 59)
    assert [(one["user_id"], "invalid user" in one["reason"]) for one in run["refusals"]] == [("fan-7", True)]
    before = bulk_calls(sandbox)
    connected.export_by_command(cohort)
    assert bulk_calls(sandbox) == before
    sandbox.clear_faults()
    connected.read_json("retry", "1")
    connected.export_by_command(cohort)
    assert sandbox.holding(ATTRIBUTE)[0] == sandbox.exportable(cohort)


def test_a_mapped_property_when_it_changes_updates_one_person(connected: Workspace, sandbox: Sandbox) -> None:
    """A property mapped on purpose arrives as the WebEngage field, and a new value is an update of one person."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.read_json("export", str(cohort), "--mode", "dynamic", "--map", "$email=email", "--wait")
    changed = member("fan-3", **{"$email": "new@example.com"})
    sandbox.set_members(cohort, [changed if one == PEOPLE[3] else one for one in PEOPLE])
    run = connected.export_by_command(cohort)
    profile = sandbox.profile("fan-3")
    assert profile is not None and profile["email"] == "new@example.com"
    assert (run["entered"], run["updated"], run["exited"]) == (0, 1, 0)


def test_a_property_when_mapped_to_another_attribute_updates_everybody(connected: Workspace, sandbox: Sandbox) -> None:
    """The values are the same, but WebEngage does not have them under the new name."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.read_json("export", str(cohort), "--mode", "dynamic", "--map", "$email=email", "--wait")
    started = connected.read_json("export", str(cohort), "--mode", "dynamic", "--map", "$email=Address", "--wait")
    assert connected.read_json("run", str(started["run_id"]))["updated"] == len(PEOPLE)
    profile = sandbox.profile("fan-3")
    assert profile is not None and profile["attributes"]["Address"] == "fan3@example.com"


def test_a_preview_when_exported_before_counts_who_would_enter_and_leave(
    connected: Workspace, sandbox: Sandbox
) -> None:
    """For a cohort exported before, the preview says the difference; after the next export it no longer does."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.export_by_command(cohort)
    sandbox.set_members(cohort, [*PEOPLE[3:], member("new")])
    found = connected.read_json("preview", str(cohort), "--fresh")
    assert (found["exported_before"], found["entering"], found["leaving"]) == (60, 1, 3)
    connected.export_by_command(cohort)
    assert connected.read_json("preview", str(cohort))["entering"] is None


def test_every_listing_with_json_is_one_document(connected: Workspace, sandbox: Sandbox) -> None:
    """With --json stdout is one document and nothing else, also when nothing is there."""
    cohort = sandbox.add_cohort("Fans", [*PEOPLE, anonymous("a1")])
    assert connected.read_json("syncs") == connected.read_json("runs") == []
    preview = connected.read_json("preview", str(cohort))
    assert (preview["total"], preview["identified"], preview["anonymous"]) == (61, 60, 1)
    assert [(one["id"], one["name"], one["count"]) for one in connected.read_json("cohorts")] == [(cohort, "Fans", 61)]
    assert connected.read_json("status")["runner"]["alive"] is False


def test_a_preview_costs_two_queries_and_none_when_fresh(connected: Workspace, sandbox: Sandbox) -> None:
    """The answer of a minute ago is shown again without asking Mixpanel."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    connected.read_json("cohorts")
    asked = []
    for _ in range(2):
        connected.read_json("preview", str(cohort))
        asked.append(sandbox.meter().requests["/api/query/engage"])
    assert asked == [2, 2]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_export_when_interrupted_while_waiting_leaves_the_run_to_the_next_runner(
    connected: Workspace, sandbox: Sandbox, runner_process: RunnerProcess, sign: signal.Signals
) -> None:
    """Interrupted while it executes the run itself, the command ends soon, and the next runner continues."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    sandbox.fault("slow", path="/api/query/engage", ms=60_000, times=1)
    command = [sys.executable, "-m", "sync", "export", str(cohort), "--mode", "dynamic", "--wait"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        env=os.environ | {"COHORT_SYNC_DATA": str(connected.data_dir)},
        stderr=subprocess.PIPE,
    ) as waiting:
        deadline = time.monotonic() + 60
        while not any(run["requests"] for run in connected.read_json("runs")):
            assert time.monotonic() < deadline and waiting.poll() is None
            time.sleep(0.05)
        waiting.send_signal(sign)
        said = waiting.communicate(timeout=30)[1]
    assert waiting.returncode == 1 and "Stopped waiting" in said and len(said.splitlines()) == 1, said
    assert runner_process(connected.data_dir, "--once").wait(60) == 0
    assert connected.read_json("runs")[0]["state"] == "succeeded"


def test_export_when_a_setting_is_wrong_queues_nothing_that_it_could_not_wait_for(
    connected: Workspace, sandbox: Sandbox
) -> None:
    """Who reads that a setting is wrong must not find the cohort exported by the next runner."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    command = ("export", str(cohort), "--mode", "dynamic", "--wait")
    for name in ("COHORT_SYNC_BATCHES_A_MINUTE", "COHORT_SYNC_PAGE_SIZE"):
        assert_refused(connected.run_cli(*command, **{name: "fast"}), name)
    assert connected.read_json("runs") == []
