"""The words of states and results, the same on the pages and in the commands. JSON keeps the values themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sync.model import BATCHES_A_MINUTE, Mode, Run, RunState, SyncState
from sync.records import PropertyCohort, RestoreReport, SyncView
from sync.reports import Person, Presence
from sync.text import count_noun, count_people, format_duration
from sync.views import ForgetResult, GuardTrial, Preview

CANCELLED_UNSENT = "Nobody was sent, so its sync is stopped. Export the cohort again to start it."
# Also true when all that was on its way was the last of it.
CANCELLED_HALF_WAY_DONE = "It was being sent, so its sync is paused. Resume the sync to send the rest, or stop it."
KEPT_AFTER_STEP = "What it sent to {} stays in WebEngage; take the run back to undo that."
CANCELLED_HALF_WAY = "Its export was cancelled while it was being sent. Resume it to send the rest, or stop it."
RUN_STATE_WORDS = {
    RunState.QUEUED: "Queued",
    RunState.PULLING: "Reading Mixpanel",
    RunState.HELD: "Needs approval",
    RunState.DELIVERING: "Sending to WebEngage",
    RunState.SUCCEEDED: "Succeeded",
    RunState.FAILED: "Failed",
    RunState.CANCELLED: "Cancelled",
}
RUN_STANDING = {
    RunState.QUEUED: "is queued",
    RunState.PULLING: "is reading Mixpanel",
    RunState.HELD: "is held",
    RunState.DELIVERING: "is sending to WebEngage",
    RunState.SUCCEEDED: "has succeeded",
    RunState.FAILED: "has failed",
    RunState.CANCELLED: "was cancelled",
}
NOT_SYNCED, NOTHING_EXPORTED, SYNCED, PAUSED = "Not synced", "Nothing exported yet", "Synced", "Paused"
NEEDS_PERSON, WAITING = "Needs a person", "Waiting"
STOPPED, NOT_CLEARED, EXPORTED_ONCE = "Stopped", "Not cleared", "Exported once"
NOBODY_THERE, BEING_EXPORTED = "Nobody in WebEngage", "Being exported"
EMPTYING = ("clear", "undo")  # what a run is for after which nobody was to be in WebEngage, when nobody is
MODE_WORDS = {Mode.ONE_TIME: "One-time", Mode.DYNAMIC: "Dynamic"}
PLANNED_OPERATIONS = {"add": "To add", "remove": "To remove", "update": "To update", "none": "Cannot be sent"}
DONE_OPERATIONS = {"add": "Added", "remove": "Removed", "update": "Updated", "none": "Cannot be sent"}
OUTCOMES = {
    "not sent": "Not sent",
    "unconfirmed": "Sent, not confirmed",
    "accepted": "Sent to WebEngage",
    "rejected": "Rejected by WebEngage",
    "membership only": "Sent without properties",
    "invalid": "Invalid",
}
OUTCOME_SIGNS = {
    "not sent": "○",
    "unconfirmed": "…",
    "accepted": "✓",
    "rejected": "✗",
    "membership only": "✓",
    "invalid": "✗",
}
OPERATION_SIGNS = {"add": "+", "remove": "−", "update": "↻", "none": "✗"}
NOT_SENT_YET = "Not sent yet"
NO_COHORT_KNOWN = "None is known here: people who are anonymous or on the never-export list are left out of every run."
FORGOTTEN_HERE = (
    "This person was forgotten here. What was sent about them before is not known any more, and WebEngage may still "
    "hold it."
)
_NOT_BY_ITSELF = (
    "and not refreshed by itself now: sync it, resume it, clear it again or decide about its held run, or its campaigns "
    "still reach them."
)


def explain_staying(cohorts: Sequence[str], unsure: Sequence[PropertyCohort] = ()) -> str:
    """Return where people who were put on the never-export list stay true, and what to do; empty when nowhere.

    ``unsure``: where it is not known, since people are known there by a profile property and may be listed by another ID.
    """
    sentences = []
    if cohorts:
        sentences.append(f"Still true in WebEngage for {_quote_all(cohorts)}, {_NOT_BY_ITSELF}")
    if unsure:
        names = " and ".join(f"“{one.cohort_name}” (User ID: {one.id_property})" for one in unsure)
        where = "where another ID than that is found only when the cohort is read again,"
        sentences.append(f"Perhaps still true in WebEngage for {names}, {where} {_NOT_BY_ITSELF}")
    return " ".join(sentences)


def _quote_all(names: Iterable[str], joint: str = " and ") -> str:
    return joint.join(f"“{name}”" for name in names)


def explain_listed(cohort: PropertyCohort, known: int, unsure: int, *, is_due_again: bool) -> Iterator[str]:
    """Yield how many people in WebEngage are on the never-export list of now, how many may be, and what becomes of it.

    ``is_due_again``: the sync is refreshed by itself.
    """
    if known:
        people = count_noun(known, "person in WebEngage is", "people in WebEngage are")
        then = "; the next run sets them to false." if is_due_again else f". {explain_staying([cohort.cohort_name])}"
        yield f"{people} on the never-export list now{then}"
    if unsure:
        people = count_noun(unsure, "person was", "people were")
        then = (
            "; the next run finds out, and sets them to false."
            if is_due_again
            else f". {explain_staying([], [cohort])}"
        )
        yield (
            f"{people} put on the never-export list after this cohort was last read, and may be in it by another ID than "
            f"{cohort.id_property}{then}"
        )


def explain_tripped(cohort: PropertyCohort, known: int, unsure: int) -> Iterator[str]:
    """Yield how many people in WebEngage are tripwires, and how many may be."""
    if known:
        people = count_noun(known, "person in WebEngage is a tripwire", "people in WebEngage are tripwires")
        yield f"{people}: they must not be in this cohort."
    if unsure:
        which = "1 tripwire is" if unsure == 1 else f"any of {unsure:,} tripwires is"
        yield (
            f"It is not known whether {which} in WebEngage: they may be listed by another ID than {cohort.id_property}."
        )


def explain_two_ids(cohorts: Sequence[PropertyCohort], what_to_do: str) -> str:
    """Return where people are stored by another ID than the distinct_id; empty when nowhere.

    ``what_to_do``: what is to be done with both IDs.
    """
    if not cohorts:
        return ""
    names = " and ".join(f"“{one.cohort_name}” ({one.id_property})" for one in cohorts)
    return (
        f"{names} {'knows' if len(cohorts) == 1 else 'know'} people by a profile property: there they are found by its "
        f"value, not by distinct_id, and on the lists by the ID that was listed. {what_to_do} both IDs."
    )


def explain_forgotten(done: ForgetResult) -> Iterator[str]:
    """Yield what forgetting a person did, what of them is kept, and what is still to be done."""
    if done.places:
        yield f"Deleted in {count_noun(done.places, 'place')}."
    else:
        yield (
            "Nothing to delete was stored under this User ID. Unless it was forgotten before, check it letter by letter, "
            "including capitals."
        )
    if done.stay_true:
        yield (
            f"WebEngage still has them as true for {_quote_all(done.stay_true)}, and nothing here can set that to false "
            "any more: set it to false or delete the person there."
        )
    if done.runs_under_way:
        left = count_noun(done.runs_under_way, "unfinished run")
        yield f"{left} may still contain them: forget them again when these have ended."
    if done.kept_on_lists:
        lists = count_noun(done.kept_on_lists, "never-export list or tripwire", "never-export lists or tripwires")
        yield f"Kept on {lists} by a hash alone, so that nobody is exported again; they are taken off there."
    if done.known_by:
        yield explain_two_ids(done.known_by, "Forget")


def explain_forgetting(found: Person) -> Iterator[str]:
    """Yield what is to be known about a person before they are forgotten."""
    held = (Presence.SENT_TRUE, Presence.UNCONFIRMED)
    if staying := [one.cohort_name for one in found.syncs if one.presence in held]:
        yield (
            f"WebEngage has them as true for {_quote_all(staying)}, and keeps that: once they are forgotten, nothing here "
            "can set it to false. If it is to be false, put them on the never-export list, and forget them after the next "
            "run has set it."
        )
    if found.known_by:
        yield explain_two_ids(found.known_by, "Forget")


def name_sync_state(sync: SyncView | None) -> str:
    """Return the state of a cohort's sync; it is "Synced" only once something was exported, and while nothing needs approval."""
    if sync is None:
        return NOT_SYNCED
    if sync.is_held:
        return RUN_STATE_WORDS[RunState.HELD]
    if sync.state is SyncState.PAUSED:
        return PAUSED
    if sync.clear_problem:
        return NOT_CLEARED
    if sync.state is SyncState.FINISHED and (sync.mode is Mode.DYNAMIC or _ended_before_everybody(sync)):
        return STOPPED
    if not sync.size and sync.last_success is None:
        return BEING_EXPORTED if _has_sent_some(sync) else NOTHING_EXPORTED
    if sync.last_success in EMPTYING:
        return BEING_EXPORTED if _has_sent_some(sync) else NOBODY_THERE
    return EXPORTED_ONCE if sync.state is SyncState.FINISHED else SYNCED


