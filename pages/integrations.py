"""Integrations: connect Mixpanel projects and WebEngage accounts, and choose the account of a project."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import connection_dialogs, layout, notices
from pages.parts.badges import ASSETS, show_name
from pages.parts.connection_dialogs import CENTER_NAMES, REGION_NAMES, Target
from pages.parts.formatting import escape_markdown, format_error, format_time
from pages.parts.layout import label_project
from pages.parts.navigation import clear_requests, open_page, requested_text
from pages.parts.session import is_allowed, open_service
from sync.errors import CohortSyncError, ConfigurationError
from sync.permissions import AccessLevel
from sync.records import AccountView, ProjectView
from sync.service import Service
from sync.service.connections import name_account, name_project

MIXPANEL_ABOUT = "Read the cohorts of your Mixpanel project with a service account. Nothing in Mixpanel is changed."

WEBENGAGE_ABOUT = (
    "Export your cohorts to your WebEngage account. Once it is connected, open the Cohorts page and choose "
    "“Export” beside a cohort."
)

REFUSED = "Refused"
FOR_ADMINS = "Only an admin of Cohort Sync can connect and disconnect."


def show_next_step(project: ProjectView | None, accounts: tuple[AccountView, ...]) -> None:
    """Show what to connect next; once both sides are connected, show a button to the Cohorts page."""
    if not project:
        st.info("**Step 1 of 2.** Connect your Mixpanel project to see its cohorts.", icon=":material/looks_one:")
    elif not accounts:
        st.info("**Step 2 of 2.** Connect your WebEngage account to export cohorts to it.", icon=":material/looks_two:")
    elif st.button("Go to Cohorts", type="primary", icon=":material/arrow_forward:"):
        open_page("cohorts")


def open_requested_dialog(service: Service, project: ProjectView | None, problem: DeltaGenerator) -> None:
    """Open the dialog that the address requests, if any, or say at the top that there is none."""
    request = requested_text("setup")
    if request and not is_allowed(AccessLevel.ADMIN):
        clear_requests("setup")  # both cards say who may connect
        return
    if request == "mixpanel":
        connection_dialogs.show_mixpanel_dialog(service.connections.list_projects())
    elif request == "webengage" and project:
        connection_dialogs.show_webengage_dialog(project, service.connections.list_accounts())
    elif request == "disconnect":
        connection_dialogs.show_disconnect_dialog()
    elif request and request != "webengage":  # the card of WebEngage says to connect Mixpanel first
        what = f"“{request}” cannot be set up here; only Mixpanel and WebEngage can."
        problem.warning(escape_markdown(what))
        clear_requests("setup")


def show_page() -> None:
    """Show both sides and the next step, and open the requested dialog."""
    with open_service() as service:
        projects, accounts = service.connections.list_projects(), service.connections.list_accounts()
        problems = service.connections.list_problems()
        project = layout.chosen_project(projects)
        problem = st.empty()
        st.title("Integrations", anchor=False)
        show_next_step(project, accounts)
        left, right = st.columns(2)
        with left:
            show_mixpanel_card(projects, problems)
        with right:
            show_webengage_card(accounts, project, problems)
        open_requested_dialog(service, project, problem)


def show_mixpanel_card(projects: tuple[ProjectView, ...], problems: Mapping[str, str]) -> None:
    """Show the connected projects and the connect button."""
    with st.container(border=True, key="card-mixpanel", height="stretch"):
        refused = [problems.get(name_project(project.id), "") for project in projects]
        _show_card_head("mixpanel", "Mixpanel", MIXPANEL_ABOUT, refused)
        for project, problem in zip(projects, refused, strict=True):
            _show_project(project, problem)
        _show_connect_button("mixpanel", "Add another project" if projects else "Connect", primary=not projects)


def show_webengage_card(
    accounts: tuple[AccountView, ...], project: ProjectView | None, problems: Mapping[str, str]
) -> None:
    """Show the connected accounts, which one the project uses, and the connect button once Mixpanel is connected."""
    with st.container(border=True, key="card-webengage", height="stretch"):
        refused = [problems.get(name_account(account.license_code), "") for account in accounts]
        _show_card_head("webengage", "WebEngage", WEBENGAGE_ABOUT, refused)
        if project and accounts:
            _show_account_choice(project, accounts)
        for account, problem in zip(accounts, refused, strict=True):
            _show_account(account, problem)
        label = "Add another account" if accounts else "Connect"
        _show_connect_button("webengage", label, primary=bool(project) and not accounts, disabled=not project)
        if not project:
            st.caption("Connect Mixpanel first.")


def _show_account_choice(project: ProjectView, accounts: tuple[AccountView, ...]) -> None:
    """Show the account for new exports; an admin can change it when there is another one."""
    codes = [account.license_code for account in accounts]
    used, name = project.license_code, label_project(project)
    if used not in codes:
        problem = (
            f"Account {used}, which {name} exports to, is not connected."
            if used
            else f"No account is chosen for {name}."
        )
        st.warning(escape_markdown(f"{problem} Choose an account for new exports."), icon=":material/warning:")
    elif len(codes) == 1:
        return
    if not is_allowed(AccessLevel.ADMIN):
        st.caption(
            escape_markdown(f"New exports of {name} go to {used or 'no account yet'}. An admin can change this.")
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            escape_markdown(f"New exports of {name} go to"),
            codes,
            index=codes.index(used) if used in codes else None,
            key=f"use-account-{project.id}-{used}",  # another field when somebody else chose another account
            placeholder="Choose an account",
        )
        if st.button("Use this account", key=f"use-account-sure-{project.id}", disabled=chosen in (None, used)):
            done = f"New exports of {name} go to WebEngage account {chosen}."
            notices.act_and_redraw(done, lambda service: service.connections.use_account(project.id, str(chosen)))
    st.caption("Cohorts that were exported before keep their account.")


def _show_card_head(name: str, title: str, about: str, refused: Sequence[str]) -> None:
    """Show the name of a service and whether it works; ``refused``: why not, for each connection."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.image(ASSETS / f"{name}.png", width=44, alt="")
            st.header(title, anchor=False)
        if any(refused):
            number = sum(map(bool, refused))
            label = REFUSED if len(refused) == 1 else f"{number} of {len(refused)} refused"
            st.badge(label, icon=":material/error:", color="red")
        elif refused:
            st.badge("Connected", icon=":material/check_circle:", color="green")
    st.caption(about)


