"""The frame around every page: navigation, the project, the runner's health."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.parts import door, look, notices, progress
from pages.parts.desk import open_service
from pages.parts.wishes import page_file
from pages.parts.words import escape, plural, short, trouble
from sync.access import Grade
from sync.errors import CohortSyncError
from sync.views import Health, ProjectView, RunnerState

PROJECT, INSIDE = "project", "_frame"
HEALTH_SECONDS = 5.0
NOT_RUNNING = "The runner is not working, so nothing is exported. Start it in the project's folder:"
SILENT = "The runner is silent for {}, so nothing is exported. Look at its log: is the disk full? Else start it again."
UNKNOWN = "The runner was last seen {} in the future: a clock was changed, so it is not known whether it works."
LATE = "Late, or not cleared in WebEngage: {}. The Syncs page says why."
START = ".venv/bin/python -m sync.runner"


def main() -> None:
    """Run the page that was asked for inside the frame."""
    st.set_page_config(page_title="Cohort Sync", page_icon=str(look.ASSETS / "icon.png"), layout="wide")
    st.logo(look.ASSETS / "logo.svg", size="large", icon_image=look.ASSETS / "icon.png")
    inside = door.is_open()
    page = st.navigation(_pages(), position="sidebar" if inside else "hidden")
    look.style()
    if not inside:
        door.show_way_in()
        return
    try:
        _sidebar()
        notices.show()
        st.session_state[INSIDE] = True
        page.run()
    except CohortSyncError as error:
        st.error(trouble(error), icon=":material/error:")
    finally:
        st.session_state.pop(INSIDE, None)


def hold(page: Callable[[], None]) -> None:
    """Run a page inside the frame, also when a new server was asked for the page before anything else.

    Streamlit then runs the page's script alone, without app.py and whatever that guards.
    """
    page() if st.session_state.get(INSIDE) else main()


def _pages() -> list[st.Page]:
    return [
        st.Page(_home, title="Cohort Sync", default=True, visibility="hidden"),
        st.Page(page_file("cohorts"), title="Cohorts", icon=":material/groups:"),
        st.Page(page_file("integrations"), title="Integrations", icon=":material/extension:"),
        st.Page(page_file("syncs"), title="Syncs", icon=":material/sync:"),
        st.Page(page_file("runs"), title="Runs", icon=":material/history:"),
        # Known to everybody, so that its address never runs alone; shown to admins.
        st.Page(
            page_file("administration"),
            title="Administration",
            icon=":material/admin_panel_settings:",
            visibility="visible" if door.person().grade is Grade.ADMIN else "hidden",
        ),
    ]


def _home() -> None:
    with open_service() as service:
        ready = bool(service.projects() and service.accounts())
    st.switch_page(page_file("cohorts" if ready else "integrations"))


def _sidebar() -> None:
    with open_service() as service:
        projects = service.projects()
    with st.sidebar:
        _switcher(projects)
        door.name_plate()
        _health()


def project_label(project: ProjectView) -> str:
    """Name a project as people know it."""
    return project.name or f"Project {project.id}"


def _switcher(projects: tuple[ProjectView, ...]) -> None:
    """Let a person choose the project when there is more than one; the address remembers it."""
    if len(projects) < 2:
        return
    names = {project.id: escape(project_label(project)) for project in projects}
    if st.session_state.get(PROJECT) not in names:
        asked = st.query_params.get(PROJECT, "")
        st.session_state[PROJECT] = next((one for one in names if str(one) == asked), projects[0].id)
    st.query_params[PROJECT] = str(st.selectbox("Project", list(names), format_func=names.__getitem__, key=PROJECT))


def chosen(projects: tuple[ProjectView, ...]) -> ProjectView | None:
    """Tell the project the pages speak about: the one chosen, else the first."""
    wanted = st.session_state.get(PROJECT)
    return next((project for project in projects if project.id == wanted), projects[0] if projects else None)


@st.fragment(run_every=HEALTH_SECONDS)
def _health() -> None:
    """Say whether the runner works and how much of the hour is left; reads only."""
    door.close_when_refused()
    with open_service() as service:
        health = service.health()
    with st.container(key="health", gap="xsmall"):
        _runner(health)
        _late(health)
        _queries(health)


def _runner(health: Health) -> None:
    age = health.now - health.runner_seen if health.runner_seen is not None else 0.0
    if health.runner_state == RunnerState.WORKING:
        st.caption(f":material/favorite: Runner last seen {short(max(0.0, age))} ago")
        return
    if health.runner_state == RunnerState.UNKNOWN:
        st.warning(UNKNOWN.format(short(-age)), icon=":material/question_mark:")
        return
    if health.runner_state == RunnerState.SILENT:
        st.warning(SILENT.format(short(age)), icon=":material/power_off:")
        return
    st.warning(NOT_RUNNING, icon=":material/power_off:")
    st.code(START, language=None, wrap_lines=True)


def _late(health: Health) -> None:
    late = sum(one.needs_person and health.now - one.since >= progress.LATE for one in health.overdue)
    number = late + len(health.not_cleared)
    if number:
        st.warning(LATE.format(plural(number, "sync")), icon=":material/alarm:")


def _queries(health: Health) -> None:
    wanted = st.session_state.get(PROJECT)
    left = next((left for project, left in health.queries if wanted in (None, project)), None)
    if left is not None:
        st.caption(f":material/speed: {plural(left, 'Mixpanel query', 'Mixpanel queries')} left this hour")
