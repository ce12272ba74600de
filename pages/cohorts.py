"""Cohorts: every cohort of the project, who is in it, and the way to WebEngage."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import cohort_page, cohort_rows, export_dialog, layout
from pages.parts.formatting import escape_markdown, format_error, format_time
from pages.parts.navigation import clear_requests, open_page, requested_id, requested_text, set_request
from pages.parts.session import is_allowed, open_service
from sync.errors import CohortSyncError
from sync.permissions import AccessLevel
from sync.records import CohortView, ProjectView
from sync.service import Service
from sync.text import count_noun
from sync.views import CohortList

FRESH_KEY = "_fresh"  # session key: somebody asked for a new list
LOOK_ONLY = "You can view this page; exporting needs a marketer. Ask an admin of Cohort Sync."


def open_dialogs(project: ProjectView, cohorts: tuple[CohortView, ...], problem: DeltaGenerator) -> None:
    """Open the dialog the address asks for, or say at the top why there is none."""
    if "export" in st.query_params and not is_allowed(AccessLevel.MARKETER):
        problem.warning(LOOK_ONLY)
        clear_requests("export")
    wanted = _find_requested("export", cohorts, problem)
    if wanted and not wanted.group:
        export_dialog.show_export_dialog(project, wanted)


def _find_requested(request: str, cohorts: tuple[CohortView, ...], problem: DeltaGenerator) -> CohortView | None:
    """Return the cohort the address asks for, or None and say at the top that there is none."""
    wanted = requested_id(request)
    found = next((cohort for cohort in cohorts if cohort.id == wanted), None)
    asked = requested_text(request)
    if asked and (not found or (request == "export" and found.group)):
        missing = escape_markdown(f"This project has no cohort {asked} that could be shown.")
        problem.warning(cohort_rows.GROUP_REASON if found else missing)
        clear_requests(request)
    return found


def show_head(listing: CohortList) -> None:
    """Show the title, how fresh the list is, and the way to refresh it."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.title("Cohorts", anchor=False)
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            st.caption(f"{count_noun(len(listing.cohorts), 'cohort')} · read at {format_time(listing.read_at)}")
            st.button("Refresh list", icon=":material/refresh:", key="refresh-list", on_click=_request_refresh)
    if listing.problem:
        st.warning(format_error(listing.problem), icon=":material/warning:")
    if listing.left_out:
        st.caption(listing.left_out)


def _request_refresh() -> None:
    st.session_state[FRESH_KEY] = True


def show_cohorts(service: Service, project: ProjectView) -> None:
    """Show the list of one project."""
    listing = _read_list(service, project)
    if listing is None:
        return
    problem = st.empty()
    if "view" in st.query_params:  # links made before a cohort had a page of its own
        st.query_params["cohort"] = st.query_params.pop("view")
    cohort = _find_requested("cohort", listing.cohorts, problem)
    if cohort:
        set_request("cohort", cohort.id)  # the address loses it when a link leads to the page one is on
        cohort_page.show_cohort_page(project, cohort)
        open_dialogs(project, listing.cohorts, problem)
        return
    show_head(listing)
    if not service.connections.list_accounts():
        st.info("You can look at cohorts now. To export them, connect WebEngage on the Integrations page.")
    cohort_rows.show_cohort_rows(project, listing.cohorts)
    open_dialogs(project, listing.cohorts, problem)


def _read_list(service: Service, project: ProjectView) -> CohortList | None:
    """Return the list; None, with the way to try again, when Mixpanel was never heard and does not answer now."""
    try:
        with st.spinner("Reading the cohorts from Mixpanel…", show_time=True):
            return service.cohorts.list(project.id, fresh=st.session_state.pop(FRESH_KEY, False))
    except CohortSyncError as error:
        st.title("Cohorts", anchor=False)
        st.error(format_error(error), icon=":material/error:")
        st.button("Try again", icon=":material/refresh:", key="refresh-list")
        return None


def show_page() -> None:
    """Show the chosen project's cohorts, or the way to a project."""
    with open_service() as service:
        project = layout.chosen_project(service.connections.list_projects())
        if project:
            show_cohorts(service, project)
            return
    st.title("Cohorts", anchor=False)
    st.info("Connect your Mixpanel project first; its cohorts are then listed here.")
    if st.button("Go to Integrations", type="primary"):
        open_page("integrations")


layout.run_in_layout(show_page)
