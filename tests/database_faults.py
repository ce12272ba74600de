"""What tests of a locked, damaged or missing database share: a program on a folder, its one sentence, a lock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
END_SECONDS = 60.0  # how long a process may take to end on a busy machine; never asserted
LOCK = (
    "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
    "db.execute('pragma locking_mode = exclusive'); db.execute('begin exclusive'); "
    "db.execute('delete from runner'); print('held', flush=True); sys.stdin.read()"
)


def run_python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ours on a data folder."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"COHORT_SYNC_DATA": str(folder)},
        text=True,
        capture_output=True,
        check=False,
        timeout=END_SECONDS,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check for one plain sentence that holds these words, and exit code 1."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert all(word in last for word in words), done.stderr


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the database exclusively from another process."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, str(folder / "app.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin and holder.stdout and holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.close()
