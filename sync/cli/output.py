"""Print the answers of commands: one JSON document, or lines for people."""

from __future__ import annotations

import codecs
import functools
import inspect
import io
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click

from sync.cli.command_names import name_commands
from sync.id_property import show_id_property
from sync.model import Run
from sync.records import AccountView, AuditLine, Event, ProjectView, RejectionView, SyncView
from sync.service import Service
from sync.views import Preview, Sample

Command = Callable[..., Any]
Answer = tuple[Any, Iterable[str]]
"""What a command answers with: one JSON document, or lines for people."""

json_option = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")
project_option = click.option("--project", type=int, help="The Mixpanel project, when several are connected.")
LIMIT_RANGE = click.IntRange(1, 1_000_000)  # rows of a listing
# The number of a sync or run is enough to find its project; scripts may still pass one everywhere.
any_project_option = click.option(
    "--project", type=int, expose_value=False, help="Not needed here; accepted for scripts."
)


# Scripts rely on these JSON keys: for each class the key, and the field it is called in the code.
_CONTRACT_KEYS: dict[type, dict[str, str]] = {
    Run: {
        "dry": "dry_run",
        "waiting": "wait_reason",
        "cancel_wanted": "cancel_requested",
        "expected": "expected_total",
    },
    SyncView: {"reason": "pause_reason", "every": "interval_seconds", "cleared": "is_cleared"},
    ProjectView: {"tail": "secret_last4"},
    AccountView: {"tail": "secret_last4"},
    Sample: {"fate": "eligibility"},
    Preview: {"entering": "to_add", "leaving": "to_remove"},
    Event: {"what": "message"},
    AuditLine: {"who": "actor", "what": "action", "subject": "target"},
}
ID_PROPERTY_KEYS = {"id_property": "user_id_property", "id_property_before": "user_id_property_before"}
# Signs of our sentences, for a terminal that has no such character; a letter of a name becomes its number instead.
_PLAIN_SIGNS = str.maketrans({"“": '"', "”": '"', "’": "'", "–": "-", "−": "-", "…": "...", "→": "->", "⋯": "..."})
_CONTRACT_KINDS = {"add": "enter", "remove": "exit"}


def gather_options(
    name: str, make: Callable[..., object], *options: Callable[[Command], Command]
) -> Callable[[Command], Command]:
    """Return a decorator that gives a command these options as one argument ``name``, which ``make`` makes of their values."""

    def decorate(command: Command) -> Command:
        def gathered(**given: Any) -> Any:
            values = {option: given.pop(option) for option in inspect.signature(make).parameters}
            return command(**given, **{name: make(**values)})

        wrapped: Command = functools.wraps(command)(gathered)
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def to_contract(value: Any) -> dict[str, Any]:
    """Return a dataclass as a dict with the keys that scripts rely on."""
    keys = {field: key for key, field in _CONTRACT_KEYS.get(type(value), {}).items()}
    found = {keys.get(one.name, one.name): _to_json_value(getattr(value, one.name)) for one in fields(value)}
    for name in (one for one in ID_PROPERTY_KEYS if one in found):
        given = found.pop(name)
        found[ID_PROPERTY_KEYS[name]] = None if given is None else show_id_property(given)
    if isinstance(value, RejectionView):
        found["kind"] = _CONTRACT_KINDS.get(value.kind, value.kind)
    return found


def _to_json_value(value: Any) -> Any:
    """Return a value with every dataclass in it as a dict."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_contract(value)
    if isinstance(value, dict):
        return {name: _to_json_value(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(one) for one in value]
    return value


class WholeSentences(click.Group):
    """A group whose list of commands says of each one what it does, in whole sentences over as many lines as they take."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        listed = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, " ".join((one.help or "").split())) for name, one in listed if one])


def print_result(as_json: bool, value: Any, lines: Iterable[str]) -> None:
    """Print one JSON document, or the lines that are not empty."""
    if as_json:
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        click.echo(json.dumps(_to_json_value(value), ensure_ascii=not is_utf8))
    else:
        for line in filter(None, lines):
            click.echo(name_commands(line))


def answers(command: Callable[..., Answer]) -> Command:
    """Give a command --json and, as its first argument, the open service; print what it returns when that is closed."""

    def print_answer(as_json: bool, **given: Any) -> None:
        with Service.open() as service:
            value, lines = command(service, **given)
        print_result(as_json, value, lines)

    return json_option(functools.wraps(command)(print_answer))


def prepare_output() -> None:
    """Let a terminal or file that cannot write a character get its nearest sign or its number; no output then fails.

    Most servers write UTF-8, where nothing changes; in other encodings, Latin-1 for instance, JSON stays JSON. What
    goes to a stream that was closed before we began is lost, as in /dev/null.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    codecs.register_error(_write_plainly.__name__, _write_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_write_plainly.__name__)


def _write_plainly(problem: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding does not have; an error handler as Python's ``codecs`` wants it."""
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    found = problem.object[problem.start : problem.end]
    plain = found.translate(_PLAIN_SIGNS).encode("ascii", "backslashreplace")
    return plain.decode("ascii"), problem.end
