"""The people who would be exported: numbers, one picture, and what it costs."""

from __future__ import annotations

import streamlit as st

from pages.parts import badges, charts
from pages.parts.formatting import format_count, format_queries
from pages.parts.members_reading import PAGE_SIZE, get_known_numbers
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.views import Preview
from sync.wording import describe_outlook, describe_requests

PREVIEW_KEY = "_preview"
ESTIMATE_HELP = (
    "“About”, because only the first members were read: devices and invalid ids among the others are estimated. "
    "See everybody for exact numbers; the export itself counts exactly."
)
LEAST_HELP = (
    "“At least”, because Mixpanel does not say how many members there are, and only the first were read. "
    "See everybody for exact numbers; the export itself counts exactly."
)


def read_preview(project_id: int, cohort_id: int, id_property: str | None) -> Preview:
    """Read the preview once for an open dialog: every reading may cost Mixpanel queries.

    ``id_property`` is the User ID, None for the one the cohort has. A failure is kept too: a click in the dialog, Start
    Sync included, does not wait for Mixpanel again.
    """
    kept = st.session_state.setdefault(PREVIEW_KEY, {})
    key = project_id, cohort_id, id_property
    if key not in kept:
        kept[key] = _read_or_explain(project_id, cohort_id, id_property)
    if isinstance(kept[key], str):
        raise CohortSyncError(kept[key])
    found: Preview = kept[key]
    return found


def _read_or_explain(project_id: int, cohort_id: int, id_property: str | None) -> Preview | str:
    """Return what this session knows already, else a preview, or the sentence that says why there is none."""
    try:
        known = None if id_property is not None else get_known_numbers(project_id, cohort_id)
        if known:
            return known
        with st.spinner("Reading the cohort from Mixpanel…", show_time=True), open_service() as service:
            return service.cohorts.preview(project_id, cohort_id, id_property=id_property)
    except CohortSyncError as problem:
        return str(problem)


def forget_preview() -> None:
    """Drop what was read, when the dialog closes."""
    st.session_state.pop(PREVIEW_KEY, None)


def show_numbers(preview: Preview) -> None:
    """Show how many go and how many do not, as numbers and as one bar."""
    about = preview.qualifier
    with st.container(horizontal=True, key="numbers-preview"):
        badges.show_number("Identified · will be sent", f"{about}{format_count(preview.people)}", "identified")
        if preview.doubles:
            badges.show_number("Doubles · sent as one", format_count(preview.doubles), "doubles")
        if preview.never_exported:
            badges.show_number("Never export · not sent", f"{about}{format_count(preview.never_exported)}", "never")
        badges.show_number("Anonymous · not sent", f"{about}{format_count(preview.anonymous)}", "anonymous")
        badges.show_number(
            "Invalid · not sent", f"{about if preview.invalid else ''}{format_count(preview.invalid)}", "invalid"
        )
        least = "at least " if preview.is_least else ""
        badges.show_number("All members", f"{least}{format_count(preview.total)}", "members")
    going = max(0, preview.identified - preview.never_exported)
    charts.show_bar((going, preview.never_exported, preview.anonymous, preview.invalid), preview.total)
    if not preview.exact:
        st.caption(LEAST_HELP if preview.is_least else ESTIMATE_HELP)
    if preview.exported_before:
        st.caption(f":material/history: {describe_outlook(preview)}")


def show_cost(preview: Preview) -> None:
    """Show what the export uses of both vendors' limits, or that there is nobody to send."""
    pages = max(1, -(-(preview.identified + preview.invalid) // PAGE_SIZE))  # each may count as a query
    queries = format_queries(pages, preview.queries_left)
    waits = "; the export then goes on in the next hours" if pages > preview.queries_left else ""
    st.caption(f":material/timer: {describe_requests(preview)}; {queries}{waits}")
