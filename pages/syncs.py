"""Syncs: what is mirrored, when it is refreshed next, and how the last refresh went."""

from __future__ import annotations

import streamlit as st

from pages.parts import frame, sync_cards, sync_dialogs
from pages.parts.desk import open_service
from pages.parts.wishes import asked, drop
from sync.views import SyncView


def dialogs(syncs: tuple[SyncView, ...]) -> None:
    """Open the dialog the address asks for."""
    for wish, open_dialog in (("stop", sync_dialogs.stop), ("interval", sync_dialogs.interval)):
        found = next((sync for sync in syncs if sync.id == asked(wish)), None)
        if found:
            open_dialog(found)
            return
        drop(wish)


def page() -> None:
    """Show every sync of the project, live."""
    with open_service() as service:
        project = frame.chosen(service.projects())
        syncs = service.syncs(project.id if project else None)
    st.title("Syncs", anchor=False)
    sync_cards.show(project.id if project else None, len(syncs))
    dialogs(syncs)


frame.hold(page)
