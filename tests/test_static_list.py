"""The file of user ids for a Static List: who is in WebEngage by the receipt, and nobody who must not be mailed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages.parts.downloads import write_static_list
from sync.errors import InvalidRequest
from tests.engine_workspace import MAPPED, EngineWorkspace, fans, keep_out, on_plan
from tests.sandbox.control import Sandbox
from tests.workspace import Workspace, page_text

MISSING_FILE = "upload the file of User IDs below"


@pytest.fixture
def engine(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort without members."""
    return EngineWorkspace(data_dir, sandbox)


def read_list(engine: EngineWorkspace, run_id: int) -> set[str]:
    """Return the user ids of the file of a run."""
    with engine.open() as service:
        return set(write_static_list(service.runs.iterate_static_list(run_id)).splitlines()[1:])


def test_the_list_has_whom_webengage_took_without_their_properties(engine: EngineWorkspace, sandbox: Sandbox) -> None:
    """They have the attribute as true, and a Live Segment has them: the file left them out."""
    engine.set_members(on_plan("fan-1", "gold"), on_plan("fan-2", "gold"))
    sandbox.fault("status", path="bulk-users", code=400, times=2)  # the batch of both, and fan-1 alone
    run = engine.export(mapping=MAPPED)
    assert read_list(engine, run.id) == {"fan-1", "fan-2"} == engine.holders()


def test_the_list_has_whose_new_values_were_rejected(engine: EngineWorkspace, sandbox: Sandbox) -> None:
    """They are true with their former values."""
    engine.set_members(on_plan("fan-1", "gold"), on_plan("fan-2", "gold"))
    engine.export(mapping=MAPPED)
    sandbox.poison("fan-2")
    engine.set_members(on_plan("fan-1", "silver"), on_plan("fan-2", "silver"))
    run = engine.export(mapping=MAPPED)
    assert (run.updated, run.rejected) == (2, 1)
    assert read_list(engine, run.id) == {"fan-1", "fan-2"} == engine.holders()


def test_the_list_has_nobody_who_left_was_rejected_or_is_never_exported(
    engine: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Who left and stays true is no member; who was put on the list since is still true, and must not be mailed."""
    sandbox.poison("fan-9")
    engine.set_members(*fans(1, 2, 3, 9))
    engine.export()
    sandbox.poison("fan-3")
    engine.set_members(*fans(1, 2, 9))
    run = engine.export()
    assert engine.holders() == {"fan-1", "fan-2", "fan-3"}
    keep_out(engine, "fan-2")
    assert read_list(engine, run.id) == {"fan-1"}


def test_the_list_is_of_the_last_run_only(engine: EngineWorkspace) -> None:
    """An earlier run does not say who is there now."""
    engine.set_members(*fans(1, 2))
    first = engine.export()
    engine.export()
    with engine.open() as service, pytest.raises(InvalidRequest, match="run 2"):
        list(service.runs.iterate_static_list(first.id))


def test_only_the_last_run_names_the_file_for_a_static_list(connected: Workspace) -> None:
    """On the page of an earlier one the only file below is the CSV of the run, with everybody it removed."""
    connected.add_cohort(3)
    connected.export()
    assert MISSING_FILE in page_text(connected.page("runs", run="1"))
    connected.export()
    assert MISSING_FILE not in page_text(connected.page("runs", run="1"))
    assert MISSING_FILE in page_text(connected.page("runs", run="2"))


def test_a_run_after_which_nobody_is_in_webengage_offers_no_file(connected: Workspace) -> None:
    """It would have the heading and nobody; the CSV of the run has whom it set to false."""
    connected.add_cohort(3)
    sync_id = connected.export().sync_id
    with connected.open() as service:
        cleared = service.syncs.stop(sync_id, clear=True)
    connected.run_queued()
    assert cleared
    page = connected.page("runs", run=str(cleared.run_id))
    assert [button.proto.label for button in page.get("download_button")] == ["CSV of this run"]
