"""The parts of pages that need no page: texts, files, pictures, times."""

from __future__ import annotations

import time

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import charts, formatting, notices
from sync import wording
from sync.model import Run, RunState
from sync.records import HourCount
from sync.text import count_noun, format_duration


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a *b* _c_", "a \\*b\\* \\_c\\_"),
        ("<b>", "\\<b\\>"),
        (":smile: at 16:25", ":\u2060smile: at 16:25"),
        ("two\nlines", "two lines"),
        ("$x$ [y](z)", "\\$x\\$ \\[y\\]\\(z\\)"),
        ("https://a.bc, HTTP://d and www.e.fg", "https:\u2060\\/\\/a\\.bc, HTTP:\u2060\\/\\/d and www\u2060\\.e\\.fg"),
        ("by ann.l@b-c.de, @d at a@b", "by ann\\.l\u2060\\@b\\-c\\.de, \\@d at a\\@b"),
    ],
)
def test_text_of_others_is_escaped(text: str, shown: str) -> None:
    """What Markdown would take for a sign is shown as the character it is; a time of day stays whole, an address is no link."""
    assert formatting.escape_markdown(text) == shown


def test_a_time_that_has_come_is_due_now_and_another_one_says_how_long() -> None:
    """The overview, the list of syncs and the page of one sync say it alike."""
    assert formatting.format_wait(time.time() + 3690) == "in 1 h 01 min"
    assert formatting.format_wait(time.time() - 1) == "due now"


def test_a_long_name_keeps_its_beginning_and_its_end_in_a_row() -> None:
    """Two cohorts of one team differ at their end; a name of one word is cut, too, and a short one is left alone."""
    names = [
        f"Newsletter: bought twice in the last ninety days, no returns, {place}" for place in ("Austria", "Norway")
    ]
    assert [formatting.shorten_name(name) for name in names] == [
        "Newsletter: bought twice in the la … s, no returns, Austria",
        "Newsletter: bought twice in the la … ys, no returns, Norway",
    ]
    assert len(formatting.shorten_name("x" * 300)) < 60
    assert formatting.shorten_name("Power Users,\n30 days") == "Power Users, 30 days"


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            "WebEngage was sent a batch of users and answered 401 “Un”; authorized”; check the API key under Integrations.",
            "Check the API key under Integrations.",
        ),
        (
            "Mixpanel was asked for page 0 and answered 404 “no”: it is gone; check the project.",
            "It is gone; check the project.",
        ),
        ("Mixpanel was asked for page 0 and answered 500 “oops”.",) * 2,
        ("“Fans” is held: “tripwire”: look at it.",) * 2,
        ("no changes",) * 2,
    ],
)
def test_an_error_in_a_row_says_what_to_do(error: str, shown: str) -> None:
    """A row has two lines: without the vendor's words they hold the advice; what has no advice stays whole."""
    assert formatting.shorten_error(error) == shown


def test_a_number_has_its_noun_in_the_singular_or_plural() -> None:
    """One is singular; none and many are plural."""
    assert [count_noun(number, "run") for number in (0, 1, 2_000)] == ["0 runs", "1 run", "2,000 runs"]
    assert count_noun(1, "person is", "people are") == "1 person is"


def test_pictures_hold_numbers_only() -> None:
    """The bar and the line are drawn from numbers; a constant line and an empty bar do not divide by zero."""
    assert charts.draw_bar((0, 0, 0, 0)).count("<rect") == 6
    assert 'width="500.00"' in charts.draw_bar((1, 0, 1, 0))
    assert "31.0 176.0,31.0" in charts.draw_sparkline([4, 4])


@pytest.mark.parametrize(
    ("hour", "red", "other"),
    [
        (HourCount(failed=2), "48.00", "0.00"),
        (HourCount(failed=1, succeeded=1), "24.00", "24.00"),
        (HourCount(failed=2, succeeded=61), "10.00", "38.00"),
    ],
)
def test_an_hour_is_red_only_as_far_as_its_runs_failed(hour: HourCount, red: str, other: str) -> None:
    """Two failures among 61 successes are seen, and do not look like an hour in which nothing succeeded."""
    other_color = charts.GREEN if hour.succeeded else charts.GRAY
    assert charts.draw_hours([hour]).count("<rect") == 2
    for height, color in ((red, charts.RED), (other, other_color)):
        assert f'height="{height}" fill="{color}"' in charts.draw_hours([hour])


