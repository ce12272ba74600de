"""Rows that no document describes and that were seen in the field: in a page of members, in the list of cohorts.

Their bytes are written as they are: much of this is no valid JSON, which is the point.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

ID = "id"
ROW = "row"
STRINGS: dict[str, bytes] = {
    "half_emoji": rb"\ud83d",
    "control_character": b"\x01",
    "latin_1": b"\xf6",
}
"""What may stand within a string; written after the person's own id, so that several of them differ."""
NUMBERS: dict[str, bytes] = {"nan": b"NaN", "infinity": b"Infinity", "huge_number": b"1e400"}
IDS: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "list": b'["u2"]',
    "object": b'{"id":"u2"}',
    "beyond_2_53": b"12345678901234567891",
    "exponent": b"1.2345678901234567e+19",
}
"""Values that are no id, on top of the numbers."""
NULL_ROW = "null_row"
KINDS = {ID: (*STRINGS, *NUMBERS, *IDS), ROW: (NULL_ROW,), "a property": (*STRINGS, *NUMBERS)}


class OddRow(bytes):
    """A member as written on the wire, with its properties as raw JSON."""

    head: bytes
    properties: dict[str, bytes]
    user_id: str | None
    """Who can be exported all the same, because only a property is odd; None when nobody can."""

    def projected(self, names: Iterable[str]) -> bytes:
        """Write the row with the named properties only."""
        if not self.head:
            return bytes(self)
        return _written(self.head, {name: self.properties[name] for name in names if name in self.properties})


def odd_row(kind: str, user_id: str, place: str) -> OddRow:
    """Make a row odd in its id, in the property named by ``place``, or as a whole; ValueError for an unknown kind."""
    if kind not in KINDS.get(place, KINDS["a property"]):
        raise ValueError(f"There is no odd {kind!r} for {place!r}; there are {KINDS}.")
    if place == ROW:
        return _row(b"", {}, None, b"null")
    if place == ID:
        written = IDS.get(kind) or NUMBERS.get(kind) or _string(user_id, kind)
        return _row(b'{"$distinct_id":' + written, {"$email": b'"odd@example.com"'}, None)
    value = NUMBERS.get(kind) or _string("value ", kind)
    properties = {"$email": orjson.dumps(f"{user_id}@example.com"), place: value}
    return _row(b'{"$distinct_id":' + orjson.dumps(user_id), properties, user_id)


def _string(before: str, kind: str) -> bytes:
    return orjson.dumps(before)[:-1] + STRINGS[kind] + b'"'


def _row(head: bytes, properties: dict[str, bytes], user_id: str | None, whole: bytes | None = None) -> OddRow:
    row = OddRow(whole or _written(head, properties))
    row.head, row.properties, row.user_id = head, properties, user_id
    return row


def _written(head: bytes, properties: dict[str, bytes]) -> bytes:
    inside = b",".join(orjson.dumps(name) + b":" + value for name, value in properties.items())
    return head + b',"$properties":{' + inside + b"}}"


LISTED: dict[str, bytes] = {
    "null_row": b"null",
    "text_row": b'"Fans"',
    "null_id": b'{"id":null,"name":"No id","count":1}',
    "missing_id": b'{"name":"No id","count":1}',
    "true_id": b'{"id":true,"name":"True","count":1}',
    "list_id": b'{"id":[7],"name":"List","count":1}',
    "text_id": b'{"id":"seven","name":"Text","count":1}',
    "fraction_id": b'{"id":7.5,"name":"Fraction","count":1}',
    "huge_id": b'{"id":1e400,"name":"Huge","count":1}',
    "beyond_64_bits_id": b'{"id":99999999999999999999,"name":"Huge","count":1}',
    "half_emoji_name": rb'{"id":900001,"name":"Odd \ud83d","count":1}',
    "control_character_name": b'{"id":900002,"name":"Odd \x01","count":1}',
    "latin_1_name": b'{"id":900003,"name":"Odd \xf6","count":1}',
    "null_name": b'{"id":900004,"name":null,"count":1}',
    "nan_count": b'{"id":900005,"name":"Odd count","count":NaN}',
}
"""Rows of the list of cohorts, by name."""
