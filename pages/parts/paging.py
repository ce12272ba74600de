"""The pages of a long list: which one is shown, the numbers that choose another one, and the field that searches it.

A list that polls draws its page numbers inside the poll, because it may have become shorter since the page was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from sync.text import count_noun


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list: which items of how many stand on it."""

    number: int
    size: int
    total: int

    @property
    def start(self) -> int:
        """Return how many items stand before this page."""
        return (self.number - 1) * self.size

    @property
    def end(self) -> int:
        """Return how many items stand up to the end of this page."""
        return min(self.start + self.size, self.total)

    def describe(self, noun: str, plural: str = "") -> str:
        """Return which items of how many are shown."""
        return f"{self.start + 1:,} to {self.end:,} of {count_noun(self.total, noun, plural)}"


def find_page(key: str, total: int, size: int) -> ListPage:
    """Return the chosen page, the last one when the list has become shorter; Streamlit itself would go back to the first.

    Call it before the page numbers with this key are drawn.
    """
    pages = max(1, -(-total // size))
    chosen = st.session_state.get(key) or 1
    if chosen > pages:
        chosen = st.session_state[key] = pages
    return ListPage(number=chosen, size=size, total=total)


def open_first_page(key: str) -> None:
    """Go back to the first page of a list, since another choice was made of what is in it."""
    st.session_state.pop(key, None)


def show_search(label: str, key: str, placeholder: str, page_key: str, *, in_address: bool = True) -> str:
    """Show the field that searches a list; return what is searched for, in small letters without spaces at its ends."""
    text = st.text_input(
        label,
        key=key,
        type="search",
        live=True,
        bind="query-params" if in_address else None,
        placeholder=placeholder,
        on_change=open_first_page,
        args=(page_key,),
        width=320,
        label_visibility="collapsed",
    )
    return (text or "").strip().casefold()


def show_page_numbers(page: ListPage, key: str) -> None:
    """Show the numbers of the pages, unless there is only one; a list below which they stand has found its page before."""
    if page.total > page.size:
        st.pagination(-(-page.total // page.size), key=key)


def choose_page(key: str, total: int, size: int) -> ListPage:
    """Show the numbers of the pages above a list, and keep the chosen one in the address; return it."""
    page = find_page(key, total, size)
    if total <= size:
        return page
    number = st.pagination(-(-total // size), key=key, bind="query-params")
    return ListPage(number=number, size=size, total=total)
