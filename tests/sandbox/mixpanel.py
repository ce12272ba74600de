"""The Mixpanel side: who may ask, how often, and what is answered."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from . import mixpanel_app
from .faults import NO_PROFILE_ANY_MORE, Fault
from .http_protocol import Reply, Request, answer, retry_after
from .odd import LISTED, OddRow
from .people import (
    NO_PROFILE,
    has_profile,
    hide_properties,
    only_properties,
    page_bytes,
    with_integer_id,
    without_properties,
)
from .world import Cohort, Project, ServiceAccount, Session, World

PAGE = Callable[[World, Project, Request, "Fault | None"], Reply]
SESSION_LETTERS = string.ascii_uppercase + string.digits
SAMPLE = 500
"""How many members of each cohort are looked at to describe the properties."""


@dataclass(frozen=True)
class Refused(Exception):
    """The request ends here, with this reply."""

    reply: Reply


def error(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Return an error as Mixpanel writes it (Mixpanel docs, engage query: error and status)."""
    return answer(status, {"error": message, "status": "error"}, headers)


def rate_limited(world: World, project: Project, request: Request, used: int) -> Reply:
    """Return the 429 body as quoted in public; only the last sentence, which was left out there, is ours."""
    limits = world.settings
    hourly, at_once = limits.queries_per_hour, f"{project.running + 1}/{limits.concurrent}"
    text = (
        f"Query rate limit exceeded for project_id: {project.id}. {at_once} queries running concurrently "
        f"and {used}/{hourly} queries running in the last hour. Please wait before sending more queries."
    )
    body = {"request": request.path.replace("/api/query", "/api/2.0"), "error": text}
    return answer(429, body, retry_after(limits.retry_after))


def caller(world: World, request: Request) -> ServiceAccount:
    """Return the service account asking, or a refusal."""
    username, secret = request.basic()
    account = world.service_accounts.get(username)
    if account is not None and account.secret == secret:
        return account
    if world.settings.bad_credentials == 400:
        raise Refused(error(400, "Unable to authenticate request"))
    raise Refused(error(401, "Invalid service account credentials"))


def project_of(world: World, request: Request, account: ServiceAccount) -> Project:
    """Return the project asked about, or a refusal."""
    text = request.query.get("project_id", "")
    if not text.isdigit():
        raise Refused(error(400, "project_id is a required parameter for service accounts"))
    if int(text) not in account.roles or int(text) not in world.projects:
        raise Refused(error(403, f"Service account has no access to project {text}"))
    return world.projects[int(text)]


def counts(world: World, request: Request) -> bool:
    """Return whether the request counts towards the hour; pages above 0 only if so set."""
    return request.page == 0 or world.settings.count_pages or not request.path.endswith("/engage")


def enter(world: World, project: Project, request: Request) -> Reply | None:
    """Let a query in, or refuse it: too many at once, or too many within the hour."""
    now, counted = world.now(), counts(world, request)
    project.most_running = max(project.most_running, project.running + 1)
    if counted:
        project.hour.arrive(now)
    used = project.hour.used(now) + counted
    if project.running >= world.settings.concurrent or (counted and used > world.settings.queries_per_hour):
        return rate_limited(world, project, request, used)
    if counted:
        project.hour.grant(now)
    project.running += 1
    return None


def list_cohorts(world: World, project: Project, request: Request, fault: Fault | None) -> Reply:
    """POST /cohorts/list: a bare array, behind the odd rows that are set."""
    rows = [LISTED[name] for name in world.settings.odd_cohorts.split()]
    rows += [orjson.dumps(cohort.listing(project.id)) for cohort in project.cohorts.values()]
    return Reply(200, b"[" + b",".join(rows) + b"]")


def engage(world: World, project: Project, request: Request, fault: Fault | None) -> Reply:
    """POST /engage: page 0 freezes the answer, later pages read on in it."""
    if fault is not None and fault.kind == "expired_session":
        project.sessions.pop(request.form.get("session_id", ""), None)
    try:
        session_id, session = _open(world, project, request) if request.page == 0 else _go_on(world, project, request)
        if fault is not None and fault.kind == "another_session":
            session_id, session = _open(world, project, request)
    except Refused as refused:
        return refused.reply
    return _page(world, request, session_id, session, fault)


