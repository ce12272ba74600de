"""Do what `systemctl` is told about the units of docs/systemd, on machines where systemd is not the first process.

Systemd's own `systemctl` enables them in a folder that stands for the root. Starting, stopping and restarting it does
only as the first process, so this does it in its place: by what the installed units say, without their confinement,
which `systemd-analyze` judges in tests/test_documents.py.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from types import TracebackType

from tests.documented_lines import localise
from tests.workspace import ROOT, make_environment

UNITS = "etc/systemd/system"
STOPPED = (0, -15)  # exit codes of a service that was asked to stop: by itself, or by SIGTERM


class ServiceManager:
    """Services whose files are below a folder; all are killed at the end."""

    def __init__(self, root: Path, data_dir: Path, systemctl: str) -> None:
        """Make the folders that units and settings are put into."""
        self.root, self._data_dir, self._systemctl = root, data_dir, systemctl
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.places = {
            "/opt/cohort-sync/.venv/bin/python": sys.executable,
            "/opt/cohort-sync": ROOT,
            "/var/lib/cohort-sync": data_dir,
            "/etc/": f"{root}/etc/",
        }
        (root / UNITS).mkdir(parents=True)

    def __enter__(self) -> ServiceManager:
        """Return the manager."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: TracebackType | None) -> None:
        """Kill what still runs."""
        for process in self.running.values():
            process.kill()
            process.wait()

    def do(self, line: str) -> None:
        """Do what one `systemctl` line asks; raise for a verb that is not known here, so that none goes unnoticed."""
        _, verb, *rest = shlex.split(line)
        names = [word for word in rest if word != "--now"]
        assert verb in ("enable", "start", "stop", "restart"), line
        if verb == "enable":
            self.ask("enable", *names)
        for name in names:
            if verb in ("stop", "restart"):
                self._stop(name)
            if verb in ("start", "restart") or "--now" in rest:
                self._start(name)

    def ask(self, *arguments: str) -> str:
        """Return what systemd's `systemctl` answers about the folder; raise when it refuses."""
        command = [self._systemctl, f"--root={self.root}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _start(self, name: str) -> None:
        service = self._read_service(name)
        self.running[name] = subprocess.Popen(
            shlex.split(service["ExecStart"]),
            cwd=service["WorkingDirectory"],
            env=make_environment(self._data_dir, **self._read_settings(service)),
            umask=int(service["UMask"], 8),
            stdout=subprocess.DEVNULL,
        )

    def _stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.terminate()
        code = process.wait(float(self._read_service(name)["TimeoutStopSec"]))
        assert code in STOPPED, f"{name} ended with {code}"

    def _read_service(self, name: str) -> Mapping[str, str]:
        """Return what an installed unit says of its service, with the places of this folder; the last of two counts."""
        unit = ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(localise((self.root / UNITS / f"{name}.service").read_text("utf-8"), self.places))
        return unit["Service"]

    def _read_settings(self, service: Mapping[str, str]) -> dict[str, str]:
        """Return the environment a unit sets, and what its file of settings says, which need not exist."""
        file = Path(service["EnvironmentFile"].removeprefix("-"))
        lines = [service["Environment"], *(file.read_text("utf-8").splitlines() if file.exists() else [])]
        return dict(line.split("=", 1) for line in lines)
