"""Specify what `python -m tests.bench` says to a wrong name, and that many customers can be set up."""

from __future__ import annotations

import sys

import pytest

from sync.model import RunState
from tests.bench import __main__ as bench
from tests.bench.bench import BenchWorkspace
from tests.bench.many import add_customer, add_dynamic_sync


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


def test_the_notes_of_the_page_when_everything_is_measured_again_stay_below_the_new_table() -> None:
    """The page is the only place they are in."""
    page = bench.replace_table("# Benchmarks\n\nold\n\n## How to measure\n\nkept\n\n## More\n", "# New\n\n")
    assert page == "# New\n\n## How to measure\n\nkept\n\n## More\n"


def test_customers_with_an_account_each_when_set_up_have_their_exports_queued() -> None:
    """Each project exports to its own account, and the next dynamic sync to the account connected last."""
    with BenchWorkspace.open() as workspace:
        paths = [add_customer(workspace, one, people=5) for one in range(2)]
        add_dynamic_sync(workspace, 25, people=5)
        with workspace.service() as service:
            assert [run.state for run in service.runs.list()] == [RunState.QUEUED] * 3
            accounts = {one.license_code for one in service.syncs.list()}
        assert accounts == {*(path.split("/")[3] for path in paths), "sixty25"}
