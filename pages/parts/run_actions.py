"""Show what a person can decide about a run in steps, and about taking a run back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import streamlit as st

from pages.parts import notices
from pages.parts.formatting import format_count
from pages.parts.navigation import open_page
from pages.parts.session import open_service
from sync.model import Run, RunState
from sync.records import SyncView
from sync.service import Service
from sync.service.run_people import PeopleFilter
from sync.text import count_noun
from sync.views import StartedExport

SHOWN_REASON = "_shown-reason-{}"  # session key, by run
LOOKED_AT = 10  # people named to look at in WebEngage
STEP_HELP = "Cancelling keeps what was sent, and sends nobody else. Taking it back also sets these people to false."
SENT_HELP = (
    "A part of this run has been sent already; approving sends the rest. Cancelling keeps what was sent, and sends nobody "
    "else."
)
UNDO_HELP = (
    "Nothing has been taken back yet. Look at the people below, then take the run back, or cancel to leave everything "
    "as it is."
)
RETRY_HELP = "Reads the cohort again and sends everyone again whom WebEngage rejected in this sync."
TAKE_BACK_HELP = (
    "Plans the exact inverse of this run and shows it before anything is sent. It cannot unsend a message that "
    "somebody already got. Values of properties that it changed stay: former values are personal data and are not kept."
)


def cancel_run(service: Service, run: Run, name: str = "The run") -> str:
    """Cancel a run; return what became of it, and of its sync when that is not refreshed any more."""
    said = service.runs.cancel(run.id)
    ends = "is cancelled" if service.runs.get(run.id).state.is_final else "is being cancelled"
    return f"{name} {ends}. {said}".strip()


def show_what_to_look_at(run: Run, sync: SyncView) -> None:
    """Show where in WebEngage the people of a step are to be seen, and who they are."""
    with open_service() as service:
        people = service.runs.list_people(run.id, PeopleFilter(outcome="accepted"), LOOKED_AT)
    if not people.rows:
        return
    with st.container(border=True):
        st.markdown("**Look in WebEngage:** Users → All users → search for one of these User IDs → Custom attributes:")
        st.code(sync.attribute, language=None, wrap_lines=True)
        st.markdown("It should be **Yes** (true) for:")
        st.code("\n".join(one.user_id for one in people.rows), language=None)
        if people.matching > len(people.rows):
            st.caption(f"and {format_count(people.matching - len(people.rows))} more, listed below")


def note_shown_reason(run: Run) -> None:
    """Remember for which reason the person is shown that a run is held; call it after the buttons."""
    st.session_state[SHOWN_REASON.format(run.id)] = run.held_reason


def approve_run(run: Run, done: str, **options: Any) -> NoReturn:
    """Approve a held run for what the person was shown: another browser may have let it go on to something else."""
    shown = st.session_state.get(SHOWN_REASON.format(run.id), run.held_reason)
    notices.act_and_redraw(done, lambda service: service.runs.approve(run.id, seen=shown, **options))


def show_step_buttons(run: Run, *, may_approve: bool) -> None:
    """Show the decisions after a step: send to the others, which may need somebody else, or take it back."""
    with open_service() as service:
        numbers = service.runs.count_steps(run.id)
    label = f"Send to the next {format_count(numbers.next)}, of {format_count(numbers.left)} left"
    if numbers.next == numbers.left:
        label = "Send to the other person" if numbers.left == 1 else f"Send to the other {format_count(numbers.left)}"
    if may_approve and st.button(label, key=f"approve-{run.id}", type="primary"):
        approve_run(run, f"Approved. {count_noun(numbers.next, 'person is', 'people are')} being sent.")
    if numbers.sent:
        show_take_back_button(run, "Take it back")


def show_take_back_button(run: Run, label: str = "Take back this run") -> None:
    """Show the button that plans the inverse of a run, and open that plan."""
    if st.button(label, key=f"undo-{run.id}", help=TAKE_BACK_HELP, icon=":material/undo:"):
        done = f"Planned below: taking back run {run.id}. Nothing is sent before you say so."
        _open_started(done, lambda service: service.runs.undo(run.id))


def show_retry_button(run: Run) -> None:
    """Show the button that sends everyone WebEngage rejected in this sync once more, and open that run."""
    if st.button("Try rejected people again", key=f"retry-{run.id}", help=RETRY_HELP, icon=":material/replay:"):
        _open_started("Rejected people are tried again.", lambda service: service.syncs.retry_rejected(run.sync_id))


def _open_started(done: str, action: Callable[[Service], StartedExport]) -> NoReturn:
    """Start a run and open its page; stay here when it could not be started, and say why."""
    if started := notices.try_action(done, action):
        open_page("runs", run=started.run_id)
    st.rerun()


def describe_held_help(run: Run) -> str | None:
    """Return what to do with a held run that has sent a part or takes another one back; None for others."""
    if run.state != RunState.HELD:
        return None
    if run.delivered + run.rejected:
        return STEP_HELP if run.steps_sent else SENT_HELP
    return UNDO_HELP if run.undoes is not None else STEP_HELP if run.steps_sent else None
