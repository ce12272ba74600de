"""The sandbox's other readings of both APIs: whatever the documents leave open, or the field has seen, it can answer."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import orjson
import pytest

from tests.sandbox.authentication import bulk, engage, ids, mixpanel, webengage
from tests.sandbox.control import Member, Sandbox, member, odd
from tests.sandbox.odd import ID, IDS, LISTED, NUMBERS, ROW, STRINGS
from tests.sandbox.readings import MANY, READINGS
from tests.sandbox.settings import Settings

SESSIONS = 6  # read one after the other where an order must differ between them
PEOPLE = 7


@pytest.fixture
def sandbox(module_sandbox: Sandbox) -> Sandbox:
    """Reset the process, so that it is empty, with pages of three."""
    module_sandbox.reset(empty=True)
    module_sandbox.settings(page_size=3)
    return module_sandbox


def people(count: int = PEOPLE) -> list[Member]:
    """Members p0, p1, …"""
    return [member(f"p{number}") for number in range(count)]


def pages(sandbox: Sandbox, cohort_id: int, count: int = 3, **form: Any) -> list[dict[str, Any]]:
    """Read the first pages of a new session, page by page."""
    first = engage(sandbox, cohort_id, **form)
    session = {"session_id": first.json()["session_id"]}
    later = [engage(sandbox, cohort_id, page=number, **session, **form) for number in range(1, count)]
    return [reply.json() for reply in (first, *later)]


def people_on(page: dict[str, Any]) -> list[str]:
    """Return the ids on a page."""
    return [row["$distinct_id"] for row in page["results"]]


# Totals --------------------------------------------------------------------------------------------------------------


def test_total_when_it_counts_the_page_is_that_pages_number_of_rows(sandbox: Sandbox) -> None:
    """The document's example has one result and a total of 1: it may count the match, or the page."""
    sandbox.settings(total="page")
    found = pages(sandbox, sandbox.add_cohort("Fans", people()))
    assert [page["total"] for page in found] == [3, 3, 1] and sum(len(page["results"]) for page in found) == PEOPLE


def test_total_when_untold_is_on_no_page(sandbox: Sandbox) -> None:
    """It may be absent later (seen in a client), and then why not from the start."""
    sandbox.settings(untold="total")
    found = pages(sandbox, sandbox.add_cohort("Fans", people()))
    assert all("total" not in page and page["page_size"] == 3 for page in found)


# Order and paging ----------------------------------------------------------------------------------------------------


