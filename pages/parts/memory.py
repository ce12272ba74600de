"""Remember for a browser session what a newer click must not take away, by stopping the script of the earlier one.

Streamlit starts another script at once for a newer click, and stops the former one at its next use of
``st.session_state``, of the address or of an element, in a callback, too (its option ``runner.fastReruns``). What was done
by then is done, and what is remembered here about it stays, for this dictionary is a plain one.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

MEMORY_KEY = "_memory"  # session key


def recall() -> dict[str, Any]:
    """Return the memory of this browser session, to read and to write; nothing stops a script here but its first call."""
    known: dict[str, Any] | None = st.session_state.to_dict().get(MEMORY_KEY)  # to_dict stops no script, a look-up may
    if known is None:
        known = st.session_state.setdefault(MEMORY_KEY, {})
    return known
