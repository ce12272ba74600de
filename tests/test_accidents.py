"""Everyday accidents: a command typed as root, a closed terminal, a renamed folder, a replaced Python, no home."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from pages.parts import sign_in
from sync.errors import InvalidRequest
from sync.launcher import read_procfile, require_free_port
from sync.ownership import give_to_folder_owner
from sync.vault import add_key
from tests.workspace import ROOT, Workspace, free_port, wait_until

SERVICE_USER = 65534  # nobody; no file of the tests belongs to it
ENDED_SECONDS = 60.0
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="Only root can give files away; run the tests as root.")


@as_root
def test_files_when_root_creates_them_belong_to_the_owner_of_the_folder(empty_dir: Path, tmp_path: Path) -> None:
    """A first command, rotate-key and restore typed as root leave nothing that the service's user cannot open."""
    workspace = Workspace(empty_dir)
    os.chown(empty_dir, SERVICE_USER, SERVICE_USER)
    with workspace.open() as service:
        add_key(empty_dir)
        service.admin.rotate_key()
        service.admin.write_backup(tmp_path / "copy.db")
        service.admin.restore(tmp_path / "copy.db")
        found = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in empty_dir.iterdir()}
    assert {"app.db", "app.db-wal", "app.db-shm", "database.marker", "secret.key"} <= set(found)
    assert set(found.values()) == {(SERVICE_USER, SERVICE_USER)}


