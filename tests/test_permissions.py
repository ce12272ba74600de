"""Permissions: denied by default, decided in the service, the same for pages and commands."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import CohortSyncError
from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.permissions import AccessLevel, Actor, Forbidden, actor_from_claims, command_line_actor
from sync.service import Service
from sync.service.base import ServiceState, Topic
from sync.store import Store
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

LISTS = {
    "COHORT_SYNC_ADMINS": "Ann@Example.com",
    "COHORT_SYNC_MARKETERS": "@example.com, @Partner.Example",
    "COHORT_SYNC_VIEWERS": "groups=agency, email=vic@else.where, team=None, sub=ann-7, staff=true, "
    "unit = cn=shop, nothing=, floor=7",
}
OPEN_TO_ALL = {"open", "close"}
NOT_VERIFIED = (False, "false", "no", "", 0, 1, 1.0, None, [], [True], {"verified": True}, "truely")
FOR_MARKETERS = {
    "guards": "lift put_back set_limits",
    "members": "note_download",
    "properties": "read_sample",
    "runs": "approve cancel cancel_alone iterate_export_rows iterate_static_list undo",
    "safety": "add_never_export add_tripwires delete_tripwires remove_never_export remove_tripwires",
    "syncs": "change_interval pause refresh_now resume resync retry_rejected start_export stop",
}
FOR_ADMINS = {
    "admin": "count_audit drop_former_keys forget_person get_retention list_audit purge_expired restore rotate_key "
    "set_approval_limit set_retention write_backup",
    "alerts": "add add_webhook begin_silence deliver discard discard_all get_schedule list list_messages list_undelivered "
    "remove resend resend_all send_test set_schedule update",
    "configuration": "apply",
    "connections": "check_mixpanel check_webengage connect_mixpanel connect_webengage disconnect_mixpanel "
    "disconnect_webengage use_account",
    "runs": "cancel_too_late",  # these two are the runner's
    "syncs": "queue_due",
}


@pytest.mark.parametrize(
    ("claims", "grade"),
    [
        ({"email": "ann@example.com", "email_verified": True}, AccessLevel.ADMIN),
        ({"email": "ANN@Example.com", "email_verified": "true"}, AccessLevel.ADMIN),
        ({"email": "bob@example.com", "email_verified": True}, AccessLevel.MARKETER),
        ({"email": "eve@evil-example.com", "email_verified": True}, AccessLevel.NOBODY),
        ({"email": "eve@evil.example@example.com.evil", "email_verified": True}, AccessLevel.NOBODY),
        ({"email": "x@else.where", "groups": ["agency", "other"]}, AccessLevel.VIEWER),
        ({"sub": "7", "groups": "agency"}, AccessLevel.VIEWER),
        ({"sub": "7", "groups": "agencyx"}, AccessLevel.NOBODY),
        ({"sub": "7", "groups": [["agency"], {"agency": 1}, None]}, AccessLevel.NOBODY),
        ({"sub": "7", "team": None}, AccessLevel.NOBODY),
        ({"sub": "ann@example.com"}, AccessLevel.NOBODY),
        ({"sub": "ann-7"}, AccessLevel.VIEWER),
        ({"sub": "7", "staff": True}, AccessLevel.VIEWER),
        ({"sub": "7", "staff": False}, AccessLevel.NOBODY),
        ({"email": "vic@else.where", "email_verified": True}, AccessLevel.VIEWER),
        ({"email": "kim@partner.example", "email_verified": True, "groups": ["agency"]}, AccessLevel.MARKETER),
        ({"email": " ann@example.com ", "email_verified": True}, AccessLevel.ADMIN),
        ({"email": "example.com", "email_verified": True}, AccessLevel.NOBODY),
        ({"sub": "7", "unit": "cn=shop"}, AccessLevel.VIEWER),
        ({"sub": "7", "unit": "shop"}, AccessLevel.NOBODY),
        ({"sub": "7", "nothing": ""}, AccessLevel.NOBODY),
        ({"sub": "7", "floor": 7}, AccessLevel.VIEWER),
        ({}, AccessLevel.NOBODY),
    ],
)
def test_a_person_when_listed_has_the_highest_level_listed(claims: dict[str, object], grade: AccessLevel) -> None:
    """An address, its domain or a claim gives the highest grade it is listed for; nothing gives nothing."""
    assert actor_from_claims(claims, LISTS).level is grade


@pytest.mark.parametrize(
    ("address", "level"),
    [
        ("KIM@Example.org", AccessLevel.ADMIN),
        ("JÖRG@example.org", AccessLevel.ADMIN),
        ("\u212aim@example.org", AccessLevel.NOBODY),
    ],
)
def test_an_address_that_only_looks_like_a_listed_one_has_no_access(address: str, level: AccessLevel) -> None:
    """The sign for kelvin is a small k to Python, and somebody else's address to the provider."""
    lists = {"COHORT_SYNC_ADMINS": "kim@example.org, jörg@example.org"}
    assert actor_from_claims({"email": address, "email_verified": True}, lists).level is level


