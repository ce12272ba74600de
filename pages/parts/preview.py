"""Who would go to WebEngage: numbers, one picture, a sample of both kinds, and what it costs."""

from __future__ import annotations

import streamlit as st

from pages.parts import look, pictures
from pages.parts.desk import open_service
from pages.parts.words import count, plural, span
from sync.errors import CohortSyncError
from sync.model import Fate
from sync.views import Preview, Sample

SLOT = "_preview"
SAMPLE = 8
PAGE = 1000  # members Mixpanel sends a page; each page may count as a query
ABOUT = (
    "“About”, because a preview reads only the first members and estimates the rest; the export itself counts exactly."
)
WORDS = {
    Fate.IDENTIFIED: "Has a profile and a user id of its own",
    Fate.EMPTY_ID: "The id is empty",
    Fate.LONG_ID: "The id has over 100 characters, more than WebEngage takes",
    Fate.NO_PROFILE: "No profile in Mixpanel: nobody knows who this is",
    Fate.DEVICE_ONLY: "A device that never signed in",
}


def read(project_id: int, cohort_id: int, fresh: bool = False) -> Preview:
    """Read the preview once for an open dialog: every reading may cost Mixpanel queries.

    A failure is kept too: a click in the dialog, Start Sync included, does not wait for Mixpanel again.
    """
    kept = st.session_state.get(SLOT)
    if fresh or not kept or kept[0] != (project_id, cohort_id):
        kept = (project_id, cohort_id), _ask(project_id, cohort_id, fresh)
        st.session_state[SLOT] = kept
    if isinstance(kept[1], str):
        raise CohortSyncError(kept[1])
    return kept[1]


def _ask(project_id: int, cohort_id: int, fresh: bool) -> Preview | str:
    """Return the preview, or the sentence that says why there is none."""
    try:
        with st.spinner("Reading the cohort from Mixpanel…"), open_service() as service:
            return service.preview(project_id, cohort_id, fresh=fresh)
    except CohortSyncError as problem:
        return str(problem)


def forget() -> None:
    """Drop what was read, when the dialog closes."""
    st.session_state.pop(SLOT, None)


def numbers(preview: Preview) -> None:
    """Show how many go and how many do not, as numbers and as one bar."""
    about = "" if preview.exact else "about "
    with st.container(horizontal=True, key="numbers-preview"):
        look.number("Identified · will go", f"{about}{count(preview.identified)}", "identified")
        look.number("Anonymous · will not", f"{about}{count(preview.anonymous)}", "anonymous")
        look.number("Invalid · will not", count(preview.invalid), "invalid")
        look.number("All members", count(preview.total), "members")
    pictures.who_goes(preview)
    if not preview.exact:
        st.caption(ABOUT)
    if preview.entering is not None and preview.leaving is not None:
        st.caption(
            f":material/history: {count(preview.exported_before)} people were exported before. Since then "
            f"{plural(preview.entering, 'person', 'people')} would enter and {count(preview.leaving)} would leave."
        )
    elif preview.exported_before:
        st.caption(
            f":material/history: {count(preview.exported_before)} people were exported before; only the difference "
            "is sent. Dry run counts who entered and who left since, before anything is sent."
        )


def cost(preview: Preview) -> None:
    """Say what the export takes from the limits of both sides, or that there is nobody to send."""
    pages = max(1, -(-preview.identified // PAGE))
    left = plural(preview.queries_left, "Mixpanel query", "Mixpanel queries")
    queries = f"{'' if pages == 1 else 'up to '}{pages} of the {left} left this hour"
    st.caption(f":material/timer: {_requests(preview)}; {queries}")


def _requests(preview: Preview) -> str:
    if not preview.requests:
        return (
            "Nobody needs to be sent now, so no request" if preview.exported_before else "Nobody here can be sent now"
        )
    known = preview.entering is not None or not preview.exported_before
    return (
        f"{'' if known else 'up to '}{plural(preview.requests, 'request')}, about {span(preview.seconds)} "
        "at WebEngage's limit"
    )


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
        st.caption("Nobody among the members read for this preview.")
    for fate, reason in WORDS.items():
        ids = [one.id[:120] if one.id.strip() else "(empty)" for one in members if one.fate == fate]
        if ids:
            with st.container(gap=None):
                st.caption(reason)
                st.text("\n".join(ids))
