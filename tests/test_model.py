"""The pure decisions, held by properties over everything hypothesis can think of."""

from __future__ import annotations

import json
import math
import random
from itertools import groupby

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.attribute_names import (
    ATTRIBUTE_MAX,
    find_attribute_problem,
    find_mapping_problem,
    parse_mapping,
    suggest_attribute,
)
from sync.errors import ApiError
from sync.http_client import Reply, clean_text, is_loopback, parse_retry_after
from sync.mixpanel.parsing import parse_columns, parse_page
from sync.model import Change, ChangeKind, Eligibility, classify_member, next_scheduled_at, parse_interval
from sync.packing import (
    ID_SIZE,
    RECORD_SIZE,
    RecordSet,
    cut_records,
    hash_id,
    mapping_salt,
    pack,
    records_of,
    split_records,
    unpack_ids,
)
from sync.webengage import build_payload

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
IDS = TEXT.filter(lambda text: text.strip() != "")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False),
    TEXT,
    st.lists(st.integers(0, 3)),
)


@given(TEXT, st.booleans())
def test_a_member_when_identified_has_a_profile_and_a_valid_id(user_id: str, has_profile: bool) -> None:
    """An id goes to WebEngage exactly when it is not blank, no device's, at most 100 characters, and has a profile."""
    goes = bool(user_id.strip()) and not user_id.startswith("$device:") and has_profile and len(user_id) <= 100
    assert (classify_member(user_id, has_profile) is Eligibility.IDENTIFIED) == goes


@pytest.mark.parametrize(
    ("user_id", "has_profile", "eligibility"),
    [
        ("", True, Eligibility.EMPTY_ID),
        ("  ", True, Eligibility.EMPTY_ID),
        ("  ", False, Eligibility.NO_PROFILE),
        ("$device:1", True, Eligibility.DEVICE_ONLY),
        ("a", False, Eligibility.NO_PROFILE),
        ("x" * 101, True, Eligibility.LONG_ID),
        ("x" * 101, False, Eligibility.NO_PROFILE),
        ("x" * 100, True, Eligibility.IDENTIFIED),
        (" a", True, Eligibility.IDENTIFIED),
    ],
)
def test_a_member_when_not_exported_has_a_reason(user_id: str, has_profile: bool, eligibility: Eligibility) -> None:
    """The reason is the first that applies."""
    assert classify_member(user_id, has_profile) is eligibility


@given(TEXT, st.frozensets(TEXT, max_size=5))
def test_a_suggested_attribute_is_short_and_free(name: str, taken: frozenset[str]) -> None:
    """The proposal is never longer than WebEngage takes, and never another cohort's."""
    for _ in range(3):
        proposed = suggest_attribute(name, taken)
        assert len(proposed) <= ATTRIBUTE_MAX and proposed not in taken and proposed.startswith("Mixpanel -")
        taken |= {proposed}


@pytest.mark.parametrize("name", ["", " x", "x ", "we_x", "WE_x", "x" * 50, "a\nb", "Taken"])
def test_an_attribute_when_webengage_would_drop_it_is_refused(name: str) -> None:
    """Empty, spaced, reserved, too long, invisible or taken names get a sentence."""
    assert find_attribute_problem(name, frozenset({"Taken"}))


@pytest.mark.parametrize(
    "name", ["email", "Email", "firstName", "hashedPhone", "userId", "emailOptIn", "whatsappoptin"]
)
def test_an_attribute_of_a_cohort_when_it_is_a_field_of_a_user_is_refused(name: str) -> None:
    """True and false belong in no field, and an opt-in is never sent; a property may fill the fields, save opt-ins."""
    assert "field" in (find_attribute_problem(name, frozenset()) or "")
    assert find_mapping_problem("email") is None and find_mapping_problem("emailOptIn")


@given(st.floats(0, 2e9), st.floats(300, 1e6), st.floats(0, 2e9))
def test_the_next_refresh_is_ahead_and_a_whole_number_of_intervals_away(
    anchor: float, every: float, now: float
) -> None:
    """The next refresh is after now, at most one interval away, a whole number of intervals from the anchor."""
    beat = next_scheduled_at(anchor, every, now)
    steps = (beat - anchor) / every
    assert now - 1e-3 <= beat <= now + every + 1e-3
    assert math.isclose(steps, round(steps), rel_tol=1e-6, abs_tol=1e-3)


@pytest.mark.parametrize("text", ["", "2", "h", "2w", "-2h", "0h", "1s", "31d", "2h30m", "٢h "])
def test_an_interval_when_invalid_is_refused(text: str) -> None:
    """Anything but a number and a unit between 5 minutes and 30 days is a ValueError with a sentence."""
    if text == "٢h ":
        assert parse_interval(text) == 7200.0  # digits of any script are digits
        return
    with pytest.raises(ValueError, match="“"):
        parse_interval(text)


def test_an_interval_when_valid_is_parsed() -> None:
    """Minutes, hours, days and seconds."""
    assert [parse_interval(text) for text in ("30m", "2h", "1d", "7200s")] == [1800, 7200, 86400, 7200]


