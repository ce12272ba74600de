"""Faults that people reported of neighbouring programs, each as a small input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sync import http_client
from sync.attribute_names import ATTRIBUTE_MAX, find_attribute_problem, suggest_attribute
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from tests.conftest import Cli
from tests.engine_workspace import EngineWorkspace, fans, last, patient_workspace
from tests.sandbox.control import PROJECT, Sandbox, member
from tests.sandbox.odd import LISTED

FAMILY = "👨\u200d👩\u200d👧"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
UNITS = 49  # UTF-16 units, "under 50 characters"


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder."""
    return patient_workspace(data_dir, sandbox)


def events(workspace: EngineWorkspace) -> list[str]:
    """Return the lines of the newest run."""
    with workspace.open() as service:
        return [one.message for one in service.runs.list_events(last(workspace).id)]


def sent(workspace: EngineWorkspace, values: list[object], target: str) -> list[object]:
    """Export people with these values of one property; return what WebEngage holds of each at ``target``."""
    people = [member(f"fan-{at}", value=value) for at, value in enumerate(values)]
    workspace.set_members(*people)
    run = workspace.export(mapping=(("value", target),))
    assert (run.state, run.rejected) == (RunState.SUCCEEDED, 0)
    assert len(workspace.holders()) == len(values)
    found = []
    for at in range(len(values)):
        profile: dict[str, Any] = workspace.sandbox.profile(f"fan-{at}") or {}
        found.append(profile.get(target, profile.get("attributes", {}).get(target)))
    return found


# The list of cohorts -------------------------------------------------------------------------------------------------

USABLE = [name for name in LISTED if name.endswith(("_name", "_count"))]


@pytest.mark.parametrize("kind", LISTED)
def test_an_odd_row_in_the_list_of_cohorts_leaves_the_others_listed(
    workspace: EngineWorkspace, sandbox: Sandbox, cli: Cli, kind: str
) -> None:
    """A row without a usable number is counted and said; one with an odd name or count is listed."""
    sandbox.settings(odd_cohorts=kind)
    with workspace.open() as service:
        listed = service.cohorts.list(PROJECT, fresh=True)
        again = service.cohorts.list(PROJECT)
    usable = kind in USABLE
    assert workspace.cohort in {one.id for one in listed.cohorts}
    assert len(listed.cohorts) == 1 + usable
    assert all(one.name.isprintable() and one.name for one in listed.cohorts)
    assert (listed.left_out == "") is usable and listed == again and listed.problem is None
    said = cli(workspace.data_dir, "cohorts", "--json")
    assert said.returncode == 0 and ("1 row" in said.stderr) is not usable


# Values --------------------------------------------------------------------------------------------------------------


def test_phones_are_sent_as_numbers_whatever_their_punctuation(workspace: EngineWorkspace) -> None:
    """What cannot be an international number is left out, counted and said, and never quoted."""
    written = [
        "+1 925 336 0294",
        "+91-98765-43210",
        " +49 (30) 1234.5678 ",
        "+33\u00a01\u202f23\u201145\u201367/89",
        "\u202a+14155550100\u202c",
    ]
    lost = ["925 336 0294", "+44 (0)20 7946 0958", "+1 555 CALL NOW", "+", "+0123456789", "+١٩٢٥٣٣٦٠٢٩٤", 19253360294]
    right = ["+19253360294", "+919876543210", "+493012345678", "+33123456789", "+14155550100"]
    assert sent(workspace, [*written, *lost, None], "phone") == [*right, *[None] * 8]
    assert "value was left out for 7 people: not an international phone number, such as +14155550100." in events(
        workspace
    )
    assert not any("925" in line for line in events(workspace))


def test_lists_and_objects_are_left_out_and_counted(workspace: EngineWorkspace, cli: Cli) -> None:
    """WebEngage cannot filter by them; the run says for how many people, in the page's lines and in the JSON."""
    assert sent(workspace, ["gold", ["a", "b"], {"a": 1}, []], "Plan") == ["gold", None, None, None]
    line = "value was left out for 3 people: a list or an object, by which WebEngage cannot filter."
    assert line in events(workspace)
    assert line in cli(workspace.data_dir, "run", str(last(workspace).id), "--json").stdout