@pytest.mark.parametrize("claim", [{}, *({"email_verified": value} for value in NOT_VERIFIED)], ids=str)
@pytest.mark.parametrize("address", ["ann@example.com", "bob@example.com", "vic@else.where"])
def test_address_when_the_provider_does_not_verify_it_gives_no_role(address: str, claim: dict[str, object]) -> None:
    """Neither the address, nor its domain, nor ``email=…`` counts, and the person sees why."""
    person = actor_from_claims({"sub": "7", "email": address} | claim, LISTS)
    assert (person.level, person.name) == (AccessLevel.NOBODY, "7")
    assert address in person.refusal and "email_verified" in person.refusal


@pytest.mark.parametrize(
    ("issuer", "claim", "grade"),
    [
        ("https://id.example", {}, AccessLevel.ADMIN),
        ("https://id.example/", {}, AccessLevel.ADMIN),
        ("https://id.example", {"email_verified": None}, AccessLevel.ADMIN),
        ("https://id.example", {"email_verified": False}, AccessLevel.NOBODY),
        ("https://id.example", {"email_verified": "no"}, AccessLevel.NOBODY),
        ("https://id.example.evil", {}, AccessLevel.NOBODY),
        ("https://id.example/tenant", {}, AccessLevel.NOBODY),
        ("", {}, AccessLevel.NOBODY),
        (None, {}, AccessLevel.NOBODY),
    ],
)
def test_address_when_the_issuer_is_trusted_needs_no_claim(
    issuer: str | None, claim: dict[str, object], grade: AccessLevel
) -> None:
    """A trusted issuer may omit the claim; it cannot overrule a claim that says no, and only the exact issuer counts."""
    env = LISTS | {"COHORT_SYNC_TRUSTED_ISSUERS": "https://other.example, ,https://id.example/"}
    assert actor_from_claims({"email": "ann@example.com", "iss": issuer} | claim, env).level is grade


@pytest.mark.parametrize("entries", ["", ",", "@", "=", "email=", "groups="])
@pytest.mark.parametrize("claims", [{}, {"email": "ann@example.com", "email_verified": True}], ids=str)
def test_a_list_without_a_name_in_it_gives_nobody_access(claims: dict[str, object], entries: str) -> None:
    """An empty setting, or one that a script left half filled in, is no wildcard."""
    assert actor_from_claims(claims, {"COHORT_SYNC_ADMINS": entries}).level is AccessLevel.NOBODY


@pytest.mark.parametrize(
    ("claims", "name"),
    [({}, "unknown"), ({"sub": "7"}, "7"), ({"email": "eve@evil.example", "email_verified": True}, "eve@evil.example")],
)
def test_a_person_who_is_not_listed_is_named_in_the_refusal(claims: dict[str, object], name: str) -> None:
    """Also one of whom the provider says nothing; of an address that needs no proof nothing is said."""
    found = actor_from_claims(claims, LISTS)
    assert found.refusal == f"{name} is signed in, but nobody gave this address access to Cohort Sync; ask its admin."


def test_a_command_of_a_user_without_a_name_is_somebodys_at_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a number that no file of users lists."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert command_line_actor() == Actor("someone at the command line", AccessLevel.ADMIN)


