"""Files to download: the button for each, and those of a run: the complete CSV, and the user ids for a Static List."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from functools import partial

import streamlit as st

from pages.parts.session import current_actor, open_service
from sync.model import Run, RunState
from sync.permissions import Actor
from sync.records import ExportRow, SyncView
from sync.spreadsheet import write_csv

CSV_HEADER = ("User ID", "Operation", "Outcome", "Reason")


def show_csv_button(
    label: str, write: Callable[[Actor], str], file_name: str, key: str | None = None, *, disabled: bool = False
) -> None:
    """Show a button that downloads the CSV that ``write`` returns at the click, for the person who sees the button now."""
    actor = current_actor()
    st.download_button(
        label,
        lambda: write(actor),
        file_name=file_name,
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        key=key,
        disabled=disabled,
    )


def write_run_csv(rows: Iterable[ExportRow]) -> str:
    """Return a CSV of what was sent about each person, safe to open in a spreadsheet."""
    return write_csv(CSV_HEADER, ((row.user_id, row.operation, row.outcome, row.reason) for row in rows), ids=(0,))


def write_static_list(user_ids: Iterable[str]) -> str:
    """Return a CSV of these user ids.

    The ids are as exported and nothing stands before them: this file is uploaded to WebEngage and must match exactly.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_HEADER[:1])
    writer.writerows([user_id] for user_id in user_ids)
    return text.getvalue()


def _read_run_csv(run_id: int, actor: Actor) -> str:
    with open_service(actor) as service:
        return write_run_csv(service.runs.iterate_export_rows(run_id))


def _read_static_list(run_id: int, actor: Actor) -> str:
    with open_service(actor) as service:
        return write_static_list(service.runs.iterate_static_list(run_id))


def has_static_list(run: Run, sync: SyncView) -> bool:
    """Return whether the page of a run offers the User IDs for a Static List: those in WebEngage after the last run."""
    is_last = sync.last_run is not None and sync.last_run.id == run.id
    return is_last and run.state == RunState.SUCCEEDED and sync.size > 0


def show_downloads(run: Run, sync: SyncView) -> None:
    """Show the download buttons of a finished run; each file is written on the click."""
    with st.container(horizontal=True):
        if has_static_list(run, sync):
            file_name = f"static-list-{sync.cohort_id}-run-{run.id}.csv"
            show_csv_button(
                "User IDs for a Static List", partial(_read_static_list, run.id), file_name, f"list-{run.id}"
            )
        show_csv_button("CSV of this run", partial(_read_run_csv, run.id), f"run-{run.id}.csv", f"csv-{run.id}")
