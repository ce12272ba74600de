"""Connect and disconnect the two sides; nothing is stored before the check succeeded."""

from __future__ import annotations

from sync import mixpanel, webengage
from sync.access import Grade, needs
from sync.errors import FixSettings, Refused
from sync.mixpanel import Mixpanel
from sync.model import Account, Project, Role
from sync.redaction import hide
from sync.service.base import ASK_SECONDS, Base
from sync.store.connections import SealedAccount, SealedProject
from sync.views import AccountView, ProjectView, SyncView
from sync.webengage import WebEngage

TAIL = 4  # characters of a secret people may see, to recognise it
PROJECT_MAX = 2**63 - 1  # the largest number the database holds
TAIL_FROM = 12  # characters a secret must have before any of it is shown


def tail(secret: str) -> str:
    """The end of a secret, when that gives nothing away."""
    return secret[-TAIL:] if len(secret) >= TAIL_FROM else ""


def _paused(syncs: tuple[SyncView, ...]) -> str:
    """Name the syncs a disconnect paused."""
    return f"{len(syncs)} syncs paused" + (": " if syncs else "") + ", ".join(str(one.id) for one in syncs)


class Connecting(Base):
    """Mixpanel projects and WebEngage accounts."""

    @needs(Grade.VIEWER)
    def projects(self) -> tuple[ProjectView, ...]:
        """The connected Mixpanel projects."""
        return tuple(one.view for one in self._store.connections.projects())

    @needs(Grade.VIEWER)
    def accounts(self) -> tuple[AccountView, ...]:
        """The connected WebEngage accounts, each with the projects whose new exports go there."""
        return tuple(one.view for one in self._store.connections.accounts())

    @needs(Grade.ADMIN)
    def connect_mixpanel(self, project_id: int, username: str, secret: str, region: str) -> ProjectView:
        """Check a service account with Mixpanel and store it; a proven non-admin is Refused."""
        username, secret, region = username.strip(), secret.strip(), region.strip()
        if not username or not secret:
            raise Refused("Enter the service account's username and secret.", "secret" if username else "username")
        if not 1 <= project_id <= PROJECT_MAX:
            raise Refused("A project id is a positive number; Mixpanel shows it under Project Settings.", "project_id")
        for field, text in (("username", username), ("secret", secret)):
            if not text.isprintable():
                raise Refused(f"The {field} holds a character that cannot be shown; copy it again.", field)
        hide(secret)
        mixpanel.base_url(region)
        checked = Mixpanel(Project(project_id, "", username, secret, region), timeout=ASK_SECONDS).check()
        if checked.role is Role.BELOW:
            raise Refused(f"Only a project admin may enable the integration: {checked.note}", "username")
        view = ProjectView(
            project_id,
            checked.name or f"Project {project_id}",
            username,
            region,
            checked.role,
            checked.note,
            self._now(),
            tail(secret),
        )
        if not checked.seen:
            self._see_project(Project(project_id, "", username, secret, region))
        with self._store.transaction():  # sealed inside: a rotation may be dropping the former key now
            sealed = SealedProject(view, self._seal(secret))
            before = self._store.connections.project(project_id)
            self._store.connections.save_project(sealed)
            self._tell(f"Mixpanel project {view.name} connected.")
            self._audit(
                "connect Mixpanel",
                f"project {project_id}",
                f"{before.view.username}, {before.view.region}" if before else "",
                f"{username}, {region}, role {checked.role.value}, secret {self._fingerprint(secret)}",
            )
            self._use_the_only_account()
        return self._sealed_project(project_id).view

    def _see_project(self, project: Project) -> None:
        """Read the list of cohorts once, since nothing else showed that the project is ours to read."""
        with self._query(project.id):
            Mixpanel(project, timeout=ASK_SECONDS).cohorts()

    @needs(Grade.ADMIN)
    def connect_webengage(self, license_code: str, api_key: str, data_center: str) -> AccountView:
        """Check an API key with WebEngage, without writing anything there, and store it."""
        account = Account(webengage.license_of(license_code), api_key.strip(), data_center.strip())
        hide(account.api_key)
        if not account.api_key:
            raise Refused("Enter the API key.", "api_key")
        WebEngage(account).check()
        view = AccountView(account.license_code, account.data_center, self._now(), tail(account.api_key))
        with self._store.transaction():  # sealed inside: a rotation may be dropping the former key now
            sealed = SealedAccount(view, self._seal(account.api_key))
            before = self._store.connections.account(view.license_code)
            self._store.connections.save_account(sealed)
            self._tell(f"WebEngage account {view.license_code} connected.")
            self._audit(
                "connect WebEngage",
                view.license_code,
                before.view.data_center if before else "",
                f"{view.data_center}, key {self._fingerprint(account.api_key)}",
            )
            self._use_the_only_account()
        return self._connected_account(view.license_code).view

    def _use_the_only_account(self) -> None:
        """Let projects that never had an account use the connected one; with several a person chooses."""
        connected = self._store.connections.accounts()
        if len(connected) == 1:
            for project in self._store.connections.projects():
                if project.view.license_code is None:
                    self._use(project.view, connected[0].view.license_code)

    def _use(self, project: ProjectView, license_code: str) -> None:
        self._store.connections.use_account(project.id, license_code)
        self._audit("use account", f"project {project.id}", project.license_code or "", license_code)

    @needs(Grade.ADMIN)
    def use_account(self, project_id: int | None, license_code: str) -> ProjectView:
        """Send a project's new exports to this connected account; syncs that exist keep theirs."""
        with self._store.transaction():
            project = self._sealed_project(project_id).view
            self._use(project, self._connected_account(license_code.strip()).view.license_code)
            self._tell(f"Project {project.id} exports to WebEngage account {license_code.strip()} from now on.")
        return self._sealed_project(project.id).view

    def _connected_account(self, license_code: str) -> SealedAccount:
        found = self._store.connections.account(license_code)
        if found is None:
            raise FixSettings(f"WebEngage account {license_code} is not connected; connect it under Integrations.")
        return found

    @needs(Grade.ADMIN)
    def check_mixpanel(self, project_id: int) -> ProjectView:
        """Check a stored service account again."""
        sealed = self._sealed_project(project_id)
        view = sealed.view
        return self.connect_mixpanel(
            view.id, view.username, self._vault().open_sealed(sealed.sealed or ""), view.region
        )

    @needs(Grade.ADMIN)
    def check_webengage(self, license_code: str) -> AccountView:
        """Check a stored API key again."""
        sealed = self._connected_account(license_code)
        key = self._vault().open_sealed(sealed.sealed or "")
        return self.connect_webengage(license_code, key, sealed.view.data_center)

    @needs(Grade.VIEWER)
    def affected(self, project_id: int | None = None, license_code: str | None = None) -> tuple[SyncView, ...]:
        """The syncs a disconnect would pause."""
        return tuple(one for one in self._store.syncs.views(project_id, license_code) if one.state.value == "active")

    @needs(Grade.ADMIN)
    def disconnect_mixpanel(self, project_id: int) -> tuple[SyncView, ...]:
        """Forget a project's secret and pause its syncs, which are answered."""
        with self._store.transaction():
            paused = self.affected(project_id=project_id)
            self._pause_all(paused, "Mixpanel was disconnected; connect it again, then resume.")
            self._end_runs(self._store.syncs.views(project_id=project_id))
            self._store.connections.forget_project(project_id)
            self._audit("disconnect Mixpanel", f"project {project_id}", "connected", _paused(paused))
        return paused

    @needs(Grade.ADMIN)
    def disconnect_webengage(self, license_code: str) -> tuple[SyncView, ...]:
        """Forget an account's key and pause its syncs, which are answered."""
        with self._store.transaction():
            paused = self.affected(license_code=license_code)
            self._pause_all(paused, "WebEngage was disconnected; connect it again, then resume.")
            self._end_runs(self._store.syncs.views(license_code=license_code))
            self._store.connections.forget_account(license_code)
            self._audit("disconnect WebEngage", license_code, "connected", _paused(paused))
        return paused

    def _pause_all(self, syncs: tuple[SyncView, ...], reason: str) -> None:
        for one in syncs:
            self._store.syncs.pause(one.id, reason)
            self._tell(reason, one.id)

    def _end_runs(self, syncs: tuple[SyncView, ...]) -> None:
        """Have runs under way end after what is in flight: a runner has the secret in its memory."""
        for one in syncs:
            active = self._store.runs.active(one.id)
            if active and self._store.runs.want_cancel(active.id):
                self._tell("Cancel asked for, since it was disconnected.", one.id, active.id)
