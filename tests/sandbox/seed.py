"""A believable project to look at: a music service and its cohorts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from . import names
from .people import DEVICE, Recipe, believable, member_bytes, uuid_text
from .world import LIVE, Cohort, World

Person = tuple[str, bytes]
POPULATION = 26_000
STRANGERS = 4_000
DEVICES_WITH_PROFILE = 25
"""Every so many-th device owns a profile (Mixpanel docs: such an id can)."""
LITERAL_EVERY = 40
"""Every so many-th person has a property holding the literal "<null>" or "<undefined>" (seen live)."""
RESERVE = 10
"""A cohort's pool of people who may enter later: one for every so many members."""
FIRST_ID = 4711
UNICODE_IDS = 240
LONG_ID = 130


@dataclass(frozen=True)
class Plan:
    """One cohort of the demo."""

    name: str
    description: str
    identified: int
    anonymous: int = 0
    created: str = "2026-03-02 09:15:00"
    count: int | str | None = LIVE


PLANS = (
    Plan(
        "Power Users",
        "Users who have purchased more than 5 times in the last 30 days",
        8_112,
        617,
        "2024-11-18 14:03:27",
    ),
    Plan("Weekly Listeners", "Played at least one song in the last 7 days", 17_860, 2_140, "2023-06-05 08:41:10"),
    Plan("New Signups", "Signed up in the last 14 days", 3_205, 207, "2025-01-09 10:22:54"),
    Plan("Lapsing Subscribers", "Premium or family plan, no session in 21 days", 1_986, 0, "2025-04-30 16:47:02"),
    Plan("Trial Ending Soon", "The trial ends within 3 days and no card is on file", 412, 0, "2026-02-11 12:00:00"),
    Plan("Cart Abandoners", "Opened the checkout and did not buy within a day", 2_290, 350, "2025-09-23 07:30:45"),
    Plan("Playlist Creators", "Created a playlist with 10 songs or more", 6_105, 0, "2024-02-14 19:05:33"),
    Plan("Pricing Page Visitors", "Saw the pricing page and never signed in", 0, 1_250, "2026-05-20 13:13:13"),
    Plan(
        "Family Plan Prospects",
        "Listens on three devices or more, still on premium",
        530,
        12,
        "2026-08-01 09:00:00",
        count=None,
    ),
    Plan("Refund Requests", "Asked for a refund in the last 24 hours", 0, 0, "2026-06-15 11:11:00"),
)


def seed_world(world: World, seed: int) -> None:
    """Fill the default project; the same seed gives the same people."""
    draw = random.Random(seed)
    people, strangers = _people(draw), _strangers(draw)
    for number, plan in enumerate(PLANS):
        cohort = Cohort(FIRST_ID + 13 * number, plan.name, plan.description, plan.created, count=plan.count)
        _fill(cohort, draw.sample(people, plan.identified + plan.identified // RESERVE), plan.identified)
        _fill(cohort, draw.sample(strangers, plan.anonymous), plan.anonymous)
        cohort.recipe = Recipe(len(cohort.members), seed + number, anonymous=plan.anonymous)
        world.add_cohort(world.projects[names.PROJECT], cohort)
    for cohort in (_unicode(draw), _imported(draw), _group(draw)):
        world.add_cohort(world.projects[names.PROJECT], cohort)


def _fill(cohort: Cohort, people: Sequence[Person], inside: int) -> None:
    cohort.members.update(people[:inside])
    cohort.away.update(people[inside:])


def _people(draw: random.Random) -> list[Person]:
    return [_person(draw, f"mf_{draw.getrandbits(40):010x}", n) for n in range(POPULATION)]


def _person(draw: random.Random, user_id: str, number: int) -> Person:
    properties = {"$email": f"{user_id}@example.com", **believable(draw)}
    if number % LITERAL_EVERY == 0:
        properties |= {"$phone": "<null>", "$city": "<undefined>"}
    return user_id, member_bytes(user_id, properties)


def _strangers(draw: random.Random) -> list[Person]:
    return [_stranger(draw, number) for number in range(STRANGERS)]


def _stranger(draw: random.Random, number: int) -> Person:
    user_id = uuid_text(draw) if number % 3 == 0 else DEVICE + uuid_text(draw)
    seen = {"$last_seen": "2026-08-20T10:00:00", "$city": "Berlin"}
    owns_profile = number % DEVICES_WITH_PROFILE == 1 and user_id.startswith(DEVICE)
    return user_id, member_bytes(user_id, seen if owns_profile else None)


def _special(number: int, name: str, description: str, people: Sequence[Person], group: str | None = None) -> Cohort:
    cohort = Cohort(FIRST_ID + 13 * number, name, description, "2025-12-01 17:20:09", group)
    _fill(cohort, people, len(people))
    cohort.recipe = Recipe(max(len(people), 1), number)
    return cohort


def _unicode(draw: random.Random) -> Cohort:
    handles = ("東京の音楽", "São João", "Łódź beats", "мелодия", "naïve café", "🎧 listener", "ΜΟΥΣΙΚΗ", "Some Case")
    people = [_person(draw, f"{handles[n % len(handles)]} {n}", n) for n in range(UNICODE_IDS)]
    return _special(len(PLANS), "Fans Around the World 🌍", "People who chose their handle as user id", people)


def _imported(draw: random.Random) -> Cohort:
    plain = [_person(draw, f"crm-{n:05d}", n) for n in range(100)]
    long = [_person(draw, f"legacy-{n}-".ljust(LONG_ID, "x"), n) for n in range(10)]
    numbers = [
        (str(n), member_bytes(n, {"$email": f"{n}@example.com", **believable(draw)})) for n in range(70_001, 70_041)
    ]
    return _special(len(PLANS) + 1, "Imported CRM Contacts", "Came over from the old CRM", plain + long + numbers)


def _group(draw: random.Random) -> Cohort:
    rooms = [(f"room-{n}", member_bytes(f"room-{n}", {"$name": f"Room {n}"})) for n in range(64)]
    return _special(
        len(PLANS) + 2,
        "Busy Listening Rooms",
        "Rooms with more than 20 listeners a day",
        rooms,
        group="1584962307748921344",
    )
