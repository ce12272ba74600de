"""The changes of syncs that a configuration file asks for: their terms, guards and states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

from sync.attribute_names import find_attribute_problem, find_mapping_problem
from sync.config_file.entries import GuardEntry, SyncEntry, fail_at
from sync.errors import InvalidRequest
from sync.guards import GuardLimits
from sync.model import DEFAULT_INTERVAL, Mode, Sync, SyncState, format_utc_time, write_interval
from sync.service.base import ServiceState, Topic
from sync.service.guards import GuardService
from sync.service.requests import HALTED_MEANWHILE, describe_values
from sync.service.syncs import SyncService
from sync.store.export_requests import Request
from sync.text import count_people


@dataclass(frozen=True, slots=True)
class Step:
    """One change: what it does in words, the line that asks for it, and the request that does it."""

    text: str
    line: int
    apply: Callable[[], object]
    needs_secret: str = ""


class SyncChanges(Topic):
    """The changes of syncs that a file asks for."""

    def __init__(self, state: ServiceState, *, guards: GuardService, syncs: SyncService) -> None:
        super().__init__(state)
        self._guards, self._syncs = guards, syncs

    def plan_sync(self, entry: SyncEntry) -> Iterator[Step]:
        """Yield what makes a cohort's sync what the file says; raise InvalidRequest, with the line, when it cannot be."""
        known = self._store.syncs.get_sync_of_cohort(entry.project, entry.cohort)
        entry = replace(entry, last_halt=self._store.approvals.find_last_halt(known.id if known else None))
        _check_names(entry, is_new=known is None)
        if known is None:
            if entry.state not in (SyncState.PAUSED, SyncState.FINISHED):
                yield from self._plan_new_sync(entry)
            return
        entry, serving = _end_past_pause(entry, self._state.now()), self.get_with_request(known)
        asked = {"account": (entry.license_code, known.license_code), "attribute": (entry.attribute, known.attribute)}
        for name, (wanted, permanent) in asked.items():
            if wanted not in (None, permanent):
                raise fail_at(
                    entry.line, f"the {name} of sync {known.id} is “{permanent}”, and that is permanent; write it so."
                )
        yield from self._plan_guard(entry, known.guard_enabled, known.limits)
        yield from self._plan_terms(entry, serving)

    def _plan_new_sync(self, entry: SyncEntry) -> Iterator[Step]:
        attribute = f" as “{entry.attribute}”" if entry.attribute else ""
        yield Step(
            text=f"Export cohort {entry.cohort} of project {entry.project}{attribute}: {_describe_terms(entry)}.",
            line=entry.line,
            apply=lambda: self._syncs.start_export(entry.project, entry.cohort, entry),
        )
        yield from self._plan_guard(entry, True, GuardLimits())

    def _plan_guard(self, entry: SyncEntry, enabled: bool, limits: GuardLimits) -> Iterator[Step]:
        wanted = replace(limits, **entry.guard.limits)  # type: ignore[arg-type]
        if wanted != limits:
            yield Step(
                text=f"Hold cohort {entry.cohort} above {_describe_limits(wanted)}, instead of {_describe_limits(limits)}.",
                line=entry.line,
                apply=lambda: self._set_limits(entry),
            )
        lifted = entry.guard.lifted
        if lifted is not None and lifted == enabled:
            act = self._guards.lift if lifted else self._guards.put_back
            yield Step(
                text=f"{'Lift' if lifted else 'Put back'} the guard of cohort {entry.cohort}.",
                line=entry.line,
                apply=lambda: act(self._find_id(entry)),
            )

    def _set_limits(self, entry: SyncEntry) -> None:
        """Set the limits that the file names; the others stay, also those that were changed since it was compared."""
        with self._store.transaction():
            sync_id = self._find_id(entry)
            limits = self._guards.get(sync_id).limits
            self._guards.set_limits(sync_id, replace(limits, **entry.guard.limits))  # type: ignore[arg-type]

    def _act_unless_halted(self, entry: SyncEntry, act: Callable[[], object]) -> None:
        """Do something about a sync, unless somebody halted it since the file was compared with what is here."""
        with self._store.transaction():
            if self._store.approvals.find_last_halt(self._find_id(entry)) != entry.last_halt:
                raise InvalidRequest(HALTED_MEANWHILE)
            act()

    def _find_id(self, entry: SyncEntry) -> int:
        found = self._store.syncs.get_sync_of_cohort(entry.project, entry.cohort)
        if found is None:
            raise InvalidRequest(f"Cohort {entry.cohort} has no sync.")
        return found.id

    def _plan_terms(self, entry: SyncEntry, serving: Sync) -> Iterator[Step]:
        """Plan the state, mode, interval and mapping of a sync; what pauses or ends it starts nothing."""
        forms = tuple((dict(serving.forms) | dict(entry.forms)).items())
        wanted = replace(_fill_in(entry, serving), forms=forms)
        name, now, then = f"sync {serving.id}", _describe_terms(describe_sync(serving)), _describe_terms(wanted)
        if entry.state is SyncState.FINISHED:
            if serving.state is not SyncState.FINISHED:
                yield Step(f"Stop {name}, now {serving.state.value}.", entry.line, lambda: self._syncs.stop(serving.id))
            return
        if entry.state is SyncState.PAUSED and _needs_pause(entry, serving):
            until = f" until {format_utc_time(entry.resume_at)}" if entry.resume_at else ""
            pause = partial(self._syncs.pause, serving.id, entry.resume_at)
            yield Step(f"Pause {name}{until}.", entry.line, lambda: self._act_unless_halted(entry, pause))
        is_restart = entry.state is SyncState.ACTIVE and serving.state is SyncState.FINISHED
        if now == then and not is_restart:
            if entry.state is SyncState.ACTIVE and serving.state is SyncState.PAUSED:
                resume = partial(self._syncs.resume, serving.id)
                yield Step(f"Resume {name}.", entry.line, lambda: self._act_unless_halted(entry, resume))
        elif rest := self._describe_rest(entry, serving):
            raise fail_at(
                entry.line, f"{name} {rest} {now}; a change to {then} exports it, so {_advise_export(entry, serving)}."
            )
        elif self._differs_in_interval_only(wanted, serving):  # of an active sync, so it is no restart
            seconds = wanted.interval or DEFAULT_INTERVAL
            yield Step(
                f"Refresh {name} {then} instead of {now}.",
                entry.line,
                lambda: self._syncs.change_interval(serving.id, seconds, wanted.daily, wanted.ends_at),
            )
        else:
            yield Step(
                f"Change {name} from {now} to {then}, and export it.",
                entry.line,
                lambda: self._syncs.start_export(wanted.project, wanted.cohort, wanted),
            )

    def _describe_rest(self, entry: SyncEntry, serving: Sync) -> str:
        """Return in which state a sync rests that only “state: active” ends; empty when other terms may export it.

        A one-time export ends by itself, so one that is finished rests only when it was cleared.
        """
        if entry.state is SyncState.ACTIVE:
            return ""
        if serving.state is SyncState.FINISHED and self._syncs.get(serving.id).is_cleared:
            return "was stopped and cleared, and went"
        if serving.state is SyncState.FINISHED and serving.mode is Mode.DYNAMIC:
            return "is finished and went"
        if serving.state is SyncState.PAUSED:
            return "is paused and goes"
        return "is to be paused and goes" if entry.state is SyncState.PAUSED else ""

    def _differs_in_interval_only(self, wanted: SyncEntry, serving: Sync) -> bool:
        """Return whether the interval alone changes, with no request under way that will replace it."""
        is_same = wanted.mode is serving.mode is Mode.DYNAMIC and wanted.mapping == serving.mapping
        is_same = is_same and dict(wanted.forms) == dict(serving.forms) and wanted.id_property == serving.id_property
        return is_same and serving.state is SyncState.ACTIVE and self._state.get_sync(serving.id) == serving

    def get_with_request(self, sync: Sync) -> Sync:
        """Return a sync as it will be once the run under way goes ahead, since that was asked for already."""
        run = self._store.runs.get_active(sync.id)
        request = Request.parse(run.request) if run and not run.cancel_requested else None
        return request.apply(sync) if request else sync


