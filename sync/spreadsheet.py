"""CSV files for people: every cell quoted, none a formula, and ids that stay what they are when a spreadsheet opens them.

A cell is kept text by an apostrophe before it: who reads such a file by program takes one away (``restore_id``).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Container, Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"  # says UTF-8; without it Excel reads another encoding
# What begins a formula, also in full width; spreadsheets skip blanks before it, and with other separators than the
# comma a cell begins after a semicolon, a tab or a line break, too.
# An apostrophe that stands there already gets another one, so that each cell can be read back.
_BEGINS = r"(?='*[^\S\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
_FORMULA = re.compile(rf"(^|[;\t\r\n]){_BEGINS}|^(?='*[\t\r\n])")
_NEUTRALIZED = re.compile(rf"(^|[;\t\r\n])'{_BEGINS}|^'(?='*[\t\r\n])")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
# What a spreadsheet takes for a number, a date, a time or a truth: 007, 1E5, 3/4, 12:30, MAR1, TRUE.
_VALUE = re.compile(
    rf"\s*(?:[\d.,:/%\s$€£-]*\d[\d.,:/%\s-]*(?:e[+-]?\d+|[ap]m)?|{_MONTH}[\s./-]*\d+(?:[\s,./-]+\d+)?"
    rf"|\d+[\s./-]*{_MONTH}(?:[\s./-]*\d+)?|true|false)\s*",
    re.IGNORECASE,
)


def neutralize_cell(cell: str) -> str:
    """Return a cell that no spreadsheet runs as a formula."""
    return _FORMULA.sub(r"\1'", cell)


def protect_id(cell: str) -> str:
    """Return an id that a spreadsheet shows as it is, also when it looks like a number or a date."""
    return f"'{cell}" if _VALUE.fullmatch(cell.lstrip("'")) else neutralize_cell(cell)


def restore_id(cell: str) -> str:
    """Return the id that ``protect_id`` or ``neutralize_cell`` made this cell of; any other cell as it is."""
    if cell.startswith("'") and _VALUE.fullmatch(cell.lstrip("'")):
        return cell[1:]
    return _NEUTRALIZED.sub(r"\1", cell)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[str]], ids: Container[int] = (), mark: bool = True) -> str:
    """Return a CSV that is safe to open in a spreadsheet.

    ``ids`` are the columns, from 0, whose cells are text whatever they look like. ``mark``: begin with a byte order
    mark, for a file that people open.
    """
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(header)
    for row in rows:
        writer.writerow([(protect_id if at in ids else neutralize_cell)(cell) for at, cell in enumerate(row)])
    return BYTE_ORDER_MARK * mark + text.getvalue()
