"""Pack a page of members: hashes of everybody who is news or may be, ids and sealed values of the news only."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sync.mixpanel.chunks import CutPage
from sync.model import Columns
from sync.packing import (
    DIGEST_SIZE,
    RecordSet,
    digest_chunks,
    digest_text,
    entries_of,
    hash_id,
    pack,
    pack_values,
    records_of,
)
from sync.store.known_chunks import KnownPage
from sync.store.rejections import INVALID, LONG_ID_KEPT, Rejection
from sync.store.staged import StagedPage

INVALID_NAMED = 1000  # invalid people kept by name a page; all are counted


@dataclass(frozen=True, slots=True)
class Packed:
    """A page ready to be written, with what it says about the whole."""

    staged: StagedPage
    invalid: list[Rejection]
    others: list[bytes]
    size: int | None
    session_id: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """Hold what pages are compared with: known pages and chunks by their digests, and records.

    Without records everybody is news. ``keeps_chunks``: whether a page's chunks may be known later.
    """

    pages: Mapping[bytes, KnownPage]
    chunks: Set[bytes]
    sent: RecordSet | None
    keeps_chunks: bool


class PagePacker:
    """Packs one page: of people who are in the snapshot with the same content hashes only, of the others everything."""

    def __init__(self, known: Known, salt: int, content_salt: int) -> None:
        self._known, self.keeps_chunks = known, known.keeps_chunks
        self._salt, self._content_salt = salt, content_salt
        self._digest, self._seen, self._chunks, self._sizes = b"", list[bytes](), list[bytes](), list[int]()
        self._records, self._news = list[bytes](), list[int]()

    def count_known(self, results: bytes) -> int | None:
        """Return how many rows these results have, exactly so read before; None when they were not."""
        self._digest = digest_text(results, self._content_salt)
        page = self._known.pages.get(self._digest)
        self._seen = [page.chunks] if page else []
        return page.rows if page else None

    def find_unknown(self, cut: CutPage) -> list[tuple[int, int]]:
        """Return from which row up to which each chunk reaches that was not read before, exactly so."""
        chunks = digest_chunks(cut.rows, cut.opening + cut.between, self._content_salt)
        unknown = [chunk for chunk in chunks if chunk[0] not in self._known.chunks]
        self._chunks, self._sizes = [digest for digest, _, _ in unknown], [stop - start for _, start, stop in unknown]
        self._seen = [digest for digest, _, _ in chunks if digest in self._known.chunks]
        return [(start, stop) for _, start, stop in unknown]

    def find_news(self, ids: list[str], values: list[bytes]) -> list[int]:
        """Return the places of people who are not in the snapshot with the same content."""
        self._records = records_of(ids, values, self._salt, self._content_salt)
        sent = self._known.sent
        self._news = list(range(len(self._records))) if sent is None else sent.find_missing(self._records)
        return self._news

    def pack(self, page: Columns, reading: int, seal: Callable[[bytes], bytes]) -> Packed:
        """Return the page ready to be written."""
        invalid = [one for one in page.others if one.eligibility.is_invalid]
        # Rows without a readable distinct_id cannot be distinguished, so each counts as another person.
        others = [hash_id(one.distinct_id, self._salt) for one in page.others if one.distinct_id]
        if not page.is_cut:  # it has to be looked at each time, so its chunk gets a name that is not found again
            self._chunks = [os.urandom(DIGEST_SIZE)] if page.ids else []
            self._sizes = [len(page.ids)] if page.ids else []
        staged = StagedPage(
            reading=reading,
            number=page.number,
            rows=page.rows,
            anonymous=len(page.others) - len(invalid),
            invalid=len(invalid),
            is_full=page.is_full,
            total=page.total,
            digest=self._digest if page.is_cut else b"",
            seen=b"".join(self._seen) if page.is_cut else b"",
            members=self._list_entries(page),
            others=b"".join(others),
            **self._pack_people(page, seal),
        )
        named = [
            Rejection((one.id or one.distinct_id)[:LONG_ID_KEPT], INVALID, one.eligibility.value, INVALID)
            for one in invalid[:INVALID_NAMED]
        ]
        return Packed(staged, named, others, page.size, page.session_id)

    def _list_entries(self, page: Columns) -> bytes:
        """Return the entries of a page whose User IDs are a property's values; nothing when they are the distinct_ids."""
        if not page.distinct_ids:
            return b""
        return b"".join(sorted(entries_of(self._records, page.distinct_ids, self._salt)))

    def _pack_people(self, page: Columns, seal: Callable[[bytes], bytes]) -> dict[str, Any]:
        """Return the fields of a staged page that say who is on it."""
        if not self._records:
            return {}
        places = {one: at for at, one in enumerate(self._records)}  # someone listed twice stands once
        news = sorted({self._records[at] for at in self._news})
        records = sorted(places.keys() - news)
        fields: dict[str, Any] = {"records": b"".join(records), "news": b"".join(news)}
        if self.keeps_chunks:
            chunk_of = [at for at, size in enumerate(self._sizes) for _ in range(size)]
            fields["chunks"] = b"".join(self._chunks)
            fields["places"] = array("I", [chunk_of[places[one]] for one in chain(records, news)]).tobytes()
        if news:
            order = [places[one] for one in news]
            fields["ids"] = pack([page.ids[at] for at in order])
            fields["sealed_values"] = seal(pack_values([page.values[at] for at in order])) if page.values else None
        return fields
