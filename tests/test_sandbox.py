"""The sandbox against what is documented of both APIs, each fact as one sentence."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.sandbox import control
from tests.sandbox.authentication import ADMIN, bulk, engage, ids, mixpanel, webengage
from tests.sandbox.control import Sandbox, anonymous, member

LIMIT_TEXT = r"Query rate limit exceeded for project_id: 42\. (\d+)/5 queries running concurrently and (\d+)/60 queries"


@pytest.fixture
def sandbox(module_sandbox: Sandbox) -> Sandbox:
    """Reset the process, so that it is empty."""
    module_sandbox.reset(empty=True)
    return module_sandbox


# Mixpanel ------------------------------------------------------------------------------------------------------------


def test_cohorts_are_a_bare_array_with_the_documented_fields(sandbox: Sandbox) -> None:
    """POST /cohorts/list answers a bare array."""
    cohort_id = sandbox.add_cohort("Fans", [member("ada")], description="They like it")
    rows = mixpanel(sandbox, "cohorts/list").json()
    assert [(row["id"], row["name"], row["count"], row["is_visible"]) for row in rows] == [(cohort_id, "Fans", 1, 1)]
    assert set(rows[0]) == {
        "count",
        "is_visible",
        "description",
        "created",
        "project_id",
        "id",
        "name",
        "data_group_id",
    }


def test_a_group_cohort_and_one_never_counted_are_listed(sandbox: Sandbox) -> None:
    """data_group_id is a string of digits for group cohorts, and a count may be null."""
    sandbox.add_cohort("Rooms", [], data_group_id="1584", count=None)
    row = mixpanel(sandbox, "cohorts/list").json()[0]
    assert row["data_group_id"] == "1584" and row["count"] is None


@pytest.mark.parametrize("path", ["cohorts/list", "engage"])
def test_the_two_queries_are_post_only(sandbox: Sandbox, path: str) -> None:
    """A GET is 405."""
    assert mixpanel(sandbox, path, method="GET").status_code == 405


def test_a_page_has_the_documented_shape(sandbox: Sandbox) -> None:
    """Page 0 carries page, page_size, session_id, status, total and results."""
    reply = engage(sandbox, sandbox.add_cohort("Fans", [member("ada", plan="free")])).json()
    assert re.fullmatch(r"\d+-[A-Z0-9]+", reply.pop("session_id"))
    assert reply == {
        "page": 0,
        "page_size": 1000,
        "status": "ok",
        "total": 1,
        "results": [{"$distinct_id": "ada", "$properties": {"plan": "free"}}],
    }


def test_a_page_when_include_all_users_is_unset_has_everyone(sandbox: Sandbox) -> None:
    """include_all_users is true by default; false leaves only those with a profile."""
    cohort_id = sandbox.add_cohort("Fans", [member("ada"), anonymous("$device:1"), anonymous("visitor")])
    assert engage(sandbox, cohort_id).json()["total"] == 3
    assert ids(engage(sandbox, cohort_id, include_all_users="false")) == ["ada"]


def test_a_missing_profile_takes_every_shape_in_turn(sandbox: Sandbox) -> None:
    """$properties is missing, null or {} for who has no profile."""
    rows = engage(sandbox, sandbox.add_cohort("Visitors", [anonymous(f"v{n}") for n in range(3)])).json()["results"]
    assert [row.get("$properties", "missing") for row in rows] == ["missing", None, {}]


@pytest.mark.parametrize(("shape", "seen"), [("missing", "missing"), ("null", None), ("empty", {})])
def test_the_shape_of_a_missing_profile_can_be_fixed(sandbox: Sandbox, shape: str, seen: Any) -> None:
    """One shape for all when so set."""
    sandbox.settings(bare_shape=shape)
    rows = engage(sandbox, sandbox.add_cohort("Visitors", [anonymous(f"v{n}") for n in range(3)])).json()["results"]
    assert [row.get("$properties", "missing") for row in rows] == [seen] * 3


def test_only_the_properties_asked_for_are_sent(sandbox: Sandbox) -> None:
    """output_properties reduces the profile to what it names."""
    cohort_id = sandbox.add_cohort("Fans", [member("ada", plan="free", city="Oslo"), anonymous("v")])
    some = engage(sandbox, cohort_id, output_properties='["plan","nothing"]').json()["results"]
    none = engage(sandbox, cohort_id, output_properties="[]").json()["results"]
    assert some[0] == {"$distinct_id": "ada", "$properties": {"plan": "free"}}
    assert none[0] == {"$distinct_id": "ada", "$properties": {}}


def test_integer_ids_come_as_integers(sandbox: Sandbox) -> None:
    """$distinct_id is an integer in the schema, a string in life."""
    assert ids(engage(sandbox, sandbox.add_cohort("Old", [member(4), member("5")]))) == [4, "5"]


def test_later_pages_read_on_in_the_frozen_answer(sandbox: Sandbox) -> None:
    """Within a session one snapshot, across sessions not."""
    sandbox.settings(page_size=2)
    cohort_id = sandbox.add_cohort("Fans", [member(name) for name in "abc"])
    first = engage(sandbox, cohort_id)
    sandbox.set_members(cohort_id, [member("z")])
    second = engage(sandbox, cohort_id, page=1, session_id=first.json()["session_id"])
    assert (ids(first), ids(second), ids(engage(sandbox, cohort_id))) == (["a", "b"], ["c"], ["z"])


@pytest.mark.parametrize("change", [{"session_id": "1-NOBODY"}, {"include_all_users": "false"}, {"session_id": ""}])
def test_a_later_page_needs_its_session_and_the_same_parameters(sandbox: Sandbox, change: dict[str, str]) -> None:
    """Anything else is a 400 about an uncached query."""
    cohort_id = sandbox.add_cohort("Fans", [member("ada")])
    session = {"session_id": engage(sandbox, cohort_id).json()["session_id"], "page": 1}
    reply = engage(sandbox, cohort_id, **(session | change))
    assert reply.status_code == 400 and "request for page in uncached query for params" in reply.json()["error"]


def test_a_session_ends_by_age(sandbox: Sandbox) -> None:
    """An old session is not known any more."""
    cohort_id = sandbox.add_cohort("Fans", [member("ada")])
    session_id = engage(sandbox, cohort_id).json()["session_id"]
    sandbox.advance(7200)
    assert engage(sandbox, cohort_id, page=1, session_id=session_id).status_code == 400


def test_the_total_may_be_absent_on_later_pages(sandbox: Sandbox) -> None:
    """When so set, only page 0 says the total."""
    sandbox.settings(total_on_later_pages=False, null_session_at_end=True)
    cohort_id = sandbox.add_cohort("Fans", [member("ada")])
    sandbox.settings(page_size=1)
    first = engage(sandbox, cohort_id).json()
    later = engage(sandbox, cohort_id, page=1, session_id=first["session_id"]).json()
    assert "total" in first and "total" not in later and later["session_id"] is None


@pytest.mark.parametrize("status", [404, 400, 200])
def test_an_unknown_cohort_is_read_as_set(sandbox: Sandbox, status: int) -> None:
    """404 with an error, or 400, or nobody."""
    sandbox.settings(unknown_cohort=status)
    reply = engage(sandbox, 999)
    assert reply.status_code == status
    assert reply.json().get("results") == [] if status == 200 else reply.json()["status"] == "error"


@pytest.mark.parametrize(("status", "words"), [(401, "Invalid"), (400, "Unable to authenticate request")])
def test_wrong_credentials_are_refused(sandbox: Sandbox, status: int, words: str) -> None:
    """401, or the 400 some have seen."""
    sandbox.settings(bad_credentials=status)
    reply = mixpanel(sandbox, "cohorts/list", auth=(control.USERNAME, "wrong"))
    assert reply.status_code == status and words in reply.json()["error"]


def test_a_query_when_the_project_is_another_one_is_refused(sandbox: Sandbox) -> None:
    """403 for a project without a role, 400 without a project."""
    url = f"{sandbox.url}/api/query/cohorts/list"
    assert requests.post(url, params={"project_id": 43}, auth=ADMIN, timeout=10).status_code == 403
    assert requests.post(url, auth=ADMIN, timeout=10).status_code == 400


def test_the_61st_query_of_an_hour_is_refused_in_the_known_words(sandbox: Sandbox) -> None:
    """The body names the limit; an hour later there is room again."""
    sandbox.settings(retry_after=5)
    assert {mixpanel(sandbox, "cohorts/list").status_code for _ in range(60)} == {200}
    refused = mixpanel(sandbox, "cohorts/list")
    numbers = re.search(LIMIT_TEXT, refused.json()["error"])
    assert refused.status_code == 429 and refused.json()["request"].startswith("/api/2.0/")
    assert numbers and numbers.groups() == ("1", "61") and refused.headers["Retry-After"] == "5"
    sandbox.advance(3600)
    assert mixpanel(sandbox, "cohorts/list").status_code == 200
    assert sandbox.meter().queries_in_an_hour == {"42": 61} and sandbox.meter().refused == {"mixpanel": 1}


@pytest.mark.parametrize(("count_pages", "counted"), [(False, 1), (True, 3)])
def test_later_pages_count_only_if_so_set(sandbox: Sandbox, count_pages: bool, counted: int) -> None:
    """Whether page > 0 is a query, nobody could confirm."""
    sandbox.settings(count_pages=count_pages)
    cohort_id = sandbox.add_cohort("Fans", [member("ada")])
    session_id = engage(sandbox, cohort_id).json()["session_id"]
    for page in (1, 2):
        engage(sandbox, cohort_id, page=page, session_id=session_id)
    assert sandbox.meter().queries_in_an_hour == {"42": counted}


def test_a_sixth_query_at_once_is_refused(sandbox: Sandbox) -> None:
    """Five run, the sixth is answered 6/5."""
    sandbox.settings(latency=300)
    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(lambda _: mixpanel(sandbox, "cohorts/list"), range(6)))
    refused = [reply.json()["error"] for reply in replies if reply.status_code == 429]
    assert len(refused) == 1 and "6/5 queries running concurrently" in refused[0]
    assert sandbox.meter().queries_at_once == {"42": 6}


def test_the_properties_of_profiles_are_described(sandbox: Sandbox) -> None:
    """GET /engage/properties says how often and of which type."""
    sandbox.add_cohort("Fans", [member("ada", plan="free", age=3), member("bob", plan="paid")])
    results = mixpanel(sandbox, "engage/properties", method="GET").json()["results"]
    assert results == {"plan": {"count": 2, "type": "string"}, "age": {"count": 1, "type": "number"}}


@pytest.mark.parametrize(
    ("username", "secret", "role"),
    [
        (control.USERNAME, control.SECRET, "admin"),
        (control.ANALYST_USERNAME, control.ANALYST_SECRET, "analyst"),
        (control.CUSTOM_USERNAME, control.CUSTOM_SECRET, "Cohort Keeper"),
    ],
)
def test_the_app_api_when_asked_returns_the_callers_role(
    sandbox: Sandbox, username: str, secret: str, role: str
) -> None:
    """The role is an object or a string, under the project's id as text."""

    def read_role() -> Any:
        reply = requests.get(f"{sandbox.url}/api/app/me", auth=(username, secret), timeout=10)
        return reply.json()["results"]["projects"]["42"]["role"]

    assert read_role()["name"] == role
    sandbox.settings(role_shape="string")
    assert read_role() == role


