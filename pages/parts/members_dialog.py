"""View members: what is in a cohort before anything is exported."""

from __future__ import annotations

import streamlit as st

from pages.parts import cohort_rows, preview
from pages.parts.desk import may
from pages.parts.look import plain, small
from pages.parts.wishes import ask, drop
from pages.parts.words import trouble
from sync.access import Grade
from sync.errors import CohortSyncError
from sync.views import CohortView, ProjectView


def _closed() -> None:
    drop("view")
    preview.forget()


@st.dialog("Members", width="medium", on_dismiss=_closed)
def show(project: ProjectView, cohort: CohortView) -> None:
    """Show who is in a cohort and who of them would go."""
    plain(cohort.name, "members")
    if cohort.description:
        small(cohort.description, "members")
    try:
        seen = preview.read(project.id, cohort.id)
        preview.numbers(seen)
        preview.sample(seen)
        preview.cost(seen)
    except CohortSyncError as error:
        st.error(trouble(error))
    _buttons(project, cohort)


def _buttons(project: ProjectView, cohort: CohortView) -> None:
    with st.container(horizontal=True, horizontal_alignment="right"):
        runs = st.button("See runs", key="members-runs")
        refresh = st.button("Refresh count", key="members-refresh")
        close = st.button("Close", key="members-close")
        export = may(Grade.MARKETER) and st.button("Export to WebEngage", key="members-export", type="primary")
    if not (runs or refresh or close or export):
        return
    _closed()
    if export:
        ask("export", cohort.id)
    elif refresh:
        cohort_rows.refresh(project.id, cohort)
    elif runs:
        cohort_rows.see_runs(cohort)
    st.rerun()
