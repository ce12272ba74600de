"""Outlive a power cut with what was said to be done: a file that gets its name last is flushed, and so is the name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sync.service import Service
from sync.vault import add_key
from tests.workspace import Workspace


@pytest.fixture
def flushed_files(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the numbers (inodes) of the files that Python flushed to the disk, filled from now on."""
    found: set[int] = set()
    flush = os.fsync

    def note(descriptor: int) -> None:
        found.add(os.fstat(descriptor).st_ino)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Return what each folder held when its names were flushed to the disk, filled from now on."""
    found: list[set[str]] = []
    flush = os.fsync

    def note(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            found.append(set(os.listdir(descriptor)))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_a_first_key_is_on_the_disk_before_a_secret_is_sealed_with_it(
    tmp_path: Path, flushed: list[set[str]], flushed_files: set[int]
) -> None:
    """The database would have secrets that nothing opens."""
    add_key(tmp_path)
    assert flushed and "secret.key" in flushed[-1]
    assert (tmp_path / "secret.key").stat().st_ino in flushed_files


def test_a_new_key_is_on_the_disk_before_secrets_are_sealed_with_it(fans: Workspace, flushed: list[set[str]]) -> None:
    """A rotation replaces the file: the former name is gone, and the new one is flushed."""
    add_key(fans.data_dir)
    assert flushed == [{path.name for path in fans.data_dir.iterdir()}]


def test_a_backup_is_on_the_disk_when_it_is_said_to_be_done(tmp_path: Path, flushed: list[set[str]]) -> None:
    """By the name that was asked for, and by no other."""
    with Service.open({"COHORT_SYNC_DATA": str(tmp_path / "data")}) as service:
        service.admin.write_backup(tmp_path / "copy.db")
    assert flushed[-1] >= {"copy.db"} and not [name for name in flushed[-1] if name.endswith(".part")]


def test_a_restored_database_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, flushed: list[set[str]], flushed_files: set[int]
) -> None:
    """And the name afterwards: after a power cut the folder has no database, which is said, or this one."""
    env = {"COHORT_SYNC_DATA": str(tmp_path / "data")}
    with Service.open(env) as service:
        service.admin.write_backup(tmp_path / "copy.db")
    (tmp_path / "data" / "app.db").write_bytes(b"no database" * 1000)
    flushed.clear()
    flushed_files.clear()
    Service.restore_database(tmp_path / "copy.db", env)
    assert (tmp_path / "data" / "app.db").stat().st_ino in flushed_files
    assert [names for names in flushed if "app.db" in names and not any(".draft" in name for name in names)]
