"""Configuration files with mistakes, and hostile ones: one sentence each, with the line; killed half-way, it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.config_file.parsing import MAX_FILE_BYTES, parse_configuration
from sync.errors import InvalidRequest
from sync.guards import GuardLimits
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import ATTRIBUTE, Workspace, make_fans

PLACE = "\nsyncs:\n- {project: 42, cohort: 7, mode: dynamic"
MISTAKES = {
    "": "empty",
    "version: 1\nsyncs: [": "Line 2: this is not YAML",
    "- 1": "Line 1: the file must consist of names and values",
    "version: 2": "Line 1: this is version 2",
    "accounts: []": "Line 1: the file has no “version”",
    "version: 1\nsync: []": "Line 2: “sync” is not known in the file",
    "version: 1\nversion: 1": "Line 2: “version” is there twice",
    "version: 1\nsyncs: {}": "Line 2: “syncs” must be a list",
    "version: one": "Line 1: “version” must be a whole number",
    "version: true": "Line 1: “version” must be a whole number",
    "version: !!int x": "Line 1: “version” must be a whole number",
    "version: !!python/object:os.system {}": "Line 1: “version” must be a whole number",
    "version: 1\naccounts:\n- {license_code: 123, data_center: in}": "Line 3: “license_code” must be text in quotes, and",
    f"version: 1{PLACE}}}\n- {{project: 42, cohort: 7, mode: one-time}}": "Line 4: this entry of syncs is there twice",
    f"version: 1{PLACE},\n  every: 2}}": "Line 4: “every” must be text",
    f"version: 1{PLACE},\n  every: often}}": "Line 4: “often” is not an interval",
    f"version: 1{PLACE},\n  every: 2h, at: '07:30'}}": "Line 4: “every” and “at” do not go together",
    f"version: 1{PLACE}, at: 7:30}}": "Line 3: “at” must be text in quotes, and",
    f"version: 1{PLACE}, at: '07:30', zone: Mars}}": "Line 3: “Mars” is not a time zone",
    f"version: 1{PLACE}, until: soon}}": "Line 3: “soon” is not a time",
    f"version: 1{PLACE}, state: paused, paused_until: soon}}": "Line 3: “soon” is not a time",
    f"version: 1{PLACE}, paused_until: 2099-01-07}}": "Line 3: “paused_until” belongs to “state: paused”",
    "version: 1\nsyncs:\n- {project: 1, cohort: 2, mode: one-time,\n   paused_until: 2099-01-07}": "Line 4: a one-time export",
    f"version: 1{PLACE}, days: mon}}": "Line 3: “days” belongs to “at”",
    f"version: 1{PLACE}, state: asleep}}": "Line 3: “state” must be active or paused or finished",
    f"version: 1{PLACE}, guard: {{add_share: -1}}}}": "Line 3: A share is a percentage",
    f"version: 1{PLACE}, guard: {{add_people: 1.5}}}}": "Line 3: “add_people” must be a whole number",
    "version: 1\nsyncs:\n- {project: 1, cohort: 2, mode: one-time,\n   every: 2h}": "Line 4: a one-time export",
    "version: 1\nsyncs: " + "[" * 1000: "not YAML",
    "version: 1\nname: \x00": "not YAML",
    "version: 1\nsyncs:\n\t- {}": "Line 3: this is not YAML",
    "version: 1\n---\nversion: 1": "Line 2: this is not YAML",
    f"version: 1{PLACE.replace('42', '9' * 30)}}}": "Line 3: “project” is too large",
    f"version: 1{PLACE}, guard: {{add_share: .nan}}}}": "Line 3: A share is a percentage",
    f"version: 1{PLACE}, <<: {{every: 2h}}}}": "Line 3: “<<” is not known in a sync",
    f"version: 1{PLACE}, mapping: &loop [*loop]}}": "more than 200,000 values",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_file_when_it_has_a_mistake_is_refused_in_one_sentence_with_the_line(text: str) -> None:
    """Unknown names, wrong types, duplicates and damaged YAML each name the line, in one line of text."""
    with pytest.raises(InvalidRequest) as caught:
        parse_configuration(text.encode())
    assert MISTAKES[text] in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_when_its_anchors_make_it_huge_is_refused_and_small_ones_are_read() -> None:
    """A kilobyte that stands for a billion values costs nothing; a mapping that two syncs share is read for both."""
    lines = ["version: 1", "accounts: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"k{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]" for number in range(1, 10)]
    with pytest.raises(InvalidRequest, match="more than 200,000 values"):
        parse_configuration("\n".join(lines).encode())
    shared = "version: 1\nsyncs:\n- {project: 1, cohort: 2, mode: dynamic, mapping: &plan [{property: plan, attribute: Plan}]}\n"
    both = parse_configuration(f"{shared}- {{project: 1, cohort: 3, mode: dynamic, mapping: *plan}}\n".encode()).syncs
    assert [one.mapping for one in both] == [(("plan", "Plan"),)] * 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_when_written_by_another_editor_is_read_and_its_lines_are_counted(end: str, encoding: str) -> None:
    """With a byte order mark, and with every kind of line end."""
    text = end.join(("version: 1", "accounts:", "- license_code: “x”", "  data_center: in", ""))
    (account,) = parse_configuration(text.encode(encoding)).accounts
    assert (account.license_code, account.line) == ("“x”", 3)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "cp1252"])
def test_a_file_when_it_is_not_utf_8_says_so(encoding: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidRequest, match="UTF-8"):
        parse_configuration("version: 1 # für".encode(encoding))


@pytest.mark.parametrize("content", [b"#" * (MAX_FILE_BYTES + 1), None], ids=["ten megabytes", "without an end"])
def test_a_file_when_it_is_too_large_is_not_read_to_its_end(
    workspace: Workspace, tmp_path: Path, content: bytes | None
) -> None:
    """Not even a device that never ends keeps the command busy."""
    file = Path("/dev/zero")
    if content:
        file = tmp_path / "large.yaml"
        file.write_bytes(content * 10)
    done = workspace.run_command("apply", str(file))
    assert done.exit_code == 1 and "too large" in str(done.exception)


@pytest.mark.parametrize("name", ['"a\\0b"', '"."', "/proc/self/mem", f'"{"x" * 5000}"'])
def test_a_list_when_its_file_cannot_be_read_is_one_sentence_with_the_line(
    connected: Workspace, tmp_path: Path, name: str
) -> None:
    """A folder, a name no file can have, a file that gives nothing."""
    file = tmp_path / "sync.yaml"
    file.write_text(f"version: 1\nnever_export:\n- {{account: {LICENSE}, file: {name}}}\n", encoding="utf-8")
    done = connected.run_command("apply", str(file))
    assert isinstance(done.exception, InvalidRequest) and str(done.exception).startswith("Line 3: ")


STEPS = (
    "connections.ConnectionService.connect_webengage",
    "connections.ConnectionService.connect_mixpanel",
    "connections.ConnectionService.use_account",
    "safety.SafetyService.add_never_export",
    "syncs.SyncService.start_export",
    "guards.GuardService.set_limits",
)
UNDONE = ("guards.GuardService.set_limits",)  # part of a transaction that had not ended when it was killed


def apply_text(workspace: Workspace, text: str) -> tuple[str, ...]:
    """Apply a file as the command does, and return what it changed."""
    with workspace.open() as service:
        plan = service.configuration.apply(parse_configuration(text.encode()), lambda _: ["fan-1", "fan-2"])
    return tuple(one.text for one in plan.changes)


@pytest.mark.parametrize("step", STEPS)
def test_a_file_when_killed_after_any_of_its_changes_is_completed_by_the_next_application(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Each change is there whole or not at all; the next one makes the others, and the one after it none."""
    workspace.env |= {"MIXPANEL_SECRET": SECRET, "WEBENGAGE_API_KEY": API_KEY}
    cohort = sandbox.add_cohort("Fans", make_fans(12))
    text = f"""
version: 1
accounts: [{{license_code: {LICENSE}, data_center: "{sandbox.url}"}}]
projects: [{{id: {PROJECT}, username: "{USERNAME}", region: "{sandbox.url}", account: {LICENSE}}}]
never_export: [{{account: {LICENSE}, file: never.csv}}]
syncs:
- {{project: {PROJECT}, cohort: {cohort}, attribute: {ATTRIBUTE}, mode: dynamic, every: 6h, guard: {{add_people: 500}}}}
"""
    topic, _, name = step.partition(".")
    place = f"sync.service.{topic}.{name}"
    with monkeypatch.context() as killing:
        service, _, method = name.partition(".")
        act = getattr(getattr(__import__(f"sync.service.{topic}", fromlist=[service]), service), method)

        def die_after(*values: object, **named: object) -> None:
            act(*values, **named)
            raise KeyboardInterrupt

        killing.setattr(place, die_after)
        with pytest.raises(KeyboardInterrupt):
            apply_text(workspace, text)
    left = apply_text(workspace, text)
    done = STEPS.index(step) + (step not in UNDONE)
    assert len(left) <= len(STEPS) - done and apply_text(workspace, text) == ()
    workspace.run_queued()
    with workspace.open() as done:
        (sync,) = done.syncs.list()
        assert len(done.runs.list()) == 1 and done.guards.get(sync.id).limits == GuardLimits(add_people=500)
    assert sandbox.holding(ATTRIBUTE)[0] == sandbox.exportable(cohort) - {"fan-1", "fan-2"}
