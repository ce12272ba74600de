"""A few random lives in every test run; `python -m tests.drill.lives` lives as many as one likes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.drill.lives import live


@pytest.mark.timeout(120)
def test_random_lives_when_anything_is_asked_in_any_order_keep_every_promise() -> None:
    """Whatever a person asks for in whatever order, each success leaves WebEngage and the snapshot as the cohort was."""
    done: Counter[str] = Counter()
    assert live(4, 1, done) == []
    assert done["success judged"] >= 12 and done["work"] and done["approve"] and done["forget"] and done["restore"]
