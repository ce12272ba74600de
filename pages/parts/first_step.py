"""Choose whom an export is sent to first, before a person lets it go on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import streamlit as st

from sync.errors import InvalidRequest
from sync.service.safety import parse_lines
from sync.steps import MAX_TRIED, SMALL_SHARES, Steps

TRIED_IDS = "_tried_ids"  # kept for the next export of this session: who tries it on themselves does so again
FIRST_PEOPLE = 10


class Beginning(StrEnum):
    """Whom an export is sent to first."""

    EVERYBODY = "Everybody at once"
    FIRST = "The first people, then ask me"
    CHOSEN = "Me, or certain people, then ask me"
    SHARES = "About 1 %, then 10 %, then everybody"


HELP = {
    Beginning.EVERYBODY: "",
    Beginning.FIRST: "They are sent, and the run is held. Look at them in WebEngage, then send to the others or take it back.",
    Beginning.CHOSEN: (
        "Those of them who are in the cohort are sent, and the run is held. Look at them in WebEngage, then send to the "
        "others or take it back."
    ),
    Beginning.SHARES: "The run is held after each step, until you let it go on.",
}


@dataclass(frozen=True, slots=True)
class FirstStep:
    """The first step chosen; ``problem``: what is missing."""

    steps: Steps | None = None
    chosen: tuple[str, ...] = ()
    problem: str = ""


def choose_first_step(cohort_id: int) -> FirstStep:
    """Show whom an export begins with, and return it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        beginning = Beginning(
            st.selectbox("Begin with", [one.value for one in Beginning], key=f"export-beginning-{cohort_id}", width=340)
        )
        if beginning is Beginning.FIRST:
            first = st.number_input("People", 1, MAX_TRIED, FIRST_PEOPLE, key=f"export-first-{cohort_id}", width=160)
    if HELP[beginning]:
        st.caption(HELP[beginning])
    if beginning is Beginning.FIRST:
        return FirstStep(Steps(first=int(first)))
    if beginning is Beginning.CHOSEN:
        return _choose_people(cohort_id)
    return FirstStep(Steps(shares=SMALL_SHARES) if beginning is Beginning.SHARES else None)


def _choose_people(cohort_id: int) -> FirstStep:
    text = st.text_area(
        "User IDs, one per line, exactly as in Mixpanel",
        value=st.session_state.get(TRIED_IDS, ""),
        key=f"export-chosen-{cohort_id}",
        height=100,
    )
    st.session_state[TRIED_IDS] = text or ""
    chosen, problem = tuple[str, ...](), "Type at least one User ID."
    try:
        chosen = tuple(parse_lines(text or ""))
        problem = "" if chosen else problem
    except InvalidRequest as unclear:
        problem = str(unclear)
    if len(chosen) > MAX_TRIED:
        problem = f"A first step has at most {MAX_TRIED:,} people."
    if problem:
        st.caption(f":material/error: {problem}")
    return FirstStep(chosen=chosen, problem=problem)
