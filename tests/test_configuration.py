"""The configuration as a file: written, read with the line of every mistake, shown, and applied once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sync.cadence import DailyTime, find_end, find_moment
from sync.config_file.parsing import parse_configuration
from sync.config_file.writing import write_configuration
from sync.guards import GuardLimits
from sync.model import Mode, SyncState
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import ATTRIBUTE, ROOT, Workspace, make_fans

EXAMPLE = ROOT / "docs" / "example.yaml"


def test_the_example_when_read_says_what_its_comments_promise(tmp_path: Path) -> None:
    """The documented example is a whole, valid file; written and read again it is the same."""
    found = parse_configuration(EXAMPLE.read_bytes())
    first, daily, second = found.syncs
    assert daily.daily == DailyTime("07:30", "Europe/Berlin", "mon,tue,wed,thu,fri")
    assert daily.ends_at == find_end("2027-03-31", "Europe/Berlin")
    assert daily.resume_at == find_moment("2027-01-07 07:00", "UTC")
    assert (first.interval, first.mapping) == (7200.0, (("$email", "email"), ("plan", "Plan")))
    assert (second.mode, second.interval) == (Mode.ONE_TIME, None)
    assert [one.file for one in (*found.never_export, *found.tripwires)] == ["never-export.csv", "tripwires.csv"]
    again = parse_configuration(write_configuration(found).encode())
    assert [(one.cohort, one.interval, one.daily, one.ends_at, one.resume_at) for one in again.syncs] == [
        (one.cohort, one.interval, one.daily, one.ends_at, one.resume_at) for one in found.syncs
    ]


def test_the_example_when_applied_as_its_first_line_says_shows_what_would_change(workspace: Workspace) -> None:
    """The files it names are beside it, so whoever tries it first reads a plan."""
    assert "`python -m sync apply docs/example.yaml`" in EXAMPLE.read_text(encoding="utf-8").splitlines()[0]
    texts = [one["text"] for one in apply_file(workspace, EXAMPLE)["changes"]]
    assert any("never-export.csv" in one for one in texts) and any("tripwires.csv" in one for one in texts)
    assert sum(one.startswith("Export cohort") for one in texts) == 2


def apply_file(workspace: Workspace, file: Path, *options: str, **environment: str) -> Any:
    """Apply a file and return the one document of the answer."""
    done = workspace.run_command("apply", str(file), *options, "--json", **environment)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def write_file(folder: Path, sandbox: Sandbox, cohort: int, more: str = "") -> Path:
    """Write a file of the sandbox's project, its account, one sync, and what is given."""
    file = folder / "sync.yaml"
    file.write_text(
        f"""
version: 1
accounts:
  - {{license_code: {LICENSE}, data_center: "{sandbox.url}"}}
projects:
  - {{id: {PROJECT}, username: "{USERNAME}", region: "{sandbox.url}", account: {LICENSE}}}
syncs:
  - project: {PROJECT}
    cohort: {cohort}
    attribute: {ATTRIBUTE}
    mode: dynamic
    every: 6h
    state: active
    mapping: [{{property: $email, attribute: email}}]
    guard: {{add_people: 500}}
{more}
""",
        encoding="utf-8",
    )
    return file