def name_run_state(run: Run) -> str:
    """Return the state of a run; one that a limit or an outage put back into the queue waits."""
    return WAITING if run.state is RunState.QUEUED and run.wait_reason else RUN_STATE_WORDS[run.state]


def _has_sent_some(sync: SyncView) -> bool:
    """Return whether a run under way, which the size does not count, has sent members to WebEngage already."""
    run = sync.last_run
    return run is not None and not run.state.is_final and bool(run.delivered) and run.purpose not in EMPTYING


def _ended_before_everybody(sync: SyncView) -> bool:
    """Return whether people of the cohort were left out: a run cleared, took everybody back or ended after a step."""
    run = sync.last_run
    if run is None:
        return False
    ended_after_step = run.state is RunState.CANCELLED and run.steps_sent > 0
    return run.purpose == "clear" or sync.last_success in EMPTYING or ended_after_step


def describe_changes(added: int, removed: int, updated: int, verb: str = "") -> str:
    """Return how many people were added, removed and updated, without the zeros; ``verb``: "would be", for a plan."""
    counts = ((added, "added"), (removed, "removed"), (updated, "updated"))
    said = [f"{number:,} {verb} {change}" if verb else f"{number:,} {change}" for number, change in counts if number]
    return ", ".join(said) or "no changes"


