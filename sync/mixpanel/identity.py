"""Find the WebEngage User ID of a row: its distinct_id, or the value of the profile property a person chose.

An id is taken exactly as given, with its case and blanks. Text is an id, and so is a whole number; a fraction, yes/no,
a list or half a character is none, since it may be another id than was meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sync.model import MISSING_VALUES, Eligibility, Member, classify_member

WHOLE_MAX = 2**53  # beyond it programs disagree which whole number is meant
ODD_SHOWN = 60  # characters of an id that is no text


def identify(given: object, properties: Mapping[str, Any] | None, has_profile: bool, id_property: str) -> Member:
    """Return who a row is, without values; ``given`` is its distinct_id, ``id_property`` the User ID, empty for that one.

    ``has_profile``: whether these properties count as a profile.
    """
    (user_id, is_id), eligibility = _read(given), _judge(given, has_profile)
    distinct_id = user_id if is_id and user_id.strip() else ""
    of_row = partial(Member, distinct_id=distinct_id, has_profile=None if properties == {} else properties is not None)
    if not id_property:
        return of_row(user_id, eligibility)
    if not distinct_id or not has_profile:
        return of_row("", eligibility)
    value = (properties or {}).get(id_property)
    if _is_missing(value):
        # A device without the property stays what it is: nobody who ever signed in.
        is_device = eligibility is Eligibility.DEVICE_ONLY
        return of_row("", eligibility if is_device else Eligibility.NO_ID_VALUE)
    found = _judge(value, has_profile)
    return of_row(_read(value)[0] if found is Eligibility.IDENTIFIED else "", found)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and (value in MISSING_VALUES or not value.strip()))


def _judge(given: object, has_profile: bool) -> Eligibility:
    """Return the eligibility of the owner of an id."""
    user_id, is_id = _read(given)
    return classify_member(user_id, has_profile) if is_id or not has_profile else Eligibility.ODD_ID


def _read(given: object) -> tuple[str, bool]:
    """Return an id as text, exactly as given, and whether it is one; what is none is cut to what people need to find it.

    Mixpanel's schema has whole numbers, life has text.
    """
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) <= WHOLE_MAX:
        return str(given), True
    if given is None:
        return "", True
    if isinstance(given, str) and is_text(given):
        return given, True
    return ascii(given)[:ODD_SHOWN], False


def is_text(value: str) -> bool:
    """Return whether a text can be sent: half a character, or bytes that were none, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
