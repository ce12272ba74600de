"""Administration: who did what, how long things are kept, forgetting a person. For admins only."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from pages.parts import layout
from pages.parts.downloads import neutralize_cell
from pages.parts.formatting import format_error, format_plural
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.views import AuditLine

SHOWN_LINES, EXPORTED_LINES = 200, 1_000_000
HEADER = ("When (UTC)", "Who", "What", "About", "Before", "After", "Run")


def audit_cells(line: AuditLine) -> tuple[str, ...]:
    """Write one line of the audit as plain text."""
    when = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return when, line.actor, line.action, line.target, line.before, line.after, str(line.run_id or "")


def _audit_csv() -> str:
    with open_service() as service:
        lines = service.list_audit(EXPORTED_LINES)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    writer.writerows([neutralize_cell(cell) for cell in audit_cells(line)] for line in lines)
    return text.getvalue()


def _show_audit() -> None:
    st.header("Who did what")
    with open_service() as service:
        lines = service.list_audit(SHOWN_LINES)
    st.dataframe(pd.DataFrame([audit_cells(line) for line in lines], columns=list(HEADER)), hide_index=True)
    st.download_button(
        "CSV of the whole audit",
        _audit_csv,
        file_name="audit.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _show_retention() -> None:
    st.header("How long things are kept")
    with open_service() as service:
        rejections, detail = service.set_retention()
    with st.form("retention", border=False):
        wanted = (
            st.number_input("Rejected and invalid people, days", 1, 3650, round(rejections)),
            st.number_input("What each run told whom, days", 1, 3650, round(detail)),
        )
        if st.form_submit_button("Save"):
            with open_service() as service:
                service.set_retention(float(wanted[0]), float(wanted[1]))
            st.success("Saved. The runner removes what is older within the hour.")


def _show_forget() -> None:
    st.header("Forget a person")
    st.caption(
        "Removes a user id from everything stored here. WebEngage and Mixpanel are asked elsewhere; while Mixpanel "
        "lists the person in a cohort, they come back with its next export."
    )
    with st.form("forget", border=False, clear_on_submit=True):
        user_id = st.text_input("User ID, exactly as exported")
        if st.form_submit_button("Forget") and user_id:
            with open_service() as service:
                found = service.forget_person(user_id)
            rest = (
                f" {format_plural(found.runs_under_way, 'run')} under way may still name them."
                if found.runs_under_way
                else ""
            )
            st.success(f"Removed in {format_plural(found.places, 'place')}.{rest}")


def show_page() -> None:
    """Show the three parts; a person of a lower grade sees why not."""
    st.title("Administration")
    try:
        for part in (_show_audit, _show_retention, _show_forget):
            part()
    except CohortSyncError as error:
        st.error(format_error(error), icon=":material/lock:")


layout.run_in_layout(show_page)
