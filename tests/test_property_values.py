"""Specify how values of mapped properties are written: each type at its borders, phones by country, dates by zone."""

from __future__ import annotations

import pytest

from sync.property_values import (
    LOOKS_LIKE_DATE,
    MAX_STRING_LENGTH,
    NO_FILTER,
    ValueForm,
    ValueType,
    convert_value,
    propose_form,
    split_type,
)
from tests.sandbox.accounts import DATE, type_of

TEXT, NUMBER, YES_NO = ValueForm(ValueType.TEXT), ValueForm(ValueType.NUMBER), ValueForm(ValueType.YES_NO)
DAY, PHONE, EMAIL = ValueForm(ValueType.DATE), ValueForm(ValueType.PHONE), ValueForm(ValueType.EMAIL)
JOINED, GERMAN = ValueForm(ValueType.TEXT, joined=True), ValueForm(ValueType.PHONE, country="DE")


@pytest.mark.parametrize(
    ("form", "value", "kept"),
    [
        (TEXT, "gold", "gold"),
        (TEXT, 5, "5"),
        (TEXT, 2.5, "2.5"),
        (TEXT, True, "true"),
        (TEXT, "x" * (MAX_STRING_LENGTH + 1), "x" * MAX_STRING_LENGTH),
        (JOINED, ["a", 1, None, True], "a, 1, true"),
        (JOINED, ["x" * 999, "y"], "x" * 999 + ","),
        (NUMBER, 5, 5),
        (NUMBER, -0.5, -0.5),
        (NUMBER, " 12 ", 12),
        (NUMBER, "-12.50", -12.5),
        (NUMBER, str(2**53), 2**53),
        (YES_NO, False, False),
        (YES_NO, "Yes", True),
        (YES_NO, "FALSE", False),
        (YES_NO, 1, True),
        (YES_NO, 0.0, False),
        (EMAIL, " Ann@Example.com ", "Ann@Example.com"),
        (EMAIL, "x" * 242 + "@example.com", "x" * 242 + "@example.com"),
    ],
)
def test_a_value_that_fits_its_type_is_written_as_it(form: ValueForm, value: object, kept: object) -> None:
    """Up to the border of each type; a number or a yes/no can be written as text, nothing is cut but a long text."""
    assert convert_value("Custom", value, form) == (kept, "")
    assert type(convert_value("Custom", value, form)[0]) is type(kept)


@pytest.mark.parametrize(
    ("form", "value", "reason"),
    [
        (TEXT, ["a"], NO_FILTER),
        (TEXT, {"a": 1}, NO_FILTER),
        (JOINED, [["a"]], NO_FILTER),
        (JOINED, {"a": 1}, NO_FILTER),
        (TEXT, "2024-01-01T00:00:00+0000", LOOKS_LIKE_DATE),
        (NUMBER, True, "not a number"),
        (NUMBER, "1,234", "not a number"),
        (NUMBER, "1e3", "not a number"),
        (NUMBER, "٣", "not a number"),
        (NUMBER, str(2**53 + 1), "not a number"),
        (NUMBER, float("inf"), "not a number"),
        (NUMBER, [5], "not a number"),
        (YES_NO, 2, "neither yes nor no"),
        (YES_NO, "maybe", "neither yes nor no"),
        (EMAIL, "ann@localhost", "not an e-mail address"),
        (EMAIL, "ann@example.com, bob@example.com", "not an e-mail address"),
        (EMAIL, "x" * 243 + "@example.com", "not an e-mail address"),
        (EMAIL, 5, "not an e-mail address"),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_left_out_with_a_reason(
    form: ValueForm, value: object, reason: str
) -> None:
    """WebEngage would drop it without a word, or fix the wrong type by it."""
    assert convert_value("Custom", value, form) == (None, reason)


@pytest.mark.parametrize("form", [None, TEXT, JOINED, NUMBER, YES_NO, DAY, PHONE, GERMAN, EMAIL])
@pytest.mark.parametrize("value", [None, ""])
def test_no_value_is_never_called_dropped(form: ValueForm | None, value: object) -> None:
    """Empty is empty, of whatever type."""
    assert convert_value("Custom", value, form) == (None, "")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("2024-02-29", "2024-02-29T00:00:00+0000"),
        ("2024-01-01T10:00:00", "2024-01-01T10:00:00+0000"),
        ("2024-01-01T10:00:00.987Z", "2024-01-01T10:00:00+0000"),
        ("2024-01-01T10:00:00+14:00", "2024-01-01T10:00:00+1400"),
        ("2024-01-01T10:00:00-0930", "2024-01-01T10:00:00-0930"),
        ("2024-01-01T10:00:00+05:30:15", "2024-01-01T04:29:45+0000"),
        ("0999-01-01", "0999-01-01T00:00:00+0000"),
        ("2023-02-29", None),
        ("0001-01-01T00:00:00+00:00:30", None),
        ("01.02.2024", None),
        (1_700_000_000, None),
    ],
)
def test_a_date_is_written_in_the_form_of_webengage_whatever_its_zone(value: object, kept: str | None) -> None:
    """A date without a zone is one of UTC; an offset that the form has no place for becomes UTC; no guess is made."""
    found, reason = convert_value("Custom", value, DAY)
    assert found == kept and bool(reason) is (kept is None)
    assert kept is None or DATE.fullmatch(kept)


