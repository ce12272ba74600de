"""Who may do what: deny by default, decided in the service, the same for pages and commands."""

from __future__ import annotations

import inspect
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.access import Forbidden, Grade, Person, person_of
from sync.errors import CohortSyncError
from sync.model import Mode
from sync.service import Service
from sync.store import Store
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

LISTS = {
    "COHORT_SYNC_ADMINS": "ann@example.com",
    "COHORT_SYNC_MARKETERS": "@example.com, @partner.example",
    "COHORT_SYNC_VIEWERS": "groups=agency, email=vic@else.where, team=None",
}
OPEN_TO_ALL = {"open", "close"}


@pytest.mark.parametrize(
    ("claims", "grade"),
    [
        ({"email": "ann@example.com"}, Grade.ADMIN),
        ({"email": "ANN@Example.com", "email_verified": True}, Grade.ADMIN),
        ({"email": "bob@example.com"}, Grade.MARKETER),
        ({"email": "eve@evil-example.com"}, Grade.NOBODY),
        ({"email": "ann@example.com", "email_verified": False}, Grade.NOBODY),
        ({"email": "x@else.where", "groups": ["agency", "other"]}, Grade.VIEWER),
        ({"sub": "7", "groups": "agency"}, Grade.VIEWER),
        ({"sub": "7", "groups": "agencyx"}, Grade.NOBODY),
        ({"email": "vic@else.where"}, Grade.VIEWER),
        ({"email": "vic@else.where", "email_verified": False}, Grade.NOBODY),
        ({}, Grade.NOBODY),
    ],
)
def test_lists_decide_the_grade(claims: dict[str, object], grade: Grade) -> None:
    """An address, its domain or a claim gives the highest grade it is listed for; nothing gives nothing."""
    assert person_of(claims, LISTS).grade is grade


def test_without_lists_nobody_may_do_anything() -> None:
    """An empty setting is no wildcard."""
    assert person_of({"email": "ann@example.com"}, {}).grade is Grade.NOBODY
    assert person_of({"email": "@"}, {"COHORT_SYNC_ADMINS": ","}).grade is Grade.NOBODY


def test_every_wish_names_the_grade_it_needs() -> None:
    """A new public method of the service without a grade is noticed."""
    public = {name: method for name, method in inspect.getmembers(Service, callable) if not name.startswith("_")}
    bare = {name for name, method in public.items() if not hasattr(method, "needs")}
    assert bare == OPEN_TO_ALL | {"restore_backup"}  # has no object yet to be asked; its own test is next


@pytest.mark.parametrize("damaged", [False, True], ids=["healthy", "damaged"])
def test_a_restore_by_anyone_but_an_admin_is_refused(data_dir: Path, tmp_path: Path, damaged: bool) -> None:
    """Also when the database cannot be opened: nothing is moved or replaced."""
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env) as service:
        service.backup(tmp_path / "copy.db")
    if damaged:
        (data_dir / "app.db").write_bytes(b"no database " * 1000)
    before = (data_dir / "app.db").read_bytes()
    with pytest.raises(Forbidden):
        Service.restore_backup(tmp_path / "copy.db", env, Person("max@example.com", Grade.MARKETER))
    assert (data_dir / "app.db").read_bytes() == before
    assert not list(data_dir.glob("*.aside-*"))


def test_reading_is_for_viewers_and_writing_is_not() -> None:
    """A viewer may look, a marketer may not touch settings."""
    needs = {name: getattr(method, "needs", None) for name, method in inspect.getmembers(Service, callable)}
    assert {name for name, grade in needs.items() if grade is Grade.VIEWER} >= {"cohorts", "preview", "runs", "health"}
    assert {name for name, grade in needs.items() if grade is Grade.MARKETER} >= {
        "export",
        "pause",
        "cancel",
        "approve",
    }
    assert {name for name, grade in needs.items() if grade is Grade.ADMIN} >= {
        "connect_mixpanel",
        "connect_webengage",
        "disconnect_mixpanel",
        "forget",
        "purge",
        "audit",
        "restore",
    }


def test_a_viewer_is_refused_in_the_service_and_nothing_happens(data_dir: Path, sandbox: Sandbox) -> None:
    """The refusal names the person and the grade needed; no run appears."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env) as admin:
        admin.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        admin.connect_webengage(LICENSE, API_KEY, sandbox.url)
    with Service.open(env, Person("vic@example.com", Grade.VIEWER)) as viewer:
        assert viewer.preview(PROJECT, cohort).identified == 1
        with pytest.raises(Forbidden, match=r"vic@example.com is a viewer .* needs a marketer"):
            viewer.export(PROJECT, cohort, Mode.DYNAMIC)
        assert viewer.runs() == ()
    with Service.open(env, Person("nora@example.com", Grade.NOBODY)) as nobody, pytest.raises(Forbidden):
        nobody.cohorts(PROJECT)


def test_the_audit_names_who_did_what_and_never_a_secret(data_dir: Path, sandbox: Sandbox) -> None:
    """Connecting, previewing, exporting and cancelling leave a line each, secrets as fingerprints."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}, Person("ann@example.com", Grade.ADMIN)) as ann:
        ann.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        ann.connect_webengage(LICENSE, API_KEY, sandbox.url)
        ann.preview(PROJECT, cohort)
        run = ann.export(PROJECT, cohort, Mode.DYNAMIC).run_id
        ann.cancel(run)
        list(ann.export_rows(run))
        lines = ann.audit()
    assert [line.what for line in reversed(lines)] == [
        "connect Mixpanel",
        "connect WebEngage",
        "preview",
        "export",
        "cancel",
        "download",
    ]
    assert {line.who for line in lines} == {"ann@example.com"}
    assert not any(secret in json.dumps([line.after for line in lines]) for secret in (SECRET, API_KEY))


def test_the_audit_can_only_grow(data_dir: Path) -> None:
    """The database itself refuses to change or remove a line."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.keep_days(refusals=10)
    with closing(sqlite3.connect(data_dir / "app.db")) as db:
        for statement in ("update audit set who = 'x'", "delete from audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                db.execute(statement)


def test_a_wish_that_fails_leaves_no_audit_line(data_dir: Path) -> None:
    """The line is written with the deed or not at all."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        with pytest.raises(CohortSyncError):
            service.keep_days(refusals=-1)
        assert service.audit() == ()


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
        assert store.connections.projects()[0].sealed not in (None, SECRET)
