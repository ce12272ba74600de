"""Specify what `python -m tests.bench` says to a name that is none of its benches."""

from __future__ import annotations

import sys

import pytest

from tests.bench import __main__ as bench


@pytest.mark.parametrize("only", ["WRONG", "WRONG,members"])
def test_a_bench_that_is_not_there_when_asked_for_is_one_sentence_and_runs_nothing(
    only: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2; the sentence names what is not there and everything that is."""
    monkeypatch.setattr(sys, "argv", ["tests.bench", "--only", only])
    assert bench.main() == 2
    out, error = capsys.readouterr()
    assert not out
    assert error == (
        "There is no bench WRONG; there are refresh, ahead, fairness, small, accounts, sixty, person, members, "
        "overlap, looking, ceiling.\n"
    )