def _advise_export(entry: SyncEntry, serving: Sync) -> str:
    """Return what to do about other terms for a sync that rests; a one-time export has no state in a file."""
    if entry.mode is not Mode.DYNAMIC:
        return f"export cohort {entry.cohort} yourself"
    leave = ", or “state: finished” to leave it so" if serving.state is SyncState.FINISHED else ""
    return f"write “state: active” as well{leave}"


def _check_names(entry: SyncEntry, *, is_new: bool) -> None:
    """Raise InvalidRequest, with the line, for the name of an attribute that nothing is sent to.

    A sync that is here keeps the attribute it has, whatever the rules are by now.
    """
    problems = [find_mapping_problem(target) for _, target in entry.mapping or ()]
    if is_new and entry.attribute is not None:
        problems.append(find_attribute_problem(entry.attribute, frozenset()))
    for problem in filter(None, problems):
        raise fail_at(entry.line, problem)


def _end_past_pause(entry: SyncEntry, now: float) -> SyncEntry:
    """Return an entry whose pause has ended as one that says no state; that time went by starts and resumes nothing."""
    is_over = entry.resume_at is not None and entry.resume_at <= now
    return replace(entry, state=None, resume_at=None) if is_over else entry


def _needs_pause(entry: SyncEntry, serving: Sync) -> bool:
    """Return whether a sync has to be paused, or its pause has to end at another time; no time means any."""
    if serving.state is not SyncState.PAUSED or entry.resume_at is None:
        return serving.state is SyncState.ACTIVE
    return serving.resume_at is None or int(serving.resume_at) != int(entry.resume_at)


