"""Documents agree with the code: links, commands, settings, make targets, systemd units."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest

from sync.cli.commands import cli

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
COMMANDS, SETTINGS = ROOT / "docs" / "commands.md", ROOT / "docs" / "settings.md"
CODE = "\n".join(
    path.read_text(encoding="utf-8") for folder in ("sync", "pages") for path in (ROOT / folder).rglob("*.py")
)
MAX_EXPOSURE = 20  # tenths, as systemd-analyze security counts; a unit without any protection has 96
FILES_OF_THE_PROJECT = re.compile(r"\b(?:sync|pages|tests)/[a-z_/]+\.(?:py|css)\b")
PLACES_OF_ONE_MACHINE = re.compile(r"/(root|home|tmp|Users)/")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_a_document_when_relative_exist(document: Path) -> None:
    """Every relative link and picture of a document exists."""
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_files_of_the_project_when_named_exist() -> None:
    """A document, a range or a setting of a tool names no module that was renamed since."""
    others = ("requirements.txt", "tests/requirements.txt", "pyproject.toml", "Makefile", ".ci/run")
    texts = {path: path.read_text(encoding="utf-8") for path in [*DOCUMENTS, *(ROOT / name for name in others)]}
    named = {(path.name, name) for path, text in texts.items() for name in FILES_OF_THE_PROJECT.findall(text)}
    assert named and [one for one in sorted(named) if not (ROOT / one[1]).exists()] == []


def walk_commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command of the command line itself, with its words as people type them."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk_commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def read_usages(text: str) -> dict[str, list[str]]:
    """Return what docs/commands.md has in its first column: each command, and the words that may follow it."""
    cells = re.findall(r"^\| (`.*?`) \|", text.replace("\\|", "/"), re.MULTILINE)
    usages = {}
    for usage in re.findall(r"`([^`]+)`", "".join(cells)):
        words = usage.replace("[", "").replace("]", "").split()
        name = list(itertools.takewhile(lambda word: word.islower() and not word.startswith("-"), words))
        usages[" ".join(name)] = words[len(name) :]
    return usages


def test_commands_when_documented_are_those_of_the_command_line() -> None:
    """docs/commands.md lists every command once, with its arguments, and no other; its options exist."""
    usages, real = read_usages(COMMANDS.read_text(encoding="utf-8")), dict(walk_commands(cli))
    assert set(usages) == set(real)
    for name, command in real.items():
        arguments = [
            one.make_metavar(click.Context(command)).strip("[]")
            for one in command.params
            if one.param_type_name == "argument"
        ]
        assert [word for word in usages[name] if word.isupper()] == arguments, name
        options = {option for one in command.params for option in one.opts}
        assert {word for word in usages[name] if word.startswith("--")} <= options, name


def test_options_when_a_command_has_one_are_documented() -> None:
    """The row of a command in docs/commands.md, or its own section, names each option, and each has a help text."""
    text = COMMANDS.read_text(encoding="utf-8").replace("\\|", "/")
    rows = text.splitlines()
    for name, command in walk_commands(cli):
        [row] = [row for row in rows if name in read_usages(row)]
        row += text.partition(f"## Options of {name}\n")[2].partition("\n## ")[0]
        assert {"--json", "--project"} <= {word for one in command.params for word in one.opts}, name
        for option in (one for one in command.params if one.name not in ("as_json", "project")):
            named = [word for word in option.opts if re.search(rf"{word}\b", row)]
            assert not isinstance(option, click.Option) or option.help, (name, option.opts)
            assert named or option.param_type_name == "argument", (name, option.opts)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_when_a_document_names_one_exist(document: Path) -> None:
    """What follows `python -m sync` in any document is a command."""
    named = set(re.findall(r"python -m sync ([a-z][a-z-]+)", document.read_text(encoding="utf-8")))
    assert named <= set(cli.commands)


def test_programs_that_work_are_documented_with_their_options() -> None:
    """docs/commands.md names what else is started: the pages, the runner and its one option."""
    text = COMMANDS.read_text(encoding="utf-8")
    assert "`streamlit run app.py`" in text and "`python -m sync.runner`" in text and "`--once`" in text


def test_make_targets_when_documented_exist() -> None:
    """Make demo, run, test and bench are in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"\bmake ([a-z]+)\b(?=\s+#|`|$)", document.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"demo", "test", "run"} <= named <= targets


def test_settings_when_documented_are_those_the_code_reads() -> None:
    """docs/settings.md has every environment variable the application reads, and no other."""
    rows = re.findall(r"^\| (`.*?`) \|", SETTINGS.read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"`([A-Z_]+)`", "".join(rows))
    assert sorted(named) == sorted(set(re.findall(r"\"((?:COHORT_SYNC|MIXPANEL_S|WEBENGAGE_A)[A-Z_]+)\"", CODE)))


def test_architecture_names_every_module_and_table(data_dir: Path) -> None:
    """A module, a package or a table that somebody looks for stands there, and nothing that is gone."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    picture, tables = text.split("```")[1], text.partition("## Tables")[2].partition("\n\n## ")[0]
    lists = re.findall(r"^ sync/(\w+(?:, \w+)*)  ", picture, re.MULTILINE)
    named = {name for names in lists for name in names.split(", ")} | set(re.findall(r"sync/(\w+)", picture))
    modules = {
        path.stem for path in (ROOT / "sync").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert named - {"__main__"} == modules - {"__init__", "__main__"}
    with closing(sqlite3.connect(data_dir / "app.db")) as db:
        found = {name for [name] in db.execute("select name from sqlite_master where type = 'table'")}
    rows = re.findall(r"^\| (`.*?) \|", tables, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == {
        name for name in found if not name.startswith(("_", "sqlite_"))
    }


def test_published_files_name_no_path_of_one_machine() -> None:
    """Home and temporary folders are in no document and no setting of the tools."""
    for document in [*DOCUMENTS, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "requirements.txt"]:
        assert not PLACES_OF_ONE_MACHINE.search(document.read_text(encoding="utf-8")), document


def test_systemd_units_when_verified_have_no_fault(tmp_path: Path) -> None:
    """Systemd itself reads both units and finds nothing wrong, once the program they start is there."""
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        reason = "No systemd-analyze on this machine; install systemd to check the units."
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    for unit in sorted((ROOT / "docs" / "systemd").glob("*.service")):
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/cohort-sync/.venv/bin/python", "/bin/true"))
        done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (0, "")
        judged = [analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(copy)]
        assert subprocess.run(judged, stdout=subprocess.DEVNULL, check=False).returncode == 0
