"""Who may do what: deny by default, decided in the service, the same for pages and commands."""

from __future__ import annotations

import inspect
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import CohortSyncError
from sync.model import Mode
from sync.permissions import AccessLevel, Actor, Forbidden, actor_from_claims
from sync.service import Service
from sync.store import Store
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

LISTS = {
    "COHORT_SYNC_ADMINS": "ann@example.com",
    "COHORT_SYNC_MARKETERS": "@example.com, @partner.example",
    "COHORT_SYNC_VIEWERS": "groups=agency, email=vic@else.where, team=None, sub=ann-7, staff=true",
}
OPEN_TO_ALL = {"open", "close"}
NOT_VERIFIED = (False, "false", "no", "", 0, 1, 1.0, None, [], [True], {"verified": True}, "truely")


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
        ({}, AccessLevel.NOBODY),
    ],
)
def test_lists_decide_the_grade(claims: dict[str, object], grade: AccessLevel) -> None:
    """An address, its domain or a claim gives the highest grade it is listed for; nothing gives nothing."""
    assert actor_from_claims(claims, LISTS).level is grade


@pytest.mark.parametrize("claim", [{}, *({"email_verified": value} for value in NOT_VERIFIED)], ids=str)
@pytest.mark.parametrize("address", ["ann@example.com", "bob@example.com", "vic@else.where"])
def test_address_when_the_provider_does_not_verify_it_gives_no_role(address: str, claim: dict[str, object]) -> None:
    """Neither the address, nor its domain, nor ``email=…`` counts, and the person is told why."""
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


def test_without_lists_nobody_may_do_anything() -> None:
    """An empty setting is no wildcard."""
    assert actor_from_claims({"email": "ann@example.com", "email_verified": True}, {}).level is AccessLevel.NOBODY
    assert (
        actor_from_claims({"email": "@", "email_verified": True}, {"COHORT_SYNC_ADMINS": ","}).level
        is AccessLevel.NOBODY
    )


def test_every_wish_names_the_grade_it_needs() -> None:
    """A new public method of the service without a grade is noticed."""
    public = {name: method for name, method in inspect.getmembers(Service, callable) if not name.startswith("_")}
    bare = {name for name, method in public.items() if not hasattr(method, "requires")}
    assert bare == OPEN_TO_ALL | {"restore_backup"}  # has no object yet to be asked; its own test is next


@pytest.mark.parametrize("damaged", [False, True], ids=["healthy", "damaged"])
def test_a_restore_by_anyone_but_an_admin_is_refused(data_dir: Path, tmp_path: Path, damaged: bool) -> None:
    """Also when the database cannot be opened: nothing is moved or replaced."""
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env) as service:
        service.write_backup(tmp_path / "copy.db")
    if damaged:
        (data_dir / "app.db").write_bytes(b"no database " * 1000)
    before = (data_dir / "app.db").read_bytes()
    with pytest.raises(Forbidden):
        Service.restore_backup(tmp_path / "copy.db", env, Actor("max@example.com", AccessLevel.MARKETER))
    assert (data_dir / "app.db").read_bytes() == before
    assert not list(data_dir.glob("*.aside-*"))


def test_reading_is_for_viewers_and_writing_is_not() -> None:
    """A viewer may look, a marketer may not touch settings."""
    needs = {name: getattr(method, "requires", None) for name, method in inspect.getmembers(Service, callable)}
    assert {name for name, grade in needs.items() if grade is AccessLevel.VIEWER} >= {
        "list_cohorts",
        "preview_cohort",
        "list_runs",
        "check_health",
    }
    assert {name for name, grade in needs.items() if grade is AccessLevel.MARKETER} >= {
        "start_export",
        "pause",
        "cancel",
        "approve",
    }
    assert {name for name, grade in needs.items() if grade is AccessLevel.ADMIN} >= {
        "connect_mixpanel",
        "connect_webengage",
        "disconnect_mixpanel",
        "forget_person",
        "purge_expired",
        "list_audit",
        "restore_open_database",
    }


def test_a_viewer_is_refused_in_the_service_and_nothing_happens(data_dir: Path, sandbox: Sandbox) -> None:
    """The refusal names the person and the grade needed; no run appears."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env) as admin:
        admin.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        admin.connect_webengage(LICENSE, API_KEY, sandbox.url)
    with Service.open(env, Actor("vic@example.com", AccessLevel.VIEWER)) as viewer:
        assert viewer.preview_cohort(PROJECT, cohort).identified == 1
        with pytest.raises(Forbidden, match=r"vic@example.com is a viewer .* needs a marketer"):
            viewer.start_export(PROJECT, cohort, Mode.DYNAMIC)
        assert viewer.list_runs() == ()
    with Service.open(env, Actor("nora@example.com", AccessLevel.NOBODY)) as nobody, pytest.raises(Forbidden):
        nobody.list_cohorts(PROJECT)


def test_the_audit_names_who_did_what_and_never_a_secret(data_dir: Path, sandbox: Sandbox) -> None:
    """Connecting, previewing, exporting and cancelling leave a line each, secrets as fingerprints."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}, Actor("ann@example.com", AccessLevel.ADMIN)) as ann:
        ann.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        ann.connect_webengage(LICENSE, API_KEY, sandbox.url)
        ann.preview_cohort(PROJECT, cohort)
        run = ann.start_export(PROJECT, cohort, Mode.DYNAMIC).run_id
        ann.cancel(run)
        list(ann.iterate_export_rows(run))
        lines = ann.list_audit()
    assert [line.action for line in reversed(lines)] == [
        "connect Mixpanel",
        "connect WebEngage",
        "use account",
        "preview",
        "export",
        "cancel",
        "download",
    ]
    assert {line.actor for line in lines} == {"ann@example.com"}
    assert not any(secret in json.dumps([line.after for line in lines]) for secret in (SECRET, API_KEY))


def test_the_audit_can_only_grow(data_dir: Path) -> None:
    """The database itself refuses to change or remove a line."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.set_retention(rejections=10)
    with closing(sqlite3.connect(data_dir / "app.db")) as db:
        for statement in ("update audit set actor = 'x'", "delete from audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                db.execute(statement)


def test_a_wish_that_fails_leaves_no_audit_line(data_dir: Path) -> None:
    """The line is written with the deed or not at all."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        with pytest.raises(CohortSyncError):
            service.set_retention(rejections=-1)
        assert service.list_audit() == ()


def test_files_are_for_the_owner_only(data_dir: Path, sandbox: Sandbox) -> None:
    """Database, key and folder cannot be read by others, also when the folder was there before."""
    folder = data_dir / "new"
    folder.mkdir(mode=0o755)
    with Service.open({"COHORT_SYNC_DATA": str(folder)}) as service:
        service.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in [folder, *folder.iterdir()]}
    assert modes["new"] == "0o700" and modes["app.db"] == modes["secret.key"] == "0o600"
    assert os.access(folder, os.W_OK)
    with closing(Store.open(folder)) as store:
        assert store.connections.list_projects()[0].sealed not in (None, SECRET)
