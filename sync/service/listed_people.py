"""Find who of the lists of now is in WebEngage for a sync, or may be by another ID: for lists, receipts and people.

A snapshot knows people by their User ID. When that is a profile property, somebody may be listed by the distinct_id:
what was listed before the last reading was looked for then, and what was listed since, the next reading finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sync.model import Run
from sync.records import PropertyCohort, SyncView
from sync.store import Store
from sync.store.plan_history import UserIdBasis


@dataclass(frozen=True, slots=True)
class ListedPeople:
    """Hold how many entries of a list are in WebEngage for a sync: ``known`` to be, and ``unsure``: perhaps, by another ID."""

    known: int
    unsure: int


def find_listed(store: Store, sync: SyncView, watched: frozenset[bytes]) -> ListedPeople:
    """Return how many of these, who are on the never-export list of now, are in WebEngage for a sync, or may be."""
    load = store.safety_lists.load_never_export
    return _count_people(store, sync, watched, lambda basis: load(sync.license_code, basis.read_at))


def find_tripped(store: Store, sync: SyncView) -> ListedPeople:
    """Return how many tripwires of now are in WebEngage for a sync, or may be: they were found there and approved."""
    place, lists = (sync.project_id, sync.cohort_id), store.safety_lists
    return _count_people(
        store,
        sync,
        frozenset(lists.load_tripwires(*place)),
        lambda basis: lists.list_tripwires_since(*place, basis.read_at) | store.plan_history.list_tripped(basis.run_id),
    )


def list_known_by(store: Store, syncs: Iterable[SyncView]) -> tuple[PropertyCohort, ...]:
    """Return the cohorts whose people are known by a profile property."""
    found = ((one, store.plan_history.find_user_id(one.id).id_property or one.id_property) for one in syncs)
    return tuple(PropertyCohort(one.id, one.cohort_name, name) for one, name in found if name)


def list_true(store: Store, syncs: Iterable[SyncView], id_hash: bytes) -> tuple[str, ...]:
    """Return the cohorts whose attribute is, or may be, true in WebEngage for one person."""
    return tuple(one.cohort_name for one in syncs if _find_known(store, one, frozenset({id_hash})))


def _count_people(
    store: Store,
    sync: SyncView,
    watched: frozenset[bytes],
    find_possible: Callable[[UserIdBasis], frozenset[bytes]],
) -> ListedPeople:
    """Count who of these is in WebEngage for a sync; ``find_possible``: who of a list may be there by another ID."""
    known, basis = _find_known(store, sync, watched), store.plan_history.find_user_id(sync.id)
    may_hold_people = sync.size or _is_sending(store, sync.last_run)
    possible = find_possible(basis) if basis.id_property and may_hold_people else frozenset[bytes]()
    return ListedPeople(len(known), len((watched & possible) - known))


def _is_sending(store: Store, run: Run | None) -> bool:
    """Return whether a run that has not ended may have sent somebody, as one that is held after a step."""
    return run is not None and not run.state.is_final and store.batches.any_sent(run.id)


def _find_known(store: Store, sync: SyncView, watched: frozenset[bytes]) -> frozenset[bytes]:
    """Return who is in the snapshot, or was sent as true by a run that has not ended."""
    found, run = store.snapshot.find_among(sync.id, watched), sync.last_run
    if not watched or run is None or not _is_sending(store, run):
        return found
    return found | store.batches.find_sent_true(run.id, watched, store.connections.get_salt())
