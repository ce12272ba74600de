"""The frame around every page: navigation, the project, the runner's health."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from pages.parts import look, notices
from pages.parts.frame import health_lines, project_switcher
from pages.parts.wishes import page_file
from pages.parts.words import escape
from sync.errors import CohortSyncError
from sync.service import Service

ICON = Path(__file__).parent / "assets" / "icon.png"


def main() -> None:
    """Run the page that was asked for inside the frame."""
    st.set_page_config(page_title="Cohort Sync", page_icon=str(ICON), layout="wide")
    page = st.navigation(_pages())
    look.style()
    try:
        _sidebar()
        notices.show()
        st.session_state["_frame"] = True
        page.run()
    except CohortSyncError as error:
        st.error(escape(str(error)), icon=":material/error:")
    finally:
        st.session_state.pop("_frame", None)


def _pages() -> list[st.Page]:  # type: ignore[valid-type]
    return [
        st.Page(_home, title="Cohort Sync", default=True, visibility="hidden"),
        st.Page(page_file("integrations"), title="Integrations", icon=":material/extension:"),
        st.Page(page_file("cohorts"), title="Cohorts", icon=":material/groups:"),
        st.Page(page_file("syncs"), title="Syncs", icon=":material/sync:"),
        st.Page(page_file("runs"), title="Runs", icon=":material/history:"),
    ]


def _home() -> None:
    with Service.open(os.environ) as service:
        ready = bool(service.projects() and service.accounts())
    st.switch_page(page_file("cohorts" if ready else "integrations"))


def _sidebar() -> None:
    with Service.open(os.environ) as service:
        projects = service.projects()
    with st.sidebar:
        st.markdown("**Cohort Sync**")
        project_switcher(projects)
        health_lines()


if __name__ == "__main__":
    main()
