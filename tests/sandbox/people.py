"""Cohort members as the bytes Mixpanel would send, kept ready so that a page is a join."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

PROPERTIES_KEY = "$properties"
DEVICE = "$device:"  # Mixpanel docs, ID merge: the id of a device that never signed in
NO_PROFILE = b',"$properties":null}'
BARE_ENDINGS = {"missing": b"}", "null": NO_PROFILE, "empty": b',"$properties":{}}'}
ROTATION = tuple(BARE_ENDINGS.values())
NUMERIC_ID = re.compile(rb'^\{"\$distinct_id":"([1-9]\d{0,17})"')

FIRST_NAMES = (
    "Ada",
    "Alan",
    "Amara",
    "Bea",
    "Carlos",
    "Chiara",
    "Devi",
    "Emil",
    "Fatima",
    "Grace",
    "Hana",
    "Igor",
    "Jamal",
    "Katarína",
    "Lena",
    "Mateo",
    "Nadia",
    "Olu",
    "Priya",
    "Quentin",
    "Rosa",
    "Søren",
    "Tomás",
    "Uma",
    "Viktor",
    "Wanjiru",
    "Xin",
    "Yuki",
    "Zoë",
)
LAST_NAMES = (
    "Abebe",
    "Bianchi",
    "Castillo",
    "Dubois",
    "Eriksson",
    "Fischer",
    "García",
    "Haddad",
    "Ivanova",
    "Jensen",
    "Kowalski",
    "Lindqvist",
    "Mehta",
    "Nakamura",
    "Okafor",
    "Pereira",
    "Quispe",
    "Rossi",
    "Silva",
    "Tanaka",
    "Usman",
    "Varga",
    "Weber",
    "Yamada",
    "Zhang",
)
CITIES = (
    ("Berlin", "DE", "+4930"),
    ("São Paulo", "BR", "+5511"),
    ("Mumbai", "IN", "+9122"),
    ("Oslo", "NO", "+4722"),
    ("Lagos", "NG", "+2341"),
    ("Tokyo", "JP", "+8133"),
    ("Austin", "US", "+1512"),
    ("Lyon", "FR", "+3347"),
)
PLANS = ("free", "trial", "premium", "family")
VARIETY = 997
"""How many different sets of properties generated people have, apart from their email."""


@dataclass(frozen=True)
class Recipe:
    """A recipe for many members, so that they need not be sent."""

    count: int
    seed: int = 0
    ids: str = "uuid"
    """uuid, or sequential."""
    properties: int = 10
    anonymous: int = 0
    """How many of `count` never signed in."""

    def is_anonymous(self, index: int) -> bool:
        """Return whether the member at this index is one of the anonymous, evenly spread."""
        share, count = self.anonymous, max(self.count, 1)
        return (index * share) // count != ((index + 1) * share) // count


def member_bytes(user_id: str | int, properties: dict[str, Any] | None) -> bytes:
    """Write one member as JSON; `None` is a member without a profile."""
    return b'{"$distinct_id":' + orjson.dumps(user_id) + b',"$properties":' + orjson.dumps(properties) + b"}"


def has_profile(member: bytes) -> bool:
    """Return whether the member owns a profile, be it an empty one."""
    return not member.endswith(NO_PROFILE)


def page_bytes(members: Sequence[bytes], start: int, shape: str) -> bytes:
    """Join members into a JSON array, those without a profile in the shape asked for."""
    shaped = (m if not m.endswith(NO_PROFILE) else _bare(m, start + i, shape) for i, m in enumerate(members))
    return b"[" + b",".join(shaped) + b"]"


def _bare(member: bytes, index: int, shape: str) -> bytes:
    ending = ROTATION[index % len(ROTATION)] if shape == "rotate" else BARE_ENDINGS[shape]
    return member[: -len(NO_PROFILE)] + ending


def only_properties(page: bytes, names: Sequence[str]) -> bytes:
    """Leave only the named properties on every member of a page."""
    members = orjson.loads(page)
    for member in members:
        if properties := member.get(PROPERTIES_KEY):
            member[PROPERTIES_KEY] = {name: properties[name] for name in names if name in properties}
    return orjson.dumps(members)


def without_properties(member: bytes) -> bytes:
    """Leave a profile's properties out but keep the profile."""
    head, key, _ = member.partition(b',"$properties":')  # an id cannot hold this: its quotes are escaped
    return head + key + b"{}}" if has_profile(member) else member


def hide_properties(member: bytes, names: Sequence[str]) -> bytes:
    """Leave the named properties of a profile out, without a word about it."""
    if not has_profile(member):
        return member
    found = orjson.loads(member)
    found[PROPERTIES_KEY] = {name: value for name, value in found[PROPERTIES_KEY].items() if name not in names}
    return orjson.dumps(found)


def with_integer_id(member: bytes) -> bytes:
    """Write a member's id as an integer where it is all digits."""
    return NUMERIC_ID.sub(rb'{"$distinct_id":\1', member)


def uuid_text(draw: random.Random) -> str:
    """Draw an id that looks like a UUID."""
    digits = f"{draw.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def believable(draw: random.Random) -> dict[str, Any]:
    """Draw the properties of a person who uses a music service."""
    city, country, prefix = draw.choice(CITIES)
    day = f"{draw.randint(1, 28):02d}"
    return {
        "$first_name": draw.choice(FIRST_NAMES),
        "$last_name": draw.choice(LAST_NAMES),
        "$city": city,
        "$country_code": country,
        "$phone": f"{prefix}{draw.randint(1_000_000, 9_999_999)}",
        "$last_seen": f"2026-08-{day}T{draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}:00",
        "plan": draw.choice(PLANS),
        "purchases": draw.randint(0, 40),
        "lifetime_value": round(draw.random() * 400, 2),
    }


def generated(recipe: Recipe, start: int = 0, count: int | None = None) -> Iterator[tuple[str, bytes]]:
    """Make members by recipe, the same ones for the same recipe and start."""
    draw = random.Random(f"{recipe.seed}:{start}")
    tails = _tails(recipe)
    for index in range(start, start + (recipe.count if count is None else count)):
        user_id = uuid_text(draw) if recipe.ids == "uuid" else f"user-{index:08d}"
        if recipe.is_anonymous(index):
            user_id = DEVICE + user_id
            yield user_id, b'{"$distinct_id":"' + user_id.encode() + b'"' + NO_PROFILE
        else:
            yield user_id, _generated_member(user_id.encode(), tails[index % VARIETY])


def _generated_member(user_id: bytes, tail: bytes | None) -> bytes:
    if tail is None:
        return b'{"$distinct_id":"%b","$properties":{}}' % user_id
    return b'{"$distinct_id":"%b","$properties":{"$email":"%b@example.com"%b}}' % (user_id, user_id, tail)


def _tails(recipe: Recipe) -> list[bytes | None]:
    if recipe.properties == 0:
        return [None] * VARIETY
    draw = random.Random(recipe.seed)
    return [_tail(draw, recipe.properties - 1) for _ in range(VARIETY)]


def _tail(draw: random.Random, count: int) -> bytes:
    properties = list(believable(draw).items())[:count]
    properties += [(f"property_{n}", draw.randint(0, 999)) for n in range(len(properties), count)]
    return b"," + orjson.dumps(dict(properties))[1:-1] if properties else b""
