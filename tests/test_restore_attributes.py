"""Restore a backup from before attributes got their types: WebEngage keeps what the first value fixed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode
from tests.engine_workspace import EngineWorkspace, export_five, on_plan
from tests.sandbox.control import LICENSE, PROJECT, Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five."""
    return export_five(data_dir, sandbox)


def test_the_type_of_an_attribute_that_was_sent_first_after_the_backup_is_known(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """WebEngage fixed it with the first value, and silently drops values of another type."""
    backup = workspace.back_up(tmp_path / "copy.db")
    workspace.set_members(*(on_plan(f"fan-{number}", "gold") for number in range(5)))
    workspace.export(mapping=(("plan", "Plan"),))
    workspace.restore(backup)
    terms = ExportTerms(mode=Mode.DYNAMIC, mapping=(("plan", "Plan"),), forms=(("Plan", "number"),))
    with workspace.open() as service, pytest.raises(InvalidRequest, match="Plan"):
        service.syncs.start_export(PROJECT, workspace.cohort, terms)


@pytest.mark.parametrize("noted", [None, "unknown"])
def test_the_type_and_form_of_an_attribute_that_got_its_first_value_after_the_backup_are_known(
    workspace: EngineWorkspace, tmp_path: Path, noted: str | None
) -> None:
    """Its values are written as WebEngage has them; also of an earlier version, which noted no type."""
    mapping = (("plan", "Mobile"),)
    workspace.export(mapping=mapping)
    with workspace.open_database() as db:
        db.execute("update attribute_owner set data_type = ? where property = 'plan'", (noted,))
    backup = workspace.back_up(tmp_path / "mapped.db")
    workspace.set_members(on_plan("fan-0", "0151 23456789"))
    workspace.export(mapping=mapping, forms=(("Mobile", "phone,DE"),))
    workspace.restore(backup)
    with workspace.open_store() as store:
        assert store.attributes.read_data_types(LICENSE) == {"Mobile": "string"}
        assert store.attributes.read_forms(LICENSE) == {"Mobile": "phone,DE"}


def test_the_type_of_an_attribute_that_another_property_has_since_is_not_that_of_the_backups(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """This database went on from an older backup, in which nobody had the attribute."""
    workspace.set_members(on_plan("fan-0", None))
    workspace.export(mapping=(("plan", "Plan"),), forms=(("Plan", "text"),))
    backup = workspace.back_up(tmp_path / "mapped.db")
    with workspace.open_database() as db:
        db.execute(
            "update attribute_owner set property = 'tier', form = 'number', data_type = 'number' where name = 'Plan'"
        )
    workspace.restore(backup)
    with workspace.open_store() as store:
        assert store.attributes.read_forms(LICENSE) == {"Plan": "text"}
