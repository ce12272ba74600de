"""Specify that WebEngage holds mapped values of one type: as chosen, as planned, as fixed by what was sent."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import MAX_ATTRIBUTES, Mode, RunState
from sync.property_values import (
    LOOKS_LIKE_DATE,
    ValueForm,
    ValueType,
)
from sync.store import Store
from tests.conftest import Cli
from tests.engine_workspace import EngineWorkspace, approve, last, patient_workspace
from tests.sandbox.control import LICENSE, PROJECT, member
from tests.workspace import open_database

TEXT, NUMBER, YES_NO = ValueForm(ValueType.TEXT), ValueForm(ValueType.NUMBER), ValueForm(ValueType.YES_NO)
DAY, PHONE, EMAIL = ValueForm(ValueType.DATE), ValueForm(ValueType.PHONE), ValueForm(ValueType.EMAIL)
JOINED, GERMAN = ValueForm(ValueType.TEXT, joined=True), ValueForm(ValueType.PHONE, country="DE")
AGE = (("age", "Age"),)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Any) -> EngineWorkspace:
    """Return a connected data folder."""
    return patient_workspace(data_dir, sandbox)


def held(workspace: EngineWorkspace, name: str) -> list[object]:
    """Return what WebEngage holds at an attribute or field of fan-0, fan-1, and so on."""
    found = []
    for at in range(len(workspace.holders())):
        profile = workspace.sandbox.profile(f"fan-{at}") or {}
        found.append(profile.get(name, profile.get("attributes", {}).get(name)))
    return found


def have(workspace: EngineWorkspace, source: str, *values: object) -> None:
    """Give fan-0, fan-1, and so on these values of a property."""
    workspace.set_members(*(member(f"fan-{at}", **{source: value}) for at, value in enumerate(values)))


def events(workspace: EngineWorkspace) -> list[str]:
    """Return the lines of the newest run."""
    with workspace.open() as service:
        return [one.message for one in service.runs.list_events(last(workspace).id)]


@pytest.mark.parametrize("other", ["Cafe\u0301 Straße", "CAFÉ STRASSE"], ids=["an accent of its own", "capitals"])
def test_an_attribute_that_reads_like_another_one_is_refused_whoever_has_that(
    workspace: EngineWorkspace, other: str
) -> None:
    """WebEngage would hold two that nobody can tell apart: of two cohorts, of a cohort and a property, of two properties."""
    taken = "Café Straße"
    have(workspace, "plan", "gold")
    workspace.export(attribute=taken)
    workspace.cohort, first = workspace.sandbox.add_cohort("Others", [member("a", plan="x", age=1)]), workspace.cohort
    terms: list[tuple[dict[str, Any], str]] = [
        ({"attribute": other}, f"“{other}” already belongs to the cohort “Fans”"),
        ({"attribute": "Other", "mapping": (("plan", other),)}, f"“{other}” already belongs to the cohort “Fans”"),
        ({"attribute": other + "2", "mapping": (("plan", taken + "2"),)}, "is the cohort's own attribute"),
        ({"attribute": "Other", "mapping": (("plan", other + "2"), ("age", taken + "2"))}, "would get two properties"),
    ]
    for given, problem in terms:
        with pytest.raises(InvalidRequest, match=problem):
            workspace.start_export(**given)
    workspace.cohort = first
    workspace.export(attribute=taken, mapping=(("plan", "Menü"),))
    with pytest.raises(InvalidRequest, match="is called “Menü” in this WebEngage account"):
        workspace.start_export(attribute=taken, mapping=(("plan", "Menu\u0308"),))


@pytest.mark.parametrize(
    ("form", "values", "sent", "kind"),
    [
        (TEXT, ["a", 1, True, ["x"]], ["a", "1", "true", None], "string"),
        (JOINED, [["a", "b"], "c", []], ["a, b", "c", None], "string"),
        (NUMBER, ["x", "12", 2.5], [None, 12, 2.5], "number"),
        (YES_NO, ["maybe", "yes", False], [None, True, False], "boolean"),
        (DAY, ["soon", "2024-01-01T10:00:00+05:30"], [None, "2024-01-01T10:00:00+0530"], "date"),
        (GERMAN, ["none", "030 1234567", "+14155552671"], [None, "+49301234567", "+14155552671"], "string"),
        (EMAIL, ["none", "a@example.com"], [None, "a@example.com"], "string"),
    ],
)
def test_webengage_holds_values_of_the_chosen_type_only(
    workspace: EngineWorkspace, form: ValueForm, values: list[object], sent: list[object], kind: str
) -> None:
    """Even when the first value is one that does not fit: it would have fixed another type."""
    have(workspace, "value", *values)
    run = workspace.export(mapping=(("value", "Custom"),), forms=(("Custom", form.dump()),))
    assert (run.state, run.rejected) == (RunState.SUCCEEDED, 0)
    assert held(workspace, "Custom") == sent
    assert workspace.sandbox.attributes()["Custom"] == kind
    with Store.open(workspace.data_dir) as store:
        assert store.attributes.read_data_types(LICENSE) == {"Custom": kind}
    assert workspace.export().change_count == 0


def test_values_of_several_types_are_sent_as_text_when_nobody_chose_a_type(workspace: EngineWorkspace) -> None:
    """The first value fixes the type in WebEngage, so one of the others would be lost: as text none is."""
    have(workspace, "age", "five", True, "2024-01-01T00:00:00+0000", *range(9))
    workspace.export(mapping=AGE)
    assert held(workspace, "Age") == ["five", "true", None, *map(str, range(9))]
    assert f"age was left out for 1 person: {LOOKS_LIKE_DATE}." in events(workspace)
    assert workspace.export().change_count == 0


def test_an_attribute_keeps_the_type_of_its_first_export(workspace: EngineWorkspace) -> None:
    """A value of another type that comes later is left out and counted; a written number still is one."""
    have(workspace, "age", 5, 6)
    workspace.export(mapping=AGE)
    have(workspace, "age", "seven", "7")
    workspace.export()
    assert held(workspace, "Age") == [5, 7]
    assert "age was left out for 1 person: not a number." in events(workspace)
    with workspace.open() as service, pytest.raises(InvalidRequest, match="“Age” is of type number in WebEngage"):
        service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=AGE, forms=(("Age", "text"),))
        )


def test_a_type_is_fixed_by_what_was_sent_and_not_by_what_was_asked(workspace: EngineWorkspace) -> None:
    """A dry run that is cancelled, and an export in which nobody has a value, leave the type open."""
    have(workspace, "age", 5)
    run = workspace.export(mapping=AGE, dry_run=True, forms=(("Age", "number"),))
    with workspace.open() as service:
        service.runs.cancel(run.id)
    workspace.run_queued()
    have(workspace, "age", None)
    workspace.export(mapping=AGE, forms=(("Age", "date"),))
    have(workspace, "age", "five")
    workspace.export(mapping=AGE, forms=(("Age", "text"),))
    assert held(workspace, "Age") == ["five"]


def test_a_held_plan_without_a_chosen_type_is_sent_in_the_type_it_was_planned_in(workspace: EngineWorkspace) -> None:
    """The types of a plan stay with its run until somebody approves it."""
    have(workspace, "age", 5, "five")
    run = workspace.export(mapping=AGE, dry_run=True)
    assert run.state is RunState.HELD
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    assert held(workspace, "Age") == ["5", "five"]


def test_a_country_chosen_later_sends_the_numbers_that_were_left_out(workspace: EngineWorkspace) -> None:
    """Another form is other content of everybody, and a request that is not approved changes nothing."""
    have(workspace, "$phone", "030 1234567", "+14155552671")
    phone = (("$phone", "phone"),)
    workspace.export(mapping=phone)
    assert held(workspace, "phone") == [None, "+14155552671"]
    assert workspace.export(mapping=phone, dry_run=True, forms=(("phone", "phone,DE"),)).state is RunState.HELD
    with workspace.open() as service:
        assert service.cohorts.propose_export(PROJECT, workspace.cohort).forms == ()
        service.runs.approve(last(workspace).id)
    workspace.run_queued()
    assert held(workspace, "phone") == ["+49301234567", "+14155552671"]
    with workspace.open() as service:
        assert service.cohorts.propose_export(PROJECT, workspace.cohort).forms == (("phone", "phone,DE"),)
    assert workspace.export(mapping=phone).change_count == 0  # said once, it stays


def test_two_cohorts_write_an_attribute_in_one_form(workspace: EngineWorkspace) -> None:
    """The form belongs to the attribute: a second cohort that sends it does not undo what the first one chose."""
    have(workspace, "mobile", "030 1234567")
    mapping = (("mobile", "Mobile"),)
    workspace.export(mapping=mapping, forms=(("Mobile", "phone,DE"),))
    other = workspace.sandbox.add_cohort("Others", [member("fan-0", mobile="030 1234567")])
    with workspace.open() as service:
        service.syncs.start_export(PROJECT, other, ExportTerms(mode=Mode.DYNAMIC, mapping=mapping))
    workspace.run_queued()
    assert held(workspace, "Mobile") == ["+49301234567"]


def test_an_attribute_of_an_earlier_version_is_sent_as_before_until_somebody_chooses(
    workspace: EngineWorkspace,
) -> None:
    """Nobody noted its type, and one odd value must not decide it: all others would be dropped from then on."""
    have(workspace, "age", 5, 6)
    workspace.export(mapping=AGE)
    with open_database(workspace.data_dir) as db:
        db.execute("update attribute_owner set data_type = 'unknown', form = null where property is not null")
    have(workspace, "age", "five", 7)
    workspace.export()
    assert held(workspace, "Age") == [5, 7]
    with Store.open(workspace.data_dir) as store:
        assert store.attributes.read_data_types(LICENSE) == {}
    workspace.export(mapping=AGE, forms=(("Age", "number"),))
    assert "age was left out for 1 person: not a number." in events(workspace)
    with Store.open(workspace.data_dir) as store:
        assert store.attributes.read_data_types(LICENSE) == {"Age": "number"}


def test_mapped_attributes_of_an_earlier_schema_have_no_known_type(tmp_path: Path) -> None:
    """The file stored before types were noted."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript((Path(__file__).parent / "schemas" / "13.sql").read_text())
    with open_database(tmp_path) as db:
        assert db.execute("select data_type from attribute_owner where property = 'plan'").fetchone() == ("unknown",)


