"""Both clients against the sandbox: every answer becomes a value or the error that says who must act."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sync import webengage
from sync.errors import (
    ApiError,
    BatchRejected,
    ConfigurationError,
    InvalidRequest,
    RetryLater,
    SessionExpired,
    UnexpectedResponse,
)
from sync.http_client import HttpClient
from sync.mixpanel import client as mixpanel
from sync.mixpanel.client import Mixpanel, build_query_form
from sync.model import Account, Change, ChangeKind, Eligibility, Project, Role
from sync.webengage import WebEngage, build_payload
from tests.sandbox.control import (
    ANALYST_SECRET,
    ANALYST_USERNAME,
    API_KEY,
    BLIND_SECRET,
    BLIND_USERNAME,
    LICENSE,
    PROJECT,
    SECRET,
    USERNAME,
    Sandbox,
    anonymous,
    member,
)

ENGAGE, BULK = "/api/query/engage", "bulk-users"
BODY = build_payload("Fans", [Change("a", ChangeKind.ADD)], ())


@pytest.fixture
def mixpanel_client(sandbox: Sandbox) -> Mixpanel:
    """Return the sandbox's project as a client of Mixpanel."""
    return Mixpanel(Project(PROJECT, USERNAME, SECRET, sandbox.url), timeout=5.0)


@pytest.fixture
def webengage_client(sandbox: Sandbox) -> WebEngage:
    """Return the sandbox's account as a client of WebEngage."""
    return WebEngage(Account(LICENSE, API_KEY, sandbox.url))


def fates(mixpanel_client: Mixpanel, cohort: int, **asked: bool) -> dict[str, Eligibility]:
    """Return the members of page 0 with their eligibility."""
    page = mixpanel_client.read_page(cohort, 0, None, properties=(), **{"all_users": True, "trimmed": False, **asked})
    return {one.id: one.eligibility for one in page.members}


@pytest.mark.parametrize("shape", ["missing", "null", "empty"])
def test_a_member_when_the_profile_is_missing_in_any_shape_is_anonymous(
    mixpanel_client: Mixpanel, sandbox: Sandbox, shape: str
) -> None:
    """Missing, null or empty properties mean the same: nobody Mixpanel knows."""
    sandbox.settings(bare_shape=shape)
    cohort = sandbox.add_cohort("Fans", [member("a"), anonymous("b"), member("$device:c")])
    assert fates(mixpanel_client, cohort) == {
        "a": Eligibility.IDENTIFIED,
        "b": Eligibility.NO_PROFILE,
        "$device:c": Eligibility.DEVICE_ONLY,
    }


def test_a_page_when_members_have_properties_names_them(mixpanel_client: Mixpanel, sandbox: Sandbox) -> None:
    """Names only, the most frequent first: the picker of the export dialog costs no query of its own."""
    cohort = sandbox.add_cohort(
        "Fans", [member("a", plan="gold"), member("b", plan="free", city="Oslo"), anonymous("c")]
    )
    assert mixpanel_client.read_page(cohort, 0, None, all_users=True, properties=(), trimmed=False).properties == (
        "plan",
        "city",
    )


def test_a_query_when_nothing_is_mapped_asks_for_one_short_property(
    mixpanel_client: Mixpanel, sandbox: Sandbox
) -> None:
    """`include_all_users` is always said, and without a mapped property only a short one is asked for."""
    cohort = sandbox.add_cohort("Fans", [member("a"), anonymous("b")])
    page = mixpanel_client.read_columns(cohort, 0, None, ())
    assert (page.ids, page.values, page.others, page.total) == (["a"], [], [], 1)
    first, later = (build_query_form(7, number, "s", all_users=False, wanted=("$created",)) for number in (0, 3))
    assert first["include_all_users"] == "false" and first["output_properties"] == '["$created"]'
    assert later == first | {"page": "3", "session_id": "s"}


def test_a_query_when_a_page_size_is_set_uses_the_size_of_the_reply(sandbox: Sandbox) -> None:
    """The setting travels with the query; the size believed is the one that came back."""
    cohort = sandbox.add_cohort("Fans", [member(f"p{number}") for number in range(12)])
    sandbox.settings(page_size=10)
    page = Mixpanel(Project(PROJECT, USERNAME, SECRET, sandbox.url), page_size=40_000).read_columns(cohort, 0, None, ())
    assert (page.size, page.rows, page.total) == (10, 10, 12)


