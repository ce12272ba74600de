"""The house: who may import whom, where each package lives, and how a file looks.

A rule reads files and returns what breaks it. Each test asks its rule about the project, and then
about a tiny example that must not pass, so that a rule which sees nothing cannot stay green.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES, MEDIAN, P90 = 400, 8, 25
SAMPLE = 10  # fewer functions have no percentiles worth a rule
BAD_NAMES = {"utils", "helpers", "common", "misc", "http", "schedule"}
Files = dict[str, str]
"""Path from the root, and text."""

# A room is a file or folder; after it, the rooms it may import besides itself.
ARROWS: dict[str, set[str]] = {
    "sync/__init__": set(),
    "sync/errors": set(),
    "sync/text": set(),
    "sync/model": {"sync/errors", "sync/text"},
    "sync/views": {"sync/model", "sync/errors"},
    "sync/packing": set(),
    "sync/http_adapter": set(),
    "sync/http_client": {"sync/http_adapter", "sync/model", "sync/errors", "sync/redaction"},
    "sync/vault": {"sync/errors", "sync/redaction"},
    "sync/mixpanel": {"sync/http_client", "sync/model", "sync/errors", "sync/text"},
    "sync/webengage": {"sync/http_client", "sync/model", "sync/errors", "sync/text"},
    "sync/process_identity": set(),
    "sync/store": {"sync/process_identity", "sync/packing", "sync/model", "sync/views", "sync/errors"},
    "sync/engine": {
        "sync/mixpanel",
        "sync/webengage",
        "sync/store",
        "sync/packing",
        "sync/vault",
        "sync/model",
        "sync/errors",
    },
    "sync/permissions": {"sync/errors"},
    "sync/redaction": set(),
    "sync/service": {
        "sync/permissions",
        "sync/redaction",
        "sync/mixpanel",
        "sync/webengage",
        "sync/store",
        "sync/vault",
        "sync/model",
        "sync/views",
        "sync/errors",
    },
    "sync/runner": {
        "sync/process_identity",
        "sync/engine",
        "sync/redaction",
        "sync/service",
        "sync/store",
        "sync/vault",
        "sync/mixpanel",
        "sync/webengage",
        "sync/http_client",
        "sync/model",
        "sync/views",
        "sync/errors",
    },
    "sync/cli": {"sync/runner", "sync/permissions", "sync/service", "sync/model", "sync/views", "sync/errors"},
    "sync/__main__": {"sync/cli", "sync/runner"},
    "pages": {"sync/permissions", "sync/redaction", "sync/service", "sync/model", "sync/views", "sync/errors"},
    "app": {"pages", "sync/permissions", "sync/service", "sync/model", "sync/views", "sync/errors"},
}

# A package, and the rooms it lives in. The standard library is everybody's, but for the two at the end.
HOMES: dict[str, set[str]] = {
    "streamlit": {"app", "pages"},
    "pandas": {"app", "pages"},
    "requests": {"sync/http_client", "sync/http_adapter"},
    "urllib3": {"sync/http_client", "sync/http_adapter"},
    "sqlite_utils": {"sync/store"},
    "cryptography": {"sync/vault"},
    "schedule": {"sync/runner"},
    "click": {"sync/cli"},
    "zstandard": {"sync/packing"},
    "xxhash": {"sync/packing"},
    "orjson": {
        "sync/packing",
        "sync/mixpanel",
        "sync/webengage",
        "sync/http_client",
        "sync/engine",
        "sync/cli",
    },
    "msgspec": {"sync/mixpanel", "sync/webengage", "sync/http_client"},
    "sqlite3": {"sync/store"},
    "struct": {"sync/packing", "sync/store"},
}

# How a statement begins, in one case throughout: a sentence for people begins with one capital.
_STATEMENT = (
    r"select\b.*\bfrom|select\s+[\w(?*]+\s*$|insert\s+(or\s+\w+\s+)?into|update\s+\w+\s+set|delete\s+from"
    r"|(create|alter|drop)\s+(unique\s+|temp\s+)?(table|index|view|trigger)|pragma\s+\w+"
    r"|begin\s+(immediate|exclusive)|with\s+\w+(\s*\([^)]*\))?\s+as\s*\("
)
SQL = re.compile(
    rf"\s*({_STATEMENT}|{_STATEMENT.upper()})".replace(r"\S", r"\s").replace(r"\W", r"\w").replace(r"\B", r"\b"),
    re.DOTALL,
)


def application_files() -> Files:
    """Every Python file people run."""
    return {path: text for path, text in all_files().items() if not path.startswith("tests/")}


def all_files() -> Files:
    """Every Python file of the project."""
    found = [*ROOT.glob("*.py"), *(path for top in ("sync", "pages", "tests") for path in (ROOT / top).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in found}


def area_of(path: str) -> str:
    """The room a file stands in: sync/store/runs.py in sync/store, pages/runs.py in pages."""
    parts = path.removesuffix(".py").split("/")
    return "/".join(parts[:2]) if parts[0] == "sync" else parts[0]


def iterate_imports(path: str, text: str) -> Iterator[tuple[int, str]]:
    """The line and full name of everything a file imports, also inside functions."""
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def iterate_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def wrong_arrows(files: Files) -> list[str]:
    """Imports between rooms that the table does not allow."""
    wrong = []
    for path, text in files.items():
        here = area_of(path)
        for line, name in iterate_imports(path, text):
            there = area_of(name.replace(".", "/"))
            ours = name.split(".")[0] in ("sync", "pages", "app", "tests")
            if ours and there not in (here, "sync") and there not in ARROWS.get(here, set()):
                wrong.append(f"{path}:{line} imports {name}")
    return wrong


def unknown_areas(files: Files) -> list[str]:
    """Files that stand in no room of the table."""
    return [path for path in files if area_of(path) not in ARROWS]


def misplaced_packages(files: Files) -> list[str]:
    """Packages imported away from home, or without one."""
    free = set(sys.stdlib_module_names) - set(HOMES) | {"sync", "pages", "app"}
    return [
        f"{path}:{line} imports {name}"
        for path, text in files.items()
        for line, name in iterate_imports(path, text)
        if (top := name.split(".")[0]) not in free and area_of(path) not in HOMES.get(top, set())
    ]


def bad_names(files: Files) -> list[str]:
    """Files and folders whose name says nothing, or shadows a package."""
    return [path for path in files if BAD_NAMES & set(path.removesuffix(".py").split("/"))]


def long_files(files: Files) -> list[str]:
    """Files over the limit."""
    return [path for path, text in files.items() if len(text.splitlines()) > LINES]


def function_lengths(text: str) -> Iterator[int]:
    """The lines of each function, its docstring not counted."""
    for function in iterate_functions(ast.parse(text)):
        first = function.body[0]
        said = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) is not None else 0
        yield (function.end_lineno or 0) - function.lineno + 1 - said


def long_functions(files: Files) -> list[str]:
    """The median and the 90th percentile, where they are over the limit."""
    found = sorted(length for text in files.values() for length in function_lengths(text))
    if len(found) < SAMPLE:
        return []
    median, p90 = statistics.median(found), statistics.quantiles(found, n=10)[-1]
    over = [("median", median, MEDIAN), ("90th percentile", p90, P90)]
    return [f"the {name} is {value:g} lines, over {limit}" for name, value, limit in over if value > limit]


def undocumented(files: Files) -> list[str]:
    """Public modules, classes and functions of sync without a docstring."""
    bare = []
    for path, text in files.items():
        tree = ast.parse(text)
        if path.startswith("sync/"):
            bare += [f"{path}: {name}" for name, node in iterate_public(tree) if ast.get_docstring(node) is None]
    return bare


def iterate_public(
    tree: ast.Module,
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The module, and what a reader may use of it; functions inside functions are nobody's but theirs."""
    yield "the module", tree
    holders: list[ast.Module | ast.ClassDef] = [tree]
    for holder in holders:
        for node in holder.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                yield node.name, node
                holders += [node] if isinstance(node, ast.ClassDef) else []


