"""Steps of an export: whom it is sent to first, before a person lets it go on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

MAX_TRIED = 1000  # people a first step may have who are chosen by id or by number: one block of changes
WHOLE = 100.0  # percent
SMALL_SHARES = (1.0, 10.0)  # percent; the steps before everybody, when it goes on step by step


@dataclass(frozen=True, slots=True)
class Steps:
    """Describe what is sent before the rest, in one of three ways; the run is held after each step.

    ``first``: so many people of those it adds or updates. ``chosen``: so many people, whose id hashes the run holds.
    ``shares``: these percentages of the plan, ascending, each with everybody before it.
    """

    first: int | None = None
    chosen: int | None = None
    shares: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Steps | None:
        """Return the steps that a run holds as text."""
        if text is None:
            return None
        values = json.loads(text)
        return cls(first=values["first"], chosen=values["chosen"], shares=tuple(values["shares"]))

    def dump(self) -> str:
        """Return steps as the text that a run holds."""
        return json.dumps(asdict(self))

    def find_problem(self) -> str | None:
        """Return what is wrong with these steps, or None."""
        people = self.first if self.first is not None else self.chosen
        if people is not None and not 1 <= people <= MAX_TRIED:
            return f"A first step has between 1 and {MAX_TRIED:,} people."
        if any(not 0 < share < WHOLE for share in self.shares) or list(self.shares) != sorted(set(self.shares)):
            return "The steps are percentages between 0 and 100, each larger than the one before."
        if (self.first is not None) + (self.chosen is not None) + bool(self.shares) != 1:
            return "Choose one way to begin: the first people, certain people, or percentages."
        return None

    @property
    def has_front(self) -> bool:
        """Return whether the people of the first step stand before all others, whatever their id hashes."""
        return not self.shares


@dataclass(frozen=True, slots=True)
class StepNumbers:
    """People of a run in steps: in the steps that were sent, in the next one, and in all that are not sent."""

    sent: int
    next: int
    left: int
