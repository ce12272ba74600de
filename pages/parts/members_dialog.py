"""View members: what is in a cohort before anything is exported."""

from __future__ import annotations

import streamlit as st

from pages.parts import cohort_rows, preview
from pages.parts.badges import show_name, show_small_text
from pages.parts.formatting import format_error
from pages.parts.navigation import clear_requests, set_request
from pages.parts.session import is_allowed
from sync.errors import CohortSyncError
from sync.permissions import AccessLevel
from sync.views import CohortView, ProjectView


def _close_dialog() -> None:
    clear_requests("view")
    preview.forget_preview()


@st.dialog("Members", width="medium", on_dismiss=_close_dialog)
def show_members_dialog(project: ProjectView, cohort: CohortView) -> None:
    """Show who is in a cohort and who of them would go."""
    show_name(cohort.name, "members")
    if cohort.description:
        show_small_text(cohort.description, "members")
    try:
        seen = preview.read_preview(project.id, cohort.id)
        preview.show_numbers(seen)
        preview.show_sample(seen)
        preview.show_cost(seen)
    except CohortSyncError as error:
        st.error(format_error(error))
    _show_buttons(project, cohort)


def _show_buttons(project: ProjectView, cohort: CohortView) -> None:
    with st.container(horizontal=True, horizontal_alignment="right"):
        runs = st.button("See runs", key="members-runs")
        refresh = st.button("Refresh count", key="members-refresh")
        close = st.button("Close", key="members-close")
        export = is_allowed(AccessLevel.MARKETER) and st.button(
            "Export to WebEngage", key="members-export", type="primary"
        )
    if not (runs or refresh or close or export):
        return
    _close_dialog()
    if export:
        set_request("export", cohort.id)
    elif refresh:
        cohort_rows.refresh_count(project.id, cohort)
    elif runs:
        cohort_rows.see_runs(cohort)
    st.rerun()