def find_open_doors(thing: object, *harmless: type) -> set[str]:
    """Return the public names of a service or a topic that may be used without any access level."""
    named = {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
    return {name for name, value in named.items() if not hasattr(value, "requires") and not isinstance(value, harmless)}


def find_topics(service: Service) -> dict[str, Topic]:
    """Return the topics a service holds, by name."""
    return {name: value for name, value in vars(service).items() if isinstance(value, Topic)}


def test_every_topic_when_a_method_is_public_names_its_access_level(data_dir: Path) -> None:
    """A new public method of the service, or of any topic it holds, is noticed when it names no level."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        topics = find_topics(service)
        # A restore has no object yet that could be asked; its own test is below.
        assert find_open_doors(service, Actor, Topic) == OPEN_TO_ALL | {"restore_database"}
        assert topics.keys() >= {"connections", "cohorts", "syncs", "runs", "admin"}
        doors = {name: find_open_doors(topic, Actor) for name, topic in topics.items()}
        assert doors == {name: set() for name in topics}


def test_open_doors_when_a_topic_forgets_a_level_are_found(data_dir: Path) -> None:
    """The check above can fail: a method, a value and a topic held in public, each without a level."""

    class Careless(Topic):
        secret = "x"

        def read_everything(self) -> None:
            """Name no access level."""

    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env) as service, Store.open(data_dir) as store:
        careless = Careless(ServiceState(store, env))
        assert find_open_doors(careless, Actor) == {"read_everything", "secret"}
        vars(careless)["cohorts"] = service.cohorts
        assert "cohorts" in find_open_doors(careless, Actor)


@pytest.mark.parametrize("damaged", [False, True], ids=["healthy", "damaged"])
def test_restore_when_the_person_is_no_admin_is_refused(data_dir: Path, tmp_path: Path, damaged: bool) -> None:
    """Also when the database cannot be opened: nothing is moved or replaced."""
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env) as service:
        service.admin.write_backup(tmp_path / "copy.db")
    if damaged:
        (data_dir / "app.db").write_bytes(b"no database " * 1000)
    before = (data_dir / "app.db").read_bytes()
    with pytest.raises(Forbidden, match=r"^max@example\.com is a marketer here, and this needs an admin; ask"):
        Service.restore_database(tmp_path / "copy.db", env, Actor("max@example.com", AccessLevel.MARKETER))
    assert (data_dir / "app.db").read_bytes() == before
    assert not list(data_dir.glob("*.aside-*"))


def test_level_when_a_request_reads_writes_or_administers_is_the_lowest_that_fits(data_dir: Path) -> None:
    """A marketer exports and holds back, an admin connects and keeps the house, and everything else only looks."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        needs = {
            f"{topic}.{name}": getattr(getattr(held, name), "requires", None)
            for topic, held in find_topics(service).items()
            for name in dir(held)
            if not name.startswith("_") and name != "actor"
        }
    marketers, admins = (
        {f"{topic}.{name}" for topic, names in table.items() for name in names.split()}
        for table in (FOR_MARKETERS, FOR_ADMINS)
    )
    assert {name for name, level in needs.items() if level is AccessLevel.MARKETER} == marketers
    assert {name for name, level in needs.items() if level is AccessLevel.ADMIN} == admins
    others = needs.keys() - marketers - admins
    assert {needs[name] for name in others} == {AccessLevel.VIEWER}


def test_the_service_when_a_viewer_asks_for_a_change_refuses_it(data_dir: Path, sandbox: Sandbox) -> None:
    """The refusal names the person and the grade needed; no run appears."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env) as admin:
        admin.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        admin.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)
    with Service.open(env, Actor("vic@example.com", AccessLevel.VIEWER)) as viewer:
        assert viewer.cohorts.preview(PROJECT, cohort).identified == 1
        with pytest.raises(Forbidden, match=r"vic@example.com is a viewer .* needs a marketer"):
            viewer.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
        assert viewer.runs.list() == ()
    with (
        Service.open(env, Actor("nora@example.com", AccessLevel.NOBODY)) as nobody,
        pytest.raises(Forbidden, match=r"^nora@example\.com is signed in, but nobody gave this address access"),
    ):
        nobody.cohorts.list(PROJECT)


def test_the_audit_names_who_did_what_and_never_a_secret(data_dir: Path, sandbox: Sandbox) -> None:
    """Connecting, previewing, exporting and cancelling leave a line each, secrets as fingerprints."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}, Actor("ann@example.com", AccessLevel.ADMIN)) as ann:
        ann.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        ann.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)
        ann.cohorts.preview(PROJECT, cohort)
        run = ann.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
        ann.runs.cancel(run)
        list(ann.runs.iterate_export_rows(run))
        lines = ann.admin.list_audit()
    assert [line.action for line in reversed(lines)] == [
        "connect Mixpanel",
        "connect WebEngage",
        "use account",
        "preview",
        "export",
        "cancel",
        "stop",
        "download",
    ]
    assert {line.actor for line in lines} == {"ann@example.com"}
    assert not any(secret in json.dumps([line.after for line in lines]) for secret in (SECRET, API_KEY))


def test_the_audit_can_only_grow(data_dir: Path) -> None:
    """The database itself refuses to change or remove a line."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.admin.set_retention(rejections=10)
    with closing(sqlite3.connect(data_dir / "app.db")) as db:
        for statement in ("update audit set actor = 'x'", "delete from audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                db.execute(statement)


def test_a_request_when_it_fails_leaves_no_audit_line(data_dir: Path) -> None:
    """The line is written with the deed or not at all."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        with pytest.raises(CohortSyncError):
            service.admin.set_retention(rejections=-1)
        assert service.admin.list_audit() == ()


def test_files_are_for_the_owner_only(data_dir: Path, sandbox: Sandbox) -> None:
    """Database, key and folder cannot be read by others, also when the folder was there before."""
    folder = data_dir / "new"
    folder.mkdir(mode=0o755)
    with Service.open({"COHORT_SYNC_DATA": str(folder)}) as service:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in [folder, *folder.iterdir()]}
    assert modes["new"] == "0o700" and modes["app.db"] == modes["secret.key"] == "0o600"
    assert os.access(folder, os.W_OK)
    with closing(Store.open(folder)) as store:
        assert SECRET not in store.maintenance.list_secrets()[0]
