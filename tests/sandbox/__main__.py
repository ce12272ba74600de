"""`python -m tests.sandbox`: both APIs on this machine."""

from __future__ import annotations

import argparse

from . import settings
from .seed import seed_world
from .server import serve
from .settings import Settings
from .world import World

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORT = 8899
DEFAULT_SEED = 7


def options() -> argparse.ArgumentParser:
    """Read the options and serve until ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 picks a free one")
    parser.add_argument("--host", choices=LOOPBACK, default=LOOPBACK[0])
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--empty", action="store_true", help="begin without cohorts")
    parser.add_argument("--latency", type=float, default=0.0, metavar="MS")
    parser.add_argument("--drift", type=float, default=0.0, metavar="SECONDS", help="cohorts change this often")
    parser.add_argument("--page-size", type=int, default=settings.PAGE_SIZE)
    parser.add_argument("--count-pages", action="store_true", help="pages above 0 count as queries")
    parser.add_argument("--queries-per-hour", type=int, default=settings.QUERIES_PER_HOUR)
    parser.add_argument("--concurrent", type=int, default=settings.CONCURRENT_QUERIES)
    parser.add_argument("--bulk-per-minute", type=int, default=settings.BULK_PER_MINUTE)
    parser.add_argument("--parent", type=int, default=0, help="end when this process is gone")
    return parser


def main() -> None:
    """Make the world and serve it."""
    given = vars(options().parse_args())
    host, port, parent = given.pop("host"), given.pop("port"), given.pop("parent")
    seed, empty = given.pop("seed"), given.pop("empty")
    world = World(Settings(**given))
    if not empty:
        seed_world(world, seed)
    serve(world, host, port, parent)


if __name__ == "__main__":
    main()
