"""Mixpanel's Query API: cohorts, their members page by page, and the service account's role.

Facts are from Mixpanel's reference (developer.mixpanel.com, "Query API" and "Service accounts"), and from
public clients where the reference says nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sync.errors import (
    CHECK_SERVICE_ACCOUNT,
    ConfigurationError,
    InvalidRequest,
    RetryLater,
    SessionExpired,
    UnexpectedResponse,
)
from sync.http_client import HttpClient, Reply, describe_problem, is_loopback, parse_json, parse_retry_after
from sync.mixpanel.cohort_list import parse_cohorts
from sync.mixpanel.parsing import PageFilter, parse_columns, parse_page
from sync.model import MAX_QUOTED, Cohort, Columns, Page, Project, Role

REGIONS = {"us": "https://mixpanel.com", "eu": "https://eu.mixpanel.com", "in": "https://in.mixpanel.com"}
QUERY_TIMEOUT_SECONDS = (
    500.0  # Mixpanel's own deadline is 488 s (its SDK); ending a call earlier wastes a counted query
)
APP_TIMEOUT_SECONDS = 130.0  # the App API's deadline is about 120 s (its SDK)
# One short property asked for when none is mapped: the reply shrinks to a fifth. It never changes, so that a page
# without news is byte for byte the one before.
MINIMAL_PROPERTY = "$created"
ADMIN_ROLES = ("owner", "admin")  # roles that may change a project's settings (Mixpanel docs, "Roles and permissions")
BELOW_ADMIN_ROLES = ("analyst", "consumer", "member", "viewer")
CLOSED_STATUSES = (402, 403, 404, 405, 410, 501)  # the role cannot be read; this proves nothing about the credentials
# What a later page may be answered when its session is gone, or when there is no such page; neither is documented.
# Should the cohort be gone, the page 0 of the next session says so.
LOST_SESSION_STATUSES = (400, 404, 410, 416, 422)
STATUS_EXPLANATIONS = {
    400: "it cannot be asked for, or no longer exists",
    402: "the project's plan does not include it",
    403: "the service account has no right to it",
    404: "it does not exist or was deleted",
    410: "it was deleted",
}


@dataclass(frozen=True, slots=True)
class CredentialsCheck:
    """The result of a check of the credentials; ``project_seen``: Mixpanel showed the project itself."""

    name: str
    role: Role
    role_note: str
    project_seen: bool


def get_base_url(region: str) -> str:
    """Return the host of a region (us, eu, in), or a loopback address as it is; else raise InvalidRequest."""
    known = REGIONS.get(region.strip().lower())
    if known:
        return known
    if is_loopback(region.strip()):
        return region.strip().rstrip("/")
    raise InvalidRequest(f"“{region[:MAX_QUOTED]}” is not a Mixpanel region; choose us, eu or in.", "region")


class Mixpanel:
    """A client of one project, with the credentials of its service account."""

    def __init__(
        self,
        project: Project,
        timeout: float = QUERY_TIMEOUT_SECONDS,
        page_size: int | None = None,
    ) -> None:
        """Prepare requests about this project, each ended after ``timeout`` seconds.

        ``page_size`` asks for larger pages (members a page). The reference does not name it, a public client
        (Airbyte's connector) uses it; only the size in the reply counts.
        """
        self._project, self._timeout, self._page_size = project, timeout, page_size
        self._query_params = {"project_id": str(project.id)}
        self._rest = HttpClient(get_base_url(project.region), auth=(project.username.encode(), project.secret.encode()))

    @property
    def project_id(self) -> int:
        """Return the number of the project."""
        return self._project.id

    def list_cohorts(self) -> tuple[tuple[Cohort, ...], int]:
        """Return the cohorts shared with the project, and how many rows had no usable number; counts as one query."""
        return parse_cohorts(self._query_api("POST", "/api/query/cohorts/list", "its list of cohorts"))

    def read_page(
        self,
        cohort_id: int,
        number: int,
        session_id: str | None,
        *,
        all_users: bool,
        properties: tuple[str, ...],
        trimmed: bool = True,
        id_property: str = "",
        bare_counts: bool = False,
    ) -> Page:
        """Return one page of a cohort's members; page 0 counts as a query, later pages belong to its session.

        Raise SessionExpired when Mixpanel no longer knows the session. Without ``all_users`` only members
        with a profile are asked for; ``trimmed`` asks for the named properties only.
        Values come in the order of ``properties``, None where missing. ``id_property`` is the profile property that is
        the User ID, empty for the distinct_id. ``bare_counts``: an empty profile is one; always without ``all_users``.
        """
        wanted = _name_properties(properties, id_property) if trimmed else None
        form = build_query_form(cohort_id, number, session_id, all_users, wanted)
        reply, what = self._ask_for_page(form, cohort_id, number)
        # When only members with a profile are asked for, {} is a profile without the properties asked for.
        bare_counts = bare_counts or not all_users
        return parse_page(reply, what, number, properties, bare_counts=bare_counts, id_property=id_property)

    def read_columns(
        self,
        cohort_id: int,
        number: int,
        session_id: str | None,
        properties: tuple[str, ...],
        known: PageFilter | None = None,
        id_property: str = "",
    ) -> Columns:
        """Read one page of the members with a profile, side by side: what a run needs, at a fifth of the cost.

        What is ``known`` of its people is not parsed or checked again.
        """
        wanted = _name_properties(properties, id_property)
        form = build_query_form(cohort_id, number, session_id, all_users=False, wanted=wanted)
        if self._page_size:
            form["page_size"] = str(self._page_size)
        reply, what = self._ask_for_page(form, cohort_id, number)
        return parse_columns(reply, what, number, properties, known, id_property)

    def _ask_for_page(self, form: Mapping[str, str], cohort_id: int, number: int) -> tuple[Reply, str]:
        """Return the answer to a query for a page, and what was asked for in words."""
        what = f"page {number} of cohort {cohort_id}"
        return self._query_api("POST", "/api/query/engage", what, form, number), what

    def list_properties(self) -> tuple[str, ...]:
        """Return the names of the project's profile properties, the most used first; counts as one query."""
        reply = self._query_api("GET", "/api/query/engage/properties", "its profile properties")
        found = _parse_reply(reply, "its profile properties")
        rows = found.get("results") if isinstance(found, dict) else None
        if not isinstance(rows, dict):
            raise UnexpectedResponse("Mixpanel was asked for its profile properties and sent something else.")
        return tuple(sorted(rows, key=lambda name: (-_read_count(rows[name]), name)))

    def check_credentials(self) -> CredentialsCheck:
        """Return the project's name and our role; raise ConfigurationError when we may not read the project."""
        reply = self._app_api("/api/app/me")
        if reply.status in CLOSED_STATUSES:
            return self._check_by_list()
        self._raise_for_status(reply, "the role of the service account", 0)
        return self._read_me(_parse_reply(reply, "the role of the service account"))

    def _read_me(self, body: Any) -> CredentialsCheck:
        """Return the role /me answers: in the project, or in the organization when that is higher."""
        results = _as_dict(_as_dict(body).get("results"))
        project = _as_dict(results.get("projects")).get(str(self._project.id))
        if not isinstance(project, dict):
            raise ConfigurationError(
                f"Mixpanel accepted the service account, but it does not see project {self._project.id}; "
                "check the project id and the data residency, and add the account to the project."
            )
        self._check_region(project)
        organization = _as_dict(_as_dict(results.get("organizations")).get(str(project.get("organization_id"))))
        roles = tuple(_read_role_name(place.get("role")) for place in (project, organization))
        name = project.get("name")
        return CredentialsCheck(name if isinstance(name, str) else "", *_evaluate_roles(roles), project_seen=True)

    def _check_region(self, project: Mapping[str, Any]) -> None:
        domain = project.get("domain")
        right = next((name for name, url in REGIONS.items() if url == f"https://{domain}"), None)
        if right and self._project.region.lower() in REGIONS and right != self._project.region.lower():
            raise ConfigurationError(
                f"Mixpanel says that the data residency of project {self._project.id} is {right}, "
                f"not {self._project.region}; choose {right}."
            )

    def sees_classified_data(self) -> bool | None:
        """Return whether Mixpanel says that the service account may see classified data; None when it does not say.

        Mixpanel leaves classified properties out without a word for an account that may not. No query.
        """
        own = next((row for row in self._list_accounts() or () if row.get("username") == self._project.username), {})
        answer = own.get("hasSensitiveAccess")
        return answer if isinstance(answer, bool) else None

    def _list_accounts(self) -> list[Mapping[str, Any]] | None:
        """Return the project's service accounts; None when this one may not see them."""
        reply = self._app_api(f"/api/app/projects/{self._project.id}/service-accounts")
        if reply.status in CLOSED_STATUSES:
            return None
        self._raise_for_status(reply, "the project's service accounts", 0)
        rows = _as_dict(_parse_reply(reply, "the project's service accounts")).get("results")
        return [_as_dict(row) for row in rows] if isinstance(rows, list) else []

    def _check_by_list(self) -> CredentialsCheck:
        """Find our role among the project's service accounts, when /me cannot be read."""
        accounts = self._list_accounts()
        if accounts is None:
            return CredentialsCheck(
                "", Role.UNVERIFIED, "Mixpanel does not let this service account read its role: not verified.", False
            )
        roles = tuple(
            _read_role_name(row.get("role")) for row in accounts if row.get("username") == self._project.username
        )
        return CredentialsCheck("", *_evaluate_roles(roles), project_seen=bool(roles))

    def _query_api(
        self, method: str, path: str, what: str, form: Mapping[str, str] | None = None, number: int = 0
    ) -> Reply:
        reply = self._rest.send_request(method, path, params=self._query_params, form=form, timeout=self._timeout)
        self._raise_for_status(reply, what, number)
        return reply

    def _app_api(self, path: str) -> Reply:
        return self._rest.send_request("GET", path, timeout=min(self._timeout, APP_TIMEOUT_SECONDS))

    def _raise_for_status(self, reply: Reply, what: str, number: int) -> None:
        """Raise the error for a reply that is not 2xx; its class says who must act."""
        if reply.is_success:
            return
        said = describe_problem(reply)
        asked = f"Mixpanel was asked for {what} and answered {reply.status} “{said}”"
        if reply.status == 401 or (reply.status == 400 and "unable to authenticate" in said.lower()):
            raise ConfigurationError(f"{asked}; {CHECK_SERVICE_ACCOUNT}.")
        if reply.status in LOST_SESSION_STATUSES and number:
            raise SessionExpired(asked)
        if reply.status in STATUS_EXPLANATIONS:
            raise ConfigurationError(
                f"{asked}: {STATUS_EXPLANATIONS[reply.status]}; check the project, its data residency and the cohort."
            )
        if reply.status == 429:
            raise RetryLater(asked + ".", parse_retry_after(reply.headers, time.time()), _find_limit(said))
        if reply.status >= 500 or reply.status == 408:
            raise RetryLater(asked + ".", parse_retry_after(reply.headers, time.time()))
        raise UnexpectedResponse(asked + ", which is not documented; nothing was changed.")


def build_query_form(
    cohort_id: int, number: int, session_id: str | None, all_users: bool, wanted: tuple[str, ...] | None
) -> dict[str, str]:
    """Return the form of a query; the same on every page of a session (Mixpanel docs), ``include_all_users`` explicit."""
    form = {
        "filter_by_cohort": orjson.dumps({"id": cohort_id}).decode(),
        "include_all_users": "true" if all_users else "false",
    }
    if wanted is not None:
        form["output_properties"] = orjson.dumps(list(wanted)).decode()
    return form | {"page": str(number), "session_id": session_id or ""} if number else form


def _name_properties(properties: tuple[str, ...], id_property: str) -> tuple[str, ...]:
    """Return the properties to ask for: those named, and the one that is the User ID."""
    named = (*properties, *((id_property,) if id_property and id_property not in properties else ()))
    return named or (MINIMAL_PROPERTY,)


def _find_limit(said: str) -> str:
    """Return which limit a 429 names: hourly, concurrent, or unnamed.

    Mixpanel's message has two fractions ("6/5 queries running concurrently"); without them its words count.
    """
    running = re.search(r"(\d+)/(\d+) queries running concurrently", said)
    hourly = re.search(r"(\d+)/(\d+) queries running in the last hour", said)
    if hourly and int(hourly[1]) > int(hourly[2]):
        return "hourly"
    if running:
        return "concurrent" if int(running[1]) >= int(running[2]) else "hourly"
    if "hour" in said.lower():
        return "hourly"
    return "concurrent" if "concurren" in said.lower() else "unnamed"


def _parse_reply(reply: Reply, what: str) -> Any:
    try:
        return parse_json(reply)
    except UnexpectedResponse as garbled:
        raise RetryLater(f"Mixpanel was asked for {what}, but {garbled}.") from None


def _evaluate_roles(roles: tuple[str, ...]) -> tuple[Role, str]:
    """Return the role and a note for people: admin if one role is; below only when the first is a known lower one."""
    named = " and ".join(sorted({role for role in roles if role})) or "none named"
    if any(role.lower() in ADMIN_ROLES for role in roles):
        return Role.ADMIN, ""
    if roles and roles[0].lower() in BELOW_ADMIN_ROLES:
        return Role.BELOW_ADMIN, f"Mixpanel says the service account's role is {named}; ask an admin to raise it."
    return (
        Role.UNVERIFIED,
        f"Mixpanel names the role “{named[:MAX_QUOTED]}”, which may or may not be an admin's: not verified.",
    )


def _read_role_name(given: object) -> str:
    name = given.get("name") if isinstance(given, dict) else given
    return name if isinstance(name, str) else ""


def _as_dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_count(row: object) -> int:
    count = _as_dict(row).get("count")
    return count if isinstance(count, int) else 0
