"""Copy the database elsewhere with Litestream as docs/litestream.yml does, and come back from the copy."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sync.service import Service
from tests.documented_lines import localise, read_lines
from tests.sandbox.control import member
from tests.workspace import ATTRIBUTE, ROOT, Workspace, wait_until

STOP_SECONDS = 60.0


@pytest.fixture
def litestream() -> str:
    """Return the path of Litestream, which is installed with what the tests need."""
    beside = Path(sys.executable).with_name("litestream")
    found = shutil.which(os.environ.get("LITESTREAM", str(beside)))
    return found or pytest.fail(f"No Litestream at {beside}; install tests/requirements.lock.")


def write_configuration(workspace: Workspace, replica: Path) -> Path:
    """Write docs/litestream.yml for this folder, with a folder in the place of the object store."""
    text = (ROOT / "docs" / "litestream.yml").read_text(encoding="utf-8")
    text = text.replace("/var/lib/cohort-sync/app.db", str(workspace.data_dir / "app.db"))
    store = text[text.index("      type: s3") :]
    file = replica.with_suffix(".yml")
    file.write_text(text.replace(store, f"      type: file\n      path: {replica}\n"))
    return file


@pytest.mark.slow
def test_restore_when_the_disk_is_lost_comes_back_from_the_replica(
    fans: Workspace, litestream: str, tmp_path: Path
) -> None:
    """By the lines of docs/operations.md: the copy has what was exported, and the next export makes WebEngage right."""
    configuration, copy = write_configuration(fans, tmp_path / "replica"), tmp_path / "copy.db"
    here = {
        "litestream ": f"{litestream} ",
        "/var/lib/cohort-sync": fans.data_dir,
        "/etc/litestream.yml": configuration,
    }
    here["/var/backups/cohort-sync/copy.db"] = copy
    fans.export()
    replicate, restore = (shlex.split(localise(line, here)) for line in read_lines("litestream "))
    with subprocess.Popen(replicate) as process:
        wait_until(lambda: any((tmp_path / "replica").rglob("*.ltx")))
        fans.sandbox.set_members(fans.cohort, [member(f"fan-{number}") for number in range(20)])
        fans.export()
        time.sleep(3)  # Litestream copies once a second
        process.terminate()
        process.wait(STOP_SECONDS)
    subprocess.run(restore, check=True)
    machine = Workspace(tmp_path / "other machine", fans.sandbox)
    machine.data_dir.mkdir(mode=0o700)
    shutil.copy(fans.data_dir / "secret.key", machine.data_dir)  # the key is in no copy
    Service.restore_database(copy, machine.env)
    machine.export(fans.cohort)
    assert fans.sandbox.holding(ATTRIBUTE)[0] == fans.sandbox.exportable(fans.cohort)
    with machine.open() as service:
        assert len(service.runs.list()) == 3
