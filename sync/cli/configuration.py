"""Commands about the configuration as a file: write it, show what a file would change, and change it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from sync.cli.output import Answer, answers, any_project_option, json_option, print_result
from sync.cli.safety import read_ids
from sync.config_file.entries import ConfigPlan
from sync.config_file.parsing import MAX_FILE_BYTES, parse_configuration
from sync.config_file.writing import write_configuration
from sync.errors import InvalidRequest
from sync.service import Service


@click.command("export-config")
@any_project_option
@answers
def export_config(service: Service) -> Answer:
    """Write projects, accounts, syncs and guards as YAML, without secrets; `apply` reads it."""
    found, comments = service.configuration.read(), service.configuration.describe_lists()
    text = write_configuration(found, comments)
    return {"yaml": text}, [text.rstrip("\n")]


@click.command("apply")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Make the changes; without it they are only shown.")
@any_project_option
@json_option
def apply_config(file: Path, yes: bool, as_json: bool) -> None:
    """Show what FILE would change here, and with --yes change it; what it does not name is left as it is."""
    try:
        with file.open("rb") as opened:
            wanted = parse_configuration(opened.read(MAX_FILE_BYTES + 1))
    except OSError as problem:
        raise InvalidRequest(f"{file} cannot be read ({problem.strerror}).") from None

    def read_people(name: str) -> list[str]:
        return read_ids((), file.parent / name)

    with Service.open() as service:
        act = service.configuration.apply if yes else service.configuration.plan
        plan = act(wanted, read_people)
    print_result(as_json, asdict(plan) | {"applied": yes}, _describe_plan(plan, yes))


def _describe_plan(plan: ConfigPlan, applied: bool) -> list[str]:
    lines = [f"Line {one.line}: {one.text}" for one in plan.changes]
    count = "1 change" if len(lines) == 1 else f"{len(lines)} changes"
    if not lines:
        lines.append("Nothing to change.")
    elif applied:
        lines.append(f"Done: {count} made.")
    else:
        lines.append(f"{count}, not made yet; add --yes to go on.")
    return [*plan.notes, *lines]


CONFIGURATION_COMMANDS = (export_config, apply_config)
