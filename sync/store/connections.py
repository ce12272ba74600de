"""Connected projects and accounts, and the cohorts as last read."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict

from sync.model import Account, Cohort, Mode, Project, Role, SyncState
from sync.packing import compute_fingerprint
from sync.records import AccountView, CohortView, ProjectView
from sync.store.database import Row, Table, read_row, write_transaction
from sync.store.file_identity import draw_setting

REFUSED = "refused: "  # what the names of these settings begin with
SALT_BITS = 63  # the most an integer of SQLite holds without a sign


def _project_from_row(row: Row) -> ProjectView:
    return read_row(ProjectView, row, role=Role(row["role"]))


def _account_from_row(row: Row) -> AccountView:
    return read_row(AccountView, row, projects=tuple(json.loads(row["projects"])))


class Connections(Table):
    """Projects and accounts with their sealed secrets, and the cohorts each project last listed."""

    def get_salt(self) -> int:
        """Return the secret number in all hashes of this database, drawn once."""
        return int(draw_setting(self._db, "salt", str(secrets.randbits(SALT_BITS))))

    def compute_fingerprint(self, text: str) -> str:
        """Return a short digest of a secret or a user id, as the audit log has it; the salt keeps it from being looked up."""
        return compute_fingerprint(text, self.get_salt())

    def save_project(self, view: ProjectView, sealed_secret: str) -> None:
        """Store a connected project, replacing what was stored of it; forget why its list could not be read."""
        self._execute(
            """
            insert into mixpanel_project
                (id, name, username, sealed_secret, secret_last4, region, role, role_note, checked_at)
            values
                (:id, :name, :username, :sealed_secret, :secret_last4, :region, :role, :role_note, :checked_at)
            on conflict (id) do update set
                name = excluded.name,
                username = excluded.username,
                sealed_secret = excluded.sealed_secret,
                secret_last4 = excluded.secret_last4,
                region = excluded.region,
                role = excluded.role,
                role_note = excluded.role_note,
                checked_at = excluded.checked_at,
                list_failed_at = null,
                list_problem = null
            """,
            asdict(view) | {"sealed_secret": sealed_secret},
        )

    def save_account(self, view: AccountView, sealed_key: str) -> None:
        """Store a connected account, replacing what was stored of it."""
        self._execute(
            """
            insert into webengage_account (license_code, data_center, sealed_key, secret_last4, checked_at)
            values (:license_code, :data_center, :sealed_key, :secret_last4, :checked_at)
            on conflict (license_code) do update set
                data_center = excluded.data_center,
                sealed_key = excluded.sealed_key,
                secret_last4 = excluded.secret_last4,
                checked_at = excluded.checked_at
            """,
            asdict(view) | {"sealed_key": sealed_key},
        )

    def note_refusal(self, connection: str, problem: str) -> None:
        """Keep why a stored secret was refused, under a name such as "project 42", until one is accepted."""
        self._write_setting(f"{REFUSED}{connection}", problem)

    def forget_refusal(self, connection: str) -> None:
        """Delete why a secret was refused: another one was accepted, or it was disconnected."""
        self._execute("delete from setting where name = ?", (f"{REFUSED}{connection}",))

    def list_refusals(self) -> dict[str, str]:
        """Return why stored secrets were refused when they were last checked, by connection."""
        rows = self._fetch_all("select name, value from setting where name like ?", (f"{REFUSED}%",))
        return {row["name"].removeprefix(REFUSED): row["value"] for row in rows}

    def list_projects(self) -> tuple[ProjectView, ...]:
        """Return the connected projects, by name."""
        rows = self._fetch_all("select * from mixpanel_project where sealed_secret is not null order by name, id")
        return tuple(_project_from_row(row) for row in rows)

    def get_project(self, project_id: int) -> ProjectView | None:
        """Return one connected project, or None."""
        row = self._fetch_project(project_id)
        return _project_from_row(row) if row else None

    def open_project(self, project_id: int, open_text: Callable[[str], str]) -> Project | None:
        """Return one connected project with its secret, which ``open_text`` decrypts, or None."""
        row = self._fetch_project(project_id)
        return read_row(Project, row, secret=open_text(row["sealed_secret"])) if row else None

    def _fetch_project(self, project_id: int) -> Row | None:
        return self._fetch_one(
            "select * from mixpanel_project where id = ? and sealed_secret is not null", (project_id,)
        )

    def list_accounts(self) -> tuple[AccountView, ...]:
        """Return the connected accounts, by license code."""
        return tuple(_account_from_row(row) for row in self._fetch_accounts(None))

    def get_account(self, license_code: str) -> AccountView | None:
        """Return one connected account, or None."""
        rows = self._fetch_accounts(license_code)
        return _account_from_row(rows[0]) if rows else None

    def open_account(self, license_code: str, open_text: Callable[[str], str]) -> Account | None:
        """Return one connected account with its key, which ``open_text`` decrypts, or None."""
        rows = self._fetch_accounts(license_code)
        return read_row(Account, rows[0], api_key=open_text(rows[0]["sealed_key"])) if rows else None

    def _fetch_accounts(self, license_code: str | None) -> list[Row]:
        return self._fetch_all(
            """
            select *, (
                select json_group_array(id)
                from mixpanel_project
                where mixpanel_project.license_code = webengage_account.license_code and sealed_secret is not null
            ) as projects
            from webengage_account
            where sealed_key is not null and (?1 is null or license_code = ?1)
            order by license_code
            """,
            (license_code,),
        )

    def use_account(self, project_id: int, license_code: str) -> None:
        """Send a project's new exports to this account; existing syncs keep theirs.

        Previews are forgotten, since they counted the never-export list of the account before.
        """
        with write_transaction(self._db):
            self._db.execute("update mixpanel_project set license_code = ? where id = ?", (license_code, project_id))
            self._db.execute("update cohort set preview = null where project_id = ?", (project_id,))

    def disconnect_project(self, project_id: int) -> None:
        """Delete a project's secret; its cohorts and history stay."""
        self._execute("update mixpanel_project set sealed_secret = null where id = ?", (project_id,))

    def disconnect_account(self, license_code: str) -> None:
        """Delete an account's key; its syncs and history stay."""
        self._execute("update webengage_account set sealed_key = null where license_code = ?", (license_code,))

    def save_cohorts(
        self, project_id: int, cohorts: Iterable[Cohort], asked_at: float, now: float, remark: str | None = None
    ) -> tuple[bool, float]:
        """Replace the cohorts a project lists, unless it was asked later for those stored; previews stay. All or nothing.

        Return whether it replaced them, and when it was asked for those stored now. A time that is still to come is of a
        clock that was set back since. ``remark`` says which rows of the list could not be kept.
        """
        with write_transaction(self._db):
            stored = self.get_cohorts_read_at(project_id)
            if stored is not None and asked_at < stored <= now:
                return False, stored
            kept = {
                row["id"]: row["preview"]
                for row in self._fetch_all("select id, preview from cohort where project_id = ?", (project_id,))
            }
            self._db.execute("delete from cohort where project_id = ?", (project_id,))
            self._db.executemany(
                """
                insert or replace into cohort (project_id, id, name, description, count, created, "group", preview)
                values (?, ?, ?, ?, ?, ?, ?, ?)
                """,
                [
                    (project_id, c.id, c.name, c.description, c.count, c.created, int(c.group), kept.get(c.id))
                    for c in cohorts
                ],
            )
            self._db.execute(
                """
                update mixpanel_project
                set cohorts_read_at = ?, list_failed_at = null, list_problem = ?
                where id = ?
                """,
                (asked_at, remark, project_id),
            )
        return True, asked_at

    def get_cohorts_read_at(self, project_id: int) -> float | None:
        """Return when the project's cohorts were last read (seconds since 1970), or None."""
        at = self._fetch_value("select cohorts_read_at from mixpanel_project where id = ?", (project_id,))
        return None if at is None else float(at)

    def list_remark(self, project_id: int) -> str | None:
        """Return what of the last list could not be kept; None when nothing, or when a later reading failed."""
        found: str | None = self._fetch_value(
            "select list_problem from mixpanel_project where id = ? and list_failed_at is null", (project_id,)
        )
        return found

    def save_list_problem(self, project_id: int, problem: str, now: float) -> None:
        """Store why the project's cohorts could not be read, so that the same is not asked again at once."""
        self._execute(
            "update mixpanel_project set list_failed_at = ?, list_problem = ? where id = ?", (now, problem, project_id)
        )

    def get_list_problem(self, project_id: int, now: float, seconds: float) -> str | None:
        """Return why the list could not be read within the last ``seconds``, or None."""
        found = self._fetch_value(
            """
            select list_problem
            from mixpanel_project
            where id = ?1 and list_failed_at between ?2 - ?3 and ?2
            """,
            (project_id, now, seconds),
        )
        return None if found is None else str(found)

    def list_cohorts(self, project_id: int) -> tuple[CohortView, ...]:
        """Return the cohorts as last read, each with the state of its sync, by name."""
        rows = self._fetch_all(
            """
            select c.*, s.id as sync_id, s.state as sync_state, s.mode
            from cohort c
            left join sync s on s.project_id = c.project_id and s.cohort_id = c.id
            where c.project_id = ?
            order by c.name collate nocase, c.id
            """,
            (project_id,),
        )
        return tuple(
            read_row(
                CohortView,
                row,
                sync_state=SyncState(row["sync_state"]) if row["sync_state"] else None,
                mode=Mode(row["mode"]) if row["mode"] else None,
            )
            for row in rows
        )

    def save_preview(
        self, project_id: int, cohort_id: int, preview: str, count: int, forget_version: int, now: float
    ) -> None:
        """Store a preview (JSON text) and the count it found, unless Mixpanel was asked later for the stored one.

        A stored time that is still to come is of a clock that was set back since. ``forget_version``: as of before its
        people were asked for. Somebody who was forgotten since may be one of its examples, so it is stored without any.
        """
        self._execute(
            """
            update cohort
            set count = ?2, preview = iif(
                ?5 = cast(ifnull((select value from setting where name = 'forget_version'), 0) as integer),
                ?1,
                json_set(?1, '$.sample', json('[]'))
            )
            where project_id = ?3 and id = ?4 and not ifnull(
                json_extract(preview, '$.read_at') > json_extract(?1, '$.read_at')
                and json_extract(preview, '$.read_at') <= ?6,
                0
            )
            """,
            (preview, count, project_id, cohort_id, forget_version, now),
        )

    def get_preview(self, project_id: int, cohort_id: int) -> str | None:
        """Return the last stored preview (JSON text), or None."""
        found = self._fetch_value("select preview from cohort where project_id = ? and id = ?", (project_id, cohort_id))
        return None if found is None else str(found)
