"""Conventions of names, words and tests that no tool checks.

Like the rules of the architecture, each one is asked about the project and about an example that breaks it.
"""

from __future__ import annotations

import ast
import re

from tests.source_files import (
    ROOT,
    Files,
    all_files,
    application_files,
    check_rule,
    iterate_functions,
    iterate_imports,
    iterate_nodes,
)

OLD_WORDS = re.compile(r"\b(wish|doubt|bury|hush|carry|told|anew|seldom|whoever)\w*\b", re.IGNORECASE)
# Names of tables and states in the schemas of earlier versions, which migrations have to read.
OLD_SCHEMAS = re.compile(r"sync/store/(\w*migrations?|plain_names)\.py")
ONE_WORD_SHARE = 0.5
OURS = ("sync", "pages")
PRIVATE = re.compile(r"^_[a-z]")
PATCHED = re.compile(r"^(sync|pages)\.[\w.]*\b_[a-z]\w*$")
# Tests of the engine that still read the store of a service.
# They need the connection itself: to fill the disk at one statement, and to trace statements.
USE_THE_CONNECTION = ("tests/test_engine.py", "tests/test_progress.py")


def read_published_files() -> Files:
    """Return the text of what users and operators read: the application, README.md and CHANGELOG.md."""
    named = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "pages").rglob("*.css")]
    return application_files() | {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in named}


def find_old_words(files: Files) -> list[str]:
    """Return every line that holds a word of the first edition."""
    return [
        f"{path}:{number} {line.strip()[:100]}"
        for path, text in files.items()
        if not OLD_SCHEMAS.fullmatch(path)
        for number, line in enumerate(text.splitlines(), 1)
        if OLD_WORDS.search(line)
    ]


def find_vague_names(files: Files) -> list[str]:
    """Return the functions named by one word, when they are half of all or more."""
    names = [function.name for text in files.values() for function in iterate_functions(text)]
    counted = [name for name in names if not name.startswith("__")]
    vague = [name for name in counted if "_" not in name.strip("_")]
    return vague if len(vague) >= ONE_WORD_SHARE * len(counted) else []


def find_private_uses(files: Files) -> list[str]:
    """Return where a test reads, imports or patches a name that begins with an underscore."""
    return [
        f"{path}:{getattr(node, 'lineno', 0)} {name}"
        for path, text in files.items()
        if path.startswith("tests/") and path not in USE_THE_CONNECTION
        for node in iterate_nodes(text)
        for name in private_names(node)
    ]


def private_names(node: ast.AST) -> list[str]:
    """Return the private names of others that one node of a file uses; an object may use its own, and os has _exit."""
    if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr):
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os")
        return [] if own else [ast.unparse(node)]
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
        return [alias.name for alias in node.names if PRIVATE.match(alias.name)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and PATCHED.match(node.value):
        return [node.value]
    return []


def find_escaped_options(files: Files) -> list[str]:
    """Return the lists of options whose texts are escaped for Markdown."""
    return [
        f"{path}:{call.lineno} escapes options"
        for path, text in files.items()
        for call in iterate_nodes(text, having="escape_markdown")
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith((".selectbox", ".multiselect"))
        for part in call.keywords
        if part.arg == "format_func" and "escape_markdown" in ast.unparse(part.value)
    ]


def find_borrowed_helpers(files: Files) -> list[str]:
    """Return imports from modules of tests; what several share is in tests/workspace.py, conftest or a module of its own."""
    return [
        f"{path}:{line} imports {name}"
        for path, text in files.items()
        for line, name in iterate_imports(path, text, having=".test_")
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split(".")[:-1])
    ]


def find_pollers(files: Files) -> list[str]:
    """Return where a fragment gets an interval outside polling.py."""
    return [
        f"{path}:{node.value.lineno}"
        for path, text in files.items()
        if path != "pages/parts/polling.py"
        for node in iterate_nodes(text, having="run_every")
        if isinstance(node, ast.keyword) and node.arg == "run_every"
    ]


def test_words_of_the_first_edition_when_published_are_none() -> None:
    """Application, README and CHANGELOG use the words of the trade."""
    check_rule(find_old_words, read_published_files(), broken_by={"sync/model.py": '"""A Standing Wish."""'})
    assert find_old_words({"README.md": "Nobody is told."})
    assert not find_old_words({"sync/store/plain_names.py": "told"})


def test_function_names_of_one_word_are_fewer_than_half() -> None:
    """A name is a verb and its object."""
    check_rule(find_vague_names, application_files(), broken_by={"sync/x.py": "def hold(): ...\ndef hold_lease(): ..."})


def test_tests_when_they_look_inside_the_product_use_public_names() -> None:
    """Nothing private is read, imported or patched."""
    check_rule(find_private_uses, all_files(), broken_by={"tests/test_x.py": "service._store.runs"})
    assert find_private_uses({"tests/test_x.py": "from sync.vault import _read_keys"})
    assert find_private_uses({"tests/test_x.py": 'patch("sync.vault._read_keys", None)'})
    assert not find_private_uses({"tests/test_x.py": "self._lines, os._exit, sync.vault.read_keys"})


def test_tests_when_they_share_helpers_import_none_from_a_test_module() -> None:
    """A fixture or helper of two modules has a module of its own."""
    check_rule(find_borrowed_helpers, all_files(), broken_by={"tests/test_x.py": "from tests.test_y import made"})
    assert not find_borrowed_helpers({"tests/test_x.py": "from tests.workspace import Workspace"})


def test_options_when_they_are_chosen_from_a_list_are_not_escaped() -> None:
    """A select box shows its options as they are, so the backslashes of Markdown would be read by people."""
    broken = 'st.multiselect("Cohorts", ids, format_func=lambda one: escape_markdown(names[one]))'
    check_rule(find_escaped_options, application_files(), broken_by={"pages/x.py": broken})
    assert not find_escaped_options({"pages/x.py": 'st.radio("Cohort", ids, format_func=escape_markdown)'})


def test_only_one_function_makes_fragments_that_poll() -> None:
    """It puts the page into the fragment's name, without which a late poll turns the next page white."""
    check_rule(find_pollers, application_files(), broken_by={"pages/runs.py": "st.fragment(run_every=2)(draw)()"})
