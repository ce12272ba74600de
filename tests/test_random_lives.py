"""A few random lives in every test run; `python -m tests.drill.lives` lives as many as one likes."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from sync.model import Mode, Run, RunState
from sync.store import Store
from sync.store.syncs import ExportRequest, Request
from tests.drill.book import CohortBook, RequestBook
from tests.drill.invariants import Broken
from tests.drill.lives import live


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_random_lives_when_anything_is_asked_in_any_order_keep_every_promise() -> None:
    """Whatever a person asks for in whatever order, each success leaves WebEngage and the snapshot as the cohort was."""
    done: Counter[str] = Counter()
    assert live(9, 23, done) == []
    assert done["success judged"] >= 12
    assert all(
        done[name]
        for name in ("export", "change_cohort", "dry_run", "approve", "cancel", "forget", "restore", "keep_out")
    )
    assert all(done[name] for name in ("try_on_a_few", "step judged", "take_back", "take-back judged"))
    assert all(done[name] for name in ("success by property judged", "change of User ID judged"))


@pytest.fixture
def finished(data_dir: Path) -> Run:
    """Return a run of a stored sync."""
    request = ExportRequest(1, 1, "Red", "license", "Red", Mode.DYNAMIC, 7200.0, None)
    with Store.open(data_dir) as store, store.transaction():
        run_id = store.runs.enqueue_run(store.syncs.create(request, 1.0, active=True), "export", 1.0)
        run = store.runs.get_run(run_id or 0)
    assert run is not None
    return replace(run, state=RunState.SUCCEEDED, planned=True, planned_at=2.0)


@pytest.mark.parametrize(
    ("held_true", "snapshot", "broken"),
    [
        ({"a", "b"}, {"a", "b"}, ""),
        ({"a"}, {"a", "b"}, "not true in WebEngage"),
        ({"a", "b", "c"}, {"a", "b"}, "not in the cohort"),
        ({"a", "b"}, {"a"}, "not in the snapshot"),
        ({"a", "b"}, {"a", "b", "c"}, "still in the snapshot"),
    ],
)
def test_a_success_that_left_something_else_than_the_cohort_breaks_a_life(
    finished: Run, held_true: set[str], snapshot: set[str], broken: str
) -> None:
    """WebEngage and the snapshot both hold exactly who was read."""
    book = CohortBook(1, "Red", {"a": "gold", "b": "free"})
    book.note_reading(finished)
    with pytest.raises(Broken, match=broken) if broken else nullcontext():
        book.judge(finished, held_true, snapshot, set())


@pytest.mark.parametrize("approved", [True, False])
def test_a_held_request_that_goes_ahead_unapproved_breaks_a_life(finished: Run, approved: bool) -> None:
    """A run that was held may hand its request to the sync only after a person approved it."""
    book, asked = RequestBook(), Request(Mode.ONE_TIME, None)
    book.note_run(replace(finished, state=RunState.HELD, request=asked.dump()))
    book.approved |= {finished.id} if approved else set()
    with nullcontext() if approved else pytest.raises(Broken, match="nobody approved"):
        book.note_run(finished)
