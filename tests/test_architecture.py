"""The architecture: who may import whom, where each package is used, and what a file looks like.

A rule reads files and returns what breaks it. Each test asks its rule about the project, and then
about a tiny example that must not pass, so that a rule which sees nothing cannot stay green.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys

from tests.source_files import (
    Files,
    all_files,
    application_files,
    check_rule,
    function_lengths,
    iterate_functions,
    iterate_imports,
    iterate_nodes,
    iterate_public,
)

LINES, MEDIAN, P90 = 400, 8, 25
SAMPLE = 10  # fewer functions have no percentiles worth a rule
BAD_NAMES = {"utils", "helpers", "common", "misc", "http", "schedule"}

# What an export is asked for in, which the service and whoever asks it share.
EXPORT_TERMS = {
    "sync/attribute_names",
    "sync/cadence",
    "sync/export_terms",
    "sync/id_property",
    "sync/property_values",
    "sync/steps",
    "sync/value_check",
}

# What people are shown: rows of the store and answers of the service.
ANSWERS = {"sync/records", "sync/reports", "sync/views"}

# An area is a file or folder; after it, the areas it may import besides itself.
ARROWS: dict[str, set[str]] = {
    "sync/__init__": set(),
    "sync/errors": set(),
    "sync/settings": {"sync/errors", "sync/model"},
    "sync/text": set(),
    "sync/spreadsheet": set(),
    "sync/guards": {"sync/text"},
    "sync/steps": set(),
    "sync/property_values": {"sync/text"},
    "sync/value_check": {"sync/property_values"},
    "sync/export_terms": {"sync/cadence", "sync/model", "sync/property_values", "sync/steps"},
    "sync/cadence": set(),
    "sync/model": {"sync/cadence", "sync/errors", "sync/guards"},
    "sync/id_property": {"sync/text"},
    "sync/attribute_names": {"sync/model", "sync/property_values", "sync/text"},
    "sync/records": {"sync/cadence", "sync/model", "sync/text"},
    "sync/views": {"sync/cadence", "sync/records", "sync/guards", "sync/model", "sync/text", "sync/errors"},
    "sync/reports": {"sync/records", "sync/model", "sync/text"},
    "sync/config_file": {*EXPORT_TERMS, "sync/guards", "sync/model", "sync/errors", "sync/text"},
    "sync/wording": {"sync/model", "sync/records", "sync/reports", "sync/text", "sync/views"},
    "sync/packing": set(),
    "sync/http_adapter": set(),
    "sync/http_client": {"sync/http_adapter", "sync/model", "sync/errors", "sync/redaction"},
    "sync/vault": {"sync/durability", "sync/ownership", "sync/settings", "sync/errors", "sync/redaction"},
    "sync/mixpanel": {"sync/http_client", "sync/model", "sync/errors", "sync/packing", "sync/text"},
    "sync/webengage": {"sync/http_client", "sync/model", "sync/property_values", "sync/errors", "sync/text"},
    "sync/process_identity": set(),
    "sync/durability": set(),
    "sync/ownership": set(),
    "sync/store": {
        "sync/cadence",
        "sync/durability",
        "sync/ownership",
        "sync/process_identity",
        "sync/packing",
        "sync/guards",
        "sync/model",
        "sync/records",
        "sync/errors",
        "sync/text",
    },
    "sync/alerting": {
        *ANSWERS,
        "sync/cadence",
        "sync/http_client",
        "sync/model",
        "sync/redaction",
        "sync/text",
        "sync/errors",
    },
    "sync/engine": {
        "sync/id_property",
        "sync/steps",
        "sync/property_values",
        "sync/mixpanel",
        "sync/webengage",
        "sync/store",
        "sync/packing",
        "sync/vault",
        "sync/guards",
        "sync/model",
        "sync/text",
        "sync/errors",
    },
    "sync/permissions": {"sync/settings", "sync/errors"},
    "sync/redaction": set(),
    "sync/service": {
        *ANSWERS,
        *EXPORT_TERMS,
        "sync/config_file",
        "sync/settings",
        "sync/process_identity",
        "sync/alerting",
        "sync/text",
        "sync/permissions",
        "sync/redaction",
        "sync/spreadsheet",
        "sync/mixpanel",
        "sync/webengage",
        "sync/store",
        "sync/vault",
        "sync/guards",
        "sync/model",
        "sync/wording",
        "sync/errors",
    },
    "sync/runner": {
        "sync/settings",
        "sync/process_identity",
        "sync/engine",
        "sync/records",
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
    "sync/cli": {
        *ANSWERS,
        *EXPORT_TERMS,
        "sync/config_file",
        "sync/settings",
        "sync/spreadsheet",
        "sync/runner",
        "sync/permissions",
        "sync/service",
        "sync/guards",
        "sync/model",
        "sync/text",
        "sync/wording",
        "sync/errors",
    },
    "sync/launcher": {"sync/errors"},
    "sync/__main__": {"sync/cli", "sync/runner"},
    "pages": {
        *ANSWERS,
        *EXPORT_TERMS,
        "sync/permissions",
        "sync/settings",
        "sync/redaction",
        "sync/service",
        "sync/spreadsheet",
        "sync/guards",
        "sync/model",
        "sync/text",
        "sync/wording",
        "sync/errors",
    },
    "app": {"pages", "sync/permissions", "sync/service", "sync/model", "sync/views", "sync/errors"},
}

# A package, and the areas that may import it. The standard library is free, but for the two at the end.
HOMES: dict[str, set[str]] = {
    "streamlit": {"app", "pages"},
    "pandas": {"app", "pages"},
    "requests": {"sync/http_client", "sync/http_adapter"},
    "urllib3": {"sync/http_client", "sync/http_adapter"},
    "sqlite_utils": {"sync/store"},
    "cryptography": {"sync/vault"},
    "schedule": {"sync/runner"},
    "starlette": {"pages"},
    "prometheus_client": {"pages"},
    "click": {"sync/cli"},
    "cronsim": {"sync/cadence"},
    "yaml": {"sync/config_file"},
    "apprise": {"sync/alerting"},
    "phonenumbers": {"sync/property_values"},
    "zstandard": {"sync/packing"},
    "xxhash": {"sync/packing"},
    "orjson": {
        "sync/packing",
        "sync/mixpanel",
        "sync/webengage",
        "sync/http_client",
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


def area_of(path: str) -> str:
    """Return the area a file belongs to: sync/store/runs.py in sync/store, pages/runs.py in pages."""
    parts = path.removesuffix(".py").split("/")
    return "/".join(parts[:2]) if parts[0] == "sync" else parts[0]


def wrong_arrows(files: Files) -> list[str]:
    """Return imports between areas that the table does not allow."""
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
    """Return files that belong to no area of the table."""
    return [path for path in files if area_of(path) not in ARROWS]


def misplaced_packages(files: Files) -> list[str]:
    """Return packages imported outside their areas, or without any."""
    free = set(sys.stdlib_module_names) - set(HOMES) | {"sync", "pages", "app"}
    return [
        f"{path}:{line} imports {name}"
        for path, text in files.items()
        for line, name in iterate_imports(path, text)
        if (top := name.split(".")[0]) not in free and area_of(path) not in HOMES.get(top, set())
    ]


def bad_names(files: Files) -> list[str]:
    """Return files and folders whose name means nothing, or shadows a package."""
    return [path for path in files if BAD_NAMES & set(path.removesuffix(".py").split("/"))]


def long_files(files: Files) -> list[str]:
    """Return files over the limit."""
    return [path for path, text in files.items() if len(text.splitlines()) > LINES]


def long_functions(files: Files) -> list[str]:
    """Return the median and the 90th percentile, where they are over the limit."""
    found = sorted(length for text in files.values() for length in function_lengths(text))
    if len(found) < SAMPLE:
        return []
    median, p90 = statistics.median(found), statistics.quantiles(found, n=10)[-1]
    over = [("median", median, MEDIAN), ("90th percentile", p90, P90)]
    return [f"the {name} is {value:g} lines, over {limit}" for name, value, limit in over if value > limit]


def undocumented(files: Files) -> list[str]:
    """Return public modules, classes and functions of sync without a docstring."""
    bare = []
    for path, text in files.items():
        if path.startswith("sync/"):
            public = iterate_public(ast.parse(text))
            bare += [f"{path}: {name}" for name, node in public if ast.get_docstring(node) is None]
    return bare


def undocumented_tests(files: Files) -> list[str]:
    """Return test functions without a docstring."""
    return [
        f"{path}:{function.lineno} {function.name}"
        for path, text in files.items()
        if path.startswith("tests/")
        for function in iterate_functions(text)
        if function.name.startswith("test_") and ast.get_docstring(function) is None
    ]


def find_prints(files: Files) -> list[str]:
    """Return calls of print() in sync outside the command line."""
    return [
        f"{path}:{node.lineno}"
        for path, text in files.items()
        if path.startswith("sync/") and area_of(path) not in ("sync/cli",)
        for node in iterate_nodes(text, having="print")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def stray_sql(files: Files) -> list[str]:
    """Return SQL statements outside the store and its migrations."""
    return [
        f"{path}:{node.lineno} {node.value[:40]!r}"
        for path, text in files.items()
        if area_of(path) not in ("sync/store",)
        for node in iterate_nodes(text)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]


def test_imports_between_areas_follow_the_table() -> None:
    """Pages and commands call the service, the runner drives the engine, and those two never import each other."""
    check_rule(wrong_arrows, application_files(), broken_by={"sync/service/exports.py": "from sync import engine"})
    assert wrong_arrows({"sync/engine/reading.py": "def later():\n    from ..service import Service"})
    assert wrong_arrows({"pages/runs.py": "import sync.store.runs"})
    assert not wrong_arrows({"pages/runs.py": "from sync.service import Service"})


def test_every_file_belongs_to_an_area() -> None:
    """A new module of the application needs a place in the table first."""
    check_rule(unknown_areas, application_files(), broken_by={"sync/attic.py": ""})


def test_packages_are_imported_in_their_areas_only() -> None:
    """One area uses requests, one uses Fernet, and a package nobody decided on is noticed."""
    check_rule(misplaced_packages, application_files(), broken_by={"sync/service/exports.py": "import requests"})
    assert misplaced_packages({"sync/runner.py": "import numpy"})
    assert misplaced_packages({"sync/engine/reading.py": "from sqlite3 import Row"})
    assert not misplaced_packages({"sync/http_client.py": "import json\nfrom requests.adapters import HTTPAdapter"})


def test_file_names_have_a_meaning_and_shadow_no_package() -> None:
    """There are no utils, and nothing hides http or schedule."""
    check_rule(bad_names, all_files(), broken_by={"sync/utils.py": ""})
    assert bad_names({"tests/helpers/words.py": ""})


def test_files_have_at_most_400_lines() -> None:
    """A longer one is split by what it is about."""
    check_rule(long_files, all_files(), broken_by={"sync/model.py": "\n" * (LINES + 1)})


def test_functions_are_short() -> None:
    """Half of all functions have at most 8 lines, nine in ten at most 25."""
    long = "def walk():\n" + "    step()\n" * P90
    check_rule(long_functions, application_files(), broken_by={f"sync/{number}.py": long for number in range(SAMPLE)})
    assert list(function_lengths('def walk():\n    """One.\n\n    Two.\n    """\n    step()\n')) == [2]


def test_everything_public_has_a_docstring() -> None:
    """Every public module, class and function of sync has a docstring."""
    check_rule(undocumented, application_files(), broken_by={"sync/model.py": '"""Nouns."""\nclass Run:\n    pass'})
    assert undocumented({"sync/model.py": "X = 1"})
    assert not undocumented({"sync/model.py": '"""Nouns."""\ndef _own():\n    pass'})


def test_every_test_has_a_docstring() -> None:
    """It is the test's sentence in the report."""
    check_rule(undocumented_tests, all_files(), broken_by={"tests/test_x.py": "def test_x():\n    assert 1"})


def test_only_the_command_line_prints() -> None:
    """Every other part of sync logs, or returns to its caller."""
    check_rule(find_prints, application_files(), broken_by={"sync/runner.py": "print('beat')"})


def test_sql_is_written_in_the_store_only() -> None:
    """Only the store and its migrations hold SQL statements."""
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
