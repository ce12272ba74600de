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
Place = tuple[int, int]
"""A project and one of its cohorts: a cohort of another project may have the same number."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields of a cohort's dialog, filled in by key, and the proposal they were made of; ``restored``: not by it."""

    place: Place
    proposal: Proposal
    fields: Fields
    restored: bool = False


def request_export(cohort_id: int) -> None:
    """Request the export dialog of a cohort; one that was closed just now, which this click kept from being heard, is kept."""
    keep_draft()
    set_request("export", cohort_id)


def restore_draft(project_id: int, cohort_id: int, proposal: Proposal) -> bool:
    """Fill the fields in as they were when the dialog was closed; return whether they were filled in so.

    Call it before the fields are drawn. What was made of other terms than those proposed now is dropped. Drawing may be
    interrupted before ``note_opened``, so what was filled in counts as open from here on; interrupted while they are
    filled in, they are all filled in again.
    """
    place, opened = (project_id, cohort_id), _find_opened()
    if opened and opened.place == place:
        return opened.restored  # the dialog is only drawn again
    if opened:
        for key in _read_fields(cohort_id):  # of the same number in another project
            del st.session_state[key]
    draft = _drafts().get(place)
    restored = draft is not None and draft.proposal == proposal
    if draft and restored:
        for key, value in draft.fields.items():
            st.session_state[key] = value
        recall()[OPENED] = Draft(place, proposal, draft.fields, restored=True)
    _drafts().pop(place, None)
    return restored


def note_opened(project_id: int, cohort_id: int, proposal: Proposal) -> None:
    """Remember how the fields were when the dialog opened; call it after they were drawn."""
    place, opened = (project_id, cohort_id), _find_opened()
    if not opened or opened.place != place:
        recall()[OPENED] = Draft(place, proposal, _read_fields(cohort_id))


def keep_draft() -> None:
    """Keep the fields of the open dialog, unless nobody changed them; call it when the dialog is closed.

    Once Streamlit has dropped the fields, since their page was left, there are none to keep.
    """
    opened: Draft | None = recall().pop(OPENED, None)
    if not opened:
        return
    fields = _read_fields(opened.place[1])
    if fields and (opened.restored or fields != opened.fields):
        _drafts()[opened.place] = Draft(opened.place, opened.proposal, fields)


def forget_draft() -> None:
    """Drop the fields of the open dialog: they were sent, or a person does not want them."""
    recall().pop(OPENED, None)


def _find_opened() -> Draft | None:
    found: Draft | None = recall().get(OPENED)
    return found


def _drafts() -> dict[Place, Draft]:
    found: dict[Place, Draft] = recall().setdefault(DRAFTS, {})
    return found


def _read_fields(cohort_id: int) -> Fields:
    """Return the fields of a cohort's dialog by key; the buttons of its list and of the dialog are none."""
    is_field = re.compile(rf"export-(?:[a-z-]+-{cohort_id}\b|{cohort_id}-[a-z])").match
    return {str(key): value for key, value in st.session_state.to_dict().items() if is_field(str(key))}
