"""Encrypt stored secrets and profile values with Fernet; the key stays outside the database.

No other module imports cryptography.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sync.durability import flush_to_disk
from sync.errors import KeyUnavailable
from sync.ownership import give_to_folder_owner
from sync.redaction import hide_secret
from sync.settings import KEY_VARIABLE, Settings

KEY_FILE = "secret.key"
KEY_ID_LENGTH = 8  # hexadecimal digits; enough to distinguish the few keys of one installation
PASSPHRASE_MIN = 16  # characters; a shorter one could be guessed from a stolen database
CACHED_KEYS = 8  # keys in use at the same time during rotations
PRIVATE_FILE = 0o600  # mode: read and written by this user only
_KEY_BYTES = 32  # bytes of a Fernet key (Fernet spec)
# scrypt's cost, block size and parallelism: 16 MB and some 50 ms (RFC 7914 recommends them for interactive use).
_SCRYPT_COST, _SCRYPT_BLOCK_SIZE, _SCRYPT_PARALLELISM = 2**14, 8, 1
_SALT = b"cohort-sync key"  # constant, so that one passphrase opens the same database on another machine


class Vault:
    """Keys that seal (the first of them) and open (any of them) texts and bytes."""

    def __init__(self, keys: tuple[str, ...], read_keys: Callable[[], tuple[str, ...]] | None = None) -> None:
        """Use these keys, the newest first; ``read_keys`` reads them again when none of them opens something."""
        self._keys, self._read_keys = keys, read_keys
        self._fernet = MultiFernet([_make_fernet(key) for key in keys])

    @classmethod
    def open(cls, folder: Path, env: Mapping[str, str], must_exist: bool) -> Vault:
        """Return a vault with the keys of COHORT_SYNC_KEY in ``env``, or else of the folder's secret.key.

        Without either a key is made and written. With ``must_exist``, when secrets are already stored,
        raise KeyUnavailable instead, since a new key could not open them.
        """
        keys = Settings.from_env(env).keys
        if keys:
            return cls(keys)
        return cls(_read_keys(folder, must_exist), lambda: _read_keys(folder, must_exist=True))

    def restrict_to_newest(self) -> Vault:
        """Return a vault with the newest key alone, to find out whether the former ones are still needed."""
        return Vault(self._keys[:1])

    def can_open(self, sealed: str) -> bool:
        """Return whether one of the keys opens a text."""
        try:
            self.open_text(sealed)
        except KeyUnavailable:
            return False
        return True

    def seal_text(self, text: str) -> str:
        """Encrypt a text with the newest key, and mask it in logs from now on."""
        hide_secret(text)
        return self._fernet.encrypt(text.encode()).decode()

    def open_text(self, sealed: str) -> str:
        """Decrypt a text, and mask it in logs from now on; raise KeyUnavailable when another key sealed it."""
        text = self._decrypt(sealed.encode()).decode()
        hide_secret(text)
        return text

    def seal_bytes(self, content: bytes) -> bytes:
        """Encrypt bytes with the newest key; returns a Fernet token without its base64, which takes a third more space."""
        return base64.urlsafe_b64decode(self._fernet.encrypt(content))

    def open_bytes(self, sealed: bytes) -> bytes:
        """Decrypt bytes; raise KeyUnavailable when another key sealed them."""
        return self._decrypt(base64.urlsafe_b64encode(sealed))

    def _decrypt(self, sealed: bytes) -> bytes:
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            if self._has_new_keys():
                return self._decrypt(sealed)
        raise KeyUnavailable(
            "A stored secret was encrypted with another key. After a rotation, restart the pages and the runner with the "
            "new COHORT_SYNC_KEY. Otherwise bring back the former COHORT_SYNC_KEY or secret.key, or connect again "
            "under Integrations."
        )

    def _has_new_keys(self) -> bool:
        """Read the keys again; return whether they changed, as they do when they are rotated during a run."""
        found = self._read_keys() if self._read_keys else self._keys
        if found == self._keys:
            return False
        self._keys, self._fernet = found, MultiFernet([_make_fernet(key) for key in found])
        return True

    def reseal_text(self, sealed: str) -> str:
        """Return a sealed text sealed with the newest key; raise KeyUnavailable when none of the keys opens it."""
        return self.seal_text(self.open_text(sealed))


def _read_keys(folder: Path, must_exist: bool) -> tuple[str, ...]:
    """Read the folder's keys, one per line, the newest first; without any make one, or raise when it ``must_exist``."""
    try:
        kept = tuple((folder / KEY_FILE).read_text("ascii").split())
    except FileNotFoundError:
        kept = ()
    except (OSError, UnicodeDecodeError):
        raise KeyUnavailable(
            f"The key file {KEY_FILE} in the data folder cannot be read; restore it, or let this user read it."
        ) from None
    if any(len(key) < PASSPHRASE_MIN for key in kept):
        raise KeyUnavailable(
            f"The key file {KEY_FILE} in the data folder is damaged; restore it, or move it away and connect again "
            "under Integrations; syncs and history are kept."
        )
    if kept:
        return kept
    if must_exist:
        raise KeyUnavailable(
            f"Secrets are stored, but their key is missing. Set COHORT_SYNC_KEY, bring back {KEY_FILE}, "
            "or connect again under Integrations; syncs and history are kept."
        )
    return (add_key(folder),)


