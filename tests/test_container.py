"""Hold Dockerfile and compose.yaml against the project; .ci/run does the very steps (tests/dockerfile.py)."""

from __future__ import annotations

import json
import shlex
from typing import Any

import yaml

from sync.launcher import read_procfile
from tests.dockerfile import COMPOSE, DOCKERFILE, read_steps
from tests.source_files import application_files
from tests.workspace import ROOT

STEPS = list(read_steps(DOCKERFILE.read_text(encoding="utf-8")))


def read_services() -> dict[str, dict[str, Any]]:
    """Return the services of compose.yaml."""
    services: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return services


def test_image_when_built_holds_the_application_and_nothing_else() -> None:
    """Every file of the application is copied, from a place that .dockerignore lets through."""
    copied = [rest.split()[0] for word, rest in STEPS if word == "COPY"]
    assert all((ROOT / one).exists() for one in copied)
    assert {str(path).split("/")[0] for path in application_files()} <= {*copied, "app.py"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert sorted(f"!{one}" for one in copied) == sorted(line for line in ignored if line.startswith("!"))


def test_services_when_started_are_the_processes_of_the_procfile() -> None:
    """The pages and the runner, started as `make run` starts them; only the address differs."""
    [default] = [json.loads(rest) for word, rest in STEPS if word == "CMD"]
    commands = {name: one.get("command", default) for name, one in read_services().items()}
    procfile = {name: shlex.split(command) for name, command in read_procfile(ROOT / "Procfile").items()}
    assert set(commands) == set(procfile)
    for name, command in commands.items():
        assert command[:3] == ["python", *procfile[name][2:4]]


def test_services_when_started_may_do_as_little_as_possible() -> None:
    """Unprivileged, a read-only root, no capabilities, one shared volume and a health check each; the port is local."""
    [user] = [rest for word, rest in STEPS if word == "USER"]
    for one in read_services().values():
        assert one["user"] == user and one["read_only"] and one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"] and "data:/data" in one["volumes"]
        assert one["healthcheck"]["test"] and one["restart"] == "unless-stopped"
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))
