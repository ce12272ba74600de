"""Everything the two documents leave room for, by name, so that a drill can draw it.

A reading is what an API may answer without breaking its documented word (or did answer, in the field),
where a program that believes in one way only goes wrong. Each is drawn with its own numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .control import Member, Sandbox, odd
from .odd import ID, IDS, LISTED, NULL_ROW, NUMBERS, ROW, STRINGS
from .settings import Settings

MANY = 65_536
"""Members on one page, one more than two bytes can count."""
SMALL = (2, 3, 7, 40)
"""Page sizes that make several pages of a small cohort."""
REASON = "Error: attribute limit reached."


@dataclass(frozen=True)
class Reading:
    """One way of answering."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    faults: tuple[dict[str, Any], ...] = ()
    members: tuple[Member, ...] = ()
    """Odd rows to put among a cohort's members; only those with an odd property are exportable."""
    people: int = 0
    """How many members the cohort needs at least for it to matter."""
    deleted: bool = False
    """Whether it is about a cohort that is gone: delete it, the setting answers for it."""

    def begin(self, sandbox: Sandbox) -> None:
        """Have the sandbox answer so from now on; members and deletion are the caller's to do."""
        sandbox.settings(**self.settings)
        for fault in self.faults:
            sandbox.fault(**fault)

    def end(self, sandbox: Sandbox) -> None:
        """Let the sandbox answer as it usually does; faults, poison included, are cleared."""
        usual = Settings()
        sandbox.settings(**{name: getattr(usual, name) for name in self.settings})
        if self.faults:
            sandbox.clear_faults()


Draw = Callable[[random.Random, Sequence[str]], Reading]
"""Makes a reading from luck and from the ids of a cohort's members."""


def _later_page(kind: str) -> Draw:
    def draw(luck: random.Random, ids: Sequence[str]) -> Reading:
        fault = {"kind": kind, "page": luck.choice([1, 2]), "by": luck.choice([1, 5]), "times": luck.choice([1, 3])}
        return Reading(kind, {"page_size": luck.choice(SMALL)}, (fault,))

    return draw


def _odd_member(luck: random.Random, ids: Sequence[str]) -> Reading:
    place = luck.choice([ID, ID, "$last_seen", "nobody_mapped", ROW])
    kinds = {ID: (*STRINGS, *NUMBERS, *IDS), ROW: (NULL_ROW,)}.get(place, (*STRINGS, *NUMBERS))
    return Reading("odd_member", members=(odd(luck.choice(kinds), f"odd-{luck.randrange(10**6)}", place),))


def _odd_page_without_total(kind: str) -> Draw:
    def draw(luck: random.Random, ids: Sequence[str]) -> Reading:
        fault = {"kind": kind, "page": luck.choice([1, 2]), "times": luck.choice([1, 2])}
        return Reading(f"{kind}_without_total", {"page_size": luck.choice(SMALL), "untold": "total"}, (fault,))

    return draw


def _person_fails(luck: random.Random, ids: Sequence[str]) -> Reading:
    chosen = [luck.choice(ids)] if ids else []
    fault = {"kind": "person_fails", "user_ids": chosen, "code": luck.choice([500, 503])}
    return Reading("person_fails", faults=(fault,))


def _everybody_refused(luck: random.Random, ids: Sequence[str]) -> Reading:
    fault = {"kind": "status", "api": "webengage", "path": "bulk-users", "times": 0, "code": 400}
    return Reading(
        "everybody_refused", faults=(fault | {"body": {"response": {"message": REASON, "status": "error"}}},)
    )


def _refusal_quoting_values(luck: random.Random, ids: Sequence[str]) -> Reading:
    fault = {"kind": "poison", "user_ids": [luck.choice(ids)] if ids else []}
    return Reading("refusal_quoting_values", {"refusals": "quoting"}, (fault,))


def _odd_cohorts(luck: random.Random, ids: Sequence[str]) -> Reading:
    return Reading("odd_cohorts", {"odd_cohorts": " ".join(luck.sample(list(LISTED), luck.randint(1, 3)))})


READINGS: dict[str, Draw] = {
    "total_of_the_page": lambda luck, ids: Reading(
        "total_of_the_page", {"total": "page", "page_size": luck.choice(SMALL)}
    ),
    "own_total_of_the_first_page": lambda luck, ids: Reading(
        "own_total_of_the_first_page",
        {"total": "page", "total_on_later_pages": False, "page_size": luck.choice(SMALL)},
    ),
    "no_size_and_total": lambda luck, ids: Reading(
        "no_size_and_total", {"untold": "page_size and total", "page_size": luck.choice(SMALL)}
    ),
    "no_total": lambda luck, ids: Reading("no_total", {"untold": "total", "page_size": luck.choice(SMALL)}),
    "shuffled_members": lambda luck, ids: Reading(
        "shuffled_members", {"member_order": "shuffled", "page_size": luck.choice(SMALL)}
    ),
    "unstable_paging": lambda luck, ids: Reading(
        "unstable_paging", {"paging": "unstable", "page_size": luck.choice(SMALL)}
    ),
    "another_session": _later_page("another_session"),
    "another_total": _later_page("another_total"),
    "another_page_size": _later_page("another_page_size"),
    "null_session": lambda luck, ids: Reading(
        "null_session",
        {"page_size": luck.choice(SMALL)},
        ({"kind": "null_session", "page": luck.choice([0, 1]), "times": luck.choice([0, 1])},),
    ),
    "empty_page_without_total": _odd_page_without_total("empty_page"),
    "short_page_without_total": _odd_page_without_total("short_page"),
    "no_page_behind_the_last": lambda luck, ids: Reading(
        "no_page_behind_the_last",
        {
            "behind_last": luck.choice([400, 404]),
            "page_size": luck.choice([*SMALL, max(1, len(ids)), max(1, len(ids) // 2)]),
        },
    ),
    "gone_cohort_as_an_empty_one": lambda luck, ids: Reading(
        "gone_cohort_as_an_empty_one", {"unknown_cohort": 200}, deleted=True
    ),
    "odd_member": _odd_member,
    "odd_cohorts": _odd_cohorts,
    "page_of_many": lambda luck, ids: Reading(
        "page_of_many", {"page_size": MANY + luck.choice([0, 1, 34_464])}, people=MANY
    ),
    "person_fails": _person_fails,
    "everybody_refused": _everybody_refused,
    "refusal_quoting_values": _refusal_quoting_values,
}
"""Every reading by name; `READINGS[luck.choice(list(READINGS))](luck, ids)` draws one."""
