"""Profile values as WebEngage can hold them: the type of each mapped attribute, and how a value is written for it.

The first value ever sent fixes an attribute's data type in WebEngage, and values of another type are dropped there
without a word (WebEngage docs, custom attributes). So what does not fit is left out here, counted and said.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache

import phonenumbers

from sync.text import cut_text

MAX_STRING_LENGTH = 1000  # UTF-16 units; longer strings are cut (WebEngage docs, custom attributes)
MAX_EMAIL_LENGTH = 254  # characters (RFC 5321, path)
NEARLY_ALL = 0.95  # share of the values that must be of a type before it is proposed
EXACT_MAX = 2**53  # programs disagree about whole numbers beyond it
DATE_EXAMPLE, PHONE_EXAMPLE = "1990-04-01", "+14155550100"
JOINED, SEPARATOR = "joined", ", "  # a list as one text
NO_FILTER = "a list or an object, by which WebEngage cannot filter"
LOOKS_LIKE_DATE = "a text that WebEngage would take for a date"

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_MARKS = re.compile(r"[\s().\-\u2010-\u2015\u2212/\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_NATIONAL_ZERO = re.compile(r"\(\s*0\s*\)")  # "+44 (0)20 …": which digits are dialled is a guess, so none is made
_DECIMAL = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?")
_PLAIN_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")  # no leading zero: that would be a code
_EMAIL = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+\.[^\s@,;<>\".]+")
# How WebEngage writes dates (WebEngage docs, users); a text that looks so is one to it.
_VENDOR_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")
_YES, _NO = ("true", "yes"), ("false", "no")
_COUNTRY = re.compile(r"[A-Z]{2}")


class ValueType(StrEnum):
    """The meaning of a mapped property's values in WebEngage."""

    TEXT = "text"
    NUMBER = "number"
    YES_NO = "yes/no"
    DATE = "date"
    PHONE = "phone"
    EMAIL = "e-mail"
    GENDER = "gender"

    @property
    def data_type(self) -> str:
        """Return WebEngage's data type: a phone number or an address is a string to it."""
        own = {ValueType.NUMBER: "number", ValueType.YES_NO: "boolean", ValueType.DATE: "date"}
        return own.get(self, "string")


CHOICES = tuple(one for one in ValueType if one is not ValueType.GENDER)  # gender is a field of its own
# The fields of a user and what they hold (WebEngage docs, users); opt-ins are never sent.
FIELD_TYPES = {
    "firstName": ValueType.TEXT,
    "lastName": ValueType.TEXT,
    "birthDate": ValueType.DATE,
    "gender": ValueType.GENDER,
    "email": ValueType.EMAIL,
    "phone": ValueType.PHONE,
    "company": ValueType.TEXT,
    "hashedEmail": ValueType.TEXT,
    "hashedPhone": ValueType.TEXT,
}
BY_DATA_TYPE = {
    "string": ValueType.TEXT,
    "number": ValueType.NUMBER,
    "boolean": ValueType.YES_NO,
    "date": ValueType.DATE,
}
_WORDS = {one.value: one for one in CHOICES} | {
    "email": ValueType.EMAIL,
    "yes-no": ValueType.YES_NO,
    "boolean": ValueType.YES_NO,
    "list": ValueType.TEXT,
}
_FOREIGN_WORDS = frozenset(
    {"string", "str", "int", "integer", "float", "double", "numeric", "bool", "datetime", "time"}
)
ALIKE = 0.75  # similarity (difflib) from which a word is a mistyped type; that of “dtae” and “date”
MAX_SHOWN = 40  # UTF-16 units of a wrong word that an error quotes


@dataclass(frozen=True, slots=True)
class ValueForm:
    """The form in which values of an attribute are written. ``joined``: a list as one text; ``country``: of national numbers."""

    type: ValueType
    joined: bool = False
    country: str = ""

    @classmethod
    def parse(cls, text: str) -> ValueForm:
        """Return the form that ``dump`` wrote."""
        kind, *rest = text.split(",")
        return cls(ValueType(kind), JOINED in rest, next((one for one in rest if one != JOINED), ""))

    def dump(self) -> str:
        """Return the form as text, such as ``phone,DE``."""
        return ",".join(
            [self.type.value, *([JOINED] if self.joined else []), *([self.country] if self.country else [])]
        )


Forms = tuple[tuple[str, str], ...]
"""Attributes and how their values are written, as ``ValueForm.dump`` says it."""


