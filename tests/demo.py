"""`make demo`: the sandbox, the runner and the pages, already connected; needs no accounts.

`python -m tests.demo` starts everything in Procfile.demo. Its pages begin with
`python -m tests.demo connect`, so that nobody ever sees them unconnected.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from sync.errors import InvalidRequest
from sync.launcher import ANOTHER_PORT, Launcher, read_procfile, require_free_port
from tests.sandbox.names import API_KEY, LICENSE, PROJECT, SECRET, USERNAME

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data" / "demo"
SANDBOX_PORT = 8899
PAGES_PORT = os.environ.get("STREAMLIT_SERVER_PORT") or "8501"
SANDBOX = f"http://127.0.0.1:{SANDBOX_PORT}"
LISTEN_SECONDS = 30.0


def start() -> int:
    """Run everything in Procfile.demo until it is stopped; return the exit code."""
    try:
        if PAGES_PORT.isdecimal():  # else the pages say
            require_free_port(int(PAGES_PORT), ANOTHER_PORT)
        require_free_port(SANDBOX_PORT)
    except InvalidRequest as problem:
        sys.exit(str(problem))
    # The sandbox forgets everything when it stops, so what was remembered about it is void.
    shutil.rmtree(DATA, ignore_errors=True)
    os.chdir(ROOT)
    os.environ |= {"COHORT_SYNC_DATA": str(DATA), "PYTHONUNBUFFERED": "1"}
    return Launcher(read_procfile(ROOT / "Procfile.demo")).run()


def connect() -> None:
    """Connect both sides to the sandbox through the command line, as a person would."""
    _wait_until_it_listens()
    _sync("mixpanel", "--project-id", str(PROJECT), "--username", USERNAME, "--region", SANDBOX, MIXPANEL_SECRET=SECRET)
    _sync("webengage", "--license-code", LICENSE, "--data-center", SANDBOX, WEBENGAGE_API_KEY=API_KEY)
    print(f"Connected to the sandbox. The pages: http://127.0.0.1:{PAGES_PORT} (Ctrl-C stops everything)", flush=True)


def _listens() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", SANDBOX_PORT)) == 0


def _wait_until_it_listens() -> None:
    deadline = time.monotonic() + LISTEN_SECONDS
    while not _listens():
        if time.monotonic() > deadline:
            sys.exit(f"The sandbox does not listen on port {SANDBOX_PORT}; its words are above.")
        time.sleep(0.1)


def _sync(*arguments: str, **secrets: str) -> None:
    command = [sys.executable, "-m", "sync", "connect", *arguments]
    code = subprocess.run(command, cwd=ROOT, env=os.environ | secrets, check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    if sys.argv[1:] == ["connect"]:
        connect()
    else:
        sys.exit(start())
