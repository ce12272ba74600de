"""The receipt of a cohort before a campaign: whom it reaches, as of when, who approved it; made to be printed."""

from __future__ import annotations

import streamlit as st

from pages.parts import charts, layout, rows
from pages.parts.badges import show_number, show_small_text, show_title
from pages.parts.formatting import (
    escape_markdown,
    format_count,
    format_error,
    format_full_time,
    localize_times,
    tell_apart,
)
from pages.parts.navigation import open_page, requested_id, requested_text, show_page_link
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.id_property import show_id_property
from sync.records import Decision, SyncView
from sync.reports import Receipt
from sync.text import count_noun
from sync.wording import MODE_WORDS

REQUEST = "cohort"  # in the address: the cohort whose receipt is shown
COMPARED = 5  # syncs compared unless others are chosen, the largest ones
FACT_COLUMNS = (("Fact", 1.0), ("Value", 3.4))
HOW_TO_PRINT = "To print it or keep it as a PDF, press Ctrl+P (⌘P); this line, buttons and the side bar are left out."


def show_page() -> None:
    """Show the receipt the address asks for, or the way to one."""
    cohort_id = requested_id(REQUEST)
    with open_service() as service:
        project = layout.chosen_project(service.connections.list_projects())
    if project is None or cohort_id is None:
        if asked := requested_text(REQUEST):
            st.warning(escape_markdown(f"There is no cohort {asked}."))
        st.title("Receipt", anchor=False)
        st.info("Open a cohort that is exported, and choose Receipt there.")
        show_page_link("Go to Cohorts", "arrow_forward", "cohorts")
        return
    with st.container(horizontal=True, key="screen-receipt"):
        show_page_link("The cohort", "arrow_back", "cohorts", project=project.id, cohort=cohort_id)
    try:
        with st.spinner("Counting…"), open_service() as service:
            found = service.receipts.read(project.id, cohort_id, ())  # whom it shares people with is counted below
    except CohortSyncError as error:
        st.title("Receipt", anchor=False)
        st.warning(format_error(error), icon=":material/warning:")
        return
    _show_receipt(found)


def _show_receipt(found: Receipt) -> None:
    show_title(f"Receipt: {found.cohort_name}")  # the sentence below has the whole name
    st.code(localize_times(found.sentence, format_full_time), language=None, wrap_lines=True)
    for remark in found.remarks:
        st.warning(format_error(remark), icon=":material/info:")
    _show_numbers(found)
    _show_facts(found)
    _show_overlaps(found)
    with st.container(key="screen-print"):
        st.caption(HOW_TO_PRINT)


def _show_numbers(found: Receipt) -> None:
    about = "" if found.exact or found.anonymous is None else "about "
    numbers = (
        ("Accepted", format_count(found.accepted)),
        ("Not confirmed", format_count(found.unconfirmed)),
        ("Rejected", format_count(found.rejected)),
        ("Never export", format_count(found.never_exported)),
        ("Anonymous", about + format_count(found.anonymous)),
        ("Invalid User ID", format_count(found.invalid)),
    )
    with st.container(key="numbers-preview"):
        for label, value in numbers:
            show_number(label, value, f"receipt-{label.lower().replace(' ', '-')}")
    if found.left_behind:
        st.caption(f"WebEngage rejected setting {found.left_behind:,} of those accepted to false.")


def _show_facts(found: Receipt) -> None:
    facts = (
        ("Attribute", f"{found.attribute} = true"),
        ("WebEngage account", found.license_code),
        ("User ID", _describe_user_id(found)),
        ("As of", format_full_time(found.as_of)),
        ("Run", f"{found.run.id}, finished {format_full_time(found.run.finished_at or found.as_of)}"),
        ("Mode", _describe_mode(found)),
        ("Requested by", _describe_decision(found.requested, "not known; older than the audit log")),
        ("Approved by", _describe_decision(found.approved, "nobody; no run needed an approval")),
    )
    with st.container(key="rows-facts"):
        for label, value in facts:
            key = f"fact-{label.lower().replace(' ', '-')}"
            name, text = rows.start_row(key, FACT_COLUMNS)
            name.caption(label)
            with text:
                show_small_text(value, key)
    with st.container(key="screen-run"):
        if st.button(f"See run {found.run.id}", icon=":material/history:", type="tertiary", key="receipt-run"):
            open_page("runs", run=found.run.id)


def _describe_mode(found: Receipt) -> str:
    mode, asked = MODE_WORDS[found.mode], MODE_WORDS[found.requested_mode]
    return mode if mode == asked else f"{mode}; {asked.lower()} was requested since, and has not gone ahead"


def _describe_user_id(found: Receipt) -> str:
    name, doubles = show_id_property(found.run.id_property), found.run.doubles
    return f"{name}, with {count_noun(doubles, 'double')}" if doubles else name


def _describe_decision(decision: Decision | None, otherwise: str) -> str:
    if decision is None:
        return otherwise
    return f"{decision.actor}, {format_full_time(decision.at)} (run {decision.run_id})"


def _show_overlaps(found: Receipt) -> None:
    """Show how many people the cohort shares with those chosen; the largest ones unless others are."""
    st.header("Shared with other cohorts", anchor=False)
    with open_service() as service:
        others = {one.id: one for one in service.receipts.list_comparable(found.sync_id)}
    if not others:
        st.caption("No other cohort of this account has people in WebEngage.")
        return
    chosen = _choose_others(others)
    with st.spinner("Comparing…"), open_service() as service:
        overlaps = service.receipts.count_overlaps(found.sync_id, chosen)
    charts.show_overlaps(overlaps, found.in_webengage)


def _choose_others(others: dict[int, SyncView]) -> list[int]:
    names = tell_apart({number: sync.cohort_name for number, sync in others.items()})
    with st.container(key="screen-compared"):
        return st.multiselect(
            "Cohorts to compare with",
            list(others),
            default=list(others)[:COMPARED],
            format_func=names.__getitem__,
            key="receipt-compared",
        )


layout.run_in_layout(show_page)
