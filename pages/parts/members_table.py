"""The table of a cohort's people: filters, search, order, pages of fifty, and the file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts import paging, polling
from pages.parts.downloads import show_csv_button
from pages.parts.formatting import escape_markdown, format_count
from pages.parts.members_reading import BackgroundReading, begin_reading
from pages.parts.navigation import MEMBER_FILTERS, open_person
from pages.parts.session import is_allowed, open_service
from sync.permissions import AccessLevel, Actor
from sync.service.member_reading import MemberReading
from sync.spreadsheet import write_csv
from sync.text import count_noun, count_people, matches_id
from sync.views import MemberChange, MemberList, MemberRow, MemberStatus

PER_PAGE = 50
PAGE = "member-page"  # session key
LIST_SECONDS = 300.0  # a list is shown so long before it is compared again with what WebEngage holds
MAX_SHOWN = 300  # characters of a cell
ALL = "all"
STATUSES = {
    MemberStatus.IDENTIFIED: "✓ Identified",
    MemberStatus.ANONYMOUS: "○ Anonymous",
    MemberStatus.INVALID: "✕ Invalid",
    MemberStatus.LEFT: "← Left",
}
HELD = {True: "true", False: "false", None: "never"}
NOT_CONFIRMED = "not confirmed"
HELD_NAMES = (HELD[True], NOT_CONFIRMED, HELD[False], HELD[None])
CHANGES = {
    MemberChange.ADD: "Would be added",
    MemberChange.REMOVE: "Would be removed",
    MemberChange.UNCHANGED: "Stays true",
    MemberChange.NONE: "Not exported",
}
GRANT_ACCESS = "A project admin can give the account access to classified data."
EMPTY_COLUMN = {
    True: "Nobody has a value for {} in Mixpanel. It is not withheld: the service account may see classified data.",
    False: (
        "Mixpanel sent no {} for anybody. It may be withheld: the service account may not see classified data. "
        + GRANT_ACCESS
    ),
    None: (
        "Mixpanel sent no {} for anybody. Either nobody has one, or it is classified in Mixpanel and withheld from the "
        "service account. " + GRANT_ACCESS
    ),
}
ONLY_IDS = "User IDs are searched here; names and e-mail addresses only while they are shown."
LOOK_UP_HELP = "Opens the page People: what was sent to WebEngage about somebody, for which cohorts, and why not."
SHOW_VALUES = "Show names and e-mail addresses"
DISTINCT_ID = "distinct_id"
HEADINGS = ("User ID", "Status", "Why", "In WebEngage", "Next export")
LISTED, BY_ID, BY_NAME = "As listed", "User ID", "Name"
Choice = Mapping[str, str]


def show_people(kept: BackgroundReading) -> None:
    """Show everybody read; a filter, a letter of the search or a page redraws this table only."""
    lists: dict[bool, tuple[float, MemberList]] = {}
    polling.start_fragment(lambda: _show_table(kept, lists), None)


def _show_table(kept: BackgroundReading, lists: dict[bool, tuple[float, MemberList]]) -> None:
    reading = kept.reading
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.header("People", anchor=False)
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            revealed = is_allowed(AccessLevel.MARKETER) and st.toggle(SHOW_VALUES, key=f"reveal-{reading.cohort_id}")
            _show_columns(reading)
    listed = _get_list(reading, lists, revealed)
    chosen, typed, order = _choose(listed, revealed)
    text = typed.casefold()
    rows = _sort_rows([row for row in listed.rows if _passes(row, chosen) and _matches(row, text, revealed)], order)
    if rows:
        _show_rows(listed, rows, revealed)
    else:
        _explain_nobody(listed, chosen, typed, revealed)
    if listed.is_complete and listed.empty_columns:
        empty = EMPTY_COLUMN[kept.sees_classified_data].format(" or ".join(listed.empty_columns))
        st.caption(f":material/visibility_off: {escape_markdown(empty)}")
    if is_allowed(AccessLevel.MARKETER):
        _show_download(reading, listed, rows, _describe_choice(chosen, text, revealed))


def _get_list(reading: MemberReading, lists: dict[bool, tuple[float, MemberList]], revealed: bool) -> MemberList:
    """Return everybody, masked unless revealed; compared with WebEngage when the page was drawn, or minutes ago."""
    found = lists.get(revealed)
    if found is None or not 0 <= time.monotonic() - found[0] < LIST_SECONDS:
        with open_service() as service:
            found = lists[revealed] = time.monotonic(), service.members.list(reading, reveal=revealed)
    return found[1]


def _choose(listed: MemberList, revealed: bool) -> tuple[Choice, str, str]:
    """Show the search, the order, and a choice of status, of what WebEngage holds and of what would change, with counts.

    Return the choice, what is searched for, and the order. Names and addresses are searched only while they are shown.
    """
    statuses = Counter(row.status.value for row in listed.rows)
    held = Counter(map(_name_held, listed.rows))
    changes = Counter(row.change.value for row in listed.rows)
    who = _choose_filter("who", "Status", _label_options(STATUSES, statuses), st.radio, horizontal=True)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Search people",
            key="member-search",
            type="search",
            live=True,
            placeholder="User ID, name or e-mail address" if revealed else "User ID",
            on_change=_first_page,
            width=280,
        )
        now = _choose_filter("held", "In WebEngage", _label_options({one: one for one in HELD_NAMES}, held), _select)
        change = _choose_filter("next", "Next export", _label_options(CHANGES, changes), _select)
        order = st.selectbox(
            "Sort by", [LISTED, BY_ID, *([BY_NAME] if revealed else [])], key="member-order", width=160
        )
    return dict(zip(MEMBER_FILTERS, (who, now, change), strict=True)), (text or "").strip(), order or LISTED


def _label_options(labels: Mapping[Any, str], counts: Counter[str]) -> dict[str, str]:
    """Return the options of a filter with their counts: everybody, then those that occur, in the order of ``labels``."""
    some = {str(one): f"{label} {format_count(counts[one])}" for one, label in labels.items() if counts[one]}
    return {ALL: f"All {format_count(counts.total())}"} | some


def _select(label: str, options: Sequence[str], **more: object) -> str:
    return st.selectbox(label, options, width=195, **more)  # type: ignore[call-overload, no-any-return]


def _choose_filter(
    name: str, label: str, options: Mapping[str, str], widget: Callable[..., str | None], **more: object
) -> str:
    """Show one filter; its answer is in the address, too, and is everybody when the option is gone."""
    key = f"member-{name}"
    wanted = st.session_state.get(key) or st.query_params.get(name, ALL)
    st.session_state[key] = wanted if wanted in options else ALL
    chosen = widget(
        label, list(options), key=key, format_func=lambda one: options.get(one, one), on_change=_first_page, **more
    )
    if chosen in (None, ALL):
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = str(chosen)
    return chosen or ALL


def _first_page() -> None:
    st.session_state.pop(PAGE, None)


def _name_held(row: MemberRow) -> str:
    """Return what WebEngage holds of somebody."""
    return NOT_CONFIRMED if row.is_unsure else HELD[row.in_webengage]


def _passes(row: MemberRow, chosen: Choice) -> bool:
    return (
        chosen["who"] in (ALL, row.status)
        and chosen["held"] in (ALL, _name_held(row))
        and chosen["next"] in (ALL, row.change)
    )


def _matches(row: MemberRow, text: str, revealed: bool) -> bool:
    shown = (row.user_id, row.distinct_id, *(row.values[:2] if revealed else ()))
    return any(matches_id(text, one) for one in shown)


def _sort_rows(rows: list[MemberRow], order: str) -> list[MemberRow]:
    if order == BY_ID:
        return sorted(rows, key=lambda row: row.user_id.casefold())
    return sorted(rows, key=lambda row: row.values[0].casefold() or "\uffff") if order == BY_NAME else rows


def _show_rows(listed: MemberList, rows: list[MemberRow], revealed: bool) -> None:
    """Show one page of the table; only these fifty people travel to the browser."""
    page = paging.find_page(PAGE, len(rows), PER_PAGE)
    shown = rows[page.start : page.end]
    columns = _list_columns(listed)
    headings = (*HEADINGS[:3], *columns, *HEADINGS[3:])
    st.dataframe(
        pd.DataFrame([[cell[:MAX_SHOWN] for cell in _cells(row, listed)] for row in shown], columns=_unique(headings)),
        hide_index=True,
        height="content",
        column_config=_set_widths(columns, revealed),
        alt=f"{len(shown)} of {count_people(len(rows))}, with {', '.join(headings)}",
    )
    paging.show_page_numbers(page, PAGE)
    st.caption(page.describe("person", "people"))


def _explain_nobody(listed: MemberList, chosen: Choice, text: str, revealed: bool) -> None:
    """Show why the table is empty and what to do, so that a missing person is explained where they were looked for."""
    if not listed.rows:
        st.info("Nobody is in this cohort.")
    elif any(one != ALL for one in chosen.values()):
        st.info("Nobody matches these filters. Set them to All to search everybody.")
    else:
        st.info(_describe_missing(listed) + ("" if revealed else f" {ONLY_IDS}"))
    if text and st.button(
        "Look up this User ID", key="member-look-up", icon=":material/person_search:", help=LOOK_UP_HELP
    ):
        open_person(text)


def _describe_missing(listed: MemberList) -> str:
    """Return what it means that nobody read matches, when no filter hides them."""
    if not listed.is_complete:
        return f"Not among the {format_count(listed.read)} members read so far. Read the others to be sure."
    held = ", and WebEngage has its attribute as true for no such User ID"
    known = held if listed.exported is not None and listed.is_exact else ""
    return f"Nobody matches: Mixpanel does not list them in this cohort now{known}."


def _set_widths(columns: Sequence[str], revealed: bool) -> dict[str, Any]:
    """Return the widths of the columns in pixels, since those of masked values would cut names."""
    widths = {"User ID": 148, "Status": 110, "Why": 264} | dict.fromkeys(columns, 170 if revealed else 72)
    widths |= {DISTINCT_ID: 148} if DISTINCT_ID in columns else {}
    return {name: st.column_config.TextColumn(width=width) for name, width in widths.items()}


def _unique(headings: Sequence[str]) -> list[str]:
    """Return headings that differ: a property may be called like a column of ours."""
    return [one if one not in headings[:at] else f"{one} (property)" for at, one in enumerate(headings)]


def _list_columns(listed: MemberList) -> tuple[str, ...]:
    """Return the columns between ours: the distinct_id when it is not the user ID, and the properties."""
    return (*((DISTINCT_ID,) if listed.id_property else ()), *listed.columns)


def _list_values(row: MemberRow, listed: MemberList) -> tuple[str, ...]:
    """Return a person's values of these columns."""
    return (*((row.distinct_id,) if listed.id_property else ()), *row.values)


