"""Administration: who did what, how long things are kept, forgetting a person. For admins only."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from pages.parts import frame
from pages.parts.desk import open_service
from pages.parts.run_files import neutral
from pages.parts.words import plural, trouble
from sync.errors import CohortSyncError
from sync.views import AuditLine

SHOWN, EXPORTED = 200, 1_000_000
HEADER = ("When (UTC)", "Who", "What", "About", "Before", "After", "Run")


def cells(line: AuditLine) -> tuple[str, ...]:
    """Write one line of the audit as plain text."""
    when = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return when, line.who, line.what, line.subject, line.before, line.after, str(line.run_id or "")


def _csv() -> str:
    with open_service() as service:
        lines = service.audit(EXPORTED)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    writer.writerows([neutral(cell) for cell in cells(line)] for line in lines)
    return text.getvalue()


def _audit() -> None:
    st.header("Who did what")
    with open_service() as service:
        lines = service.audit(SHOWN)
    st.dataframe(pd.DataFrame([cells(line) for line in lines], columns=list(HEADER)), hide_index=True)
    st.download_button(
        "CSV of the whole audit",
        _csv,
        file_name="audit.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _retention() -> None:
    st.header("How long things are kept")
    with open_service() as service:
        refusals, detail = service.keep_days()
    with st.form("retention", border=False):
        wanted = (
            st.number_input("Rejected and invalid people, days", 1, 3650, round(refusals)),
            st.number_input("What each run told whom, days", 1, 3650, round(detail)),
        )
        if st.form_submit_button("Save"):
            with open_service() as service:
                service.keep_days(float(wanted[0]), float(wanted[1]))
            st.success("Saved. The runner removes what is older within the hour.")


def _forget() -> None:
    st.header("Forget a person")
    st.caption(
        "Removes a user id from everything stored here. WebEngage and Mixpanel are asked elsewhere; while Mixpanel "
        "lists the person in a cohort, they come back with its next export."
    )
    with st.form("forget", border=False, clear_on_submit=True):
        user_id = st.text_input("User ID, exactly as exported")
        if st.form_submit_button("Forget") and user_id:
            with open_service() as service:
                found = service.forget(user_id)
            rest = (
                f" {plural(found.runs_under_way, 'run')} under way may still name them." if found.runs_under_way else ""
            )
            st.success(f"Removed in {plural(found.places, 'place')}.{rest}")


def page() -> None:
    """Show the three parts; a person of a lower grade sees why not."""
    st.title("Administration")
    try:
        for part in (_audit, _retention, _forget):
            part()
    except CohortSyncError as error:
        st.error(trouble(error), icon=":material/lock:")


frame.hold(page)
