"""The check of docstrings in `make lint` finds what it is there to find."""

from __future__ import annotations

from tests.docstrings import find_wrong_docstrings, list_clean_files, main

SAMPLE = '''"""How far a run is."""

class Run:
    """Return nothing; a class is looked at too."""

    def over(self) -> bool:
        """Whether it ended."""

def tell_people() -> None:
    """Telling is not Tell."""

def send() -> None:
    """Say: what is sent."""

def _hidden() -> None:
    """Who would read this?"""

def test_something() -> None:
    """What is tested is named by the test."""
'''


def test_the_check_when_a_docstring_begins_with_a_forbidden_word_names_its_line() -> None:
    """Modules, classes, functions and methods are looked at; hidden ones and tests are not."""
    assert [line for line, _ in find_wrong_docstrings(SAMPLE)] == [1, 7, 13]


def test_docstrings_of_the_checked_files_begin_with_a_verb() -> None:
    """What `make lint` checks is clean."""
    assert main() == 0
    assert len(list_clean_files()) > 50
