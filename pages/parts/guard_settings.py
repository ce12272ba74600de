"""The guards of one sync: every rule that holds its runs, the limits a person may set, and what they would have held."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import notices
from pages.parts.formatting import format_error
from pages.parts.navigation import show_page_link
from pages.parts.session import is_allowed, open_service
from sync.errors import CohortSyncError
from sync.guards import MAX_PEOPLE, MAX_SHARE, GuardLimits
from sync.permissions import AccessLevel
from sync.service.guards import GuardService
from sync.text import count_people
from sync.views import GuardView
from sync.wording import describe_trial

INTRODUCTION = "A run is held, before anything is sent, until a person approves it, when it …"
RULES = (  # each with whether it holds a run also while the guard is lifted
    (
        "… finds **nobody** in the cohort, although people were exported before. This is held even when the guard is lifted.",
        True,
    ),
    (
        "… finds **half the share** of identified people, or less, among the members with a profile that the last success found.",
        False,
    ),
    ("… is the first export and has **over a fifth more** people than its preview showed.", False),
    (
        "… finds a **tripwire** in the cohort. People on the never-export list are left out without holding the run.",
        True,
    ),
)
LIFT = "Lift the guard"
LIFT_MEANING = (
    "From now on, no number of people added or removed holds a run of this sync, not even one that is still reading, until "
    "somebody puts the guard back here. A mistake in the cohort's rule then reaches WebEngage at once."
)
LIFTED = "A person lifted the guard of this sync, so the limits below hold nothing until it is put back."


@st.fragment
def show_guard_settings(sync_id: int) -> None:
    """Show what holds the runs of a sync, folded under its limits; a change redraws only this part, still unfolded."""
    with open_service() as service:
        view = service.guards.get(sync_id)
    with st.expander(
        f"Guards: {_summarize(view)}",
        key=f"guards-{sync_id}",  # so that it stays open when its label changes
        icon=":material/gpp_good:" if view.enabled else ":material/gpp_maybe:",
    ):
        show_guards(view)


def _summarize(view: GuardView) -> str:
    if not view.enabled:
        return "lifted"
    limits = view.limits
    return (
        f"held above {limits.add_share:g} % and {count_people(limits.add_people)} added, or {limits.remove_share:g} % and "
        f"{limits.remove_people:,} removed"
    )


def show_guards(view: GuardView) -> None:
    """Show all guards of a sync; a marketer can change the limits and put a lifted guard back."""
    with open_service() as service:
        may_change = is_allowed(AccessLevel.MARKETER)
        if not view.enabled:
            st.warning(LIFTED, icon=":material/gpp_maybe:")
        st.caption(INTRODUCTION)
        limits = _show_limits(view, disabled=not may_change)
        st.markdown("\n".join(f"- {rule}" for rule, stays in RULES if stays or view.enabled))
        show_page_link("Never export and tripwires", "gpp_good", "safety")
        st.info(describe_trial(service.guards.try_limits(view.sync_id, limits)), icon=":material/history:")
    if may_change:
        _show_buttons(view, limits)


def _show_limits(view: GuardView, *, disabled: bool) -> GuardLimits:
    """Show the four limits as fields; return them as they are now.

    Their keys name what is stored: a field with the same key keeps its value when somebody else changes the limit.
    """
    kept = view.limits
    fields = {}
    for word, share, people in (
        ("adds", kept.add_share, kept.add_people),
        ("removes", kept.remove_share, kept.remove_people),
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            fields[f"{word}-share"] = st.number_input(
                f"… {word} more than (%)",
                0.0,
                MAX_SHARE,
                share,
                5.0,
                format="%g",
                key=f"{word}-share-{view.sync_id}-{share}",
                disabled=disabled,
                width=200,
            )
            fields[f"{word}-people"] = st.number_input(
                "and more than (people)",
                0,
                MAX_PEOPLE,
                people,
                50,
                key=f"{word}-people-{view.sync_id}-{people}",
                disabled=disabled,
                width=200,
            )
    return GuardLimits(
        add_share=float(fields["adds-share"]),
        add_people=int(fields["adds-people"]),
        remove_share=float(fields["removes-share"]),
        remove_people=int(fields["removes-people"]),
    )


def _show_buttons(view: GuardView, limits: GuardLimits) -> None:
    problem = st.empty()
    with st.container(horizontal=True, horizontal_alignment="right"):
        if view.enabled:
            _show_lift_button(view.sync_id, problem)
        elif st.button("Put the guard back", key="guard-back", icon=":material/gpp_good:"):
            _change_guard("The guard is back.", lambda guards: guards.put_back(view.sync_id), problem)
        if st.button("Save limits", key="guard-save", type="primary", disabled=limits == view.limits):
            _change_guard("The limits are saved.", lambda guards: guards.set_limits(view.sync_id, limits), problem)


def _show_lift_button(sync_id: int, problem: DeltaGenerator) -> None:
    """Offer to lift the guard, at a second click below what that means."""
    with st.popover(LIFT, icon=":material/gpp_maybe:", key="guard-lift"):
        st.write(LIFT_MEANING)
        if st.button("Lift it", key="guard-lift-sure"):
            _change_guard("The guard is lifted.", lambda guards: guards.lift(sync_id), problem)


def _change_guard(done: str, change: Callable[[GuardService], None], problem: DeltaGenerator) -> None:
    try:
        with open_service() as service:
            change(service.guards)
    except CohortSyncError as error:
        problem.error(format_error(error))
        return
    notices.flash_success(done)
    st.rerun()