def test_a_file_when_applied_to_an_empty_database_makes_all_of_it_and_the_second_time_nothing(
    workspace: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Accounts, projects, lists and syncs are there after one application; nobody on the list was sent."""
    cohort = sandbox.add_cohort("Fans", make_fans(12))
    (tmp_path / "never.csv").write_text("user_id\nfan-1\nfan-2\n", encoding="utf-8")
    lists = f"never_export:\n  - {{account: {LICENSE}, file: never.csv}}\n"
    file = write_file(tmp_path, sandbox, cohort, lists)
    shown = apply_file(workspace, file)
    assert (shown["applied"], len(shown["changes"])) == (False, 6)
    refused = workspace.run_command("apply", str(file), "--yes")
    assert refused.exit_code == 1 and "Line 6: this needs a secret; set MIXPANEL_SECRET" in str(refused.exception)
    apply_file(workspace, file, "--yes", MIXPANEL_SECRET=SECRET, WEBENGAGE_API_KEY=API_KEY)
    assert "Nothing to change." in workspace.run_command("apply", str(file), "--yes").output
    workspace.run_queued()
    assert apply_file(workspace, file, "--yes")["changes"] == []
    assert sandbox.holding(ATTRIBUTE)[0] == sandbox.exportable(cohort) - {"fan-1", "fan-2"}
    with workspace.open() as service:
        (sync,) = service.syncs.list()
        assert (sync.interval_seconds, service.guards.get(sync.id).limits) == (21600.0, GuardLimits(add_people=500))
        actions = [line.action for line in service.admin.list_audit(20)]
    assert {"connect Mixpanel", "connect WebEngage", "never-export add", "export", "guard"} <= set(actions)


def test_a_configuration_when_exported_has_no_secret_and_changes_nothing_when_applied(
    connected: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """What was written is what is there, whatever the names are, also for paused, finished and one-time syncs."""
    cohorts = [connected.add_cohort(3, name) for name in ("Fans", "yes", "“: odd ☃ #", "null")]
    for cohort, mode in zip(cohorts, (Mode.DYNAMIC, Mode.DYNAMIC, Mode.DYNAMIC, Mode.ONE_TIME), strict=True):
        connected.export(cohort, mode)
    with connected.open() as service:
        service.syncs.change_interval(
            1, 7200.0, DailyTime.parse("07:30", "Asia/Kolkata"), find_end("2099-03-31", "UTC")
        )
        service.syncs.pause(2)
        service.syncs.stop(3)
        service.guards.lift(1)
        service.safety.add_never_export(LICENSE, ["secret-person"])
    written = connected.run_command("export-config").output
    assert SECRET not in written and API_KEY not in written and "secret-person" not in written
    assert f"account {LICENSE}: 1 person on the never-export list" in written
    file = tmp_path / "all.yaml"
    file.write_text(written, encoding="utf-8")
    assert apply_file(connected, file, "--yes") == {"changes": [], "notes": [], "applied": True}


def test_a_file_that_lists_people_who_stay_true_says_so(connected: Workspace, sandbox: Sandbox, tmp_path: Path) -> None:
    """A one-time export is not refreshed, so the list alone takes nobody out of it."""
    connected.export(connected.add_cohort(3, "Once"), Mode.ONE_TIME)
    (tmp_path / "never.csv").write_text("fan-1\n", encoding="utf-8")
    lists = f"never_export:\n  - {{account: {LICENSE}, file: never.csv}}\n"
    file = tmp_path / "lists.yaml"
    file.write_text("version: 1\n" + lists, encoding="utf-8")
    done = apply_file(connected, file, "--yes")
    assert done["notes"][0].startswith("Line 3: Still true in WebEngage for “Once”,")
    assert not [note for note in apply_file(connected, file, "--yes")["notes"] if "Still true" in note]


def test_a_changed_file_when_applied_changes_what_it_names(
    connected: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An interval alone starts no run, pausing and finishing send nothing, and what is not named stays."""
    cohort, other = connected.add_cohort(3, "Fans"), connected.add_cohort(3, "Others")
    connected.export(other)
    connected.export(cohort, mapping=(("$email", "email"),), interval=7200.0, attribute=ATTRIBUTE)
    file = write_file(tmp_path, sandbox, cohort)
    answer = apply_file(connected, file, "--yes")
    assert [one["text"] for one in answer["changes"]] == [
        f"Hold cohort {cohort} above 50 % and 500 people added, 20 % and 100 removed, "
        "instead of 50 % and 100 people added, 20 % and 100 removed.",
        "Refresh sync 2 every 6h, with $email as email instead of every 2h, with $email as email.",
    ]
    assert answer["notes"] == ["Not in the file, and left as they are: sync 1."]
    text = file.read_text(encoding="utf-8")
    for state, runs in (("paused", 2), ("active", 3), ("finished", 3)):
        file.write_text(text.replace("state: active", f"state: {state}"), encoding="utf-8")
        assert len(apply_file(connected, file, "--yes")["changes"]) == 1
        assert apply_file(connected, file, "--yes")["changes"] == []
        with connected.open() as service:
            assert (service.syncs.get(2).state.value, len(service.runs.list())) == (state, runs)
        connected.run_queued()
    assert apply_file(connected, file)["changes"] == []


def test_a_pause_when_the_file_ends_it_is_written_applied_once_and_over_after_its_time(
    connected: Workspace, tmp_path: Path
) -> None:
    """The end of a pause can be set and moved, comes back from export-config, and once past the sync is active."""
    connected.add_cohort(3)
    connected.export()
    file, now = tmp_path / "all.yaml", connected.now()
    active = connected.run_command("export-config").output
    for hours in (1, 2):
        moment = datetime.fromtimestamp(now + hours * 3600.0, UTC).isoformat(" ", "seconds")
        file.write_text(active.replace("state: active", f"state: paused\n  paused_until: {moment}"), encoding="utf-8")
        (change,) = apply_file(connected, file, "--yes")["changes"]
        assert change["text"].startswith("Pause sync 1 until 20")
        assert apply_file(connected, file)["changes"] == []
        with connected.open() as service:
            assert service.syncs.get(1).resume_at == int(now + hours * 3600.0)
    written = connected.run_command("export-config").output
    assert "paused_until" in written
    file.write_text(written, encoding="utf-8")
    assert apply_file(connected, file)["changes"] == []
    file.write_text(active.replace("state: active", "state: paused"), encoding="utf-8")  # says nothing about its end
    assert apply_file(connected, file)["changes"] == []
    connected.ahead = 3 * 3600.0
    with connected.open() as service:
        service.syncs.queue_due()
    with connected.open() as service:
        wanted = parse_configuration(written.encode())
        assert service.syncs.get(1).state is SyncState.ACTIVE
        assert service.configuration.plan(wanted, lambda _: []).changes == ()


def test_a_file_when_it_asks_for_what_cannot_be_is_refused_before_anything_changes(
    connected: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Another attribute, an unknown place or name, and a list whose file is missing each name their line."""
    cohort = connected.add_cohort(3)
    connected.export(attribute=ATTRIBUTE)
    for change, words in (
        (("attribute: Mixpanel - Fans", "attribute: Another"), "Line 8: the attribute of sync 1 is “Mixpanel - Fans”"),
        (
            (f"- project: {PROJECT}", "- project: 77"),
            "Line 8: project 77 is neither connected nor in the file; add it to the file, or connect it",
        ),
        (("guard: {", "account: elsewhere\n    guard: {"), "Line 8: account elsewhere is neither connected"),
        ((f'data_center: "{sandbox.url}"', "data_center: mars"), "Line 4: “mars” is not a WebEngage data center"),
        ((f'region: "{sandbox.url}"', "region: moon"), "Line 6: “moon” is not a Mixpanel region"),
        (("attribute: email", "attribute: emailOptIn"), "Line 8: “emailOptIn” is an opt-in"),
    ):
        file = write_file(tmp_path, sandbox, cohort)
        file.write_text(file.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
        assert words in str(connected.run_command("apply", str(file), "--yes").exception)
    for more, words in (
        (
            f"  - {{project: {PROJECT}, cohort: 9, mode: one-time, attribute: we_x}}\n",
            "Line 16: “we_x” begins with we_",
        ),
        (
            f"  - {{project: {PROJECT}, cohort: 9, mode: one-time, mapping: [{{property: a, attribute: smsOptIn}}]}}\n",
            "Line 16: “smsOptIn” is an opt-in",
        ),
    ):
        file = write_file(tmp_path, sandbox, cohort, more)
        assert words in str(connected.run_command("apply", str(file)).exception)
    file = write_file(tmp_path, sandbox, cohort, f"tripwires:\n  - {{project: {PROJECT}, file: nowhere.csv}}\n")
    refused = str(connected.run_command("apply", str(file), "--yes").exception)
    assert "Line 17" in refused and "cannot be read" in refused
    with connected.open() as service:
        assert service.guards.get(1).limits == GuardLimits()


def test_a_file_when_one_change_fails_says_how_many_were_made_and_goes_on_the_next_time(
    connected: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A cohort that Mixpanel does not list stops the file; mended and applied again, the rest is done."""
    cohort = connected.add_cohort(3)
    missing = f"  - {{project: {PROJECT}, cohort: 999, mode: one-time}}\n"
    file = write_file(tmp_path, sandbox, cohort, missing)
    refused = str(connected.run_command("apply", str(file), "--yes").exception)
    assert refused.startswith("Line 16:") and "2 of 3 changes were made" in refused
    write_file(tmp_path, sandbox, cohort)
    assert apply_file(connected, file, "--yes")["changes"] == []


def test_a_file_when_its_run_is_still_queued_has_nothing_more_to_change(
    connected: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """New properties are the sync's only once the run goes ahead; asked for is enough, and cancelled is not."""
    cohort = connected.add_cohort(3)
    connected.export(attribute=ATTRIBUTE, interval=21600.0)
    file = write_file(tmp_path, sandbox, cohort)
    changes = apply_file(connected, file, "--yes")["changes"]
    assert changes[-1]["text"] == "Change sync 1 from every 6h to every 6h, with $email as email, and export it."
    assert apply_file(connected, file, "--yes")["changes"] == []
    with connected.open() as service:
        service.runs.cancel(2)
    assert len(apply_file(connected, file, "--yes")["changes"]) == 1


def test_the_types_of_a_mapping_are_written_and_applied(connected: Workspace, tmp_path: Path) -> None:
    """What export-config writes changes nothing when applied; another type is a change, and one that is none an error."""
    connected.add_cohort(3)
    connected.export(mapping=(("$phone", "phone"), ("plan", "Plan")), forms=(("phone", "phone,DE"),))
    written = connected.run_command("export-config").stdout
    file = tmp_path / "all.yaml"
    file.write_text(written, encoding="utf-8")
    assert "type: phone,DE" in written and apply_file(connected, file)["changes"] == []
    file.write_text(written.replace("attribute: Plan", "attribute: Plan\n    type: text,joined"), encoding="utf-8")
    assert len(apply_file(connected, file, "--yes")["changes"]) == 1
    connected.run_queued()
    with connected.open() as service:
        assert dict(service.cohorts.propose_export(PROJECT, connected.cohort).forms)["Plan"] == "text,joined"
    assert apply_file(connected, file)["changes"] == []
    file.write_text(written.replace("type: phone,DE", "type: colour"), encoding="utf-8")
    assert "“type” is one of text, number" in str(connected.run_command("apply", str(file)).exception)


def test_a_guard_when_the_file_lifts_it_or_puts_it_back_changes_alone(
    connected: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each is one change without a run, and done once; a file that does not say it leaves the guard as it is."""
    cohort = connected.add_cohort(3)
    connected.export(mapping=(("$email", "email"),), interval=21600.0, attribute=ATTRIBUTE)
    file = write_file(tmp_path, sandbox, cohort)
    apply_file(connected, file, "--yes")
    text = file.read_text(encoding="utf-8")
    for lifted, done in (("true", "Lift the guard of"), ("false", "Put back the guard of")):
        file.write_text(text.replace("guard: {", f"guard: {{lifted: {lifted}, "), encoding="utf-8")
        assert [one["text"] for one in apply_file(connected, file, "--yes")["changes"]] == [f"{done} cohort {cohort}."]
        assert apply_file(connected, file, "--yes")["changes"] == []
        with connected.open() as service:
            assert service.guards.get(1).enabled is (lifted == "false") and len(service.runs.list()) == 1
    assert apply_file(connected, write_file(tmp_path, sandbox, cohort))["changes"] == []


def test_a_paused_sync_when_the_file_changes_what_it_sends_and_not_its_state_is_refused(
    connected: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Such a change exports the cohort, which nobody asked for while it is paused."""
    cohort = connected.add_cohort(3)
    connected.export(attribute=ATTRIBUTE)
    with connected.open() as service:
        service.syncs.pause(1)
    file = write_file(tmp_path, sandbox, cohort)
    file.write_text(file.read_text(encoding="utf-8").replace("state: active", "state: paused"), encoding="utf-8")
    refused = str(connected.run_command("apply", str(file), "--yes").exception)
    assert refused.startswith("Line 8: sync 1 is paused") and "write “state: active” as well" in refused
    with connected.open() as service:
        assert len(service.runs.list()) == 1 and service.syncs.get(1).interval_seconds == 7200.0