def test_the_blind_account_sees_neither_itself_nor_the_others(sandbox: Sandbox) -> None:
    """403 without the user_details scope, yet it may query."""
    blind = (control.BLIND_USERNAME, control.BLIND_SECRET)
    for path in ("me", "projects/42/service-accounts"):
        assert requests.get(f"{sandbox.url}/api/app/{path}", auth=blind, timeout=10).status_code == 403
    assert mixpanel(sandbox, "cohorts/list", auth=blind).status_code == 200


def test_the_members_of_a_project_are_listed_with_their_roles(sandbox: Sandbox) -> None:
    """GET service-accounts says username, role, sensitive access and expiry."""
    reply = requests.get(f"{sandbox.url}/api/app/projects/42/service-accounts", auth=ADMIN, timeout=10)
    rows = reply.json()["results"]
    assert {row["username"]: row["role"] for row in rows}[control.ANALYST_USERNAME] == "analyst"
    assert {"username", "role", "hasSensitiveAccess", "expires"} <= set(rows[0])


# WebEngage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [201, 200])
def test_a_batch_is_queued(sandbox: Sandbox, status: int) -> None:
    """Any 2xx with the documented body; the people are there afterwards."""
    sandbox.settings(queued_status=status)
    reply = bulk(sandbox, "ada", "bob")
    assert (reply.status_code, reply.json()) == (status, {"response": {"status": "queued"}})
    assert sandbox.holding("in") == ({"ada", "bob"}, set()) and sandbox.profile_count() == 2


