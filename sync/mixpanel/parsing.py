"""Parse a page of members: ordinary members are checked by the JSON decoder, all others one by one.

Shapes are those of Mixpanel's reference ("Engage: query"); where it says nothing, every variant is accepted.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import orjson

from sync.errors import RetryLater, UnexpectedResponse
from sync.http_client import Reply, clean_text
from sync.model import DEVICE_PREFIX, USER_ID_MAX, Columns, Eligibility, Member, Page, classify_member
from sync.model import MISSING_VALUES as MISSING

DEFAULT_PAGE_SIZE = 1000  # the documented size, for an empty reply that does not name its own
SUCCESS_STATUSES = (None, "ok", "success")  # what a reply may say of itself


class _Row(msgspec.Struct, gc=False):
    """One result as it arrives; everything we do not need is skipped while parsing."""

    id: int | float | str | None = msgspec.field(name="$distinct_id", default=None)
    properties: dict[str, Any] | None = msgspec.field(name="$properties", default=None)


class _ReplyHead(msgspec.Struct, gc=False):
    """A reply of /engage without its results."""

    page: int | None = None
    page_size: int | None = None
    session_id: str | int | None = None
    total: int | None = None
    status: str | None = None
    error: str | None = None
    results: Any = None


class _ReplyWithMembers(_ReplyHead, gc=False):
    """A reply whose members are wanted one by one."""

    results: list[_Row] | None = None


_DECODER: msgspec.json.Decoder[_ReplyHead] = msgspec.json.Decoder(_ReplyWithMembers)


class PageDecoders:
    """Two decoders of the same page: one for plain members only, checked while parsing, and one for everybody.

    Both keep the named properties as raw JSON and skip everything else.
    """

    def __init__(self, properties: tuple[str, ...]) -> None:
        """Read these properties."""
        null = msgspec.Raw(b"null")
        profile = msgspec.defstruct(
            "_Profile",
            gc=False,
            fields=[
                (f"p{at}", msgspec.Raw, msgspec.field(name=name, default=null)) for at, name in enumerate(properties)
            ],
        )
        plain_id = Annotated[str, msgspec.Meta(min_length=1, max_length=USER_ID_MAX)]
        self.plain = _page_decoder(
            (plain_id, msgspec.field(name="$distinct_id")), (profile, msgspec.field(name="$properties"))
        )
        self.any = _page_decoder(
            (int | float | str | None, msgspec.field(name="$distinct_id", default=None)),
            (profile | None, msgspec.field(name="$properties", default=None)),
        )


def _page_decoder(user_id: tuple[Any, Any], properties: tuple[Any, Any]) -> msgspec.json.Decoder[_ReplyHead]:
    row = msgspec.defstruct("_NarrowRow", [("id", *user_id), ("properties", *properties)], gc=False)
    results = [("results", list[row] | None, None)]  # type: ignore[valid-type]
    return msgspec.json.Decoder(msgspec.defstruct("_NarrowAnswer", results, bases=(_ReplyHead,), gc=False))


CACHED_DECODERS = 16  # one for each mapping in use
_decoders_for = lru_cache(maxsize=CACHED_DECODERS)(PageDecoders)


def build_query_form(
    cohort_id: int, number: int, session_id: str | None, all_users: bool, wanted: tuple[str, ...] | None
) -> dict[str, str]:
    """Return the form of a query; the same on every page of a session (Mixpanel docs), ``include_all_users`` explicit."""
    form = {
        "filter_by_cohort": orjson.dumps({"id": cohort_id}).decode(),
        "include_all_users": "true" if all_users else "false",
    }
    if wanted is not None:
        form["output_properties"] = orjson.dumps(list(wanted)).decode()
    return form | {"page": str(number), "session_id": session_id or ""} if number else form


def parse_columns(reply: Reply, what: str, number: int, properties: tuple[str, ...]) -> Columns:
    """Split a page: those who go, and the others with their fate. Most pages are plain throughout."""
    narrow = _decoders_for(properties)
    others: list[Member] = []
    try:
        answer = _check_reply(narrow.plain.decode(reply.body), what, number)
        going = answer.results
        ids = [row.id for row in going]
        if not _are_plain_ids(ids):
            going, others = _sort_rows(going)
            ids = [row.id for row in going]
    except msgspec.MsgspecError:
        answer = _decode_page(reply, what, number, narrow.any)
        going, others = _sort_rows(answer.results)
        ids = [row.id for row in going]
    values = _raw_values(going, len(properties), b'"<' in reply.body) if properties else []
    return Columns(
        number, _page_size(answer), _session_id(answer), answer.total, len(answer.results), ids, values, others
    )


def _are_plain_ids(ids: list[str]) -> bool:
    """Return whether no id is a device's or blank, judging by the first characters."""
    return not any(letter == DEVICE_PREFIX[0] or letter.isspace() for letter in {user_id[0] for user_id in ids})


