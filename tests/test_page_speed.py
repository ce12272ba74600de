"""Requests that pages repeat every few seconds cost the same after years, counted in SQLite's own steps."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import pytest

from sync.model import RunState
from sync.service import Service
from sync.store import Store
from sync.store.database import open_database as connect_to_file
from tests.sandbox.control import LICENSE, PROJECT, Sandbox
from tests.workspace import Workspace, open_database

FEW, MANY = 200, 5_000
PAGE_REQUESTS: dict[str, Callable[[Service], object]] = {
    "health": lambda here: here.check_health(),
    "overview": lambda here: here.overview.read(PROJECT),
    "days": lambda here: here.overview.list_daily_sizes(PROJECT),
    "people of a run": lambda here: here.runs.list_people(1),
    "syncs": lambda here: here.syncs.list(PROJECT),
    "sizes": lambda here: here.syncs.list_sizes(2, 24),
    "runs": lambda here: here.runs.list(None, None, 25, 0, PROJECT),
    "runs of a sync": lambda here: here.runs.list(2, RunState.SUCCEEDED, 20),
    "a run": lambda here: (here.runs.get(1), here.syncs.get(1), here.runs.list_events(1), here.runs.list_rejections(1)),
}


def lengthen(data_dir: Path, first: int, last: int) -> None:
    """Write a history: a run has two events and a rejection forgiven since; all but three are the first sync's."""
    runs = range(first, last)
    with open_database(data_dir) as db:
        db.executemany(
            "insert or ignore into sync (id, project_id, cohort_id, cohort_name, license_code, attribute, "
            "mode, state, schedule_anchor) values (?1, ?2, ?1, 'One', ?3, 'Name ' || ?1, 'one-time', 'finished', 0)",
            ((n, PROJECT, LICENSE) for n in (1, 2)),
        )
        db.executemany(
            "insert into run (id, sync_id, state, purpose, queued_at, finished_at, not_before) "
            "values (?, ?, 'succeeded', 'refresh', 0, 0, 0)",
            ((n, 2 if n < 4 else 1) for n in runs),
        )
        db.executemany(
            "insert into event (at, sync_id, run_id, message) values (0, 1, ?, 'Planned.')",
            ((n // 2,) for n in range(2 * first, 2 * last)),
        )
        db.executemany(
            "insert into rejection (run_id, sync_id, user_id, kind, outcome, reason, at, active) "
            "values (?, 1, 'a', 'add', 'rejected', 'bad', 0, 0)",
            ((n,) for n in runs),
        )
        db.execute("update sync set last_run_id = ?", (last - 1,))


def count_steps(data_dir: Path, request: Callable[[Service, Store], object]) -> int:
    """Return how many steps of its machine SQLite takes for one request."""
    taken = [0]

    def step() -> int:
        taken[0] += 1
        return 0

    with closing(connect_to_file(data_dir)) as db:
        store = Store(db, data_dir)
        service = Service(store, {"COHORT_SYNC_DATA": str(data_dir)})
        db.set_progress_handler(step, 1)
        request(service, store)
        db.set_progress_handler(None, 1)
    return taken[0]


@pytest.mark.parametrize("name", list(PAGE_REQUESTS))
def test_a_page_request_after_years_of_history_costs_the_same(name: str, data_dir: Path) -> None:
    """With 25 times the runs, events and rejections no request takes more of SQLite's steps: nothing is searched through."""
    lengthen(data_dir, 1, FEW)
    before = count_steps(data_dir, lambda here, _: PAGE_REQUESTS[name](here))
    lengthen(data_dir, FEW, MANY)
    assert count_steps(data_dir, lambda here, _: PAGE_REQUESTS[name](here)) <= 1.2 * before


def test_an_accepted_batch_after_years_of_history_costs_the_same(data_dir: Path) -> None:
    """Clearing the earlier rejections of people who were accepted now searches nothing."""
    people = [f"user-{n}" for n in range(25)]
    taken = []
    for first, last in ((1, FEW), (FEW, MANY)):
        lengthen(data_dir, first, last)
        taken.append(count_steps(data_dir, lambda _, store: store.rejections.clear_taken(1, 1, people)))
    assert taken[1] <= 1.2 * taken[0]


def test_a_query_behind_thousands_of_others_costs_the_same(data_dir: Path) -> None:
    """A cohort of a million asks for a thousand pages an hour; no page searches through the ones before."""
    lengthen(data_dir, 1, FEW)
    taken = []
    for first, last in ((0, 40), (40, 1000)):
        with closing(connect_to_file(data_dir)) as db, db:
            db.executemany(
                "insert into mixpanel_query (project_id, at, is_later_page, in_flight_until, owner) values (?, ?, 1, -1, 'x')",
                ((PROJECT, float(n)) for n in range(first, last)),
            )
        taken.append(
            count_steps(data_dir, lambda _, store: store.rate_limits.acquire_query(PROJECT, 2000.0, later_page=True))
        )
    assert taken[1] <= 1.2 * taken[0]


def test_streamlit_after_a_page_run_collects_no_garbage() -> None:
    """A collection goes through every object of the process and costs more than the page itself."""
    settings = tomllib.loads(
        (Path(__file__).resolve().parents[1] / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    )
    assert settings["runner"]["postScriptGC"] is False


def test_a_row_of_cohorts_costs_no_column_and_no_look_at_sign_in(connected: Workspace, sandbox: Sandbox) -> None:
    """Twenty rows ask as often who is signed in as two do; a browser draws a column around each cell slowly."""
    looks = []
    for size in (2, 18):
        for number in range(size):
            sandbox.add_cohort(f"Cohort {size}-{number}", [])
        with connected.open() as service:
            service.cohorts.list(fresh=True)
        with counted_calls("read_sign_in") as calls:
            app = connected.page("cohorts")
        assert len([button for button in app.button if button.label == "Export"]) == size + 2 * (size > 2)
        assert not app.columns
        looks.append(calls[0])
    assert looks[0] == looks[1] > 0


def test_a_poll_of_many_rows_asks_once_who_is_signed_in_and_draws_no_column(connected: Workspace) -> None:
    """A list of twenty runs, each kept up to date by itself, reads the sign-in settings as often as one of two runs.

    A column around each cell is one more message of each poll, and there are six cells in a row.
    """
    looks = []
    for first, last in ((1, 3), (3, 21)):
        lengthen(connected.data_dir, first, last)
        with counted_calls("read_sign_in") as calls:
            app = connected.page("runs")
        assert len([button for button in app.button if button.label.startswith("Run ")]) == last - 1
        assert not app.columns and not connected.page("syncs").columns
        looks.append(calls[0])
    assert looks[0] == looks[1] > 0


@contextmanager
def counted_calls(name: str) -> Iterator[list[int]]:
    """Count the calls of a function by its name, in every thread begun meanwhile: a page is drawn in one."""
    calls = [0]

    def note(frame: FrameType, event: str, _: object) -> None:
        calls[0] += event == "call" and frame.f_code.co_name == name

    threading.setprofile(note)
    try:
        yield calls
    finally:
        threading.setprofile(None)
