"""Shared state of the service classes: the store, the settings, the vault, the clock and the clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from sync.errors import ApiError, InvalidRequest, NoAnswer, RetryLater
from sync.mixpanel.client import Mixpanel
from sync.model import Sync, format_utc_time
from sync.permissions import RUNNER_ACTOR, Actor
from sync.records import AuditLine, ProjectView, RunnerState
from sync.settings import KEY_VARIABLE, Settings
from sync.store import Store
from sync.store.rate_limits import BUSY_POLL_SECONDS, MAX_CONCURRENT_QUERIES, QuerySlot
from sync.vault import Vault, list_key_ids

# Seconds a person waits for a page: longer than the App API's deadline, shorter than the Query API's.
INTERACTIVE_TIMEOUT_SECONDS = 130.0
CONNECT_AGAIN = "was disconnected; connect it again, then resume."  # after the name of the side
CONNECTED_AGAIN = "was disconnected and is connected again; resume it to go on."

Name = TypeVar("Name", int, str)  # by which people name a connection: the number of a project, a license code


class ServiceState:
    """State shared by all topics of the service: store, environment, clock, actor, and what several of them need."""

    def __init__(
        self, store: Store, env: Mapping[str, str], now: Callable[[], float] = time.time, actor: Actor = RUNNER_ACTOR
    ) -> None:
        """Work on this store, with the settings of ``env`` and a clock (seconds since 1970), for this actor."""
        self.store, self.env, self.now, self.actor = store, env, now, actor
        self.settings = Settings.from_env(env)

    def open_vault(self) -> Vault:
        """Return the vault of the stored secrets; raise KeyUnavailable when its key is missing."""
        return Vault.open(self.settings.data_folder, self.env, must_exist=True)

    def open_text(self, sealed: str) -> str:
        """Return a stored secret, decrypted; raise KeyUnavailable when its key is missing."""
        return self.open_vault().open_text(sealed)

    def seal_secret(self, secret: str) -> str:
        """Seal a secret just typed; make a key when there is none, so that one can connect again after losing it.

        Raise InvalidRequest while a runner works that could not open it: it would pause every sync.
        """
        if not self.is_key_known_to_runners():
            raise InvalidRequest(
                f"A working runner has another encryption key, so it could not use this secret. Set the {KEY_VARIABLE} it "
                "was started with here, too, or restart it with the same as here; then try again. Nothing was changed."
            )
        return Vault.open(self.settings.data_folder, self.env, must_exist=False).seal_text(secret)

    def is_key_known_to_runners(self) -> bool:
        """Return whether every working runner can open what is sealed here: with its COHORT_SYNC_KEY, or with secret.key."""
        own = list_key_ids(self.env)
        known = (name.rpartition("-")[2].split(".")[1:] for name in self.store.runners.list_working(self.now()))
        return all(own[0] in ids if own else not ids for ids in known)

    def add_audit_line(
        self,
        action: str,
        target: str = "",
        before: str = "",
        after: str = "",
        run_id: int | None = None,
        once_in: float = 0.0,
    ) -> None:
        """Add a line to the audit log; in the transaction of the action, so that neither is stored without the other."""
        line = AuditLine(self.now(), self.actor.name, action, target, before, after, run_id)
        self.store.events.add_audit_line(line, once_in)

    def get_project(self, project_id: int | None) -> ProjectView:
        """Return the named project, or the only one; raise InvalidRequest when there is none or it is not clear which."""
        known = {one.id: one for one in self.store.connections.list_projects()}
        return known[choose_connected("Mixpanel project", list(known), project_id, "--project")]

    def account_of(self, project: ProjectView) -> str:
        """Return the license code a project's new exports go to; raise InvalidRequest when there is none."""
        connected = [one.license_code for one in self.store.connections.list_accounts()]
        chosen = project.license_code
        if chosen is None and not connected:
            raise InvalidRequest("No WebEngage account is connected yet; connect it under Integrations.")
        if chosen is None:
            raise InvalidRequest(
                f"No WebEngage account is chosen yet for project {project.id}; choose one under Integrations."
            )
        if chosen not in connected:
            raise InvalidRequest(
                f"WebEngage account {chosen}, which project {project.id} exports to, is not connected; connect it "
                "again under Integrations, or choose another account there."
            )
        return chosen

    def require_connections(self, sync: Sync) -> None:
        """Raise InvalidRequest when the project or the account of a sync is not connected: its runs could only fail."""
        missing = self.find_disconnected(sync)
        if missing == "Mixpanel":
            raise InvalidRequest(
                f"Mixpanel project {sync.project_id} is not connected; connect it again under Integrations first."
            )
        if missing:
            raise InvalidRequest(
                f"WebEngage account {sync.license_code}, where this cohort goes, is not connected; "
                "connect it under Integrations."
            )

    def find_disconnected(self, sync: Sync) -> str:
        """Return the side of a sync that is not connected, Mixpanel or WebEngage; empty when both are."""
        if self.store.connections.get_project(sync.project_id) is None:
            return "Mixpanel"
        return "" if self.store.connections.get_account(sync.license_code) else "WebEngage"

    def open_mixpanel(self, project_id: int | None, timeout: float = INTERACTIVE_TIMEOUT_SECONDS) -> Mixpanel:
        """Return a client of a project's Mixpanel, with its stored secret; raise InvalidRequest when it is not connected."""
        project = self.get_project(project_id).id
        found = self.store.connections.open_project(project, self.open_text)
        if found is None:  # disconnected just now
            raise InvalidRequest(f"Mixpanel project {project} is not connected; connect it under Integrations.")
        return Mixpanel(found, timeout=timeout)

    def get_sync(self, sync_id: int) -> Sync:
        """Return a sync; raise InvalidRequest when there is none."""
        found = self.store.syncs.get_sync(sync_id)
        if found is None:
            raise InvalidRequest(f"There is no sync {sync_id}; see the list of syncs.")
        return found

    def add_event(self, message: str, sync_id: int | None = None, run_id: int | None = None) -> None:
        """Add one line to the history, of a sync or a run when one is named."""
        self.store.events.add_event(message, self.now(), sync_id, run_id)

    @contextmanager
    def mixpanel_query(self, project_id: int, *, later_page: bool = False, patience: float = 0.0) -> Iterator[None]:
        """Use one of the project's queries; raise InvalidRequest with the time when one is free again.

        ``later_page``: of a page after the first one. ``patience``: seconds to wait while Mixpanel still answers as
        many queries as it allows at once. The query slot is released with Mixpanel's answer. When we stop waiting for
        the answer, it is kept until Mixpanel has surely stopped, too. Killed: the slot expires by itself.
        """
        slot = self._acquire_query(project_id, later_page, patience)
        answered = False
        try:
            yield
            answered = True
        except ApiError as problem:
            answered = not isinstance(problem, NoAnswer)
            if isinstance(problem, RetryLater) and problem.limit in ("hourly", "unnamed"):
                limits, now = self.store.rate_limits, self.now()
                until = now + problem.seconds if problem.seconds else limits.next_query_at(project_id, now)
                limits.block_until(project_id, until, pages_count=later_page and problem.limit == "hourly", now=now)
                what = f"{str(problem).removesuffix('.')}: its limit is reached; try again at {format_utc_time(until)}."
                raise RetryLater(what, problem.seconds, problem.limit) from problem
            raise
        finally:
            if answered:
                self.store.rate_limits.release_query(slot, self.now())
            else:
                self.store.rate_limits.abandon_query(slot)

    def _acquire_query(self, project_id: int, later_page: bool, patience: float) -> QuerySlot:
        deadline = time.monotonic() + patience
        while True:
            slot = self.store.rate_limits.acquire_query(project_id, self.now(), later_page=later_page)
            if slot.id is not None:
                return slot
            if slot.limit != "concurrent" or time.monotonic() >= deadline:
                raise InvalidRequest(_explain_no_query(slot, self.now()))
            time.sleep(BUSY_POLL_SECONDS)

    def read_runner_state(self, now: float) -> tuple[RunnerState, float | None, int]:
        """Return the best state any runner has, the time of its newest heartbeat, and how many runners work."""
        heartbeats = self.store.runners.list_heartbeats(now)
        for state in (RunnerState.WORKING, RunnerState.UNKNOWN, RunnerState.SILENT):
            found = [one.seen_at for one in heartbeats if one.state is state]
            if found:
                return state, found[0], len(found) if state is RunnerState.WORKING else 0
        return RunnerState.NONE, None, 0