def undocumented_tests(files: Files) -> list[str]:
    """Test functions that do not say what they hold."""
    return [
        f"{path}:{function.lineno} {function.name}"
        for path, text in files.items()
        if path.startswith("tests/")
        for function in iterate_functions(ast.parse(text))
        if function.name.startswith("test_") and ast.get_docstring(function) is None
    ]


def find_prints(files: Files) -> list[str]:
    """print() in sync outside the command line."""
    return [
        f"{path}:{node.lineno}"
        for path, text in files.items()
        if path.startswith("sync/") and area_of(path) not in ("sync/cli",)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def stray_sql(files: Files) -> list[str]:
    """SQL statements outside the store and the migrations."""
    return [
        f"{path}:{node.lineno} {node.value[:40]!r}"
        for path, text in files.items()
        if area_of(path) not in ("sync/store",)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]


def check_rule(rule: Callable[[Files], list[str]], files: Files, *, broken_by: Files) -> None:
    """Check that files keep a rule, and that the rule sees an example that does not."""
    assert rule(broken_by), f"{rule.__name__} is blind"
    assert rule(files) == []


def test_rooms_import_only_along_the_arrows() -> None:
    """Pages and CLI ask the service, the runner drives the pipeline, and those two never meet."""
    check_rule(wrong_arrows, application_files(), broken_by={"sync/service/exports.py": "from sync import engine"})
    assert wrong_arrows({"sync/engine/reading.py": "def later():\n    from ..service import Service"})
    assert wrong_arrows({"pages/runs.py": "import sync.store.runs"})
    assert not wrong_arrows({"pages/runs.py": "from sync.service import Service"})


def test_every_file_stands_in_a_room() -> None:
    """A new module of the application needs a place in the table first."""
    check_rule(unknown_areas, application_files(), broken_by={"sync/attic.py": ""})


def test_each_package_is_imported_at_home_only() -> None:
    """One room knows requests, one knows Fernet, and a package nobody decided on is noticed."""
    check_rule(misplaced_packages, application_files(), broken_by={"sync/service/exports.py": "import requests"})
    assert misplaced_packages({"sync/runner.py": "import numpy"})
    assert misplaced_packages({"sync/engine/reading.py": "from sqlite3 import Row"})
    assert not misplaced_packages({"sync/http_client.py": "import json\nfrom requests.adapters import HTTPAdapter"})


def test_no_name_says_nothing_or_shadows() -> None:
    """There are no utils, and nothing hides http or schedule."""
    check_rule(bad_names, all_files(), broken_by={"sync/utils.py": ""})
    assert bad_names({"tests/helpers/words.py": ""})


def test_no_file_is_too_long_to_read() -> None:
    """A file has at most 400 lines."""
    check_rule(long_files, all_files(), broken_by={"sync/model.py": "\n" * (LINES + 1)})


def test_functions_are_short() -> None:
    """Half of all functions have at most 8 lines, nine in ten at most 25."""
    long = "def walk():\n" + "    step()\n" * P90
    check_rule(long_functions, application_files(), broken_by={f"sync/{number}.py": long for number in range(SAMPLE)})
    assert list(function_lengths('def walk():\n    """One.\n\n    Two.\n    """\n    step()\n')) == [2]


def test_everything_public_says_what_it_is() -> None:
    """Every public module, class and function of sync has a docstring."""
    check_rule(undocumented, application_files(), broken_by={"sync/model.py": '"""Nouns."""\nclass Run:\n    pass'})
    assert undocumented({"sync/model.py": "X = 1"})
    assert not undocumented({"sync/model.py": '"""Nouns."""\ndef _own():\n    pass'})


def test_every_test_says_what_it_holds() -> None:
    """A test's docstring is its sentence in the report."""
    check_rule(undocumented_tests, all_files(), broken_by={"tests/test_x.py": "def test_x():\n    assert 1"})


def test_only_the_command_line_prints() -> None:
    """What the others have to say goes to the log or to whoever called."""
    check_rule(find_prints, application_files(), broken_by={"sync/runner.py": "print('beat')"})


def test_statements_are_written_in_the_store_only() -> None:
    """Nobody but the store and the migrations speaks SQL."""
    check_rule(stray_sql, application_files(), broken_by={"sync/service/x.py": 'ROWS = "select id from run"'})
    for statement in (
        "UPDATE run SET state = 1",
        "\n  insert or ignore into run",
        "pragma wal_checkpoint",
        "select 1",
        "begin immediate",
        "WITH due AS (",
        "delete from {table}",
    ):
        assert stray_sql({"pages/runs.py": f"x = {statement!r}"}), statement
    for sentence in ("Select a cohort from the list", "select", "Delete from here on", "begin", "with a reason"):
        assert not stray_sql({"pages/runs.py": f"x = {sentence!r}"}), sentence
