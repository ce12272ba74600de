"""Mixpanel's Query API in our words: cohorts, their members page by page, and the caller's role.

Facts are from Mixpanel's reference (developer.mixpanel.com, "Query API" and "Service accounts"),
with what public clients saw where the reference is silent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import orjson

from sync.errors import FixSettings, Refused, Report, SessionExpired, Wait
from sync.model import (
    DEVICE_PREFIX,
    USER_ID_MAX,
    Cohort,
    Columns,
    Fate,
    Member,
    Page,
    Project,
    Role,
    classify,
)
from sync.model import MISSING_VALUES as MISSING
from sync.rest import Reply, Rest, loopback, parsed, problem, retry_after, scrubbed

REGIONS = {"us": "https://mixpanel.com", "eu": "https://eu.mixpanel.com", "in": "https://in.mixpanel.com"}
QUERY_SECONDS = 500.0  # Mixpanel's own deadline is 488 s (its SDK); giving up earlier wastes a counted query
APP_SECONDS = 130.0  # the App API's deadline is about 120 s (its SDK)
PAGE_SIZE = 1000  # the documented size, for a reply that does not name its own
NARROW = "$last_seen"  # one short property asked for when none is mapped: the reply shrinks to a fifth
ADMINS = ("owner", "admin")  # roles that may change a project's settings (Mixpanel docs, "Roles and permissions")
BELOW_ADMIN = ("analyst", "consumer", "member", "viewer")
REFUSALS = {402: "the project's plan does not include it", 403: "the service account has no right to it",
            404: "it does not exist or was deleted", 410: "it was deleted"}


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of the credentials found; ``seen`` says that the project itself was seen."""

    name: str
    role: Role
    note: str
    seen: bool


class _Row(msgspec.Struct, gc=False):
    """One result as it arrives; everything we do not need is skipped while parsing."""

    id: int | float | str | None = msgspec.field(name="$distinct_id", default=None)
    properties: dict[str, Any] | None = msgspec.field(name="$properties", default=None)


class _Head(msgspec.Struct, gc=False):
    """A reply of /engage, but for its results."""

    page: int | None = None
    page_size: int | None = None
    session_id: str | None = None
    total: int | None = None
    status: str | None = None
    error: str | None = None
    results: Any = None


class _Answer(_Head, gc=False):
    """A reply whose members are wanted one by one."""

    results: list[_Row] | None = None


_DECODER: msgspec.json.Decoder[_Head] = msgspec.json.Decoder(_Answer)


class Narrow:
    """Two decoders of the same page: one for plain members only, checked while parsing, and one for everybody.

    Both keep the named properties as raw JSON and skip everything else.
    """

    def __init__(self, properties: tuple[str, ...]) -> None:
        """Read these properties."""
        null = msgspec.Raw(b"null")
        profile = msgspec.defstruct("_Profile", gc=False, fields=[
            (f"p{at}", msgspec.Raw, msgspec.field(name=name, default=null)) for at, name in enumerate(properties)])
        plain_id = Annotated[str, msgspec.Meta(min_length=1, max_length=USER_ID_MAX)]
        self.plain = _page_decoder((plain_id, msgspec.field(name="$distinct_id")),
                                   (profile, msgspec.field(name="$properties")))
        self.any = _page_decoder((int | float | str | None, msgspec.field(name="$distinct_id", default=None)),
                                 (profile | None, msgspec.field(name="$properties", default=None)))


def _page_decoder(user_id: tuple[Any, Any], properties: tuple[Any, Any]) -> msgspec.json.Decoder[_Head]:
    row = msgspec.defstruct("_NarrowRow", [("id", *user_id), ("properties", *properties)], gc=False)
    results = [("results", list[row] | None, None)]  # type: ignore[valid-type]
    return msgspec.json.Decoder(msgspec.defstruct("_NarrowAnswer", results, bases=(_Head,), gc=False))


_narrow = lru_cache(maxsize=16)(Narrow)


def base_url(region: str) -> str:
    """The host of a region (us, eu, in), or a loopback address as it is; Refused otherwise."""
    known = REGIONS.get(region.strip().lower())
    if known:
        return known
    if loopback(region.strip()):
        return region.strip().rstrip("/")
    raise Refused(f"“{region[:60]}” is not a Mixpanel region; choose us, eu or in.", "region")


