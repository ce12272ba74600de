"""Rows of lists: a line for each thing, whose name is a button that opens it; on a phone each one is a small card.

Not `st.dataframe`: the buttons in its cells have no keyboard, and its rows cannot follow a run under way.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts.formatting import escape_markdown


def show_header(key: str, columns: Sequence[tuple[str, float]]) -> None:
    """Show the headings of a list: a name and a width for each column; a phone has no room for them."""
    with st.container(key=f"head-{key}"):
        for cell, (label, _) in zip(_cut(columns), columns, strict=True):
            cell.caption(label)


def start_row(key: str, columns: Sequence[tuple[str, float]]) -> Sequence[DeltaGenerator]:
    """Begin a row of a list; return its cells."""
    with st.container(key=f"line-{key}"):
        return _cut(columns)


def show_headings(key: str, labels: Sequence[str]) -> None:
    """Show the headings of a list whose rows ``place_row`` makes."""
    with st.container(key=f"head-{key}", horizontal=True):
        for label in labels:
            st.caption(label)


def place_row(key: str) -> DeltaGenerator:
    """Return the container of a row of a long list; the style sheet makes each element in it a cell, by their order.

    Without a column around each, a poll sends a third fewer messages, and browsers draw the rows faster.
    """
    return st.container(key=f"line-{key}", horizontal=True)


def show_opener(label: str, key: str) -> bool:
    """Show the name of a row as the button that opens it; return whether it was pressed."""
    return st.button(escape_markdown(label), key=key, type="tertiary", wrap=True)


def _cut(columns: Sequence[tuple[str, float]]) -> Sequence[DeltaGenerator]:
    return st.columns([width for _, width in columns], vertical_alignment="center", gap="small")
