"""Connected projects and accounts, the settings, and the cohorts as last read."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from sync.model import Cohort, Mode, Role, SyncState
from sync.store.database import Row, Table, immediate
from sync.views import AccountView, CohortView, ProjectView

_ACCOUNTS = (
    "select *, (select json_group_array(id) from project where project.license_code = webengage.license_code "
    "and sealed_secret is not null) as projects from webengage where sealed_key is not null "
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


def _project(row: Row) -> SealedProject:
    view = ProjectView(
        row["id"],
        row["name"],
        row["username"],
        row["region"],
        Role(row["role"]),
        row["role_note"],
        row["checked_at"],
        row["tail"],
        row["license_code"],
    )
    return SealedProject(view, row["sealed_secret"])


def _account(row: Row) -> SealedAccount:
    projects = tuple(json.loads(row["projects"]))
    view = AccountView(row["license_code"], row["data_center"], row["checked_at"], row["tail"], projects)
    return SealedAccount(view, row["sealed_key"])


class Connections(Table):
    """Who we speak to, and what they last listed."""

    def salt(self) -> int:
        """The secret number all marks are digested with, drawn once for a database."""
        with immediate(self._plain):
            self._plain.execute(
                "insert into setting (name, value) values ('salt', ?) on conflict do nothing",
                (str(secrets.randbits(63)),),
            )
            return int(self._value("select value from setting where name = 'salt'"))

    def save_project(self, project: SealedProject) -> None:
        """Store a project, over what was stored of it."""
        view = project.view
        self._do(
            "insert into project (id, name, username, sealed_secret, tail, region, role, role_note, checked_at) "
            "values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set name = excluded.name, "
            "username = excluded.username, sealed_secret = excluded.sealed_secret, tail = excluded.tail, "
            "region = excluded.region, role = excluded.role, role_note = excluded.role_note, "
            "checked_at = excluded.checked_at, list_failed_at = null, list_problem = null",
            (
                view.id,
                view.name,
                view.username,
                project.sealed,
                view.tail,
                view.region,
                view.role.value,
                view.role_note,
                view.checked_at,
            ),
        )

    def save_account(self, account: SealedAccount) -> None:
        """Store an account, over what was stored of it."""
        view = account.view
        self._do(
            "insert into webengage (license_code, data_center, sealed_key, tail, checked_at) values (?, ?, ?, ?, ?) "
            "on conflict (license_code) do update set data_center = excluded.data_center, "
            "sealed_key = excluded.sealed_key, tail = excluded.tail, checked_at = excluded.checked_at",
            (view.license_code, view.data_center, account.sealed, view.tail, view.checked_at),
        )

    def projects(self) -> tuple[SealedProject, ...]:
        """The connected projects."""
        return tuple(
            _project(row)
            for row in self._all("select * from project where sealed_secret is not null order by name, id")
        )

    def project(self, project_id: int) -> SealedProject | None:
        """One connected project, or None."""
        row = self._one("select * from project where id = ? and sealed_secret is not null", (project_id,))
        return _project(row) if row else None

    def accounts(self) -> tuple[SealedAccount, ...]:
        """The connected accounts, by their license codes."""
        return tuple(_account(row) for row in self._all(_ACCOUNTS + "order by license_code"))

    def account(self, license_code: str) -> SealedAccount | None:
        """One connected account, or None."""
        row = self._one(_ACCOUNTS + "and license_code = ?", (license_code,))
        return _account(row) if row else None

    def use_account(self, project_id: int, license_code: str) -> None:
        """Send a project's new exports to this account; syncs that exist keep theirs."""
        self._do("update project set license_code = ? where id = ?", (license_code, project_id))

    def forget_project(self, project_id: int) -> None:
        """Drop a project's secret; its cohorts and history stay."""
        self._do("update project set sealed_secret = null where id = ?", (project_id,))

    def forget_account(self, license_code: str) -> None:
        """Drop an account's key; its syncs and history stay."""
        self._do("update webengage set sealed_key = null where license_code = ?", (license_code,))

    def save_cohorts(self, project_id: int, cohorts: Iterable[Cohort], now: float) -> None:
        """Replace what a project listed."""
        with immediate(self._plain):
            kept = {
                row["id"]: row["preview"]
                for row in self._all("select id, preview from cohort where project_id = ?", (project_id,))
            }
            self._plain.execute("delete from cohort where project_id = ?", (project_id,))
            self._plain.executemany(
                'insert or replace into cohort (project_id, id, name, description, count, created, "group", preview) '
                "values (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (project_id, c.id, c.name, c.description, c.count, c.created, int(c.group), kept.get(c.id))
                    for c in cohorts
                ],
            )
            self._plain.execute(
                "update project set cohorts_read_at = ?, list_failed_at = null, list_problem = null where id = ?",
                (now, project_id),
            )

    def cohorts_read_at(self, project_id: int) -> float | None:
        """When the project's cohorts were last read, or None."""
        at = self._value("select cohorts_read_at from project where id = ?", (project_id,))
        return None if at is None else float(at)

    def save_list_problem(self, project_id: int, problem: str, now: float) -> None:
        """Keep why the project's cohorts could not be read, so that nobody waits for the same at once."""
        self._do("update project set list_failed_at = ?, list_problem = ? where id = ?", (now, problem, project_id))

    def list_problem(self, project_id: int, now: float, seconds: float) -> str | None:
        """Return why the list could not be read within the last ``seconds``, or None."""
        found = self._value(
            "select list_problem from project where id = ?1 and list_failed_at between ?2 - ?3 and ?2",
            (project_id, now, seconds),
        )
        return None if found is None else str(found)

    def cohorts(self, project_id: int) -> tuple[CohortView, ...]:
        """The cohorts as last read, each with its sync."""
        rows = self._all(
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
        self._do(
            "update cohort set preview = ?, count = ? where project_id = ? and id = ?",
            (preview, count, project_id, cohort_id),
        )

    def preview(self, project_id: int, cohort_id: int) -> str | None:
        """The preview kept last, or None."""
        found = self._value("select preview from cohort where project_id = ? and id = ?", (project_id, cohort_id))
        return None if found is None else str(found)
