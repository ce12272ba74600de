"""The request to export a cohort, checked before anything is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sync.attribute_names import find_attribute_problem as problem_of
from sync.attribute_names import find_mapping_problem, suggest_attribute
from sync.cadence import DailyTime, format_interval
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.guards import GuardLimits
from sync.id_property import find_id_property_problem, show_id_property
from sync.model import (
    DAY,
    DEFAULT_INTERVAL,
    MAX_ATTRIBUTES,
    MAX_INTERVAL,
    MIN_INTERVAL,
    Mode,
    Run,
    RunState,
    Sync,
    format_utc_time,
)
from sync.property_values import FIELD_TYPES, Forms, ValueForm, find_form_problem, parse_forms
from sync.records import CohortView
from sync.service.cohorts import CohortTopic
from sync.service.hourly_fit import count_pages
from sync.store.export_requests import ExportRequest, Request
from sync.store.rate_limits import SYNC_QUERIES_AN_HOUR
from sync.text import fold_name

HALTED_MEANWHILE = (
    "Somebody stopped, paused, cancelled or took back the export of this cohort since you were shown it, so nothing was "
    "changed. Look at it as it is now, then ask again if you still want it."
)

CADENCE_CHANGED = (
    "Somebody changed the interval or the last day since you were shown them, so nothing was changed. Close this and "
    "open it again."
)
Cadence = tuple[float | None, DailyTime | None, float | None]  # interval in seconds, time of day, end


def describe_terms(sync: Sync) -> str:
    """Return for the audit log what a sync sends, to whom and how often."""
    often = f"dynamic, {format_interval(sync.interval_seconds)}" if sync.interval_seconds else sync.mode.value
    if sync.daily:
        often = f"dynamic, {sync.daily.describe()}"
    if sync.ends_at:
        often += f", until {format_utc_time(sync.ends_at)}"
    values = describe_values(sync.mapping, sync.forms)
    sent = f"membership and {values}" if values else "membership only"
    if sync.id_property:
        sent += f"; User ID {show_id_property(sync.id_property)}"
    guard = "on" if sync.guard_enabled else "off"
    if sync.limits != GuardLimits():
        limits = sync.limits
        guard += f", adds up to {limits.add_share:g} % or {limits.add_people}"
        guard += f", removes up to {limits.remove_share:g} % or {limits.remove_people}"
    return f"{often}; account {sync.license_code}; attribute {sync.attribute}; {sent}; guard {guard}; {describe_state(sync)}"


def describe_values(mapping: Iterable[tuple[str, str]], forms: Forms) -> str:
    """Return which properties are sent, to which attributes, and in which form if one is chosen; empty for none."""
    form_of = dict(forms)
    return ", ".join(
        f"{source} as {target}" + (f" ({form_of[target]})" if target in form_of else "") for source, target in mapping
    )


def describe_state(sync: Sync) -> str:
    """Return the state of a sync with its reason."""
    return f"{sync.state.value}: {sync.pause_reason}" if sync.pause_reason else sync.state.value


def describe_busy(run: Run) -> str:
    """Return why a run that is under way cannot do what is asked for now, and what to do."""
    name = f"Run {run.id} of this cohort"
    if run.cancel_requested:
        return f"{name} is still being cancelled; ask again when it has ended."
    if run.state is RunState.HELD:
        return f"{name} is held and waits for a decision; approve or cancel it, then ask again."
    what = "a dry run, which sends nothing by itself, and is under way" if run.dry_run else "under way"
    return f"{name} is {what}; nothing was changed. Wait for its end, or cancel it, then ask again."


def choose_interval(mode: Mode, interval: float | None) -> float | None:
    """Return the seconds between two refreshes, None for a one-time export; raise InvalidRequest for an impossible one."""
    if interval is not None and mode is not Mode.DYNAMIC:
        raise InvalidRequest("A one-time export is never refreshed, so it has no interval.", "every")
    if interval is not None and not MIN_INTERVAL <= interval <= MAX_INTERVAL:
        raise InvalidRequest("A cohort is refreshed at least every 30 days and at most every 5 minutes.", "every")
    return (interval or DEFAULT_INTERVAL) if mode is Mode.DYNAMIC else None


def check_cadence(
    mode: Mode, interval: float | None, daily: DailyTime | None, ends_at: float | None, now: float
) -> None:
    """Raise InvalidRequest for a time of day or an end that this sync cannot have."""
    if mode is not Mode.DYNAMIC and (daily, ends_at) != (None, None):
        raise InvalidRequest("A one-time export is never refreshed, so it has no time of day and no end.", "daily")
    if daily is not None and interval not in (None, DAY):
        raise InvalidRequest("A cohort is refreshed at a time of day or at an interval; choose one.", "daily")
    if ends_at is not None and ends_at <= now:
        raise InvalidRequest("The last day lies in the past; choose a later one.", "ends_at")


def _check_spelling(mapping: tuple[tuple[str, str], ...], known: set[str]) -> None:
    """Raise InvalidRequest for an attribute that is there in other letters: another attribute without its type."""
    spelled = {fold_name(name): name for name in known}
    for _, target in mapping:
        name = spelled.get(fold_name(target), target)
        if name != target:
            raise InvalidRequest(
                f"“{target}” is called “{name}” in this WebEngage account, and WebEngage tells the two apart; "
                f"use “{name}”.",
                "mapping",
            )


class ExportRequests(CohortTopic):
    """The checks of an export."""

    def find_last_halt(self, project_id: int, cohort_id: int) -> int:
        """Return which line of the audit log last halted the export of a cohort, 0 for none."""
        known = self._store.syncs.get_sync_of_cohort(project_id, cohort_id)
        return self._store.approvals.find_last_halt(known.id if known else None)

    def build_request(self, project_id: int, cohort: CohortView, terms: ExportTerms) -> ExportRequest:
        """Return the checked request; raise InvalidRequest, naming the field, for what cannot be exported."""
        self._check_pages(project_id, cohort)
        known = self._store.syncs.get_sync_of_cohort(project_id, cohort.id)
        license_code = known.license_code if known else self._state.account_of(self._state.get_project(project_id))
        if known:
            self._state.require_connections(known)
        mapping = terms.mapping
        name = self._choose_attribute(project_id, cohort, known, license_code, terms.attribute)
        if not known:
            self._check_room(license_code)
        self._check_mapping(mapping or ())
        wrong = find_id_property_problem(terms.id_property or "")
        if wrong:
            raise InvalidRequest(wrong, "id_property")
        found = self._store.attributes.find_problem(license_code, known.id if known else None, name, mapping or ())
        if found:
            raise InvalidRequest(found[1], found[0])
        if terms.license_code not in (None, license_code):
            raise InvalidRequest(
                f"This cohort would be exported to WebEngage account {license_code} now; check it again."
            )
        return ExportRequest(
            project_id=project_id,
            cohort_id=cohort.id,
            cohort_name=cohort.name,
            license_code=license_code,
            attribute=name,
            terms=Request(
                mode=terms.mode,
                interval_seconds=choose_interval(terms.mode, DAY if terms.daily else terms.interval),
                mapping=mapping,
                previewed=self._find_previewed(project_id, cohort.id, terms),
                forms=self._resolve_forms(license_code, mapping or (), terms.forms),
                daily=terms.daily,
                ends_at=terms.ends_at,
                id_property=terms.id_property,
            ),
        )

    def _choose_attribute(
        self, project_id: int, cohort: CohortView, known: Sync | None, license_code: str, wanted: str | None
    ) -> str:
        """Return the attribute that was asked for, else the sync's own or a suggested one; raise for one that cannot be."""
        name = wanted
        if name is None:
            taken = self._store.attributes.list_taken(license_code)
            name = known.attribute if known else suggest_attribute(cohort.name, taken)
        problem = self._cohorts.check_attribute(project_id, cohort.id, name) if known else problem_of(name, frozenset())
        if problem:
            raise InvalidRequest(problem, "attribute")
        return name

    def _find_previewed(self, project_id: int, cohort_id: int, terms: ExportTerms) -> int | None:
        """Return how many identified people the person was shown, None when there was no preview."""
        seen = self._cohorts.get_known(project_id, cohort_id) if terms.previewed is None else None
        return seen.identified if seen else terms.previewed

    def _check_room(self, license_code: str) -> None:
        """Raise InvalidRequest when a WebEngage account can hold no further cohort attribute."""
        cohorts = self._store.attributes.count_cohorts(license_code)
        if cohorts >= MAX_ATTRIBUTES:
            raise InvalidRequest(
                f"WebEngage account {license_code} already has {cohorts} cohort attributes, and WebEngage holds "
                f"{MAX_ATTRIBUTES} of this type; the next would be dropped silently. Use another account."
            )

    def _resolve_forms(self, license_code: str, mapping: tuple[tuple[str, str], ...], forms: Forms) -> Forms:
        """Return how mapped values are written: as asked, else as the register of attributes says.

        Raise InvalidRequest for a type that WebEngage would drop, and for a country there is none of.
        """
        fixed, asked = self._store.attributes.read_data_types(license_code), dict(forms)
        registered = self._store.attributes.read_forms(license_code)
        _check_spelling(mapping, {*fixed, *registered})
        resolved = tuple(
            (target, text) for _, target in mapping if (text := asked.get(target) or registered.get(target))
        )
        parsed = parse_forms(resolved)
        for target, form in parsed.items():
            problem = find_form_problem(target, form, fixed.get(target))
            if problem:
                raise InvalidRequest(problem, "mapping")
        new = [form for target, form in parsed.items() if target not in fixed and target not in FIELD_TYPES]
        self._check_type_room(license_code, fixed, new)
        return resolved

    def _check_type_room(self, license_code: str, fixed: dict[str, str], new: list[ValueForm]) -> None:
        """Raise InvalidRequest when a WebEngage account can hold no further attribute of a type."""
        used = Counter([*fixed.values(), *(form.type.data_type for form in new)])
        used["boolean"] += self._store.attributes.count_cohorts(license_code)
        for form in new:
            if used[form.type.data_type] > MAX_ATTRIBUTES:
                raise InvalidRequest(
                    f"WebEngage account {license_code} already has {MAX_ATTRIBUTES} attributes of the type "
                    f"{form.type.value}; WebEngage would silently drop the next. Unmap one, or use another type.",
                    "mapping",
                )

    def _check_pages(self, project_id: int, cohort: CohortView) -> None:
        """Raise InvalidRequest, with what to do, for a cohort whose pages never fit Mixpanel's hourly limit."""
        pages = count_pages(cohort.count, self._state.settings.page_size)
        if pages > SYNC_QUERIES_AN_HOUR and self._store.rate_limits.pages_count(project_id, self._state.now()):
            raise InvalidRequest(
                f"Mixpanel counts every page as a query in this project, and “{cohort.name}” has about {pages:,} pages; "
                f"one reading has to fit the hour, which lets {SYNC_QUERIES_AN_HOUR} through. Set COHORT_SYNC_PAGE_SIZE "
                "to larger pages, split the cohort, or ask Mixpanel for a higher limit."
            )

    def _check_mapping(self, mapping: tuple[tuple[str, str], ...]) -> None:
        """Raise InvalidRequest for two properties with one attribute, one property twice, or a reserved name."""
        for places, what in ((0, "is sent to two attributes; choose one"), (1, "would get two properties; choose one")):
            names = [fold_name(pair[places]) if places else pair[places] for pair in mapping]
            for pair, name in zip(mapping, names, strict=True):
                if names.count(name) > 1:
                    raise InvalidRequest(f"“{pair[places]}” {what}.", "mapping")
        for _, target in mapping:
            problem = find_mapping_problem(target)
            if problem:
                raise InvalidRequest(problem, "mapping")