def _params(request: Request) -> frozenset[tuple[str, str]]:
    own = (item for item in request.form.items() if item[0] not in ("page", "session_id"))
    return frozenset([*own, *request.query.items()])


def _open(world: World, project: Project, request: Request) -> tuple[str, Session]:
    everyone = request.form.get("include_all_users", "true").lower() not in ("false", "0")
    members = _listed(world, project, _members(world, project, request.form.get("filter_by_cohort"), everyone))
    session = Session(_params(request), members, world.now())
    session_id = f"{int(time.time())}-{''.join(random.choices(SESSION_LETTERS, k=6))}"
    project.remember(session_id, session)
    return session_id, session


def _listed(world: World, project: Project, members: list[bytes]) -> list[bytes]:
    """Return the members in the order, and with the gap, that this session is to have."""
    settings, number = world.settings, project.sessions_opened
    project.sessions_opened += 1
    if settings.member_order == "shuffled":
        random.Random(number).shuffle(members)
    if settings.paging == "unstable" and len(members) > settings.page_size:
        hidden = (len(members) - 1 - number) % len(members)  # another one in each session
        again = hidden - settings.page_size  # on another page
        members[hidden] = members[again if again >= 0 else -1]
    return members


def _members(world: World, project: Project, filter_text: str | None, everyone: bool) -> list[bytes]:
    if filter_text is None:
        people = {key: raw for cohort in project.cohorts.values() for key, raw in cohort.members.items()}
        return Cohort(0, "everyone", members=people).snapshot(everyone)
    cohort = project.cohorts.get(_cohort_id(filter_text))
    if cohort is not None:
        return cohort.snapshot(everyone)
    if world.settings.unknown_cohort == 200:
        return []
    raise Refused(error(world.settings.unknown_cohort, "Cohort not found"))