@pytest.mark.parametrize(
    ("target", "form", "words"),
    [
        ("email", "text", "holds e-mail values"),
        ("phone", "phone,XX", "“XX” is not a country"),
        ("birthDate", "number", "holds date values"),
    ],
)
def test_a_form_that_cannot_be_is_refused(workspace: EngineWorkspace, target: str, form: str, words: str) -> None:
    """Fields of WebEngage have their own type, and a country is one of two letters."""
    with workspace.open() as service, pytest.raises(InvalidRequest, match=words):
        service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=(("x", target),), forms=((target, form),))
        )


def test_an_attribute_in_other_letters_is_refused(workspace: EngineWorkspace) -> None:
    """WebEngage would make it another attribute, whose type nobody noted."""
    have(workspace, "age", 5)
    workspace.export(mapping=AGE)
    with workspace.open() as service, pytest.raises(InvalidRequest, match="“AGE” is called “Age”"):
        service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=(("age", "AGE"),)))


def test_more_attributes_of_a_type_than_webengage_holds_are_refused(workspace: EngineWorkspace) -> None:
    """The 26th would be dropped without a word; the attributes of cohorts are yes/no too."""
    pairs = tuple((f"p{at}", f"P{at}") for at in range(MAX_ATTRIBUTES + 1))
    texts = tuple((target, "text") for _, target in pairs)
    with workspace.open() as service, pytest.raises(InvalidRequest, match="already has 25 attributes of the type text"):
        service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=pairs, forms=texts)
        )
    mixed = (*texts[:-1], (texts[-1][0], "number"))
    with workspace.open() as service:
        service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=pairs, forms=mixed)
        )


