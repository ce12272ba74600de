"""The project's own Python files, and what stands in them, for tests of how the code is written."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Files = dict[str, str]
"""Path from the root, and text."""


def application_files() -> Files:
    """Return every Python file people run."""
    return {path: text for path, text in all_files().items() if not path.startswith("tests/")}


@functools.cache
def all_files() -> Files:
    """Return every Python file of the project."""
    found = [*ROOT.glob("*.py"), *(path for top in ("sync", "pages", "tests") for path in (ROOT / top).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in found}


def iterate_nodes(text: str, having: str = "") -> Iterator[ast.AST]:
    """Yield every node of a Python text; a text without ``having`` is not parsed and has none.

    None is kept, since all trees together would slow down the tests that follow.
    """
    return ast.walk(ast.parse(text)) if having in text else iter(())


def iterate_imports(path: str, text: str, having: str = "") -> Iterator[tuple[int, str]]:
    """Yield the line and full name of everything a file imports, also inside functions; none of a text without ``having``."""
    package = path.split("/")[:-1]
    for node in iterate_nodes(text, having):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def iterate_functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a Python text."""
    return (node for node in iterate_nodes(text) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def function_lengths(text: str) -> Iterator[int]:
    """Yield the number of lines of each function, its docstring not counted."""
    for function in iterate_functions(text):
        first = function.body[0]
        said = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) is not None else 0
        yield (function.end_lineno or 0) - function.lineno + 1 - said


def iterate_public(
    tree: ast.Module,
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the module, and what a reader may use of it; functions inside functions are left out."""
    yield "the module", tree
    holders: list[ast.Module | ast.ClassDef] = [tree]
    for holder in holders:
        for node in holder.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                yield node.name, node
                holders += [node] if isinstance(node, ast.ClassDef) else []


def check_rule(rule: Callable[[Files], list[str]], files: Files, *, broken_by: Files) -> None:
    """Check that files keep a rule, and that the rule sees an example that does not."""
    assert rule(broken_by), f"{rule.__name__} is blind"
    broken = rule(files)
    assert not broken, "\n".join(broken)