@pytest.mark.slow
@given(st.lists(st.tuples(IDS, st.sampled_from(ChangeKind), VALUES), min_size=1, max_size=25))
def test_a_payload_has_true_or_false_and_never_null(people: list[tuple[str, ChangeKind, object]]) -> None:
    """Everyone is there once, unaltered, with true or false, no null, no too long string, no value for who left."""
    changes = [Change(user_id, kind, (value,)) for user_id, kind, value in people]
    users = json.loads(build_payload("Fans", changes, (("$x", "colour"),)))["users"]
    assert [user["userId"] for user in users] == [user_id for user_id, _, _ in people]
    for user, (_, kind, _value) in zip(users, people, strict=True):
        assert user["attributes"]["Fans"] is (kind is not ChangeKind.REMOVE)
        colour = user["attributes"].get("colour", "")
        assert colour is not None and not isinstance(colour, list | dict)
        assert len(str(colour)) <= 1000 or not isinstance(colour, str)
        assert kind is not ChangeKind.REMOVE or "colour" not in user["attributes"]


def test_a_phone_when_not_e164_is_left_out() -> None:
    """A phone WebEngage could not use is left out; a standard field stands beside the attributes."""
    changes = [Change("a", ChangeKind.ADD, ("+4930123456",)), Change("b", ChangeKind.ADD, ("030 123456",))]
    first, second = json.loads(build_payload("Fans", changes, (("$phone", "phone"),)))["users"]
    assert first["phone"] == "+4930123456" and "phone" not in second


@given(st.lists(IDS, unique=True, max_size=50), st.integers(0, 2**63 - 1))
def test_a_record_says_who_and_what_and_nothing_else(ids: list[str], salt: int) -> None:
    """The first half depends on id and salt, the second on the values and where they go too."""
    there = mapping_salt(salt, (("plan", "Plan"),))
    plain = records_of(ids, [], salt, salt)
    valued = records_of(ids, [b'["x"]'] * len(ids), salt, there)
    elsewhere = records_of(ids, [b'["x"]'] * len(ids), salt, mapping_salt(salt, (("plan", "Other"),)))
    assert [one[:ID_SIZE] for one in plain] == [hash_id(one, salt) for one in ids] == [one[:ID_SIZE] for one in valued]
    assert len({*plain, *valued, *elsewhere}) == 3 * len(ids)
    assert not set(plain) & set(records_of(ids, [], salt + 1, salt + 1))


@given(st.lists(st.binary(min_size=RECORD_SIZE, max_size=RECORD_SIZE)), st.lists(st.integers(0, 256), min_size=2))
def test_records_are_cut_by_their_first_byte(records: list[bytes], bounds: list[int]) -> None:
    """Between two bounds stand exactly the records whose first byte lies between them."""
    bounds, blob = sorted(bounds), b"".join(sorted(records))
    cuts = cut_records(blob, bounds)
    for low, high, start, end in zip(bounds, bounds[1:], cuts, cuts[1:], strict=False):
        assert list(split_records(blob[start:end])) == sorted(one for one in records if low <= one[0] < high)


@settings(deadline=None)  # a set is made with 65,536 places
@given(st.lists(IDS, unique=True, max_size=50), st.integers(0, 2**63 - 1), st.booleans(), st.randoms())
def test_a_set_of_records_finds_those_it_lacks(ids: list[str], salt: int, whole: bool, draw: random.Random) -> None:
    """It is filled a first byte at a time or with all at once, and asked in any order."""
    records = records_of(ids, [b'["x"]'] * len(ids), salt, salt)
    known, found = set(draw.sample(records, len(records) // 2)), RecordSet(whole=whole)
    for _, some in groupby(sorted(known), key=lambda record: record[0] // 128):
        found.add(b"".join(some))
    assert found.find_missing(records) == [at for at, record in enumerate(records) if record not in known]


def test_a_set_of_records_when_whole_compares_all_of_a_content() -> None:
    """Otherwise the second half of a content stands for it."""
    sent, other = bytes(RECORD_SIZE), bytes(ID_SIZE) + b"\1" + bytes(RECORD_SIZE - ID_SIZE - 1)
    for whole, missing in ((False, []), (True, [0])):
        found = RecordSet(whole=whole)
        found.add(sent)
        assert found.find_missing([other]) == missing


@given(st.lists(IDS))
def test_packed_ids_come_back_as_they_were(ids: list[str]) -> None:
    """Spaces, unicode and case survive."""
    assert unpack_ids(pack(ids)) == ids


@given(TEXT)
def test_retry_after_when_any_text_is_between_a_second_and_an_hour(text: str) -> None:
    """Whatever stands in the header: seconds, a date or nonsense."""
    seconds = parse_retry_after({"Retry-After": text}, 1_700_000_000.0)
    assert seconds is None or 1.0 <= seconds <= 3600.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("99999", 3600.0),
        ("inf", None),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Mon, 13 Nov 2023 22:13:50 GMT", 1.0),
    ],
)
def test_retry_after_when_seconds_or_date_is_parsed(text: str, seconds: float | None) -> None:
    """Seconds and HTTP dates are understood and capped."""
    assert parse_retry_after({"Retry-After": text}, 1_700_000_000.0) == seconds


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1", "http://127.0.0.1:8899", "http://localhost:1/", "http://[::1]:80", "https://127.9.9.9:5"],
)
def test_a_url_when_of_this_machine_is_loopback(url: str) -> None:
    """Every address of the loopback network counts."""
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1@example.com",
        "http://example.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0",
        "ftp://127.0.0.1",
        "http://127.0.0.1:99999",
        "http://user:x@127.0.0.1",
        "http://127.0.0.1/path",
        "http://127.0.0.1?x",
        "127.0.0.1",
        "",
        "http://localhost.example.com",
        "http://2130706433.example",
        "//127.0.0.1",
        "http://[::1",
    ],
)
def test_a_url_when_of_another_machine_is_not_loopback(url: str) -> None:
    """Names that only look like this machine are refused."""
    assert not is_loopback(url)