def test_mapped_values_when_missing_are_null(mixpanel_client: Mixpanel, sandbox: Sandbox) -> None:
    """The literal strings Mixpanel writes for missing values are missing."""
    people = [
        member("a", **{"x": "<null>", "y": 1}),
        member("b", **{"y": "ü"}),
        member("c", **{"x": "<undefined>", "y": [1]}),
    ]
    cohort = sandbox.add_cohort("Fans", people)
    page = mixpanel_client.read_columns(cohort, 0, None, ("x", "y"))
    assert page.values == [b"[null,1]", '[null,"ü"]'.encode(), b"[null,[1]]"]


def test_ids_when_numbers_or_unusual_are_text_exactly_as_given(mixpanel_client: Mixpanel, sandbox: Sandbox) -> None:
    """Integers become text; spaces, unicode and case stay; the impossible ones are set apart with their reason."""
    people = [member(4), member(" Zoë "), member("x" * 101), member("   ")]
    cohort = sandbox.add_cohort("Fans", people)
    sandbox.fault("integer_ids")
    page = mixpanel_client.read_columns(cohort, 0, None, ())
    assert page.ids == ["4", " Zoë "]
    assert [one.eligibility for one in page.others] == [Eligibility.LONG_ID, Eligibility.EMPTY_ID]


def test_pages_when_the_cohort_changes_meanwhile_follow_their_session(
    mixpanel_client: Mixpanel, sandbox: Sandbox
) -> None:
    """A cohort that changes meanwhile is read as it was when page 0 was asked for."""
    sandbox.settings(page_size=10)
    cohort = sandbox.add_cohort("Fans", [member(f"p{number}") for number in range(25)])
    first = mixpanel_client.read_columns(cohort, 0, None, ())
    sandbox.set_members(cohort, [member("late")])
    rest = [mixpanel_client.read_columns(cohort, number, first.session_id, ()) for number in (1, 2)]
    assert (first.size, first.total) == (10, 25)
    assert {one for page in (first, *rest) for one in page.ids} == {f"p{number}" for number in range(25)}


MIXPANEL_ANSWERS: list[tuple[dict[str, object], type[ApiError]]] = [
    ({"kind": "status", "code": 401}, ConfigurationError),
    ({"kind": "status", "code": 400, "body": {"error": "Unable to authenticate request"}}, ConfigurationError),
    ({"kind": "status", "code": 402}, ConfigurationError),
    ({"kind": "status", "code": 403}, ConfigurationError),
    ({"kind": "status", "code": 404}, ConfigurationError),
    ({"kind": "status", "code": 410}, ConfigurationError),
    ({"kind": "status", "code": 400}, ConfigurationError),
    ({"kind": "status", "code": 418}, UnexpectedResponse),
    ({"kind": "status", "code": 302}, UnexpectedResponse),
    ({"kind": "status", "code": 408}, RetryLater),
    ({"kind": "status", "code": 500}, RetryLater),
    ({"kind": "html", "code": 502}, RetryLater),
    ({"kind": "reset"}, RetryLater),
    ({"kind": "truncated"}, RetryLater),
    ({"kind": "garbled"}, RetryLater),
    ({"kind": "says_error"}, UnexpectedResponse),
    ({"kind": "status", "code": 200, "body": {"status": "ok"}}, UnexpectedResponse),
    ({"kind": "status", "code": 200, "body": {"results": [], "page": 3}}, UnexpectedResponse),
    ({"kind": "status", "code": 200, "body": {"results": [], "total": -1}}, UnexpectedResponse),
    ({"kind": "status", "code": 200, "body": {"results": [], "page_size": 0}}, UnexpectedResponse),
    ({"kind": "status", "code": 200, "body": {"results": {"a": 1}}}, UnexpectedResponse),
    ({"kind": "status", "code": 200, "body": []}, UnexpectedResponse),
]


