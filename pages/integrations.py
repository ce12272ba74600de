"""Integrations: which Mixpanel project and which WebEngage account are connected."""

from __future__ import annotations

import streamlit as st

from pages.parts import connect_dialogs, disconnect_dialog, frame
from pages.parts.desk import open_service
from pages.parts.integration_cards import mixpanel_card, webengage_card
from pages.parts.wishes import go
from sync.service import Service
from sync.views import AccountView, ProjectView


def lead(project: ProjectView | None, accounts: tuple[AccountView, ...]) -> None:
    """Say what to do next until both sides are connected, then where to go."""
    if not project:
        st.info(
            "**Step 1 of 2.** Connect your Mixpanel project, so that its cohorts can be listed here.",
            icon=":material/looks_one:",
        )
    elif not accounts:
        st.info(
            "**Step 2 of 2.** Connect your WebEngage account, so that cohorts have somewhere to go.",
            icon=":material/looks_two:",
        )
    elif st.button("Go to Cohorts", type="primary", icon=":material/arrow_forward:"):
        go("cohorts")


def dialogs(service: Service, project: ProjectView | None) -> None:
    """Open the dialog that was asked for."""
    wish = st.query_params.get("setup", "")
    if wish == "mixpanel":
        connect_dialogs.mixpanel(service.projects())
    elif wish == "webengage" and project:
        connect_dialogs.webengage(project, service.accounts())
    elif wish == "disconnect":
        disconnect_dialog.ask()


def page() -> None:
    """Show both sides, and lead through connecting them in order."""
    with open_service() as service:
        projects, accounts = service.projects(), service.accounts()
        project = frame.chosen(projects)
        st.title("Integrations", anchor=False)
        lead(project, accounts)
        left, right = st.columns(2)
        with left:
            mixpanel_card(projects)
        with right:
            webengage_card(accounts, project)
        dialogs(service, project)


frame.hold(page)
