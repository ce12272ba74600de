"""Administration, for admins only: the audit log, how long data is kept, forget a person."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from pages.parts import layout, notices
from pages.parts.downloads import show_csv_button
from pages.parts.forget_dialog import show_forget_dialog
from pages.parts.formatting import format_error
from pages.parts.session import current_actor, open_service
from sync.errors import CohortSyncError
from sync.guards import MAX_PEOPLE
from sync.permissions import AccessLevel, Actor, check_level
from sync.records import AuditLine
from sync.spreadsheet import write_csv
from sync.text import count_noun

SHOWN_LINES, EXPORTED_LINES = 200, 1_000_000  # of the audit log, newest first
MAX_DAYS = 3650
FORGOTTEN_KEY = "_forgotten"  # session key: the user id that the dialog asks about
HEADER = ("Time (UTC)", "Who", "Action", "Target", "Before", "After", "Run")
WIDTHS = {  # in pixels, so that all of them are in sight on a laptop
    name: st.column_config.TextColumn(width=pixels)
    for name, pixels in zip(HEADER, (148, 178, 140, 122, 120, 150, 45), strict=True)
}


def format_audit_line(line: AuditLine) -> tuple[str, ...]:
    """Return the cells of one line of the audit log, in the order of HEADER."""
    time = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return time, line.actor, line.action, line.target, line.before, line.after, str(line.run_id or "")


def _write_audit_csv(actor: Actor) -> str:
    with open_service(actor) as service:
        lines = service.admin.list_audit(EXPORTED_LINES)
    return write_csv(HEADER, map(format_audit_line, lines))


def _describe_lines(shown: int, number: int) -> str:
    if shown == number:
        return count_noun(number, "line")
    return f"The newest {shown:,} of {number:,} lines; search for older ones, or download all."


def _show_audit() -> None:
    st.header("Audit log", anchor=False)
    search = st.text_input(
        "Search the audit log", placeholder="A person, an action, a sync …", key="audit-search"
    ).strip()
    with open_service() as service:
        lines, number = service.admin.list_audit(SHOWN_LINES, search), service.admin.count_audit(search)
    if not lines:
        st.info("No line contains this text." if search else "Nothing has been done yet.")
        return
    st.caption(_describe_lines(len(lines), number))
    st.dataframe(
        pd.DataFrame([format_audit_line(line) for line in lines], columns=list(HEADER)),
        hide_index=True,
        column_config=WIDTHS,
    )
    show_csv_button("Download the audit log (CSV)", _write_audit_csv, "audit.csv")


def _show_retention() -> None:
    st.header("How long data is kept", anchor=False)
    with open_service() as service:
        rejections, detail = service.admin.get_retention()
    with st.form("retention", border=False):
        rejection_days = st.number_input("Rejected and invalid people (days)", 1, MAX_DAYS, round(rejections))
        detail_days = st.number_input("Who was sent what in each run (days)", 1, MAX_DAYS, round(detail))
        if st.form_submit_button("Save"):
            done = "Saved. The runner deletes older data within an hour."
            notices.act_and_redraw(
                done, lambda service: service.admin.set_retention(float(rejection_days), float(detail_days))
            )


def _show_second_person() -> None:
    st.header("Approval by a second person", anchor=False)
    st.caption(
        "An export to more people than this is held, until somebody other than the person who requested it approves it. "
        "Everybody who uses the commands counts as one person."
    )
    with open_service() as service:
        limit = service.admin.get_approval_limit()
    with st.form("second-person", border=False):
        is_on = st.checkbox("A second person approves large exports", value=limit is not None)
        people = st.number_input(
            "Exports to more than this many people", 0, MAX_PEOPLE, 1000 if limit is None else limit
        )
        if st.form_submit_button("Save", key="save-second-person"):
            done, above = "Saved. It applies to every approval from now on.", int(people) if is_on else None
            notices.act_and_redraw(done, lambda service: service.admin.set_approval_limit(above))


def _show_forget() -> None:
    st.header("Forget a person", anchor=False)
    st.caption("Deletes a User ID from everything stored here. The page People shows first what is stored about it.")
    with st.form("forget", border=False, clear_on_submit=True):
        user_id = st.text_input("User ID, exactly as exported")
        if st.form_submit_button("Forget"):
            st.session_state[FORGOTTEN_KEY] = user_id
    asked = st.session_state.get(FORGOTTEN_KEY)
    if asked is None:
        return
    try:
        with open_service() as service:
            found = service.people.find(asked)
    except CohortSyncError:
        _close_forget()
        raise
    show_forget_dialog(found, _close_forget, _close_forget)


def _close_forget() -> None:
    st.session_state.pop(FORGOTTEN_KEY, None)


def show_page() -> None:
    """Show the parts, or to anyone who is not an admin why not."""
    st.title("Administration", anchor=False)
    try:
        check_level(current_actor(), AccessLevel.ADMIN)
        for part in (_show_audit, _show_retention, _show_second_person, _show_forget):
            part()
    except CohortSyncError as error:
        st.error(format_error(error), icon=":material/lock:")


layout.run_in_layout(show_page)
