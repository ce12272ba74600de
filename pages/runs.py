"""Runs: the history of every export, and the story of one."""

from __future__ import annotations

import os

import streamlit as st

if not st.session_state.get("_frame"):
    import app

    app.main()
    st.stop()

from pages.parts import progress, run_list, run_story
from pages.parts.wishes import asked, drop
from pages.parts.words import escape
from sync.errors import CohortSyncError
from sync.service import Service


def story(run_id: int) -> None:
    """Show one run, live while it is under way."""
    st.button("All runs", icon=":material/arrow_back:", on_click=drop, args=("run",), type="tertiary")
    try:
        with Service.open(os.environ) as service:
            run = service.run(run_id)
    except CohortSyncError as error:
        st.warning(escape(str(error)))
        return
    every = None if run.state.over else progress.FAST
    st.fragment(run_every=every)(run_story.show)(run_id)


wanted = asked("run")
if wanted is not None:
    story(wanted)
else:
    run_list.show(asked("sync"))
