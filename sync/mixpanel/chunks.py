"""Cut a page of members into chunks where their content says, so that a page that moved is known but for its news.

One person who leaves moves everybody behind them to another place, and many to another page. Where a chunk ends
depends on the row behind it alone (content-defined chunking), so all other chunks are the same bytes again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from sync.packing import find_chunk_starts

STAND_IN = b'["cut"]'
_FIRST_ROW = re.compile(rb'"results"\s*:\s*(\[\s*)(\{\s*"[^"\\]*"\s*:)')


@dataclass(frozen=True, slots=True)
class CutPage:
    """A reply with STAND_IN in the place of its results, the chunks of these, and how many rows each seems to have.

    The whole is what it seems to be when the head parses with the stand-in as its results and each chunk, in brackets,
    parses as so many rows: all that was cut away are brackets around and commas between.
    """

    head: bytes
    chunks: list[bytes]
    rows: list[int]


def cut_page(body: bytes) -> CutPage | None:
    """Cut a reply, which is not parsed; None when it is not laid out as one that can be cut."""
    first, end = _FIRST_ROW.search(body), body.rfind(b"]")
    if first is None or end < first.end():
        return None
    opening, text = first[2], body[first.end() : end].rstrip()
    if not text.endswith(b"}"):
        return None
    joint = re.search(rb"\}\s*,\s*" + re.escape(opening), text)
    rows = text[:-1].split(joint[0]) if joint else [text[:-1]]
    bounds = list(pairwise([*find_chunk_starts(rows), len(rows)]))
    between = joint[0] if joint else b""
    return CutPage(
        head=body[: first.start(1)] + STAND_IN + body[end + 1 :],
        chunks=[opening + between.join(rows[start:stop]) + b"}" for start, stop in bounds],
        rows=[stop - start for start, stop in bounds],
    )
