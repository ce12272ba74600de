"""Find public docstrings whose first word is not the verb of what the thing does: `python -m tests.docstrings`.

Part of `make lint`, beside ruff's D401, which lets such words pass or does not look at classes and modules.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sync", "pages", "tests")
FIRST_WORDS = {"tell", "say", "how", "who", "whether", "what"}
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def find_wrong_docstrings(text: str) -> list[tuple[int, str]]:
    """Return line and first line of every public docstring in a Python text that begins with a forbidden word."""
    found = []
    for node in walk_public(ast.parse(text)):
        summary = (ast.get_docstring(node) or "").partition("\n")[0]
        first, _, _ = summary.partition(" ")
        if first.strip(".,:;").lower() in FIRST_WORDS:
            found.append((node.body[0].lineno, summary))
    return found


def walk_public(node: Documented) -> Iterator[Documented]:
    """Yield a module and every class, function and method in it that no underscore hides, tests left out."""
    yield node
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            hidden = child.name.startswith("_") and not child.name.endswith("__")
            if not hidden and not child.name.startswith("test_"):
                yield from walk_public(child)


def main() -> int:
    """Print every wrong docstring of the project; return 1 when there is one."""
    files = [*sorted(ROOT.glob("*.py")), *(path for top in FOLDERS for path in sorted((ROOT / top).rglob("*.py")))]
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: begin with the verb of what it does: {summary}"
        for path in files
        for line, summary in find_wrong_docstrings(path.read_text(encoding="utf-8"))
    ]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