@pytest.mark.parametrize(("fault", "error"), MIXPANEL_ANSWERS, ids=lambda one: str(one))
def test_mixpanel_when_its_answer_is_wrong_raises_the_right_error(
    mixpanel_client: Mixpanel, sandbox: Sandbox, fault: dict[str, object], error: type[ApiError]
) -> None:
    """No failed, foreign or half answer is ever taken for an empty cohort."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    sandbox.fault(path=ENGAGE, **fault)
    with pytest.raises(error):
        mixpanel_client.read_columns(cohort, 0, None, ())


def test_a_later_page_when_the_session_expired_asks_to_start_again(mixpanel_client: Mixpanel, sandbox: Sandbox) -> None:
    """Only for a later page a 400 means that the session is gone."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with pytest.raises(SessionExpired):
        mixpanel_client.read_columns(cohort, 1, "long-gone", ())


@pytest.mark.parametrize("code", [400, 401])
def test_a_later_page_when_credentials_are_refused_names_them(
    mixpanel_client: Mixpanel, sandbox: Sandbox, code: int
) -> None:
    """Mixpanel answers wrong credentials with 401, and with 400 and these words; the session is not at fault."""
    sandbox.fault("status", path=ENGAGE, code=code, body={"error": "Unable to authenticate request"})
    with pytest.raises(ConfigurationError, match="check the service account"):
        mixpanel_client.read_columns(5, 1, "s", ())


def test_mixpanel_when_it_answers_429_has_the_limit_that_was_hit(mixpanel_client: Mixpanel, sandbox: Sandbox) -> None:
    """The two fractions of the text decide between seconds and the hour."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    text = (
        "Query rate limit exceeded for project_id: 42. {}/5 queries running concurrently "
        "and {}/60 queries running in the last hour."
    )
    for running, hourly, limit in ((1, 61, "hourly"), (6, 12, "concurrent"), (5, 61, "hourly")):
        sandbox.fault("status", path=ENGAGE, code=429, body={"error": text.format(running, hourly)}, retry_after=30)
        with pytest.raises(RetryLater) as waiting:
            mixpanel_client.read_columns(cohort, 0, None, ())
        assert (waiting.value.limit, waiting.value.seconds) == (limit, 30.0)


def test_a_role_when_admin_or_below_or_unknown_is_distinguished(sandbox: Sandbox) -> None:
    """Admin, below admin and not to be found out are three different things."""

    def role(username: str, secret: str) -> Role:
        return Mixpanel(Project(PROJECT, username, secret, sandbox.url)).check_credentials().role

    assert role(USERNAME, SECRET) is Role.ADMIN
    assert role(ANALYST_USERNAME, ANALYST_SECRET) is Role.BELOW_ADMIN
    assert role(BLIND_USERNAME, BLIND_SECRET) is Role.UNVERIFIED


WEBENGAGE_ANSWERS: list[tuple[dict[str, object], type[ApiError]]] = [
    ({"kind": "status", "code": 400}, BatchRejected),
    ({"kind": "status", "code": 413}, BatchRejected),
    ({"kind": "status", "code": 422}, BatchRejected),
    ({"kind": "status", "code": 401}, ConfigurationError),
    ({"kind": "status", "code": 403}, ConfigurationError),
    ({"kind": "status", "code": 404}, ConfigurationError),
    ({"kind": "status", "code": 500}, RetryLater),
    ({"kind": "html", "code": 502}, RetryLater),
    ({"kind": "reset"}, RetryLater),
    ({"kind": "vanish"}, RetryLater),
    ({"kind": "garbled"}, RetryLater),
    ({"kind": "truncated"}, RetryLater),
    ({"kind": "says_error"}, UnexpectedResponse),
    ({"kind": "status", "code": 200, "body": "OK"}, RetryLater),
    ({"kind": "status", "code": 200, "body": {}}, UnexpectedResponse),
    ({"kind": "status", "code": 204, "body": ""}, RetryLater),
    ({"kind": "status", "code": 302}, UnexpectedResponse),
]


@pytest.mark.parametrize(("fault", "error"), WEBENGAGE_ANSWERS, ids=lambda one: str(one))
def test_webengage_when_its_answer_is_wrong_raises_the_right_error(
    webengage_client: WebEngage, sandbox: Sandbox, fault: dict[str, object], error: type[ApiError]
) -> None:
    """Only a 2xx that says queued counts as accepted."""
    sandbox.fault(path=BULK, **fault)
    with pytest.raises(error):
        webengage_client.send_batch(BODY, "ab12")


@pytest.mark.parametrize("status", [200, 201])
def test_webengage_when_any_2xx_says_queued_has_accepted(
    webengage_client: WebEngage, sandbox: Sandbox, status: int
) -> None:
    """The documentation does not say which 2xx it is."""
    sandbox.settings(queued_status=status)
    webengage_client.send_batch(BODY, "ab12")
    assert sandbox.holding("Fans")[0] == {"a"}


def test_webengage_when_429_has_no_retry_after_waits_for_the_next_minute(
    webengage_client: WebEngage, sandbox: Sandbox
) -> None:
    """Without Retry-After the next whole minute is the time; with it, what it says."""
    sandbox.fault("status", path=BULK, code=429)
    with pytest.raises(RetryLater) as silent:
        webengage_client.send_batch(BODY, "ab12")
    sandbox.fault("status", path=BULK, code=429, retry_after=7)
    with pytest.raises(RetryLater) as said:
        webengage_client.send_batch(BODY, "ab12")
    assert silent.value.limit == said.value.limit == "minute" and said.value.seconds == 7.0
    assert silent.value.seconds is not None and 0 < silent.value.seconds <= 61


def test_a_check_of_webengage_writes_nothing(webengage_client: WebEngage, sandbox: Sandbox) -> None:
    """The account is proven by the documented refusal of an empty user."""
    webengage_client.check_credentials()
    assert sandbox.profile_count() == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "code": 200, "body": {"response": {"status": "queued"}}},
        {"kind": "status", "code": 500},
        {"kind": "html", "code": 200},
    ],
)
def test_a_check_when_the_answer_is_undocumented_is_no_success(
    webengage_client: WebEngage, sandbox: Sandbox, fault: dict[str, object]
) -> None:
    """Anything but the documented refusal could not be verified."""
    sandbox.fault(path="/users", **fault)
    with pytest.raises((UnexpectedResponse, RetryLater), match="verified"):
        webengage_client.check_credentials()


def test_a_request_when_redirected_sends_no_credentials_there(sandbox: Sandbox) -> None:
    """A 302 is an answer like any other: nobody goes where it points."""
    sandbox.fault("status", path="/users", code=302)
    before = sum(sandbox.meter().requests.values())
    with pytest.raises(ApiError):
        WebEngage(Account(LICENSE, API_KEY, sandbox.url)).check_credentials()
    assert sum(sandbox.meter().requests.values()) == before + 1


def test_an_answer_when_endless_is_cut_off(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the cap is not read."""
    monkeypatch.setattr("sync.http_client.MAX_BODY_BYTES", 100)
    sandbox.add_cohort("Fans" * 50, [member("a")])
    with pytest.raises(UnexpectedResponse, match="one answer"):
        Mixpanel(Project(PROJECT, USERNAME, SECRET, sandbox.url)).list_cohorts()


