"""The dialogs that connect a Mixpanel project and a WebEngage account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import notices
from pages.parts.formatting import escape_markdown, format_error
from pages.parts.layout import label_project
from pages.parts.navigation import clear_requests
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.service import Service
from sync.views import AccountView, ProjectView

REGIONS = {"us": "United States – mixpanel.com", "eu": "Europe – eu.mixpanel.com", "in": "India – in.mixpanel.com"}
DATA_CENTERS = {
    "global": "Global – dashboard.webengage.com",
    "in": "India – dashboard.in.webengage.com",
    "ksa": "Saudi Arabia – dashboard.ksa.webengage.com",
}
REGION_NAMES = {"us": "United States", "eu": "Europe", "in": "India"}
CENTER_NAMES = {"global": "Global", "in": "India", "ksa": "Saudi Arabia"}
PLACE_HINTS = {
    "region": "Choose what your project's address in Mixpanel starts with.",
    "data_center": "Choose what your dashboard's address in WebEngage starts with.",
}
SANDBOX_HINT = "To try it with the sandbox on this machine, type its address here, such as http://127.0.0.1:8899."
Slots = dict[str, DeltaGenerator]


def _close_dialog() -> None:
    clear_requests("setup")
    st.session_state.pop("_replace", None)


@st.dialog("Set up Mixpanel", on_dismiss=_close_dialog)
def connect_mixpanel(projects: tuple[ProjectView, ...]) -> None:
    """Ask for the service account of a project."""
    known = _project_to_replace(projects)
    st.markdown(
        "Cohort Sync reads your cohorts with a **service account** of the project. In Mixpanel: Organization "
        "Settings → Service Accounts → Add Service Account, with the role Admin in the project."
    )
    with _setup_form() as slots:
        project = _text_field(
            slots,
            "project_id",
            "Project ID",
            value=str(known.id) if known else "",
            help="In Mixpanel: Settings → Project Settings → Project ID",
        )
        username = _text_field(slots, "username", "Service account username", value=known.username if known else "")
        secret = _text_field(slots, "secret", "Service account secret", type="password", autocomplete="new-password")
        region = _place_field(slots, "region", "Data residency", REGIONS, known.region if known else "us")
        _finish_form(slots, lambda service: _connect_mixpanel(service, project, username, secret, region))


@st.dialog("Set up WebEngage", on_dismiss=_close_dialog)
def connect_webengage(project: ProjectView, accounts: tuple[AccountView, ...]) -> None:
    """Ask for the account that cohorts go to."""
    st.markdown(f"These settings apply to your current project **{escape_markdown(label_project(project))}**")
    wanted = st.session_state.get("_replace", {}).get("license_code")
    known = next((account for account in accounts if account.license_code == wanted), None)
    with _setup_form() as slots:
        key = _text_field(
            slots,
            "api_key",
            "API key",
            type="password",
            autocomplete="new-password",
            help="In WebEngage: Data Platform → Integrations → REST API",
        )
        code = _text_field(
            slots,
            "license_code",
            "License code",
            value=known.license_code if known else "",
            help="In WebEngage: at the top of Data Platform → Integrations → REST API",
        )
        center = _place_field(
            slots, "data_center", "Data center", DATA_CENTERS, known.data_center if known else "global"
        )
        _finish_form(slots, lambda service: _connect_webengage(service, project, code, key, center))


@contextmanager
def _setup_form() -> Iterator[Slots]:
    """Send all fields together: alone, a password is not sent when Tab goes on to the eye beside it."""
    with st.form("setup", border=False, enter_to_submit=False):
        yield {}


def _project_to_replace(projects: tuple[ProjectView, ...]) -> ProjectView | None:
    wanted = st.session_state.get("_replace", {}).get("project_id")
    return next((project for project in projects if project.id == wanted), None)


def _connect_mixpanel(service: Service, project: str, username: str, secret: str, region: str) -> str:
    digits = project.strip()
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0
    view = service.connect_mixpanel(number, username.strip(), secret.strip(), region)
    return f"Mixpanel is connected: {label_project(view)}."


def _connect_webengage(service: Service, project: ProjectView, code: str, key: str, center: str) -> str:
    view = service.connect_webengage(code, key, center)
    used = next((one.license_code for one in service.list_projects() if one.id == project.id), None)
    if used == view.license_code:
        return "WebEngage is connected."
    return f"WebEngage account {view.license_code} is connected. New exports go to {used or 'no account yet'}: choose below."


def _text_field(slots: Slots, name: str, label: str, **options: Any) -> str:
    text = st.text_input(label, key=f"setup-{name}", **options) or ""
    slots[name] = st.empty()
    return text


def _place_field(slots: Slots, name: str, label: str, places: dict[str, str], known: str) -> str:
    choices = list(places) if known in places else [*places, known]
    choice = st.selectbox(
        label,
        choices,
        index=choices.index(known),
        key=f"setup-{name}",
        accept_new_options=True,
        format_func=lambda place: places.get(place, place),
        help=SANDBOX_HINT,
    )
    st.caption(PLACE_HINTS[name])
    slots[name] = st.empty()
    return choice.strip().rstrip("/")


def _finish_form(slots: Slots, connect: Callable[[Service], Any]) -> None:
    slots[""] = st.empty()
    with st.container(horizontal=True, horizontal_alignment="right"):
        cancel = st.form_submit_button("Cancel", key="setup-cancel")
        wanted = st.form_submit_button("Continue", key="setup-continue", type="primary")
    if cancel or (wanted and _try_connect(slots, connect)):
        _close_dialog()
        st.rerun()


def _try_connect(slots: Slots, connect: Callable[[Service], Any]) -> bool:
    """Connect, or say in the form what was wrong, at the field it belongs to."""
    try:
        with slots[""], st.spinner("Checking with the other side…"), open_service() as service:
            notices.flash_success(str(connect(service)))
    except CohortSyncError as error:
        slots.get(getattr(error, "field", ""), slots[""]).error(format_error(error))
        return False
    return True
