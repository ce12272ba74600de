"""Export to WebEngage: how often, under which attribute, how many; then Start Sync."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import (
    cadence_fields,
    export_draft,
    first_step,
    notices,
    preview,
    property_mapping,
    user_id_field,
    value_types,
)
from pages.parts.badges import show_name, show_whole_name
from pages.parts.formatting import escape_markdown, format_count, format_error, shorten_name
from pages.parts.navigation import clear_requests, open_page, set_request
from pages.parts.session import open_service
from sync.attribute_names import ATTRIBUTE_MAX
from sync.cadence import DailyTime, format_interval
from sync.errors import CohortSyncError
from sync.export_terms import ExportTerms
from sync.guards import PREVIEW_GROWTH, WHOLE
from sync.model import INTERVAL_CHOICES, Mode
from sync.records import CohortView, ProjectView
from sync.service import Service
from sync.text import count_people
from sync.views import Preview, Proposal, StartedExport
from sync.wording import MODE_WORDS, describe_coverage

MODE_MEANINGS = {
    Mode.ONE_TIME: "Sends the people who are in the cohort now, once.",
    Mode.DYNAMIC: "Repeatedly: people who are new in the cohort are added, people who left it are removed.",
}
NEW_PROFILES = "A User ID that WebEngage does not know becomes a **new profile** there."
PERMANENT = "It is set to true for everybody exported. The name is **permanent** after the first export."
FIRST_HELD = "Held for your approval if more than {limit} would be sent."
LATER_HELD = "Held for your approval if more than {added} would be added or more than {removed} removed."
LIFTED = (
    "Its guard is lifted, so no number of people holds it. It is held for your approval if Mixpanel returns nobody, or if "
    "a tripwire is in the cohort."
)
DRY_RUN_HELP = "Plans what would be sent, and for whom, and waits for your approval before anything is sent."

Cadence = tuple[Mode, float | None, DailyTime | None, float | None]  # mode, interval in seconds, time of day, end
SHOWN = "_export_shown"  # session key: of which cohort, the account it goes to, and the last halt


def _close_dialog() -> None:
    clear_requests("export")
    preview.forget_preview()
    value_types.forget_sample()
    st.session_state.pop(SHOWN, None)


def _dismiss_dialog() -> None:
    """Close the dialog by Esc, its cross or a click beside it, which may be a slip: what was filled in is kept."""
    export_draft.keep_draft()
    _close_dialog()


def close_left_dialog() -> None:
    """Close the dialog where the address asks for none, since its page was left: what it showed is of before."""
    if "export" not in st.query_params:
        _dismiss_dialog()


@st.dialog("Export to WebEngage", width="medium", on_dismiss=_dismiss_dialog)
def show_export_dialog(project: ProjectView, cohort: CohortView) -> None:
    """Ask how a cohort is to be exported and start it."""
    try:
        with open_service() as service:
            proposal = service.cohorts.propose_export(project.id, cohort.id)
            _show_form(service, project, cohort, proposal)
    except CohortSyncError as error:
        st.error(format_error(error))


def _show_form(service: Service, project: ProjectView, cohort: CohortView, proposal: Proposal) -> None:
    """Show the fields and, in a place of their own, the buttons.

    The place is taken first: where the buttons stood after the fields, another number of fields left the former buttons
    beside the new ones until the dialog was drawn.
    """
    fields = st.container()
    with st.container(key="sticky-export"):
        refusal = st.empty()
        buttons = st.container(horizontal=True, horizontal_alignment="right")
    with fields:
        terms, blocked = _show_fields(service, project, cohort, proposal)
    with buttons:
        dry_run, start = _show_buttons(blocked=blocked)
    if not (start or dry_run):
        return
    try:
        _start_export(service, project, cohort, replace(terms, dry_run=dry_run))
    except CohortSyncError as error:
        refusal.error(format_error(error))  # beside the button that was pressed: below the fields nobody would see it


def _show_fields(
    service: Service, project: ProjectView, cohort: CohortView, proposal: Proposal
) -> tuple[ExportTerms, bool]:
    """Show the fields; return what they hold, and whether something in them keeps the export from being started."""
    restored = export_draft.restore_draft(project.id, cohort.id, proposal)
    account, last_halt = _account_field(project, cohort, proposal)
    if restored:
        st.caption(f":material/edit_note: {export_draft.RESTORED}")
    mode, interval, daily, ends_at = _mode_fields(cohort.id, proposal)
    if mode == Mode.DYNAMIC:
        cadence_fields.show_fit(service, project.id, cohort.id, interval, daily)
    attribute, problem = _attribute_field(service, project, cohort, proposal)
    id_property, no_name, seen = _choose_user_id(project, cohort, proposal)
    is_other = id_property != proposal.id_property
    names = seen.properties if seen else ()
    cost = _show_numbers(service, cohort, seen, is_change=is_other and bool(seen.exported_before)) if seen else None
    mapping, wrong = property_mapping.choose_properties(cohort.id, proposal.mapping, names)
    if seen and cost:
        _show_cost(service, project, seen, cost, sends_values=bool(mapping))
    forms = () if wrong else value_types.choose_types(service, project.id, cohort.id, mapping, names, id_property)
    first = first_step.choose_first_step(cohort.id)
    export_draft.note_opened(project.id, cohort.id, proposal)
    terms = ExportTerms(
        mode=mode,
        attribute=attribute,
        interval=interval,
        daily=daily,
        ends_at=ends_at,
        id_property=id_property,
        mapping=mapping,
        forms=forms,
        license_code=account,
        last_halt=last_halt,
        previewed=seen.identified if seen else None,
        steps=first.steps,
        chosen=first.chosen,
    )
    return terms, bool(problem or wrong or no_name or first.problem or proposal.account_problem) or not account


def _choose_user_id(project: ProjectView, cohort: CohortView, proposal: Proposal) -> tuple[str, str, Preview | None]:
    """Show the field; return the User ID property, what is wrong with its name, and the preview by it."""
    known = _read_numbers(project, cohort, None)
    id_property, no_name = user_id_field.choose_id_property(
        cohort.id, proposal.id_property, known.properties if known else ()
    )
    is_other = id_property != proposal.id_property
    return id_property, no_name, _read_numbers(project, cohort, id_property) if is_other and not no_name else known


def _show_cost(
    service: Service, project: ProjectView, seen: Preview, place: DeltaGenerator, *, sends_values: bool
) -> None:
    """Show what the export takes, at most where the properties that were just chosen are sent, too."""
    with place:
        preview.show_cost(
            service.cohorts.add_current_limits(project.id, seen, sends_values=True) if sends_values else seen
        )


def _show_buttons(*, blocked: bool) -> tuple[bool, bool]:
    """Show the buttons; return whether Dry run and whether Start Sync was pressed."""
    cancel = st.button("Cancel", key="export-cancel")
    dry_run = st.button("Dry run", key="export-dry", disabled=blocked, help=DRY_RUN_HELP)
    start = st.button("Start Sync", key="export-start", type="primary", disabled=blocked)
    if cancel:
        export_draft.forget_draft()
        _close_dialog()
        st.rerun()
    return dry_run, start


def _account_field(project: ProjectView, cohort: CohortView, proposal: Proposal) -> tuple[str, int]:
    """Show where the cohort goes; return the account and the last halt shown first, until the dialog is closed.

    Nothing goes elsewhere because somebody chose another account in the meantime, nor anywhere when somebody stopped it.
    """
    place = project.id, cohort.id
    kept: tuple[export_draft.Place, str, int] | None = st.session_state.get(SHOWN)
    if not kept or kept[0] != place or not kept[1]:
        kept = st.session_state[SHOWN] = place, proposal.license_code or "", proposal.last_halt
    with st.container(horizontal=True, vertical_alignment="center"):
        show_name(shorten_name(cohort.name), "export", width="content")
        if kept[1]:
            st.caption(f"to WebEngage account **{escape_markdown(kept[1])}**", width="content")
    show_whole_name(cohort.name, "export")
    if proposal.account_problem:
        st.warning(escape_markdown(proposal.account_problem))
    return kept[1], kept[2]


def _mode_fields(cohort_id: int, proposal: Proposal) -> Cadence:
    """Show how often the cohort is exported; return the mode, and of a dynamic one interval or time of day, and end."""
    choices, interval, daily, ends_at = list(MODE_WORDS), None, None, None
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        mode = (
            st.radio(
                "How often",
                choices,
                index=choices.index(proposal.mode),
                key=f"export-mode-{cohort_id}",
                format_func=MODE_WORDS.__getitem__,
                horizontal=True,
                width="content",
            )
            or proposal.mode
        )
        if mode == Mode.DYNAMIC:
            interval = _interval_field(cohort_id, proposal)
    if interval == cadence_fields.AT_TIME_OF_DAY:
        interval, daily = None, cadence_fields.choose_time_of_day(f"export-{cohort_id}", proposal.daily)
    if mode == Mode.DYNAMIC:
        with row:
            ends_at = cadence_fields.choose_end(f"export-{cohort_id}", proposal.ends_at, daily)
    st.caption(MODE_MEANINGS[mode])
    return mode, interval, daily, ends_at


def _interval_field(cohort_id: int, proposal: Proposal) -> float:
    """Show the intervals and a time of day to choose from; return the seconds, or AT_TIME_OF_DAY."""
    at_time = cadence_fields.AT_TIME_OF_DAY
    proposed = at_time if proposal.daily else proposal.interval_seconds
    choices = [*sorted({*INTERVAL_CHOICES, proposed} - {at_time}), at_time]
    return st.selectbox(
        "Refreshed",
        choices,
        index=choices.index(proposed),
        key=f"export-interval-{cohort_id}",
        format_func=lambda seconds: (
            cadence_fields.TIME_OF_DAY_LABEL if seconds == at_time else format_interval(seconds).capitalize()
        ),
        width=240,
    )


def _attribute_field(service: Service, project: ProjectView, cohort: CohortView, proposal: Proposal) -> tuple[str, str]:
    if proposal.permanent:
        st.caption("Attribute in WebEngage – permanent since the first export")
        st.code(proposal.attribute, language=None, wrap_lines=True)
        return proposal.attribute, ""
    name = st.text_input(
        "Attribute in WebEngage",
        value=proposal.attribute,
        key=f"export-attribute-{cohort.id}",
        live=True,
        max_chars=2 * ATTRIBUTE_MAX,
    )
    problem = service.cohorts.check_attribute(project.id, cohort.id, name or "") or ""
    if problem:
        st.error(escape_markdown(problem))
    else:
        st.caption(PERMANENT)
    return name or "", problem


def _read_numbers(project: ProjectView, cohort: CohortView, id_property: str | None) -> Preview | None:
    """Return the preview by a User ID property, or by the cohort's own; None, and say why, when it cannot be read."""
    try:
        return preview.read_preview(project.id, cohort.id, id_property)
    except CohortSyncError as error:
        st.warning(format_error(error))
        return None