def test_the_check_names_numbers_and_masked_examples(workspace: EngineWorkspace, cli: Cli) -> None:
    """How many fit, are empty and would be dropped, and why; no value is written out, or kept."""
    values = ["030 1234567", "+14155552671", None, "unlisted", 5]
    have(workspace, "mobile", *values)
    command = ["preview", str(workspace.cohort), "--map", "mobile=Mobile:phone"]
    done = cli(workspace.data_dir, *command, "--json")
    [found] = json.loads(done.stdout)["values"]
    assert (found["fits"], found["empty"], found["dropped"], found["type"]) == (1, 1, 3, "phone")
    assert "unlisted" not in done.stdout and "“u…” of 8 characters" in done.stdout
    national = cli(workspace.data_dir, *command, "--country", "de")
    assert "2 fit, 1 empty, 2 would be dropped." in national.stdout
    assert "\n  2 × neither an international phone number nor one of DE, for instance “u…”" in national.stdout
    assert b"unlisted" not in b"".join(path.read_bytes() for path in workspace.data_dir.iterdir() if path.is_file())


def test_types_and_a_country_are_options_of_export(workspace: EngineWorkspace, cli: Cli) -> None:
    """A plain --map goes on as it did; a country without a phone number is an error."""
    workspace.set_members(member("fan-0", **{"$phone": "030 1234567", "age": "5", "tags": ["a", "b"], "plan": "gold"}))
    options = ["--map", "$phone", "--map", "age=Age:number", "--map", "tags=Tags:list", "--map", "plan=Plan"]
    command = ["export", str(workspace.cohort), "--mode", "dynamic"]
    assert cli(workspace.data_dir, *command, "--map", "plan", "--country", "DE").returncode == 1
    done = cli(workspace.data_dir, *command, *options, "--country", "DE", "--wait")
    assert done.returncode == 0, done.stderr
    profile = workspace.sandbox.profile("fan-0") or {}
    assert profile["phone"] == "+49301234567"
    assert {name: profile["attributes"][name] for name in ("Age", "Tags", "Plan")} == {
        "Age": 5,
        "Tags": "a, b",
        "Plan": "gold",
    }


def test_taking_back_a_removal_leaves_the_values_to_the_next_refresh(workspace: EngineWorkspace) -> None:
    """Former values are not kept, so only the attribute is set again; who still belongs to the cohort is sent anew."""
    have(workspace, "age", 30, 40)
    workspace.export(mapping=AGE)
    have(workspace, "age", 30)
    with workspace.open() as service:
        undo = service.runs.undo(workspace.export().id)
    workspace.run_queued()
    approve(workspace, workspace.get_run(undo.run_id))
    assert workspace.holders() == {"fan-0", "fan-1"}
    have(workspace, "age", 30, 40)
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    refreshed = last(workspace)
    assert (refreshed.state, refreshed.updated, refreshed.unchanged) == (RunState.SUCCEEDED, 1, 1)