@pytest.mark.slow
@as_root
def test_files_when_root_replaces_an_unusable_database_belong_to_the_owner(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The backup that root puts in the place of a damaged file, and a folder made for it, belong to the service."""
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, SERVICE_USER, SERVICE_USER)
    replace = [sys.executable, "-m", "sync", "restore", str(tmp_path / "copy.db")]
    (home / "data").mkdir()
    (home / "data" / "app.db").write_bytes(b"not a database" * 1000)
    os.chown(home / "data", SERVICE_USER, SERVICE_USER)
    subprocess.run(replace, cwd=ROOT, env=os.environ | {"COHORT_SYNC_DATA": str(home / "data")}, check=True)
    assert {path.stat().st_uid for path in (home / "data").iterdir() if ".aside-" not in path.name} == {SERVICE_USER}


@as_root
def test_folder_when_root_creates_it_belongs_to_the_owner_of_the_folder_around_it(tmp_path: Path) -> None:
    """A first command with sudo in somebody's checkout makes a data folder that is theirs."""
    os.chown(tmp_path, SERVICE_USER, SERVICE_USER)
    with Workspace(tmp_path / "data").open_store():
        assert {path.stat().st_uid for path in (tmp_path / "data", tmp_path / "data" / "app.db")} == {SERVICE_USER}


@as_root
def test_a_link_when_root_gives_it_away_leaves_what_it_leads_to(tmp_path: Path) -> None:
    """That may be anybody's file."""
    target, link = tmp_path / "target", tmp_path / "folder" / "link"
    target.touch()
    link.parent.mkdir()
    link.symlink_to(target)
    os.chown(link.parent, SERVICE_USER, SERVICE_USER)
    give_to_folder_owner(link)
    assert (target.stat().st_uid, link.lstat().st_uid) == (os.geteuid(), SERVICE_USER)


def test_a_file_of_somebody_else_than_root_stays_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may give files away; for others a folder of a colleague is no reason to fail."""
    monkeypatch.setattr(os, "geteuid", lambda: SERVICE_USER)
    monkeypatch.setattr(os, "chown", lambda *_, **__: pytest.fail("A file was given away."))
    give_to_folder_owner(tmp_path / "file")


@pytest.fixture
def procfile(tmp_path: Path) -> Path:
    """Write a Procfile of two processes that leave their number, one below a shell, and would live for ever."""
    program = "import os, pathlib, time; pathlib.Path(f'{name}.pid').write_text(str(os.getpid())); print('up'); time.sleep(600)"
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(program.replace("{name}", name))
    file = tmp_path / "Procfile"
    file.write_text(f"one: exec {sys.executable} one.py\ntwo: true && {sys.executable} two.py; true\n")
    return file


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Open a terminal of its own: the side a window would have, and the side of the programs in it."""
    window, programs = pty.openpty()
    yield window, programs
    for one in (window, programs):
        try:
            os.close(one)
        except OSError:
            continue


def start_launcher(file: Path, programs: int) -> subprocess.Popen[bytes]:
    """Start the launcher as the foreground of a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "sync.launcher", str(file)],
        cwd=file.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=programs,
        stdout=programs,
        stderr=programs,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )


def _take_terminal() -> None:
    """Be what the terminal ends when it is closed, also where the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_numbers(folder: Path) -> list[int]:
    """Return the numbers of the processes that have begun."""
    return [int(path.read_text()) for path in folder.glob("*.pid") if path.read_text()]


def is_alive(number: int) -> bool:
    """Return whether a process is there, and not only its entry."""
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("accident", ["the terminal is closed", "SIGTERM", "SIGINT"])
def test_processes_when_the_launcher_is_ended_leave_none_behind(
    procfile: Path, terminal: tuple[int, int], accident: str
) -> None:
    """Closing the terminal, Ctrl-C and SIGTERM end both processes, and the shell around one of them."""
    window, programs = terminal
    launcher = start_launcher(procfile, programs)
    wait_until(lambda: len(read_numbers(procfile.parent)) == 2)
    if accident.startswith("SIG"):
        launcher.send_signal(getattr(signal, accident))
    else:
        os.close(programs)
        os.close(window)
    wait_until(lambda: not any(map(is_alive, read_numbers(procfile.parent))))
    assert launcher.wait(ENDED_SECONDS) > 128


def test_processes_when_the_launcher_is_ended_at_once_leave_none_behind(
    procfile: Path, terminal: tuple[int, int]
) -> None:
    """A signal before everything has started ends what has, too."""
    launcher = start_launcher(procfile, terminal[1])
    wait_until(lambda: bool(os.read(terminal[0], 1)))
    launcher.send_signal(signal.SIGTERM)
    launcher.wait(ENDED_SECONDS)
    assert not any(map(is_alive, read_numbers(procfile.parent)))


def test_launcher_when_one_process_fails_ends_the_others_with_its_code(procfile: Path) -> None:
    """A runner that cannot start ends the pages, too, and `make run` fails as it did."""
    procfile.write_text(f"one: exec {sys.executable} one.py\ntwo: sleep 1; exit 7\n")
    done = subprocess.run(
        [sys.executable, "-m", "sync.launcher", str(procfile)],
        cwd=procfile.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 7 and not any(map(is_alive, read_numbers(procfile.parent)))


def test_port_when_another_program_has_it_is_one_sentence() -> None:
    """`make run` says that the port is taken before it starts anything."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InvalidRequest, match=r"Port \d+ is taken.*stop that program, and try again\.$"):
            require_free_port(other.getsockname()[1])  # the sandbox's, which no setting names
    require_free_port(free_port())


@pytest.mark.parametrize("command", [("sync.launcher", "Procfile", "{port}"), ("tests.demo",)])
def test_pages_when_their_port_is_taken_say_how_to_choose_another_one(command: tuple[str, ...]) -> None:
    """`make run` and `make demo` take the port from STREAMLIT_SERVER_PORT, and start nothing while it is taken."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", *(part.format(port=port) for part in command)],
            cwd=ROOT,
            env=os.environ | {"STREAMLIT_SERVER_PORT": port},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1 and not done.stdout
    assert f"Port {port} is taken" in done.stderr and "STREAMLIT_SERVER_PORT" in done.stderr


def test_procfiles_when_read_start_python_from_the_folder_itself() -> None:
    """Nothing that `make` starts goes through a script of .venv, whose first line has the folder's former name."""
    commands = [*read_procfile(ROOT / "Procfile").values(), *read_procfile(ROOT / "Procfile.demo").values()]
    assert len(commands) == 5 and all("exec .venv/bin/python -m " in one for one in commands)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [line for line in makefile.splitlines() if "$(BIN)/" in line.replace("$(BIN)/python", "")] == []


def make_folder(folder: Path) -> Path:
    """Make a project of the Makefile alone, whose lock files name no package, with a .venv whose pip does nothing."""
    (folder / "tests").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.lock", "tests/requirements.lock"):
        (folder / name).touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    [packages] = (folder / ".venv" / "lib").glob("python3*/site-packages")
    (packages / "pip").mkdir()
    (packages / "pip" / "__main__.py").touch()
    (packages / "pip" / "__init__.py").touch()
    run_make(folder)
    return folder


def run_make(folder: Path) -> str:
    """Make .venv ready, and return what its Python says of itself."""
    subprocess.run(["make", "--no-print-directory", ".venv/.ready"], cwd=folder, check=True)
    asked = [".venv/bin/python", "-c", "import sys, pip; print(sys.prefix)"]
    return subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
def test_make_when_the_folder_was_renamed_or_python_replaced_works_again(tmp_path: Path) -> None:
    """A folder with another name, spaces and signs goes on; a Python without its packages is set up again."""
    folder = make_folder(tmp_path / "first").rename(tmp_path / "the second, Größe ✓")
    assert run_make(folder) == str(folder / ".venv")
    [library] = (folder / ".venv" / "lib").glob("python3*")
    library.rename(library.with_name("python3.0"))  # what a new minor version of Python finds
    assert run_make(folder) == str(folder / ".venv")


def test_pages_when_there_is_no_home_name_a_file_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user without a name and HOME has no home folder; an error about a secrets file says its name."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    (tmp_path / "secrets.toml").write_text("[auth")
    with pytest.raises(sign_in.SecretsUnreadable, match=r"^…/secrets\.toml cannot be read as TOML"):
        sign_in.read_secrets_file(tmp_path / "secrets.toml")
