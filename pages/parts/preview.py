"""Who would go to WebEngage: numbers, one picture, a sample of both kinds, and what it costs."""

from __future__ import annotations

import streamlit as st

from pages.parts.desk import open_service
from pages.parts.look import bar
from pages.parts.words import count, plural, span
from sync.model import Fate
from sync.views import Preview, Sample

SLOT = "_preview"
SAMPLE = 8
WORDS = {Fate.IDENTIFIED: "will go", Fate.EMPTY_ID: "will not go: the id is empty",
         Fate.LONG_ID: "will not go: id over 100 characters", Fate.NO_PROFILE: "will not go: no profile",
         Fate.DEVICE_ONLY: "will not go: device only"}


def read(project_id: int, cohort_id: int, fresh: bool = False) -> Preview:
    """Read the preview once for an open dialog: every reading may cost a Mixpanel query."""
    kept = st.session_state.get(SLOT)
    if fresh or not kept or kept[0] != (project_id, cohort_id):
        with st.spinner("Reading the cohort from Mixpanel…"), open_service() as service:
            kept = (project_id, cohort_id), service.preview(project_id, cohort_id, fresh=fresh)
        st.session_state[SLOT] = kept
    return kept[1]


def forget() -> None:
    """Drop what was read, when the dialog closes."""
    st.session_state.pop(SLOT, None)


def numbers(preview: Preview) -> None:
    """Show how many go and how many do not, as numbers and as one bar."""
    about = "" if preview.exact else "about "
    columns = st.columns(3, gap="small")
    for column, label, number in zip(columns, ("Identified: will go", "Anonymous: will not", "Invalid: will not"),
                                     (preview.identified, preview.anonymous, preview.invalid), strict=True):
        with column.container(gap=None):
            st.caption(label)
            st.markdown(f"##### {about}{count(number)}")
    bar(preview)
    if preview.exported_before:
        st.caption(f"{count(preview.exported_before)} people were exported before; only the difference is sent.")


def cost(preview: Preview) -> None:
    """Say what the export takes from the limits of both sides."""
    left = "query" if preview.queries_left == 1 else "queries"
    st.caption(f":material/timer: {plural(preview.requests, 'request')}, about {span(preview.seconds)} at WebEngage's "
               f"limit; {preview.queries_left} Mixpanel {left} left this hour")


def sample(preview: Preview) -> None:
    """Show some members of both kinds side by side."""
    going = [one for one in preview.sample if one.fate == Fate.IDENTIFIED]
    staying = [one for one in preview.sample if one.fate != Fate.IDENTIFIED]
    left, right = st.columns(2)
    with left:
        _side("Will go", ":material/check:", "green", going[:SAMPLE])
    with right:
        _side("Will not go", ":material/block:", "orange", staying[:SAMPLE])


def _side(title: str, icon: str, color: str, members: list[Sample]) -> None:
    st.badge(title, icon=icon, color=color)  # type: ignore[arg-type]
    if not members:
        st.caption("Nobody in this sample.")
    for one in members:
        with st.container(gap=None):
            st.text((one.id.strip() and one.id[:120]) or "(empty)")
            st.caption(WORDS[one.fate])
