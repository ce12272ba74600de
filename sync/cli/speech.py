"""How commands answer: one JSON document, or lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")
project_option = click.option("--project", type=int, help="The Mixpanel project, when several are connected.")
LIMIT = click.IntRange(1, 1_000_000)  # rows of a listing
# Sync and run numbers name their project themselves; scripts may still pass it everywhere.
any_project_option = click.option("--project", type=int, expose_value=False, help="Accepted, and not needed here.")


def _plain(value: Any) -> Any:
    """Turn views into JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(one) for name, one in asdict(value).items()}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def say(as_json: bool, value: Any, lines: Iterable[str]) -> None:
    """Answer once: one JSON document, or lines for people."""
    if as_json:
        click.echo(json.dumps(_plain(value), ensure_ascii=False))
    else:
        for line in filter(None, lines):
            click.echo(line)
