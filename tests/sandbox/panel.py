"""The control side under /sandbox/: what a test can make, break and look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from . import names
from .faults import Fault
from .http_protocol import Reply, Request, answer
from .odd import ID, OddRow, odd_row
from .people import Recipe, has_profile, member_bytes
from .seed import seed_world
from .world import Cohort, Project, World

Body = dict[str, Any]
ACTION = Callable[[World, Request, Body], Any]
COHORT_FIELDS = ("name", "description", "created", "data_group_id", "count")
LOG_DEFAULT = 200


def act(world: World, request: Request) -> Reply:
    """Carry out one control request."""
    try:
        body = orjson.loads(request.body) if request.body else {}
        return answer(200, _action(request)(world, request, body))
    except (ValueError, TypeError, KeyError) as wrong:
        return answer(404 if isinstance(wrong, LookupError) else 400, {"error": str(wrong)})


def _action(request: Request) -> ACTION:
    match request.parts[1:]:
        case ["cohorts", _]:
            key = f"{request.method} cohorts/ID"
        case ["cohorts", _, what]:
            key = f"{request.method} cohorts/ID/{what}"
        case rest:
            key = f"{request.method} {'/'.join(rest)}"
    if key not in ACTIONS:
        raise KeyError(f"The sandbox has no {key}; there are {', '.join(sorted(ACTIONS))}.")
    return ACTIONS[key]


def health(world: World, request: Request, body: Body) -> Body:
    """Say that it listens."""
    return {"status": "ok"}


def reset(world: World, request: Request, body: Body) -> Body:
    """Begin again, empty or seeded."""
    world.reset()
    if not body.get("empty"):
        seed_world(world, int(body.get("seed", 7)))
    return {"status": "ok"}


def add_project(world: World, request: Request, body: Body) -> Body:
    """Open a Mixpanel project for a service account; the demo's unless another is named."""
    project = Project(int(body["id"]), body.get("name") or f"Project {body['id']}")
    username, secret = body.get("username", names.USERNAME), body.get("secret", names.SECRET)
    world.add_project(project, username, secret, body.get("role", "admin"))
    return {"id": project.id}


def add_account(world: World, request: Request, body: Body) -> Body:
    """Open a WebEngage account."""
    world.add_account(body["license"], body["key"])
    return {"license": body["license"]}


def list_cohorts(world: World, request: Request, body: Body) -> list[Body]:
    """Every cohort there is."""
    return [cohort.listing(project.id) for project in world.projects.values() for cohort in project.cohorts.values()]


def add_cohort(world: World, request: Request, body: Body) -> Body:
    """Make a cohort."""
    project = world.projects[int(body.get("project", names.PROJECT))]
    cohort = Cohort(int(body.get("id") or world.next_cohort_id), body["name"])
    world.add_cohort(project, cohort)
    _change(cohort, body)
    return {"id": cohort.id}


def put_cohort(world: World, request: Request, body: Body) -> Body:
    """Change a cohort, its members, or delete it."""
    project, cohort = world.find_cohort(int(request.parts[2]))
    if body.get("deleted"):
        del project.cohorts[cohort.id]
        return {"id": cohort.id, "deleted": True}
    entered, left = _change(cohort, body)
    return {"id": cohort.id, "entered": entered, "left": left}


def _change(cohort: Cohort, body: Body) -> tuple[int, int]:
    for name in COHORT_FIELDS:
        if name in body:
            setattr(cohort, name, body[name])
    if "members" in body:
        cohort.members = dict(_member(row) for row in body["members"])
    if "generate" in body:
        cohort.grow(Recipe(**body["generate"]))
    if "churn" in body:
        return cohort.churn(float(body["churn"]["fraction"]), body["churn"].get("seed", 0))
    return 0, 0


def _member(row: Body) -> tuple[str, bytes]:
    if "odd" not in row:
        return str(row["id"]), member_bytes(row["id"], row.get("properties"))
    made = odd_row(row["odd"], str(row["id"]), row.get("place", ID))
    return made.user_id or f"odd {row['odd']} {row['id']}", made


