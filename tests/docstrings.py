"""Find public docstrings whose first word is not the verb of what the thing does: `python -m tests.docstrings`.

Part of `make lint`. Ruff's D401 is run on the same files; alone it lets such words pass and looks at no class or module.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLEAN = ("app.py", "pages", "sync", "tests")
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


def list_clean_files() -> list[Path]:
    """Return the files whose docstrings are checked."""
    found = [path for top in CLEAN for path in ([ROOT / top] if top.endswith(".py") else (ROOT / top).rglob("*.py"))]
    return sorted(found)


def main() -> int:
    """Print every wrong docstring of the checked files; return 1 when there is one."""
    files = list_clean_files()
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: begin with the verb of what it does: {summary}"
        for path in files
        for line, summary in find_wrong_docstrings(path.read_text(encoding="utf-8"))
    ]
    print("\n".join(wrong), end="\n" if wrong else "")
    mood = subprocess.run([sys.executable, "-m", "ruff", "check", "--quiet", "--select", "D401", *files], check=False)
    return 1 if wrong or mood.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
