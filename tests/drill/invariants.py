"""The promises of the design, one by one, as the sandbox and the database bear them out when a round is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sync.model import Run, RunState
from sync.packing import split_records
from sync.service import Service
from sync.store import Store
from tests.sandbox.control import Meter

IN_FLIGHT, BATCH = 24, 25  # requests in flight, people in one
QUERIES_AT_ONCE = 5


class Broken(AssertionError):
    """A promise did not hold."""


def hold(fine: bool, what: str) -> None:
    """Break the round when a promise does not hold."""
    if not fine:
        raise Broken(what)


@dataclass(frozen=True)
class Truth:
    """Return what WebEngage holds and what it should hold, without those who were poisoned."""

    held: set[str]
    left: set[str]
    expected: set[str]
    ever_left: set[str]


def judge_people(truth: Truth, snapshot: Iterable[str]) -> None:
    """Check that the attribute is true for exactly the members, false only for people who left, as in the snapshot."""
    hold(
        truth.held == truth.expected,
        f"true for {len(truth.held)}, expected {len(truth.expected)}: {sorted(truth.held ^ truth.expected)[:5]}",
    )
    hold(truth.left <= truth.ever_left, f"false without ever leaving: {sorted(truth.left - truth.ever_left)[:5]}")
    held = list(snapshot)
    hold(
        sorted(held) == sorted(truth.expected),
        f"snapshot differs: {sorted(set(held) ^ truth.expected)[:5]}, {len(held)} rows for {len(truth.expected)}",
    )


def judge_known_chunks(store: Store, sync_id: int) -> None:
    """Check that the known chunks of a sync have nobody, or exactly the people of its snapshot as they were sent."""
    known = [one for page in _known_records(store, sync_id) for one in split_records(page)]
    sent = [
        one
        for low, high in store.snapshot.ranges(sync_id)
        for one in split_records(store.snapshot.records(sync_id, low, high))
    ]
    hold(
        not known or sorted(known) == sent,
        f"known are {len(known)}, of {len(sent)} sent; {len({*known} - {*sent})} others",
    )


def _known_records(store: Store, sync_id: int) -> Iterable[bytes]:
    return store.known_chunks.records(sync_id, store.known_chunks.list_digests(sync_id))


def judge_file(store: Store) -> None:
    """Check that the database is whole."""
    hold(store.maintenance.check_integrity() is None, "the file is damaged")


def judge_meters(meter: Meter, crashes: int, halved: int) -> None:
    """Neither limit was exceeded as the sandbox counts, and no more was sent twice than there are reasons for.

    ``halved``: batches of which a part was taken when a run was left; they are sent again as a whole.
    """
    hold(not meter.over_limit, f"refused by a limit no fault set: {meter.over_limit}")
    hold(max(meter.queries_at_once.values(), default=0) <= QUERIES_AT_ONCE, "more than 5 queries at once")
    most = (crashes * IN_FLIGHT + meter.lost_answers + halved) * BATCH
    hold(
        meter.told_again <= most,
        f"{meter.told_again} people sent twice; {crashes} crashes, {meter.lost_answers} lost answers and {halved} halved "
        f"batches explain {most}",
    )


def judge_numbers(service: Service, runs: Iterable[Run]) -> None:
    """In every ended run each planned person was delivered, rejected or is still pending, by count and by name."""
    for run in runs:
        pending = run.change_count - run.delivered - run.rejected
        hold(
            run.state.is_final and pending >= 0,
            f"run {run.id}: {run.delivered} + {run.rejected} of {run.change_count} planned",
        )
        hold(pending == 0 or run.state is not RunState.SUCCEEDED, f"run {run.id} succeeded with {pending} pending")
        names = Counter(
            row.outcome for row in service.runs.iterate_export_rows(run.id) if row.operation not in ("no-op", "none")
        )
        if names:  # a run cancelled before anything was sent keeps no names
            counted = names["accepted"], names["rejected"], names["not sent"] + names["unconfirmed"]
            hold(
                counted == (run.delivered, run.rejected, pending),
                f"run {run.id} names {counted}, and counts {(run.delivered, run.rejected, pending)}",
            )


def judge_last(run: Run, sent: int, members: int, rows: int, standing: int) -> None:
    """Check that a run without news sends nothing and finds everybody: unchanged, rejected, invalid or anonymous."""
    hold(run.state is RunState.SUCCEEDED, "the identical run did not succeed")
    hold((run.change_count, sent) == (0, 0), f"an identical run sent {sent} requests for {run.change_count} people")
    hold(
        (run.unchanged + standing, run.invalid + run.anonymous) == (members, rows - members),
        f"of {members} members and {rows - members} others, {run.unchanged} are unchanged, {standing} rejected, "
        f"{run.invalid} invalid, {run.anonymous} anonymous",
    )