def _show_numbers(service: Service, cohort: CohortView, seen: Preview, *, is_change: bool) -> DeltaGenerator:
    """Show who would be sent and what holds it; return the place for what it costs, which the properties decide, too.

    ``is_change``: under another User ID than before.
    """
    if coverage := describe_coverage(seen):
        st.caption(f":material/badge: {escape_markdown(coverage)}")
    if is_change:
        st.warning(user_id_field.CHANGED, icon=":material/swap_horiz:")
    preview.show_numbers(seen)
    with st.container(gap=None):
        cost = st.container()
        if not is_change:
            st.caption(f":material/front_hand: {_describe_guard(service, cohort, seen)}")
        st.caption(f":material/person_add: {NEW_PROFILES}")
        st.button(
            "See everybody, and why some are not exported",
            key="export-see-everybody",
            icon=":material/groups:",
            type="tertiary",
            on_click=_open_cohort,
            args=(cohort.id,),
        )
    return cost


def _open_cohort(cohort_id: int) -> None:
    _dismiss_dialog()
    set_request("cohort", cohort_id)


def _describe_guard(service: Service, cohort: CohortView, seen: Preview) -> str:
    """Return from how many people on the run would be held for approval."""
    first = FIRST_HELD.format(limit=count_people(int(PREVIEW_GROWTH * seen.identified)))
    if cohort.sync_id is None:
        return first
    guard, size = service.guards.get(cohort.sync_id), seen.exported_before
    if not guard.enabled:
        return LIFTED
    removed = max(guard.limits.remove_people, int(guard.limits.remove_share * size / WHOLE))
    if service.guards.is_first_export(cohort.sync_id):
        return f"{first.removesuffix('.')} or more than {format_count(removed)} removed." if size else first
    added = max(guard.limits.add_people, int(guard.limits.add_share * size / WHOLE))
    return LATER_HELD.format(added=count_people(added), removed=format_count(removed))


def _start_export(service: Service, project: ProjectView, cohort: CohortView, terms: ExportTerms) -> None:
    try:
        started = service.syncs.start_export(project.id, cohort.id, terms)
    except CohortSyncError:
        st.session_state.pop(SHOWN, None)  # the next look shows where it would go now
        raise
    opens_run = terms.dry_run or terms.steps or terms.chosen
    if not opens_run:
        notices.flash_success(_describe_start(cohort, started))  # first: a newer click may interrupt what follows
    export_draft.forget_draft()
    _close_dialog()
    if opens_run:
        open_page("runs", run=started.run_id)
    st.rerun()


def _describe_start(cohort: CohortView, started: StartedExport) -> str:
    if started.started:
        return f"{shorten_name(cohort.name)} is on its way to WebEngage. Its progress is shown here; Syncs and Runs show more."
    return f"{shorten_name(cohort.name)} is already on its way to WebEngage; nothing was started twice."