@given(TEXT)
def test_a_reason_when_any_text_is_short_and_on_one_line(text: str) -> None:
    """At most 200 characters, printable, whatever came."""
    said = clean_text(text)
    assert len(said) <= 200 and (said.isprintable() or said == "")


@given(IDS, VALUES)
def test_a_payload_when_encoded_as_json_keeps_its_values(user_id: str, value: object) -> None:
    """What we send is JSON that says the same."""
    body = build_payload("Fans", [Change(user_id, ChangeKind.ADD, (value,))], (("$x", "colour"),))
    assert orjson.loads(body)["users"][0]["userId"] == user_id


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("$email", ("$email", "email")),
        ("$first_name", ("$first_name", "firstName")),
        ("$city", ("$city", "city")),
        ("plan", ("plan", "plan")),
        ("plan = Plan", ("plan", "Plan")),
        ("a=b=c", ("a=b", "c")),
    ],
)
def test_a_mapping_without_an_attribute_uses_the_field_of_the_same_meaning(text: str, pair: tuple[str, str]) -> None:
    """Mixpanel's reserved names become WebEngage's fields, others keep theirs, and a person may name another."""
    assert parse_mapping(text) == pair


@pytest.mark.parametrize("text", ["", " ", "$", "=", "plan=", "=Plan"])
def test_a_mapping_when_half_is_missing_is_refused(text: str) -> None:
    """Without a property or an attribute there is a ValueError with a sentence."""
    with pytest.raises(ValueError, match="does not name a property"):
        parse_mapping(text)


ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "$distinct_id": st.one_of(TEXT, st.integers(0, 2**53), st.none(), st.just("$device:7"), st.just("x" * 101)),
            "$properties": st.one_of(
                st.none(),
                st.just({}),
                st.fixed_dictionaries(
                    {"plan": st.one_of(TEXT, st.just("<null>"))},
                    optional={
                        "customer": st.one_of(TEXT, st.integers(-(2**63), 2**63), st.booleans(), st.just("x" * 101))
                    },
                ),
            ),
        },
    )
)


@pytest.mark.parametrize("id_property", ["", "customer", "plan"])
@given(ROWS)
def test_a_page_when_parsed_quickly_or_row_by_row_gives_the_same_members(
    id_property: str, rows: list[dict[str, object]]
) -> None:
    """The quick reading for runs and the one by one for previews name the same people with the same eligibility and values.

    Whichever property is the User ID, mapped or not.
    """
    reply = Reply(200, orjson.dumps({"results": rows, "status": "ok", "page": 0, "total": len(rows)}), {})
    quick = parse_columns(reply, "a page", 0, ("plan",), id_property=id_property)
    slow = parse_page(reply, "a page", 0, ("plan",), bare_counts=True, id_property=id_property)
    parsed = list(zip(quick.ids, (tuple(orjson.loads(one)) for one in quick.values), strict=True))
    assert parsed == [(one.id, one.values) for one in slow.members if one.eligibility is Eligibility.IDENTIFIED]
    assert [(one.id, one.eligibility) for one in quick.others] == [
        (one.id, one.eligibility) for one in slow.members if one.eligibility is not Eligibility.IDENTIFIED
    ]
    assert quick.rows == len(rows)
    going = [one.distinct_id for one in slow.members if one.eligibility is Eligibility.IDENTIFIED]
    assert quick.distinct_ids == (going if id_property else [])


@pytest.mark.slow
@given(
    st.one_of(
        st.binary(),
        TEXT.map(str.encode),
        st.recursive(
            VALUES,
            lambda inner: st.dictionaries(st.sampled_from(["results", "status", "page", "total", "error", "x"]), inner),
        ).map(orjson.dumps),
    )
)
def test_a_page_when_the_body_is_no_page_is_an_error(body: bytes) -> None:
    """Anything but a list of results is an error that says so."""
    try:
        page = parse_columns(Reply(200, body, {}), "a page", 0, ())
    except ApiError:
        return
    found = json.loads(body.decode("utf-8", "surrogateescape"), strict=False)["results"]
    assert isinstance(found, list) and page.rows == len(found)
