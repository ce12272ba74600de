"""A short drill in every test run; `python -m tests.drill` plays as many rounds as one likes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.drill.__main__ import play
from tests.drill.drill_runner import STATEMENTS


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_the_promises_hold_under_kills_lies_and_changes() -> None:
    """After every round WebEngage holds exactly the exportable members, the snapshot too, and a second run sends nobody."""
    tally: Counter[str] = Counter()
    assert play(8, 1, tally) == []
    assert tally["SIGKILL"] and tally["cohort changed"] and tally["round with small limits"] == 2
    assert any(tally[f"SIGKILL {point}"] for point in STATEMENTS)
