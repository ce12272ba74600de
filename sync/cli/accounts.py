"""Commands for accounts: connect them, list WebEngage's, and choose the one a project exports to."""

from __future__ import annotations

import os
import sys

import click

from sync.cli.listings import list_account_lines
from sync.cli.output import (
    Answer,
    WholeSentences,
    answers,
    any_project_option,
    json_option,
    print_result,
    project_option,
    to_contract,
)
from sync.errors import InvalidRequest
from sync.service import Service
from sync.service.connections import name_account
from sync.settings import API_KEY_VARIABLE, SERVICE_ACCOUNT_VARIABLE, Settings


@click.group(cls=WholeSentences)
def connect() -> None:
    """Connect Mixpanel or WebEngage."""


def read_secret(given: str, name: str, noun: str) -> str:
    """Return a secret, in words a ``noun``: as given by the variable ``name``, else typed unseen, else the line piped in."""
    if not given and sys.stdin and sys.stdin.isatty():
        given = str(click.prompt(noun[0].upper() + noun[1:], hide_input=True, err=True))
    elif not given:
        given = sys.stdin.readline().strip() if sys.stdin else ""
    if not given:
        raise InvalidRequest(f"No {noun} was given; set {name}, or run this in a terminal to be asked for it.")
    return given


@connect.command("mixpanel")
@click.option("--project-id", type=int, required=True, help="The number under Project Settings → Overview.")
@click.option("--username", required=True, help="The username of the service account.")
@click.option("--region", required=True, help="The data residency of the project: us, eu, in, or a loopback address.")
@any_project_option
@json_option
def connect_mixpanel(project_id: int, username: str, region: str, as_json: bool) -> None:
    """Connect a Mixpanel project with a service account (secret: MIXPANEL_SECRET or a prompt)."""
    given = Settings.from_env(os.environ).mixpanel_secret
    secret = read_secret(given, SERVICE_ACCOUNT_VARIABLE, "service account secret")
    with Service.open() as service:
        view = service.connections.connect_mixpanel(project_id, username, secret, region)
    print_result(
        as_json, view, [f"Connected: Mixpanel project {view.name} ({view.id}), role {view.role.value}.", view.role_note]
    )


@connect.command("webengage")
@click.option("--license-code", required=True, help="As under Account Setup, such as va1w264d.")
@click.option("--data-center", required=True, help="global, in, ksa, eug (Europe), or a loopback address.")
@any_project_option
@json_option
def connect_webengage(license_code: str, data_center: str, as_json: bool) -> None:
    """Connect a WebEngage account (API key: WEBENGAGE_API_KEY or a prompt)."""
    given = Settings.from_env(os.environ).webengage_api_key
    key = read_secret(given, API_KEY_VARIABLE, "API key")
    with Service.open() as service:
        view = service.connections.connect_webengage(license_code, key, data_center)
        projects = service.connections.list_projects()
    print_result(
        as_json,
        view,
        [
            f"Connected: WebEngage account {view.license_code}; it accepted these credentials.",
            *(
                f"New exports of project {one.id} go to {one.license_code or 'no account yet'}; "
                f"`use-account {view.license_code} --project {one.id}` changes that."
                for one in projects
                if one.license_code != view.license_code
            ),
        ],
    )


@click.command()
@any_project_option
@answers
def accounts(service: Service) -> Answer:
    """List the connected WebEngage accounts, and the projects that export to each."""
    found, refused = service.connections.list_accounts(), service.connections.list_problems()
    problems = {one.license_code: refused.get(name_account(one.license_code), "") for one in found}
    answer = [to_contract(one) | {"problem": problems[one.license_code]} for one in found]
    return answer, list_account_lines(found, problems)


@click.command("use-account")
@click.argument("license_code", metavar="LICENSE")
@project_option
@answers
def use_account(service: Service, license_code: str, project: int | None) -> Answer:
    """Send a project's new exports to the account LICENSE; existing syncs keep their account."""
    view = service.connections.use_account(project, license_code)
    answer = {"done": True, "project_id": view.id, "license_code": view.license_code}
    return answer, [f"Done: new exports of project {view.id} go to WebEngage account {view.license_code}."]


ACCOUNT_COMMANDS = (connect, accounts, use_account)
