"""Parse a page of members: ordinary members are checked by the JSON decoder, all others one by one.

Shapes are those of Mixpanel's reference ("Engage: query"); where it says nothing, every variant is accepted.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, repeat
from operator import attrgetter
from typing import Annotated, Any, Protocol

import msgspec
import orjson

from sync.errors import RetryLater, UnexpectedResponse
from sync.http_client import Reply, clean_text
from sync.mixpanel.chunks import STAND_IN, CutPage, PageText
from sync.mixpanel.identity import identify, is_text
from sync.model import DEVICE_PREFIX, USER_ID_MAX, Columns, Eligibility, Member, Page
from sync.model import MISSING_VALUES as MISSING

# A raw control character is no JSON: where one stands, half a character stands for it, so that its text is odd.
_CONTROLS = {one: chr(0xDC00 + one) for one in range(0x20) if chr(one) not in "\t\n\r"}
SUCCESS_STATUSES = (None, "ok", "success")  # what a reply may say of itself


@dataclass(slots=True)
class _Row:
    """One result as it arrived."""

    id: Any
    properties: dict[str, Any] | None


class _ReplyHead(msgspec.Struct, gc=False):
    """A reply of /engage without its results."""

    page: int | None = None
    page_size: int | None = None
    session_id: str | int | None = None
    total: int | None = None
    status: str | None = None
    error: str | None = None
    results: Any = None


class _Head(_ReplyHead, gc=False):
    """A reply whose results are skipped over."""

    results: msgspec.Raw = msgspec.Raw(b"null")


_HEAD = msgspec.json.Decoder(_Head)


class PageDecoders:
    """A decoder for pages of plain members only, checked while parsing.

    It keeps the named properties as raw JSON, and the one that is the User ID as text; it skips everything else.
    """

    def __init__(self, properties: tuple[str, ...], id_property: str) -> None:
        """Read these properties; without ``id_property`` the distinct_id is the User ID."""
        null = msgspec.Raw(b"null")
        plain_id = Annotated[str, msgspec.Meta(min_length=1, max_length=USER_ID_MAX)]
        chosen = [("chosen", plain_id, msgspec.field(name=id_property))] if id_property else []
        raw = [(f"p{at}", msgspec.Raw, msgspec.field(name=name, default=null)) for at, name in enumerate(properties)]
        profile = msgspec.defstruct("_Profile", gc=False, fields=[*chosen, *raw])
        fields = [
            ("id", plain_id, msgspec.field(name="$distinct_id")),
            ("properties", profile, msgspec.field(name="$properties")),
        ]
        row = msgspec.defstruct("_NarrowRow", fields, gc=False)
        results = [("results", list[row] | None, None)]  # type: ignore[valid-type]
        page = msgspec.defstruct("_NarrowAnswer", results, bases=(_ReplyHead,), gc=False)
        self.plain: msgspec.json.Decoder[_ReplyHead] = msgspec.json.Decoder(page)
        self.rows: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self.names = [f"p{at}" for at in range(len(properties))]


CACHED_DECODERS = 16  # one for each mapping in use
_decoders_for = lru_cache(maxsize=CACHED_DECODERS)(PageDecoders)


class PageFilter(Protocol):
    """Says what is known of a page's people already."""

    @property
    def keeps_chunks(self) -> bool:
        """Return whether chunks were read before, or may be known later."""

    def count_known(self, results: bytes) -> int | None:
        """Return how many rows these results have, exactly so read before; None when they were not."""

    def find_unknown(self, cut: CutPage) -> list[tuple[int, int]]:
        """Return from which row up to which each chunk reaches that was not read before, exactly so."""

    def find_news(self, ids: list[str], values: list[bytes]) -> list[int]:
        """Return the places of people who were not read before with the same values."""


def parse_columns(
    reply: Reply,
    what: str,
    number: int,
    properties: tuple[str, ...],
    known: PageFilter | None = None,
    id_property: str = "",
) -> Columns:
    """Split a page: those who go, and the others with their fate. Most pages are plain throughout.

    A page with an odd value anywhere is read once more, leniently: one odd row is one invalid member.
    """
    page = _parse_chunks(reply, what, number, properties, known) if known and known.keeps_chunks else None
    page = page or _parse_plain(reply, what, number, properties, known, id_property)
    if page is not None:
        return page
    answer = _decode_page(reply, what, number)
    going: list[tuple[_Row, Member]] = []
    others: list[Member] = []
    for row in answer.results:
        who = identify(row.id, row.properties, row.properties is not None, id_property)
        if who.eligibility is Eligibility.IDENTIFIED:
            going.append((row, who))
        else:
            others.append(who)
    values = [
        orjson.dumps([_clean_value((row.properties or {}).get(name)) for name in properties])
        for row, _ in going
        if properties
    ]
    ids = [who.id for _, who in going]
    if known:
        known.find_news(ids, values)
    return _columns(answer, number, ids, values, others, [who.distinct_id for _, who in going if id_property])


