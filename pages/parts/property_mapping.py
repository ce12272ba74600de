"""Choose the profile properties that are sent to WebEngage besides membership; none by default."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from pages.parts.formatting import escape_markdown
from sync.attribute_names import STANDARD_MAPPING, default_attribute_for, find_mapping_problem, parse_mapping

Mapping = tuple[tuple[str, str], ...]
MAPPING_LABEL = "Also send these profile properties"
MAPPING_HELP = (
    "Only membership is sent unless you choose more. You can type a property that is not listed (plan) or give it "
    "another name in WebEngage (plan=Plan). Its first value fixes its type there."
)
OPT_IN_WARNING = (
    "WebEngage opts a **new** profile in to email or SMS when it comes with an email address or a phone number."
)
ARROW = " → "
CONTACT_FIELDS = ("email", "phone")


def choose_properties(cohort_id: int, before: Mapping, seen: Iterable[str]) -> tuple[Mapping, str]:
    """Show the field for the properties to send; return the mapping and what is wrong with it, else an empty text."""
    known = list_options(before, seen)
    chosen = st.multiselect(
        MAPPING_LABEL,
        known,
        default=known[: len(before)],
        key=f"export-properties-{cohort_id}",
        accept_new_options=True,
        select_all=False,
        placeholder="None, membership only",
        format_func=_format_option,
        help=MAPPING_HELP,
    )
    mapping, problem = parse_choices(chosen)
    if problem:
        st.error(escape_markdown(problem))
    if any(target in CONTACT_FIELDS for _, target in mapping):
        st.warning(OPT_IN_WARNING, icon=":material/mark_email_unread:")
    return mapping, problem


def list_options(before: Mapping, seen: Iterable[str]) -> list[str]:
    """Return the options: first those chosen before, then those Mixpanel's own sync sends, then all others seen."""
    listed = dict(before)
    for source in (*dict(STANDARD_MAPPING), *seen):
        if not find_mapping_problem(default_attribute_for(source)):
            listed.setdefault(source, default_attribute_for(source))
    return [f"{source}={target}" for source, target in listed.items()]


def _format_option(option: str) -> str:
    return ARROW.join(option.rpartition("=")[::2]) if "=" in option else option


def parse_choices(chosen: Iterable[str]) -> tuple[Mapping, str]:
    """Return the mapping of the chosen options up to the first problem, and that problem, else an empty text."""
    mapping: list[tuple[str, str]] = []
    for text in chosen:
        try:
            pair = parse_mapping(text.replace(ARROW, "="))  # what was typed comes back by its label in a kept draft
        except ValueError as error:
            return tuple(mapping), str(error)
        problem = find_mapping_problem(pair[1])
        if not problem and pair[1] in [target for _, target in mapping]:
            problem = f"Two properties are mapped to “{pair[1]}”. Keep one of them."
        if problem:
            return tuple(mapping), problem
        mapping.append(pair)
    return tuple(mapping), ""
