"""Choose which profile property is the WebEngage User ID; the distinct_id unless another is chosen."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from pages.parts.formatting import escape_markdown
from sync.id_property import DISTINCT_ID, find_id_property_problem, parse_id_property, show_id_property

LABEL = "WebEngage User ID"
HELP = (
    "What WebEngage knows a person by. Mixpanel's distinct_id, unless your app signs people in to WebEngage with "
    "something else that their Mixpanel profile has as a property. You can type a property that is not listed."
)
CHANGED = (
    "Another User ID is another profile in WebEngage. This export is held for your approval: it sets everybody to false "
    "under the old User ID, and to true under the new one."
)


def choose_id_property(cohort_id: int, before: str, seen: Iterable[str]) -> tuple[str, str]:
    """Show the field; return the chosen property, empty for the distinct_id, and what is wrong with it, else an empty text."""
    names = list(dict.fromkeys([DISTINCT_ID, show_id_property(before), *seen]))
    chosen = st.selectbox(
        LABEL,
        names,
        index=names.index(show_id_property(before)),
        key=f"export-user-id-{cohort_id}",
        accept_new_options=True,
        format_func=_format_option,
        help=HELP,
    )
    id_property = parse_id_property(chosen or "")
    problem = find_id_property_problem(id_property) or ""
    if problem:
        st.error(escape_markdown(problem))
    return id_property, problem


def _format_option(name: str) -> str:
    return "distinct_id (Mixpanel's own)" if name == DISTINCT_ID else name
