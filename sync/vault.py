"""Secrets and profile values at rest: Fernet, with the key outside the database; the only home of cryptography."""

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

from sync.errors import KeyUnavailable
from sync.redaction import hide_secret

KEY_VARIABLE = "COHORT_SYNC_KEY"
KEY_FILE = "secret.key"
KEY_ID_LENGTH = 8  # hexadecimal digits; enough to tell the few keys of one installation apart
PASSPHRASE_MIN = 16  # characters; a shorter one could be guessed from a stolen database
_STRETCH = 2**14  # scrypt's cost: 16 MB and some 50 ms (RFC 7914 recommends it for interactive use)
_SALT = b"cohort-sync key"  # constant, so that one passphrase opens the same database on another machine


class Vault:
    """Seals and opens with the first of its keys, opens with any of them."""

    def __init__(self, keys: tuple[str, ...], read_keys: Callable[[], tuple[str, ...]] | None = None) -> None:
        """Use these keys, the newest first; ``read_keys`` reads them again when none of them opens something."""
        self._keys, self._read_keys = keys, read_keys
        self._fernet = MultiFernet([_make_fernet(key) for key in keys])

    @classmethod
    def open(cls, folder: Path, env: Mapping[str, str], must_exist: bool) -> Vault:
        """Open with COHORT_SYNC_KEY (several with commas between, the newest first), or the folder's secret.key.

        Without either a key is made, unless ``must_exist`` says that secrets are already stored:
        then KeyUnavailable, for a new key could not open them.
        """
        given = tuple(part.strip() for part in env.get(KEY_VARIABLE, "").split(",") if part.strip())
        if given:
            return cls(given)
        return cls(_read_keys(folder, must_exist), lambda: _read_keys(folder, must_exist=True))

    def newest_only(self) -> Vault:
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
        """Encrypt a text."""
        hide_secret(text)
        return self._fernet.encrypt(text.encode()).decode()

    def open_text(self, sealed: str) -> str:
        """Decrypt a text; KeyUnavailable when another key sealed it."""
        text = self._decrypt(sealed.encode()).decode()
        hide_secret(text)
        return text

    def seal_bytes(self, content: bytes) -> bytes:
        """Encrypt bytes; a Fernet token without its base64, which would cost a third more space."""
        return base64.urlsafe_b64decode(self._fernet.encrypt(content))

    def open_bytes(self, sealed: bytes) -> bytes:
        """Decrypt bytes; KeyUnavailable when another key sealed them."""
        return self._decrypt(base64.urlsafe_b64encode(sealed))

    def _decrypt(self, sealed: bytes) -> bytes:
        for attempt in (1, 2):
            try:
                return self._fernet.decrypt(sealed)
            except InvalidToken:
                if attempt == 1 and self._has_new_keys():
                    continue
                break
        raise KeyUnavailable(
            "A stored secret was sealed with another key: after a rotation restart the pages and the runner with the "
            "new COHORT_SYNC_KEY; otherwise bring back the former COHORT_SYNC_KEY or secret.key, or connect again "
            "under Integrations."
        )

    def _has_new_keys(self) -> bool:
        """Read the keys again; return whether they changed, as they do when they are rotated under a run."""
        found = self._read_keys() if self._read_keys else self._keys
        if found == self._keys:
            return False
        self._keys, self._fernet = found, MultiFernet([_make_fernet(key) for key in found])
        return True

    def reseal_text(self, sealed: str) -> str:
        """Seal a text anew with the newest key; KeyUnavailable when none of the keys opens it."""
        return self.seal_text(self.open_text(sealed))


def _read_keys(folder: Path, must_exist: bool) -> tuple[str, ...]:
    """Read the folder's keys, one a line, the newest first; make one when there is none and none is needed."""
    try:
        kept = tuple((folder / KEY_FILE).read_text("ascii").split())
    except FileNotFoundError:
        kept = ()
    except (OSError, UnicodeDecodeError):
        raise KeyUnavailable(
            f"The key file {KEY_FILE} in the data folder cannot be read; restore it or its rights."
        ) from None
    if kept:
        return kept
    if must_exist:
        raise KeyUnavailable(
            f"Secrets are stored, but their key is missing: set COHORT_SYNC_KEY or bring back {KEY_FILE}, "
            "or connect again under Integrations; syncs and history are untouched."
        )
    return (add_key(folder),)


def add_key(folder: Path) -> str:
    """Put a new key before those of the folder, durable before anything is sealed with it; answer the newest.

    A key another process put there at the same moment wins over ours when the folder had none.
    """
    path, fresh = folder / KEY_FILE, Fernet.generate_key().decode()
    there = path.exists()
    kept = path.read_text("ascii").split() if there else []
    draft = folder / f"{KEY_FILE}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join([fresh, *kept]) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        if there:
            draft.replace(path)
        else:
            os.link(draft, path)  # atomic, and fails when another process was faster
    except FileExistsError:
        return path.read_text("ascii").split()[0]
    finally:
        draft.unlink(missing_ok=True)
    return fresh


def drop_former_keys(folder: Path) -> None:
    """Keep only the newest key of the folder, once everything is sealed with it."""
    path = folder / KEY_FILE
    draft = folder / f"{KEY_FILE}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(path.read_text("ascii").split()[0] + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@lru_cache(maxsize=8)
def _make_fernet(key: str) -> Fernet:
    return Fernet(_fernet_key(key))


def key_ids(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return a short id of each key in COHORT_SYNC_KEY, the newest first; nothing of a key can be told from it."""
    given = (part.strip() for part in env.get(KEY_VARIABLE, "").split(",") if part.strip())
    return tuple(hashlib.sha256(b"cohort-sync key id" + _fernet_key(key)).hexdigest()[:KEY_ID_LENGTH] for key in given)


@lru_cache(maxsize=8)
def _fernet_key(key: str) -> bytes:
    """Take a Fernet key as it is and stretch any other text of 16 characters or more into one."""
    with suppress(ValueError):
        Fernet(key)
        return key.encode()
    if len(key) < PASSPHRASE_MIN:
        raise KeyUnavailable(
            f"The encryption key has fewer than {PASSPHRASE_MIN} characters; set COHORT_SYNC_KEY to a longer one."
        )
    stretched = Scrypt(salt=_SALT, length=32, n=_STRETCH, r=8, p=1).derive(key.encode())
    return base64.urlsafe_b64encode(stretched)
