"""The dialog that forgets a person, the same wherever it is opened, and what it says afterwards."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.parts import notices
from pages.parts.badges import show_name
from pages.parts.dialog_buttons import show_dialog_buttons
from pages.parts.formatting import escape_markdown
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.wording import explain_forgotten

CONSEQUENCES = (
    "Deletes this User ID from everything stored here. It does not delete the person in Mixpanel or WebEngage; do that "
    "there. While Mixpanel lists the person in a cohort, its next export stores them here again: put them on the "
    "never-export list first if they are never to be sent again. This cannot be undone."
)


def show_forget_dialog(user_id: str, about: str, close: Callable[[], None], forgotten: Callable[[], None]) -> None:
    """Ask whether to forget a person, with more about them in ``about``; call ``forgotten`` once that was done."""

    @st.dialog("Forget this person?", on_dismiss=close)
    def ask() -> None:
        show_name(user_id, "forget-person")
        st.markdown(CONSEQUENCES)
        if about:
            st.markdown(escape_markdown(about))
        if show_dialog_buttons("forget", "Forget this person", close, ":material/delete:"):
            if _forget(user_id):
                forgotten()
            close()
            st.rerun()

    ask()


def _forget(user_id: str) -> bool:
    """Forget a person and keep the outcome as a message; return whether it was done."""
    try:
        with open_service() as service:
            done = service.admin.forget_person(user_id)
    except CohortSyncError as problem:
        notices.flash_error(str(problem))
        return False
    notices.flash_success(" ".join(explain_forgotten(done)))
    return True
