"""Keep what was filled in when the export dialog is closed without a start, so that it is there when it opens again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from pages.parts.memory import recall
from pages.parts.navigation import set_request
from sync.views import Proposal

OPENED, DRAFTS = "export opened", "export drafts"  # in the memory of the browser session
RESTORED = "As you left it; Cancel discards it."
Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields of a cohort's dialog, filled in by key, and the proposal they were made of; ``restored``: not by it."""

    cohort_id: int
    proposal: Proposal
    fields: Fields
    restored: bool = False


def request_export(cohort_id: int) -> None:
    """Request the export dialog of a cohort; one that was closed just now, which this click kept from being heard, is kept."""
    keep_draft()
    set_request("export", cohort_id)


def restore_draft(cohort_id: int, proposal: Proposal) -> bool:
    """Fill the fields in as they were when the dialog was closed; return whether they were filled in so.

    Call it before the fields are drawn. What was made of other terms than those proposed now is dropped. Drawing may be
    interrupted before ``note_opened``, so what was filled in counts as open from here on; interrupted while they are
    filled in, they are all filled in again.
    """
    opened: Draft | None = recall().get(OPENED)
    if opened and opened.cohort_id == cohort_id:
        return opened.restored  # the dialog is only drawn again
    draft = _drafts().get(cohort_id)
    restored = draft is not None and draft.proposal == proposal
    if draft and restored:
        for key, value in draft.fields.items():
            st.session_state[key] = value
        recall()[OPENED] = Draft(cohort_id, proposal, draft.fields, restored=True)
    _drafts().pop(cohort_id, None)
    return restored


def note_opened(cohort_id: int, proposal: Proposal) -> None:
    """Remember how the fields were when the dialog opened; call it after they were drawn."""
    opened: Draft | None = recall().get(OPENED)
    if not opened or opened.cohort_id != cohort_id:
        recall()[OPENED] = Draft(cohort_id, proposal, _read_fields(cohort_id))


def keep_draft() -> None:
    """Keep the fields of the open dialog, unless nobody changed them; call it when the dialog is closed."""
    opened: Draft | None = recall().pop(OPENED, None)
    if not opened:
        return
    fields = _read_fields(opened.cohort_id)
    if opened.restored or fields != opened.fields:
        _drafts()[opened.cohort_id] = Draft(opened.cohort_id, opened.proposal, fields)


def forget_draft() -> None:
    """Drop the fields of the open dialog: they were sent, or a person does not want them."""
    recall().pop(OPENED, None)


def _drafts() -> dict[int, Draft]:
    found: dict[int, Draft] = recall().setdefault(DRAFTS, {})
    return found


def _read_fields(cohort_id: int) -> Fields:
    """Return the fields of a cohort's dialog by key; the buttons of its list and of the dialog are none."""
    is_field = re.compile(rf"export-(?:[a-z-]+-{cohort_id}\b|{cohort_id}-[a-z])").match
    return {str(key): value for key, value in st.session_state.to_dict().items() if is_field(str(key))}