def _cells(row: MemberRow, listed: MemberList) -> list[str]:
    export = (_name_held(row), CHANGES[row.change])
    return [row.user_id or "(empty)", STATUSES[row.status], row.reason, *_list_values(row, listed), *export]


def _describe_choice(chosen: Choice, text: str, revealed: bool) -> str:
    """Return what a file holds, for the audit log: the filters, never what was searched for."""
    filters = [f"{name} {value}" for name, value in chosen.items() if value != ALL]
    values = "names and addresses shown" if revealed else "names and addresses masked"
    return ", ".join([*filters, *(["a search"] if text else []), values])


def _show_download(reading: MemberReading, listed: MemberList, rows: list[MemberRow], what: str) -> None:
    label = f"CSV of {count_people(len(rows))}"
    file_name = f"project-{reading.project_id}-cohort-{reading.cohort_id}-members.csv"
    write = partial(_write_file, reading, listed, rows, what)
    show_csv_button(label, write, file_name, "member-csv", disabled=not rows)


def _write_file(reading: MemberReading, listed: MemberList, rows: list[MemberRow], what: str, actor: Actor) -> str:
    """Return the list as filtered; the download is in the audit log before the file is there."""
    with open_service(actor) as service:
        service.members.note_download(reading, f"{count_people(len(rows))}: {what}")
    cells = (
        (row.user_id, row.status.value, row.reason, *_list_values(row, listed), *_cells(row, listed)[-2:])
        for row in rows
    )
    columns = _list_columns(listed)
    return write_csv((*HEADINGS[:3], *columns, *HEADINGS[3:]), cells, ids=(0, *range(3, 3 + len(columns))))


def _show_columns(reading: MemberReading) -> None:
    """Let a person choose other properties to see, at the price of reading again."""
    with st.popover("Columns", icon=":material/view_column:"):
        known = [name for name in reading.properties if name not in reading.choice.asked]
        chosen = st.multiselect(
            "Other properties",
            [*reading.choice.others, *known],
            default=reading.choice.others,
            accept_new_options=True,
            max_selections=5,
            key=f"columns-{reading.cohort_id}-{'-'.join(reading.choice.others)}",
        )
        requests = count_noun(min(reading.everyone.page_count, 10) + 1, "request")
        if st.button(f"Read again with these ({requests})", disabled=tuple(chosen) == reading.choice.others):
            begin_reading(reading.project_id, reading.cohort_id, tuple(chosen))
            st.rerun()