class Mixpanel:
    """One project, asked as its service account."""

    def __init__(self, project: Project, workspace_id: int | None = None, timeout: float = QUERY_SECONDS) -> None:
        """Ask about this project; a person in front of a page waits no longer than ``timeout`` seconds."""
        self._project, self._timeout = project, timeout
        self._query = {"project_id": str(project.id)}
        if workspace_id is not None:
            self._query["workspace_id"] = str(workspace_id)
        self._rest = Rest(base_url(project.region), auth=(project.username, project.secret))

    def cohorts(self) -> tuple[Cohort, ...]:
        """List the cohorts shared with the project; counts as one query."""
        reply = self._ask("POST", "/api/query/cohorts/list", "its list of cohorts")
        rows = _json(reply, "its list of cohorts")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Report(f"Mixpanel was asked for its list of cohorts and sent something else ({problem(reply)}).")
        return tuple(_cohort(row) for row in rows)

    def page(self, cohort_id: int, number: int, session_id: str | None, *, all_users: bool,
             properties: tuple[str, ...], trimmed: bool = True) -> Page:
        """Read one page of a cohort's members; page 0 is a query, later pages belong to its session.

        ``all_users`` False asks for members with a profile only. ``trimmed`` asks for the named
        properties and nothing else. Values come in the order of ``properties``, None where missing.
        """
        form = _form(cohort_id, number, session_id, all_users, (properties or (NARROW,)) if trimmed else None)
        what = f"page {number} of cohort {cohort_id}"
        answer = _decoded(self._ask("POST", "/api/query/engage", what, form, number), what, number, _DECODER)
        # Asked for members with a profile, an empty object is a profile without the properties we named.
        bare_counts = trimmed and not all_users
        members = tuple(_member(row, properties, bare_counts) for row in answer.results)
        size = answer.page_size if answer.page_size is not None else max(PAGE_SIZE, len(members))
        return Page(number, size, answer.session_id, answer.total, members)

    def columns(self, cohort_id: int, number: int, session_id: str | None, properties: tuple[str, ...]) -> Columns:
        """Read one page of the members with a profile, side by side: what a run needs, at a fifth of the cost."""
        form = _form(cohort_id, number, session_id, all_users=False, wanted=properties or (NARROW,))
        what = f"page {number} of cohort {cohort_id}"
        return _columns(self._ask("POST", "/api/query/engage", what, form, number), what, number, properties)

    def properties(self) -> tuple[str, ...]:
        """Name the profile properties of the project, the most used first; counts as one query."""
        reply = self._ask("GET", "/api/query/engage/properties", "its profile properties")
        found = _json(reply, "its profile properties")
        rows = found.get("results") if isinstance(found, dict) else None
        if not isinstance(rows, dict):
            raise Report("Mixpanel was asked for its profile properties and sent something else.")
        return tuple(sorted(rows, key=lambda name: (-_count(rows[name]), name)))

    def check(self) -> Checked:
        """Find out who we are and what role we have; FixSettings when the project is not ours to read."""
        reply = self._call("GET", "/api/app/me", {}, None, min(self._timeout, APP_SECONDS))
        if reply.status in (403, 404):
            return self._check_by_list()
        self._expect(reply, "who the service account is", 0)
        return self._judged(_json(reply, "who the service account is"))

    def _judged(self, body: Any) -> Checked:
        """Read the role out of /me: the project's, or the organization's when that is higher."""
        results = _dict(_dict(body).get("results"))
        project = _dict(results.get("projects")).get(str(self._project.id))
        if not isinstance(project, dict):
            raise FixSettings(f"Mixpanel accepted the service account, but it does not see project {self._project.id}; "
                              "check the project id and the region, and add the account to the project.")
        self._check_region(project)
        organization = _dict(_dict(results.get("organizations")).get(str(project.get("organization_id"))))
        roles = tuple(_role(place.get("role")) for place in (project, organization))
        name = project.get("name")
        return Checked(name if isinstance(name, str) else "", *_verdict(roles), seen=True)

    def _check_region(self, project: Mapping[str, Any]) -> None:
        domain = project.get("domain")
        right = next((name for name, url in REGIONS.items() if url == f"https://{domain}"), None)
        if right and self._project.region.lower() in REGIONS and right != self._project.region.lower():
            raise FixSettings(f"Mixpanel says project {self._project.id} lives in region {right}, "
                              f"not {self._project.region}; choose {right}.")

    def _check_by_list(self) -> Checked:
        """Look for ourselves among the project's service accounts, when /me is closed to us."""
        path = f"/api/app/projects/{self._project.id}/service-accounts"
        reply = self._call("GET", path, {}, None, min(self._timeout, APP_SECONDS))
        if reply.status in (403, 404):
            return Checked("", Role.UNVERIFIED, "Mixpanel does not let this service account read its role: not verified.", False)
        self._expect(reply, "the project's service accounts", 0)
        rows = _dict(_json(reply, "the project's service accounts")).get("results")
        mine = [_dict(row) for row in rows if _dict(row).get("username") == self._project.username] if (
            isinstance(rows, list)) else []
        return Checked("", *_verdict(tuple(_role(row.get("role")) for row in mine)), seen=bool(mine))

    def _ask(self, method: str, path: str, what: str, form: Mapping[str, str] | None = None, number: int = 0) -> Reply:
        reply = self._call(method, path, self._query, form, self._timeout)
        self._expect(reply, what, number)
        return reply

    def _call(self, method: str, path: str, query: Mapping[str, str], form: Mapping[str, str] | None,
              timeout: float) -> Reply:
        return self._rest.call(method, path, params=query, form=form, timeout=timeout)

    def _expect(self, reply: Reply, what: str, number: int) -> None:
        """Turn a reply that is no success into the error that says who must act."""
        if reply.ok:
            return
        said = problem(reply)
        asked = f"Mixpanel was asked for {what} and answered {reply.status} “{said}”"
        if reply.status == 401 or (reply.status == 400 and "unable to authenticate" in said.lower()):
            raise FixSettings(f"{asked}; check the service account's username, secret and region.")
        if reply.status in REFUSALS:
            raise FixSettings(f"{asked}: {REFUSALS[reply.status]}; check the project, its region and the cohort.")
        if reply.status == 429:
            raise Wait(asked + ".", retry_after(reply.headers, time.time()), _limit(said))
        if reply.status >= 500 or reply.status == 408:
            raise Wait(asked + ".", retry_after(reply.headers, time.time()))
        if reply.status == 400 and number:
            raise SessionExpired(asked)
        raise Report(asked + ", which is not documented; nothing was changed.")


