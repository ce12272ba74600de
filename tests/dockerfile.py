"""Do the steps of the Dockerfile in a clean folder without Docker, start what compose.yaml starts, and check its health.

Then the commands of docs/operations.md for a container (`docker compose exec`) run there, beside the services.

`python -m tests.dockerfile` uses a fresh virtual environment in the place of the image's Python, and a folder in
the place of its root. As root, services run as compose.yaml has them: as the image's user without capabilities or new
privileges, and with everything read-only but /data and /tmp. Otherwise, or when that user cannot reach this machine's
Python, they run as whoever started this, and say so.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.documented_lines import read_container_commands
from tests.workspace import ROOT, free_port

DOCKERFILE, COMPOSE = ROOT / "Dockerfile", ROOT / "compose.yaml"
HEALTHY_SECONDS = 120.0
POLL_SECONDS = 1.0
# Arguments: a folder to write to, a folder of its own in memory, the user, the command. The user cannot mount.
CONFINE = """
mount --make-rprivate / && mount --bind "$1" "$1" && mount -t tmpfs -o mode=1777 tmpfs "$2"
findmnt --noheadings --raw --output TARGET | while read -r place; do
  case $(printf '%b' "$place") in "$1" | "$2" | /proc | /proc/* | /sys | /sys/* | /dev | /dev/*) ;;
  *) mount -o remount,bind,ro "$(printf '%b' "$place")" || exit 1 ;; esac
done || exit 1
touch "$0" 2>/dev/null && exit 1
user=$3; shift 3
exec setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def read_steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile, each with the rest of its line."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


class Image:
    """Make a folder in the place of the image's root, and the environment of its processes."""

    def __init__(self, root: Path) -> None:
        """Begin with the Python of a fresh virtual environment, as the base image has one."""
        self._root, self._place, self._user = root, root, ""
        self.environment = {"PATH": f"{root}/python/bin:{os.environ['PATH']}", "PIP_NO_INPUT": "1"}
        self.command: list[str] = []
        venv.create(root / "python", with_pip=True)
        if os.geteuid() != 0:  # only root can give a folder away; the rest of the step is done all the same
            (root / "python" / "bin" / "chown").symlink_to("/bin/true")

    def do(self, word: str, rest: str) -> None:
        """Do one step; raise for one that is not known here, so that no step is left out unnoticed."""
        if word == "WORKDIR":
            self._place = self.locate(rest)
            self._place.mkdir(parents=True)
        elif word == "COPY":
            self._copy(*rest.split())
        elif word == "RUN":
            command = rest.replace("/data", str(self.locate("/data")))
            subprocess.run(["/bin/sh", "-ec", command], cwd=self._place, env=self.environment, check=True)
        elif word == "ENV":
            pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
            self.environment |= pairs | {name: str(self.locate(pairs[name])) for name in ("COHORT_SYNC_DATA", "HOME")}
            self.environment["TMPDIR"] = self.environment["HOME"]
            self.locate(pairs["HOME"]).mkdir()
        elif word == "USER":
            self._user = rest.partition(":")[0]
        elif word == "CMD":
            self.command = json.loads(rest)
        elif word not in ("FROM", "VOLUME", "EXPOSE"):
            raise AssertionError(f"tests/dockerfile.py does not know the step {word}")

    def locate(self, path: str) -> Path:
        """Return where an absolute path of the image is here."""
        return self._root / path.lstrip("/")

    def _copy(self, source: str, target: str) -> None:
        found, place = ROOT / source, self._place / target
        if found.is_dir():
            shutil.copytree(found, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, place)

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command of the image, confined as compose.yaml has it where that is possible."""
        if os.geteuid() == 0 and self._user and not self._can_run_python():
            os.chown(self.locate("/data"), os.geteuid(), os.getegid())
            print(f"The user {self._user} cannot be confined, or cannot reach Python; run as root instead.", flush=True)
            self._user = ""
        if os.geteuid() == 0 and self._user:
            command = self._confine(command)
        return subprocess.Popen(command, cwd=self._place, env=self.environment, text=True, **options)

    def _confine(self, command: list[str]) -> list[str]:
        """Return the command that runs another one as the image's user, on a file system it cannot write to."""
        marker = str(self.locate("/written"))
        places = [str(self.locate(place)) for place in ("/data", "/tmp")]  # noqa: S108  # a folder of the image
        return ["unshare", "--mount", "sh", "-c", CONFINE, marker, *places, self._user, *command]

    def _can_run_python(self) -> bool:
        command = self._confine([f"{self._root}/python/bin/python", "-c", ""])
        return subprocess.run(command, cwd=self._place, env=self.environment, check=False).returncode == 0


def wait_until_healthy(image: Image, name: str, check: list[str]) -> None:
    """Wait until a service's health check of compose.yaml says that it is well."""
    command = check[1:] if check[0] == "CMD" else ["/bin/sh", "-c", check[1]]
    deadline = time.monotonic() + HEALTHY_SECONDS
    while image.start(command, stderr=subprocess.DEVNULL).wait():
        if time.monotonic() > deadline:
            sys.exit(f"{name} did not become healthy.")
        time.sleep(POLL_SECONDS)
    print(f"{name} is healthy.", flush=True)


def main() -> None:
    """Do all steps, start both services, and wait for their health checks."""
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    with tempfile.TemporaryDirectory(prefix="cohort-sync-image-") as folder:
        Path(folder).chmod(0o755)
        image = Image(Path(folder))
        for word, rest in read_steps(DOCKERFILE.read_text(encoding="utf-8")):
            print(word, rest, flush=True)
            image.do(word, rest)
        port = str(free_port())
        image.environment["STREAMLIT_SERVER_PORT"] = port
        started = {name: image.start(one.get("command", image.command)) for name, one in services.items()}
        try:
            for name, one in services.items():
                wait_until_healthy(
                    image, name, [word.replace(":8501", f":{port}") for word in one["healthcheck"]["test"]]
                )
            for service, command in read_container_commands():
                print(f"In {service}:", shlex.join(command), flush=True)
                if service not in services or image.start(command).wait():
                    sys.exit(f"The command for {service} failed.")
        finally:
            for process in started.values():
                process.terminate()
            for process in started.values():
                process.wait()


if __name__ == "__main__":
    main()
