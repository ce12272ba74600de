"""Cohorts: every cohort of the project, who is in it, and the way to WebEngage."""

from __future__ import annotations

import time

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import cohort_rows, export_dialog, frame, members_dialog
from pages.parts.desk import may, open_service
from pages.parts.wishes import asked, drop, go
from pages.parts.words import ago, escape, plural, trouble
from sync.access import Grade
from sync.service import Service
from sync.views import CohortList, CohortView, ProjectView

LOOK_ONLY = "You may look here; exporting needs a marketer. Ask an admin of Cohort Sync."


def dialogs(project: ProjectView, cohorts: tuple[CohortView, ...], problem: DeltaGenerator) -> None:
    """Open the dialog the address asks for, or say at the top why there is none."""
    if "export" in st.query_params and not may(Grade.MARKETER):
        problem.warning(LOOK_ONLY)
        drop("export")
    for wish, open_dialog in (("export", export_dialog.show), ("view", members_dialog.show)):
        wanted = asked(wish)
        found = next((cohort for cohort in cohorts if cohort.id == wanted), None)
        if found and not found.group:
            open_dialog(project, found)
            return
        if wish in st.query_params:
            problem.warning(f"This project has no cohort {escape(st.query_params[wish][:40])} that could be shown.")
            drop(wish)


def head(listing: CohortList) -> None:
    """Show the title, how fresh the list is, and the way to refresh it."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.title("Cohorts", anchor=False)
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            st.caption(f"{plural(len(listing.cohorts), 'cohort')} · read {ago(listing.read_at, time.time())}")
            st.button("Refresh list", icon=":material/refresh:", key="refresh-list", on_click=_read_anew)
    if listing.problem:
        st.warning(trouble(listing.problem), icon=":material/warning:")


def _read_anew() -> None:
    st.session_state["_fresh"] = True


def show(service: Service, project: ProjectView) -> None:
    """Show the list of one project."""
    with st.spinner("Reading the cohorts…"):
        listing = service.cohorts(project.id, fresh=st.session_state.pop("_fresh", False))
    head(listing)
    problem = st.empty()
    if not service.accounts():
        st.info("You can look at cohorts now. To export them, connect WebEngage on the Integrations page.")
    cohort_rows.show(project, listing.cohorts)
    dialogs(project, listing.cohorts, problem)


def page() -> None:
    """Show the chosen project's cohorts, or the way to a project."""
    with open_service() as service:
        project = frame.chosen(service.projects())
        if project:
            show(service, project)
            return
    st.title("Cohorts", anchor=False)
    st.info("Connect your Mixpanel project first; its cohorts are then listed here.")
    if st.button("Go to Integrations", type="primary"):
        go("integrations")


frame.hold(page)