def _limit(said: str) -> str:
    """Tell by the two fractions of the refusal which limit was hit; the hour's when they do not say."""
    running = re.search(r"(\d+)/(\d+) queries running concurrently", said)
    hourly = re.search(r"(\d+)/(\d+) queries running in the last hour", said)
    if hourly and int(hourly[1]) > int(hourly[2]):
        return "hourly"
    return "concurrent" if running and int(running[1]) >= int(running[2]) else "hourly"


def _json(reply: Reply, what: str) -> Any:
    try:
        return parsed(reply)
    except Report as garbled:
        raise Wait(f"Mixpanel was asked for {what}, but {garbled}.") from None


def _form(cohort_id: int, number: int, session_id: str | None, all_users: bool,
          wanted: tuple[str, ...] | None) -> dict[str, str]:
    """The body of a query; identical on every page of a session (Mixpanel docs), ``include_all_users`` explicit."""
    form = {"filter_by_cohort": orjson.dumps({"id": cohort_id}).decode(),
            "include_all_users": "true" if all_users else "false"}
    if wanted is not None:
        form["output_properties"] = orjson.dumps(list(wanted)).decode()
    return form | {"page": str(number), "session_id": session_id or ""} if number else form


def _columns(reply: Reply, what: str, number: int, properties: tuple[str, ...]) -> Columns:
    """Split a page: those who go, and the others with their fate. Most pages are plain throughout."""
    narrow = _narrow(properties)
    others: list[Member] = []
    try:
        answer = _sound(narrow.plain.decode(reply.body), what, number)
        going = answer.results
        ids = [row.id for row in going]
        if not _plainly_named(ids):
            going, others = _sorted_out(going)
            ids = [row.id for row in going]
    except msgspec.MsgspecError:
        answer = _decoded(reply, what, number, narrow.any)
        going, others = _sorted_out(answer.results)
        ids = [row.id for row in going]
    values = _raw_values(going, len(properties), b'"<' in reply.body) if properties else []
    size = answer.page_size if answer.page_size is not None else max(PAGE_SIZE, len(answer.results))
    return Columns(number, size, answer.session_id, answer.total, len(answer.results), ids, values, others)


def _plainly_named(ids: list[str]) -> bool:
    """Whether no id can be a device's or blank, told by the first letters."""
    return not any(letter == DEVICE_PREFIX[0] or letter.isspace() for letter in {user_id[0] for user_id in ids})