def _cohort_id(filter_text: str) -> int:
    try:
        return int(orjson.loads(filter_text)["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise Refused(error(400, "filter_by_cohort must be a JSON object with a cohort id")) from None


def _go_on(world: World, project: Project, request: Request) -> tuple[str, Session]:
    session_id = request.form.get("session_id", "")
    session, params = project.sessions.get(session_id), _params(request)
    fresh = session is not None and world.now() - session.opened <= world.settings.session_seconds
    if session is None or not fresh or session.params != params:
        raise Refused(error(400, f"request for page in uncached query for params: {dict(params)}"))
    return session_id, session


def _page(world: World, request: Request, session_id: str, session: Session, fault: Fault | None) -> Reply:
    settings, page, kind = world.settings, request.page, fault.kind if fault else ""
    size = settings.page_size + (fault.by if fault and kind == "another_page_size" else 0)
    start = page * size
    if page and start >= len(session.members) and settings.behind_last != 200:
        return error(settings.behind_last, "No such page")
    chunk = _spoiled(session.members[start : start + size], session.members[:start], fault)
    chunk = _without_classified(world, request, chunk)
    results = _results(world, request, chunk, start)
    ended = kind == "null_session" or (settings.null_session_at_end and len(chunk) < size)
    head = {"page": page, "page_size": size, "session_id": None if ended else session_id, "status": "ok"}
    if page == 0 or settings.total_on_later_pages or kind == "another_total":
        total = len(session.members) if settings.total == "match" else len(chunk)
        head["total"] = total + (fault.by if fault and kind in ("wrong_total", "another_total") else 0)
    head = {name: value for name, value in head.items() if name not in settings.untold.split()}
    return Reply(200, orjson.dumps(head)[:-1] + b',"results":' + results + b"}", users=len(chunk))


def _spoiled(chunk: list[bytes], before: list[bytes], fault: Fault | None) -> list[bytes]:
    if fault is None:
        return chunk
    if fault.kind == "empty_page":
        return []
    if fault.kind == "short_page":
        return chunk[: len(chunk) // 2]
    if fault.kind == "duplicate_ids":
        return [_revalued(m, fault.body) for m in before[-fault.by :]] + chunk
    if fault.kind == "displaced":
        return [_revalued(m, fault.body) for m in before[-fault.by :]] + chunk[fault.by :]
    if fault.kind == "integer_ids":
        return [m if isinstance(m, OddRow) else with_integer_id(m) for m in chunk]
    return chunk


def _without_classified(world: World, request: Request, chunk: list[bytes]) -> list[bytes]:
    """Leave classified properties out for an account that may not see them (Mixpanel docs: silently absent)."""
    classified = world.settings.classified.split()
    if not classified or caller(world, request).sees_classified:
        return chunk
    return [m if isinstance(m, OddRow) else hide_properties(m, classified) for m in chunk]


def _revalued(member: bytes, properties: object) -> bytes:
    """Someone listed again, with other properties when the fault names some, or without a profile: changed between pages."""
    if isinstance(member, OddRow) or not has_profile(member):
        return member
    if properties == NO_PROFILE_ANY_MORE:
        return member.partition(b',"$properties":')[0] + NO_PROFILE
    if not isinstance(properties, dict):
        return member
    return orjson.dumps(orjson.loads(member) | {"$properties": properties})


def _results(world: World, request: Request, chunk: list[bytes], start: int) -> bytes:
    names, shape = _output_properties(request), world.settings.bare_shape
    if names is None or (not names and world.settings.empty_projection == "all"):
        return page_bytes(chunk, start, shape)
    if not any(isinstance(row, OddRow) for row in chunk):
        return _projected(chunk, start, shape, names)
    rows = (
        row.projected(names) if isinstance(row, OddRow) else _projected([row], start + at, shape, names)[1:-1]
        for at, row in enumerate(chunk)
    )
    return b"[" + b",".join(rows) + b"]"


def _projected(chunk: list[bytes], start: int, shape: str, names: list[str]) -> bytes:
    if not names:
        return page_bytes([without_properties(m) for m in chunk], start, shape)
    return only_properties(page_bytes(chunk, start, shape), names)


def _output_properties(request: Request) -> list[str] | None:
    try:
        names = orjson.loads(request.form["output_properties"])
    except (KeyError, orjson.JSONDecodeError):
        return None
    return names if isinstance(names, list) else None


def describe_properties(world: World, project: Project, request: Request, fault: Fault | None) -> Reply:
    """GET /engage/properties: how often each property occurs, and its type (as public clients read it)."""
    seen: dict[str, dict[str, object]] = {}
    for cohort in project.cohorts.values():
        for member in [m for m in list(cohort.members.values())[:SAMPLE] if has_profile(m)]:
            for name, value in _properties(member).items():
                row = seen.setdefault(name, {"count": 0, "type": _type_name(value)})
                row["count"] += 1  # type: ignore[operator]
    return answer(200, {"results": seen, "status": "ok"})


def _properties(member: bytes) -> dict[str, object]:
    found = {} if isinstance(member, OddRow) else orjson.loads(member)["$properties"]
    return found if isinstance(found, dict) else {}


def _type_name(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names.get(type(value), "undefined")


ROUTES: dict[str, tuple[str, PAGE]] = {
    "/api/query/cohorts/list": ("POST", list_cohorts),
    "/api/query/engage": ("POST", engage),
    "/api/query/engage/properties": ("GET", describe_properties),
}


@dataclass
class Visit:
    """One request to Mixpanel from the door to the answer."""

    world: World
    request: Request
    project: Project | None = None

    def refusal(self) -> Reply | None:
        """Check method, credentials and limits; a reply means it ends here."""
        try:
            return self._checked()
        except Refused as refused:
            return refused.reply

    def _checked(self) -> Reply | None:
        request = self.request
        if request.path.startswith("/api/app/"):
            caller(self.world, request)
            return None
        if request.path not in ROUTES:
            return error(404, "Not found")
        if request.method != ROUTES[request.path][0]:
            return error(405, f"Method {request.method} not allowed")
        project = project_of(self.world, request, caller(self.world, request))
        refused = enter(self.world, project, request)
        self.project = None if refused else project
        return refused

    def act(self, fault: Fault | None = None) -> Reply:
        """Answer the request."""
        if self.project is None:
            return mixpanel_app.act(self.world, self.request, caller(self.world, self.request))
        return ROUTES[self.request.path][1](self.world, self.project, self.request, fault)

    def leave(self) -> None:
        """Note that the query no longer runs."""
        if self.project is not None:
            self.project.running -= 1
