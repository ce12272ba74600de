"""A User ID property before the export and in commands: previews, members, options and the configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sync.model import RunState
from sync.permissions import AccessLevel, Actor, Forbidden
from sync.service import Service
from sync.store import Store
from sync.views import MemberChange, MemberList, MemberStatus
from tests.engine_workspace import (
    CUSTOMER,
    MAPPED,
    EngineWorkspace,
    approve,
    customer,
    customer_ids,
    customers,
    fan_ids,
    last,
    refresh_when_due,
)
from tests.sandbox.control import PROJECT, Sandbox, anonymous, member


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect to a cohort of ten: two share a User ID, two have none, one is too long, one has no profile."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(
        *customers(*range(5)),
        customer(5, "c-4"),
        customer(6, " "),
        member("fan-7"),
        customer(8, "x" * 101),
        anonymous("fan-9"),
    )
    return found


def read_json(workspace: EngineWorkspace, *arguments: str) -> Any:
    """Run a command with --json and return its document."""
    done = workspace.run_command(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def list_members(workspace: EngineWorkspace, id_property: str | None = None) -> MemberList:
    """Read everybody in the cohort."""
    with workspace.open() as service:
        reading = service.members.begin(PROJECT, workspace.cohort, id_property=id_property)
        while service.members.read_next(reading):
            pass
        return service.members.list(reading)


def open_as(workspace: EngineWorkspace, level: AccessLevel) -> Service:
    """Open the service for somebody with these rights."""
    return Service(Store.open(workspace.data_dir), workspace.env, workspace.now, Actor("somebody", level))


def test_a_preview_by_a_property_shows_its_share_and_doubles_before_anything_is_sent(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Who would be sent is counted by the property; the preview by the distinct_id stays another one."""
    with workspace.open() as service:
        before = service.cohorts.preview(PROJECT, workspace.cohort)
        found = service.cohorts.preview(PROJECT, workspace.cohort, id_property=CUSTOMER)
        assert (before.identified, before.invalid, before.id_property, before.doubles) == (9, 0, "", 0)
        assert (found.identified, found.invalid, found.anonymous, found.total) == (6, 3, 1, 10)
        assert (found.id_property, found.doubles, found.people) == (CUSTOMER, 1, 5)
        assert {one.id for one in found.sample} == customer_ids(*range(5)) | fan_ids(6, 7, 8, 9)
        asked = sandbox.meter().requests["/api/query/engage"]
        assert service.cohorts.preview(PROJECT, workspace.cohort, id_property=CUSTOMER) == found
        assert sandbox.meter().requests["/api/query/engage"] == asked
        assert service.cohorts.preview(PROJECT, workspace.cohort).identified == 9
    assert sandbox.profile_count() == 0


def test_a_preview_compares_with_what_the_other_property_exported(workspace: EngineWorkspace) -> None:
    """Before the property is changed the preview says how many would be added and removed."""
    workspace.export()
    with workspace.open() as service:
        found = service.cohorts.preview(PROJECT, workspace.cohort, id_property=CUSTOMER)
    assert (found.to_add, found.to_remove, found.exported_before) == (5, 9, 9)


def test_members_by_a_property_show_its_values_and_who_shares_one(workspace: EngineWorkspace) -> None:
    """The User ID is the value, the distinct_id stands beside it, and each who has none says why."""
    workspace.export(id_property=CUSTOMER)
    workspace.set_members(*customers(*range(1, 5)), customer(5, "c-4"), member("fan-7"), anonymous("fan-9"))
    listed = list_members(workspace)
    assert listed.id_property == CUSTOMER and listed.doubles == 1 and listed.is_exact
    rows = {(row.user_id, row.distinct_id): (row.status, row.change, row.reason) for row in listed.rows}
    shared = "Another member has this User ID, too: one person in WebEngage"
    fine = "Has a profile and a User ID"
    identified, unchanged = MemberStatus.IDENTIFIED, MemberChange.UNCHANGED
    assert rows == {
        ("c-1", "fan-1"): (identified, unchanged, fine),
        ("c-2", "fan-2"): (identified, unchanged, fine),
        ("c-3", "fan-3"): (identified, unchanged, fine),
        ("c-4", "fan-4"): (identified, unchanged, shared),
        ("c-4", "fan-5"): (identified, unchanged, shared),
        ("", "fan-7"): (MemberStatus.INVALID, MemberChange.NONE, "No value in the property that is the User ID"),
        ("", "fan-9"): (MemberStatus.ANONYMOUS, MemberChange.NONE, "No profile in Mixpanel"),
        ("c-0", ""): (MemberStatus.LEFT, MemberChange.REMOVE, "No longer in the cohort"),
    }
    assert listed.count_change(MemberChange.UNCHANGED) == 4