def _sorted_out(rows: list[Any]) -> tuple[list[Any], list[Member]]:
    """Who goes, and who does not and why; ids become text."""
    going, others = [], []
    for row in rows:
        row.id = _text(row.id)
        fate = classify(row.id, row.properties is not None)
        if fate is Fate.IDENTIFIED:
            going.append(row)
        else:
            others.append(Member(row.id, fate))
    return going, others


def _raw_values(rows: list[Any], count: int, doubtful: bool) -> list[bytes]:
    """Each one's mapped values as a JSON array; the literal strings that mean missing become null."""
    if count == 1:
        values = [b"[%b]" % row.properties.p0 for row in rows]
    else:
        names = [f"p{at}" for at in range(count)]
        values = [b"[" + b",".join(bytes(getattr(row.properties, name)) for name in names) + b"]" for row in rows]
    if doubtful:
        for missing in MISSING:
            quoted = orjson.dumps(missing)
            values = [one.replace(quoted, b"null") if quoted in one else one for one in values]
    return values


def _decoded(reply: Reply, what: str, number: int, decoder: msgspec.json.Decoder[_Head]) -> _Head:
    """Read a page and refuse whatever an incomplete, failed or mixed-up answer looks like."""
    try:
        answer = decoder.decode(reply.body)
    except msgspec.ValidationError:
        raise Report(f"Mixpanel was asked for {what} and sent something else ({problem(reply)}).") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Wait(f"Mixpanel was asked for {what} and sent an answer that is garbled or cut off.") from None
    return _sound(answer, what, number)


def _sound(answer: _Head, what: str, number: int) -> _Head:
    odd = _oddity(answer, number)
    if odd:
        raise Report(f"Mixpanel was asked for {what} and {odd}; nothing was changed.")
    return answer


def _oddity(answer: _Head, number: int) -> str | None:
    if answer.error is not None or answer.status not in (None, "ok"):
        return f"answered 200, but with an error: {scrubbed(str(answer.error or answer.status))}"
    if answer.results is None:
        return "sent no results"
    if answer.page not in (None, number):
        return f"sent page {answer.page}"
    if (answer.page_size is not None and answer.page_size < 1) or (answer.total is not None and answer.total < 0):
        return "sent impossible numbers"
    return None


def _member(row: _Row, properties: tuple[str, ...], bare_counts: bool) -> Member:
    user_id = _text(row.id)
    fate = classify(user_id, bool(row.properties) or (bare_counts and row.properties is not None))
    if not properties or fate is not Fate.IDENTIFIED:
        return Member(user_id, fate)
    given = row.properties or {}
    return Member(user_id, fate, tuple(_value(given.get(name)) for name in properties))


def _text(user_id: float | str | None) -> str:
    """An id as text, exactly as given; Mixpanel's schema has integers, life has strings."""
    if isinstance(user_id, str):
        return user_id
    if isinstance(user_id, float) and user_id.is_integer():
        return str(int(user_id))
    return "" if user_id is None else str(user_id)


def _value(value: object) -> object:
    return None if isinstance(value, str) and value in MISSING else value


def _cohort(row: Mapping[str, Any]) -> Cohort:
    try:
        number = int(row["id"])
    except (KeyError, TypeError, ValueError):
        raise Report("Mixpanel listed a cohort without a number; nothing was changed.") from None
    name, about, created = (row.get(key) if isinstance(row.get(key), str) else "" for key in ("name", "description", "created"))
    count = row.get("count")
    known = count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None
    return Cohort(number, str(name) or f"Cohort {number}", str(about), known, str(created),
                  group=row.get("data_group_id") not in (None, "", 0, "0"))


def _verdict(roles: tuple[str, ...]) -> tuple[Role, str]:
    """Judge roles: admin if one of them is; below only when the first is a known lesser one."""
    named = " and ".join(sorted({role for role in roles if role})) or "none named"
    if any(role.lower() in ADMINS for role in roles):
        return Role.ADMIN, ""
    if roles and roles[0].lower() in BELOW_ADMIN:
        return Role.BELOW, f"Mixpanel says the service account's role is {named}; ask an admin to raise it."
    return Role.UNVERIFIED, f"Mixpanel names the role “{named[:60]}”, which may or may not be an admin's: not verified."


def _role(given: object) -> str:
    name = given.get("name") if isinstance(given, dict) else given
    return name if isinstance(name, str) else ""


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(row: object) -> int:
    count = _dict(row).get("count")
    return count if isinstance(count, int) else 0
