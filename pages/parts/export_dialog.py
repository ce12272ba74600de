"""Export to WebEngage: how often, under which attribute, how many; then Start Sync."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from pages.parts import notices, preview, property_mapping
from pages.parts.badges import show_name
from pages.parts.formatting import escape_markdown, format_error, format_interval
from pages.parts.navigation import clear_requests, open_page
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.model import ATTRIBUTE_MAX, Mode
from sync.service import Service
from sync.views import CohortView, Preview, ProjectView, Proposal, StartedExport

MODES = {Mode.ONE_TIME: "One-time", Mode.DYNAMIC: "Dynamic (every two hours)"}
MODE_MEANINGS = {
    Mode.ONE_TIME: "Sends the people who are in the cohort now, once.",
    Mode.DYNAMIC: "Again and again: people who came are added, people who left are taken out.",
}
NEW_PROFILES = "A user id WebEngage does not know becomes a **new profile** there; ids are compared letter by letter."
PERMANENT = "Everybody exported gets it as true. The name is **permanent** after the first export."
DRY_RUN_HELP = "Plans what would be sent about whom, and waits for your approval before anything is sent."


@dataclass(frozen=True, slots=True)
class ExportForm:
    """The values of the dialog's fields."""

    mode: Mode
    attribute: str
    interval_seconds: float | None
    mapping: property_mapping.Mapping
    dry_run: bool
    account: str
    previewed: int | None


ACCOUNT = "_export_account"


def _close_dialog() -> None:
    clear_requests("export")
    preview.forget_preview()
    st.session_state.pop(ACCOUNT, None)


@st.dialog("Export to WebEngage", width="medium", on_dismiss=_close_dialog)
def show_export_dialog(project: ProjectView, cohort: CohortView) -> None:
    """Ask how a cohort is to be exported and start it."""
    try:
        with open_service() as service:
            proposal = service.cohorts.propose_export(project.id, cohort.id)
            _show_form(service, project, cohort, proposal)
    except CohortSyncError as error:
        st.error(format_error(error))


def _show_form(service: Service, project: ProjectView, cohort: CohortView, proposal: Proposal) -> None:
    account = _account_field(cohort, proposal)
    mode = _mode_field(cohort.id, proposal)
    attribute, problem = _attribute_field(service, project, cohort, proposal)
    seen = _show_numbers(project, cohort)
    mapping, wrong = property_mapping.choose_properties(cohort.id, proposal.mapping, seen.properties if seen else ())
    blocked = bool(problem or wrong) or not account
    if not account:
        st.warning(escape_markdown(proposal.account_problem))
    with st.container(horizontal=True, horizontal_alignment="right"):
        cancel = st.button("Cancel", key="export-cancel")
        dry_run = st.button("Dry run", key="export-dry", disabled=blocked, help=DRY_RUN_HELP)
        start = st.button("Start Sync", key="export-start", type="primary", disabled=blocked)
    if cancel:
        _close_dialog()
        st.rerun()
    if start or dry_run:
        _start_export(
            service,
            project,
            cohort,
            ExportForm(
                mode,
                attribute,
                proposal.interval_seconds if mode == Mode.DYNAMIC else None,
                mapping,
                bool(dry_run),
                account,
                seen.identified if seen else None,
            ),
        )


def _account_field(cohort: CohortView, proposal: Proposal) -> str:
    """Show where the cohort goes; the answer is the account shown first, until the dialog is closed.

    Nothing goes elsewhere because somebody chose another account in the meantime.
    """
    kept = st.session_state.get(ACCOUNT)
    if not kept or kept[0] != cohort.id or not kept[1]:
        kept = st.session_state[ACCOUNT] = cohort.id, proposal.license_code or ""
    with st.container(horizontal=True, vertical_alignment="center"):
        show_name(cohort.name, "export", width="content")
        if kept[1]:
            st.caption(f"to WebEngage account **{escape_markdown(kept[1])}**", width="content")
    return str(kept[1])


def _mode_field(cohort_id: int, proposal: Proposal) -> Mode:
    choices = list(MODES)
    labels = MODES | (
        {Mode.DYNAMIC: f"Dynamic ({format_interval(proposal.interval_seconds)})"}
        if proposal.interval_seconds != 7200
        else {}
    )
    chosen = st.radio(
        "How often",
        choices,
        index=choices.index(proposal.mode),
        key=f"export-mode-{cohort_id}",
        format_func=labels.__getitem__,
        captions=[MODE_MEANINGS[mode] for mode in choices],
    )
    return chosen or proposal.mode


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


def _show_numbers(project: ProjectView, cohort: CohortView) -> Preview | None:
    try:
        seen = preview.read_preview(project.id, cohort.id)
    except CohortSyncError as error:
        st.warning(format_error(error))
        return None
    preview.show_numbers(seen)
    with st.expander("Look at some members"):
        preview.show_sample(seen)
    with st.container(gap=None):
        preview.show_cost(seen)
        st.caption(f":material/person_add: {NEW_PROFILES}")
    return seen


def _start_export(service: Service, project: ProjectView, cohort: CohortView, wanted: ExportForm) -> None:
    try:
        started = service.syncs.start_export(
            project.id,
            cohort.id,
            wanted.mode,
            wanted.attribute,
            wanted.interval_seconds,
            wanted.dry_run,
            wanted.mapping,
            wanted.account,
            wanted.previewed,
        )
    except CohortSyncError:
        st.session_state.pop(ACCOUNT, None)  # the next look shows where it would go now
        raise
    _close_dialog()
    if wanted.dry_run:
        open_page("runs", run=started.run_id)
    notices.flash_success(_describe_start(cohort, started))
    st.rerun()


def _describe_start(cohort: CohortView, started: StartedExport) -> str:
    if started.started:
        return f"{cohort.name} is on its way to WebEngage. Its row shows how far it is; Syncs and Runs show more."
    return f"{cohort.name} is already on its way to WebEngage; nothing was started twice."
