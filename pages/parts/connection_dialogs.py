"""The dialogs that connect and disconnect a Mixpanel project or a WebEngage account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import notices
from pages.parts.dialog_buttons import show_dialog_buttons
from pages.parts.formatting import escape_markdown, format_error, shorten_name
from pages.parts.layout import label_project
from pages.parts.navigation import clear_requests
from pages.parts.session import open_service
from sync.errors import CohortSyncError, InvalidRequest
from sync.records import AccountView, ProjectView, SyncView
from sync.service import Service
from sync.text import count_noun

REGIONS = {"us": "United States – mixpanel.com", "eu": "Europe – eu.mixpanel.com", "in": "India – in.mixpanel.com"}
DATA_CENTERS = {
    "global": "Global – dashboard.webengage.com",
    "in": "India – dashboard.in.webengage.com",
    "ksa": "Saudi Arabia – dashboard.ksa.webengage.com",
    "eug": "Europe – eug.webengage.com",
}
REGION_NAMES = {"us": "United States", "eu": "Europe", "in": "India"}
CENTER_NAMES = {"global": "Global", "in": "India", "ksa": "Saudi Arabia", "eug": "Europe"}
PLACE_HINTS = {
    "region": "Choose what your project's address in Mixpanel starts with.",
    "data_center": "Choose what your dashboard's address in WebEngage starts with.",
}
SANDBOX_HINT = "To try it with the sandbox on this machine, type its address here, such as http://127.0.0.1:8899."
REPLACED_KEY, DISCONNECTED_KEY = "_replace", "_disconnect"  # session keys: which connection a dialog is about
WHOLE_FORM = ""  # slot for an error that belongs to no field
Slots = dict[str, DeltaGenerator]
Target = dict[str, int | str]


def request_setup(service_name: str, target: Target) -> None:
    """Request the dialog that connects a service, or replaces the secret of the target unless it is empty."""
    st.query_params["setup"] = service_name
    st.session_state[REPLACED_KEY] = target


def request_disconnect(**target: int | str) -> None:
    """Request the dialog that disconnects the target."""
    st.query_params["setup"] = "disconnect"
    st.session_state[DISCONNECTED_KEY] = target


def _close_dialog() -> None:
    clear_requests("setup")
    for key in (REPLACED_KEY, DISCONNECTED_KEY):
        st.session_state.pop(key, None)


@st.dialog("Set up Mixpanel", on_dismiss=_close_dialog)
def show_mixpanel_dialog(projects: tuple[ProjectView, ...]) -> None:
    """Ask for the service account of a project, and connect it."""
    project_id = st.session_state.get(REPLACED_KEY, {}).get("project_id")
    replaced = next((project for project in projects if project.id == project_id), None)
    st.markdown(
        "Cohort Sync reads your cohorts with a **service account** of the project. In Mixpanel: Organization "
        "Settings → Service Accounts → Add Service Account, with the role Admin in the project."
    )
    with _setup_form() as slots:
        asked_id = _show_text_field(
            slots,
            "project_id",
            "Project ID",
            value=str(replaced.id) if replaced else "",
            help="In Mixpanel: Settings → Project Settings → Project ID",
        )
        username = _show_text_field(
            slots, "username", "Service account username", value=replaced.username if replaced else ""
        )
        secret = _show_text_field(
            slots, "secret", "Service account secret", type="password", autocomplete="new-password"
        )
        region = _show_place_field(slots, "region", "Data residency", REGIONS, replaced.region if replaced else "us")
        _finish_form(slots, lambda service: _connect_mixpanel(service, asked_id, username, secret, region))


@st.dialog("Set up WebEngage", on_dismiss=_close_dialog)
def show_webengage_dialog(project: ProjectView, accounts: tuple[AccountView, ...]) -> None:
    """Ask for the WebEngage account that cohorts are exported to, and connect it."""
    st.markdown(f"These settings apply to your current project **{escape_markdown(label_project(project))}**")
    license_code = st.session_state.get(REPLACED_KEY, {}).get("license_code")
    replaced = next((account for account in accounts if account.license_code == license_code), None)
    with _setup_form() as slots:
        key = _show_text_field(
            slots,
            "api_key",
            "API key",
            type="password",
            autocomplete="new-password",
            help="In WebEngage: Data Platform → Integrations → REST API",
        )
        code = _show_text_field(
            slots,
            "license_code",
            "License code",
            value=replaced.license_code if replaced else "",
            help="In WebEngage: at the top of Data Platform → Integrations → REST API",
        )
        center = _show_place_field(
            slots, "data_center", "Data center", DATA_CENTERS, replaced.data_center if replaced else "global"
        )
        _finish_form(slots, lambda service: _connect_webengage(service, project, code, key, center))


@contextmanager
def _setup_form() -> Iterator[Slots]:
    """Submit all fields together; a password field alone is not submitted when Tab moves to the button inside it."""
    with st.form("setup", border=False, enter_to_submit=False):
        yield {}


def _connect_mixpanel(service: Service, project: str, username: str, secret: str, region: str) -> str:
    digits = project.strip()
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0
    view = service.connections.connect_mixpanel(number, username.strip(), secret.strip(), region)
    return f"Mixpanel is connected: {label_project(view)}."


def _connect_webengage(service: Service, project: ProjectView, code: str, key: str, center: str) -> str:
    view = service.connections.connect_webengage(code, key, center)
    used = next((one.license_code for one in service.connections.list_projects() if one.id == project.id), None)
    if used == view.license_code:
        return "WebEngage is connected."
    if used:
        return f"WebEngage account {view.license_code} is connected. New exports still use account {used}."
    return f"WebEngage account {view.license_code} is connected. Choose below whether new exports use it."


def _show_text_field(slots: Slots, name: str, label: str, **options: Any) -> str:
    text = st.text_input(label, key=f"setup-{name}", **options) or ""
    slots[name] = st.empty()
    return text


def _show_place_field(slots: Slots, name: str, label: str, places: dict[str, str], known: str) -> str:
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
    slots[WHOLE_FORM] = st.empty()
    with st.container(horizontal=True, horizontal_alignment="right"):
        cancel = st.form_submit_button("Cancel", key="setup-cancel")
        confirmed = st.form_submit_button("Continue", key="setup-continue", type="primary")
    if cancel or (confirmed and _try_connect(slots, connect)):
        _close_dialog()
        st.rerun()


def _try_connect(slots: Slots, connect: Callable[[Service], Any]) -> bool:
    """Connect, or show what is wrong at the field it belongs to; return whether it succeeded."""
    try:
        with slots[WHOLE_FORM], st.spinner("Checking the settings…", show_time=True), open_service() as service:
            notices.flash_success(str(connect(service)))
    except CohortSyncError as error:
        field = error.field if isinstance(error, InvalidRequest) else WHOLE_FORM
        slots.get(field, slots[WHOLE_FORM]).error(format_error(error))
        return False
    return True


def show_disconnect_dialog() -> None:
    """Open the disconnect dialog; after a reload, which forgets its target, clear the request instead."""
    if st.session_state.get(DISCONNECTED_KEY):
        _ask_disconnect()
    else:
        clear_requests("setup")


@st.dialog("Disconnect?", on_dismiss=_close_dialog)
def _ask_disconnect() -> None:
    target = st.session_state[DISCONNECTED_KEY]
    with open_service() as service:
        affected = service.connections.list_affected_syncs(**target)
    _show_consequences(_name_target(target), affected)
    if show_dialog_buttons("disconnect", "Disconnect", _close_dialog):
        notices.try_action("Disconnected.", lambda service: _disconnect_target(service, target))
        _close_dialog()
        st.rerun()


def _name_target(target: Target) -> str:
    """Return what is disconnected: the dialog covers the box that was clicked."""
    return f"Mixpanel project {target['project_id']}" if "project_id" in target else f"account {target['license_code']}"


def _show_consequences(name: str, affected: tuple[SyncView, ...]) -> None:
    deleted = f"The stored secret of {escape_markdown(name)} is deleted"
    if not affected:
        st.markdown(f"{deleted}. No sync is refreshed through it.")
        return
    st.markdown(f"{deleted}, and {count_noun(len(affected), 'sync is', 'syncs are')} paused:")
    for sync in affected:
        st.text(f"• {shorten_name(sync.cohort_name)}")
    st.markdown("People already in WebEngage stay there. To continue later, connect again and resume the syncs.")


def _disconnect_target(service: Service, target: Target) -> None:
    if "project_id" in target:
        service.connections.disconnect_mixpanel(int(target["project_id"]))
    else:
        service.connections.disconnect_webengage(str(target["license_code"]))
