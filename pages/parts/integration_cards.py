"""The two cards of the Integrations page."""

from __future__ import annotations

import time

import streamlit as st

from pages.parts import disconnect_dialog, notices
from pages.parts.connect_dialogs import CENTER_NAMES, REGION_NAMES
from pages.parts.desk import may, open_service
from pages.parts.frame import project_label
from pages.parts.look import mark, plain
from pages.parts.words import ago, escape
from sync.access import Grade
from sync.views import AccountView, ProjectView

MIXPANEL = (
    "Read the cohorts of your Mixpanel project with a service account. Cohorts stay in Mixpanel; "
    "nothing there is changed."
)
WEBENGAGE = (
    "Export your cohorts to your account on WebEngage. Once you have connected the integration, go to the "
    "Cohorts page, choose a cohort and click on “Export to WebEngage” in its menu."
)

FOR_ADMINS = "Accounts are connected and disconnected by an admin of Cohort Sync."


def mixpanel_card(projects: tuple[ProjectView, ...]) -> None:
    """Show the connected projects, or the way to connect one."""
    with st.container(border=True, key="card-mixpanel", height="stretch"):
        _head("mixpanel", "Mixpanel", MIXPANEL, bool(projects))
        for project in projects:
            _project(project)
        _connect("mixpanel", "Add another project" if projects else "Connect", primary=not projects)


def webengage_card(accounts: tuple[AccountView, ...], project: ProjectView | None) -> None:
    """Show the connected accounts and which one the project uses, or the way to connect one once Mixpanel is."""
    with st.container(border=True, key="card-webengage", height="stretch"):
        _head("webengage", "WebEngage", WEBENGAGE, bool(accounts))
        if project and accounts:
            _used_account(project, accounts)
        for account in accounts:
            _account(account)
        label = "Add another account" if accounts else "Connect"
        _connect("webengage", label, primary=bool(project) and not accounts, disabled=not project)
        if not project:
            st.caption("Connect Mixpanel first.")


def _used_account(project: ProjectView, accounts: tuple[AccountView, ...]) -> None:
    """Say which account new exports go to; with another one connected, an admin chooses."""
    codes = [account.license_code for account in accounts]
    used = project.license_code
    if used not in codes:
        gone = f"Account {used}, which this project exports to, is not connected." if used else "No account is chosen."
        st.warning(escape(f"{gone} Choose where new exports go."), icon=":material/warning:")
    elif len(codes) == 1:
        return
    if not may(Grade.ADMIN):
        st.caption(escape(f"New exports of this project go to {used or 'no account yet'}. An admin chooses."))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "New exports of this project go to",
            codes,
            index=codes.index(used) if used in codes else None,
            key=f"use-account-{project.id}",
            format_func=escape,
            placeholder="Choose an account",
        )
        if st.button("Use this account", key=f"use-account-sure-{project.id}", disabled=chosen in (None, used)):
            _use(project, str(chosen))
    st.caption("Cohorts exported before stay in the account they went to.")


def _use(project: ProjectView, license_code: str) -> None:
    with open_service() as service:
        done = f"New exports of {project_label(project)} go to WebEngage account {license_code}."
        notices.attempt(done, service.use_account, project.id, license_code)
    st.rerun()


def _head(name: str, title: str, about: str, connected: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            mark(name)
            st.header(title, anchor=False)
        if connected:
            st.badge("Connected", icon=":material/check_circle:", color="green")
    st.caption(about)


def _facts(facts: dict[str, str]) -> None:
    with st.container(gap="xsmall"):
        for label, value in facts.items():
            with st.container(horizontal=True, gap="small", vertical_alignment="center", wrap=False):
                st.caption(label, width=128)
                st.text(value, width="stretch")


def _project(project: ProjectView) -> None:
    with st.container(border=True, key=f"project-{project.id}"):
        plain(project_label(project), f"project-{project.id}")
        role = f"{project.role}" + (f" ({project.role_note})" if project.role_note else "")
        _facts(
            {
                "Project ID": str(project.id),
                "Service account": project.username,
                "Secret": _hidden(project.tail),
                "Data residency": REGION_NAMES.get(project.region, project.region),
                "Role": role,
                "Last checked": ago(project.checked_at, time.time()),
            }
        )
        _buttons(f"project-{project.id}", "mixpanel", "Replace secret", {"project_id": project.id})


def _account(account: AccountView) -> None:
    key = f"account-{account.license_code}"
    with st.container(border=True, key=key):
        plain(f"License code {account.license_code}", key)
        _facts(
            {
                "Data center": CENTER_NAMES.get(account.data_center, account.data_center),
                "API key": _hidden(account.tail),
                "New exports of": ", ".join(f"project {one}" for one in account.projects) or "no project",
                "Last checked": ago(account.checked_at, time.time()),
            }
        )
        _buttons(key, "webengage", "Replace key", {"license_code": account.license_code})


def _hidden(tail: str) -> str:
    return f"ends in {tail}" if tail else "stored"


def _buttons(key: str, service_name: str, replace: str, target: dict[str, int | str]) -> None:
    if not may(Grade.ADMIN):
        return
    with st.container(horizontal=True, gap="xsmall"):
        st.button(replace, key=f"{key}-replace", on_click=_want, args=(service_name, target))
        if st.button("Check again", key=f"{key}-check"):
            check(service_name, target)
            st.rerun()
        st.button("Disconnect", key=f"{key}-disconnect", on_click=disconnect_dialog.want, kwargs=target)


def check(service_name: str, target: dict[str, int | str]) -> None:
    """Ask the other side whether the stored secret still opens it."""
    with open_service() as service, st.spinner("Checking…"):
        if service_name == "mixpanel":
            notices.attempt("Mixpanel accepts the service account.", service.check_mixpanel, **target)
        else:
            notices.attempt("WebEngage accepts the API key.", service.check_webengage, **target)


def _connect(name: str, label: str, primary: bool, disabled: bool = False) -> None:
    if not may(Grade.ADMIN):
        st.caption(FOR_ADMINS)
        return
    st.button(
        label,
        key=f"connect-{name}",
        type="primary" if primary else "secondary",
        disabled=disabled,
        icon=":material/add_link:",
        on_click=_want,
        args=(name, {}),
    )


def _want(name: str, target: dict[str, int | str]) -> None:
    st.query_params["setup"] = name
    st.session_state["_replace"] = target
