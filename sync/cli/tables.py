"""Tables for people: headings, columns that fit the terminal, and text that no terminal takes for a command."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from sync.cli.command_names import name_commands
from sync.text import show_text

GAP = "  "
HIGHEST = 5  # lines a row of a table may take; beyond, each cell gets a line of its own
NARROWEST = 8  # characters a column keeps on a narrow terminal; its text goes on in the next line
Cells = tuple[str, ...]


def format_table(headings: Cells, rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Yield the lines of a table, or the sentence ``empty`` when there is no row.

    Numbers stand at the right. A cell is one line of text, wrapped only where standard output is a terminal that is
    too narrow, and below one another where even that is; a program that reads the output gets each row on one line.
    """
    cells = [tuple(map(_format_cell, row)) for row in rows]
    if not cells:
        yield empty
        return
    columns = list(zip(*cells, strict=True))
    longest = [max(map(len, (heading, *column))) for heading, column in zip(headings, columns, strict=True)]
    whole = _find_width()
    widths = fit_widths(longest, whole)
    numeric = [all(map(_is_number, column)) for column in columns]
    table = (headings, tuple("-" * width for width in widths), *cells)
    wrapped = [[row] if widths == longest else list(_wrap_row(row, widths)) for row in table]
    if whole and max(map(len, wrapped)) > HIGHEST:
        yield from _list_blocks(headings, cells, whole)
        return
    for row in wrapped:
        for line in row:
            yield _align_cells(line, widths, numeric)


def _list_blocks(headings: Cells, rows: Iterable[Cells], whole: int) -> Iterator[str]:
    """Yield each row as lines of a name and its value: columns would be so narrow that nobody could read a sentence."""
    names = max(map(len, headings))
    width = max(whole - names - len(GAP), NARROWEST)
    for row in rows:
        yield "-" * min(whole, names + len(GAP) + width)
        for heading, cell in zip(headings, row, strict=True):
            for number, part in enumerate(textwrap.wrap(cell, width)):
                yield f"{'' if number else heading:<{names}}{GAP}{part}"


def fit_widths(widths: Sequence[int], whole: int | None) -> list[int]:
    """Return the widths of columns that fit into ``whole`` characters, the widest ones cut; None: as wide as they are."""
    fitted = list(widths)
    while whole and sum(fitted) + len(GAP) * (len(fitted) - 1) > whole and max(fitted) > NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _find_width() -> int | None:
    """Return the characters a line of the terminal has; None when standard output is no terminal, or does not say."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _wrap_row(row: Cells, widths: Sequence[int]) -> Iterator[Cells]:
    parts = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    yield from zip_longest(*parts, fillvalue="")


def _align_cells(row: Cells, widths: Sequence[int], numeric: Sequence[bool]) -> str:
    aligned = (
        cell.rjust(width) if is_number else cell.ljust(width)
        for cell, width, is_number in zip(row, widths, numeric, strict=True)
    )
    return GAP.join(aligned).rstrip()


def _format_cell(cell: object) -> str:
    text = "" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)
    text = name_commands(text)
    return text if text.isprintable() else show_text(text)  # a name could clear the screen, or begin a new row


def _is_number(text: str) -> bool:
    digits = text.replace(",", "")
    return not text or (digits.isascii() and digits.isdigit())
