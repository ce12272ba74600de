"""The Mixpanel App API: who the caller is, and who belongs to a project."""

from __future__ import annotations

from typing import Any

from . import names
from .http_protocol import Reply, Request, answer
from .world import ServiceAccount, World

ROLE_IDS = {"owner": 1, "admin": 2, "analyst": 3, "consumer": 4}
CUSTOM_ROLE_ID = 91
VIEW = ["view_base_reports", "view_cohorts"]
PERMISSIONS = {
    "owner": [*VIEW, "manage_project", "manage_integrations"],
    "admin": [*VIEW, "manage_project", "manage_integrations"],
    "analyst": [*VIEW, "edit_cohorts"],
    "consumer": VIEW,
}


def act(world: World, request: Request, account: ServiceAccount) -> Reply:
    """Answer an App API request (GET only)."""
    if request.method != "GET":
        return _error(405, f"Method {request.method} not allowed")
    match request.parts:
        case ["api", "app", "me"]:
            return _me(world, account)
        case ["api", "app", "projects", project_id, "service-accounts"]:
            return _service_accounts(world, account, project_id)
    return _error(404, "Not found")


def _error(status: int, message: str) -> Reply:
    return answer(status, {"error": message, "status": "error"})


def _role(world: World, name: str) -> Any:
    if world.settings.role_shape == "string":
        return name
    return {"id": ROLE_IDS.get(name, CUSTOM_ROLE_ID), "name": name}


def _me(world: World, account: ServiceAccount) -> Reply:
    if not account.sees_users:
        return _error(403, "Missing required scope: user_details")
    projects = {str(key): _project(world, key, role) for key, role in account.roles.items() if key in world.projects}
    organization = {"id": names.ORGANIZATION, "name": "Sandbox", "role": "member", "permissions": []}
    results = {
        "user_id": 9000 + len(account.username),
        "user_email": account.username,
        "organizations": {str(names.ORGANIZATION): organization},
        "projects": projects,
        "workspaces": {str(int(key) * 10): _workspace(key) for key in projects},
    }
    return answer(200, {"status": "ok", "results": results})


def _project(world: World, project_id: int, role: str) -> dict[str, Any]:
    return {
        "name": world.projects[project_id].name,
        "organization_id": names.ORGANIZATION,
        "timezone": "UTC",
        "domain": "mixpanel.com",
        "role": _role(world, role),
        "permissions": PERMISSIONS.get(role, [*VIEW, "manage_integrations"]),
    }


def _workspace(project_id: str) -> dict[str, Any]:
    return {"id": int(project_id) * 10, "name": "All Project Data", "project_id": int(project_id), "is_global": True}


def _service_accounts(world: World, account: ServiceAccount, project_text: str) -> Reply:
    project_id = int(project_text) if project_text.isdigit() else 0
    if not account.sees_users or project_id not in account.roles:
        return _error(403, "Permission denied")
    members = [a for a in world.service_accounts.values() if project_id in a.roles]
    rows = [
        {
            "id": 100 + n,
            "username": a.username,
            "role": a.roles[project_id],
            "hasSensitiveAccess": a.sees_classified,
            "expires": None,
        }
        for n, a in enumerate(members)
    ]
    return answer(200, {"status": "ok", "results": rows})
