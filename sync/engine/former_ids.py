"""By which ID a take-back knows the people whom it sets to true again, and what of the lists cannot be known about them.

It reads no cohort, so it has one ID of each. When a profile property is, or was, the User ID, they may be on the
never-export list, or be a tripwire, by another ID of theirs. What was listed before their last reading was looked for
then; what was listed since, nobody has compared with them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sync.id_property import show_id_property
from sync.model import Run, Sync
from sync.store import Store
from sync.text import count_people


@dataclass(frozen=True, slots=True)
class FormerIds:
    """The IDs of those whom a run removed.

    ``has_others``: they may be listed by another ID. ``read_by``: the run that read them last, at ``read_at``: what was
    listed before was looked for among them. ``tripped``: the tripwires that this reading found.
    """

    id_property: str
    has_others: bool
    read_by: int
    read_at: float
    tripped: frozenset[bytes]

    @property
    def name(self) -> str:
        """Return the User ID property as people name it."""
        return show_id_property(self.id_property)

    def is_listed_since(self, store: Store, sync: Sync) -> bool:
        """Return whether somebody is on the never-export list of now who may be one of these people."""
        return self.has_others and bool(store.safety_lists.load_never_export(sync.license_code, self.read_at))

    def find_unknown_tripwires(self, store: Store, sync: Sync) -> dict[bytes, str]:
        """Return the labels, by id hash, of tripwires that may be one of these people by another ID."""
        if not self.has_others:
            return {}
        known = store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id)
        since = store.safety_lists.list_tripwires_since(sync.project_id, sync.cohort_id, self.read_at)
        return {who: label for who, label in known.items() if who in since or who in self.tripped}


def find_former_ids(store: Store, undone: int) -> FormerIds:
    """Return by which IDs those are known whom this run removed.

    A reading counts when its run succeeded: then those in WebEngage are those it read and did not leave out.
    """
    run = store.runs.get_run(undone)
    if run is None:
        return FormerIds("", False, 0, 0.0, frozenset())
    changed = run.id_property_before is not None
    id_property = (run.id_property_before if changed else run.id_property) or ""
    last = store.plan_history.find_last_reading(run.sync_id, undone, id_property)
    read_by = last.id if last else 0
    return FormerIds(
        id_property=id_property,
        has_others=changed or bool(id_property),
        read_by=read_by,
        read_at=(last and last.started_at) or 0.0,
        tripped=store.plan_history.list_tripped(read_by),
    )


def explain_unknown_tripwires(labels: Collection[str], shown: str, name: str) -> str:
    """Return that a take-back may set tripwires to true; ``shown``: labels of a few, ``name``: the ID it knows."""
    people, them = "1 person", "that person"
    if len(labels) > 1:
        people, them = f"any of {len(labels):,} people", "them"
    return (
        f"Tripwire: it is not known whether {people} who must never be in this cohort ({shown}) would be set to true. "
        f"A take-back knows people by {name} only, and a tripwire may have another ID: look for {them} among the people "
        "of this run."
    )


def describe_withheld(store: Store, run: Run, sync: Sync, people: int) -> str:
    """Return why so many people were taken out of a plan that is being sent; never who."""
    former = find_former_ids(store, run.undoes) if run.undoes is not None else None
    if former is None or not former.is_listed_since(store, sync):
        return f"Put on the never-export list after the plan was made, so not sent: {people:,}."
    return (
        f"Not set to true: {count_people(people)}. Somebody was put on the never-export list "
        f"after the plan was made, and {former.name} does not tell who that is."
    )
