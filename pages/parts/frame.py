"""What stands beside every page: which project, is the runner alive, how many queries are left."""

from __future__ import annotations

import os

import streamlit as st

from pages.parts.words import escape, short
from sync.service import Service
from sync.views import Health, ProjectView

PROJECT = "project"
HEALTH_SECONDS = 5.0


def project_label(project: ProjectView) -> str:
    """Name a project as people know it."""
    return project.name or f"Project {project.id}"


def project_switcher(projects: tuple[ProjectView, ...]) -> None:
    """Let a person choose the project when there is more than one."""
    if len(projects) < 2:
        return
    names = {project.id: escape(project_label(project)) for project in projects}
    wanted = st.query_params.get(PROJECT, "")
    first = next((n for n, project in enumerate(projects) if str(project.id) == wanted), 0)
    if st.session_state.get(PROJECT) not in names:
        st.session_state[PROJECT] = projects[first].id
    st.selectbox("Project", list(names), format_func=names.__getitem__, key=PROJECT)


def chosen(projects: tuple[ProjectView, ...]) -> ProjectView | None:
    """Tell the project the pages speak about: the one chosen, else the first."""
    wanted = st.session_state.get(PROJECT)
    return next((project for project in projects if project.id == wanted), projects[0] if projects else None)


@st.fragment(run_every=HEALTH_SECONDS)
def health_lines() -> None:
    """Say whether the runner works and how much of the hour is left; reads only."""
    with Service.open(os.environ) as service:
        health = service.health()
    _runner_line(health)
    for project_id, left in health.queries:
        name = "" if len(health.queries) == 1 else f" in project {project_id}"
        noun = "query" if left == 1 else "queries"
        st.caption(f":material/speed: {left} Mixpanel {noun} left this hour{name}")


def _runner_line(health: Health) -> None:
    if health.alive and health.runner_seen is not None:
        st.caption(f":material/favorite: Runner last seen {short(health.now - health.runner_seen)} ago")
    else:
        st.warning("The runner is not running: start it with `make run`", icon=":material/power_off:")
