"""Keep what a person asked to see in the address, so that it can be shared and survives a reload."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import streamlit as st

from pages.parts import polling

# Session key: the User ID that was looked up; not in the address, which browsers and proxies keep.
PERSON_KEY = "_person"
REQUEST_SHOWN = 40  # characters of what an address asks for, in the sentence that it does not exist
MEMBER_FILTERS = ("who", "held", "next")  # names in the address: which members of a cohort are shown
PROJECT_ROOT = Path(__file__).resolve().parents[2]


def page_script(name: str) -> Path:
    """Return the path of a page's script."""
    return PROJECT_ROOT / "pages" / f"{name}.py"


def requested_id(name: str) -> int | None:
    """Return a number from the address, None when it is missing or not a number."""
    text = st.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def requested_text(name: str) -> str:
    """Return what the address asks for under this name as it stands there, shortened; empty when it asks for nothing."""
    return " ".join(st.query_params.get(name, "").split())[:REQUEST_SHOWN]


def set_request(name: str, value: int) -> None:
    """Put a request into the address; the next run of the page acts on it."""
    st.query_params[name] = str(value)


def clear_requests(*names: str) -> None:
    """Remove requests from the address."""
    for name in names:
        if name in st.query_params:
            del st.query_params[name]


def show_page_link(label: str, icon: str, page: str, **requests: int | str) -> None:
    """Show a link to another page, with requests in its address; ``icon`` may be empty.

    What only leads somewhere is a link: a button that switches pages leaves a second entry in the browser's history,
    with the new requests on the old page, and the way back goes through it.
    """
    st.page_link(
        page_script(page),
        label=label,
        icon=f":material/{icon}:" if icon else None,
        query_params={name: str(value) for name, value in requests.items()},
    )


def open_page(page: str, **requests: int) -> NoReturn:
    """Open another page with requests in its address."""
    polling.forget_fragments()
    st.switch_page(page_script(page), query_params={name: str(value) for name, value in requests.items()})


def open_person(user_id: str) -> NoReturn:
    """Open the page of people with what is known about one of them."""
    st.session_state[PERSON_KEY] = user_id
    open_page("people")
