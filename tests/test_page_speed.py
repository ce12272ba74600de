"""What pages ask every few seconds costs the same after years: counted in the database's own steps, not in time."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from sync.model import RunState
from sync.service import Service
from sync.store import Store
from tests.browser import service
from tests.sandbox.control import LICENSE, PROJECT

FEW, MANY = 200, 5_000
LOOKS: dict[str, Callable[[Service], object]] = {
    "health": lambda here: here.check_health(),
    "syncs": lambda here: here.list_syncs(PROJECT),
    "sizes": lambda here: here.list_sizes(2, 24),
    "runs": lambda here: here.list_runs(None, None, 25, 0, PROJECT),
    "runs of a sync": lambda here: here.list_runs(2, RunState.SUCCEEDED, 20),
    "a run": lambda here: (here.get_run(1), here.get_sync(1), here.list_events(1), here.list_rejections(1)),
}


def lengthen(data_dir: Path, first: int, last: int) -> None:
    """Write a history: a run has two events and a rejection forgiven since; all but three are the first sync's."""
    runs = range(first, last)
    with Store.open(data_dir) as store, store.transaction():
        store._db.executemany(
            "insert or ignore into sync (id, project_id, cohort_id, cohort_name, license_code, attribute, "
            "mode, state, schedule_anchor) values (?1, ?2, ?1, 'One', ?3, 'Name ' || ?1, 'one-time', 'finished', 0)",
            ((n, PROJECT, LICENSE) for n in (1, 2)),
        )
        store._db.executemany(
            "insert into run (id, sync_id, state, purpose, queued_at, finished_at, not_before) "
            "values (?, ?, 'succeeded', 'refresh', 0, 0, 0)",
            ((n, 2 if n < 4 else 1) for n in runs),
        )
        store._db.executemany(
            "insert into event (at, sync_id, run_id, message) values (0, 1, ?, 'Told.')",
            ((n // 2,) for n in range(2 * first, 2 * last)),
        )
        store._db.executemany(
            "insert into rejection (run_id, sync_id, user_id, kind, reason, at, active) "
            "values (?, 1, 'a', 'add', 'bad', 0, 0)",
            ((n,) for n in runs),
        )
        store._db.execute("update sync set last_run_id = ?", (last - 1,))


def steps(here: Service, look: Callable[[Service], object]) -> int:
    """How many steps of its machine SQLite takes for one look."""
    taken = [0]

    def step() -> int:
        taken[0] += 1
        return 0

    here._store._db.set_progress_handler(step, 1)
    try:
        look(here)
    finally:
        here._store._db.set_progress_handler(None, 1)
    return taken[0]


@pytest.mark.parametrize("name", list(LOOKS))
def test_a_look_costs_the_same_after_years(name: str, data_dir: Path) -> None:
    """With 25 times the runs, events and rejections no look takes more of SQLite's steps: nothing is searched through."""
    lengthen(data_dir, 1, FEW)
    with service(data_dir) as here:
        before = steps(here, LOOKS[name])
    lengthen(data_dir, FEW, MANY)
    with service(data_dir) as here:
        assert steps(here, LOOKS[name]) <= 1.2 * before


def test_settling_a_batch_searches_nothing(data_dir: Path) -> None:
    """Forgetting the earlier rejections of people who were accepted now costs the same after years."""
    people = [f"user-{n}" for n in range(25)]
    taken = []
    for first, last in ((1, FEW), (FEW, MANY)):
        lengthen(data_dir, first, last)
        with service(data_dir) as here:
            taken.append(steps(here, lambda here: here._store.batches.clear_rejections(1, 1, people)))
    assert taken[1] <= 1.2 * taken[0]


def test_streamlit_collects_no_garbage_after_every_look() -> None:
    """It would go through every object of the process after each of them, which costs more than all the rest."""
    settings = tomllib.loads(
        (Path(__file__).resolve().parents[1] / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    )
    assert settings["runner"]["postScriptGC"] is False
