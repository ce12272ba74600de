"""The parts of pages that need no page: texts, files, pictures, times."""

from __future__ import annotations

import pytest

from pages.parts import charts, downloads, formatting
from sync.model import Run
from sync.views import ExportRow


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a *b* _c_", "a \\*b\\* \\_c\\_"),
        ("<b>", "\\<b\\>"),
        (":smile: at 16:25", ":\u2060smile: at 16:25"),
        ("two\nlines", "two lines"),
        ("$x$ [y](z)", "\\$x\\$ \\[y\\]\\(z\\)"),
    ],
)
def test_text_of_others_is_escaped(text: str, shown: str) -> None:
    """What Markdown would take for a sign is shown as the character it is; a time of day stays whole."""
    assert formatting.escape_markdown(text) == shown


def test_the_static_list_holds_who_is_there_exactly_as_written() -> None:
    """Removed, rejected, invalid and unsent people are not in it; ids are never altered."""
    rows = [
        ExportRow("=a", "add", "accepted", ""),
        ExportRow("b", "remove", "accepted", ""),
        ExportRow("c", "add", "rejected", "bad"),
        ExportRow("d", "no-op", "unchanged", ""),
        ExportRow("e", "none", "invalid", "empty id"),
        ExportRow("f", "add", "not sent", ""),
    ]
    assert downloads.write_static_list(rows).split() == ["User", "ID", "=a", "d"]


def test_pictures_hold_numbers_only() -> None:
    """The bar and the line are drawn from numbers; a constant line and an empty bar do not divide by zero."""
    assert charts.draw_bar((0, 0, 0)).count("<rect") == 5
    assert 'width="500.00"' in charts.draw_bar((1, 1, 0))
    assert "31.0 176.0,31.0" in charts.draw_sparkline([4, 4])


def test_moments_are_in_the_viewers_words() -> None:
    """Spans and intervals are said as people say them."""
    assert [formatting.format_duration(seconds) for seconds in (0.2, 41.6, 90, 7200)] == [
        "1 second",
        "42 seconds",
        "2 minutes",
        "2 hours",
    ]
    assert [formatting.format_interval(seconds) for seconds in (None, 3600.0, 7200.0, 2700.0)] == [
        "once",
        "every hour",
        "every 2 hours",
        "every 45 minutes",
    ]
    assert formatting.format_duration_short(7260) == "2 h 01 min"


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((1200, 0, 0), "1,200 added"),
        ((2, 3, 1), "2 added, 3 removed, 1 updated"),
        ((0, 0, 0), "no changes"),
    ],
)
def test_format_changes_names_what_changed_and_leaves_out_zeros(counts: tuple[int, int, int], text: str) -> None:
    """What a run changed is said in words, and a run that changed nothing says so."""
    entered, exited, updated = counts
    run = Run(**dict.fromkeys(Run.__slots__, 0) | {"entered": entered, "exited": exited, "updated": updated})
    assert formatting.format_changes(run) == text