def test_a_wrong_key_is_401_and_a_wrong_license_404(sandbox: Sandbox) -> None:
    """The license is called 404 in one place and 400 in another; another account's key is wrong too."""
    assert webengage(sandbox, "users", {}, Authorization="Bearer wrong").status_code == 401
    assert webengage(sandbox, "users", {}, license_code=control.LICENSE_2).status_code == 401
    assert webengage(sandbox, "users", {}, license_code="nobody").status_code == 404
    sandbox.settings(unknown_license=400)
    assert webengage(sandbox, "users", {}, license_code="nobody").status_code == 400


def test_an_empty_user_is_answered_with_the_documented_error(sandbox: Sandbox) -> None:
    """POST /users with {} proves key and license without writing."""
    reply = webengage(sandbox, "users", {})
    assert reply.status_code == 400 and sandbox.profile_count() == 0
    assert reply.json() == {
        "response": {"message": "Error: userId and anonymousId cannot be empty.", "status": "error"}
    }


def test_the_second_account_has_its_own_people(sandbox: Sandbox) -> None:
    """Its license begins with a tilde."""
    webengage(sandbox, "users", {"userId": "ada"}, control.LICENSE_2, Authorization=f"Bearer {control.API_KEY_2}")
    assert (sandbox.profile_count(control.LICENSE_2), sandbox.profile_count()) == (1, 0)


