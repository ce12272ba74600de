"""The layout around every page: navigation, choice of project, health of the runner."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import badges, export_dialog, notices, polling, run_progress, session, sync_dialogs
from pages.parts.formatting import escape_markdown, format_duration_short, format_error, tell_apart
from pages.parts.navigation import (
    MEMBER_FILTERS,
    clear_requests,
    page_script,
    requested_id,
    requested_text,
    show_page_link,
)
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.permissions import AccessLevel
from sync.records import ProjectView, RunnerState
from sync.text import count_noun
from sync.views import Health
from sync.wording import NEEDS_PERSON

PROJECT_KEY = "project"
HEALTH_SECONDS = 5.0  # between two polls of the runner's health
# The command stands in the text: a block of code has every page load what colours the words of all languages.
NOT_RUNNING = "The runner is not running, so nothing is exported. Start it in Cohort Sync's folder: `{}`"
START_COMMAND = ".venv/bin/python -m sync.runner"
SILENT = (
    "The runner has been silent for {}, so nothing is exported. Check its log and whether the disk is full, then start it "
    "again."
)
UNKNOWN = (
    "The runner was last seen {} in the future: a clock was changed, so it is not known whether the runner is working."
)
NO_RUNNER = "No runner is working, so nothing is sent to WebEngage."
RUNNER_UNKNOWN = "It is not known whether a runner is working, since a clock was changed."
SYNC_REQUESTS = ("sync", "stop", "interval", "pause")  # names in the address of what is about one sync
LATE = "Late, or not cleared in WebEngage: {}."
# Of this drawing, not of the session: a drawing that a newer click stops could not take it back there.
_is_inside: ContextVar[bool] = ContextVar("is_inside", default=False)


def run_app() -> None:
    """Run the requested page inside the layout, or show the sign-in instead."""
    st.set_page_config(page_title="Cohort Sync", page_icon=str(badges.ASSETS / "icon.png"), layout="wide")
    st.logo(badges.ASSETS / "logo.svg", size="large", icon_image=badges.ASSETS / "icon.png")
    inside = session.is_allowed(AccessLevel.VIEWER)
    page = st.navigation(_list_pages(), position="sidebar" if inside else "hidden")
    st.html(badges.STYLE)
    if not inside:
        session.show_sign_in()
        return
    shown = None
    token = _is_inside.set(True)
    try:
        _warn_of_unknown_project()
        export_dialog.close_left_dialog()
        sync_dialogs.close_left_dialog()
        _show_sidebar()
        shown = notices.show_notice()
        page.run()
    except CohortSyncError as error:
        st.error(format_error(error), icon=":material/error:")
    finally:
        _is_inside.reset(token)
    notices.note_seen(shown)


def run_in_layout(page: Callable[[], None]) -> None:
    """Run a page inside the layout.

    When the very first request to a new server is for a page, Streamlit runs the page's script alone,
    without app.py and its access check; then the whole application is run here.
    """
    if _is_inside.get():
        page()
    else:
        run_app()


def _list_pages() -> list[st.Page]:
    return [
        st.Page(page_script("overview"), title="Overview", icon=":material/dashboard:", default=True),
        st.Page(page_script("cohorts"), title="Cohorts", icon=":material/groups:"),
        st.Page(page_script("integrations"), title="Integrations", icon=":material/extension:"),
        st.Page(page_script("syncs"), title="Syncs", icon=":material/sync:"),
        st.Page(page_script("runs"), title="Runs", icon=":material/history:"),
        st.Page(page_script("safety"), title="Never export and tripwires", icon=":material/gpp_good:"),
        st.Page(page_script("people"), title="People", icon=":material/person_search:"),
        st.Page(page_script("receipt"), title="Receipt", icon=":material/receipt_long:", visibility="hidden"),
        # Hidden from others, but always listed: the script of an unlisted page would run without this layout.
        st.Page(page_script("alerts"), title="Alerts", icon=":material/notifications:", visibility=_show_to_admins()),
        st.Page(
            page_script("administration"),
            title="Administration",
            icon=":material/admin_panel_settings:",
            visibility=_show_to_admins(),
        ),
    ]


def _show_to_admins() -> Literal["visible", "hidden"]:
    return "visible" if session.current_actor().level is AccessLevel.ADMIN else "hidden"


def _warn_of_unknown_project() -> None:
    """Warn that the address asks for a project that is not connected; the page is about another one."""
    asked = requested_text(PROJECT_KEY)
    if not asked:
        return
    with open_service() as service:
        known = {project.id for project in service.connections.list_projects()}
    if requested_id(PROJECT_KEY) not in known:
        st.warning(escape_markdown(f"There is no project {asked} here. Connect it under Integrations."))
        clear_requests(PROJECT_KEY, "cohort", "export")  # of the other one they would be about another cohort


def _show_sidebar() -> None:
    with open_service() as service:
        projects = service.connections.list_projects()
    with st.container(key="narrow-health"):
        narrow = st.empty()
    with st.sidebar:
        _show_project_choice(projects)
        session.show_signed_in_user()
        _show_health(narrow)


def label_project(project: ProjectView) -> str:
    """Return the name of a project, or its number when it has none."""
    return project.name or f"Project {project.id}"


def _show_project_choice(projects: tuple[ProjectView, ...]) -> None:
    """Show the choice of project when there is more than one, and keep it in the address."""
    if len(projects) < 2:
        return
    names = tell_apart({project.id: label_project(project) for project in projects})
    known = (requested_id(PROJECT_KEY), _find_owner(), st.session_state.get(PROJECT_KEY))
    st.session_state[PROJECT_KEY] = next((one for one in known if one in names), projects[0].id)
    st.query_params[PROJECT_KEY] = str(
        st.selectbox(
            "Project", list(names), format_func=names.__getitem__, key=PROJECT_KEY, on_change=_open_chosen_project
        )
    )


def _find_owner() -> int | None:
    """Return the project of the run or sync that the address asks for; links in alerts name no project."""
    run_id = requested_id("run")
    sync_id = next(filter(None, map(requested_id, SYNC_REQUESTS)), None)
    try:
        with open_service() as service:
            if run_id is not None:
                sync_id = service.runs.get(run_id).sync_id
            return service.syncs.get(sync_id).project_id if sync_id is not None else None
    except CohortSyncError:
        return None  # the page says that there is none


def _open_chosen_project() -> None:
    """Put the project just chosen into the address, and leave what belongs to the one before."""
    st.query_params[PROJECT_KEY] = str(st.session_state[PROJECT_KEY])
    clear_requests("run", "sync", "cohort", *MEMBER_FILTERS)


def chosen_project(projects: tuple[ProjectView, ...]) -> ProjectView | None:
    """Return the chosen project, else the first one, None when there is none."""
    chosen = st.session_state.get(PROJECT_KEY)
    return next((project for project in projects if project.id == chosen), projects[0] if projects else None)


def _show_health(narrow: DeltaGenerator) -> None:
    """Show in the side bar whether the runner works, what is late, and how many Mixpanel queries are left this hour.

    A phone hides the side bar, so ``narrow`` shows there, on every page, that no runner works; it is written at every
    poll, because a fragment may only fill a container of the page that it filled in the full run.
    """

    def refresh() -> None:
        with open_service() as service:
            health = service.check_health()
        with st.container(key="health", gap="xsmall"):
            _show_runner(health)
            _show_late(health)
            _show_queries(health)
        if health.runner_state == RunnerState.WORKING:
            narrow.empty()
        else:
            unknown = health.runner_state == RunnerState.UNKNOWN
            narrow.caption(f":material/power_off: **{RUNNER_UNKNOWN if unknown else NO_RUNNER}**")

    polling.start_fragment(refresh, HEALTH_SECONDS)


def _show_runner(health: Health) -> None:
    age = health.now - health.runner_seen_at if health.runner_seen_at is not None else 0.0
    if health.runner_state == RunnerState.WORKING:
        st.caption(f":material/favorite: Runner last seen {format_duration_short(max(0.0, age))} ago")
        return
    if health.runner_state == RunnerState.UNKNOWN:
        st.warning(UNKNOWN.format(format_duration_short(-age)), icon=":material/question_mark:")
        return
    if health.runner_state == RunnerState.SILENT:
        st.warning(SILENT.format(format_duration_short(age)), icon=":material/power_off:")
        return
    st.warning(NOT_RUNNING.format(START_COMMAND), icon=":material/power_off:")


def _show_late(health: Health) -> None:
    late = [one.sync_id for one in health.overdue if run_progress.is_noticed(one, health.now)]
    numbers = list(dict.fromkeys([*late, *(one.id for one in health.not_cleared)]))
    if not numbers:
        return
    st.warning(LATE.format(count_noun(len(numbers), "sync")), icon=":material/alarm:")
    request = _find_request(numbers, is_runner_alive=health.is_runner_alive)
    show_page_link("See why", "arrow_forward", "syncs", **request)


def _find_request(numbers: list[int], *, is_runner_alive: bool) -> dict[str, int | str]:
    """Return the request for a sync, or for the list of a project in which some of these syncs are.

    Without a runner every sync is late, for one reason, so the list of those that need a person does not have them.
    """
    if len(numbers) == 1:
        return {"sync": numbers[0]}
    with open_service() as service:
        projects = [service.syncs.get(one).project_id for one in numbers]
    listed: dict[str, int | str] = {"show_syncs": NEEDS_PERSON} if is_runner_alive else {}
    is_here = st.session_state.get(PROJECT_KEY) in (None, *projects)
    return listed if is_here else listed | {PROJECT_KEY: projects[0]}


def _show_queries(health: Health) -> None:
    chosen = st.session_state.get(PROJECT_KEY)
    left = next((left for project, left in health.queries if chosen in (None, project)), None)
    if left is not None:
        st.caption(f":material/speed: {count_noun(left, 'Mixpanel query', 'Mixpanel queries')} left this hour")