def _parse_chunks(
    reply: Reply, what: str, number: int, properties: tuple[str, ...], known: PageFilter
) -> Columns | None:
    """Return a plain page of which only chunks that were not read before are parsed; None when it is another one."""
    text = PageText.find(reply.body)
    if text is None:
        return None
    try:
        answer, rows = _HEAD.decode(text.head), known.count_known(text.results)
        if bytes(answer.results) != STAND_IN:
            return None
        if rows is not None:
            people: tuple[list[str], list[bytes]] | None = ([], [])
        else:
            cut = text.cut()
            rows, people = (
                len(cut.rows),
                _split_chunks(cut, _decoders_for(properties, ""), _may_have_missing(reply.body), known),
            )
    except (msgspec.MsgspecError, orjson.JSONDecodeError, UnicodeDecodeError):
        return None
    return _columns(_check_reply(answer, what, number), number, *people, others=[], cut_rows=rows) if people else None


def _split_chunks(
    cut: CutPage, decoders: PageDecoders, has_missing: bool, known: PageFilter
) -> tuple[list[str], list[bytes]] | None:
    """Return ids and values of the rows in unknown chunks; None when one is not plain, or no list of so many rows."""
    unknown = known.find_unknown(cut)
    chunks = [decoders.rows.decode(b"[%b]" % cut.join(start, stop)) for start, stop in unknown]
    if [len(rows) for rows in chunks] != [stop - start for start, stop in unknown]:
        return None
    return _split_plain(list(chain.from_iterable(chunks)), decoders, has_missing, known)


def _parse_plain(
    reply: Reply, what: str, number: int, properties: tuple[str, ...], known: PageFilter | None, id_property: str
) -> Columns | None:
    """Return a page on which everybody is exported and every value is plain; None when it is another one."""
    if id_property in properties:
        return None  # a decoder reads a property once
    decoders = _decoders_for(properties, id_property)
    try:
        answer = _check_reply(decoders.plain.decode(reply.body), what, number)
        people = _split_plain(answer.results, decoders, _may_have_missing(reply.body), known, id_property)
    except (msgspec.MsgspecError, orjson.JSONDecodeError, UnicodeDecodeError):
        return None
    if people is None:
        return None
    distinct_ids = [row.id for row in answer.results] if id_property else []
    return _columns(answer, number, *people, others=[], distinct_ids=distinct_ids)


def _split_plain(
    rows: list[Any], decoders: PageDecoders, has_missing: bool, known: PageFilter | None, id_property: str = ""
) -> tuple[list[str], list[bytes]] | None:
    """Return ids and values of rows; None when one is not exported. Raise JSONDecodeError when a value is not plain."""
    distinct_ids = [row.id for row in rows]
    ids = [row.properties.chosen for row in rows] if id_property else distinct_ids
    if not _are_plain_ids(ids) or not (ids is distinct_ids or _are_plain_ids(distinct_ids)):
        return None
    if id_property and has_missing:
        return None
    values = _raw_values(rows, decoders.names, has_missing)
    news = known.find_news(ids, values) if known else range(len(ids))
    if values and news:
        # Raw values were skipped over: this is where one is found to be none. Known ones were looked at before.
        orjson.loads(b"[%b]" % b",".join([values[at] for at in news]))
    return ids, values


def _columns(
    answer: _ReplyHead,
    number: int,
    ids: list[str],
    values: list[bytes],
    others: list[Member],
    distinct_ids: Sequence[str] = (),
    cut_rows: int | None = None,
) -> Columns:
    return Columns(
        number=number,
        size=answer.page_size,
        session_id=_session_id(answer),
        total=answer.total,
        rows=len(answer.results) if cut_rows is None else cut_rows,
        ids=ids,
        values=values,
        others=others,
        is_cut=cut_rows is not None,
        distinct_ids=list(distinct_ids),
    )


def _are_plain_ids(ids: list[str]) -> bool:
    """Return whether no id is a device's or blank, judging by the first characters."""
    return not any(letter == DEVICE_PREFIX[0] or letter.isspace() for letter in {user_id[0] for user_id in ids})


def _may_have_missing(body: bytes) -> bool:
    """Return whether a body may have one of the strings that mean missing, all of which begin so."""
    return b"<" in body and b'"<' in body  # one byte alone is found a hundred times as fast, and rarely there


