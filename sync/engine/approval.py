"""Decide whether a plan goes ahead by itself, or is held until a person approves it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge

from sync.engine.planning import Plan
from sync.engine.undo import explain_refresh_after_undo, explain_undo
from sync.engine.watchlist import explain_lost_listings, explain_tripwires
from sync.guards import DRY_RUN, PlanNumbers, Reading, explain_second_person, find_empty_reading, find_guard_reasons
from sync.id_property import describe_doubles, explain_change, explain_nobody
from sync.model import DAY, ChangeKind, Run, Sync
from sync.store import Store
from sync.store.export_requests import Request
from sync.store.plan_history import join_hashes, join_listed
from sync.store.run_lists import CLOCK_SLACK
from sync.text import count_noun, count_people

STALE_SECONDS = 7200.0  # a plan of a sync without an interval is planned again when it is older
MOST_SECONDS = DAY  # the same for one that is refreshed less often: who left meanwhile would be true until then
GROWTH = 1.1  # a plan that is made again may touch so many times the people of the approved one


def is_stale(store: Store, run: Run, sync: Sync, now: float) -> bool:
    """Return whether a plan is too old to be sent as it is, or of an age that nobody knows.

    One that is being sent goes on, however long that takes, unless it was held meanwhile and approved when too old.
    """
    if run.purpose == "undo":
        return False  # no cohort is read: what it takes back stays the same
    planned_at = run.planned_at or 0.0
    old_from = planned_at + min(sync.interval_seconds or STALE_SECONDS, MOST_SECONDS)

    def is_fresh(moment: float) -> bool:
        return planned_at - CLOCK_SLACK <= moment <= old_from  # before it was made: the clock was set back, so unknown

    if is_fresh(now):
        return False
    sent = run.limits[run.steps_sent - 1] if run.steps_sent else 0
    approved_at = store.approvals.find_last_time(run.id)
    return not store.batches.any_sent(run.id, sent) or (approved_at is not None and not is_fresh(approved_at))


def find_hold_reason(
    store: Store, run: Run, sync: Sync, plan: Plan, problem: str | None, *, size: int, read: int
) -> str | None:
    """Return why a person must approve this plan, or None.

    ``problem`` is what keeps the readings from proving the plan, ``size`` how many people were exported before,
    ``read`` how many rows were read now.
    """
    if run.purpose == "clear":
        return None
    if run.purpose == "undo":
        return None if run.approved else explain_undo(run, sync, plan)
    unproven = [f"{problem}."] if problem else []
    second_person = _second_person_reason(store, run, plan)
    if run.approved:
        # A plan that says no more than the approved one was approved, also when the readings do not prove it.
        outgrown = _outgrown_reasons(store, run, sync, plan)
        new_tripwires = plan.tripped.keys() - store.plan_history.list_tripped(run.id)
        reasons = [*outgrown, *_tripwire_reason(plan, new_tripwires), *(unproven if outgrown else []), *second_person]
    else:
        dry = [DRY_RUN] if run.dry_run else []
        changed = _id_property_reasons(store, find_former_property(store, run, sync, size), sync, plan, read)
        guards = _guard_reasons(store, run, sync, plan, size=size, read=read, is_expected=bool(changed))
        undone = _undone_reasons(store, run, plan)
        reasons = [*dry, *undone, *changed, *unproven, *second_person, *_tripwire_reason(plan, plan.tripped), *guards]
    return " ".join(reasons) or None


def _undone_reasons(store: Store, run: Run, plan: Plan) -> list[str]:
    """Return why a refresh that adds people again after a take-back is held; who exports again asked for it."""
    undone = store.plan_history.find_undone(run.sync_id, run.id) if run.purpose != "export" else None
    added = plan.kinds[ChangeKind.ADD]
    return [explain_refresh_after_undo(undone, added)] if undone is not None and added else []


def find_former_property(store: Store, run: Run, sync: Sync, size: int) -> str | None:
    """Return the User ID property that a plan puts another one in place of, None when it does not.

    While nobody is true in WebEngage, another property changes nothing there.
    """
    undone = store.runs.get_run(run.undoes) if run.undoes is not None else None
    if undone is not None:
        return sync.id_property if undone.id_property_before not in (None, sync.id_property) else None
    known = store.syncs.get_sync(sync.id)
    return known.id_property if known and size and known.id_property != sync.id_property else None


def _id_property_reasons(store: Store, before: str | None, sync: Sync, plan: Plan, read: int) -> list[str]:
    """Return why the User ID property holds a plan, whatever the guards say: it changes, or nobody has a value in it."""
    reasons = []
    if before is not None:
        added, updated, removed = plan.counts
        kept = plan.unchanged + updated
        reasons.append(explain_change(before, sync.id_property, removed=removed, added=added, kept=kept))
        reasons += explain_lost_listings(store, sync, before)
    if sync.id_property and read and not plan.distinct:
        reasons.append(explain_nobody(sync.id_property, read))
    return reasons


def _guard_reasons(
    store: Store, run: Run, sync: Sync, plan: Plan, *, size: int, read: int, is_expected: bool
) -> list[str]:
    """Return what the guards say. That nobody was read is held also when the guard of the sync is lifted.

    ``is_expected``: so many people are added and removed because the User ID property is another one.
    """
    request = Request.parse(run.request)
    numbers = PlanNumbers(
        added=0 if is_expected else plan.kinds[ChangeKind.ADD],
        removed=0 if is_expected else plan.leaving,
        size=size,
        reading=Reading(plan.distinct, read),
        former=_find_former_reading(store, sync),
        is_first=store.plan_history.is_first(run, size),
        previewed=request.previewed if request else None,
    )
    if sync.guard_enabled:
        return find_guard_reasons(numbers, sync.limits)
    return [reason for reason in [find_empty_reading(numbers)] if reason]


def _find_former_reading(store: Store, sync: Sync) -> Reading | None:
    """Return what the last successful run of a sync read, or None when that is not known."""
    last = store.plan_history.find_last_reading(sync.id)
    if last is None or last.identified is None or last.members_read is None:
        return None
    return Reading(last.identified, last.members_read)


def _tripwire_reason(plan: Plan, who: Iterable[bytes]) -> list[str]:
    labels = [plan.tripped[one] for one in who]
    return [explain_tripwires(labels)] if labels else []


def build_plan_columns(store: Store, run: Run, sync: Sync, plan: Plan, *, size: int, members: int) -> dict[str, object]:
    """Return what a run notes about its plan; ``size``: people exported before, ``members``: rows read."""
    entered, updated, exited = plan.counts
    before = find_former_property(store, run, sync, size)
    undone = store.runs.get_run(run.undoes) if run.undoes is not None and before is not None else None
    return {
        "id_property": undone.id_property_before if undone else sync.id_property,
        "id_property_before": before,
        "doubles": plan.doubles,
        "entered": entered,
        "updated": updated,
        "exited": exited,
        "unchanged": plan.unchanged,
        "size_before": size,
        "identified": plan.distinct,
        "members_read": members,
        "never_exported": plan.never_exported,
        "removed_by_list": plan.removed_by_list,
        "list_version": plan.list_version,
        "tripped": join_hashes({*plan.tripped, *plan.unknown_tripwires}),
        "listed": join_listed(plan.listed_members),
        "data_types": json.dumps(plan.data_types),
        "step_limits": dump_limits(plan),
    }


def _second_person_reason(store: Store, run: Run, plan: Plan) -> list[str]:
    """Return that another person has to approve so large an export; a first step counts by itself."""
    limit = store.approvals.get_limit()
    added, updated, _ = plan.counts
    sent = store.batches.count_people(run.id, 0, plan.step_limits[0]) if plan.step_limits else added + updated
    if limit is None or sent <= limit or not store.approvals.is_asked_for(run):
        return []
    return [] if store.approvals.has_second_person(run.id) else [explain_second_person(limit)]


def explain_step(sync: Sync, *, sent: int, left: int) -> str:
    """Return why a run is held after a step, and what to look at before the rest is sent."""
    if not sent:
        return f"None of the people of the first step is in this plan, so nothing was sent. {left:,} wait for approval."
    return (
        f"Sent for {count_people(sent)} so far; {left:,} wait for approval. In WebEngage, look at who was sent: "
        f"attribute “{sync.attribute}”."
    )


def explain_late_tripwires(run: Run, reason: str) -> str:
    """Return why a run is held that was being sent when, or after which, tripwires were set; ``reason``: which."""
    left = run.change_count - run.delivered - run.rejected
    return (
        f"{reason} This was found after the plan was made: {count_noun(run.delivered, 'person is', 'people are')} sent, "
        f"{left:,} wait for approval."
    )


def dump_limits(plan: Plan) -> str | None:
    """Return the batches at which the steps of a plan end as a run stores them; None when it has no steps."""
    return json.dumps(plan.step_limits) if plan.step_limits else None


def describe_plan(plan: Plan) -> Iterator[str]:
    """Return the lines of history about a plan; never an id or a value."""
    yield f"Planned: {describe_counts(plan.counts)}."
    kept_out = count_noun(plan.never_exported, "member is", "members are")
    removed = count_noun(plan.removed_by_list, "person exported before is", "people exported before are")
    listed = [
        *([f"{kept_out} not exported"] if plan.never_exported else []),
        *([f"{removed} removed"] if plan.removed_by_list else []),
    ]
    if listed:
        yield f"On the never-export list: {'; '.join(listed)}."
    if plan.doubles:
        yield describe_doubles(plan.doubles)
    yield from describe_left_out(plan.left_out)
    yield from plan.remarks


def describe_counts(counts: tuple[int, int, int]) -> str:
    """Return the numbers of a plan as people read them, without the zeros."""
    words = ("to add", "to update", "to remove")
    return ", ".join(f"{n:,} {word}" for n, word in zip(counts, words, strict=True) if n) or "no changes"


def describe_left_out(left_out: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Return a line for each property with values that cannot be sent; never a value."""
    for (source, reason), people in sorted(left_out.items()):
        yield f"{source} was left out for {count_people(people)}: {reason}."


