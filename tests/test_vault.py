"""Seal and open secrets with keys in a file: what a process notices of the file, and what is said in no log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from sync.errors import InvalidRequest, KeyUnavailable
from sync.redaction import redact_text
from sync.runner import Runner
from sync.vault import Vault, add_key, drop_former_keys
from tests.sandbox.control import PROJECT
from tests.workspace import ROOT, Workspace


def test_a_key_file_that_is_gone_while_a_process_uses_it_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    """A new key opens nothing, and it would hide that the former one is missed."""
    vault = Vault.open(tmp_path, {}, must_exist=False)
    add_key(tmp_path)
    sealed = Vault.open(tmp_path, {}, must_exist=True).seal_text("sealed since")
    (tmp_path / "secret.key").unlink()
    with pytest.raises(KeyUnavailable, match="missing"):
        vault.open_text(sealed)
    assert list(tmp_path.iterdir()) == []


def test_a_process_reads_the_keys_again_when_they_were_rotated(tmp_path: Path) -> None:
    """It seals with the newest one from then on, since the former ones go when nothing needs them."""
    vault = Vault.open(tmp_path, {}, must_exist=False)
    add_key(tmp_path)
    newest = Vault.open(tmp_path, {}, must_exist=True).restrict_to_newest()
    assert vault.open_text(newest.seal_text("sealed since")) == "sealed since"
    assert newest.can_open(vault.seal_text("sealed now"))


def test_a_key_file_is_for_this_user_only_and_has_no_second_copy(tmp_path: Path) -> None:
    """When it is made, when a key is added, and when former ones are dropped."""
    for change in (add_key, add_key, drop_former_keys):
        change(tmp_path)
        assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [("secret.key", 0o600)]


def test_a_process_that_was_slower_to_make_the_first_key_uses_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the faster one sealed meanwhile could never be opened."""
    made: list[str] = []
    flush = os.fsync

    def be_slower(descriptor: int) -> None:
        if not made:
            program = "import sys, pathlib, sync.vault; print(sync.vault.add_key(pathlib.Path(sys.argv[1])))"
            command = [sys.executable, "-c", program, str(tmp_path)]
            made.append(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip())
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", be_slower)
    assert [add_key(tmp_path)] == made
    assert {path.name: path.read_text().split() for path in tmp_path.iterdir()} == {"secret.key": made}


@pytest.mark.parametrize("way", ["sealed", "opened"])
def test_a_secret_is_masked_in_logs_once_it_was_sealed_or_opened(tmp_path: Path, way: str) -> None:
    """Whichever comes first in a process: an answer of the other side may quote it."""
    secret = f"a-secret-that-was-{way}"
    vault = Vault.open(tmp_path, {}, must_exist=False)
    if way == "sealed":
        vault.seal_text(secret)
    else:  # by another process
        vault.open_text(Fernet((tmp_path / "secret.key").read_text().strip()).encrypt(secret.encode()).decode())
    assert secret not in redact_text(f"refused: {secret}")


def test_a_rotation_without_the_key_of_what_is_stored_says_that_it_is_missing(fans: Workspace) -> None:
    """It does not say that there is nothing to rotate, and makes no key, which would open nothing."""
    (fans.data_dir / "secret.key").unlink()
    with fans.open() as service, pytest.raises(KeyUnavailable, match="their key is missing"):
        service.admin.rotate_key()
    assert not list(fans.data_dir.glob("secret.key*"))


def test_a_rotation_of_nothing_says_so_and_makes_no_key(data_dir: Path) -> None:
    """A key without a secret would be one more thing to keep."""
    with Workspace(data_dir).open() as service, pytest.raises(InvalidRequest, match="No secret is stored yet"):
        service.admin.rotate_key()
    assert not list(data_dir.glob("secret.key*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff" * 44, "cannot be read"),
        ("a folder", "cannot be read"),
        (b"half-a-key\n", "is damaged"),
        (None, "is missing"),
    ],
)
def test_a_key_file_that_is_none_is_said_to_be_what_it_is(
    fans: Workspace, content: bytes | str | None, words: str
) -> None:
    """One sentence each, with what to do; nothing else is made in its place, which would open nothing."""
    file = fans.data_dir / "secret.key"
    file.unlink()
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        file.mkdir()
    with fans.open() as service, pytest.raises(KeyUnavailable, match=words):
        service.connections.check_mixpanel(PROJECT)
    assert file.exists() is (content is not None)
    assert not isinstance(content, bytes) or file.read_bytes() == content


def test_a_passphrase_that_could_be_guessed_is_refused(data_dir: Path) -> None:
    """Whoever has the database has all the time in the world; the sentence says how long it has to be."""
    with pytest.raises(KeyUnavailable, match="fewer than 16 characters"):
        Vault.open(data_dir, {"COHORT_SYNC_KEY": "fifteen letters"}, must_exist=False)
    Vault.open(data_dir, {"COHORT_SYNC_KEY": "sixteen letters."}, must_exist=False)


def test_a_runner_when_its_passphrase_is_too_short_does_not_start(data_dir: Path) -> None:
    """It would pause every sync that becomes due, each to be resumed by hand."""
    with pytest.raises(KeyUnavailable, match="fewer than 16 characters"):
        Runner({"COHORT_SYNC_DATA": str(data_dir), "COHORT_SYNC_KEY": "sixteen letters.,fifteen letters"})