def _raw_values(rows: list[Any], names: list[str], suspect: bool) -> list[bytes]:
    """Each one's mapped values as a JSON array; the literal strings that mean missing become null."""
    if not names:
        return []
    columns = [map(attrgetter(name), map(attrgetter("properties"), rows)) for name in names]
    pieces = [one for column in columns for one in (repeat(b","), column)][1:]
    values = list(map(b"".join, zip(repeat(b"["), *pieces, repeat(b"]"), strict=False)))
    if suspect:
        for missing in MISSING:
            quoted = orjson.dumps(missing)
            values = [one.replace(quoted, b"null") if quoted in one else one for one in values]
    return values


def _decode_page(reply: Reply, what: str, number: int) -> _ReplyHead:
    """Read a page value by value and refuse whatever an incomplete, failed or mixed-up answer looks like.

    Lone surrogates, NaN, raw control characters and bytes that are no UTF-8 are let in here, and judged one by one.
    """
    try:
        found = parse_leniently(reply.body)
        rows = found.pop("results", None)
        answer: _ReplyHead = msgspec.convert(found, _ReplyHead)
        if not isinstance(rows, list | None):
            raise TypeError
    except (msgspec.ValidationError, AttributeError, TypeError):
        raise UnexpectedResponse(
            f"Mixpanel was asked for {what} and sent something other than a page of members."
        ) from None
    except (ValueError, RecursionError):
        raise RetryLater(f"Mixpanel was asked for {what} and sent an answer that is garbled or cut off.") from None
    answer.results = None if rows is None else [_row(one) for one in rows]
    return _check_reply(answer, what, number)


def parse_leniently(body: bytes) -> Any:
    """Return what a body says, whatever it holds that is no JSON; raise ValueError or RecursionError when cut off."""
    return json.loads(body.decode("utf-8", "surrogateescape").translate(_CONTROLS), strict=False)


def _row(given: object) -> _Row:
    """Return a result, whatever it is; one that is no object has no id, and an empty profile where it is listed as one."""
    if not isinstance(given, dict):
        return _Row(None, {})
    properties = given.get("$properties")
    return _Row(given.get("$distinct_id"), properties if isinstance(properties, dict) else None)


def _check_reply(answer: _ReplyHead, what: str, number: int) -> _ReplyHead:
    if odd := _find_oddity(answer, number):
        raise UnexpectedResponse(f"Mixpanel was asked for {what} and {odd}; nothing was changed.")
    return answer


def _find_oddity(answer: _ReplyHead, number: int) -> str | None:
    if answer.error or (answer.status.lower() if answer.status else None) not in SUCCESS_STATUSES:
        # A body with members is never quoted, not even what it calls an error.
        said = "" if answer.results else f": {clean_text(str(answer.error or answer.status))}"
        return f"answered 200, but with an error{said}"
    if answer.results is None:
        return "sent no results"
    if answer.page not in (None, number):
        return f"sent page {answer.page}"
    if (answer.page_size is not None and answer.page_size < 1) or (answer.total is not None and answer.total < 0):
        return "sent impossible numbers"
    return None


def _session_id(answer: _ReplyHead) -> str | None:
    return None if answer.session_id in (None, "") else str(answer.session_id)


def _clean_value(value: object) -> object:
    """Return a property's value, or None when it is missing or cannot be sent."""
    if isinstance(value, str):
        return value if value not in MISSING and is_text(value) else None
    try:
        orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_page(
    reply: Reply, what: str, number: int, properties: tuple[str, ...], *, bare_counts: bool, id_property: str = ""
) -> Page:
    """Read a page member by member, an odd row as one invalid member; ``bare_counts``: an empty profile is one."""
    answer = _decode_page(reply, what, number)
    members = tuple(_parse_member(row, properties, bare_counts, id_property) for row in answer.results)
    seen = Counter(name for row in answer.results for name in row.properties or () if is_text(name))
    names = tuple(name for name, _ in seen.most_common())
    return Page(number, answer.page_size, _session_id(answer), answer.total, members, names)


def _parse_member(row: _Row, properties: tuple[str, ...], bare_counts: bool, id_property: str) -> Member:
    has_profile = bool(row.properties) or (bare_counts and row.properties is not None)
    who, given = identify(row.id, row.properties, has_profile, id_property), row.properties or {}
    return replace(who, values=tuple(_clean_value(given.get(name)) for name in properties)) if properties else who


def write_value(value: object) -> str:
    """Return the value of a member's property as people read it; empty when it is missing."""
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()
