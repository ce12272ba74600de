"""`make bench`: measure and print a table; when everything was measured, write it to docs/benchmarks.md.

Arguments: --members, --repeats, --latencies 50,200,800,2000, --seconds, --pages, --only refresh,ceiling,…
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psutil

from tests.bench.bench import ROOT, Row
from tests.bench.benches import ahead, ceiling, fairness, refresh, small_behind_large
from tests.bench.many import accounts, sixty
from tests.bench.one_person import one_person, overlap
from tests.bench.page_load import cohort_page, page_load

REPORT = ROOT / "docs" / "benchmarks.md"
EVERYTHING = "refresh,ahead,fairness,small,accounts,sixty,person,members,looking,ceiling"


def options() -> argparse.Namespace:
    """Return what was asked for, with the usual sizes where nothing was said."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latencies", default="50,200,800,2000")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--accounts", type=int, default=50)
    parser.add_argument("--runners", type=int, default=7)
    parser.add_argument("--syncs", type=int, default=60)
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--only", default=EVERYTHING)
    return parser.parse_args()


def list_benches(asked: argparse.Namespace) -> dict[str, Callable[[], Iterator[Row]]]:
    """Return every bench by the name that ``--only`` knows it by; none of them has begun."""
    latencies = [int(one) for one in asked.latencies.split(",")]
    return {
        "refresh": lambda: refresh(asked.members, asked.repeats),
        "ahead": lambda: ahead(asked.pages, 500),
        "fairness": lambda: fairness(200),
        "small": lambda: small_behind_large(60, 1000),
        "accounts": lambda: accounts(asked.accounts, min(asked.seconds, 60.0), asked.runners),
        "sixty": lambda: sixty(asked.syncs, 10_000, 200),
        "person": lambda: one_person(asked.syncs, 100_000),
        "members": lambda: cohort_page(10_000, 5),
        "overlap": lambda: overlap(asked.members),
        "looking": lambda: page_load(asked.tabs, 5, min(asked.seconds, 30.0)),
        "ceiling": lambda: ceiling(latencies, asked.seconds),
    }


def main() -> int:
    """Run what was asked for and write the report; return 2, and run nothing, when a name is not one of a bench."""
    asked = options()
    benches, names = list_benches(asked), asked.only.split(",")
    unknown = [name for name in names if name not in benches]
    if unknown:
        print(f"There is no bench {', '.join(unknown)}; there are {', '.join(benches)}.", file=sys.stderr)
        return 2
    rows = []
    for name in names:
        for row in benches[name]():
            rows.append(row)
            print(" | ".join(row), flush=True)
    if asked.only == EVERYTHING:
        page = REPORT.read_text(encoding="utf-8")
        REPORT.write_text(replace_table(page, _report(rows, " ".join(sys.argv[1:]))), encoding="utf-8")
    return 0


def replace_table(page: str, table: str) -> str:
    """Return the page with a new table above its first heading of a section."""
    return table + page[page.index("## ") :]


def _report(rows: list[Row], arguments: str) -> str:
    machine = (
        f"{platform.machine()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB, "
        f"Python {platform.python_version()}, {platform.system()}"
    )
    lines = [
        "# Benchmarks",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine}; "
        f"arguments: {arguments or 'none'}. Written by `make bench`; ratios are against a script of requests and pandas "
        "(`tests/bench/plain.py`) on the same sandbox in the same run.",
        "",
        "| What | Measured | Asked for |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