def _outgrown_reasons(store: Store, run: Run, sync: Sync, plan: Plan) -> list[str]:
    """Compare a plan that was made again with the approved one: many more people, or people it did not name.

    Those who leave because they were put on the never-export list meanwhile need nobody's approval.
    """
    listed = store.safety_lists.load_never_export(sync.license_code)
    strangers = count_strangers(store, run.id, store.connections.get_salt(), listed)
    grown = plan.counts[0] + plan.counts[1] + plan.leaving
    if grown <= GROWTH * (run.change_count - run.removed_by_list) and not strangers:
        return []
    return [
        f"The cohort changed since this was approved. Approved: "
        f"{describe_counts((run.entered, run.updated, run.exited))}. Now: {describe_counts(plan.counts)}; "
        f"{count_noun(strangers, 'person was', 'people were')} not in the approved plan."
    ]


def count_strangers(store: Store, run_id: int, salt: int, listed: frozenset[bytes] = frozenset()) -> int:
    """Return for how many people the plan says something that the plan set aside, which was approved, did not.

    ``listed``: who may leave without being in the approved plan.
    """
    approved = _iterate_planned_states(store, run_id, salt, aside=True)
    known, strangers = next(approved, None), 0
    for who, is_in in _iterate_planned_states(store, run_id, salt, aside=False):
        while known is not None and known[0] < who:
            known = next(approved, None)
        strangers += known != (who, is_in) and (is_in or who not in listed)
    return strangers


def _iterate_planned_states(store: Store, run_id: int, salt: int, *, aside: bool) -> Iterator[tuple[bytes, bool]]:
    """Return who is to be in or out by a plan, in the order of id hashes."""

    def iterate_stream(numbers: list[int]) -> Iterator[tuple[bytes, bool]]:
        for number in numbers:
            for who, kind in store.batches.block(run_id, number).changes(salt):
                yield who, kind is not ChangeKind.REMOVE

    return merge(*map(iterate_stream, store.batches.streams(run_id, aside=aside)))
