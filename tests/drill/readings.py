"""The readings a leg may meet: what both documents leave room for, drawn beside the faults and taken back later."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tests.sandbox.control import Member, Sandbox
from tests.sandbox.readings import READINGS, Reading

PAGE_SIZE = 100
SMALLEST_PAGE = 40  # of a cohort with more people than FEW, so that a round takes seconds
FEW = 100
TOO_LARGE = ("page_of_many",)
"""Readings that need 65,536 members, more than a round has; tests/test_sandbox_readings.py has them."""
DRAWN = tuple(name for name in READINGS if name not in TOO_LARGE)
LASTING = frozenset(
    ("total_of_the_page", "no_total", "shuffled_members", "odd_member", "odd_cohorts", "refusal_quoting_values")
)
"""Readings with which a run can be right, so that they may still be in force when it has to succeed."""


@dataclass
class Readings:
    """Return what is read another way right now."""

    sandbox: Sandbox
    random: random.Random
    in_force: list[Reading] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    """People for whom WebEngage answers with a server's error."""
    rejected: set[str] = field(default_factory=set)
    """People WebEngage refuses, on top of those the round poisoned."""

    def draw(self, people: Sequence[Member]) -> Reading:
        """Put one reading in force; its odd members are the caller's to add."""
        name = self.random.choice(DRAWN)
        reading = _sized(READINGS[name](self.random, [str(one["id"]) for one in people]), len(people))
        reading.begin(self.sandbox)
        self.in_force.append(reading)
        for fault in reading.faults:
            chosen = set(fault.get("user_ids", ()))
            if fault["kind"] == "person_fails":
                self.failing |= chosen
            elif fault["kind"] == "poison":
                self.rejected |= chosen
        return reading

    def hides_lack(self) -> bool:
        """Return whether nobody could find out that a page lacks people."""
        return any(one.name == "total_of_the_page" for one in self.in_force)

    def end(self, *, keep_lasting: bool = False) -> None:
        """Let both APIs answer as they usually do, but for the readings that may last."""
        kept = [one for one in self.in_force if keep_lasting and one.name in LASTING]
        for one in self.in_force:
            one.end(self.sandbox)
        self.sandbox.settings(page_size=PAGE_SIZE)
        for one in kept:
            self.sandbox.settings(**one.settings)
        self.in_force = kept
        self.failing.clear()


def _sized(reading: Reading, people: int) -> Reading:
    size = reading.settings.get("page_size")
    if size is None or people <= FEW or size >= SMALLEST_PAGE:
        return reading
    return replace(reading, settings={**reading.settings, "page_size": SMALLEST_PAGE})
