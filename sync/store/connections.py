"""Connected projects and accounts, the settings, and the cohorts as last read."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from sync.model import Cohort, Mode, Role, SyncState
from sync.store.database import Row, Table, write_transaction
from sync.views import AccountView, CohortView, ProjectView

_ACCOUNTS = (
    "select *, (select json_group_array(id) from mixpanel_project where mixpanel_project.license_code = "
    "webengage_account.license_code "
    "and sealed_secret is not null) as projects from webengage_account where sealed_key is not null "
)


@dataclass(frozen=True, slots=True)
class SealedProject:
    """A project as stored; the secret is sealed, and None once it was disconnected."""

    view: ProjectView
    sealed: str | None


@dataclass(frozen=True, slots=True)
class SealedAccount:
    """An account as stored; the key is sealed, and None once it was disconnected."""

    view: AccountView
    sealed: str | None


def _project_from_row(row: Row) -> SealedProject:
    view = ProjectView(
        row["id"],
        row["name"],
        row["username"],
        row["region"],
        Role(row["role"]),
        row["role_note"],
        row["checked_at"],
        row["secret_last4"],
        row["license_code"],
    )
    return SealedProject(view, row["sealed_secret"])


def _account_from_row(row: Row) -> SealedAccount:
    projects = tuple(json.loads(row["projects"]))
    view = AccountView(row["license_code"], row["data_center"], row["checked_at"], row["secret_last4"], projects)
    return SealedAccount(view, row["sealed_key"])


class Connections(Table):
    """Who we speak to, and what they last listed."""

    def get_salt(self) -> int:
        """The secret number all marks are digested with, drawn once for a database."""
        with write_transaction(self._db):
            self._db.execute(
                "insert into setting (name, value) values ('salt', ?) on conflict do nothing",
                (str(secrets.randbits(63)),),
            )
            return int(self._fetch_value("select value from setting where name = 'salt'"))

    def save_project(self, project: SealedProject) -> None:
        """Store a project, over what was stored of it."""
        view = project.view
        self._execute(
            "insert into mixpanel_project (id, name, username, sealed_secret, secret_last4, region, role, role_note, checked_at) "
            "values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set name = excluded.name, "
            "username = excluded.username, sealed_secret = excluded.sealed_secret, secret_last4 = excluded.secret_last4, "
            "region = excluded.region, role = excluded.role, role_note = excluded.role_note, "
            "checked_at = excluded.checked_at, list_failed_at = null, list_problem = null",
            (
                view.id,
                view.name,
                view.username,
                project.sealed,
                view.secret_last4,
                view.region,
                view.role.value,
                view.role_note,
                view.checked_at,
            ),
        )

    def save_account(self, account: SealedAccount) -> None:
        """Store an account, over what was stored of it."""
        view = account.view
        self._execute(
            "insert into webengage_account (license_code, data_center, sealed_key, secret_last4, checked_at) values "
            "(?, ?, ?, ?, ?) "
            "on conflict (license_code) do update set data_center = excluded.data_center, "
            "sealed_key = excluded.sealed_key, secret_last4 = excluded.secret_last4, checked_at = excluded.checked_at",
            (view.license_code, view.data_center, account.sealed, view.secret_last4, view.checked_at),
        )

    def list_projects(self) -> tuple[SealedProject, ...]:
        """The connected projects."""
        return tuple(
            _project_from_row(row)
            for row in self._fetch_all(
                "select * from mixpanel_project where sealed_secret is not null order by name, id"
            )
        )

    def get_project(self, project_id: int) -> SealedProject | None:
        """One connected project, or None."""
        row = self._fetch_one(
            "select * from mixpanel_project where id = ? and sealed_secret is not null", (project_id,)
        )
        return _project_from_row(row) if row else None

    def list_accounts(self) -> tuple[SealedAccount, ...]:
        """The connected accounts, by their license codes."""
        return tuple(_account_from_row(row) for row in self._fetch_all(_ACCOUNTS + "order by license_code"))

    def get_account(self, license_code: str) -> SealedAccount | None:
        """One connected account, or None."""
        row = self._fetch_one(_ACCOUNTS + "and license_code = ?", (license_code,))
        return _account_from_row(row) if row else None

    def use_account(self, project_id: int, license_code: str) -> None:
        """Send a project's new exports to this account; syncs that exist keep theirs."""
        self._execute("update mixpanel_project set license_code = ? where id = ?", (license_code, project_id))

    def disconnect_project(self, project_id: int) -> None:
        """Drop a project's secret; its cohorts and history stay."""
        self._execute("update mixpanel_project set sealed_secret = null where id = ?", (project_id,))

    def disconnect_account(self, license_code: str) -> None:
        """Drop an account's key; its syncs and history stay."""
        self._execute("update webengage_account set sealed_key = null where license_code = ?", (license_code,))

    def save_cohorts(self, project_id: int, cohorts: Iterable[Cohort], now: float, remark: str | None = None) -> None:
        """Replace what a project listed; ``remark`` says what of the list could not be kept."""
        with write_transaction(self._db):
            kept = {
                row["id"]: row["preview"]
                for row in self._fetch_all("select id, preview from cohort where project_id = ?", (project_id,))
            }
            self._db.execute("delete from cohort where project_id = ?", (project_id,))
            self._db.executemany(
                'insert or replace into cohort (project_id, id, name, description, count, created, "group", preview) '
                "values (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (project_id, c.id, c.name, c.description, c.count, c.created, int(c.group), kept.get(c.id))
                    for c in cohorts
                ],
            )
            self._db.execute(
                "update mixpanel_project set cohorts_read_at = ?, list_failed_at = null, list_problem = ? where id = ?",
                (now, remark, project_id),
            )

    def cohorts_read_at(self, project_id: int) -> float | None:
        """When the project's cohorts were last read, or None."""
        at = self._fetch_value("select cohorts_read_at from mixpanel_project where id = ?", (project_id,))
        return None if at is None else float(at)

    def list_remark(self, project_id: int) -> str | None:
        """Return what of the last list could not be kept; None when nothing, or when a later reading failed."""
        found: str | None = self._fetch_value(
            "select list_problem from mixpanel_project where id = ? and list_failed_at is null", (project_id,)
        )
        return found

    def save_list_problem(self, project_id: int, problem: str, now: float) -> None:
        """Keep why the project's cohorts could not be read, so that nobody waits for the same at once."""
        self._execute(
            "update mixpanel_project set list_failed_at = ?, list_problem = ? where id = ?", (now, problem, project_id)
        )

    def list_problem(self, project_id: int, now: float, seconds: float) -> str | None:
        """Return why the list could not be read within the last ``seconds``, or None."""
        found = self._fetch_value(
            "select list_problem from mixpanel_project where id = ?1 and list_failed_at between ?2 - ?3 and ?2",
            (project_id, now, seconds),
        )
        return None if found is None else str(found)

    def list_cohorts(self, project_id: int) -> tuple[CohortView, ...]:
        """The cohorts as last read, each with its sync."""
        rows = self._fetch_all(
            "select c.*, s.id as sync_id, s.state, s.mode from cohort c left join sync s "
            "on s.project_id = c.project_id and s.cohort_id = c.id where c.project_id = ? "
            "order by c.name collate nocase, c.id",
            (project_id,),
        )
        return tuple(
            CohortView(
                r["id"],
                r["name"],
                r["description"],
                r["count"],
                r["created"],
                bool(r["group"]),
                r["sync_id"],
                SyncState(r["state"]) if r["state"] else None,
                Mode(r["mode"]) if r["mode"] else None,
            )
            for r in rows
        )

    def save_preview(self, project_id: int, cohort_id: int, preview: str, count: int) -> None:
        """Keep a preview (JSON text) and the count it found."""
        self._execute(
            "update cohort set preview = ?, count = ? where project_id = ? and id = ?",
            (preview, count, project_id, cohort_id),
        )

    def get_preview(self, project_id: int, cohort_id: int) -> str | None:
        """The preview kept last, or None."""
        found = self._fetch_value("select preview from cohort where project_id = ? and id = ?", (project_id, cohort_id))
        return None if found is None else str(found)
