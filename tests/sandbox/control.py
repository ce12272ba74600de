"""The sandbox as tests use it: start it, shape it, break it, look at it, stop it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import requests

from .names import (
    ANALYST_SECRET,
    ANALYST_USERNAME,
    API_KEY,
    API_KEY_2,
    BLIND_SECRET,
    BLIND_USERNAME,
    CUSTOM_SECRET,
    CUSTOM_USERNAME,
    LICENSE,
    LICENSE_2,
    PROJECT,
    PROJECT_NAME,
    SECRET,
    USERNAME,
)

__all__ = [
    "ANALYST_SECRET",
    "ANALYST_USERNAME",
    "API_KEY",
    "API_KEY_2",
    "BLIND_SECRET",
    "BLIND_USERNAME",
    "CUSTOM_SECRET",
    "CUSTOM_USERNAME",
    "LICENSE",
    "LICENSE_2",
    "PROJECT",
    "PROJECT_NAME",
    "SECRET",
    "USERNAME",
    "Meter",
    "Sandbox",
    "anonymous",
    "member",
    "odd",
]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
ANSWER_SECONDS = 120.0
USER_ID_MAX = 100  # WebEngage docs, users API
DEVICE = "$device:"  # Mixpanel docs, ID merge

Member = dict[str, Any]


def member(user_id: str | int, **properties: Any) -> Member:
    """Return a member with a profile; with an email if nothing else is said."""
    return {"id": user_id, "properties": properties or {"$email": f"{user_id}@example.com"}}


def anonymous(user_id: str) -> Member:
    """Return a member without a profile."""
    return {"id": user_id, "properties": None}


def odd(kind: str, user_id: str = "odd", place: str = "id") -> Member:
    """Return a row that is odd in its id, in the property named by ``place``, or as a whole ("row"); kinds in ``odd.KINDS``."""
    return {"id": user_id, "odd": kind, "place": place}


@dataclass(frozen=True)
class Meter:
    """Counts of the requests so far, and the highest values reached."""

    requests: dict[str, int]
    queries_in_an_hour: dict[str, int]
    """By project id: the most counted queries in any rolling hour, refused ones included."""
    queries_at_once: dict[str, int]
    bulk_in_a_minute: dict[str, int]
    """By license: the most bulk requests in any rolling 60 s, refused ones included."""
    refused: dict[str, int]
    """429s given, by "mixpanel" and "webengage"."""
    over_limit: dict[str, int]
    """Of those, the ones no fault asked for: a limit was really exceeded."""
    bulk_per_second: list[list[int]]
    repeated_request_ids: int
    """Requests that came with an x-request-id seen before."""
    applied_again: int
    """Of those, how many had been applied already."""
    told_again: int
    """People sent what they held already."""
    lost_answers: int
    """Bulk requests that were taken while a fault kept the answer from arriving whole."""
    users_delivered: int


class Process(Protocol):
    """The process of a sandbox."""

    def terminate(self) -> None:
        """Ask it to end."""

    def wait(self, seconds: float, /) -> int:
        """Return its exit code when it has ended."""


class Sandbox:
    """A running sandbox; as a context manager it stops at the end."""

    def __init__(self, process: Process, url: str) -> None:
        self.process, self.url = process, url
        self._web = requests.Session()
        self._web.trust_env = False

    @classmethod
    def start(cls, empty: bool = True, **options: Any) -> Self:
        """Start the process on a free port and wait until it listens; options are those of the command line."""
        options.setdefault("port", 0)
        command = [sys.executable, "-m", "tests.sandbox", "--parent", str(os.getpid()), *_flags(options)]
        command += ["--empty"] if empty else []
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            return cls(process, _ready_url(process))
        except BaseException:
            process.kill()
            raise

    def stop(self) -> None:
        """End the process."""
        self._web.close()
        self.process.terminate()
        self.process.wait(START_SECONDS)
        if isinstance(self.process, subprocess.Popen) and self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send one control request; a refusal is an AssertionError with its words."""
        reply = self._web.request(method, f"{self.url}/sandbox/{path}", json=body, params=query, timeout=ANSWER_SECONDS)
        if not reply.ok:
            raise AssertionError(f"{method} /sandbox/{path}: {reply.text}")
        return reply.json()

    def health(self) -> None:
        """Check that it answers."""
        self.call("GET", "health")

    def reset(self, *, empty: bool = True, seed: int = 7) -> None:
        """Begin again: cohorts, profiles, faults, meters, settings and clock."""
        self.call("POST", "reset", {"empty": empty, "seed": seed})

    def add_project(self, project: int, name: str = "", **account: str) -> int:
        """Open a Mixpanel project, for the demo's service account or `username`, `secret` and `role`."""
        return self.call("POST", "projects", {"id": project, "name": name, **account})["id"]

    def add_account(self, license_code: str, key: str) -> None:
        """Open a WebEngage account."""
        self.call("POST", "accounts", {"license": license_code, "key": key})

    def cohorts(self) -> list[dict[str, Any]]:
        """Every cohort, as /cohorts/list shows it."""
        return self.call("GET", "cohorts")

    def add_cohort(
        self, name: str, members: list[Member] | None = None, *, project: int = PROJECT, **fields: Any
    ) -> int:
        """Make a cohort: from members, or with `generate={"count": …}`; returns its id."""
        body = {"name": name, "project": project, **fields}
        body |= {} if members is None else {"members": members}
        return self.call("POST", "cohorts", body)["id"]

    def generate(self, name: str, count: int, *, project: int = PROJECT, **recipe: Any) -> int:
        """Make a cohort of many: `seed`, `ids` ("uuid" or "sequential"), `properties`, `anonymous` (how many)."""
        return self.add_cohort(name, project=project, generate={"count": count, **recipe})

    def set_members(self, cohort_id: int, members: list[Member]) -> None:
        """Replace who is in a cohort."""
        self.call("PUT", f"cohorts/{cohort_id}", {"members": members})

    def churn(self, cohort_id: int, fraction: float, seed: int = 0) -> tuple[int, int]:
        """Let a part of a cohort leave and as many enter; returns (entered, left)."""
        reply = self.call("PUT", f"cohorts/{cohort_id}", {"churn": {"fraction": fraction, "seed": seed}})
        return reply["entered"], reply["left"]

    def rename_cohort(self, cohort_id: int, name: str) -> None:
        """Give a cohort another name."""
        self.call("PUT", f"cohorts/{cohort_id}", {"name": name})

    def delete_cohort(self, cohort_id: int) -> None:
        """Take a cohort away."""
        self.call("PUT", f"cohorts/{cohort_id}", {"deleted": True})

    def exportable(self, cohort_id: int) -> set[str]:
        """Return who in a cohort has a profile, a real user id and one that WebEngage takes."""
        ids = self.call("GET", f"cohorts/{cohort_id}/ids")["with_profile"]
        return {user_id for user_id in ids if _sendable(user_id)}

    def fault(self, kind: str, **details: Any) -> None:
        """Arm a fault: `api`, `path`, `times` (0: for ever), `after`, `page`, `probability`, and what it needs."""
        self.call("POST", "faults", {"kind": kind, **details})

    def poison(self, *user_ids: str) -> None:
        """Have WebEngage reject every request that carries one of these."""
        self.fault("poison", user_ids=list(user_ids))

    def person_fails(self, *user_ids: str, code: int = 500) -> None:
        """Have WebEngage answer every request that carries one of these with a server's error."""
        self.fault("person_fails", user_ids=list(user_ids), code=code)

    def refuse_everybody(self, reason: str, code: int = 400) -> None:
        """Have WebEngage refuse every batch for one and the same reason; a check still passes."""
        body = {"response": {"message": reason, "status": "error"}}
        self.fault("status", api="webengage", path="bulk-users", times=0, code=code, body=body)

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults still in force."""
        return self.call("GET", "faults")

    def clear_faults(self) -> None:
        """Let everything work again, poison included."""
        self.call("DELETE", "faults")

    def holding(self, attribute: str, license_code: str = LICENSE) -> tuple[set[str], set[str]]:
        """Whom WebEngage holds the attribute true for, and whom false."""
        sides = self.call("GET", "profiles", license=license_code, attribute=attribute)
        return set(sides["true"]), set(sides["false"])

    def profile(self, user_id: str, license_code: str = LICENSE) -> dict[str, Any] | None:
        """Everything WebEngage holds about one person; nothing for a stranger."""
        return self.call("GET", "profile", license=license_code, user_id=user_id)

    def profile_count(self, license_code: str = LICENSE) -> int:
        """Return how many people WebEngage knows."""
        return self.call("GET", "profiles/count", license=license_code)["count"]

    def attributes(self, license_code: str = LICENSE) -> dict[str, str]:
        """Return the custom attributes of an account and their types."""
        return self.call("GET", "attributes", license=license_code)

    def events(self, license_code: str = LICENSE) -> list[dict[str, Any]]:
        """Return the events WebEngage took."""
        return self.call("GET", "events", license=license_code)

    def meter(self) -> Meter:
        """Return what was asked so far."""
        return Meter(**self.call("GET", "meter"))

    def log(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return the last API requests, oldest first."""
        return self.call("GET", "log", limit=limit)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change readings and limits; returns them all."""
        return self.call("POST", "settings", changes)

    def advance(self, seconds: float) -> None:
        """Move the sandbox's own clock ahead."""
        self.settings(advance=seconds)


def _sendable(user_id: str) -> bool:
    return 0 < len(user_id) <= USER_ID_MAX and not user_id.startswith(DEVICE)


def _flags(options: dict[str, Any]) -> list[str]:
    flags: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        flags += [flag] * value if isinstance(value, bool) else [flag, str(value)]
    return flags


def _ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    if "ready on " not in line:
        raise RuntimeError("The sandbox did not start; its words are above.")
    return line.split("ready on ")[1].strip()
