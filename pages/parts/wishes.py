"""What a person asked to see: kept in the address, so that it can be shared, reloaded and tested."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import streamlit as st

ROOT = Path(__file__).resolve().parents[2]


def page_file(name: str) -> Path:
    """Tell where a page's script lies."""
    return ROOT / "pages" / f"{name}.py"


def asked(name: str) -> int | None:
    """Read a number from the address, or None when it is missing or not one."""
    text = st.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def ask(name: str, value: int) -> None:
    """Put a wish into the address: the next run of the page fulfils it."""
    st.query_params[name] = str(value)


def drop(*names: str) -> None:
    """Take wishes out of the address."""
    for name in names:
        if name in st.query_params:
            del st.query_params[name]


def go(page: str, **wishes: int) -> NoReturn:
    """Open another page with wishes in its address."""
    st.switch_page(page_file(page), query_params={name: str(value) for name, value in wishes.items()})