def test_moments_are_in_the_viewers_words() -> None:
    """Spans and intervals are said as people say them."""
    assert [format_duration(seconds) for seconds in (0.2, 41.6, 90, 7200)] == [
        "1 second",
        "42 seconds",
        "2 minutes",
        "2 hours",
    ]
    assert formatting.format_duration_short(7260) == "2 h 01 min"


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((1200, 0, 0, 0), "1,200 added"),
        ((2, 3, 1, 0), "2 added, 3 removed, 1 updated"),
        ((412, 0, 0, 3), "412 added; 3 of them rejected"),
        ((0, 0, 0, 0), "no changes"),
    ],
)
def test_describe_run_changes_names_what_changed_and_leaves_out_zeros(
    counts: tuple[int, int, int, int], text: str
) -> None:
    """What a run changed is said in words, with who of them was rejected; a run that changed nothing says so."""
    numbers = dict(zip(("entered", "exited", "updated", "rejected"), counts, strict=True))
    made = dict.fromkeys(Run.__slots__, 0) | numbers | {"state": RunState.SUCCEEDED, "delivered": 1}
    assert wording.describe_run_changes(Run(**made)) == text


@pytest.mark.parametrize(
    ("state", "sent", "text"),
    [
        (RunState.HELD, 0, "17,860 to be added"),
        (RunState.DELIVERING, 0, "17,860 to be added"),
        (RunState.DELIVERING, 875, "17,860 to be added; 875 of them sent"),
        (RunState.CANCELLED, 875, "17,860 to be added; 875 of them sent"),
        (RunState.FAILED, 875, "17,860 to be added; 875 of them sent"),
        (RunState.SUCCEEDED, 17860, "17,860 added"),
    ],
)
def test_describe_run_changes_says_added_only_once_everybody_was(state: RunState, sent: int, text: str) -> None:
    """A run that was cancelled or failed half-way, or is still sending, did not add everybody it was to add."""
    numbers = {"state": state, "entered": 17860, "delivered": sent, "planned": True}
    run = Run(**dict.fromkeys(Run.__slots__, 0) | numbers)
    assert wording.describe_run_changes(run) == text


def test_a_run_with_rejected_people_does_not_say_that_all_were_added() -> None:
    """Beside three rejected, 412 people are what was to be added: 409 were."""
    numbers = {"state": RunState.SUCCEEDED, "entered": 412, "delivered": 409, "rejected": 3}
    run = Run(**dict.fromkeys(Run.__slots__, 0) | numbers)
    assert wording.list_counts(run, 0) == {"To add": 412, "Sent": 409, "Rejected": 3}


def test_the_bar_draws_people_never_exported_apart_from_those_who_go() -> None:
    """Whoever is on the never-export list has a part of the bar that is not the colour of the identified."""
    drawn = charts.draw_bar((3, 1, 0, 0))
    assert f'width="750.00" height="16.00" fill="{charts.INDIGO}"' in drawn
    assert f'x="750.00" y="0.00" width="250.00" height="16.00" fill="{charts.GRAY}"' in drawn


def draw_notice() -> None:
    """Draw a page with the message of a click as the layout does, interrupted or drawn again as the session state asks."""
    import streamlit as st

    from pages.parts import notices

    if st.session_state.get("clicked"):
        st.session_state["clicked"] = False
        notices.flash_success("Paused.")
    if st.session_state.get("polled"):
        notices.keep_notice()
    shown = notices.show_notice()
    if st.session_state.get("interrupted"):
        st.stop()
    notices.note_seen(shown)


def test_what_a_click_did_is_shown_again_until_a_whole_page_showed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drawing that ends early may have shown nothing; after a whole one the next click takes the message away."""
    monkeypatch.setattr(notices, "GLANCE_SECONDS", 0.0)
    app = AppTest.from_function(draw_notice)
    app.session_state["clicked"] = app.session_state["interrupted"] = True
    for interrupted in (True, True, False):
        app.session_state["interrupted"] = interrupted
        assert [one.value for one in app.run().success] == ["Paused\\."]
    assert not app.run().success


def test_what_a_click_did_stays_through_polls_as_long_as_it_takes_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on draws its page again by itself, the message too, until it is no news any more."""
    app = AppTest.from_function(draw_notice)
    app.session_state["clicked"] = app.session_state["polled"] = True
    for _ in range(3):
        assert app.run().success
    monkeypatch.setattr(notices, "READING_SECONDS", 0.0)
    monkeypatch.setattr(notices, "GLANCE_SECONDS", 0.0)
    assert not app.run().success


def test_what_a_click_did_stays_when_the_next_click_comes_before_anybody_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second half of a double click, or Esc after Start Sync, does not take the message away; a later click does."""
    app = AppTest.from_function(draw_notice)
    app.session_state["clicked"] = True
    assert app.run().success and app.run().success
    monkeypatch.setattr(notices, "GLANCE_SECONDS", 0.0)
    assert not app.run().success
