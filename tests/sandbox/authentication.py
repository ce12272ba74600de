"""Plain callers of both APIs, for tests of the sandbox itself."""

from __future__ import annotations

import json
from typing import Any

import requests

from . import control
from .control import Sandbox

ADMIN = (control.USERNAME, control.SECRET)
BEARER = {"Authorization": f"Bearer {control.API_KEY}"}
SECONDS = 10


def mixpanel(sandbox: Sandbox, path: str, *, method: str = "POST", auth: Any = ADMIN, **form: Any) -> requests.Response:
    """Ask Mixpanel about project 42."""
    url = f"{sandbox.url}/api/query/{path}?project_id={control.PROJECT}"
    return requests.request(method, url, auth=auth, data=form, timeout=SECONDS)


def engage(sandbox: Sandbox, cohort_id: int, **form: Any) -> requests.Response:
    """Ask for the members of a cohort."""
    return mixpanel(sandbox, "engage", filter_by_cohort=json.dumps({"id": cohort_id}), **form)


def ids(reply: requests.Response) -> list[Any]:
    """The ids on a page."""
    return [row["$distinct_id"] for row in reply.json()["results"]]


def webengage(
    sandbox: Sandbox, what: str, body: Any, license_code: str = control.LICENSE, **headers: str
) -> requests.Response:
    """Send something to WebEngage."""
    url = f"{sandbox.url}/v1/accounts/{license_code}/{what}"
    return requests.post(url, json=body, headers=BEARER | headers, timeout=SECONDS)


def bulk(sandbox: Sandbox, *user_ids: str, name: str = "in", value: Any = True, **headers: str) -> requests.Response:
    """Set one attribute for some people."""
    users = [{"userId": user_id, "attributes": {name: value}} for user_id in user_ids]
    return webengage(sandbox, "bulk-users", {"users": users}, **headers)