def test_at_most_25_people_in_one_call(sandbox: Sandbox) -> None:
    """25 go, 26 do not."""
    people = [f"u{n}" for n in range(26)]
    assert bulk(sandbox, *people[:25]).status_code == 201
    assert bulk(sandbox, *people).status_code == 400


@pytest.mark.parametrize("bad", ["", "x" * 101, "poisoned"])
def test_a_batch_when_one_person_is_invalid_stores_nobody(sandbox: Sandbox, bad: str) -> None:
    """400 for the whole call, and nothing applied."""
    sandbox.poison("poisoned")
    assert bulk(sandbox, "ada", bad).status_code == 400
    assert sandbox.profile_count() == 0
    assert bulk(sandbox, "ada", "x" * 100).status_code == 201


def test_updates_merge_and_null_is_ignored(sandbox: Sandbox) -> None:
    """What is not sent keeps its value."""
    webengage(sandbox, "users", {"userId": "ada", "email": "a@example.com", "attributes": {"plan": "free", "in": True}})
    webengage(sandbox, "users", {"userId": "ada", "attributes": {"plan": None, "in": False}})
    assert sandbox.profile("ada") == {
        "userId": "ada",
        "email": "a@example.com",
        "attributes": {"plan": "free", "in": False},
    }
    assert sandbox.profile("nobody") is None


def test_the_first_value_fixes_the_type(sandbox: Sandbox) -> None:
    """A later value of another type is dropped without a word."""
    assert bulk(sandbox, "ada", value="yes").status_code == 201
    assert bulk(sandbox, "ada", "bob", value=True).status_code == 201
    assert sandbox.holding("in") == (set(), set()) and sandbox.attributes() == {"in": "string"}


def test_names_and_strings_keep_their_limits(sandbox: Sandbox) -> None:
    """Names under 50 characters and not we_; strings cut at 1000."""
    attributes = {"we_in": True, "n" * 50: True, "n" * 49: True, "long": "x" * 2000}
    webengage(sandbox, "users", {"userId": "ada", "attributes": attributes})
    kept = sandbox.profile("ada")["attributes"]
    assert set(kept) == {"n" * 49, "long"} and len(kept["long"]) == 1000


def test_the_26th_attribute_of_a_type_is_dropped(sandbox: Sandbox) -> None:
    """25 custom attributes per data type; another type still has room."""
    for n in range(26):
        bulk(sandbox, "ada", name=f"a{n}")
    bulk(sandbox, "ada", name="when", value="2026-08-01T00:00:00+0000")
    assert list(sandbox.attributes().values()).count("boolean") == 25 and sandbox.attributes()["when"] == "date"


def test_the_501st_bulk_request_of_a_minute_is_refused(sandbox: Sandbox) -> None:
    """429 with the documented headers, and room again a minute later."""
    sandbox.settings(bulk_per_minute=3)
    assert [bulk(sandbox, "ada").status_code for _ in range(4)] == [201, 201, 201, 429]
    refused = bulk(sandbox, "ada")
    assert (refused.headers["X-RateLimit-Limit"], refused.headers["X-RateLimit-Remaining"]) == ("3", "0")
    assert "Retry-After" not in refused.headers
    sandbox.advance(60)
    assert bulk(sandbox, "ada").status_code == 201
    assert sandbox.meter().bulk_in_a_minute[control.LICENSE] == 5 and sandbox.meter().refused == {"webengage": 2}


def test_a_repeated_request_id_is_noticed_and_its_events_are_not_taken_twice(sandbox: Sandbox) -> None:
    """x-request-id stops duplicates; a profile is the same either way."""
    event = {"events": [{"userId": "ada", "eventName": "Mixpanel Cohort Entered"}]}
    for _ in range(2):
        webengage(sandbox, "bulk-events", event, **{"x-request-id": "e1"})
        bulk(sandbox, "ada", **{"x-request-id": "b1"})
    assert len(sandbox.events()) == 1
    assert (sandbox.meter().repeated_request_ids, sandbox.meter().applied_again) == (2, 2)


def test_a_person_can_be_erased(sandbox: Sandbox) -> None:
    """Only an erasure request removes a profile."""
    bulk(sandbox, "ada")
    webengage(sandbox, "opengdpr_requests", {"subject_identities": [{"identity_value": "ada"}]})
    assert sandbox.profile("ada") is None and sandbox.holding("in") == (set(), set())