def test_order_when_shuffled_differs_between_sessions_and_not_within_one(sandbox: Sandbox) -> None:
    """Within a session one snapshot, across sessions not: nobody promised an order."""
    sandbox.settings(member_order="shuffled")
    cohort_id = sandbox.add_cohort("Fans", people())
    orders = [[one for page in pages(sandbox, cohort_id) for one in people_on(page)] for _ in range(SESSIONS)]
    assert all(sorted(order) == [f"p{n}" for n in range(PEOPLE)] for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    first = engage(sandbox, cohort_id).json()["session_id"]
    again = [ids(engage(sandbox, cohort_id, page=1, session_id=first)) for _ in range(2)]
    assert again[0] == again[1]


def test_paging_when_unstable_hides_one_and_repeats_another_in_each_session(sandbox: Sandbox) -> None:
    """Duplicates across pages: nobody could confirm that there are none. The announced total stays right."""
    sandbox.settings(paging="unstable")
    cohort_id = sandbox.add_cohort("Fans", people())
    everybody = {f"p{number}" for number in range(PEOPLE)}
    gaps = []
    for _ in range(SESSIONS):
        found = pages(sandbox, cohort_id)
        rows = [one for page in found for one in people_on(page)]
        assert found[0]["total"] == len(rows) == PEOPLE and len(set(rows)) == PEOPLE - 1
        gaps += everybody - set(rows)
    assert len(set(gaps)) == SESSIONS


def test_paging_when_unstable_leaves_a_single_page_alone(sandbox: Sandbox) -> None:
    """Where nothing is paged, nothing can shift."""
    sandbox.settings(paging="unstable")
    assert ids(engage(sandbox, sandbox.add_cohort("Fans", people(3)))) == ["p0", "p1", "p2"]


# Sessions ------------------------------------------------------------------------------------------------------------


def test_later_page_when_of_another_session_names_it_and_holds_another_read(sandbox: Sandbox) -> None:
    """A 200 instead of the "uncached query" error: the query is simply run again, on the cohort as it is now."""
    cohort_id = sandbox.add_cohort("Fans", people())
    first = engage(sandbox, cohort_id).json()
    sandbox.set_members(cohort_id, [member(f"q{number}") for number in range(5)])
    sandbox.fault("another_session", page=1)
    other, own = (engage(sandbox, cohort_id, page=1, session_id=first["session_id"]).json() for _ in range(2))
    assert other["session_id"] != first["session_id"] == own["session_id"]
    assert (people_on(other), other["total"]) == (["q3", "q4"], 5) and people_on(own) == ["p3", "p4", "p5"]


@pytest.mark.parametrize("status", [200, 400, 404])
def test_page_behind_the_last_one_may_be_empty_or_refused(sandbox: Sandbox, status: int) -> None:
    """Page 0 is always there, also of nobody."""
    sandbox.settings(behind_last=status)
    cohort_id = sandbox.add_cohort("Fans", people(3))
    first = engage(sandbox, cohort_id).json()
    assert engage(sandbox, cohort_id, page=1, session_id=first["session_id"]).status_code == status
    assert engage(sandbox, sandbox.add_cohort("Nobody", [])).status_code == 200


def test_later_page_may_name_another_total(sandbox: Sandbox) -> None:
    """Only the number differs, and it does so even where later pages name none."""
    sandbox.settings(total_on_later_pages=False)
    sandbox.fault("another_total", page=1, by=-2)
    found = pages(sandbox, sandbox.add_cohort("Fans", people()))
    assert [page.get("total") for page in found] == [PEOPLE, PEOPLE - 2, None]


def test_later_page_with_another_page_size_is_cut_by_it(sandbox: Sandbox) -> None:
    """Page 1 of size four begins at the fifth member: the fourth is on no page."""
    sandbox.fault("another_page_size", page=1, by=1)
    found = pages(sandbox, sandbox.add_cohort("Fans", people()))
    assert [page["page_size"] for page in found] == [3, 4, 3]
    assert [people_on(page) for page in found] == [["p0", "p1", "p2"], ["p4", "p5", "p6"], ["p6"]]


@pytest.mark.parametrize("kind", ["another_session", "another_total", "another_page_size"])
def test_other_reads_never_concern_page_0(sandbox: Sandbox, kind: str) -> None:
    """The first page is what the later ones are held against."""
    sandbox.fault(kind)
    first = engage(sandbox, sandbox.add_cohort("Fans", people())).json()
    assert (first["total"], first["page_size"], len(first["results"])) == (PEOPLE, 3, 3) and sandbox.faults()


@pytest.mark.parametrize("page", [0, 1])
def test_session_may_be_null_with_more_pages_to_come(sandbox: Sandbox, page: int) -> None:
    """Some clients stop at a null session_id; the page before it is full all the same."""
    cohort_id = sandbox.add_cohort("Fans", people())
    first = engage(sandbox, cohort_id).json()
    sandbox.fault("null_session", page=page)
    form = {"page": page, "session_id": first["session_id"]} if page else {}
    found = engage(sandbox, cohort_id, **form).json()
    assert found["session_id"] is None and len(found["results"]) == 3 and found["total"] == PEOPLE


def test_empty_page_in_the_middle_without_a_total(sandbox: Sandbox) -> None:
    """Nothing on it tells that more is to come, and the next page goes on."""
    sandbox.settings(untold="total")
    sandbox.fault("empty_page", page=1)
    found = pages(sandbox, sandbox.add_cohort("Fans", people()))
    assert [len(page["results"]) for page in found] == [3, 0, 1] and "total" not in found[1]


def test_cohort_when_gone_may_be_answered_as_an_empty_one(sandbox: Sandbox) -> None:
    """What Mixpanel says of an unknown cohort nobody could confirm; only the list tells that it is gone."""
    sandbox.settings(unknown_cohort=200)
    empty, gone = sandbox.add_cohort("Nobody", []), sandbox.add_cohort("Fans", people())
    sandbox.delete_cohort(gone)
    replies = [engage(sandbox, cohort_id) for cohort_id in (empty, gone)]
    bodies = [reply.json() | {"session_id": ""} for reply in replies]
    assert bodies[0] == bodies[1] and bodies[0]["results"] == [] and bodies[0]["total"] == 0
    assert [row["id"] for row in mixpanel(sandbox, "cohorts/list").json()] == [empty]


# Odd rows ------------------------------------------------------------------------------------------------------------

ODD_VALUES = (*STRINGS, *NUMBERS)


def strictly_parsed(body: bytes) -> bool:
    """Return whether a strict parser takes the bytes as JSON with text and numbers it can hold."""
    try:
        orjson.loads(body)
        msgspec.json.decode(body, type=object)
    except (orjson.JSONDecodeError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


@pytest.mark.parametrize("place", [ID, "$last_seen", "nobody_mapped"])
@pytest.mark.parametrize("kind", ODD_VALUES)
def test_odd_value_stands_on_the_wire_as_it_is(sandbox: Sandbox, kind: str, place: str) -> None:
    """In an id or a property: the page is no strict JSON any more, and every other row of it is as ever."""
    cohort_id = sandbox.add_cohort("Fans", [member("a"), odd(kind, "odd-1", place), member("b")])
    reply = engage(sandbox, cohort_id)
    raw = STRINGS.get(kind) or NUMBERS[kind]
    assert raw in reply.content and not strictly_parsed(reply.content)
    assert reply.content.replace(raw, b"0" if kind in NUMBERS else b"").count(b"$distinct_id") == 3
    repaired = json.loads(reply.content.replace(raw, b"0" if kind in NUMBERS else b""))
    assert repaired["total"] == 3 and [row["$distinct_id"] for row in repaired["results"]][::2] == ["a", "b"]
    assert sandbox.exportable(cohort_id) == ({"a", "b"} if place == ID else {"a", "b", "odd-1"})


@pytest.mark.parametrize("kind", IDS)
def test_odd_id_is_valid_json_and_no_id(sandbox: Sandbox, kind: str) -> None:
    """null, true, a list, an object, and numbers a float cannot hold exactly."""
    cohort_id = sandbox.add_cohort("Fans", [member("a"), odd(kind), member("b")])
    reply = engage(sandbox, cohort_id, include_all_users="false")
    assert IDS[kind] in reply.content
    found = json.loads(reply.content)["results"][1]["$distinct_id"]
    assert found is None or not isinstance(found, str)
    assert sandbox.exportable(cohort_id) == {"a", "b"} and reply.json()["total"] == 3


def test_row_may_be_null(sandbox: Sandbox) -> None:
    """A row that is nobody, counted in the total."""
    cohort_id = sandbox.add_cohort("Fans", [member("a"), odd("null_row", place=ROW), member("b")])
    for form in ({}, {"output_properties": "[]"}, {"output_properties": '["$last_seen"]'}):
        found = engage(sandbox, cohort_id, **form).json()
        assert found["results"][1] is None and found["total"] == 3
    assert sandbox.exportable(cohort_id) == {"a", "b"}


def test_odd_property_comes_only_when_it_is_asked_for(sandbox: Sandbox) -> None:
    """output_properties leaves it out like any other."""
    cohort_id = sandbox.add_cohort("Fans", [odd("half_emoji", "a", "$last_seen"), member("b", plan="gold")])
    asked = engage(sandbox, cohort_id, output_properties='["$last_seen"]').content
    other = engage(sandbox, cohort_id, output_properties='["plan"]').json()["results"]
    none = engage(sandbox, cohort_id, output_properties="[]").json()["results"]
    assert rb"\ud83d" in asked and b"gold" not in asked
    assert [row["$properties"] for row in other] == [{}, {"plan": "gold"}]
    assert [row["$properties"] for row in none] == [{}, {}]


def test_several_odd_rows_are_several(sandbox: Sandbox) -> None:
    """Odd people differ in their own ids, so that a cohort can hold many of them."""
    sandbox.settings(page_size=1000)
    rows = [odd(kind, f"odd-{at}") for at, kind in enumerate((*STRINGS, *IDS) * 3)]
    assert engage(sandbox, sandbox.add_cohort("Odd", rows)).content.count(b"$distinct_id") == len(rows)


def test_unknown_odd_kind_is_refused(sandbox: Sandbox) -> None:
    """A typing error in a test does not pass silently."""
    for wrong in (odd("strange"), odd("null", place="$last_seen"), odd("half_emoji", place=ROW)):
        with pytest.raises(AssertionError):
            sandbox.add_cohort("Fans", [wrong])
    with pytest.raises(AssertionError):
        sandbox.settings(odd_cohorts="null_id strange")


@pytest.mark.parametrize("name", LISTED)
def test_list_of_cohorts_may_hold_an_odd_row(sandbox: Sandbox, name: str) -> None:
    """It stands before the others, which are listed as ever."""
    cohort_id = sandbox.add_cohort("Fans", people())
    usual = mixpanel(sandbox, "cohorts/list").content
    sandbox.settings(odd_cohorts=name)
    found = mixpanel(sandbox, "cohorts/list").content
    assert found == b"[" + LISTED[name] + b"," + usual[1:] and f'"id":{cohort_id}'.encode() in found


def test_page_may_hold_more_members_than_two_bytes_can_count(sandbox: Sandbox) -> None:
    """The page size is Mixpanel's to choose; 40,000 was named, and nothing ends it there."""
    sandbox.settings(page_size=MANY + 10)
    cohort_id = sandbox.generate("Many", MANY, ids="sequential", properties=0)
    found = engage(sandbox, cohort_id, output_properties='["$last_seen"]').json()
    assert len({row["$distinct_id"] for row in found["results"]}) == found["total"] == MANY == 65_536


# WebEngage -----------------------------------------------------------------------------------------------------------


def test_person_fails_every_request_they_are_in_and_nobody_elses(sandbox: Sandbox) -> None:
    """A 500 for ever, which halving alone can pin down; nothing of such a request is stored."""
    sandbox.person_fails("bob")
    assert [bulk(sandbox, "ada", "bob").status_code for _ in range(3)] == [500] * 3
    assert bulk(sandbox, "bob").status_code == 500 and sandbox.profile_count() == 0
    assert bulk(sandbox, "ada", "eve").status_code == 201 and sandbox.holding("in")[0] == {"ada", "eve"}
    assert sandbox.faults() == [{"kind": "person_fails", "user_ids": ["bob"], "code": 500}]
    sandbox.clear_faults()
    assert bulk(sandbox, "bob").status_code == 201


def test_person_may_fail_with_another_status(sandbox: Sandbox) -> None:
    """503 is as good a server's error."""
    sandbox.person_fails("bob", code=503)
    assert bulk(sandbox, "bob").status_code == 503


def test_everybody_is_refused_for_one_reason_while_the_check_passes(sandbox: Sandbox) -> None:
    """Every batch is a 400 with the same words, so nobody in particular is to blame; the account itself is fine."""
    sandbox.refuse_everybody("Error: attribute limit reached.")
    replies = [bulk(sandbox, name) for name in ("ada", "bob", "eve")] + [bulk(sandbox, "ada", "bob")]
    assert {reply.status_code for reply in replies} == {400} and len({reply.text for reply in replies}) == 1
    assert replies[0].json() == {"response": {"message": "Error: attribute limit reached.", "status": "error"}}
    assert "cannot be empty" in webengage(sandbox, "users", {}).json()["response"]["message"]
    assert sandbox.profile_count() == 0


def test_refusal_may_quote_the_persons_own_values(sandbox: Sandbox) -> None:
    """Error bodies are not documented; one that quotes a name and a phone number was seen."""
    ada = {"userId": "ada", "firstName": "Ada", "phone": "+4930123456", "attributes": {"in": True, "plan": "gold"}}
    sandbox.poison("ada")
    plain = webengage(sandbox, "bulk-users", {"users": [ada]})
    sandbox.settings(refusals="quoting")
    quoting = webengage(sandbox, "bulk-users", {"users": [{"userId": "bob"}, ada]})
    said = quoting.json()["response"]["message"]
    assert plain.status_code == quoting.status_code == 400 and "Ada" not in plain.text and "bob" not in said
    assert all(f'"{value}"' in said for value in ("ada", "Ada", "+4930123456", "gold"))


# For the drill -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READINGS)
def test_every_reading_can_be_drawn_begun_and_ended(sandbox: Sandbox, name: str) -> None:
    """Drawn by a seed, it is the same each time, changes what is answered, and leaves nothing behind."""
    usual = sandbox.settings(page_size=Settings().page_size)
    for seed in range(12):
        drawn, again = (READINGS[name](random.Random(seed), ["p1", "p2"]) for _ in range(2))
        assert drawn == again and drawn.name == name
        assert drawn.settings or drawn.faults or drawn.members
        drawn.begin(sandbox)
        assert sandbox.settings() == usual | drawn.settings and len(sandbox.faults()) == len(drawn.faults)
        cohort_id = sandbox.add_cohort("Fans", [*people(3), *drawn.members])
        assert engage(sandbox, cohort_id).status_code == 200
        drawn.end(sandbox)
        assert sandbox.settings() == usual and sandbox.faults() == []


def test_reading_drawn_without_members_is_harmless(sandbox: Sandbox) -> None:
    """An empty cohort has nobody to fail or refuse."""
    for name in READINGS:
        drawn = READINGS[name](random.Random(1), [])
        drawn.begin(sandbox)
        drawn.end(sandbox)
