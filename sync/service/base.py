"""What every part of the service shares: the store, the vault, the time and the clients."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sync.errors import ApiError, InvalidRequest, NoAnswer, RetryLater
from sync.mixpanel.client import Mixpanel
from sync.model import Account, Project, Sync, format_utc_time
from sync.permissions import RUNNER_ACTOR, Actor
from sync.store import Store
from sync.store.connections import SealedProject
from sync.store.rate_limits import MAX_CONCURRENT_QUERIES, QuerySlot
from sync.vault import Vault
from sync.views import AuditLine, ProjectView
from sync.webengage import WebEngage

INTERACTIVE_TIMEOUT_SECONDS = (
    130.0  # a person waits in front of the page: longer than the App API's deadline, not the Query API's
)


def get_data_folder(env: Mapping[str, str]) -> Path:
    """The folder of app.db and secret.key."""
    return Path(env.get("COHORT_SYNC_DATA") or "data")


class ServiceBase:
    """The ground the parts of the service stand on."""

    def __init__(
        self, store: Store, env: Mapping[str, str], now: Callable[[], float] = time.time, actor: Actor = RUNNER_ACTOR
    ) -> None:
        """Work on this store for this person."""
        self._store, self._env, self._now, self.actor = store, env, now, actor

    def _open_vault(self) -> Vault:
        """The vault that opens what is stored; KeyUnavailable when its key is gone."""
        return Vault.open(get_data_folder(self._env), self._env, must_exist=True)

    def _seal_secret(self, secret: str) -> str:
        """Seal a secret just typed, with a new key when there is none: that is how one reconnects after losing it."""
        return Vault.open(get_data_folder(self._env), self._env, must_exist=False).seal_text(secret)

    def _fingerprint(self, secret: str) -> str:
        """Tell two secrets apart without telling either; the salt keeps the digest from being looked up."""
        salted = f"{self._store.connections.get_salt()}:{secret}".encode()
        return hashlib.sha256(salted).hexdigest()[:12]

    def _add_audit_line(
        self,
        what: str,
        subject: str = "",
        before: str = "",
        after: str = "",
        run_id: int | None = None,
        once_in: float = 0.0,
    ) -> None:
        """Note who did what; in the transaction of the deed, so neither stands without the other."""
        self._store.events.add_audit_line(
            AuditLine(self._now(), self.actor.name, what, subject, before, after, run_id), once_in
        )

    def _get_project(self, project_id: int | None) -> SealedProject:
        """The project meant: the named one, or the only one."""
        known = self._store.connections.list_projects()
        if project_id is not None:
            known = tuple(one for one in known if one.view.id == project_id)
        if not known:
            which = (
                "No Mixpanel project is connected yet"
                if project_id is None
                else (f"Mixpanel project {project_id} is not connected")
            )
            raise InvalidRequest(f"{which}; connect it under Integrations.")
        if len(known) > 1:
            raise InvalidRequest("Several Mixpanel projects are connected; say which one with --project.")
        return known[0]

    def _account_of(self, project: ProjectView) -> str:
        """Return the account a project's new exports go to; Refused, with what to do, when there is none."""
        connected = [one.view.license_code for one in self._store.connections.list_accounts()]
        chosen = project.license_code
        if chosen is None and not connected:
            raise InvalidRequest("No WebEngage account is connected yet; connect it under Integrations.")
        if chosen is None:
            raise InvalidRequest(
                f"It is not chosen yet which WebEngage account project {project.id} exports to; choose it under "
                "Integrations, or with use-account."
            )
        if chosen not in connected:
            raise InvalidRequest(
                f"WebEngage account {chosen}, which project {project.id} exports to, is not connected; connect it "
                "again under Integrations, or choose another account there."
            )
        return chosen

    def _open_mixpanel(self, sealed: SealedProject, timeout: float = INTERACTIVE_TIMEOUT_SECONDS) -> Mixpanel:
        view = sealed.view
        secret = self._open_vault().open_text(sealed.sealed or "")
        return Mixpanel(Project(view.id, view.name, view.username, secret, view.region), timeout=timeout)

    def _open_webengage(self, license_code: str) -> WebEngage:
        sealed = self._store.connections.get_account(license_code)
        if sealed is None:
            raise InvalidRequest(f"WebEngage account {license_code} is not connected; connect it under Integrations.")
        return WebEngage(
            Account(license_code, self._open_vault().open_text(sealed.sealed or ""), sealed.view.data_center)
        )

    def _get_sync(self, sync_id: int) -> Sync:
        found = self._store.syncs.get_sync(sync_id)
        if found is None:
            raise InvalidRequest(f"There is no sync {sync_id}; look at the list of syncs.")
        return found

    def _add_event(self, what: str, sync_id: int | None = None, run_id: int | None = None) -> None:
        self._store.events.add_event(what, self._now(), sync_id, run_id)

    @contextmanager
    def _mixpanel_query(self, project_id: int) -> Iterator[None]:
        """Take one of the project's queries; InvalidRequest with the time when none is left.

        Its place is given back with Mixpanel's answer; when we stop waiting for it, only when Mixpanel has surely
        stopped too.
        """
        now = self._now()
        slot = self._store.rate_limits.acquire_query(project_id, now, later_page=False)
        if slot.id is None:
            raise InvalidRequest(_no_query_left(slot, now))
        answered = False
        try:
            yield
            answered = True
        except ApiError as problem:
            answered = not isinstance(problem, NoAnswer)
            if isinstance(problem, RetryLater) and problem.limit in ("hourly", "unnamed"):
                until = (
                    now + problem.seconds if problem.seconds else self._store.rate_limits.next_query_at(project_id, now)
                )
                self._store.rate_limits.block_until(project_id, until, pages_count=False)
            raise
        finally:
            if answered:
                self._store.rate_limits.release_query(slot, self._now())
            else:
                self._store.rate_limits.abandon_query(slot)


def _no_query_left(slot: QuerySlot, now: float) -> str:
    if slot.limit == "hourly":
        return f"Mixpanel's hourly limit of queries is used up; ask again at {format_utc_time(now + slot.wait)}."
    return (
        f"Mixpanel is still busy with {MAX_CONCURRENT_QUERIES} queries, the most it takes at once; try again in a moment, "
        f"at the latest at {format_utc_time(now + slot.wait)}."
    )
