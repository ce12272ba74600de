"""A WebEngage account: who it knows, what it holds about them, and the rules it keeps."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from .rate_limits import Window

MINUTE = 60.0
USER_ID_MAX = 100  # WebEngage docs, users API: userId at most 100 characters
NAME_LIMIT = 50  # WebEngage docs, custom attributes: names under 50 characters
STRING_MAX = 1000  # WebEngage docs, custom attributes: longer strings are cut
PER_TYPE = 25  # WebEngage docs, custom attributes: 25 per data type
RESERVED = "we_"  # WebEngage docs, custom attributes: such names are silently ignored
EVENTS_KEPT = 50_000
FIELDS = (
    "firstName",
    "lastName",
    "birthDate",
    "gender",
    "email",
    "phone",
    "company",
    "emailOptIn",
    "smsOptIn",
    "whatsappOptIn",
    "hashedEmail",
    "hashedPhone",
)  # WebEngage docs, users API
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")
PER_MINUTE = {"users": 5000, "events": 5000, "bulk-events": 500, "opengdpr_requests": 100}  # WebEngage docs, limits

MISSING_ID = "Error: userId and anonymousId cannot be empty."  # WebEngage docs, users API: the documented error


def type_of(value: Any) -> str:
    """The data type WebEngage gives a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "date" if DATE.fullmatch(value) else "string"
    return "array" if isinstance(value, list) else "object"


class Account:
    """One license. Values are kept attribute by attribute, which keeps a million people small."""

    def __init__(self, license_code: str, api_key: str) -> None:
        self.license, self.api_key = license_code, api_key
        self.known: set[str] = set()
        self.attributes: dict[str, dict[str, Any]] = {}
        self.fields: dict[str, dict[str, Any]] = {}
        self.types: dict[str, str] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self.arrived_ids: set[str] = set()
        self.applied_ids: set[str] = set()
        self.windows: dict[str, Window] = {}

    def window(self, what: str, seconds: float | None = None) -> Window:
        """The rolling minute of one endpoint."""
        window = self.windows.setdefault(what, Window(MINUTE))
        window.seconds = seconds or window.seconds
        return window

    def holds(self, user: dict[str, Any]) -> bool:
        """Whether everything a request tells about one person's attributes is known already."""
        told = user.get("attributes") or {}
        return bool(told) and all(self.attributes.get(name, {}).get(user["userId"]) == told[name] for name in told)

    def put(self, user: dict[str, Any]) -> None:
        """Create or update one person; what is not sent keeps its value."""
        user_id = user["userId"]
        self.known.add(user_id)
        for name in user.keys() & FIELDS_SET:
            if user[name] is not None:
                self.fields.setdefault(name, {})[user_id] = user[name]
        for name, value in (user.get("attributes") or {}).items():
            self._put_attribute(user_id, name, value)

    def _put_attribute(self, user_id: str, name: str, value: Any) -> None:
        if value is None or not self._takes(name, type_of(value)):
            return
        self.attributes.setdefault(name, {})[user_id] = value[:STRING_MAX] if isinstance(value, str) else value

    def _takes(self, name: str, kind: str) -> bool:
        fixed = self.types.get(name)
        if fixed is None:
            return self._opens(name, kind)
        return fixed == kind

    def _opens(self, name: str, kind: str) -> bool:
        full = sum(1 for other in self.types.values() if other == kind) >= PER_TYPE
        if full or not 0 < len(name) < NAME_LIMIT or name.startswith(RESERVED):
            return False
        self.types[name] = kind
        return True

    def forget(self, user_id: str) -> None:
        """Erase a person."""
        self.known.discard(user_id)
        for column in [*self.attributes.values(), *self.fields.values()]:
            column.pop(user_id, None)

    def profile(self, user_id: str) -> dict[str, Any] | None:
        """Everything held about one person, or nothing."""
        if user_id not in self.known:
            return None
        own = {name: column[user_id] for name, column in self.fields.items() if user_id in column}
        attributes = {name: column[user_id] for name, column in self.attributes.items() if user_id in column}
        return {"userId": user_id, **own, "attributes": attributes}

    def holding(self, attribute: str) -> dict[str, list[str]]:
        """Who has a boolean attribute true, and who false."""
        column = self.attributes.get(attribute, {})
        return {
            "true": [user_id for user_id, value in column.items() if value is True],
            "false": [user_id for user_id, value in column.items() if value is False],
        }


FIELDS_SET = frozenset(FIELDS)


def wrong_with(user: Any, poison: set[str]) -> str:
    """What is wrong with one user of a request, or nothing."""
    if not isinstance(user, dict):
        return "Error: user must be an object."
    user_id = user.get("userId")
    if not user_id:
        return "" if user_id is None and user.get("anonymousId") else MISSING_ID
    if not isinstance(user_id, str):
        return "Error: userId must be a string."
    if len(user_id) > USER_ID_MAX:
        return f"Error: userId cannot be longer than {USER_ID_MAX} characters."
    if not isinstance(user.get("attributes") or {}, dict):
        return "Error: attributes must be an object."
    return "Error: invalid user." if user_id in poison else ""
