"""The configuration as a file: what is here as a file, what a file would change, and the change.

Each change is one request of the service, with its rights, its audit line and its own transaction. They are ordered so
that a second application finishes what a first one left: accounts, projects, lists, and syncs last, because only these
send something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sync import webengage
from sync.config_file.entries import (
    AccountEntry,
    ConfigChange,
    ConfigPlan,
    Configuration,
    NeverExportEntry,
    ProjectEntry,
    TripwireEntry,
    fail_at,
)
from sync.errors import CohortSyncError, InvalidRequest
from sync.mixpanel.client import get_base_url
from sync.model import SyncState
from sync.permissions import AccessLevel, requires
from sync.service.base import ServiceState, Topic
from sync.service.connections import ConnectionService
from sync.service.guards import GuardService
from sync.service.safety import SafetyService
from sync.service.sync_changes import Step, SyncChanges, describe_sync
from sync.service.syncs import SyncService
from sync.settings import API_KEY_VARIABLE, SERVICE_ACCOUNT_VARIABLE
from sync.text import count_noun, count_people
from sync.views import NeverExported
from sync.wording import explain_staying

ReadIds = Callable[[str], list[str]]
"""Returns the user ids of a CSV file that the configuration names."""


class ConfigurationService(Topic):
    """The configuration of this database as a file."""

    def __init__(
        self,
        state: ServiceState,
        *,
        connections: ConnectionService,
        guards: GuardService,
        safety: SafetyService,
        syncs: SyncService,
    ) -> None:
        super().__init__(state)
        self._connections, self._safety = connections, safety
        self._sync_changes = SyncChanges(state, guards=guards, syncs=syncs)

    @requires(AccessLevel.VIEWER)
    def read(self) -> Configuration:
        """Return what is connected and exported here, without secrets and without the lists of people."""
        store = self._store
        syncs = sorted(
            (self._state.get_sync(one.id) for one in store.syncs.list_views()),
            key=lambda one: (one.project_id, one.cohort_id),
        )
        return Configuration(
            accounts=tuple(
                AccountEntry(license_code=one.license_code, data_center=one.data_center)
                for one in store.connections.list_accounts()
            ),
            projects=tuple(
                ProjectEntry(
                    id=one.id,
                    name=one.name,
                    username=one.username,
                    region=one.region,
                    account=one.license_code,
                )
                for one in store.connections.list_projects()
            ),
            syncs=tuple(describe_sync(self._sync_changes.get_with_request(one)) for one in syncs),
        )

    @requires(AccessLevel.VIEWER)
    def describe_lists(self) -> tuple[str, ...]:
        """Return how many people the lists hold: their ids are kept as hashes, so no file can name them."""
        lists, connections = self._store.safety_lists, self._store.connections
        accounts = (one.license_code for one in connections.list_accounts())
        projects = (one.id for one in connections.list_projects())
        counts = (
            *(
                f"account {code}: {count_people(lists.count_never_export(code))} on the never-export list"
                for code in accounts
            ),
            *(f"project {number}: {count_noun(len(lists.list_tripwires(number)), 'tripwire')}" for number in projects),
        )
        return (
            "The lists of people are kept as salted hashes, so they cannot be written here."
            + (" They hold:" if counts else ""),
            *counts,
            "To add people of a CSV file, name it under never_export or tripwires (see docs/example.yaml).",
        )

    @requires(AccessLevel.VIEWER)
    def plan(self, wanted: Configuration, read_ids: ReadIds) -> ConfigPlan:
        """Return what applying a file would change, in order; nothing is changed.

        Raise InvalidRequest, with the line, for what cannot be.
        """
        steps = self._list_steps(wanted, read_ids)
        changes = tuple(ConfigChange(line=one.line, text=one.text) for one in steps)
        return ConfigPlan(changes=changes, notes=tuple(self._list_notes(wanted)))

    @requires(AccessLevel.ADMIN)
    def apply(self, wanted: Configuration, read_ids: ReadIds) -> ConfigPlan:
        """Make the changes, each in its own transaction, and return them and who stays true in WebEngage.

        Raise InvalidRequest when one fails, with how many were made; applying the file again makes the others.
        """
        steps = self._list_steps(wanted, read_ids)
        self._check_secrets(steps)
        staying = []
        for done, step in enumerate(steps):
            try:
                answer = step.apply()
            except CohortSyncError as problem:
                made = (
                    f"{done} of {len(steps)} changes were made, and apply goes on from there."
                    if done
                    else "Nothing was changed."
                )
                raise fail_at(step.line, f"{problem} {made}") from problem
            if isinstance(answer, NeverExported) and (answer.stay_true or answer.may_stay_true):
                staying.append(f"Line {step.line}: {explain_staying(answer.stay_true, answer.may_stay_true)}")
        changes = tuple(ConfigChange(line=one.line, text=one.text) for one in steps)
        return ConfigPlan(changes=changes, notes=(*staying, *self._list_notes(wanted)))

    def _check_secrets(self, steps: list[Step]) -> None:
        """Raise InvalidRequest, before anything is changed, when a secret is missing or would be for two.

        A secret is given for one place; it is tried in no other.
        """
        settings = self._state.settings
        given = {SERVICE_ACCOUNT_VARIABLE: settings.mixpanel_secret, API_KEY_VARIABLE: settings.webengage_api_key}
        for name, secret in given.items():
            needing = [one for one in steps if one.needs_secret == name]
            if needing and not secret:
                raise fail_at(needing[0].line, f"this needs a secret; set {name}, or use `connect` first.")
            if len(needing) > 1:
                raise fail_at(
                    needing[1].line, f"{name} holds one secret, and two are needed; use `connect` for one first."
                )

    def _list_steps(self, wanted: Configuration, read_ids: ReadIds) -> list[Step]:
        self._check_references(wanted)
        return [
            *(step for one in wanted.accounts for step in self._plan_account(one)),
            *(step for one in wanted.projects for step in self._plan_project(one)),
            *(step for one in wanted.never_export for step in self._plan_never_export(one, read_ids)),
            *(step for one in wanted.tripwires for step in self._plan_tripwires(one, read_ids)),
            *(step for one in wanted.syncs for step in self._sync_changes.plan_sync(one)),
        ]

    def _list_notes(self, wanted: Configuration) -> Iterator[str]:
        """Yield what is here and not in the file, and what is in the file and not made."""
        here = {(one.project_id, one.cohort_id): one for one in self._store.syncs.list_views()}
        named = {(one.project, one.cohort): one for one in wanted.syncs}
        others = [f"sync {number}" for number in sorted(one.id for place, one in here.items() if place not in named)]
        if others:
            yield f"Not in the file, and left as they are: {', '.join(others)}."
        for place, entry in named.items():
            if place not in here and entry.state in (SyncState.PAUSED, SyncState.FINISHED):
                yield f"Cohort {entry.cohort} has no sync here and is {entry.state.value} in the file, so none is started."

    def _check_references(self, wanted: Configuration) -> None:
        """Raise InvalidRequest for a project or an account that is neither in the file nor connected."""
        projects = {one.id for one in wanted.projects} | {one.id for one in self._store.connections.list_projects()}
        accounts = {one.license_code for one in wanted.accounts}
        accounts |= {one.license_code for one in self._store.connections.list_accounts()}
        for project, line in [
            *((one.project, one.line) for one in wanted.syncs),
            *((one.project, one.line) for one in wanted.tripwires),
        ]:
            if project not in projects:
                raise fail_at(
                    line, f"project {project} is neither connected nor in the file; add it to the file, or connect it."
                )
        for account, line in [
            *((one.account, one.line) for one in wanted.projects),
            *((one.license_code, one.line) for one in wanted.syncs),
            *((one.account, one.line) for one in wanted.never_export),
        ]:
            if account is not None and account not in accounts:
                raise fail_at(
                    line, f"account {account} is neither connected nor in the file; add it to the file, or connect it."
                )

    def _plan_account(self, entry: AccountEntry) -> Iterator[Step]:
        try:
            code = webengage.clean_license_code(entry.license_code)
            webengage.get_base_url(entry.data_center)
        except CohortSyncError as problem:
            raise fail_at(entry.line, str(problem)) from None
        known = self._store.connections.get_account(code)
        if known is None or known.data_center != entry.data_center:
            yield Step(
                text=f"Connect WebEngage account {code} (data center {entry.data_center}).",
                line=entry.line,
                apply=lambda: self._connections.connect_webengage(
                    code, self._state.settings.webengage_api_key, entry.data_center
                ),
                needs_secret=API_KEY_VARIABLE,
            )

    def _plan_project(self, entry: ProjectEntry) -> Iterator[Step]:
        try:
            get_base_url(entry.region)
        except CohortSyncError as problem:
            raise fail_at(entry.line, str(problem)) from None
        known = self._store.connections.get_project(entry.id)
        if known is None or (known.username, known.region) != (entry.username, entry.region):
            yield Step(
                text=f"Connect Mixpanel project {entry.id} (region {entry.region}) as {entry.username}.",
                line=entry.line,
                apply=lambda: self._connections.connect_mixpanel(
                    entry.id, entry.username, self._state.settings.mixpanel_secret, entry.region
                ),
                needs_secret=SERVICE_ACCOUNT_VARIABLE,
            )
        if entry.account is not None and (known is None or known.license_code != entry.account):
            account = entry.account
            yield Step(
                text=f"Send new exports of project {entry.id} to WebEngage account {account}.",
                line=entry.line,
                apply=lambda: self._connections.use_account(entry.id, account),
            )

    def _plan_never_export(self, entry: NeverExportEntry, read_ids: ReadIds) -> Iterator[Step]:
        listed = self._store.safety_lists.load_never_export(entry.account)
        ids = self._find_missing(_read_list(entry, read_ids), listed)
        if ids:
            people = count_people(len(ids))
            yield Step(
                text=f"Put {people} of {entry.file} on the never-export list of account {entry.account}.",
                line=entry.line,
                apply=lambda: self._safety.add_never_export(entry.account, ids, entry.note),
            )

    def _plan_tripwires(self, entry: TripwireEntry, read_ids: ReadIds) -> Iterator[Step]:
        # Somebody who trips any cohort of the project trips this one too, so they are not missing here.
        listed = self._store.safety_lists.load_tripwires(entry.project, entry.cohort)
        ids = self._find_missing(_read_list(entry, read_ids), listed)
        if ids:
            place = "any cohort" if entry.cohort is None else f"cohort {entry.cohort}"
            people = count_people(len(ids))
            yield Step(
                text=f"Set tripwires in {place} of project {entry.project} for {people} of {entry.file}.",
                line=entry.line,
                apply=lambda: self._safety.add_tripwires(entry.project, entry.cohort, ids, entry.note),
            )

    def _find_missing(self, ids: list[str], listed: Iterable[bytes]) -> list[str]:
        """Return those ids whose hash is not on a list; nothing is stored for it."""
        found, hashes = frozenset(listed), self._store.safety_lists.hash_ids(ids)
        return [one for one, id_hash in zip(ids, hashes, strict=True) if id_hash not in found]


def _read_list(entry: NeverExportEntry | TripwireEntry, read_ids: ReadIds) -> list[str]:
    try:
        return read_ids(entry.file)
    except InvalidRequest as problem:
        raise fail_at(entry.line, str(problem)) from None