def parse_forms(forms: Iterable[tuple[str, str]]) -> dict[str, ValueForm]:
    """Return the form of each attribute."""
    return {target: ValueForm.parse(text) for target, text in forms}


def split_type(text: str) -> tuple[str, ValueForm | None]:
    """Split ``plan=Plan:text`` into the mapping and the form; a colon before any other word is part of the name.

    Raise ValueError for a word that was surely meant as a type: as part of the name it would be permanent.
    """
    rest, sign, word = text.rpartition(":")
    asked = word.strip().lower()
    kind = _WORDS.get(asked) if sign else None
    if sign and not kind and (asked in _FOREIGN_WORDS or get_close_matches(asked, _WORDS, cutoff=ALIKE)):
        known = ", ".join([*CHOICES, "list"])
        shown = cut_text(word.strip(), MAX_SHOWN)
        raise ValueError(f"“{shown}” is no type; write one of {known}, also behind a name that ends with “:{shown}”.")
    return (rest, ValueForm(kind, joined=asked == "list")) if kind else (text, None)


def list_countries() -> list[tuple[str, int]]:
    """Return the countries whose national phone numbers are known, by their two letters, and their calling codes."""
    return [
        (code, phonenumbers.country_code_for_region(code))
        for code in sorted(phonenumbers.SUPPORTED_REGIONS)
        if _COUNTRY.fullmatch(code)
    ]


def find_form_problem(target: str, form: ValueForm, fixed: str | None) -> str | None:
    """Return why an attribute cannot have this form, or None; ``fixed``: its data type in WebEngage."""
    field = FIELD_TYPES.get(target)
    if field and form.type is not field:
        return f"“{target}” is a field of WebEngage that holds {field.value} values, so it cannot be {form.type.value}."
    if fixed and not field and form.type.data_type != fixed:
        return (
            f"“{target}” is of type {BY_DATA_TYPE[fixed].value} in WebEngage since its first export, and WebEngage "
            f"drops values of another type; send it as {BY_DATA_TYPE[fixed].value}, or to another attribute."
        )
    if form.country and form.country not in phonenumbers.SUPPORTED_REGIONS:
        return f"“{form.country[:60]}” is not a country; give two letters, such as DE."
    return None


def convert_value(target: str, value: object, form: ValueForm | None = None) -> tuple[object, str]:
    """Return a value as WebEngage can hold it at this attribute; or None and why it is left out.

    No reason, when there is no value. Without a form an attribute that is no field takes any text, number or yes/no.
    """
    if value is None or value == "":
        return None, ""
    if form is None and target in FIELD_TYPES:
        form = ValueForm(FIELD_TYPES[target])
    if form is None:
        return _convert_any(value)
    convert, reason = _CONVERTERS[form.type]
    kept = convert(value, form)
    if kept is not None or (isinstance(value, str) and not value.strip()):
        return kept, ""
    return None, _explain(value, form) or reason


def _explain(value: object, form: ValueForm) -> str:
    """Return a reason of its own for a value that does not fit, or an empty text."""
    if form.type is ValueType.TEXT:
        return NO_FILTER if isinstance(value, list | dict) else LOOKS_LIKE_DATE
    if form.type is ValueType.PHONE and form.country:
        return f"neither an international phone number nor one of {form.country}"
    return ""


def _convert_any(value: object) -> tuple[object, str]:
    if isinstance(value, str):
        return cut_text(value, MAX_STRING_LENGTH) or None, ""
    if isinstance(value, bool | int | float):
        # A number too large for a float would be written as null.
        return (value, "") if math.isfinite(value) else (None, "not a number that can be sent")
    return None, NO_FILTER


def _convert_text(value: object, form: ValueForm) -> str | None:
    if isinstance(value, list):
        parts = [_write_plain(one) for one in value]
        joinable = form.joined and None not in parts
        text = SEPARATOR.join(part for part in parts if part) if joinable else None
    else:
        text = _write_plain(value)
    if text is None or _VENDOR_DATE.fullmatch(text):
        return None
    return cut_text(text, MAX_STRING_LENGTH) or None