def _show_facts(place: str, facts: dict[str, str]) -> None:
    with st.container(gap="xsmall"):
        for label, value in facts.items():
            key = f"still-{place}-{label}"
            with st.container(horizontal=True, gap="small", vertical_alignment="center", wrap=False, key=key):
                st.caption(label, width=128)
                st.text(value, width="stretch")


def _show_project(project: ProjectView, problem: str) -> None:
    with st.container(border=True, key=f"project-{project.id}"):
        show_name(label_project(project), f"project-{project.id}")
        _show_problem(problem)
        role = f"{project.role}" + (f" ({project.role_note})" if project.role_note else "")
        _show_facts(
            f"project-{project.id}",
            {
                "Project ID": str(project.id),
                "Service account": project.username,
                "Secret": _describe_secret(project.secret_last4),
                "Data residency": REGION_NAMES.get(project.region, project.region),
                "Role": role,
                "Last accepted" if problem else "Last checked": format_time(project.checked_at),
            },
        )
        _show_connection_buttons(f"project-{project.id}", "mixpanel", "Replace secret", {"project_id": project.id})


def _show_account(account: AccountView, problem: str) -> None:
    key = f"account-{account.license_code}"
    with st.container(border=True, key=key):
        show_name(f"License code {account.license_code}", key)
        _show_problem(problem)
        _show_facts(
            key,
            {
                "Data center": CENTER_NAMES.get(account.data_center, account.data_center),
                "API key": _describe_secret(account.secret_last4),
                "New exports of": ", ".join(f"project {one}" for one in account.projects) or "no project",
                "Last accepted" if problem else "Last checked": format_time(account.checked_at),
            },
        )
        _show_connection_buttons(key, "webengage", "Replace key", {"license_code": account.license_code})


def _show_problem(problem: str) -> None:
    if problem:
        st.error(format_error(problem), icon=":material/error:")


def _describe_secret(last4: str) -> str:
    return f"ends in {last4}" if last4 else "stored"


def _show_connection_buttons(key: str, service_name: str, replace_label: str, target: Target) -> None:
    if not is_allowed(AccessLevel.ADMIN):
        return
    with st.container(horizontal=True, gap="xsmall"):
        st.button(
            replace_label, key=f"{key}-replace", on_click=connection_dialogs.request_setup, args=(service_name, target)
        )
        if st.button("Check again", key=f"{key}-check"):
            check_connection(service_name, target)
            st.rerun()
        st.button("Disconnect", key=f"{key}-disconnect", on_click=connection_dialogs.request_disconnect, kwargs=target)


def check_connection(service_name: str, target: Target) -> None:
    """Check a stored secret with Mixpanel or WebEngage, and show the outcome; one that is refused says so in its box."""
    with open_service() as service, st.spinner("Checking…", show_time=True):
        if service_name == "mixpanel":
            _check("Mixpanel accepts the service account.", service.connections.check_mixpanel, target)
        else:
            _check("WebEngage accepts the API key.", service.connections.check_webengage, target)


def _check(done: str, check: Callable[..., object], target: Target) -> None:
    try:
        check(**target)
    except ConfigurationError:
        pass  # shown in the box of the connection, for everybody and until it is mended
    except CohortSyncError as problem:
        notices.flash_error(str(problem))
    else:
        notices.flash_success(done)


def _show_connect_button(name: str, label: str, primary: bool, disabled: bool = False) -> None:
    if not is_allowed(AccessLevel.ADMIN):
        st.caption(FOR_ADMINS)
        return
    st.button(
        label,
        key=f"connect-{name}",
        type="primary" if primary else "secondary",
        disabled=disabled,
        icon=":material/add_link:",
        on_click=connection_dialogs.request_setup,
        args=(name, {}),
    )


layout.run_in_layout(show_page)
