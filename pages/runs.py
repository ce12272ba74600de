"""Runs: the history of every export, and the story of one."""

from __future__ import annotations

import streamlit as st

from pages.parts import frame, run_list, run_story
from pages.parts.desk import open_service
from pages.parts.wishes import asked, drop
from pages.parts.words import trouble
from sync.errors import CohortSyncError


def story(run_id: int) -> None:
    """Show one run, live while it is under way."""
    st.button("All runs", icon=":material/arrow_back:", on_click=drop, args=("run",), type="tertiary")
    try:
        with open_service() as service:
            service.run(run_id)
    except CohortSyncError as error:
        st.warning(trouble(error))
        return
    run_story.show(run_id)


def page() -> None:
    """Show the run the address names, or the history."""
    wanted = asked("run")
    if wanted is None:
        run_list.show()
    else:
        story(wanted)


frame.hold(page)
