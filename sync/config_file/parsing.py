"""Reads a configuration file; every mistake is one sentence with its line.

The text is parsed to nodes, not to objects, so that each value keeps its line, a key that is there twice is seen, and
no tag of YAML can make anything but text, numbers and yes or no.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import yaml

from sync.cadence import DailyTime, find_end, find_moment
from sync.config_file.entries import (
    VERSION,
    AccountEntry,
    Configuration,
    GuardEntry,
    NeverExportEntry,
    ProjectEntry,
    SyncEntry,
    TripwireEntry,
    fail_at,
)
from sync.errors import InvalidRequest
from sync.guards import GuardLimits
from sync.id_property import find_id_property_problem, parse_id_property
from sync.model import Mode, SyncState, parse_interval
from sync.property_values import CHOICES, ValueForm
from sync.text import cut_text, show_text

MAX_FILE_BYTES = 1_000_000  # bytes of a file; one with a thousand syncs has a third of that
MAX_VALUES = 200_000  # values of a file, with what its anchors repeat
MAX_NUMBER = 2**53  # whole numbers beyond are no project, cohort or count, and JSON could not hold them
MAX_SHOWN = 40  # UTF-16 units of a wrong value that an error quotes
_TEXT, _INT, _FLOAT, _BOOL = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool"))
_DATE = "tag:yaml.org,2002:timestamp"

Value = TypeVar("Value")
Read = Callable[[yaml.Node, str], Value]


def parse_configuration(content: bytes) -> Configuration:
    """Return what a file says; raise InvalidRequest, with the line, for anything that is not as it should be."""
    top = _Fields(
        _compose(content), "the file", ("version", "accounts", "projects", "syncs", "never_export", "tripwires")
    )
    version = top.need("version", _read_whole)
    if version != VERSION:
        raise _make_error(top.node_of("version"), f"this is version {version}, and only version {VERSION} is known.")
    return Configuration(
        accounts=tuple(top.each("accounts", _read_account, lambda one: one.license_code)),
        projects=tuple(top.each("projects", _read_project, lambda one: one.id)),
        syncs=tuple(top.each("syncs", _read_sync, lambda one: (one.project, one.cohort))),
        never_export=tuple(top.each("never_export", _read_never_export, lambda one: (one.account, one.file))),
        tripwires=tuple(top.each("tripwires", _read_tripwire, lambda one: (one.project, one.cohort, one.file))),
    )


def _make_error(node: yaml.Node, text: str) -> InvalidRequest:
    return fail_at(node.start_mark.line + 1, text)


def _quote(text: object) -> str:
    return f"“{cut_text(show_text(str(text)), MAX_SHOWN)}”"


def _compose(content: bytes) -> yaml.Node:
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequest(f"The file is too large: at most {MAX_FILE_BYTES:,} bytes are read.")
    try:
        node = yaml.compose(content.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise InvalidRequest("The file is not text in UTF-8; save it as UTF-8 and try again.") from None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        raise fail_at(mark.line + 1 if mark else 1, f"this is not YAML: {problem.problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InvalidRequest(
            "The file is not YAML: it has characters or a depth that YAML files do not have."
        ) from None
    if node is None:
        raise InvalidRequest(f"The file is empty; it begins with “version: {VERSION}”.")
    if _count_values(node, {}) > MAX_VALUES:
        raise InvalidRequest(
            f"The file has more than {MAX_VALUES:,} values once its anchors (& and *) are written out."
        )
    return node


def _count_values(node: yaml.Node, counted: dict[int, float]) -> float:
    """Return how many values a node has when each alias is written out; a node within itself never ends."""
    if id(node) not in counted:
        counted[id(node)] = math.inf  # until it is counted
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
        counted[id(node)] = 1 + sum(_count_values(part, counted) for part in parts)
    return counted[id(node)]


class _Fields:
    """The names and values of one mapping of the file; nothing in it may be unknown or there twice."""

    def __init__(self, node: yaml.Node, what: str, known: tuple[str, ...]) -> None:
        if not isinstance(node, yaml.MappingNode):
            raise _make_error(node, f"{what} must consist of names and values, such as “{known[0]}: …”.")
        self._node, self._what, self._values = node, what, dict[str, yaml.Node]()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name not in known:
                raise _make_error(key, f"{_quote(name)} is not known in {what}; known are {', '.join(known)}.")
            if name in self._values:
                raise _make_error(key, f"“{name}” is there twice in {what}; keep one.")
            self._values[name] = value

    @property
    def line(self) -> int:
        return self._node.start_mark.line + 1

    def node_of(self, name: str) -> yaml.Node:
        return self._values.get(name, self._node)

    def get(self, name: str, read: Read[Value]) -> Value | None:
        node = self._values.get(name)
        return None if node is None else read(node, name)

    def need(self, name: str, read: Read[Value]) -> Value:
        if name not in self._values:
            raise _make_error(self._node, f"{self._what} has no “{name}”.")
        return read(self._values[name], name)

    def each(self, name: str, read: Callable[[yaml.Node], Value], key: Callable[[Value], object]) -> Iterator[Value]:
        """Yield the entries of a list; raise when two of them are about the same thing."""
        seen = dict[object, int]()
        for node in self.get(name, _read_list) or ():
            entry, line = read(node), node.start_mark.line + 1
            first = seen.setdefault(key(entry), line)
            if first != line:
                raise fail_at(line, f"this entry of {name} is there twice, first in line {first}; keep one.")
            yield entry


def _read_list(node: yaml.Node, name: str) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise _make_error(node, f"“{name}” must be a list: one “- …” for each entry.")
    return list(node.value)


def _read_scalar(node: yaml.Node, name: str, tags: tuple[str, ...], must: str) -> Any:
    """Return a value of one of these types of YAML; raise with what it must be."""
    if not isinstance(node, yaml.ScalarNode):
        raise _make_error(node, f"“{name}” must be {must}.")
    try:
        if node.tag in tags:
            return yaml.constructor.SafeConstructor().construct_object(node)
    except ValueError:
        pass  # a tag that does not fit the value
    raise _make_error(node, f"“{name}” must be {must}, and {_quote(node.value)} is not.")


def _read_text(node: yaml.Node, name: str) -> str:
    text = str(_read_scalar(node, name, (_TEXT,), "text in quotes")).strip()
    if not text:
        raise _make_error(node, f"“{name}” is empty.")
    return text


def _read_whole(node: yaml.Node, name: str) -> int:
    number = int(_read_scalar(node, name, (_INT,), "a whole number"))
    if abs(number) > MAX_NUMBER:
        raise _make_error(node, f"“{name}” is too large.")
    return number


def _read_share(node: yaml.Node, name: str) -> float:
    return float(_read_scalar(node, name, (_INT, _FLOAT), "a number"))


def _read_flag(node: yaml.Node, name: str) -> bool:
    return bool(_read_scalar(node, name, (_BOOL,), "true or false"))


def _read_interval(node: yaml.Node, name: str) -> float:
    try:
        return parse_interval(_read_text(node, name))
    except ValueError as problem:
        raise _make_error(node, str(problem)) from None


def _read_choice(node: yaml.Node, name: str, choices: type[Mode] | type[SyncState]) -> Any:
    text = _read_text(node, name)
    try:
        return choices(text)
    except ValueError:
        known = " or ".join(one.value for one in choices)
        raise _make_error(node, f"“{name}” must be {known}, and {_quote(text)} is not.") from None


def _read_entry(
    node: yaml.Node,
    what: str,
    kind: Callable[..., Value],
    needed: Mapping[str, Read[Any]],
    others: Mapping[str, Read[Any]],
) -> Value:
    """Return an entry whose fields are called as the names of the file; of ``others`` those that are there."""
    fields = _Fields(node, what, (*needed, *others))
    values = {name: fields.need(name, read) for name, read in needed.items()}
    given = {name: fields.get(name, read) for name, read in others.items()}
    return kind(**values, **{name: value for name, value in given.items() if value is not None}, line=fields.line)


def _read_account(node: yaml.Node) -> AccountEntry:
    needed = {"license_code": _read_text, "data_center": _read_text}
    return _read_entry(node, "an account", AccountEntry, needed, {})


def _read_project(node: yaml.Node) -> ProjectEntry:
    needed = {"id": _read_whole, "username": _read_text, "region": _read_text}
    return _read_entry(node, "a project", ProjectEntry, needed, {"account": _read_text, "name": _read_text})


_SYNC_KEYS = (
    "project",
    "cohort",
    "mode",
    "name",
    "account",
    "attribute",
    "every",
    "at",
    "zone",
    "days",
    "until",
    "state",
    "paused_until",
    "user_id_property",
    "mapping",
    "guard",
)


_PAIR_KEYS = ("property", "attribute", "type")


def _read_sync(node: yaml.Node) -> SyncEntry:
    fields = _Fields(node, "a sync", _SYNC_KEYS)
    named = fields.get("mapping", _read_mapping)
    entry = SyncEntry(
        project=fields.need("project", _read_whole),
        cohort=fields.need("cohort", _read_whole),
        mode=fields.need("mode", lambda value, name: Mode(_read_choice(value, name, Mode))),
        name=fields.get("name", _read_text),
        license_code=fields.get("account", _read_text),
        attribute=fields.get("attribute", _read_text),
        interval=fields.get("every", _read_interval),
        state=fields.get("state", lambda value, name: SyncState(_read_choice(value, name, SyncState))),
        id_property=fields.get("user_id_property", _read_id_property),
        mapping=None if named is None else tuple(pair for pair, _ in named),
        forms=tuple((target, form) for (_, target), form in named or () if form),
        guard=fields.get("guard", _read_guard) or GuardEntry(),
        daily=_read_daily(fields),
        ends_at=_read_moment(fields, "until", find_end),
        resume_at=_read_moment(fields, "paused_until", find_moment),
        line=fields.line,
    )
    if entry.daily and entry.interval is not None:
        raise _make_error(fields.node_of("at"), "“every” and “at” do not go together; keep one.")
    for name, value in (
        ("every", entry.interval),
        ("state", entry.state),
        ("at", entry.daily),
        ("until", entry.ends_at),
        ("paused_until", entry.resume_at),
    ):
        if entry.mode is Mode.ONE_TIME and value is not None:
            raise _make_error(fields.node_of(name), f"a one-time export is never refreshed, so it has no “{name}”.")
    if entry.resume_at is not None and entry.state is not SyncState.PAUSED:
        raise _make_error(fields.node_of("paused_until"), "“paused_until” belongs to “state: paused”.")
    return entry


def _read_id_property(node: yaml.Node, name: str) -> str:
    """Return a User ID property, empty for the distinct_id."""
    id_property = parse_id_property(_read_text(node, name))
    problem = find_id_property_problem(id_property)
    if problem:
        raise _make_error(node, problem)
    return id_property


def _read_daily(fields: _Fields) -> DailyTime | None:
    """Return the time of day of a sync; raise for days or a zone without one."""
    if (at := fields.get("at", _read_text)) is None:
        if fields.get("days", _read_text):
            raise _make_error(fields.node_of("days"), "“days” belongs to “at”.")
        return None
    try:
        return DailyTime.parse(at, fields.get("zone", _read_text) or "UTC", fields.get("days", _read_text) or "")
    except ValueError as problem:
        raise _make_error(fields.node_of("at"), str(problem)) from None


def _read_moment(fields: _Fields, name: str, find: Callable[[str, str], float]) -> float | None:
    """Return a day or a moment in the time zone of a sync, as ``find`` reads it."""
    if (text := fields.get(name, _read_day)) is None:
        return None
    try:
        return find(text, fields.get("zone", _read_text) or "UTC")
    except ValueError as problem:
        raise _make_error(fields.node_of(name), str(problem)) from None


def _read_day(node: yaml.Node, name: str) -> str:
    """Return a day as text, whether YAML takes it for a date or not."""
    return str(node.value) if node.tag == _DATE else _read_text(node, name)


def _read_mapping(node: yaml.Node, name: str) -> list[tuple[tuple[str, str], str | None]]:
    """Return each pair of a property and an attribute, with the type of that one if it is named."""
    entries = (_Fields(one, f"an entry of {name}", _PAIR_KEYS) for one in _read_list(node, name))
    return [
        ((one.need("property", _read_text), one.need("attribute", _read_text)), one.get("type", _read_form))
        for one in entries
    ]


def _read_form(node: yaml.Node, name: str) -> str:
    try:
        return ValueForm.parse(_read_text(node, name)).dump()
    except ValueError:
        raise _make_error(
            node, f"“{name}” is one of {', '.join(CHOICES)}, with joined for lists, or a country: phone,DE."
        ) from None


def _read_guard(node: yaml.Node, name: str) -> GuardEntry:
    fields = _Fields(node, f"a {name}", ("lifted", *GuardLimits.__slots__))
    given = {
        limit: fields.get(limit, _read_whole if limit.endswith("people") else _read_share)
        for limit in GuardLimits.__slots__
    }
    limits = {limit: value for limit, value in given.items() if value is not None}
    problem = GuardLimits(**limits).find_problem()  # type: ignore[arg-type]
    if problem:
        raise _make_error(node, problem)
    return GuardEntry(lifted=fields.get("lifted", _read_flag), limits=limits)


def _read_never_export(node: yaml.Node) -> NeverExportEntry:
    needed, others = {"account": _read_text, "file": _read_text}, {"note": _read_text}
    return _read_entry(node, "an entry of never_export", NeverExportEntry, needed, others)


def _read_tripwire(node: yaml.Node) -> TripwireEntry:
    needed, others = {"project": _read_whole, "file": _read_text}, {"cohort": _read_whole, "note": _read_text}
    return _read_entry(node, "an entry of tripwires", TripwireEntry, needed, others)
