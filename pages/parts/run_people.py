"""The people of a run as a table: added, updated, removed or not taken, with filters, also before it is approved."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import streamlit as st

from pages.parts import downloads, paging, polling
from pages.parts.navigation import open_person, show_page_link
from pages.parts.session import is_allowed, open_service
from sync import wording
from sync.model import Run, RunState
from sync.permissions import AccessLevel
from sync.records import NO_OPERATION, ExportRow, SyncView
from sync.service.run_people import PeopleFilter
from sync.text import count_people
from sync.views import RunPeople

PER_PAGE = 50
EVERYBODY = "all"
WIDTHS_WITHOUT_REASON = {"User ID": st.column_config.TextColumn(width="medium")}
WIDTHS = {  # in pixels, on a laptop; a reason is a sentence, and the page that is shown may have short ones only
    name: st.column_config.TextColumn(width=pixels)
    for name, pixels in (("User ID", 180), ("Change", 125), ("Outcome", 185), ("Reason", 410))
}
TABLE_HEIGHT = 388  # pixels; ten rows, so that the page below stays in reach
ENDED_UNPLANNED = "The run ended before it was known whom to add, update or remove. Nothing was sent."
CANCELLED_UNSENT = "Nothing was sent, so the people it would have changed are not kept."
OPERATION_ORDER = ("add", "remove", "update", NO_OPERATION)


def show_people(run: Run, sync: SyncView) -> None:
    """Show the people of a run and its files; while it moves, the table follows it.

    A fragment of its own: a filter redraws only the table, and what polls around it never redraws the files, whose
    addresses would change under the pointer.
    """
    st.header("People", anchor=False)
    polling.start_fragment(lambda: _show_table(run, sync), polling.PAGE_SECONDS if run.is_moving else None)
    has_people = bool(run.invalid or (run.planned and not _is_cancelled_unsent(run)))
    if has_people and not run.is_moving and is_allowed(AccessLevel.MARKETER):
        downloads.show_downloads(run, sync)


def _show_table(run: Run, sync: SyncView) -> None:
    run, wanted, found = _read_page(run)
    if not found.counts and not wanted.text:
        st.caption(_explain_nobody(run))
        return
    _show_filters(run, found)
    if not found.matching:
        _explain_no_match(run, sync)
        return
    table = make_table(run, found.rows)
    st.dataframe(
        table,
        hide_index=True,
        height=TABLE_HEIGHT if len(found.rows) > 10 else "auto",
        alt=f"{count_people(found.matching)} of run {run.id}",
        column_config=WIDTHS if "Reason" in table else WIDTHS_WITHOUT_REASON,
    )
    page = paging.find_page(_key(run, "page"), found.matching, PER_PAGE)
    paging.show_page_numbers(page, _key(run, "page"))
    if found.matching > PER_PAGE:
        st.caption(page.describe("person", "people"))


def _read_page(run: Run) -> tuple[Run, PeopleFilter, RunPeople]:
    """Return the run as it is now, what is asked for, and the chosen page of it; the last one when there are fewer by now.

    People who are sent leave the filter "not sent yet" while somebody looks at a page of it.
    """
    wanted = PeopleFilter(operation=_chosen(run, "operation"), outcome=_chosen(run, "outcome"), text=_chosen_text(run))
    with open_service() as service:
        found = service.runs.list_people(run.id, wanted, PER_PAGE, (_chosen_page(run) - 1) * PER_PAGE)
        if found.matching and not found.rows:
            page = paging.find_page(_key(run, "page"), found.matching, PER_PAGE)
            found = service.runs.list_people(run.id, wanted, PER_PAGE, page.start)
        return service.runs.get(run.id), wanted, found


def _explain_no_match(run: Run, sync: SyncView) -> None:
    """Show why nobody is listed, and where somebody is found who is not among the people of a run."""
    text = _chosen_text(run).strip()
    if _chosen(run, "operation") or _chosen(run, "outcome"):
        st.info("Nobody matches these filters. Choose Everybody, and any outcome, to search all people of this run.")
        return
    st.info(
        "Nobody matches. A run lists the people it adds, updates, removes or cannot send, not those who stay as they are "
        "or are anonymous in Mixpanel. See members lists everybody in the cohort, each with the reason."
    )
    with st.container(horizontal=True):
        show_page_link("See members", "groups", "cohorts", project=sync.project_id, cohort=sync.cohort_id)
        if st.button("Look up this User ID", key=f"look-up-{run.id}", icon=":material/person_search:"):
            open_person(text)


def make_table(run: Run, rows: tuple[ExportRow, ...]) -> pd.DataFrame:
    """Return the table of these people; an id stands exactly as it is, an empty one says so."""
    operations, outcomes = wording.name_operations(run), wording.name_outcomes(run)
    table = pd.DataFrame(
        [
            (
                row.user_id if row.user_id.strip() else "(empty)",
                f"{wording.OPERATION_SIGNS[row.operation]} {operations[row.operation]}",
                f"{wording.OUTCOME_SIGNS[row.outcome]} {outcomes[row.outcome]}",
                row.reason,
            )
            for row in rows
        ],
        columns=["User ID", "Change", "Outcome", "Reason"],
    )
    return table if any(row.reason for row in rows) else table.drop(columns="Reason")


def _is_cancelled_unsent(run: Run) -> bool:
    return run.state == RunState.CANCELLED and bool(run.change_count) and not run.sent + run.rejected


def _explain_nobody(run: Run) -> str:
    if _is_cancelled_unsent(run):
        return CANCELLED_UNSENT
    if run.change_count and run.state.is_final:
        return "Who they were is no longer stored here; Administration says how long it is kept."
    if run.planned or run.state == RunState.SUCCEEDED:
        return "Nobody to add, update or remove."
    return ENDED_UNPLANNED if run.state.is_final else "Known once Mixpanel has been read."


def _show_filters(run: Run, found: RunPeople) -> None:
    operations, outcomes = wording.name_operations(run), wording.name_outcomes(run)
    by_operation: Counter[str] = Counter()
    by_outcome: Counter[str] = Counter()
    for one in found.counts:
        by_operation[one.operation] += one.people
        if one.operation != NO_OPERATION:
            by_outcome[one.outcome] += one.people
    _show_pills(run, "operation", "Change", {name: by_operation[name] for name in OPERATION_ORDER}, operations)
    if len(by_outcome) > 1 or _chosen(run, "outcome"):
        _show_pills(run, "outcome", "Outcome", {name: by_outcome[name] for name in outcomes}, outcomes)
    paging.show_search("Search people", _key(run, "text"), "Search by User ID", _key(run, "page"), in_address=False)


def _show_pills(run: Run, name: str, label: str, counts: dict[str, int], names: dict[str, str]) -> None:
    """Show a filter with the count of each choice; an empty choice is left out unless it is chosen."""
    everybody = "Everybody" if name == "operation" else "Any outcome"
    shown = {one: count for one, count in counts.items() if count or one == _chosen(run, name)}
    words = {EVERYBODY: f"{everybody} {sum(shown.values()):,}"} | {
        one: f"{names[one]} {count:,}" for one, count in shown.items()
    }
    st.pills(
        label,
        list(words),
        default=EVERYBODY,
        required=True,
        format_func=words.__getitem__,
        key=_key(run, name),
        on_change=paging.open_first_page,
        args=(_key(run, "page"),),
        label_visibility="collapsed",
    )


def _key(run: Run, name: str) -> str:
    return f"people-{name}-{run.id}"


def _chosen(run: Run, name: str) -> str | None:
    chosen = st.session_state.get(_key(run, name))
    return None if chosen in (None, EVERYBODY) else str(chosen)


def _chosen_text(run: Run) -> str:
    return str(st.session_state.get(_key(run, "text")) or "")


def _chosen_page(run: Run) -> int:
    return int(st.session_state.get(_key(run, "page")) or 1)
