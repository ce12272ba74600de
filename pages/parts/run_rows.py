"""Runs as rows, each one kept up to date while it is under way."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import streamlit as st

from pages.parts import polling, rows, run_progress
from pages.parts.badges import DRY_RUN, run_badge, show_badges
from pages.parts.formatting import format_duration_short, format_time, shorten_error, shorten_name
from pages.parts.navigation import open_page
from pages.parts.session import open_service
from sync.model import Run

COLUMNS = ("Run", "Cohort", "State", "Result", "Requested", "Took")
OWN_COLUMNS = ("Run", "State", "Result", "Requested", "Took")  # of one sync, whose page has the name of the cohort


def show_run_rows(runs: tuple[Run, ...], names: Mapping[int, str] | None) -> None:
    """Show these runs, with the names of their cohorts by sync; ``names`` None: all are of the sync whose page it is."""
    with st.container(key="rows-runs"):
        if names is None:
            rows.show_headings("own-runs", OWN_COLUMNS)
        else:
            rows.show_headings("runs", COLUMNS)
        for run in runs:
            name = None if names is None else names.get(run.sync_id, f"Sync {run.sync_id}")
            polling.poll_item(run, lambda read: (read,), partial(_read_run, run.id), partial(_show_row, name))


def _read_run(run_id: int) -> Run:
    with open_service() as service:
        return service.runs.get(run_id)


def _show_row(name: str | None, run: Run) -> None:
    with rows.place_row(f"own-run-{run.id}" if name is None else f"run-{run.id}"):
        if rows.show_opener(f"Run {run.id}", f"open-{run.id}"):
            open_page("runs", run=run.id)
        if name is not None:
            st.text(shorten_name(name))
        show_badges(run_badge(run), *([DRY_RUN] if run.dry_run else []))
        if run.state.is_final:
            st.text(shorten_error(run_progress.describe_run(run)))
        else:
            run_progress.show_progress(run)
        st.caption(format_time(run.queued_at))
        st.caption(_describe_took(run))


def _describe_took(run: Run) -> str:
    if run.finished_at is None or run.started_at is None:
        return ""
    took = run.finished_at - run.started_at
    return format_duration_short(took) if took >= 1 else "< 1 s"
