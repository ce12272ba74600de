"""The dialogs that connect a Mixpanel project and a WebEngage account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import notices
from pages.parts.desk import open_service
from pages.parts.frame import project_label
from pages.parts.wishes import drop
from pages.parts.words import escape
from sync.errors import CohortSyncError
from sync.service import Service
from sync.views import ProjectView

OTHER = "other"
REGIONS = {"us": "United States – your project's address starts with mixpanel.com",
           "eu": "Europe – your project's address starts with eu.mixpanel.com",
           "in": "India – your project's address starts with in.mixpanel.com",
           OTHER: "This machine – a sandbox to try it without accounts"}
CENTERS = {"global": "Global – your dashboard's address starts with dashboard.webengage.com",
           "in": "India – your dashboard's address starts with dashboard.in.webengage.com",
           "ksa": "Saudi Arabia – your dashboard's address starts with dashboard.ksa.webengage.com",
           OTHER: "This machine – a sandbox to try it without accounts"}
REGION_NAMES = {"us": "United States", "eu": "Europe", "in": "India"}
CENTER_NAMES = {"global": "Global", "in": "India", "ksa": "Saudi Arabia"}
Slots = dict[str, DeltaGenerator]


def _closed() -> None:
    drop("setup")
    st.session_state.pop("_replace", None)


@st.dialog("Set up Mixpanel", on_dismiss=_closed)
def mixpanel(projects: tuple[ProjectView, ...]) -> None:
    """Ask for the service account of a project."""
    known = _replaced(projects)
    st.markdown("Cohort Sync reads your cohorts with a **service account** of the project. In Mixpanel: Organization "
                "Settings → Service Accounts → Add Service Account, with the role Admin in the project.")
    slots: Slots = {}
    project = _text(slots, "project_id", "Project ID", value=str(known.id) if known else "",
                    help="In Mixpanel: Settings → Project Settings → Project ID")
    username = _text(slots, "username", "Service account username", value=known.username if known else "")
    secret = _text(slots, "secret", "Service account secret", type="password", autocomplete="new-password")
    region = _place(slots, "region", "Data residency", REGIONS, known.region if known else "us")
    _finish(slots, lambda service: _connect_mixpanel(service, project, username, secret, region))


@st.dialog("Set up WebEngage", on_dismiss=_closed)
def webengage(project: ProjectView) -> None:
    """Ask for the account that cohorts go to."""
    st.markdown(f"These settings apply to your current project **{escape(project_label(project))}**")
    license_known = str(st.session_state.get("_replace", {}).get("license_code", ""))
    slots: Slots = {}
    key = _text(slots, "api_key", "API key", type="password", autocomplete="new-password",
                help="In WebEngage: Data Platform → Integrations → REST API")
    license_code = _text(slots, "license_code", "License code", value=license_known,
                         help="In WebEngage: at the top of Data Platform → Integrations → REST API")
    center = _place(slots, "data_center", "Data center", CENTERS, "global")
    _finish(slots, lambda service: service.connect_webengage(license_code.strip(), key.strip(), center)
            and "WebEngage is connected.")


def _replaced(projects: tuple[ProjectView, ...]) -> ProjectView | None:
    wanted = st.session_state.get("_replace", {}).get("project_id")
    return next((project for project in projects if project.id == wanted), None)


def _connect_mixpanel(service: Service, project: str, username: str, secret: str, region: str) -> str:
    digits = project.strip()
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0
    view = service.connect_mixpanel(number, username.strip(), secret.strip(), region)
    return f"Mixpanel is connected: {project_label(view)}."


def _text(slots: Slots, name: str, label: str, **options: Any) -> str:
    text = st.text_input(label, key=f"setup-{name}", **options) or ""
    slots[name] = st.empty()
    return text


def _place(slots: Slots, name: str, label: str, places: dict[str, str], known: str) -> str:
    choices = list(places)
    index = choices.index(known if known in places else OTHER)
    choice = st.selectbox(label, choices, index=index, format_func=places.__getitem__, key=f"setup-{name}")
    address = ""
    if choice == OTHER:
        address = st.text_input("Address of the sandbox", value="" if known in places else known, key=f"setup-{name}-other",
                                placeholder="http://127.0.0.1:8899") or ""
    slots[name] = st.empty()
    return address.strip().rstrip("/") if choice == OTHER else choice


def _finish(slots: Slots, connect: Callable[[Service], Any]) -> None:
    slots[""] = st.empty()
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Cancel", key="setup-cancel"):
            _closed()
            st.rerun()
        wanted = st.button("Continue", key="setup-continue", type="primary")
    if wanted and _connected(slots, connect):
        _closed()
        st.rerun()


def _connected(slots: Slots, connect: Callable[[Service], Any]) -> bool:
    """Connect, or say in the form what was wrong, at the field it belongs to."""
    try:
        with st.spinner("Checking with the other side…"), open_service() as service:
            notices.tell(str(connect(service)))
    except CohortSyncError as error:
        slots.get(getattr(error, "field", ""), slots[""]).error(escape(str(error)))
        return False
    return True
