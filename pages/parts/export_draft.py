"""Keep what was filled in when the export dialog is closed without a start, so that it is there when it opens again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from sync.views import Proposal

OPENED_KEY, DRAFTS_KEY = "_export_opened", "_export_drafts"
RESTORED = "As you left it; Cancel discards it."
Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields of a cohort's dialog, filled in by key, and the proposal they were made of; ``restored``: not by it."""

    cohort_id: int
    proposal: Proposal
    fields: Fields
    restored: bool = False


def restore_draft(cohort_id: int, proposal: Proposal) -> bool:
    """Fill the fields in as they were when the dialog was closed; return whether they were filled in so.

    Call it before the fields are drawn. What was made of other terms than those proposed now is dropped. Drawing may be
    interrupted before ``note_opened``, so what was filled in counts as open from here on.
    """
    opened: Draft | None = st.session_state.get(OPENED_KEY)
    if opened and opened.cohort_id == cohort_id:
        return opened.restored  # the dialog is only drawn again
    draft = _drafts().pop(cohort_id, None)
    restored = draft is not None and draft.proposal == proposal
    if draft and restored:
        for key, value in draft.fields.items():
            st.session_state[key] = value
        st.session_state[OPENED_KEY] = Draft(cohort_id, proposal, draft.fields, restored=True)
    return restored


def note_opened(cohort_id: int, proposal: Proposal) -> None:
    """Remember how the fields were when the dialog opened; call it after they were drawn."""
    opened: Draft | None = st.session_state.get(OPENED_KEY)
    if not opened or opened.cohort_id != cohort_id:
        st.session_state[OPENED_KEY] = Draft(cohort_id, proposal, _read_fields(cohort_id))


def keep_draft() -> None:
    """Keep the fields of the open dialog, unless nobody changed them; call it when the dialog is closed.

    Interrupted by a newer click and begun again, it finds the dialog still open until the fields are kept.
    """
    opened: Draft | None = st.session_state.get(OPENED_KEY)
    if not opened:
        return
    fields = _read_fields(opened.cohort_id)
    if opened.restored or fields != opened.fields:
        _drafts()[opened.cohort_id] = Draft(opened.cohort_id, opened.proposal, fields)
    del st.session_state[OPENED_KEY]


def forget_draft() -> None:
    """Drop the fields of the open dialog: they were sent, or a person does not want them."""
    st.session_state.pop(OPENED_KEY, None)


def _drafts() -> dict[int, Draft]:
    found: dict[int, Draft] = st.session_state.setdefault(DRAFTS_KEY, {})
    return found


def _read_fields(cohort_id: int) -> Fields:
    """Return the fields of a cohort's dialog by key; the buttons of its list and of the dialog are none."""
    is_field = re.compile(rf"export-(?:[a-z-]+-{cohort_id}\b|{cohort_id}-[a-z])").match
    return {str(key): value for key, value in st.session_state.items() if is_field(str(key))}
