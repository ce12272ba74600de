"""Read a page of members: what is plain is checked while parsing, everything else one by one.

Shapes are those of Mixpanel's reference ("Engage: query"); where it is silent, every reading is accepted.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import orjson

from sync.errors import Report, Wait
from sync.model import DEVICE_PREFIX, USER_ID_MAX, Columns, Fate, Member, Page, classify
from sync.model import MISSING_VALUES as MISSING
from sync.rest import Reply, scrubbed

PAGE_SIZE = 1000  # the documented size, for an empty reply that does not name its own
GOOD = (None, "ok", "success")  # what a reply may say of itself


class _Row(msgspec.Struct, gc=False):
    """One result as it arrives; everything we do not need is skipped while parsing."""

    id: int | float | str | None = msgspec.field(name="$distinct_id", default=None)
    properties: dict[str, Any] | None = msgspec.field(name="$properties", default=None)


class _Head(msgspec.Struct, gc=False):
    """A reply of /engage, but for its results."""

    page: int | None = None
    page_size: int | None = None
    session_id: str | int | None = None
    total: int | None = None
    status: str | None = None
    error: str | None = None
    results: Any = None


class _Answer(_Head, gc=False):
    """A reply whose members are wanted one by one."""

    results: list[_Row] | None = None


_DECODER: msgspec.json.Decoder[_Head] = msgspec.json.Decoder(_Answer)


class Narrow:
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


def _page_decoder(user_id: tuple[Any, Any], properties: tuple[Any, Any]) -> msgspec.json.Decoder[_Head]:
    row = msgspec.defstruct("_NarrowRow", [("id", *user_id), ("properties", *properties)], gc=False)
    results = [("results", list[row] | None, None)]  # type: ignore[valid-type]
    return msgspec.json.Decoder(msgspec.defstruct("_NarrowAnswer", results, bases=(_Head,), gc=False))


_narrow = lru_cache(maxsize=16)(Narrow)


def query_form(
    cohort_id: int, number: int, session_id: str | None, all_users: bool, wanted: tuple[str, ...] | None
) -> dict[str, str]:
    """The body of a query; identical on every page of a session (Mixpanel docs), ``include_all_users`` explicit."""
    form = {
        "filter_by_cohort": orjson.dumps({"id": cohort_id}).decode(),
        "include_all_users": "true" if all_users else "false",
    }
    if wanted is not None:
        form["output_properties"] = orjson.dumps(list(wanted)).decode()
    return form | {"page": str(number), "session_id": session_id or ""} if number else form


def columns_of(reply: Reply, what: str, number: int, properties: tuple[str, ...]) -> Columns:
    """Split a page: those who go, and the others with their fate. Most pages are plain throughout."""
    narrow = _narrow(properties)
    others: list[Member] = []
    try:
        answer = _sound(narrow.plain.decode(reply.body), what, number)
        going = answer.results
        ids = [row.id for row in going]
        if not _plainly_named(ids):
            going, others = _sorted_out(going)
            ids = [row.id for row in going]
    except msgspec.MsgspecError:
        answer = _decoded(reply, what, number, narrow.any)
        going, others = _sorted_out(answer.results)
        ids = [row.id for row in going]
    values = _raw_values(going, len(properties), b'"<' in reply.body) if properties else []
    return Columns(number, _size(answer), _session(answer), answer.total, len(answer.results), ids, values, others)


def _plainly_named(ids: list[str]) -> bool:
    """Whether no id can be a device's or blank, told by the first letters."""
    return not any(letter == DEVICE_PREFIX[0] or letter.isspace() for letter in {user_id[0] for user_id in ids})


def _sorted_out(rows: list[Any]) -> tuple[list[Any], list[Member]]:
    """Who goes, and who does not and why; ids become text."""
    going, others = [], []
    for row in rows:
        row.id = _text(row.id)
        fate = classify(row.id, row.properties is not None)
        if fate is Fate.IDENTIFIED:
            going.append(row)
        else:
            others.append(Member(row.id, fate))
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


def _decoded(reply: Reply, what: str, number: int, decoder: msgspec.json.Decoder[_Head]) -> _Head:
    """Read a page and refuse whatever an incomplete, failed or mixed-up answer looks like."""
    try:
        answer = decoder.decode(reply.body)
    except msgspec.ValidationError:
        raise Report(f"Mixpanel was asked for {what} and sent something else than a page of members.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Wait(f"Mixpanel was asked for {what} and sent an answer that is garbled or cut off.") from None
    return _sound(answer, what, number)


def _sound(answer: _Head, what: str, number: int) -> _Head:
    odd = _oddity(answer, number)
    if odd:
        raise Report(f"Mixpanel was asked for {what} and {odd}; nothing was changed.")
    return answer


def _oddity(answer: _Head, number: int) -> str | None:
    if answer.error or (answer.status.lower() if answer.status else None) not in GOOD:
        # A body with members is never quoted, not even what it calls an error.
        said = "" if answer.results else f": {scrubbed(str(answer.error or answer.status))}"
        return f"answered 200, but with an error{said}"
    if answer.results is None:
        return "sent no results"
    if answer.page not in (None, number):
        return f"sent page {answer.page}"
    if (answer.page_size is not None and answer.page_size < 1) or (answer.total is not None and answer.total < 0):
        return "sent impossible numbers"
    return None


def _size(answer: _Head) -> int:
    """How many a full page holds; a page that does not say counts as full, so that only an empty one is the last."""
    return answer.page_size if answer.page_size is not None else len(answer.results) or PAGE_SIZE


def _session(answer: _Head) -> str | None:
    return None if answer.session_id is None else str(answer.session_id)


def _member(row: _Row, properties: tuple[str, ...], bare_counts: bool) -> Member:
    user_id = _text(row.id)
    fate = classify(user_id, bool(row.properties) or (bare_counts and row.properties is not None))
    if not properties or fate is not Fate.IDENTIFIED:
        return Member(user_id, fate)
    given = row.properties or {}
    return Member(user_id, fate, tuple(_value(given.get(name)) for name in properties))


def _text(user_id: float | str | None) -> str:
    """An id as text, exactly as given; Mixpanel's schema has integers, life has strings."""
    if isinstance(user_id, str):
        return user_id
    if isinstance(user_id, float) and user_id.is_integer():
        return str(int(user_id))
    return "" if user_id is None else str(user_id)


def _value(value: object) -> object:
    return None if isinstance(value, str) and value in MISSING else value


def page_of(reply: Reply, what: str, number: int, properties: tuple[str, ...], *, bare_counts: bool) -> Page:
    """Read a page member by member; ``bare_counts``: an empty profile is one."""
    answer = _decoded(reply, what, number, _DECODER)
    members = tuple(_member(row, properties, bare_counts) for row in answer.results)
    seen = Counter(name for row in answer.results for name in row.properties or ())
    return Page(
        number, _size(answer), _session(answer), answer.total, members, tuple(name for name, _ in seen.most_common())
    )
