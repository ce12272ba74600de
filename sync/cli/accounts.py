"""Commands for WebEngage accounts: list them, and choose the one a project exports to."""

from __future__ import annotations

import click

from sync.cli.output import any_project_option, json_option, print_result, project_option
from sync.service import Service
from sync.views import AccountView


@click.command()
@any_project_option
@json_option
def accounts(as_json: bool) -> None:
    """List the connected WebEngage accounts, and the projects that export to each."""
    with Service.open() as service:
        found = service.connections.list_accounts()
    print_result(as_json, found, (_format_account(one) for one in found))


def _format_account(account: AccountView) -> str:
    projects = ", ".join(str(project) for project in account.projects)
    used_by = f"project {projects}" if projects else "no project"
    return f"{account.license_code}\t{account.data_center}\t{used_by}"


@click.command("use-account")
@click.argument("license_code", metavar="LICENSE")
@project_option
@json_option
def use_account(license_code: str, project: int | None, as_json: bool) -> None:
    """Send a project's new exports to the account LICENSE; existing syncs keep their account."""
    with Service.open() as service:
        view = service.connections.use_account(project, license_code)
    answer = {"done": True, "project_id": view.id, "license_code": view.license_code}
    print_result(
        as_json, answer, [f"Done: new exports of project {view.id} go to WebEngage account {view.license_code}."]
    )


ACCOUNT_COMMANDS = (accounts, use_account)
