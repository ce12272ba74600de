"""No profile value and no other person's id in a reason, whatever the other side quotes back at us."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from sync.engine.retry import RetryPolicy
from sync.errors import ApiError
from sync.export_terms import ExportTerms
from sync.http_client import Reply, describe_problem
from sync.mixpanel.client import Mixpanel
from sync.model import Account, Change, ChangeKind, Mode, Project
from sync.redaction import strip_values
from sync.runner import Runner
from sync.service import Service
from sync.webengage import WebEngage, build_payload
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member
from tests.workspace import open_database, read_everything_stored, run_queued

NAME, PHONE, PLAN = "Zoë Quandt-Ormsby", "+919876543210", "Platinum & Co"
VALUES = (NAME, PHONE, PLAN, "Ann", 48.25, 1990, True, "🙂", "王小明")
PEOPLE = [
    member("vip-7341", **{"$first_name": NAME, "$phone": PHONE, "plan": PLAN}),
    member("vip-9982", **{"$first_name": "Ann", "$phone": "+4915112345678", "plan": "Gold"}),
]
POSTPONE_AT_ONCE = RetryPolicy(delays=(), postponements=(900.0,))
MAPPING = (("$first_name", "firstName"), ("$phone", "phone"), ("plan", "Plan"))
QUOTED = {
    "as it is": f"firstName {NAME} and phone {PHONE} of vip-7341 are invalid",
    "in capitals": f"firstName {NAME.upper()} is invalid for VIP-7341",
    "without accents": "firstName zoe quandt ormsby is invalid",
    "in parts": "firstName Quandt, 98765 43210, Platinum",
    "JSON-escaped": json.dumps({"firstName": NAME, "phone": PHONE, "userId": "vip-7341"}),
    "JSON in JSON": json.dumps(json.dumps({"firstName": NAME})),
    "URL-encoded": f"?name={quote(NAME)}&phone={quote(PHONE)}&plan={quote(PLAN, safe='')}",
    "URL-encoded twice": f"?name={quote(quote(NAME))}",
    "as HTML": "Zo&euml; Quandt&#45;Ormsby, Platinum &amp; Co",
    "a phone with other punctuation": "phone (+91) 98765-43.210 or 098765 43210",
    "cut off": f"{'x' * 3} firstName Zoë Quan…",
    "the other one": "user vip-9982 named Ann with Gold and +49 151 12345678",
}
LEAKS = ("zoë", "zoe", "zo%", "quan", "orms", "platinum", "98765", "43210", "7341", "9982", "gold", "ann ", "12345678")


def leaks(text: str) -> list[str]:
    """Return the parts of values and ids a text holds."""
    return [part for part in LEAKS if part in f"{text.casefold()} "]


@pytest.fixture
def service(data_dir: Path, sandbox: Sandbox) -> Iterator[Service]:
    """Open a service connected to the sandbox on both sides."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as opened:
        opened.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        opened.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)
        yield opened


@pytest.mark.parametrize("quoted", QUOTED.values(), ids=QUOTED)
@pytest.mark.parametrize("code", [400, 401, 200])
def test_a_reason_when_webengage_quotes_the_batch_holds_no_value(
    service: Service, data_dir: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, quoted: str, code: int
) -> None:
    """Rejected one by one, failed for a setting, or answered with an error: what is kept and logged names nobody."""
    caplog.set_level(logging.DEBUG, logger="sync")
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    sandbox.fault(
        "status",
        path="bulk-users",
        code=code,
        times=0,
        body={"response": {"message": f"Rejected: {quoted}", "status": "error"}},
    )
    run_id = service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=MAPPING)).run_id
    Runner({"COHORT_SYNC_DATA": str(data_dir)}, policy=POSTPONE_AT_ONCE).run_once(run_id)
    run = service.runs.get(run_id)
    reasons = [one.reason for one in service.runs.list_rejections(run_id)] + [str(run.error), str(run.wait_reason)]
    said = [
        *reasons,
        *(one.message for one in service.runs.list_events(run_id)),
        str(service.syncs.get(1).pause_reason),
        caplog.text,
    ]
    assert any("Rejected" in one for one in reasons)  # the words of WebEngage's own are still there
    assert [part for text in said for part in leaks(text)] == []
    if code == 400:
        assert len(service.runs.list_rejections(run_id)) == len(PEOPLE)
    stored = read_everything_stored(data_dir).decode("utf-8", "replace").casefold()
    # Whole phones only: five digits in a row are among those of stored times now and then.
    assert not [part for part in ("quandt", "9876543210", "98765 43210", "platinum") if part in stored]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Error: invalid user Ann.", "Error: invalid user …."),
        ("Error: the annotation cannot be empty.", "Error: the annotation cannot be empty."),
        ("amount 48.25 of 1990, flag TRUE", "amount … of …, flag …"),
        ("amount 481.25 of 19901", "amount 481.25 of 19901"),
        ("用户王小明无效 🙂", "用户…无效 …"),
        ("Error: userId and anonymousId cannot be empty.", "Error: userId and anonymousId cannot be empty."),
    ],
)
def test_strip_values_when_short_values_stand_alone_strips_them_and_leaves_other_words(text: str, left: str) -> None:
    """Short names and numbers are found as words of their own; sentences that quote nobody stay as they are."""
    assert strip_values(text, VALUES) == left


