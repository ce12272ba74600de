"""Random lives: a person's whole list of actions in any order, on two cohorts, with the real service and runner.

`python -m tests.drill.lives --rounds N --seed S` lives N of them; `tests/test_random_lives.py` lives a few. Every
life is repeated by its seed alone: nothing in it depends on how fast the machine is.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.drill.invariants import Broken
from tests.drill.life import Life
from tests.sandbox.control import Sandbox

PAGE_SIZE = 100
STEPS = 40


def live(rounds: int, seed: int, tally: Counter[str], steps: int = STEPS, seconds: float = math.inf) -> list[str]:
    """Live so many lives and return which promises broke; whatever else goes wrong in a life counts as one."""
    broken, end = [], time.monotonic() + seconds
    with Sandbox.start(empty=True, page_size=PAGE_SIZE) as sandbox:
        for number in range(seed, seed + rounds):
            if time.monotonic() > end:
                break
            tally["lives played"] += 1
            sandbox.reset()
            with tempfile.TemporaryDirectory() as folder:
                one = Life(sandbox, Path(folder), number, tally)
                try:
                    one.live(steps)
                except Exception as problem:
                    why = str(problem) if isinstance(problem, Broken) else traceback.format_exc()
                    broken.append(f"life {number}: {why}\n{one.story()}")
                    print(broken[-1], flush=True)
    return broken


def main() -> int:
    """Live and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill.lives", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no more of them after so long")
    asked = parser.parse_args()
    tally: Counter[str] = Counter()
    began = time.monotonic()
    broken = live(asked.rounds, asked.seed, tally, asked.steps, asked.seconds)
    for name, count in sorted(tally.items()):
        print(f"{count:6}  {name}")
    played = tally["lives played"]
    print(f"{played} lives from seed {asked.seed} in {time.monotonic() - began:.0f} s, {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
