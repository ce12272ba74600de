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
from sync.reports import Person
from sync.wording import explain_forgetting, explain_forgotten

CONSEQUENCES = (
    "Deletes this User ID from everything stored here. It does not delete the person in Mixpanel or WebEngage; do that "
    "there. While Mixpanel lists the person in a cohort, its next export stores them here again, unless they are on the "
    "never-export list. This cannot be undone."
)


def show_forget_dialog(found: Person, close: Callable[[], None], forgotten: Callable[[], None]) -> None:
    """Ask whether to forget a person; call ``forgotten`` once that was done."""

    @st.dialog("Forget this person?", on_dismiss=close)
    def ask() -> None:
        show_name(found.user_id, "forget-person")
        st.markdown(CONSEQUENCES)
        for sentence in explain_forgetting(found):
            st.warning(escape_markdown(sentence))
        if show_dialog_buttons("forget", "Forget this person", close, ":material/delete:"):
            if _forget(found.user_id):
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
