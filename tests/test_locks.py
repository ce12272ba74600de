"""The lock files: they pin what the ranges ask for, with hashes, and name no place to fetch it from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [("requirements.txt", "requirements.lock"), ("tests/requirements.txt", "tests/requirements.lock")]


def read_requirements(path: str) -> list[Requirement]:
    """Return the requirements of a file, without hashes and comments."""
    lines = (line.partition(" #")[0].strip(" \\") for line in (ROOT / path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "--hash"))]


def read_pins(path: str) -> dict[str, Version]:
    """Return the version of every package a lock file names; a package without exactly one is an error."""
    pins: dict[str, Version] = {}
    for requirement in read_requirements(path):
        (pin,) = requirement.specifier
        assert pin.operator == "==" and requirement.name not in pins, requirement
        pins[canonicalize_name(requirement.name)] = Version(pin.version)
    return pins


def find_unlocked(ranges: list[Requirement], pins: dict[str, Version]) -> list[str]:
    """Return the requirements no pin satisfies."""
    found = ((one, pins.get(canonicalize_name(one.name))) for one in ranges)
    return [str(one) for one, pin in found if pin is None or pin not in one.specifier]


@pytest.mark.parametrize(("ranges", "lock"), PAIRS)
def test_a_lock_when_read_pins_every_range_of_its_requirements(ranges: str, lock: str) -> None:
    """A range changed without `make lock` is found here."""
    assert find_unlocked(read_requirements(ranges), read_pins(lock)) == []


def test_a_range_when_its_pin_is_too_old_or_missing_is_found() -> None:
    """The check above sees both mistakes."""
    ranges = [Requirement("old>=2"), Requirement("missing"), Requirement("Fine_name<3")]
    assert find_unlocked(ranges, {"old": Version("1.9"), "fine-name": Version("2")}) == ["old>=2", "missing"]


def test_both_locks_when_they_share_a_package_pin_the_same_version() -> None:
    """The tests run on what the application is installed with."""
    ours, tests = (read_pins(lock) for _, lock in PAIRS)
    shared = ours.keys() & tests.keys()
    assert shared
    assert {name: ours[name] for name in shared} == {name: tests[name] for name in shared}


@pytest.mark.parametrize("lock", [lock for _, lock in PAIRS])
def test_a_lock_when_read_has_hashes_and_names_no_host(lock: str) -> None:
    """Each package has at least one hash; where to fetch it from is the installing machine's business."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text)
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert [block.splitlines()[0] for block in blocks[1:] if "--hash=sha256:" not in block] == []
