"""The files of a run: the full CSV for people, and the ids for a Static List."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

import streamlit as st

from pages.parts.desk import open_service
from sync.model import Run, RunState
from sync.views import ExportRow, SyncView

FORMULA = ("=", "+", "-", "@", "\t", "\r")
HEADER = ("User ID", "Operation", "Outcome", "Reason")
GONE = "remove"
THERE = ("accepted", "unchanged")


def neutral(cell: str) -> str:
    """Keep a spreadsheet from running a cell as a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def run_csv(rows: Iterable[ExportRow]) -> str:
    """Write what was told about whom, safe to open in a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for row in rows:
        writer.writerow([neutral(cell) for cell in (row.user_id, row.operation, row.outcome, row.reason)])
    return text.getvalue()


def static_list_csv(rows: Iterable[ExportRow]) -> str:
    """Write the ids of who is in WebEngage now, exactly as they are: the file is uploaded, not opened."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER[:1])
    writer.writerows([row.user_id] for row in rows if row.operation != GONE and row.outcome in THERE)
    return text.getvalue()


def _read_run(run_id: int) -> str:
    with open_service() as service:
        return run_csv(service.export_rows(run_id))


def _read_list(run_id: int) -> str:
    with open_service() as service:
        return static_list_csv(service.export_rows(run_id))


def downloads(run: Run, sync: SyncView) -> None:
    """Offer the files of a run that ended; they are written when somebody clicks."""
    with st.container(horizontal=True):
        if run.state == RunState.SUCCEEDED and sync.last_run and sync.last_run.id == run.id:
            st.download_button(
                "User IDs for a Static List",
                lambda: _read_list(run.id),
                mime="text/csv",
                file_name=f"static-list-{sync.cohort_id}-run-{run.id}.csv",
                on_click="ignore",
                icon=":material/download:",
                key=f"list-{run.id}",
            )
        st.download_button(
            "CSV of this run",
            lambda: _read_run(run.id),
            file_name=f"run-{run.id}.csv",
            mime="text/csv",
            on_click="ignore",
            icon=":material/download:",
            key=f"csv-{run.id}",
        )
