"""Find who of the lists of now is in WebEngage for a sync, or may be by another ID: for lists, receipts and people.

A snapshot knows people by their User ID. When that is a profile property, somebody may be listed by the distinct_id:
what was listed before the last reading was looked for then, and what was listed since, the next reading finds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync.records import PropertyCohort, SyncView
from sync.store import Store


@dataclass(frozen=True, slots=True)
class ListedPeople:
    """Hold how many entries of a list are in WebEngage for a sync: ``known`` to be, and ``unsure``: perhaps, by another ID."""

    known: int
    unsure: int


def find_listed(store: Store, sync: SyncView, watched: frozenset[bytes]) -> ListedPeople:
    """Return how many of these, who are on the never-export list of now, are in WebEngage for a sync, or may be."""
    known, basis = _find_known(store, sync, watched), store.plan_history.find_user_id(sync.id)
    if not basis.id_property or not _may_hold_people(sync):
        return ListedPeople(len(known), 0)
    since = store.safety_lists.list_never_export_since(sync.license_code, basis.read_at)
    return ListedPeople(len(known), len((watched & since) - known))


def find_tripped(store: Store, sync: SyncView) -> ListedPeople:
    """Return how many tripwires of now are in WebEngage for a sync, or may be: they were found there and approved."""
    watched = store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id).keys()
    known, basis = _find_known(store, sync, frozenset(watched)), store.plan_history.find_user_id(sync.id)
    if not basis.id_property or not _may_hold_people(sync):
        return ListedPeople(len(known), 0)
    since = store.safety_lists.list_tripwires_since(sync.project_id, sync.cohort_id, basis.read_at)
    return ListedPeople(len(known), len((watched & (since | store.plan_history.list_tripped(basis.run_id))) - known))


def list_known_by(store: Store, syncs: Iterable[SyncView]) -> tuple[PropertyCohort, ...]:
    """Return the cohorts whose people are known by a profile property."""
    found = ((one, store.plan_history.find_user_id(one.id).id_property or one.id_property) for one in syncs)
    return tuple(PropertyCohort(one.id, one.cohort_name, name) for one, name in found if name)


def list_true(store: Store, syncs: Iterable[SyncView], id_hash: bytes) -> tuple[str, ...]:
    """Return the cohorts whose attribute is, or may be, true in WebEngage for one person."""
    return tuple(one.cohort_name for one in syncs if _find_known(store, one, frozenset({id_hash})))


def _may_hold_people(sync: SyncView) -> bool:
    return bool(sync.size or (sync.last_run and not sync.last_run.state.is_final and sync.last_run.requests))


def _find_known(store: Store, sync: SyncView, watched: frozenset[bytes]) -> frozenset[bytes]:
    """Return who is in the snapshot, or was sent as true by a run that has not ended, as one that is held after a step."""
    found, run = store.snapshot.find_among(sync.id, watched), sync.last_run
    if not watched or run is None or run.state.is_final or not run.requests:
        return found
    return found | store.batches.find_sent_true(run.id, watched, store.connections.get_salt())