def test_a_value_when_the_answer_is_long_is_stripped_before_it_is_cut() -> None:
    """The cut at 200 characters leaves no beginning of a value behind, as it would if it came first."""
    body = json.dumps({"error": "x " * 95 + NAME})
    for pad in range(20):
        said = describe_problem(Reply(400, (body[:11] + "y" * pad + body[11:]).encode(), {}), (NAME,))
        assert leaks(said) == []


def test_an_error_of_one_half_when_it_quotes_the_other_half_names_nobody(sandbox: Sandbox) -> None:
    """A batch cut in two may be answered with a person of the other part: the whole batch is stripped."""
    client = WebEngage(Account(LICENSE, API_KEY, sandbox.url))
    ours, other = Change("a", ChangeKind.ADD, ("Left",)), Change("vip-9982", ChangeKind.ADD, ("Goldwater",))
    sandbox.fault("status", path="bulk-users", code=400, body={"message": "Rejected: vip-9982 Goldwater"})
    with pytest.raises(ApiError, match="Rejected: …") as refused:
        client.send_batch(build_payload("Fans", (ours,), (("name", "firstName"),)), "r", (ours, other))
    assert "Goldwater" not in str(refused.value) and "9982" not in str(refused.value)


PAGE = {"page": 0, "page_size": 1000, "session_id": "s", "total": 1}
ROW = {"$distinct_id": "vip-7341", "$properties": {"$first_name": NAME}}
BROKEN_PAGES = {
    "a total in words": json.dumps(PAGE | {"results": [ROW], "total": NAME}),
    "rows that are none": json.dumps(PAGE | {"results": [NAME], "error": NAME}),
    "an error beside members": json.dumps(PAGE | {"results": [ROW], "error": f"broken at {NAME}"}),
    "cut off": json.dumps(PAGE | {"results": [ROW]}, ensure_ascii=False)[:-20],
    "its second half": json.dumps(PAGE | {"results": [ROW]}, ensure_ascii=False)[80:],
}


@pytest.mark.parametrize("body", BROKEN_PAGES.values(), ids=BROKEN_PAGES)
@pytest.mark.parametrize("code", [200, 400, 500])
def test_a_page_of_members_when_it_cannot_be_read_is_never_quoted(sandbox: Sandbox, code: int, body: str) -> None:
    """Neither the runner's reading nor the preview's puts a piece of the page into its error."""
    if code != 200:
        body = body.replace('"error"', '"trouble"')  # what a refusal calls its error is quoted
    sandbox.fault("status", path="/api/query/engage", code=code, body=body, times=0)
    client = Mixpanel(Project(PROJECT, USERNAME, SECRET, sandbox.url))
    with pytest.raises(ApiError) as run:
        client.read_columns(5, 0, None, ("$first_name",))
    with pytest.raises(ApiError) as preview:
        client.read_page(5, 0, None, all_users=True, properties=(), trimmed=False)
    assert leaks(f"{run.value} {preview.value}") == []


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_a_run_however_it_ended_leaves_no_page_and_no_batch(
    service: Service, data_dir: Path, sandbox: Sandbox, end: str
) -> None:
    """They hold ids and encrypted values, which are for the run only; from a plan on, a page holds none of its own."""
    cohort = sandbox.add_cohort("VIPs", PEOPLE)
    if end == "failed":
        sandbox.fault("status", path="bulk-users", code=401, times=0)
    run_id = service.syncs.start_export(
        PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=MAPPING, dry_run=True)
    ).run_id
    run_queued(data_dir)
    with open_database(data_dir) as database:
        pages = database.execute("select sealed_values, ids from staged_page").fetchall()
    assert pages and set(pages) == {(None, b"")}
    (service.runs.cancel if end == "cancelled" else service.runs.approve)(run_id)
    run_queued(data_dir)
    assert service.runs.get(run_id).state.value == end
    with open_database(data_dir) as database:
        for table in ("staged_page", "batch", "batch_block"):
            assert database.execute(f"select count(*) from {table}").fetchone() == (0,)
