"""The dialog that forgets a person, the same wherever it is opened, and what it says afterwards."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.parts import notices
from pages.parts.badges import show_name
from pages.parts.dialog_buttons import show_dialog_buttons
from pages.parts.formatting import escape_markdown
from sync.reports import Person
from sync.service import Service
from sync.wording import explain_forgetting, explain_forgotten

CONSEQUENCES = (
    "Deletes this User ID from everything stored here. It does not delete the person in Mixpanel or WebEngage; do that "
    "there. While Mixpanel lists the person in a cohort, its next export stores them here again, unless they are on the "
    "never-export list. This cannot be undone."
)


def show_forget_dialog(found: Person, close: Callable[[], None], forgotten: Callable[[], None]) -> None:
    """Ask whether to forget a person; call ``forgotten`` once that was done."""

    def forget(service: Service) -> str:
        return " ".join(explain_forgotten(service.admin.forget_person(found.user_id)))

    @st.dialog("Forget this person?", on_dismiss=close)
    def ask() -> None:
        show_name(found.user_id, "forget-person")
        st.markdown(CONSEQUENCES)
        for sentence in explain_forgetting(found):
            st.warning(escape_markdown(sentence))
        if show_dialog_buttons("forget", "Forget this person", close, ":material/delete:"):
            if notices.try_action("", forget):
                forgotten()
            close()
            st.rerun()

    ask()
