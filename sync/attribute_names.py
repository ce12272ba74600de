"""The names of WebEngage attributes: proposed, checked, and paired with the profile properties they are filled from."""

from __future__ import annotations

from sync.model import MAX_QUOTED
from sync.property_values import FIELD_TYPES
from sync.text import count_units, cut_text, fold_name, has_only_visible, show_text

ATTRIBUTE_MAX = 49  # UTF-16 units; "under 50 characters" (WebEngage docs, custom attributes), counted the longest way
# Profile properties Mixpanel reserves and the fields of a WebEngage user that mean the same (both vendors' docs).
STANDARD_MAPPING = (("$first_name", "firstName"), ("$last_name", "lastName"), ("$email", "email"), ("$phone", "phone"))
# What every WebEngage user has besides custom attributes (WebEngage docs, users); `*OptIn` says who may be written to.
_FIELDS = frozenset(
    name.casefold() for name in (*FIELD_TYPES, "userId", "anonymousId", "emailOptIn", "smsOptIn", "whatsappOptIn")
)


def suggest_attribute(cohort_name: str, taken: frozenset[str]) -> str:
    """Propose the attribute of a cohort: ``Mixpanel - <name>``, cut to 49 characters, unique whatever its case.

    Whatever the cohort is called, the proposal passes ``find_attribute_problem``.
    """
    plain = cut_text(f"Mixpanel - {show_text(cohort_name)}", ATTRIBUTE_MAX).rstrip()
    name, number, folded = plain, 2, set(map(fold_name, taken))
    while fold_name(name) in folded:
        tail = f" {number}"
        name, number = cut_text(plain, ATTRIBUTE_MAX - len(tail)).rstrip() + tail, number + 1
    return name


def find_attribute_problem(name: str, taken: frozenset[str]) -> str | None:
    """Return what is wrong with the name of a cohort's attribute, or None."""
    if name.casefold() in _FIELDS:
        return (
            f"“{name}” is a field that every WebEngage user has, not an attribute of a cohort; choose another name, "
            "such as Mixpanel - Power Users."
        )
    return _find_name_problem(name, taken)


def _find_name_problem(name: str, taken: frozenset[str]) -> str | None:
    """Return what is wrong with the name of any attribute, or None; the rules are WebEngage's (docs, custom attributes)."""
    if not name.strip() or name != name.strip():
        return "The attribute needs a name without spaces at its ends."
    if count_units(name) > ATTRIBUTE_MAX:
        quoted = f"“{name[:MAX_QUOTED]}” has {count_units(name)} characters"
        return f"{quoted}; WebEngage takes at most {ATTRIBUTE_MAX}, so shorten it."
    if name.lower().startswith("we_"):
        return f"“{name}” begins with we_, which WebEngage reserves and silently ignores; choose another name."
    if not has_only_visible(name):
        return "The attribute's name has a character that cannot be shown; type it again."
    if fold_name(name) in map(fold_name, taken):
        return f"“{name}” already belongs to another cohort of this WebEngage account; choose another name."
    return None


def default_attribute_for(source: str) -> str:
    """Return the attribute a profile property goes to unless another is named."""
    return dict(STANDARD_MAPPING).get(source, source.removeprefix("$"))


def parse_mapping(text: str) -> tuple[str, str]:
    """Parse ``plan=Plan`` into a profile property and its attribute; raise ValueError when one is missing.

    A property alone goes to the attribute that means the same: ``$email`` to ``email``, ``plan`` to ``plan``.
    """
    source, sign, target = (part.strip() for part in text.rpartition("="))
    if not sign:
        source, target = target, default_attribute_for(target)
    if not source or not target:
        raise ValueError(f"“{text[:MAX_QUOTED]}” does not name a property and its attribute, such as $email=email.")
    return source, target


def find_mapping_problem(target: str) -> str | None:
    """Return why a property cannot be exported to this attribute, or None."""
    if target.endswith("OptIn"):
        return f"“{target}” is an opt-in; Cohort Sync never sends opt-ins."
    return _find_name_problem(target, frozenset())