def test_members_with_one_user_id_say_whose_values_are_sent(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Once properties are mapped, the table names the member whose values WebEngage got, whatever the order."""
    first, second = customer(1, "c-1", plan="gold"), customer(2, "c-1", plan="silver")
    workspace.set_members(first, customer(3, plan="free"), second)
    workspace.export(id_property=CUSTOMER, mapping=MAPPED)
    for people in ((first, second), (second, first)):
        workspace.set_members(*people, customer(3, plan="free"))
        reasons = {row.reason: row.distinct_id for row in list_members(workspace).rows if row.user_id == "c-1"}
        sender = reasons.pop("Values sent; another member has this User ID, too")
        assert list(reasons) == ["Values not sent; those of another member with this User ID are"]
        sent = sandbox.profile("c-1")["attributes"]["Plan"]  # type: ignore[index]
        assert {"fan-1": "gold", "fan-2": "silver"}[sender] == sent


@pytest.mark.parametrize("mapping", [(), MAPPED])
def test_members_with_one_user_id_that_webengage_rejected_say_that(
    workspace: EngineWorkspace, sandbox: Sandbox, mapping: tuple[tuple[str, str], ...]
) -> None:
    """Nothing of either is in WebEngage, so it is not said that one person is, nor whose values were sent."""
    sandbox.poison("c-4")
    workspace.export(id_property=CUSTOMER, mapping=mapping)
    found = {(row.reason, row.in_webengage) for row in list_members(workspace).rows if row.user_id == "c-4"}
    assert found == {("Rejected by WebEngage before", None)}


def test_a_member_listed_by_the_distinct_id_keeps_out_whoever_shares_the_user_id(workspace: EngineWorkspace) -> None:
    """The run removes the one person both are, and preview, members and receipt count it so before and after."""
    run = workspace.export(id_property=CUSTOMER)
    with workspace.open() as service:
        service.safety.add_never_export(None, ["fan-5"], "")
        seen = service.cohorts.preview(PROJECT, workspace.cohort, fresh=True)
        receipt = service.receipts.read(PROJECT, workspace.cohort, ())
    assert (run.identified, seen.identified, seen.never_exported, seen.doubles, seen.people) == (5, 6, 1, 1, 4)
    assert not any("identified members" in one for one in receipt.remarks)
    listed = list_members(workspace)
    twins = {(row.reason, row.change) for row in listed.rows if row.user_id == "c-4"}
    assert twins == {("On the never-export list, so not sent", MemberChange.REMOVE)}
    assert (listed.never_exported, listed.doubles, listed.count_change(MemberChange.REMOVE)) == (1, 1, 1)
    refreshed = refresh_when_due(workspace)
    assert (refreshed.exited, refreshed.never_exported, workspace.holders()) == (1, 1, customer_ids(*range(4)))


def test_somebody_without_a_profile_is_anonymous_and_not_without_a_value(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """An empty profile and none look the same in the list: the two totals say which it is, with a property, too."""
    sandbox.settings(bare_shape="empty")
    listed = list_members(workspace, CUSTOMER)
    assert listed.count_status(MemberStatus.ANONYMOUS) == 1 and listed.count_status(MemberStatus.INVALID) == 3


def test_only_a_marketer_sees_the_values_of_another_property(workspace: EngineWorkspace) -> None:
    """Naming a property shows its values, as user IDs; a viewer sees those the cohort is exported by."""
    with open_as(workspace, AccessLevel.VIEWER) as service:
        with pytest.raises(Forbidden):
            service.cohorts.preview(PROJECT, workspace.cohort, id_property="$email")
        with pytest.raises(Forbidden):
            service.members.begin(PROJECT, workspace.cohort, id_property="$email")
        assert service.cohorts.preview(PROJECT, workspace.cohort, id_property="").identified == 9
    with open_as(workspace, AccessLevel.MARKETER) as service:
        assert service.cohorts.preview(PROJECT, workspace.cohort, id_property=CUSTOMER).identified == 6


def test_the_commands_name_a_property_and_say_what_it_means(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Preview, members, export, syncs and run; an export that does not name one keeps the one there is."""
    cohort = str(workspace.cohort)
    found = read_json(workspace, "preview", cohort, "--user-id-property", CUSTOMER)
    assert (found["user_id_property"], found["identified"], found["doubles"]) == (CUSTOMER, 6, 1)
    text = workspace.run_command("preview", cohort, "--user-id-property", CUSTOMER).output
    assert "6 of 9 members with a profile have a User ID in customer (67 %). 1 is a double: another member has" in text
    rows = read_json(workspace, "members", cohort, "--user-id-property", CUSTOMER)
    assert {(row["user_id"], row["distinct_id"]) for row in rows if row["status"] == "invalid"} == {
        ("", "fan-6"),
        ("", "fan-7"),
        ("", "fan-8"),
    }
    assert set(read_json(workspace, "members", cohort)[0]) == {"user_id", "status", "reason"}
    run_id = read_json(workspace, "export", cohort, "--mode", "dynamic", "--user-id-property", CUSTOMER)["run_id"]
    workspace.run_queued()
    run = read_json(workspace, "run", str(run_id))
    assert (run["state"], run["user_id_property"], run["doubles"]) == ("succeeded", CUSTOMER, 1)
    assert workspace.holders() == customer_ids(*range(5))
    assert read_json(workspace, "syncs")[0]["user_id_property"] == CUSTOMER
    read_json(workspace, "export", cohort, "--mode", "dynamic")
    workspace.run_queued()
    assert last(workspace).change_count == 0 and read_json(workspace, "syncs")[0]["user_id_property"] == CUSTOMER
    run_id = read_json(workspace, "export", cohort, "--mode", "dynamic", "--user-id-property", "$distinct_id")["run_id"]
    workspace.run_queued()
    run = read_json(workspace, "run", str(run_id))
    assert (run["state"], run["user_id_property_before"]) == ("held", CUSTOMER)


def test_values_are_counted_of_those_who_have_a_user_id(workspace: EngineWorkspace) -> None:
    """The type of a mapped property is proposed from the members who would be sent."""
    workspace.set_members(customer(0, plan="gold"), customer(1, " ", plan="silver"), member("fan-2", plan="free"))
    command = ("preview", str(workspace.cohort), "--map", "plan=Plan")
    (by_distinct_id,) = read_json(workspace, *command)["values"]
    (by_customer,) = read_json(workspace, *command, "--user-id-property", CUSTOMER)["values"]
    assert (by_distinct_id["fits"], by_customer["fits"]) == (3, 1)


def write_file(folder: Path, cohort: int, more: str) -> str:
    """Write a configuration file with one sync."""
    file = folder / "sync.yaml"
    file.write_text(
        f"version: 1\nsyncs:\n  - project: {PROJECT}\n    cohort: {cohort}\n    mode: dynamic\n{more}", encoding="utf-8"
    )
    return str(file)


def test_a_file_names_the_property_and_a_change_is_held(workspace: EngineWorkspace, tmp_path: Path) -> None:
    """Written by export-config, applied, and nothing to do the second time; what the file does not say stays."""
    cohort = workspace.cohort
    by_customer = write_file(tmp_path, cohort, f"    user_id_property: {CUSTOMER}\n")
    assert read_json(workspace, "apply", by_customer, "--yes")["applied"]
    workspace.run_queued()
    assert workspace.holders() == customer_ids(*range(5))
    assert read_json(workspace, "apply", by_customer)["changes"] == []
    assert read_json(workspace, "apply", write_file(tmp_path, cohort, ""))["changes"] == []
    written = workspace.run_command("export-config").output
    assert f"user_id_property: {CUSTOMER}" in written
    (change,) = read_json(
        workspace, "apply", write_file(tmp_path, cohort, '    user_id_property: "$distinct_id"\n'), "--yes"
    )["changes"]
    assert "User ID customer" in change["text"]
    workspace.run_queued()
    run = approve(workspace, last(workspace))
    assert run.state is RunState.SUCCEEDED and workspace.holders() == fan_ids(*range(9))
    assert "user_id_property: $distinct_id" in workspace.run_command("export-config").output


def test_a_file_with_a_property_that_is_no_name_is_refused_with_its_line(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """A control character is no name."""
    file = write_file(tmp_path, workspace.cohort, '    user_id_property: "a\\u0007b"\n')
    done = workspace.run_command("apply", file)
    assert done.exit_code == 1 and "Line 6: The User ID property is the name" in str(done.exception)