class Topic:
    """One topic of the service: the requests about it, over the state that all topics share."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    @property
    def actor(self) -> Actor:
        """Return who asks; ``requires`` checks this actor's access level."""
        return self._state.actor

    @property
    def _store(self) -> Store:
        """Return the open store; after a restore that is another one, so no topic may keep it."""
        return self._state.store


def choose_connected(noun: str, known: list[Name], named: Name | None, option: str) -> Name:
    """Return the one that is named, or the only one; raise InvalidRequest when there is none or it is not clear which."""
    if named is not None:
        known = [one for one in known if one == named]
    if not known:
        problem = f"No {noun} is connected yet" if named is None else f"{noun} {named} is not connected"
        raise InvalidRequest(f"{problem}; connect it under Integrations.")
    if len(known) > 1:
        names = ", ".join(map(str, sorted(known)))
        raise InvalidRequest(f"Several {noun}s are connected ({names}); choose one with {option}.")
    return known[0]


def name_cohort(project_id: int, cohort_id: int | None) -> str:
    """Return how the audit log names a cohort, None for any of the project: another one may have the same number."""
    return f"project {project_id}, " + ("any cohort" if cohort_id is None else f"cohort {cohort_id}")


def _explain_no_query(slot: QuerySlot, now: float) -> str:
    if slot.limit == "hourly":
        return f"Mixpanel's hourly limit of queries is used up; try again at {format_utc_time(now + slot.wait)}."
    return (
        f"Mixpanel is still answering {MAX_CONCURRENT_QUERIES} queries, the most it allows at once; try again in a moment, "
        f"at the latest at {format_utc_time(now + slot.wait)}."
    )
