"""The promises that hold at every moment, judged between two legs of a round and between two steps of a life."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from sync.model import Run, RunState, Sync
from sync.store import rate_limits
from sync.store.rate_limits import HOUR_SECONDS, RESERVED_FOR_PEOPLE
from tests.drill.invariants import hold

NUMBER = re.compile(r"\d")


def judge_nobody_left_unproven(held_false: set[str], may_be_false: set[str]) -> None:
    """Nobody is false who never left the cohort, unless a person approved a plan that names them."""
    unproven = held_false - may_be_false
    hold(not unproven, f"{len(unproven)} false, though they never left and nobody approved it: {sorted(unproven)[:5]}")


def judge_run(run: Run, now: float) -> None:
    """Check that a held run has its numbers, a failed one its reason, and one that waits says what for."""
    if run.state is RunState.HELD:
        reason = run.held_reason or ""
        numbers = bool(NUMBER.search(reason)) or run.dry_run
        hold(numbers, f"run {run.id} is held without numbers: “{reason}”")
    if run.state is RunState.FAILED:
        hold(bool(run.error), f"run {run.id} failed without a reason")
    if run.state is RunState.QUEUED and run.not_before > now:
        hold(bool(run.wait_reason), f"run {run.id} waits without a reason")


def standing_request(sync: Sync) -> tuple[object, ...]:
    """Return what a request asks of a sync, which a request nobody approved must not change."""
    terms = (sync.mode, sync.state, sync.interval_seconds, sync.schedule_anchor, sync.mapping, sync.attribute)
    times = (sync.daily, sync.ends_at, sync.resume_at)
    return (*terms, *times, sync.license_code, sync.guard_enabled, sync.id_property)


def judge_unapproved(before: Sync, after: Sync) -> None:
    """Check that a request that was not approved changed neither the sync nor its mapping nor its schedule."""
    was, now = standing_request(before), standing_request(after)
    hold(was == now, f"an unapproved request changed the sync: {was} became {now}")


def judge_reserved_queries(folder: Path) -> None:
    """In any hour the syncs left some of Mixpanel's queries to the people at the pages, as the ledger shows."""
    limit = rate_limits.QUERIES_AN_HOUR
    most = limit - min(RESERVED_FOR_PEOPLE, limit // 2)
    with closing(sqlite3.connect(folder / "app.db", timeout=10)) as db:
        rows = db.execute(
            "select project_id, at from mixpanel_query where sync_id is not null and not is_later_page order by at"
        ).fetchall()
    for project in {row[0] for row in rows}:
        asked = most_in_an_hour(at for number, at in rows if number == project)
        hold(asked <= most, f"syncs asked {asked} queries in one hour and may ask {most}")


def most_in_an_hour(times: Iterable[float]) -> int:
    """Return how many of these times lie within one hour, at the most."""
    window: list[float] = []
    most = 0
    for at in times:
        window = [one for one in window if one > at - HOUR_SECONDS] + [at]
        most = max(most, len(window))
    return most
