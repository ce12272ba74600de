"""Disasters of a round, drawn by the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import Any

from tests.sandbox.control import Sandbox

Drawn = tuple[str, dict[str, Any]]

FAULTS: tuple[Callable[[random.Random], Drawn], ...] = (
    lambda r: ("status", {"code": 429}),
    lambda r: ("status", {"code": 429, "retry_after": r.choice([0, 1])}),
    lambda r: ("status", {"code": 429, "retry_after": formatdate(time() + 1, usegmt=True), "api": "webengage"}),
    lambda r: ("status", {"code": r.choice([500, 503])}),
    lambda r: ("html", {"code": 502}),
    lambda r: ("reset", {}),
    lambda r: ("vanish", {"api": "webengage"}),
    lambda r: ("vanish", {"api": "webengage", "probability": 0.3, "times": 20, "seed": r.randrange(999)}),
    lambda r: ("stall", {"seconds": 0.7}),
    lambda r: ("slow", {"ms": 300, "times": 10}),
    lambda r: ("truncated", {}),
    lambda r: ("garbled", {}),
    lambda r: ("says_error", {}),
    lambda r: ("expired_session", {}),
    lambda r: ("empty_page", {"page": r.choice([0, 1, 2])}),
    lambda r: ("short_page", {"page": r.choice([0, 1, 2])}),
    lambda r: ("duplicate_ids", {"by": r.choice([1, 30]), "page": 1}),
    lambda r: ("displaced", {"by": r.choice([1, 30]), "page": r.choice([1, 2])}),
    lambda r: ("wrong_total", {"by": r.choice([-40, 40]), "page": 0}),
    lambda r: ("integer_ids", {"page": r.choice([0, 1]), "times": 3}),
    lambda r: ("status", {"code": r.choice([401, 403, 404]), "api": r.choice(["mixpanel", "webengage"])}),
    lambda r: ("status", {"code": 400, "api": "webengage"}),
)


def arm(sandbox: Sandbox, random_: random.Random, tally: Counter[str]) -> None:
    """Arm up to three faults, some of them only after a few requests."""
    for _ in range(random_.choice([0, 1, 1, 2, 3])):
        kind, details = random_.choice(FAULTS)(random_)
        name = f"{kind} {details['code']}" if kind == "status" else kind
        tally[f"fault: {name}"] += 1
        sandbox.fault(kind, **{"after": random_.choice([0, 0, 1, 3, 8]), **details})