def test_values_that_are_sent_or_missing_are_not_called_left_out(workspace: EngineWorkspace) -> None:
    """Nothing is said of people who have no value, and nothing of those who leave."""
    sent(workspace, ["gold", None, "", "<null>"], "Plan")
    workspace.set_members(*fans(0))
    workspace.export(mapping=(("value", "Plan"),))
    assert not any("left out" in line for line in events(workspace))


def test_birth_dates_are_converted_or_left_out(workspace: EngineWorkspace) -> None:
    """A date is sent in WebEngage's form; one that could be read in two ways is left out."""
    written = ["1990-04-01", "1990-04-01T10:20:30+05:30", "1990-04-01T10:20:30Z", "1990-04-01 10:20:30.5"]
    right = [
        "1990-04-01T00:00:00+0000",
        "1990-04-01T10:20:30+0530",
        "1990-04-01T10:20:30+0000",
        "1990-04-01T10:20:30+0000",
    ]
    lost = ["04/01/1990", "1 April 1990", "1990-13-01", 19900401, ["1990-04-01"]]
    assert sent(workspace, [*written, *lost], "birthDate") == [*right, *[None] * 5]
    assert "value was left out for 5 people: not a date such as 1990-04-01." in events(workspace)


def test_genders_are_converted_or_left_out(workspace: EngineWorkspace) -> None:
    """WebEngage takes male, female and other."""
    assert sent(workspace, ["F", "m", " Female ", "MALE", "other", "non-binary", "?", 1], "gender") == [
        "female",
        "male",
        "female",
        "male",
        "other",
        "other",
        None,
        None,
    ]
    assert "value was left out for 2 people: not male, female or other." in events(workspace)


def test_a_long_value_is_cut_between_characters(workspace: EngineWorkspace) -> None:
    """1,000 of the vendor's characters, and never half an emoji or half a family."""
    [value] = sent(workspace, ["a" * 997 + FAMILY], "Plan")
    assert value == "a" * 997


def test_a_dry_run_says_what_would_be_left_out_before_it_is_approved(workspace: EngineWorkspace) -> None:
    """The lines stand in the history of the held run."""
    workspace.set_members(member("fan-1", phone="12"))
    assert workspace.export(mapping=(("phone", "phone"),), dry_run=True).state is RunState.HELD
    assert any(line.startswith("phone was left out for 1 person:") for line in events(workspace))


# Names of cohorts ----------------------------------------------------------------------------------------------------

