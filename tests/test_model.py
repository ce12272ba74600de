"""The pure decisions, held by properties over everything hypothesis can think of."""

from __future__ import annotations

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.errors import ApiError
from sync.http_client import Reply, clean_text, is_loopback, parse_retry_after
from sync.members import Entry, compute_marks, pack_entries, pack_list, unpack_entries, unpack_ids
from sync.mixpanel.parsing import parse_columns, parse_page
from sync.model import (
    ATTRIBUTE_MAX,
    Change,
    ChangeKind,
    Eligibility,
    classify_member,
    find_attribute_problem,
    guard_reason,
    next_scheduled_at,
    parse_interval,
    parse_mapping,
    suggest_attribute,
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
def test_only_real_ids_with_a_profile_go(user_id: str, has_profile: bool) -> None:
    """An id goes to WebEngage exactly when it is not blank, no device's, at most 100 characters, and has a profile."""
    goes = bool(user_id.strip()) and not user_id.startswith("$device:") and has_profile and len(user_id) <= 100
    assert (classify_member(user_id, has_profile) is Eligibility.IDENTIFIED) == goes


@pytest.mark.parametrize(
    ("user_id", "has_profile", "fate"),
    [
        ("", True, Eligibility.EMPTY_ID),
        ("  ", False, Eligibility.EMPTY_ID),
        ("$device:1", True, Eligibility.DEVICE_ONLY),
        ("a", False, Eligibility.NO_PROFILE),
        ("x" * 101, True, Eligibility.LONG_ID),
        ("x" * 101, False, Eligibility.NO_PROFILE),
        ("x" * 100, True, Eligibility.IDENTIFIED),
        (" a", True, Eligibility.IDENTIFIED),
    ],
)
def test_each_member_has_its_reason(user_id: str, has_profile: bool, fate: Eligibility) -> None:
    """Whoever does not go is told why."""
    assert classify_member(user_id, has_profile) is fate


@given(TEXT, st.frozensets(TEXT, max_size=5))
def test_a_proposed_attribute_is_short_and_free(name: str, taken: frozenset[str]) -> None:
    """The proposal is never longer than WebEngage takes, and never another cohort's."""
    for _ in range(3):
        proposed = suggest_attribute(name, taken)
        assert len(proposed) <= ATTRIBUTE_MAX and proposed not in taken and proposed.startswith("Mixpanel -")
        taken |= {proposed}


@pytest.mark.parametrize("name", ["", " x", "x ", "we_x", "WE_x", "x" * 50, "a\nb", "Taken"])
def test_attributes_webengage_would_drop_are_refused(name: str) -> None:
    """Empty, spaced, reserved, too long, invisible or taken names get a sentence."""
    assert find_attribute_problem(name, frozenset({"Taken"}))


@given(st.floats(0, 2e9), st.floats(300, 1e6), st.floats(0, 2e9))
def test_the_next_beat_is_ahead_and_on_the_grid(anchor: float, every: float, now: float) -> None:
    """The beat lies after now, at most one interval away, a whole number of intervals from the anchor."""
    beat = next_scheduled_at(anchor, every, now)
    steps = (beat - anchor) / every
    assert now - 1e-3 <= beat <= now + every + 1e-3
    assert math.isclose(steps, round(steps), rel_tol=1e-6, abs_tol=1e-3)


@pytest.mark.parametrize("text", ["", "2", "h", "2w", "-2h", "0h", "1s", "31d", "2h30m", "٢h "])
def test_what_is_no_interval_is_said(text: str) -> None:
    """Anything but a number and a unit between 5 minutes and 30 days is a ValueError with a sentence."""
    if text == "٢h ":
        assert parse_interval(text) == 7200.0  # digits of any script are digits
        return
    with pytest.raises(ValueError, match="“"):
        parse_interval(text)


def test_intervals_are_read() -> None:
    """Minutes, hours, days and seconds."""
    assert [parse_interval(text) for text in ("30m", "2h", "1d", "7200s")] == [1800, 7200, 86400, 7200]


@pytest.mark.parametrize(
    ("exits", "snapshot", "staged", "held"),
    [
        (100, 200, 100, False),
        (101, 200, 99, True),
        (101, 1000, 899, False),
        (201, 1000, 799, True),
        (5, 5, 0, True),
        (0, 0, 0, False),
    ],
)
def test_the_guard(exits: int, snapshot: int, staged: int, held: bool) -> None:
    """More than a fifth and more than a hundred, or nobody left at all, needs a person."""
    assert bool(guard_reason(exits, snapshot, staged)) is held


@given(st.lists(st.tuples(IDS, st.sampled_from(ChangeKind), VALUES), min_size=1, max_size=25))
def test_a_payload_tells_true_false_and_never_null(people: list[tuple[str, ChangeKind, object]]) -> None:
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


def test_phones_are_sent_in_e164_only() -> None:
    """A phone WebEngage could not use is left out; a standard field stands beside the attributes."""
    changes = [Change("a", ChangeKind.ADD, ("+4930123456",)), Change("b", ChangeKind.ADD, ("030 123456",))]
    first, second = json.loads(build_payload("Fans", changes, (("$phone", "phone"),)))["users"]
    assert first["phone"] == "+4930123456" and "phone" not in second


@given(st.lists(IDS, unique=True, max_size=50), st.integers(0, 2**63 - 1))
def test_equal_people_have_equal_marks_and_others_do_not(ids: list[str], salt: int) -> None:
    """A mark depends on the id, the values and the salt, and on nothing else."""
    plain = compute_marks(ids, [], salt)
    valued = compute_marks(ids, [b'["x"]'] * len(ids), salt)
    assert plain == compute_marks(ids, [], salt) and len(set(plain + valued)) == 2 * len(ids)
    assert not set(plain) & set(compute_marks(ids, [], salt + 1))


@given(st.lists(IDS))
def test_packed_ids_come_back_as_they_were(ids: list[str]) -> None:
    """Spaces, unicode and case survive."""
    assert unpack_ids(pack_list(ids)) == ids


@given(
    st.lists(
        st.builds(
            Entry,
            st.sampled_from(ChangeKind),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**16 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**16 - 1),
        )
    )
)
def test_packed_positions_come_back_as_they_were(entries: list[Entry]) -> None:
    """Every page, chunk and place fits."""
    assert unpack_entries(pack_entries(entries)) == entries


