"""Guards: the rules by which a plan is held until a person approves it. Decisions on numbers only.

Shares are percent, from 0 to 10,000: a cohort may grow to many times its size.
"""

from __future__ import annotations

from dataclasses import dataclass

from sync.text import count_noun, count_people

MAX_SHARE, MAX_PEOPLE = 10_000.0, 1_000_000_000  # percent, people; the largest limits, stated in the schema too
PREVIEW_GROWTH = 1.2  # a first export is held when it has more than so many times the people of its preview
WHOLE = 100.0  # percent
DRY_RUN = "Dry run: nothing is sent until a person approves."  # why one is held that nothing else holds


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The limits of one run of a sync: it is held when it adds or removes more than both the share and the number."""

    add_share: float = 50.0
    add_people: int = 100
    remove_share: float = 20.0
    remove_people: int = 100

    def find_problem(self) -> str | None:
        """Return what is wrong with these limits, or None."""
        if not all(0 <= share <= MAX_SHARE for share in (self.add_share, self.remove_share)):
            return f"A share is a percentage between 0 and {MAX_SHARE:,.0f}."
        if not all(0 <= people <= MAX_PEOPLE for people in (self.add_people, self.remove_people)):
            return f"A number of people lies between 0 and {MAX_PEOPLE:,}."
        return None

    def has_too_many_added(self, added: int, size: int) -> bool:
        """Return whether adding so many people to ``size`` exceeds both limits."""
        return added > self.add_people and added * WHOLE > self.add_share * size

    def has_too_many_removed(self, removed: int, size: int) -> bool:
        """Return whether removing so many of ``size`` people exceeds both limits."""
        return removed > self.remove_people and removed * WHOLE > self.remove_share * size


@dataclass(frozen=True, slots=True)
class Reading:
    """The members a run read, and how many different ones of them are identified."""

    identified: int
    members: int


@dataclass(frozen=True, slots=True)
class PlanNumbers:
    """The numbers a plan is judged by.

    ``removed`` counts nobody who is on the never-export list. ``size``: people exported before. ``former``: what the
    last successful run read, if that is known. ``is_first``: nothing was exported before, so that everybody is added.
    ``previewed``: the identified people of the preview that the export was started from, if there was one.
    """

    added: int
    removed: int
    size: int
    reading: Reading
    former: Reading | None = None
    is_first: bool = False
    previewed: int | None = None


def find_empty_reading(numbers: PlanNumbers) -> str | None:
    """Return why a plan for which nobody was read is held, or None; no limit and no lifted guard changes this."""
    if numbers.size and not numbers.reading.members:
        before = count_noun(numbers.size, "person was", "people were")
        return f"Mixpanel returned nobody, but {before} exported before."
    return None


def find_guard_reasons(numbers: PlanNumbers, limits: GuardLimits) -> list[str]:
    """Return why a plan needs approval, one sentence or two for each rule; empty when it does not."""
    found = (
        find_empty_reading(numbers),
        _explain_added(numbers, limits),
        _explain_removed(numbers, limits),
        _explain_share(numbers),
    )
    return [reason for reason in found if reason]


def _explain_added(numbers: PlanNumbers, limits: GuardLimits) -> str | None:
    added, size, previewed = numbers.added, numbers.size, numbers.previewed
    if not numbers.is_first:
        if not limits.has_too_many_added(added, size):
            return None
        return (
            f"{count_people(added)} would be added to the {size:,} exported before. "
            f"{_explain_limit(added, size, limits.add_share, limits.add_people)}"
        )
    if previewed is None or numbers.reading.identified <= PREVIEW_GROWTH * previewed:
        return None
    return (
        f"{count_people(numbers.reading.identified)} would be exported, but the preview this was started from showed "
        f"{previewed:,}; more than a fifth more needs approval."
    )


def _explain_removed(numbers: PlanNumbers, limits: GuardLimits) -> str | None:
    removed, size = numbers.removed, numbers.size
    if not limits.has_too_many_removed(removed, size) or find_empty_reading(numbers):
        return None
    return (
        f"{removed:,} of {count_people(size)} exported before would be removed. "
        f"{_explain_limit(removed, size, limits.remove_share, limits.remove_people)}"
    )


def _explain_limit(people: int, size: int, share: float, limit: int) -> str:
    is_now = f"That is {people * WHOLE / size:,.1f} %; this" if size else "This"
    return f"{is_now} sync is held above {share:g} % and {count_people(limit)}."


def _explain_share(numbers: PlanNumbers) -> str | None:
    """Explain that the share of identified people among members with a profile fell by half or more: ids went missing."""
    now, former = numbers.reading, numbers.former
    if former is None or not (now.members and former.identified):
        return None
    if 2 * now.identified * former.members > former.identified * now.members:
        return None
    return (
        f"Only {now.identified:,} of {now.members:,} members with a profile are identified, which is "
        f"{now.identified * WHOLE / now.members:.0f} %; in the last successful run it was "
        f"{former.identified * WHOLE / former.members:.0f} % ({former.identified:,} of {former.members:,})."
    )


def explain_second_person(limit: int) -> str:
    """Return that somebody else has to approve an export of so many people."""
    return f"Exports to more than {count_people(limit)} need the approval of a second person, not only of the one who asked."
