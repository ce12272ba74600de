"""The workspace of a test: a data folder with its service, export, runner, pages and commands."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
import zstandard
from click.testing import CliRunner, Result
from streamlit.testing.v1 import AppTest

from pages.parts.sign_in import SignIn
from sync.cli.commands import cli
from sync.engine import Clock, RetryPolicy
from sync.export_terms import ExportTerms
from sync.model import Mode, Run
from sync.permissions import AccessLevel, command_line_actor
from sync.runner import Runner
from sync.service import Service
from sync.settings import ACCESS_VARIABLES
from sync.store import Store
from tests.process_factory import Process, start_module
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Member, Sandbox, member

ROOT = Path(__file__).resolve().parents[1]
ATTRIBUTE = "Mixpanel - Fans"  # what WebEngage holds of the cohort "Fans"
FAST = 30_000  # batches a minute: the pace is tested where it is set, and nobody else waits for it
START_SECONDS, CLI_SECONDS, WAIT_SECONDS = 90.0, 180.0, 60.0  # room on a busy machine; never asserted
POLL_SECONDS = 0.02
PAGE_TEXTS = ("title", "header", "markdown", "text", "caption", "info", "warning", "error", "success", "code")


class Workspace:
    """A data folder, and what people and runners do with it.

    ``ahead`` moves its clock, in seconds; ``policy`` and ``batches_a_minute`` are its runner's; ``cohort`` is the
    cohort added last.
    """

    def __init__(self, data_dir: Path, sandbox: Sandbox | None = None) -> None:
        """Work on a data folder, which need not hold a database yet."""
        self.data_dir, self.env = data_dir, {"COHORT_SYNC_DATA": str(data_dir)}
        self.ahead, self.cohort = 0.0, 0
        self.policy: RetryPolicy | None = None
        self.batches_a_minute: int | None = FAST
        self._sandbox = sandbox

    @property
    def sandbox(self) -> Sandbox:
        """Return the sandbox this workspace is connected to."""
        assert self._sandbox, "this workspace is not connected to a sandbox"
        return self._sandbox

    def connect(self, sandbox: Sandbox) -> None:
        """Connect both sides to the sandbox."""
        self._sandbox = sandbox
        connect(self.data_dir, sandbox)

    def add_cohort(self, size: int, name: str = "Fans") -> int:
        """Add a cohort of fan-0, fan-1, … to the sandbox and make it the workspace's; return its number."""
        self.cohort = self.sandbox.add_cohort(name, make_fans(size))
        return self.cohort

    def now(self) -> float:
        """Return the time on the workspace's clock."""
        return time.time() + self.ahead

    def open(self) -> Service:
        """Open the service at the workspace's time, as a person at the command line has it."""
        return Service(Store.open(self.data_dir), self.env, self.now, command_line_actor())

    def open_store(self) -> Store:
        """Open the store, for what only a runner writes."""
        return Store.open(self.data_dir)

    def open_database(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """Open the file itself in one transaction, for rows that no part of the product reads or writes so."""
        return open_database(self.data_dir)

    def start_export(self, cohort: int | None = None, mode: Mode = Mode.DYNAMIC, **options: Any) -> int:
        """Press Start Sync; return the number of the run."""
        with self.open() as service:
            return service.syncs.start_export(PROJECT, cohort or self.cohort, ExportTerms(mode=mode, **options)).run_id

    def run_queued(self) -> None:
        """Let a runner in this process do what can be done now."""
        Runner(self.env, Clock(self.now, time.sleep), self.policy, self.batches_a_minute).run_once()

    def export(self, cohort: int | None = None, mode: Mode = Mode.DYNAMIC, **options: Any) -> Run:
        """Export a cohort, let a runner work, and return the run; the second time this is a refresh."""
        run_id = self.start_export(cohort, mode, **options)
        self.run_queued()
        return self.get_run(run_id)

    def get_run(self, run_id: int) -> Run:
        """Return a run as it is now."""
        with self.open() as service:
            return service.runs.get(run_id)

    def read_heartbeat(self) -> float:
        """Return when a runner last gave a sign of life, 0 for never."""
        with self.open_store() as store:
            return max((one.seen_at for one in store.runners.list_heartbeats(self.now())), default=0.0)

    def read_bytes(self) -> bytes:
        """Return every byte of the files in the folder."""
        return b"".join(path.read_bytes() for path in self.data_dir.iterdir() if path.is_file())

    def page(self, name: str, **parameters: str) -> AppTest:
        """Run a page with the parameters its address would have."""
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        app.switch_page(f"pages/{name}.py")
        for parameter, value in parameters.items():
            app.query_params[parameter] = value
        app.run()
        assert not app.exception
        return app

    def run_command(self, *arguments: str, **environment: str) -> Result:
        """Run a command on the data folder in this process; keywords are environment variables, secrets for instance."""
        return CliRunner().invoke(cli, arguments, env=self.env | environment)

    def read_answer(self, *arguments: str) -> Any:
        """Run a command with --json in this process and return its one document."""
        done = self.run_command(*arguments, "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    def run_cli(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m sync …` in a process of its own; keywords are environment variables."""
        return run_cli(self.data_dir, *arguments, **environment)

    def read_json(self, *arguments: str) -> Any:
        """Run a command with --json and return its one document."""
        done = self.run_cli(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def export_by_command(self, cohort: int, mode: str = "dynamic") -> dict[str, Any]:
        """Export a cohort from the command line, wait for the end and return the run."""
        started = self.read_json("export", str(cohort), "--mode", mode, "--wait")
        run: dict[str, Any] = self.read_json("run", str(started["run_id"]))
        return run


def sign_in_as(monkeypatch: pytest.MonkeyPatch, name: str, level: AccessLevel) -> None:
    """Let the pages that run in this process see somebody signed in with this address and access level.

    Everything that asks who it is looks it up at that moment, so nothing of it is left for the next test.
    """
    claims = {"is_logged_in": True, "email": name, "email_verified": True}
    monkeypatch.setattr("pages.parts.session.read_sign_in", lambda _: SignIn(required=True))
    monkeypatch.setattr("streamlit.user", SimpleNamespace(to_dict=lambda: claims))
    monkeypatch.setenv(f"COHORT_SYNC_{level.name}S", name)


def make_fans(count: int) -> list[Member]:
    """Return fan-0, fan-1, … with an e-mail address each."""
    return [member(f"fan-{number}", **{"$email": f"fan{number}@example.com"}) for number in range(count)]


def service(data_dir: Path) -> Service:
    """Open the service on a data folder, as a person at the command line has it."""
    return Service.open({"COHORT_SYNC_DATA": str(data_dir)})


def connect(data_dir: Path, sandbox: Sandbox) -> None:
    """Connect a data folder to both sides of the sandbox."""
    with service(data_dir) as here:
        here.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        here.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)


def list_runs(data_dir: Path) -> tuple[Run, ...]:
    """Return the last runs, the newest first."""
    with service(data_dir) as here:
        return here.runs.list(limit=100)


def run_queued(data_dir: Path) -> None:
    """Execute every queued run to its end in this process."""
    Runner({"COHORT_SYNC_DATA": str(data_dir)}, a_minute=FAST).run_once()


@contextmanager
def open_database(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the database file at the newest schema; commit at the end, roll back after an exception."""
    Store.open(data_dir).close()
    with closing(sqlite3.connect(data_dir / "app.db")) as db, db:
        yield db


def read_everything_stored(folder: Path) -> bytes:
    """Return every byte of the files but the key, and every packed value of every table unpacked."""
    found = [path.read_bytes() for path in folder.iterdir() if path.name != "secret.key"]
    with closing(sqlite3.connect(folder / "app.db")) as db:
        for [table] in db.execute("select name from sqlite_master where type = 'table'").fetchall():
            found += [_unpack(value) for row in db.execute(f"select * from {table}") for value in row]
    return b"\n".join(found)


def _unpack(value: object) -> bytes:
    if isinstance(value, bytes):
        try:
            return zstandard.decompress(value)
        except zstandard.ZstdError:
            return value
    return str(value).encode()


def make_environment(data_dir: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process that works on a data folder; the tester's own key and lists stay out."""
    ignored = ("COHORT_SYNC_KEY", *ACCESS_VARIABLES)
    inherited = {name: value for name, value in os.environ.items() if name not in ignored}
    return inherited | {"COHORT_SYNC_DATA": str(data_dir), "PYTHONUNBUFFERED": "1"} | more


def run_cli(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m sync …` on a data folder; keywords are environment variables, secrets for instance."""
    env = make_environment(data_dir, **environment)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = start_module("sync", *arguments, env=env, stdout=out, stderr=err)
        try:
            code = process.wait(CLI_SECONDS)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(process.args, code, out.read(), err.read())


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check that a process ended with exit code 1 and one plain sentence that holds these words."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def wait_until(question: Callable[[], bool]) -> None:
    """Ask again and again until the answer is yes."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not question():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_pages(port: int, env: dict[str, str], log: IO[bytes]) -> Process:
    """Start the process that serves the pages on a port."""
    return start_module("streamlit", *make_pages_options(port), env=env, stdout=log, stderr=log)


def make_pages_options(port: int) -> list[str]:
    """Return the arguments with which Streamlit serves the pages on a port."""
    return ["run", "app.py", "--server.headless", "true", "--server.port", str(port)]


def wait_until_healthy(process: Process | subprocess.Popen[bytes], url: str) -> None:
    """Wait until the pages answer."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), direct.open(f"{url}/_stcore/health", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError("The pages did not start; look at their log.")


def page_text(app: AppTest) -> str:
    """Return everything a page says in words."""
    return "\n".join(str(element.value) for kind in PAGE_TEXTS for element in app.get(kind)).replace("\\", "")


def page_numbers(app: AppTest) -> dict[str, str]:
    """Return the numbers that a page shows by their labels: each caption that a text follows."""
    shown: list[Any] = [one for one in app.main if getattr(one, "type", "") in ("caption", "text")]
    return {
        label.value: number.value
        for label, number in pairwise(shown)
        if (label.type, number.type) == ("caption", "text")
    }


def click_button(app: AppTest, label: str) -> None:
    """Click the button with this label."""
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
