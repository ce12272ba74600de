"""The page of one cohort: how many are identified and who, and the way to WebEngage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import streamlit as st

from pages.parts import charts, members_reading, members_table, notices, polling, run_progress
from pages.parts.badges import (
    run_badge,
    show_badges,
    show_number,
    show_small_text,
    show_title,
    show_whole_name,
    sync_badge,
)
from pages.parts.cohort_rows import GROUP_REASON, see_runs
from pages.parts.export_dialog import DRY_RUN_HELP
from pages.parts.export_draft import request_export
from pages.parts.formatting import escape_markdown, format_count, format_error, format_time
from pages.parts.members_reading import BackgroundReading
from pages.parts.navigation import MEMBER_FILTERS, clear_requests, open_page, requested_id, show_page_link
from pages.parts.session import is_allowed, open_service
from sync.errors import CohortSyncError
from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.permissions import AccessLevel
from sync.records import CohortView, ProjectView, SyncView
from sync.views import MemberChange, MemberList, MemberStatus

IN_WEBENGAGE = "In WebEngage now"
SENDING_HELP = "A run is sending. The numbers of WebEngage are as of {moment}, and are updated when the run has ended."
IN_WEBENGAGE_KEY = "numbers-cohort-webengage"


def show_cohort_page(project: ProjectView, cohort: CohortView) -> None:
    """Show a cohort: its numbers, its people, and what can be done with it."""
    st.button(
        "All cohorts",
        icon=":material/arrow_back:",
        type="tertiary",
        key="all-cohorts",
        on_click=clear_requests,
        args=("cohort", *MEMBER_FILTERS),
    )
    with st.container(horizontal=True):  # the same room above the name as on the pages of a sync and a run
        show_title(cohort.name)
    show_whole_name(cohort.name)
    if cohort.description:
        show_small_text(cohort.description, "cohort")
    if cohort.group:
        st.info(GROUP_REASON)
        return
    _show_actions(project, cohort)
    _show_sync(project, cohort)
    try:
        kept = members_reading.ensure_reading(project.id, cohort)
    except CohortSyncError as error:
        st.error(format_error(error), icon=":material/error:")
        _show_size(cohort)
        return
    if kept:
        _show_members(kept, cohort)
    else:
        _show_size(cohort)


def _show_members(kept: BackgroundReading, cohort: CohortView) -> None:
    kept.look()
    if kept.is_running:
        members_reading.show_progress(kept, lambda: _show_known(kept, cohort), polls=requested_id("export") is None)
        return
    _show_known(kept, cohort)
    if kept.reading.everyone.page_count:
        _show_reading_again(kept)
    members_reading.show_rest(kept)
    if kept.reading.everyone.page_count:
        members_table.show_people(kept)


def _show_known(kept: BackgroundReading, cohort: CohortView) -> None:
    """Show the numbers of what was read so far."""
    if not kept.reading.everyone.page_count:
        _show_size(cohort)
        return
    with open_service() as service:
        listed = service.members.list(kept.reading)
        is_sending = cohort.sync_id is not None and service.syncs.get(cohort.sync_id).is_sending
    _show_numbers(listed, is_sending=is_sending)


def _show_size(cohort: CohortView) -> None:
    """Show for how many people it is true in WebEngage, which is known also while Mixpanel does not answer."""
    if cohort.sync_id is not None:
        with open_service() as service:
            size = service.members.count_held(cohort.sync_id)
        _show_row_of_numbers(IN_WEBENGAGE_KEY, [(IN_WEBENGAGE, size, "now")])


def _show_reading_again(kept: BackgroundReading) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"Read at {format_time(kept.reading.read_at)}", width="content")
        st.button(
            "Read again",
            key="read-again",
            icon=":material/refresh:",
            type="tertiary",
            on_click=members_reading.forget_reading,
        )


def _show_actions(project: ProjectView, cohort: CohortView) -> None:
    with st.container(horizontal=True):
        if is_allowed(AccessLevel.MARKETER):
            st.button(
                "Export to WebEngage",
                type="primary",
                icon=":material/send:",
                key="cohort-export",
                on_click=request_export,
                args=(cohort.id,),
            )
            if st.button("Dry run", icon=":material/science:", key="cohort-dry", help=DRY_RUN_HELP):
                _start_dry_run(project, cohort)
        if st.button("See runs", icon=":material/history:", key="cohort-runs"):
            see_runs(cohort)
            st.rerun()
        if cohort.sync_id is not None and st.button("Receipt", icon=":material/receipt_long:", key="cohort-receipt"):
            open_page("receipt", project=project.id, cohort=cohort.id)


def _start_dry_run(project: ProjectView, cohort: CohortView) -> None:
    """Plan the cohort's next export on its own terms, or ask for them first.

    A cohort never exported has none, and those of a sync whose last day is over would be refused.
    """
    with open_service() as service:
        terms = service.cohorts.propose_export(project.id, cohort.id)
    if cohort.sync_id is None or (terms.ends_at is not None and terms.ends_at <= time.time()):
        request_export(cohort.id)
        st.rerun()
    asked = ExportTerms(
        mode=terms.mode,
        interval=terms.interval_seconds if terms.mode is Mode.DYNAMIC and not terms.daily else None,
        daily=terms.daily,
        ends_at=terms.ends_at,
        mapping=terms.mapping,
        forms=terms.forms,
        id_property=terms.id_property,
        dry_run=True,
    )
    if started := notices.try_action("", lambda service: service.syncs.start_export(project.id, cohort.id, asked)):
        open_page("runs", run=started.run_id)
    st.rerun()


def _show_sync(project: ProjectView, cohort: CohortView) -> None:
    """Show whether the cohort is synced, and how far a run is, kept up to date.

    When a run begins to send or has ended, the page is drawn again: its numbers and its table say what is in WebEngage.
    An open dialog would close, so the page waits for its end.
    """
    drawn: list[tuple[int, bool] | None] = []

    def read() -> SyncView | None:
        with open_service() as service:
            sync = next((one for one in service.syncs.list(project.id) if one.cohort_id == cohort.id), None)
        stage = (sync.size, sync.is_sending) if sync else None
        if not drawn:
            drawn.append(stage)
        elif stage != drawn[0] and requested_id("export") is None:
            polling.redraw_page()
        return sync

    polling.poll(read, lambda sync: [sync.last_run if sync else None], _show_state)


def _show_state(sync: SyncView | None) -> None:
    run = sync.last_run if sync else None
    if run and not run.state.is_final:
        show_badges(run_badge(run))
        run_progress.show_progress(run)
        label = run_progress.label_link(run, may_decide=is_allowed(AccessLevel.MARKETER))
        show_page_link(label, "open_in_full", "runs", run=run.id)
    else:
        show_badges(sync_badge(sync), after=sync.attribute if sync else "")


def _show_numbers(listed: MemberList, *, is_sending: bool) -> None:
    """Show how many are exported and how many are not, of a part, of which part; and who is in WebEngage."""
    identified, anonymous, invalid = (
        listed.count_status(one) for one in (MemberStatus.IDENTIFIED, MemberStatus.ANONYMOUS, MemberStatus.INVALID)
    )
    numbers = [
        ("Identified", identified, "identified"),
        *([("Of them never exported", listed.never_exported, "never")] if listed.never_exported else []),
        *([("Of them doubles", listed.doubles, "doubles")] if listed.doubles else []),
        ("Anonymous", anonymous, "anonymous"),
        ("Invalid", invalid, "invalid"),
        ("All members", listed.total if listed.total is not None else listed.read, "members"),
    ]
    if not listed.is_complete:
        st.caption(f":material/info: {_describe_part(listed)}")
    if listed.id_property:
        st.caption(f":material/badge: User ID: the profile property {escape_markdown(listed.id_property)}")
    _show_row_of_numbers("numbers-cohort", numbers)
    charts.show_bar((identified - listed.never_exported, listed.never_exported, anonymous, invalid), listed.read)
    _show_row_of_numbers(IN_WEBENGAGE_KEY, list(_count_in_webengage(listed)))
    if is_sending:
        st.caption(f":material/info: {SENDING_HELP.format(moment=format_time(time.time()))}")
    if listed.problem:
        st.warning(f"{escape_markdown(listed.problem)}, so these numbers may not be exact. Read again.")


def _show_row_of_numbers(key: str, numbers: Sequence[tuple[str, int, str]]) -> None:
    if numbers:
        with st.container(horizontal=True, key=key):
            for label, number, name in numbers:
                show_number(label, format_count(number), f"cohort-{name}")


def _count_in_webengage(listed: MemberList) -> Iterator[tuple[str, int, str]]:
    """Yield for how many people it is true in WebEngage now, and, once everybody was read, after the next export."""
    if listed.exported is None:
        return
    yield IN_WEBENGAGE, listed.exported, "now"
    if listed.unsure:
        yield "Of them not confirmed", listed.unsure, "unsure"
    if listed.is_exact:
        added, removed = listed.count_change(MemberChange.ADD), listed.count_change(MemberChange.REMOVE)
        yield "Would be added", added, "adding"
        yield "Would be removed", removed, "removing"
        yield "After the next export", listed.exported + added - removed, "after"


def _describe_part(listed: MemberList) -> str:
    """Return which part of a cohort the numbers are about, and what Mixpanel counts of the whole."""
    part = "first " if listed.is_contiguous else ""
    text = f"The numbers are of the {part}{format_count(listed.read)} members read."
    if listed.total is None or listed.profile_total is None:
        return text
    return (
        f"{text} Mixpanel counts {format_count(listed.total)} members, {format_count(listed.profile_total)} of them "
        "with a profile."
    )