NAMES = [
    f"Family {FAMILY}",
    f"{FAMILY} " * 12,
    f"{ENGLAND}" * 9,
    "👍🏽" * 30,
    "🇩🇪" * 30,
    "e\u0301" * 60,
    "Big\u00a0spenders",
    "大口\u3000顧客",
    "week\u00adend",
    "two\nlines\r\nand\ttabs",
    "\u202eright to left",
    "می\u200cخواهم",
    "zero\u200bwidth",
    "\U00010400" * 60,
    "\u200d\u200d",
    "   ",
    "\x00\x01",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_our_own_proposal_of_an_attribute_passes_our_own_check(name: str) -> None:
    """Whatever a cohort is called; lengths are counted in UTF-16, the longest way a vendor can count."""
    first = suggest_attribute(name, frozenset())
    second = suggest_attribute(name, frozenset([first.casefold()]))
    for proposal in (first, second):
        assert find_attribute_problem(proposal, frozenset()) is None
        assert len(proposal.encode("utf-16-le")) // 2 <= UNITS == ATTRIBUTE_MAX
    assert first != second


@pytest.mark.parametrize("whole", [FAMILY, ENGLAND, "👍🏽", "🇩🇪", "e\u0301", "❤\ufe0f", "🏳\ufe0f\u200d🌈"], ids=ascii)
@pytest.mark.parametrize("before", range(13))
def test_a_proposal_never_holds_half_a_character(whole: str, before: int) -> None:
    """What remains of a name that is too long is whole: cut between characters as people see them."""
    kept = suggest_attribute("x" * before + whole * 30, frozenset()).removeprefix("Mixpanel - " + "x" * before)
    assert kept and kept == whole * (len(kept) // len(whole))


def test_a_cohort_with_an_odd_name_is_exported(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """The proposal is taken by Start Sync as it is."""
    cohort = sandbox.add_cohort(f"Family\u00a0{FAMILY}", fans(1))
    with workspace.open() as service:
        attribute = service.cohorts.propose_export(PROJECT, cohort).attribute
        assert attribute == f"Mixpanel - Family {FAMILY}"
        service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC, attribute=attribute))
    workspace.run_queued()
    assert sandbox.holding(attribute)[0] == {"fan-1"}


def test_two_attributes_that_look_alike_are_not_accepted() -> None:
    """An invisible character in a plain word is refused; between parts of an emoji or letter it is not."""
    assert find_attribute_problem("VI\u200dP", frozenset()) is not None
    assert find_attribute_problem(f"VIP {FAMILY}", frozenset()) is None


# Previews ------------------------------------------------------------------------------------------------------------


def test_a_reply_too_large_for_a_preview_is_asked_again_with_fewer_properties(
    workspace: EngineWorkspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People with 20 KB each: the counts are shown all the same, and the names of properties from their own list."""
    monkeypatch.setattr(http_client, "MAX_BODY_BYTES", 2**18)
    sandbox.settings(page_size=1000)
    workspace.set_members(*(member(f"fan-{at}", notes="x" * 20_000, plan="gold") for at in range(40)))
    with workspace.open() as service:
        preview = service.cohorts.preview(PROJECT, workspace.cohort)
    assert (preview.total, preview.identified, preview.exact) == (40, 40, True)
    assert {"notes", "plan"} <= set(preview.properties)


# A gap without a total -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["empty_page", "short_page"])
@pytest.mark.parametrize("untold", ["total", "page_size and total"])
@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_gap_in_a_first_reading_without_a_total_is_noticed(
    workspace: EngineWorkspace, sandbox: Sandbox, shape: str, untold: str, page: int
) -> None:
    """Nothing says how many there are, so a first export is read twice and nobody is missing."""
    workspace.set_members(*fans(*range(48)))
    sandbox.settings(untold=untold)
    sandbox.fault(shape, page=page)
    assert workspace.export().state is RunState.SUCCEEDED
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


@pytest.mark.parametrize("second", [1, 3])
def test_a_gap_in_the_second_reading_loses_nobody(workspace: EngineWorkspace, sandbox: Sandbox, second: int) -> None:
    """Who is listed in either reading is in, as long as nothing says how many there are."""
    workspace.set_members(*fans(*range(48)))
    sandbox.settings(untold="total")
    sandbox.fault("empty_page", page=2)
    sandbox.fault("empty_page", page=second)
    workspace.export()
    assert workspace.holders() >= {f"fan-{number}" for number in range(20)}
    workspace.export()
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_one_page_without_a_total_is_read_once(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """A page that is not full says itself that it is the last one."""
    workspace.set_members(*fans(*range(5)))
    sandbox.settings(untold="total")
    workspace.export()
    assert sandbox.meter().requests["/api/query/engage"] == 1


def test_an_attribute_when_another_one_reads_alike_is_not_proposed() -> None:
    """An accent may be written in two ways, and nobody who builds a segment could tell the two attributes apart."""
    taken = frozenset(["mixpanel - caf\u00e9"])
    assert suggest_attribute("Cafe\u0301", taken) == "Mixpanel - Cafe\u0301 2"
    assert "already belongs" in (find_attribute_problem("Mixpanel - CAFE\u0301", taken) or "")
