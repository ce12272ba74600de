"""Count what becomes of the values of mapped properties: those that fit their type, are empty or are dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sync.property_values import BY_DATA_TYPE, ValueForm, convert_value, propose_form

EXAMPLES_SHOWN = 3  # masked values for each reason


@dataclass(frozen=True, slots=True)
class ValueSample:
    """The values of some properties of the people on the first page of a cohort; in memory only.

    ``is_complete``: that page is everybody.
    """

    sources: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...] = field(repr=False)
    is_complete: bool

    def column(self, source: str) -> list[object]:
        """Return the values of a property; nothing for one that was not read."""
        if source not in self.sources:
            return []
        at = self.sources.index(source)
        return [row[at] for row in self.rows]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Values that are dropped for one reason, and how a few of them look, masked."""

    reason: str
    people: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValueCheck:
    """The values of one property, counted: ``fits`` are sent, ``empty`` have no value, ``dropped`` cannot be sent.

    ``fixed``: the attribute's data type in WebEngage, None before its first export.
    """

    source: str
    target: str
    form: ValueForm
    fixed: str | None
    fits: int
    empty: int
    dropped: int
    has_lists: bool
    left_out: tuple[LeftOut, ...]


def choose_form(
    target: str, values: list[object], chosen: ValueForm | None, registered: ValueForm | None, fixed: str | None
) -> ValueForm:
    """Return the form of an attribute: chosen now, chosen before, by its data type, or proposed from the values."""
    if form := chosen or registered:
        return form
    return ValueForm(BY_DATA_TYPE[fixed]) if fixed else propose_form(target, values)


def check_property(
    source: str, target: str, values: list[object], form: ValueForm, fixed: str | None, mask: Callable[[str], str]
) -> ValueCheck:
    """Count what becomes of these values."""
    fits = empty = 0
    dropped: Mapping[str, list[object]] = defaultdict(list)
    for value in values:
        kept, reason = convert_value(target, value, form)
        if reason:
            dropped[reason].append(value)
        elif kept is None:
            empty += 1
        else:
            fits += 1
    left_out = tuple(
        LeftOut(reason, len(those), _list_examples(those, mask)) for reason, those in sorted(dropped.items())
    )
    return ValueCheck(
        source=source,
        target=target,
        form=form,
        fixed=fixed,
        fits=fits,
        empty=empty,
        dropped=sum(one.people for one in left_out),
        has_lists=any(isinstance(one, list) for one in values),
        left_out=left_out,
    )


def _list_examples(values: list[object], mask: Callable[[str], str]) -> tuple[str, ...]:
    """Return how a few different ones look, without saying what they are."""
    return tuple(dict.fromkeys(_describe(one, mask) for one in values))[:EXAMPLES_SHOWN]


def _describe(value: object, mask: Callable[[str], str]) -> str:
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, bool | int | float):
        return "yes or no" if isinstance(value, bool) else "a number"
    if isinstance(value, str):
        return f"“{mask(value)}” of {len(value):,} {'character' if len(value) == 1 else 'characters'}"
    return "an object"
