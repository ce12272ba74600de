"""The contents of the sandbox: projects with their cohorts, and everything shared between the two APIs."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from . import names
from .accounts import Account
from .faults import Faults
from .people import Recipe, generated, has_profile
from .rate_limits import Meter, Window
from .settings import Settings

HOUR = 3600.0
SESSIONS_KEPT = 200
MEMBERS_KEPT = 20_000_000  # in all sessions together: 160 MB of references
LIVE = "live"
"""A cohort's listed count follows its size; anything else is listed as it is."""
CHURN_RETURNS = 3
"""Every third who enters by churn has been in the cohort before."""


@dataclass(frozen=True)
class ServiceAccount:
    """A Mixpanel service account with its role in each project."""

    username: str
    secret: str
    roles: dict[int, str]
    sees_users: bool = True
    """Whether it has the user_details scope, without which /api/app/me is 403."""
    sees_classified: bool = True
    """Whether it is sent the values of classified properties."""


@dataclass(frozen=True)
class Session:
    """An engage query's frozen answer."""

    params: frozenset[tuple[str, str]]
    members: list[bytes]
    opened: float


@dataclass
class Cohort:
    """A cohort and who is in it right now."""

    id: int
    name: str
    description: str = ""
    created: str = "2026-03-02 09:15:00"
    data_group_id: str | None = None
    members: dict[str, bytes] = field(default_factory=dict)
    away: dict[str, bytes] = field(default_factory=dict)
    """Who may come in by churn before anybody new is made."""
    recipe: Recipe = Recipe(0)
    born: int = 0
    count: int | str | None = LIVE

    def listing(self, project_id: int) -> dict[str, Any]:
        """Return the row of /cohorts/list (Mixpanel docs, list cohorts; data_group_id as seen live)."""
        return {
            "count": len(self.members) if self.count == LIVE else self.count,
            "is_visible": 1,
            "description": self.description,
            "created": self.created,
            "project_id": project_id,
            "id": self.id,
            "name": self.name,
            "data_group_id": self.data_group_id,
        }

    def snapshot(self, everyone: bool) -> list[bytes]:
        """Return who is in it now; without `everyone` only those with a profile."""
        members = self.members.values()
        return list(members) if everyone else [m for m in members if has_profile(m)]

    def grow(self, recipe: Recipe) -> None:
        """Make the members a recipe asks for, in place of those there were."""
        self.members = dict(generated(recipe))
        self.away, self.recipe, self.born = {}, recipe, recipe.count

    def churn(self, fraction: float, seed: int | str) -> tuple[int, int]:
        """Let a part of the members leave and as many enter; returns how many of each."""
        draw = random.Random(f"{self.id}:{seed}")
        share = max(1, round(len(self.members) * fraction)) if self.members and fraction else 0
        entering = self._newcomers(share, draw)
        leaving = draw.sample(list(self.members), share)
        for user_id in leaving:
            self.away[user_id] = self.members.pop(user_id)
        self.members.update(entering)
        return len(entering), len(leaving)

    def _newcomers(self, share: int, draw: random.Random) -> dict[str, bytes]:
        known = draw.sample(list(self.away), min(len(self.away), -(-share // CHURN_RETURNS)))
        entering = {user_id: self.away.pop(user_id) for user_id in known}
        fresh = generated(self.recipe, self.born, share - len(entering))
        entering.update(fresh)
        self.born += share - len(known)
        return entering


@dataclass
class Project:
    """A Mixpanel project."""

    id: int
    name: str
    cohorts: dict[int, Cohort] = field(default_factory=dict)
    sessions: OrderedDict[str, Session] = field(default_factory=OrderedDict)
    hour: Window = field(default_factory=lambda: Window(HOUR))
    sessions_opened: int = 0
    running: int = 0
    most_running: int = 0

    def remember(self, session_id: str, session: Session) -> None:
        """Keep a session, forgetting the oldest ones when they grow too many or too large."""
        self.sessions[session_id] = session
        while len(self.sessions) > 1 and self._sessions_too_large():
            self.sessions.popitem(last=False)

    def _sessions_too_large(self) -> bool:
        size = sum(len(session.members) for session in self.sessions.values())
        return len(self.sessions) > SESSIONS_KEPT or size > MEMBERS_KEPT


class World:
    """Everything the sandbox knows."""

    def __init__(self, settings: Settings) -> None:
        self.start_settings = settings
        self.reset()

    def reset(self) -> None:
        """Begin again: the default project and accounts, no cohorts, no faults, fresh meters."""
        self.settings = self.start_settings
        self.offset = 0.0
        self.next_cohort_id = 1000
        self.projects: dict[int, Project] = {names.PROJECT: Project(names.PROJECT, names.PROJECT_NAME)}
        self.service_accounts = {account.username: account for account in default_service_accounts()}
        self.accounts: dict[str, Account] = {}
        self.add_account(names.LICENSE, names.API_KEY)
        self.add_account(names.LICENSE_2, names.API_KEY_2)
        self.faults, self.meter = Faults(), Meter()

    def now(self) -> float:
        """Return the sandbox's own clock, which a test can move ahead."""
        return time.time() + self.offset

    def add_account(self, license_code: str, api_key: str) -> None:
        """Open a WebEngage account."""
        self.accounts[license_code] = Account(license_code, api_key)

    def add_project(self, project: Project, username: str, secret: str, role: str) -> None:
        """Open a Mixpanel project and give a service account a role in it."""
        self.projects[project.id] = project
        known = self.service_accounts.get(username)
        roles = (known.roles if known else {}) | {project.id: role}
        self.service_accounts[username] = ServiceAccount(username, secret, roles)

    def add_cohort(self, project: Project, cohort: Cohort) -> Cohort:
        """Put a cohort into a project."""
        project.cohorts[cohort.id] = cohort
        self.next_cohort_id = max(self.next_cohort_id, cohort.id + 1)
        return cohort

    def find_cohort(self, cohort_id: int) -> tuple[Project, Cohort]:
        """Return a cohort and its project, wherever it is."""
        for project in self.projects.values():
            if cohort := project.cohorts.get(cohort_id):
                return project, cohort
        raise KeyError(f"There is no cohort {cohort_id}.")

    def drift(self, beat: int, fraction: float) -> None:
        """Let every cohort change a little."""
        for cohort in self.cohorts():
            cohort.churn(fraction, f"drift {beat}")

    def cohorts(self) -> Iterable[Cohort]:
        """Every cohort of every project."""
        return [cohort for project in self.projects.values() for cohort in project.cohorts.values()]


def default_service_accounts() -> list[ServiceAccount]:
    """Return the four service accounts of the default project."""

    def one(
        username: str, secret: str, role: str, *, sees_users: bool = True, sees_classified: bool = False
    ) -> ServiceAccount:
        return ServiceAccount(username, secret, {names.PROJECT: role}, sees_users, sees_classified)

    return [
        one(names.USERNAME, names.SECRET, "admin", sees_classified=True),
        one(names.ANALYST_USERNAME, names.ANALYST_SECRET, "analyst"),
        one(names.CUSTOM_USERNAME, names.CUSTOM_SECRET, "Cohort Keeper"),
        one(names.BLIND_USERNAME, names.BLIND_SECRET, "admin", sees_users=False),
    ]