def cohort_ids(world: World, request: Request, body: Body) -> Body:
    """Who is in a cohort, with and without a profile; and the rows that are nobody's."""
    _, cohort = world.find_cohort(int(request.parts[2]))
    sides: dict[str, list[str]] = {"with_profile": [], "without_profile": [], "odd": []}
    for user_id, member in cohort.members.items():
        if isinstance(member, OddRow) and member.user_id is None:
            sides["odd"].append(user_id)
            continue
        sides["with_profile" if has_profile(member) else "without_profile"].append(user_id)
    return sides


def profiles(world: World, request: Request, body: Body) -> Body:
    """Who has a boolean attribute true, and who false."""
    return _account(world, request).holding(request.query["attribute"])


def profile(world: World, request: Request, body: Body) -> Body | None:
    """Everything held about one person; null for a stranger."""
    return _account(world, request).profile(request.query["user_id"])


def profile_count(world: World, request: Request, body: Body) -> Body:
    """How many people the account knows."""
    return {"count": len(_account(world, request).known)}


def events(world: World, request: Request, body: Body) -> list[Body]:
    """The events taken."""
    return list(_account(world, request).events)


def attributes(world: World, request: Request, body: Body) -> Body:
    """The custom attributes and their types, as fixed by the first value."""
    return _account(world, request).types


def _account(world: World, request: Request) -> Any:
    return world.accounts[request.query.get("license", names.LICENSE)]


def add_fault(world: World, request: Request, body: Any) -> list[Body]:
    """Arm one fault, or a list of them."""
    for fault in [Fault.parse(row) for row in (body if isinstance(body, list) else [body])]:
        world.faults.arm(fault)
    return world.faults.listing()


def list_faults(world: World, request: Request, body: Body) -> list[Body]:
    """The faults still in force."""
    return world.faults.listing()


def clear_faults(world: World, request: Request, body: Body) -> Body:
    """Let everything work again."""
    world.faults.clear()
    return {"status": "ok"}


def meter(world: World, request: Request, body: Body) -> Body:
    """What was asked so far, and the most there ever was of it."""
    projects, accounts = world.projects.values(), world.accounts.values()
    return {
        "requests": dict(world.meter.paths),
        "queries_in_an_hour": {str(p.id): p.hour.most for p in projects},
        "queries_at_once": {str(p.id): p.most_running for p in projects},
        "bulk_in_a_minute": {a.license: a.window("bulk-users").most for a in accounts},
        "refused": dict(world.meter.refused),
        "over_limit": {api: count for api, count in world.meter.over_limit.items() if count},
        "bulk_per_second": world.meter.series(),
        "repeated_request_ids": world.meter.repeated_request_ids,
        "applied_again": world.meter.applied_again,
        "told_again": world.meter.told_again,
        "lost_answers": world.meter.lost_answers,
        "users_delivered": world.meter.users_delivered,
    }


def log(world: World, request: Request, body: Body) -> list[Body]:
    """The last requests, oldest first."""
    return world.meter.last(int(request.query.get("limit", LOG_DEFAULT)))


def settings(world: World, request: Request, body: Body) -> Body:
    """Change readings and limits; "advance" moves the sandbox's clock ahead by seconds."""
    changes = dict(body)
    world.offset += float(changes.pop("advance", 0))
    world.settings = world.settings.changed(changes)
    return {name: getattr(world.settings, name) for name in world.settings.__dataclass_fields__}


ACTIONS: dict[str, ACTION] = {
    "GET health": health,
    "POST reset": reset,
    "POST projects": add_project,
    "POST accounts": add_account,
    "GET cohorts": list_cohorts,
    "POST cohorts": add_cohort,
    "PUT cohorts/ID": put_cohort,
    "GET cohorts/ID/ids": cohort_ids,
    "GET profiles": profiles,
    "GET profile": profile,
    "GET profiles/count": profile_count,
    "GET events": events,
    "GET attributes": attributes,
    "POST faults": add_fault,
    "GET faults": list_faults,
    "DELETE faults": clear_faults,
    "GET meter": meter,
    "GET log": log,
    "POST settings": settings,
    "GET settings": settings,
}