@pytest.mark.parametrize(
    ("country", "value", "kept"),
    [
        ("DE", "030 1234567", "+49301234567"),
        ("DE", "0151/234-56789", "+4915123456789"),
        ("DE", "0049 30 1234567", "+49301234567"),
        ("DE", "+1 (415) 555-2671", "+14155552671"),
        ("DE", 15123456789, "+4915123456789"),
        ("US", "(415) 555-2671", "+14155552671"),
        ("IN", "98765 43210", "+919876543210"),
        ("GB", "020 7946 0958", "+442079460958"),
        ("IT", "06 6982", "+39066982"),
        ("DE", "4915123456789", None),  # a German number without its plus, or one of a German town
        ("DE", "110", None),
        ("DE", "030 1234567 ext. 5", None),
        ("US", "030 1234567", None),
        ("", "030 1234567", None),
        ("", 15123456789, None),
    ],
)
def test_a_national_number_becomes_an_international_one_of_the_country(
    country: str, value: object, kept: str | None
) -> None:
    """Without a country no guess is made, nor where a number has two readings."""
    found, reason = convert_value("phone", value, ValueForm(ValueType.PHONE, country=country))
    assert found == kept and bool(reason) is (kept is None)


@pytest.mark.parametrize(
    ("values", "proposed"),
    [
        (["gold", "silver"], TEXT),
        ([1, 2.5, "3"], NUMBER),
        (["007", "12"], TEXT),
        ([True, False], YES_NO),
        (["yes", "no"], YES_NO),
        (["2024-01-01", "2024-01-02T10:00:00Z"], DAY),
        (["a@example.com"] * 20 + ["none"], EMAIL),
        (["a@example.com", "none"], TEXT),
        (["+14155552671"], PHONE),
        ([1, "gold"], TEXT),
        ([["a"], "b"], JOINED),
        ([None, ""], TEXT),
    ],
)
def test_the_proposed_type_is_what_nearly_all_values_are(values: list[object], proposed: ValueForm) -> None:
    """Text where it is not clear, which loses no value."""
    assert propose_form("Custom", values) == proposed


def test_a_type_is_read_after_the_last_colon_if_it_is_one() -> None:
    """Another word after a colon is part of the attribute's name, as before."""
    assert split_type("age=Age:number") == ("age=Age", NUMBER)
    assert split_type("tags=Tags:list") == ("tags=Tags", JOINED)
    assert split_type("$mail=Work:E-Mail") == ("$mail=Work", EMAIL)
    assert split_type("plan=Plan: the new one") == ("plan=Plan: the new one", None)
    for form in (TEXT, JOINED, GERMAN, NUMBER):
        assert ValueForm.parse(form.dump()) == form


@pytest.mark.parametrize("text", ["age=Age:nubmer", "age=Age:string", "age=Age:int", "age=Age:Bool", "mail:e-mial"])
def test_a_type_that_is_mistyped_is_refused_with_the_types_there_are(text: str) -> None:
    """It would be part of the attribute's name, and that is permanent; with a type behind it, it still can be."""
    with pytest.raises(ValueError, match="is no type; write one of text, number, yes/no, date, phone, e-mail, list"):
        split_type(text)
    assert split_type(f"{text}:text") == (text, TEXT)


def test_the_sandbox_gives_a_text_that_looks_like_a_date_the_type_date() -> None:
    """As WebEngage does, whose JSON has no other way to write a date."""
    assert type_of("2024-01-01T00:00:00+0000") == "date" and type_of("2024-01-01") == "string"