def test_a_host_when_unreachable_is_named_without_its_address() -> None:
    """The error says which host, and nothing of path, project or key."""
    with pytest.raises(RetryLater) as gone:
        HttpClient("http://127.0.0.1:9", auth=(b"user", b"secret-word")).send_request(
            "GET", "/x?project_id=42", timeout=2
        )
    assert "127.0.0.1" in str(gone.value) and "42" not in str(gone.value) and "secret" not in str(gone.value)


@pytest.mark.parametrize(
    ("make", "good", "bad"),
    [
        (
            mixpanel.get_base_url,
            ["us", "EU", "in", "http://127.0.0.1:1"],
            ["", "asia", "https://mixpanel.com", "http://10.0.0.1"],
        ),
        (
            webengage.get_base_url,
            ["global", "ksa", "https://api.eu.webengage.com"],
            [
                "",
                "http://api.webengage.com",
                "https://webengage.com.evil.example",
                "https://a@api.webengage.com",
                "https://api.webengage.com:8443",
                "https://api.webengage.com/x",
            ],
        ),
        (
            webengage.clean_license_code,
            ["va1w264d", " ~2024b707 ", "in~58adbca1"],
            ["", "a/b", "..", "a?b", "a b", "ü"],
        ),
    ],
)
def test_an_address_when_not_of_a_known_region_is_refused(
    make: Callable[[str], str], good: list[str], bad: list[str]
) -> None:
    """Known regions, WebEngage over https, this machine; nothing that only looks like them."""
    for one in good:
        assert make(one)
    for one in bad:
        with pytest.raises(InvalidRequest):
            make(one)