def _sort_rows(rows: list[Any]) -> tuple[list[Any], list[Member]]:
    """Who goes, and who does not and why; ids become text."""
    going, others = [], []
    for row in rows:
        row.id = _id_text(row.id)
        eligibility = classify_member(row.id, row.properties is not None)
        if eligibility is Eligibility.IDENTIFIED:
            going.append(row)
        else:
            others.append(Member(row.id, eligibility))
    return going, others


def _raw_values(rows: list[Any], count: int, doubtful: bool) -> list[bytes]:
    """Each one's mapped values as a JSON array; the literal strings that mean missing become null."""
    if count == 1:
        values = [b"[%b]" % row.properties.p0 for row in rows]
    else:
        names = [f"p{at}" for at in range(count)]
        values = [b"[" + b",".join(bytes(getattr(row.properties, name)) for name in names) + b"]" for row in rows]
    if doubtful:
        for missing in MISSING:
            quoted = orjson.dumps(missing)
            values = [one.replace(quoted, b"null") if quoted in one else one for one in values]
    return values


def _decode_page(reply: Reply, what: str, number: int, decoder: msgspec.json.Decoder[_ReplyHead]) -> _ReplyHead:
    """Read a page and refuse whatever an incomplete, failed or mixed-up answer looks like."""
    try:
        answer = decoder.decode(reply.body)
    except msgspec.ValidationError:
        raise UnexpectedResponse(
            f"Mixpanel was asked for {what} and sent something else than a page of members."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RetryLater(f"Mixpanel was asked for {what} and sent an answer that is garbled or cut off.") from None
    return _check_reply(answer, what, number)


def _check_reply(answer: _ReplyHead, what: str, number: int) -> _ReplyHead:
    odd = _find_oddity(answer, number)
    if odd:
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


def _page_size(answer: _ReplyHead) -> int:
    """How many a full page holds; a page that does not say counts as full, so that only an empty one is the last."""
    return answer.page_size if answer.page_size is not None else len(answer.results) or DEFAULT_PAGE_SIZE


def _session_id(answer: _ReplyHead) -> str | None:
    return None if answer.session_id is None else str(answer.session_id)


def _parse_member(row: _Row, properties: tuple[str, ...], bare_counts: bool) -> Member:
    user_id = _id_text(row.id)
    eligibility = classify_member(user_id, bool(row.properties) or (bare_counts and row.properties is not None))
    if not properties or eligibility is not Eligibility.IDENTIFIED:
        return Member(user_id, eligibility)
    given = row.properties or {}
    return Member(user_id, eligibility, tuple(_clean_value(given.get(name)) for name in properties))


def _id_text(user_id: float | str | None) -> str:
    """An id as text, exactly as given; Mixpanel's schema has integers, life has strings."""
    if isinstance(user_id, str):
        return user_id
    if isinstance(user_id, float) and user_id.is_integer():
        return str(int(user_id))
    return "" if user_id is None else str(user_id)


def _clean_value(value: object) -> object:
    return None if isinstance(value, str) and value in MISSING else value


def parse_page(reply: Reply, what: str, number: int, properties: tuple[str, ...], *, bare_counts: bool) -> Page:
    """Read a page member by member; ``bare_counts``: an empty profile is one."""
    answer = _decode_page(reply, what, number, _DECODER)
    members = tuple(_parse_member(row, properties, bare_counts) for row in answer.results)
    seen = Counter(name for row in answer.results for name in row.properties or ())
    return Page(
        number,
        _page_size(answer),
        _session_id(answer),
        answer.total,
        members,
        tuple(name for name, _ in seen.most_common()),
    )