@given(TEXT)
def test_retry_after_is_between_a_second_and_an_hour(text: str) -> None:
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
def test_retry_after_in_both_forms(text: str, seconds: float | None) -> None:
    """Seconds and HTTP dates are understood and capped."""
    assert parse_retry_after({"Retry-After": text}, 1_700_000_000.0) == seconds


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1", "http://127.0.0.1:8899", "http://localhost:1/", "http://[::1]:80", "https://127.9.9.9:5"],
)
def test_this_machine_is_loopback(url: str) -> None:
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
def test_other_machines_are_not(url: str) -> None:
    """Names that only look like this machine are refused."""
    assert not is_loopback(url)


@given(TEXT)
def test_what_an_api_said_is_short_and_on_one_line(text: str) -> None:
    """At most 200 characters, printable, whatever came."""
    said = clean_text(text)
    assert len(said) <= 200 and (said.isprintable() or said == "")


@given(IDS, VALUES)
def test_values_survive_their_way_through_json(user_id: str, value: object) -> None:
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
def test_a_property_goes_where_it_means_the_same_unless_told(text: str, pair: tuple[str, str]) -> None:
    """Mixpanel's reserved names become WebEngage's fields, others keep theirs, and a person may name another."""
    assert parse_mapping(text) == pair


@pytest.mark.parametrize("text", ["", " ", "$", "=", "plan=", "=Plan"])
def test_half_a_mapping_is_refused(text: str) -> None:
    """Without a property or an attribute there is a ValueError with a sentence."""
    with pytest.raises(ValueError, match="does not name a property"):
        parse_mapping(text)


ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "$distinct_id": st.one_of(TEXT, st.integers(0, 2**53), st.none(), st.just("$device:7"), st.just("x" * 101)),
            "$properties": st.one_of(
                st.none(), st.just({}), st.fixed_dictionaries({"plan": st.one_of(TEXT, st.just("<null>"))})
            ),
        },
    )
)


@given(ROWS)
def test_both_readings_of_a_page_agree_about_everybody(rows: list[dict[str, object]]) -> None:
    """The quick reading for runs and the one by one for previews name the same people with the same fates and values."""
    reply = Reply(200, orjson.dumps({"results": rows, "status": "ok", "page": 0, "total": len(rows)}), {})
    quick = parse_columns(reply, "a page", 0, ("plan",))
    slow = parse_page(reply, "a page", 0, ("plan",), bare_counts=True)
    told = list(zip(quick.ids, (tuple(orjson.loads(one)) for one in quick.values), strict=True))
    assert told == [(one.id, one.values) for one in slow.members if one.eligibility is Eligibility.IDENTIFIED]
    assert [(one.id, one.eligibility) for one in quick.others] == [
        (one.id, one.eligibility) for one in slow.members if one.eligibility is not Eligibility.IDENTIFIED
    ]
    assert quick.rows == len(rows)


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
def test_what_is_no_page_is_never_read_as_an_empty_one(body: bytes) -> None:
    """Anything but a list of results is an error that says so."""
    try:
        page = parse_columns(Reply(200, body, {}), "a page", 0, ())
    except ApiError:
        return
    assert isinstance(orjson.loads(body)["results"], list) and page.rows == len(orjson.loads(body)["results"])