def has_key(folder: Path) -> bool:
    """Return whether a folder has a key file."""
    return (folder / KEY_FILE).exists()


def add_key(folder: Path) -> str:
    """Write a new key before those of the folder, durably, and return the newest.

    When the folder had no key and another process writes one at the same moment, that one is kept and
    returned. Killed anywhere: the former file is there, or the new one, never half of one.
    """
    path, fresh = folder / KEY_FILE, Fernet.generate_key().decode()
    exists = path.exists()
    kept = path.read_text("ascii").split() if exists else []
    draft = _write_draft(folder, [fresh, *kept])
    try:
        if exists:
            draft.replace(path)
        else:
            os.link(draft, path)  # atomic, and fails when another process was faster
        flush_to_disk(folder)
    except FileExistsError:
        return path.read_text("ascii").split()[0]
    finally:
        draft.unlink(missing_ok=True)
    return fresh


def drop_former_keys(folder: Path) -> None:
    """Delete all keys of the folder but the newest, once everything is sealed with it; atomic."""
    path = folder / KEY_FILE
    _write_draft(folder, path.read_text("ascii").split()[:1]).replace(path)


def _write_draft(folder: Path, keys: list[str]) -> Path:
    """Write keys durably into a private file of this process, to be renamed; return its path."""
    draft = folder / f"{KEY_FILE}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "w") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    give_to_folder_owner(draft)
    return draft


@lru_cache(maxsize=CACHED_KEYS)
def _make_fernet(key: str) -> Fernet:
    return Fernet(_derive_key(key))


def list_key_ids(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return a short id of each key in COHORT_SYNC_KEY, the newest first; an id reveals nothing of its key."""
    return tuple(
        hashlib.sha256(b"cohort-sync key id" + _derive_key(key)).hexdigest()[:KEY_ID_LENGTH]
        for key in Settings.from_env(env).keys
    )


@lru_cache(maxsize=CACHED_KEYS)
def _derive_key(key: str) -> bytes:
    """Return a Fernet key as it is, and one derived by scrypt from any other text of 16 characters or more."""
    with suppress(ValueError):
        Fernet(key)
        return key.encode()
    if len(key) < PASSPHRASE_MIN:
        raise KeyUnavailable(
            f"The encryption key has fewer than {PASSPHRASE_MIN} characters; set {KEY_VARIABLE} to a longer one."
        )
    stretched = Scrypt(
        salt=_SALT, length=_KEY_BYTES, n=_SCRYPT_COST, r=_SCRYPT_BLOCK_SIZE, p=_SCRYPT_PARALLELISM
    ).derive(key.encode())
    return base64.urlsafe_b64encode(stretched)
