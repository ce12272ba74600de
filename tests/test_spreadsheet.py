"""CSV files for people: no cell is a formula, and every id stays what it is."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages.parts import downloads
from sync.records import ExportRow
from sync.spreadsheet import BYTE_ORDER_MARK, neutralize_cell, protect_id, restore_id, write_csv

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@x",
    "\tx",
    "\rx",
    "\nx",
    "  =1",
    "\u00a0=1",
    "＝1",
    "＋1",
    "－1",
    "＠x",
    "a;=1",
    "a\n=1",
    "a; \u3000＝1",
]
LIKE_VALUES = [
    "007",
    "1E5",
    "1e+5",
    "12345678901234567890",
    "3.14",
    "1,000",
    "50%",
    "3/4",
    "2026-08-01",
    "12:30",
    "9 PM",
    "MAR1",
    "sep-2",
    "1 March 2026",
    "TRUE",
    "false",
]
PLAIN = ["ann", "mf_2a8ee97a1d", "a-b", "room 7", "東京の音楽 0", "$device:0a-1", "7up", "march", "true-7", ""]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_cell_when_a_formula_begins_in_it_is_neutral(cell: str) -> None:
    """An apostrophe stands before what a spreadsheet would compute, wherever a cell may begin for it."""
    neutral = neutralize_cell(cell)
    assert neutral != cell and neutral.replace("'", "", 1) == cell
    assert protect_id(cell).count("'") == 1


@pytest.mark.parametrize("cell", LIKE_VALUES)
def test_an_id_when_it_looks_like_a_number_or_a_date_stays_text(cell: str) -> None:
    """In the column of ids only: a number elsewhere may stay one."""
    assert protect_id(cell) == f"'{cell}"
    assert neutralize_cell(cell) == cell


@given(st.text(st.sampled_from("';\t\r\n =+@-1a＝"), max_size=8))
def test_an_id_when_it_is_read_back_from_a_file_is_the_one_that_was_written(cell: str) -> None:
    """Whoever is downloaded and put on a list is the same person, also where an id itself has an apostrophe."""
    assert restore_id(protect_id(cell)) == cell
    if not cell.startswith("'"):  # of numbers, that column has no apostrophe of ours
        assert restore_id(neutralize_cell(cell)) == cell


@pytest.mark.parametrize("cell", ["'ann", "o'hara", "a;'b", "'", ""])
def test_an_id_when_no_apostrophe_was_put_into_it_keeps_its_own(cell: str) -> None:
    """Only what would be a formula, a number or a date without it is taken for a cell that was kept text."""
    assert restore_id(cell) == cell


@pytest.mark.parametrize("cell", PLAIN)
def test_a_cell_when_it_is_plain_text_is_left_alone(cell: str) -> None:
    """Nobody's id is changed without need."""
    assert protect_id(cell) == neutralize_cell(cell) == cell


def test_a_file_for_people_begins_with_a_mark_and_quotes_every_cell() -> None:
    """Quotes, line breaks and empty cells come back as they were."""
    rows = [("007", 'say "hi"'), ("b", "two\nlines"), ("", "007")]
    text = write_csv(("User ID", "Why"), rows, ids=(0,))
    assert text.startswith(f'{BYTE_ORDER_MARK}"User ID","Why"\r\n')
    read = list(csv.reader(io.StringIO(text.removeprefix(BYTE_ORDER_MARK))))
    assert read[1:] == [["'007", 'say "hi"'], ["b", "two\nlines"], ["", "007"]]
    assert not write_csv(("User ID",), [], mark=False).startswith(BYTE_ORDER_MARK)


def test_the_files_of_a_run_are_for_people_or_for_webengage() -> None:
    """The CSV of a run is safe in a spreadsheet; the Static List is uploaded, and holds ids only as they are."""
    row = ExportRow("007", "add", "accepted", "=1")
    assert downloads.write_run_csv([row]).splitlines()[1] == '"\'007","add","accepted","\'=1"'
    assert downloads.write_run_csv([]).strip(f"{BYTE_ORDER_MARK}\r\n").startswith('"User ID","Operation"')
    assert downloads.write_static_list(["007", "=a"]).splitlines() == ["User ID", "007", "=a"]