def _write_plain(value: object) -> str | None:
    """Return a text, number or yes/no as text; None for what has parts of its own."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return json.dumps(value) if math.isfinite(value) else None
    return "" if value is None else None


def _convert_number(value: object, _: ValueForm) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value.strip()):
        return None
    number = float(value) if "." in value else int(value)
    return number if abs(number) <= EXACT_MAX else None


def _convert_yes_no(value: object, _: ValueForm) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None


def _convert_date(value: object, _: ValueForm) -> str | None:
    """Return a date in WebEngage's form (WebEngage docs, users); without a zone it is taken as UTC."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value.strip())
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        offset = at.utcoffset()
        if offset is None or offset.total_seconds() % 60:
            at = at.astimezone(UTC)  # the form has no place for the seconds of an offset
    except (ValueError, OverflowError):
        return None
    # %Y would not fill up a year before 1000
    return at.replace(tzinfo=None).isoformat(timespec="seconds") + at.strftime("%z")


def _convert_phone(value: object, form: ValueForm) -> str | None:
    """Return a phone number in E.164 (WebEngage docs, users); a national one only when its country was chosen."""
    if form.country and isinstance(value, str | int) and not isinstance(value, bool):
        return _parse_phone(str(value), form.country)
    if not isinstance(value, str):
        return None
    digits = "" if _NATIONAL_ZERO.search(value) else _PHONE_MARKS.sub("", value)
    return digits if _E164.fullmatch(digits) else None


@lru_cache(maxsize=1024)
def _parse_phone(text: str, country: str) -> str | None:
    try:
        number = phonenumbers.parse(text, country, keep_raw_input=True)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number) or _has_two_readings(number, text):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _has_two_readings(number: phonenumbers.PhoneNumber, text: str) -> bool:
    """Return whether a national number may be an international one without its plus: 4915123456789 in Germany."""
    if number.country_code_source != phonenumbers.CountryCodeSource.FROM_DEFAULT_COUNTRY:
        return False
    try:
        other = phonenumbers.parse(f"+{text}")
    except phonenumbers.NumberParseException:
        return False
    return other.country_code == number.country_code and phonenumbers.is_valid_number(other)


def _convert_email(value: object, _: ValueForm) -> str | None:
    text = value.strip() if isinstance(value, str) else ""
    return text if len(text) <= MAX_EMAIL_LENGTH and _EMAIL.fullmatch(text) else None


def _convert_gender(value: object, _: ValueForm) -> str | None:
    return _GENDERS.get(value.strip().lower()) if isinstance(value, str) else None


_GENDERS = dict.fromkeys(("f", "female", "woman"), "female") | dict.fromkeys(("m", "male", "man"), "male")
_GENDERS |= dict.fromkeys(("o", "other", "x", "diverse", "non-binary", "nonbinary"), "other")
_CONVERTERS: dict[ValueType, tuple[Callable[[object, ValueForm], object], str]] = {
    ValueType.TEXT: (_convert_text, "not a text"),
    ValueType.NUMBER: (_convert_number, "not a number"),
    ValueType.YES_NO: (_convert_yes_no, "neither yes nor no"),
    ValueType.DATE: (_convert_date, f"not a date such as {DATE_EXAMPLE}"),
    ValueType.PHONE: (_convert_phone, f"not an international phone number, such as {PHONE_EXAMPLE}"),
    ValueType.EMAIL: (_convert_email, "not an e-mail address"),
    ValueType.GENDER: (_convert_gender, "not male, female or other"),
}


def data_type_of(value: object) -> str:
    """Return the data type WebEngage gives a value that was converted."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "date" if isinstance(value, str) and _VENDOR_DATE.fullmatch(value) else "string"


def propose_form(target: str, values: Iterable[object]) -> ValueForm:
    """Return the form for an attribute: what nearly all of these values are, else text, which loses none of them."""
    if target in FIELD_TYPES:
        return ValueForm(FIELD_TYPES[target])
    given = [one for one in values if one is not None and one != ""]
    if any(isinstance(one, list) for one in given):
        return ValueForm(ValueType.TEXT, joined=True)
    fits = Counter(kind for one in given for kind in _natural_types(one))
    return ValueForm(next((kind for kind in fits if fits[kind] >= NEARLY_ALL * len(given)), ValueType.TEXT))


def _natural_types(value: object) -> Iterable[ValueType]:
    """Return what a value is besides a text, without bending it: 1 is a number, not a yes."""
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in (*_YES, *_NO)):
        yield ValueType.YES_NO
    elif isinstance(value, int | float) or (isinstance(value, str) and _PLAIN_DECIMAL.fullmatch(value.strip())):
        yield ValueType.NUMBER
    else:
        for kind in (ValueType.DATE, ValueType.EMAIL, ValueType.PHONE):
            if convert_value("", value, ValueForm(kind))[0] is not None:
                yield kind
