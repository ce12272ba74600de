"""Connect and disconnect Mixpanel projects and WebEngage accounts; nothing is stored before its check succeeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync import webengage
from sync.errors import CHECK_API_KEY, CHECK_SERVICE_ACCOUNT, ConfigurationError, InvalidRequest, RetryLater
from sync.mixpanel import client as mixpanel
from sync.mixpanel.client import Mixpanel
from sync.model import Account, Project, Role, SyncState, format_utc_time
from sync.permissions import AccessLevel, requires
from sync.records import AccountView, ProjectView, SyncView
from sync.redaction import hide_secret
from sync.service.base import CONNECT_AGAIN, CONNECTED_AGAIN, INTERACTIVE_TIMEOUT_SECONDS, Topic
from sync.text import count_noun
from sync.webengage import WebEngage

TRY_AGAIN = "try again in a minute"
CHANGED_MEANWHILE = (
    "The connection was changed or disconnected while it was checked, so nothing was stored. Look at it as it is now."
)
SHOWN_CHARACTERS = 4  # characters of a secret people may see, to recognise it
MAX_PROJECT_ID = 2**63 - 1  # the largest integer of SQLite
MIN_SECRET_TO_SHOW = 12  # characters a secret must have before any of it is shown


class RoleTooLow(InvalidRequest):
    """The service account may not enable the integration."""


def get_last_characters(secret: str) -> str:
    """Return the last four characters of a secret; of one under 12 characters, nothing."""
    return secret[-SHOWN_CHARACTERS:] if len(secret) >= MIN_SECRET_TO_SHOW else ""


def _describe_paused(syncs: tuple[SyncView, ...]) -> str:
    """Return how many syncs a disconnect paused, and their numbers."""
    if not syncs:
        return "0 syncs paused"
    return f"{count_noun(len(syncs), 'sync')} paused: {', '.join(str(one.id) for one in syncs)}"


def _check_service_account(project_id: int, username: str, secret: str) -> None:
    """Raise InvalidRequest, naming the field, for what can be no service account."""
    if not username or not secret:
        raise InvalidRequest("Enter the service account's username and secret.", "secret" if username else "username")
    if not 1 <= project_id <= MAX_PROJECT_ID:
        raise InvalidRequest(
            "A project id is a positive number; Mixpanel shows it under Project Settings.", "project_id"
        )
    for field, text in (("username", username), ("secret", secret)):
        if not text.isprintable():
            raise InvalidRequest(f"The {field} contains an invisible character; copy it again.", field)


def _require_same(stored: Project | Account | None, checked: Project | Account) -> None:
    """Raise InvalidRequest when another connection is stored than was checked."""
    if stored != checked:
        raise InvalidRequest(CHANGED_MEANWHILE)


def _is_changed(known: ProjectView | AccountView | None, now: ProjectView | AccountView | None) -> bool:
    """Return whether somebody connected or disconnected since; a rotated key seals the same secret again."""
    return (known and known.checked_at) != (now and now.checked_at)


def name_project(project_id: int) -> str:
    """Return under which name the problem of a project is kept."""
    return f"project {project_id}"


def name_account(license_code: str) -> str:
    """Return under which name the problem of an account is kept."""
    return f"account {license_code}"


@contextmanager
def _advising_to_try_again() -> Iterator[None]:
    """Raise RetryLater with what to do: a person waits for the answer, and no runner asks again by itself."""
    try:
        yield
    except RetryLater as problem:
        if TRY_AGAIN in str(problem):
            raise
        why = f"{str(problem).rstrip('.')}, so nothing could be verified; {TRY_AGAIN}."
        raise RetryLater(why, problem.seconds, problem.limit) from problem


def _find_refusal(syncs: tuple[SyncView, ...], advice: str, checked_at: float) -> str:
    """Return why a sync was paused whose run was refused after the last check, empty when none was."""
    for one in syncs:
        ended = one.last_run and one.last_run.finished_at
        if one.pause_reason and advice in one.pause_reason and ended and ended > checked_at:
            return one.pause_reason
    return ""


class ConnectionService(Topic):
    """Requests about Mixpanel projects and WebEngage accounts."""

    @requires(AccessLevel.VIEWER)
    def list_projects(self) -> tuple[ProjectView, ...]:
        """Return the connected Mixpanel projects."""
        return self._store.connections.list_projects()

    @requires(AccessLevel.VIEWER)
    def list_accounts(self) -> tuple[AccountView, ...]:
        """Return the connected WebEngage accounts, each with the projects whose new exports go there."""
        return self._store.connections.list_accounts()

    @requires(AccessLevel.ADMIN)
    def connect_mixpanel(self, project_id: int, username: str, secret: str, region: str) -> ProjectView:
        """Check a service account with Mixpanel and store it, its secret sealed.

        Raise InvalidRequest for invalid input and for a role below admin, ApiError when the check failed.
        """
        return self._connect_project(
            Project(id=project_id, username=username.strip(), secret=secret.strip(), region=region.strip())
        )

    def _connect_project(self, project: Project, *, is_check: bool = False) -> ProjectView:
        """Check a service account and store it; with ``is_check`` only if it is still the one that is stored.

        Raise InvalidRequest when another one was stored, or this one disconnected, while Mixpanel was asked.
        """
        _check_service_account(project.id, project.username, project.secret)
        known = self._store.connections.get_project(project.id)
        hide_secret(project.secret)
        mixpanel.get_base_url(project.region)
        with _advising_to_try_again():
            checked = Mixpanel(project, timeout=INTERACTIVE_TIMEOUT_SECONDS).check_credentials()
        if checked.role is Role.BELOW_ADMIN:
            raise RoleTooLow(f"Only a project admin may enable the integration: {checked.role_note}", "username")
        view = ProjectView(
            id=project.id,
            name=checked.name or f"Project {project.id}",
            username=project.username,
            region=project.region,
            role=checked.role,
            role_note=checked.role_note,
            checked_at=self._state.now(),
            secret_last4=get_last_characters(project.secret),
        )
        if not checked.project_seen:
            self._check_readable(project)
        with self._store.transaction():  # sealed inside: a rotation may be dropping the former key now
            before = self._store.connections.get_project(project.id)
            if is_check or _is_changed(known, before):
                _require_same(self._read_project(project.id), project)
            sealed = self._state.seal_secret(project.secret)
            self._store.connections.save_project(view, sealed)
            self._store.connections.forget_refusal(name_project(project.id))
            self._state.add_event(f"Mixpanel project {view.name} connected.")
            self._state.add_audit_line(
                "connect Mixpanel",
                f"project {project.id}",
                f"{before.username}, {before.region}" if before else "",
                f"{project.username}, {project.region}, role {checked.role.value}, "
                f"secret {self._store.connections.compute_fingerprint(project.secret)}",
            )
            self._use_the_only_account()
            self._correct_reasons("Mixpanel", self._store.syncs.list_views(project_id=project.id))
        return self._state.get_project(project.id)

    def _check_readable(self, project: Project) -> None:
        """Read the list of cohorts once, since nothing else showed that we may read the project."""
        with self._state.mixpanel_query(project.id):
            Mixpanel(project, timeout=INTERACTIVE_TIMEOUT_SECONDS).list_cohorts()

    @requires(AccessLevel.ADMIN)
    def connect_webengage(self, license_code: str, api_key: str, data_center: str) -> AccountView:
        """Check an API key with WebEngage, without writing anything there, and store it sealed.

        Raise InvalidRequest for invalid input, ApiError when the check failed.
        """
        return self._connect_account(
            Account(
                license_code=webengage.clean_license_code(license_code),
                api_key=api_key.strip(),
                data_center=data_center.strip(),
            )
        )

    def _connect_account(self, account: Account, *, is_check: bool = False) -> AccountView:
        """Check an API key and store it; with ``is_check`` only if it is still the one that is stored.

        Raise InvalidRequest when another one was stored, or this one disconnected, while WebEngage was asked.
        """
        hide_secret(account.api_key)
        known = self._store.connections.get_account(account.license_code)
        if not account.api_key:
            raise InvalidRequest("Enter the API key.", "api_key")
        with _advising_to_try_again():
            WebEngage(account).check_credentials()
        view = AccountView(
            license_code=account.license_code,
            data_center=account.data_center,
            checked_at=self._state.now(),
            secret_last4=get_last_characters(account.api_key),
        )
        with self._store.transaction():  # sealed inside: a rotation may be dropping the former key now
            before = self._store.connections.get_account(view.license_code)
            if is_check or _is_changed(known, before):
                _require_same(self._read_account(view.license_code), account)
            sealed = self._state.seal_secret(account.api_key)
            self._store.connections.save_account(view, sealed)
            self._store.connections.forget_refusal(name_account(view.license_code))
            self._state.add_event(f"WebEngage account {view.license_code} connected.")
            self._state.add_audit_line(
                "connect WebEngage",
                view.license_code,
                before.data_center if before else "",
                f"{view.data_center}, key {self._store.connections.compute_fingerprint(account.api_key)}",
            )
            self._use_the_only_account()
            self._correct_reasons("WebEngage", self._store.syncs.list_views(license_code=view.license_code))
        return self._get_account(view.license_code)

    def _use_the_only_account(self) -> None:
        """Let projects that never had an account use the connected one; with several a person chooses."""
        connected = self._store.connections.list_accounts()
        if len(connected) == 1:
            for project in self._store.connections.list_projects():
                if project.license_code is None:
                    self._choose_account(project, connected[0].license_code)

    def _choose_account(self, project: ProjectView, license_code: str) -> None:
        self._store.connections.use_account(project.id, license_code)
        self._state.add_audit_line("use account", f"project {project.id}", project.license_code or "", license_code)

    @requires(AccessLevel.ADMIN)
    def use_account(self, project_id: int | None, license_code: str) -> ProjectView:
        """Send a project's new exports to this connected account; existing syncs keep theirs."""
        with self._store.transaction():
            project = self._state.get_project(project_id)
            self._choose_account(project, self._get_account(license_code.strip()).license_code)
            self._state.add_event(
                f"Project {project.id} exports to WebEngage account {license_code.strip()} from now on."
            )
        return self._state.get_project(project.id)

    def _get_account(self, license_code: str) -> AccountView:
        found = self._store.connections.get_account(license_code)
        if found is None:
            raise ConfigurationError(
                f"WebEngage account {license_code} is not connected; connect it under Integrations."
            )
        return found

    def _read_project(self, project_id: int) -> Project | None:
        return self._store.connections.open_project(project_id, self._state.open_text)

    def _read_account(self, license_code: str) -> Account | None:
        return self._store.connections.open_account(license_code, self._state.open_text)

    @requires(AccessLevel.ADMIN)
    def check_mixpanel(self, project_id: int) -> ProjectView:
        """Check a stored service account again; raise as `connect_mixpanel` does, and when it was changed meanwhile."""
        view = self._state.get_project(project_id)
        stored = self._read_project(view.id)
        with self._noting_refusal(name_project(view.id), lambda: self._read_project(view.id) == stored):
            unstored = Project(id=view.id, username=view.username, secret="", region=view.region)  # nosec B106
            return self._connect_project(stored or unstored, is_check=True)

    @requires(AccessLevel.ADMIN)
    def check_webengage(self, license_code: str) -> AccountView:
        """Check a stored API key again; raise as `connect_webengage` does, and when it was changed meanwhile."""
        view = self._get_account(license_code)
        stored = self._read_account(license_code)
        with self._noting_refusal(name_account(license_code), lambda: self._read_account(license_code) == stored):
            unstored = Account(license_code=license_code, api_key="", data_center=view.data_center)
            return self._connect_account(stored or unstored, is_check=True)

    @contextmanager
    def _noting_refusal(self, connection: str, is_stored: Callable[[], bool]) -> Iterator[None]:
        """Keep why a stored secret was refused, so that nobody is shown it as one that works.

        What is to be mended here, or passes by itself, says nothing about the secret.
        """
        try:
            yield
        except (ConfigurationError, RoleTooLow) as problem:
            with self._store.transaction():
                if is_stored():
                    self._store.connections.note_refusal(connection, str(problem))
            raise

    @requires(AccessLevel.VIEWER)
    def list_problems(self) -> dict[str, str]:
        """Return why connections do not work, by the names of `name_project` and `name_account`.

        A secret is known to be refused by its last check, or by a run that came after it and paused its sync.
        """
        found = self._store.connections.list_refusals()
        for project in self.list_projects():
            syncs = self._store.syncs.list_views(project_id=project.id)
            if reason := _find_refusal(syncs, CHECK_SERVICE_ACCOUNT, project.checked_at):
                found.setdefault(name_project(project.id), reason)
        for account in self.list_accounts():
            syncs = self._store.syncs.list_views(license_code=account.license_code)
            if reason := _find_refusal(syncs, CHECK_API_KEY, account.checked_at):
                found.setdefault(name_account(account.license_code), reason)
        return found

    @requires(AccessLevel.VIEWER)
    def list_affected_syncs(
        self, project_id: int | None = None, license_code: str | None = None
    ) -> tuple[SyncView, ...]:
        """Return the syncs a disconnect would pause, also those of which a pause would end by itself."""
        return tuple(
            one
            for one in self._store.syncs.list_views(project_id, license_code)
            if one.state is SyncState.ACTIVE or one.resume_at is not None
        )

    @requires(AccessLevel.ADMIN)
    def disconnect_mixpanel(self, project_id: int) -> tuple[SyncView, ...]:
        """Delete a project's secret, pause its syncs and return them; its runs end after the requests in flight."""
        name = name_project(project_id)
        with self._store.transaction():
            if self._store.connections.get_project(project_id) is None:
                return ()
            self._store.connections.disconnect_project(project_id)
            return self._pause_disconnected("Mixpanel", name, name, project_id=project_id)

    @requires(AccessLevel.ADMIN)
    def disconnect_webengage(self, license_code: str) -> tuple[SyncView, ...]:
        """Delete an account's key, pause its syncs and return them; its runs end after the requests in flight."""
        with self._store.transaction():
            if self._store.connections.get_account(license_code) is None:
                return ()
            self._store.connections.disconnect_account(license_code)
            return self._pause_disconnected(
                "WebEngage", name_account(license_code), license_code, license_code=license_code
            )

    def _pause_disconnected(
        self, side: str, connection: str, target: str, *, project_id: int | None = None, license_code: str | None = None
    ) -> tuple[SyncView, ...]:
        """Pause the syncs of a side that was disconnected, end their runs, and note it; return those that were paused."""
        paused = self.list_affected_syncs(project_id, license_code)
        self._pause_syncs(paused, side)
        self._cancel_runs(self._store.syncs.list_views(project_id, license_code))
        self._correct_reasons(side, self._store.syncs.list_views(project_id, license_code))
        self._store.connections.forget_refusal(connection)
        self._state.add_audit_line(f"disconnect {side}", target, "connected", _describe_paused(paused))
        return paused

    def _pause_syncs(self, syncs: tuple[SyncView, ...], side: str) -> None:
        """Pause syncs until a person resumes them; a time at which one was to go on by itself is kept in the reason."""
        for one in syncs:
            until = f" It was paused until {format_utc_time(one.resume_at)}." if one.resume_at is not None else ""
            reason = f"{side} {CONNECT_AGAIN}{until}"
            self._store.syncs.pause_sync(one.id, reason)
            self._state.add_event(reason, one.id)

    def _correct_reasons(self, side: str, syncs: tuple[SyncView, ...]) -> None:
        """Let those paused by a disconnect say what is missing now; nothing any more, after ``side`` was connected."""
        for one in syncs:
            for said in (CONNECT_AGAIN, CONNECTED_AGAIN):
                if one.pause_reason and said in one.pause_reason:
                    missing = self._state.find_disconnected(self._state.get_sync(one.id))
                    now = f"{missing} {CONNECT_AGAIN}" if missing else f"{side} {CONNECTED_AGAIN}"
                    self._store.syncs.pause_sync(one.id, now + one.pause_reason.partition(said)[2])

    def _cancel_runs(self, syncs: tuple[SyncView, ...]) -> None:
        """Request the cancellation of runs under way: a runner still has the secret in memory."""
        for one in syncs:
            active = self._store.runs.get_active(one.id)
            if active and self._store.runs.request_cancel(active.id):
                self._state.add_event("Cancel requested, since it was disconnected.", one.id, active.id)