def _fill_in(entry: SyncEntry, serving: Sync) -> SyncEntry:
    """Return an entry with what the file does not say as it is; an end stays with the times it belongs to."""
    entry = replace(
        entry,
        mapping=serving.mapping if entry.mapping is None else entry.mapping,
        id_property=serving.id_property if entry.id_property is None else entry.id_property,
    )
    if entry.mode is not Mode.DYNAMIC or entry.interval is not None or entry.daily is not None:
        return entry
    return replace(
        entry,
        daily=serving.daily,
        interval=None if serving.daily else serving.interval_seconds or DEFAULT_INTERVAL,
        ends_at=entry.ends_at or serving.ends_at,
    )


def describe_sync(sync: Sync) -> SyncEntry:
    """Return a sync as the file writes it; the state of a one-time export is its runs', so it has none."""
    is_dynamic = sync.mode is Mode.DYNAMIC
    return SyncEntry(
        project=sync.project_id,
        cohort=sync.cohort_id,
        mode=sync.mode,
        name=sync.cohort_name,
        license_code=sync.license_code,
        attribute=sync.attribute,
        interval=sync.interval_seconds if is_dynamic and not sync.daily else None,
        daily=sync.daily,
        ends_at=sync.ends_at,
        resume_at=sync.resume_at,
        state=sync.state if is_dynamic else None,
        mapping=sync.mapping,
        forms=sync.forms,
        id_property=sync.id_property,
        guard=GuardEntry(lifted=not sync.guard_enabled, limits=asdict(sync.limits)),
    )


def _describe_terms(entry: SyncEntry) -> str:
    often = "once"
    if entry.mode is Mode.DYNAMIC:
        often = f"every {write_interval(entry.interval or DEFAULT_INTERVAL)}"
    if entry.daily:
        often = entry.daily.describe()
    if entry.ends_at:
        often += f" until {format_utc_time(entry.ends_at)}"
    values = describe_values(entry.mapping or (), entry.forms)
    who = f", User ID {entry.id_property}" if entry.id_property else ""
    return f"{often}{who}, with {values}" if values else often + who


def _describe_limits(limits: GuardLimits) -> str:
    return (
        f"{limits.add_share:g} % and {count_people(limits.add_people)} added, "
        f"{limits.remove_share:g} % and {limits.remove_people:,} removed"
    )