def describe_outlook(preview: Preview) -> str:
    """Return how many people are in WebEngage now, and after the export as far as that is known."""
    now = f"In WebEngage now: {count_people(preview.exported_before)}"
    if preview.to_add is None or preview.to_remove is None:
        return f"{now}; only the difference is sent. Dry run shows who would be added and removed, before anything is sent."
    if not preview.to_add + preview.to_remove:
        return f"{now}. Nobody would be added or removed."
    after = preview.exported_before + preview.to_add - preview.to_remove
    changes = describe_changes(preview.to_add, preview.to_remove, 0, "would be")
    return f"{now}. After this export: {after:,}, as {changes}."


def describe_coverage(preview: Preview) -> str:
    """Return how many members with a profile have a User ID in the property chosen for it, and how many share theirs.

    Empty for the distinct_id, which everybody has. Where the preview is not exact, only some members were compared.
    """
    if not preview.id_property:
        return ""
    having, members = preview.identified, preview.identified + preview.invalid
    share = f" ({100 * having / members:.0f} %)" if members else ""
    has = f"{having:,} of {members:,} members with a profile have a User ID in {preview.id_property}{share}."
    if preview.doubles:
        doubles = count_noun(preview.doubles, "is a double", "are doubles")
        found = f"{doubles}: another member has the same User ID, and WebEngage knows them as one person."
    else:
        found = "No two have the same User ID." if preview.exact else "no two have the same User ID."
    return f"{has} {found}" if preview.exact else f"About {has} Of those read, {found}"


def describe_requests(preview: Preview) -> str:
    """Return how many requests the export takes, at most where that depends on what only its run finds out."""
    if preview.may_take_less and preview.is_least:
        return "The run finds out how many requests it takes"
    if not preview.requests:
        return (
            "Nobody needs to be sent now, so no request" if preview.exported_before else "Nobody here can be sent now"
        )
    number = f"{'up to ' if preview.may_take_less else ''}{preview.qualifier}{count_noun(preview.requests, 'request')}"
    pace = preview.requests_a_minute
    limit = "WebEngage's limit" if pace >= BATCHES_A_MINUTE else f"{count_noun(pace, 'request')} a minute"
    time = f"about {format_duration(preview.seconds)} at {limit}"
    return f"{number[:1].upper()}{number[1:]}, {time}, more if it rejects people"


def describe_run_changes(run: Run) -> str:
    """Return what a run changed, or, until it succeeded, what it was to change; empty before it is planned.

    Who is rejected counts as added, removed or updated in the run, so the text says how many of them were; of a run
    that sends, or that ended half-way, it says how many were sent.
    """
    is_over = run.state is RunState.SUCCEEDED or run.planned  # of the other ones that have ended no change is known
    if run.state is RunState.PULLING or not is_over:
        return ""
    is_done = run.state is RunState.SUCCEEDED or not run.change_count
    changes = describe_changes(run.entered, run.exited, run.updated, "" if is_done else "to be")
    sent = "" if is_done or not run.delivered else f"; {run.delivered:,} of them sent"
    unsure = f"; {run.unconfirmed:,} of them sent, not confirmed" if run.unconfirmed else ""
    return f"{changes}{sent}{unsure}" + (f"; {run.rejected:,} of them rejected" if run.rejected else "")


