"""`python -m tests.drill --rounds N --seed S`: play rounds, print what happened, exit 1 if a promise broke."""

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
from tests.drill.readings import PAGE_SIZE
from tests.drill.round import Round
from tests.sandbox.control import Sandbox


def play(rounds: int, seed: int, tally: Counter[str], seconds: float = math.inf) -> list[str]:
    """Play this many rounds and return which promises broke; whatever else goes wrong in a round counts as one."""
    broken, end = [], time.monotonic() + seconds
    with Sandbox.start(empty=True, page_size=PAGE_SIZE) as sandbox:
        for number in range(seed, seed + rounds):
            if time.monotonic() > end:
                break
            tally["rounds played"] += 1
            sandbox.reset()
            with tempfile.TemporaryDirectory() as folder:
                one = Round(sandbox, Path(folder), number, tally)
                try:
                    one.play()
                except Exception as problem:
                    why = str(problem) if isinstance(problem, Broken) else traceback.format_exc()
                    broken.append(f"round {number}: {why}\n{one.story()}")
                    print(broken[-1], flush=True)
    return broken


def main() -> int:
    """Play and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no more of them after so long")
    asked = parser.parse_args()
    tally: Counter[str] = Counter()
    began = time.monotonic()
    broken = play(asked.rounds, asked.seed, tally, asked.seconds)
    for name, count in sorted(tally.items()):
        print(f"{count:6}  {name}")
    played = tally["rounds played"]
    print(f"{played} rounds from seed {asked.seed} in {time.monotonic() - began:.0f} s, {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