def name_operations(run: Run) -> dict[str, str]:
    """Return the name of each operation: done once the run succeeded for everyone, planned until then."""
    return DONE_OPERATIONS if run.state == RunState.SUCCEEDED and not run.rejected else PLANNED_OPERATIONS


def name_outcomes(run: Run) -> dict[str, str]:
    """Return the name of each outcome; what an unfinished run has not sent, it may still send."""
    return OUTCOMES if run.state.is_final else OUTCOMES | {"not sent": NOT_SENT_YET}


def list_counts(run: Run, waits: int) -> dict[str, int]:
    """Return the numbers of a run under their names; what is zero is left out."""
    names = name_operations(run)
    counts = {
        names["add"]: run.entered,
        names["remove"]: run.exited,
        names["update"]: run.updated,
        "Unchanged": run.unchanged,
        "Sent": run.delivered,
        "Not confirmed": run.unconfirmed,
        "Rejected": run.rejected,
        "Never export": run.never_exported,
        "Devices": run.anonymous,  # a run reads who has a profile, so most of the anonymous are unknown to it
        "Invalid": run.invalid,
        "Requests": run.requests,
        "Waits": waits,
    }
    return {name: count for name, count in counts.items() if count}


def list_outlook(run: Run) -> dict[str, int]:
    """Return for how many people the attribute is true before a held run, and for how many after it, under their names.

    Nothing for another run, whose sync says how many there are.
    """
    if run.state is not RunState.HELD or run.size_before is None:
        return {}
    before = "Before this run" if run.delivered else "In WebEngage now"
    return {before: run.size_before, "After this run": run.size_before + run.entered - run.exited}


def explain_unknown_person(detail_days: float) -> str:
    """Return what it means that nothing is stored about a person, and what to check."""
    return (
        "Nothing is stored about this person. Check the ID letter by letter, including capitals. If it is right, they were in "
        "no exported cohort, were anonymous in Mixpanel, were forgotten here, or left all cohorts over "
        f"{detail_days:g} days ago."
    )


def describe_size(sync: SyncView, where: str = "") -> str:
    """Return how many people a sync has in WebEngage, and about how many a run that is under way has sent since."""
    people, run = f"{count_people(sync.size)}{where}", sync.last_run
    if run and not run.state.is_final and run.delivered:
        return f"{people} before run {run.id}, which sent {run.delivered:,} so far"
    return people


def describe_presence(in_webengage: bool | None, presence: str) -> str:
    """Return what WebEngage holds of a person for an attribute."""
    if in_webengage is not None:
        return f"{in_webengage}".lower()
    return "true or false: not confirmed" if presence == "unconfirmed" else "never set"


def explain_restore(report: RestoreReport) -> list[str]:
    """Return what a restore did, and what a person has to do now, one sentence or two a line."""
    lines = ["Done: every sync sends all its members again at its next run."]
    if report.kept:
        lines.append(f"First exported after the backup, so kept as they are: {_quote_all(report.kept, ', ')}.")
    if report.paused:
        lines.append(
            f"Paused: {_quote_all(report.paused, ', ')}. `python -m sync syncs` shows why; check each, then resume it."
        )
    if report.cancelled:
        runs = ", ".join(f"run {number}" for number in report.cancelled)
        lines.append(f"Cancelled, as unfinished in the backup: {runs}. Ask again for what is still wanted.")
    if report.forgotten_again:
        people = count_people(report.forgotten_again)
        lines.append(f"Forgotten again, as they were forgotten after the backup: {people}.")
    if report.forgotten:
        people = count_noun(report.forgotten, "person was", "people were")
        lines.append(f"{people} forgotten after the backup, and may be in it: forget them again.")
    if report.set_aside:
        lines.append(
            "People who were set to true after the backup and have left the cohort since are in no list: they stay true in "
            "WebEngage. So do people of cohorts first exported after it. Compare the numbers, and set them to false, there."
        )
        lines.append(
            "Guards, the never-export list and the tripwires are those of the backup: check them before you start the runner."
        )
        lines.append(
            f"The former file could not be opened; it is kept in the data folder as {', '.join(report.set_aside)}. "
            "Delete it when you no longer need it: it may contain User IDs."
        )
    return lines


def describe_trial(trial: GuardTrial) -> str:
    """Return how many of the last runs certain limits would have held."""
    if not trial.runs:
        return "No run has been planned yet on which these limits could be tried."
    if trial.runs == 1:
        return f"These limits would {'have' if trial.held else 'not have'} held the last run."
    return f"These limits would have held {trial.held} of the last {trial.runs} runs."
