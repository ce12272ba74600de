"""Check what happened to one person: looked up in snapshots, logs, plans and lists, and equal to what the sandbox holds."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from sync.errors import InvalidRequest
from sync.model import RunState
from sync.permissions import AccessLevel
from sync.reports import Person, Presence
from tests.sandbox.control import LICENSE, PROJECT, SECRET, USERNAME, member
from tests.workspace import ATTRIBUTE, Workspace, click_button, make_fans, page_text, sign_in_as

LONG_ID = "x" * 300


def look_up(workspace: Workspace, user_id: str) -> Person:
    """Return what is stored about a person."""
    with workspace.open() as service:
        return service.people.find(user_id)


def read_presence(workspace: Workspace, user_id: str) -> Presence:
    """Return what the only sync of a person says WebEngage holds."""
    [one] = look_up(workspace, user_id).syncs
    return one.presence


def test_person_when_added_and_removed_has_both_changes_with_runs_and_times(fans: Workspace) -> None:
    """WebEngage holds true, then false, as the answer says; the history names the runs, the newest first."""
    first = fans.export()
    [one] = look_up(fans, "fan-7").syncs
    assert (one.cohort_name, one.attribute, one.license_code) == ("Fans", ATTRIBUTE, LICENSE)
    assert (one.in_webengage, one.since, one.not_taken) == (True, first.finished_at, "")
    assert fans.sandbox.profile("fan-7")["attributes"][ATTRIBUTE] is True  # type: ignore[index]
    fans.sandbox.set_members(fans.cohort, [one for one in make_fans(30) if one["id"] != "fan-7"])
    second = fans.export()
    found = look_up(fans, "fan-7")
    assert [one.in_webengage for one in found.syncs] == [False]
    assert fans.sandbox.profile("fan-7")["attributes"][ATTRIBUTE] is False  # type: ignore[index]
    assert [(one.run_id, one.operation, one.outcome, one.at) for one in found.history] == [
        (second.id, "remove", "accepted", second.finished_at),
        (first.id, "add", "accepted", first.finished_at),
    ]


def test_person_when_unknown_has_nothing_and_an_empty_id_is_refused(fans: Workspace) -> None:
    """An id that only resembles a member's, or has quotes in it, finds nobody."""
    fans.export()
    for unknown in ("fan-", "FAN-7", "fan-7 ", 'fan-7","fan-8', "nobody"):
        assert not look_up(fans, unknown).is_known, unknown
    with pytest.raises(InvalidRequest, match="Type the User ID"):
        look_up(fans, "  ")


def test_person_when_looked_up_in_one_project_is_on_no_list_of_another(fans: Workspace) -> None:
    """The tripwires of the other project are left out; a never-export list is of an account, so it stays."""
    fans.sandbox.add_project(77, "Second", username=USERNAME, secret=SECRET, role="admin")
    with fans.open() as service:
        service.connections.connect_mixpanel(77, USERNAME, SECRET, fans.sandbox.url)
        service.safety.add_tripwires(77, None, ["fan-1"])
        service.safety.add_never_export(LICENSE, ["fan-1"])
        found = {number: service.people.find("fan-1", number).lists for number in (PROJECT, 77)}
    assert [one.kind for one in found[PROJECT]] == ["never-export"]
    assert {one.kind for one in found[77]} == {"never-export", "tripwire"}


def test_person_when_the_id_has_quotes_and_other_letters_is_found(fans: Workspace) -> None:
    """Ids are found letter by letter."""
    odd = 'Zoë "Z" \\ O’Hara'
    fans.sandbox.set_members(fans.cohort, [member(odd), member('x"Zoë')])
    fans.export()
    assert read_presence(fans, odd) is Presence.SENT_TRUE
    assert not look_up(fans, "Zoë").is_known


def test_person_when_rejected_or_invalid_says_why(fans: Workspace) -> None:
    """The reason stands at the sync and in the history, and nobody claims that WebEngage holds them."""
    fans.sandbox.poison("fan-3")
    fans.sandbox.set_members(fans.cohort, [*make_fans(30), member(LONG_ID)])
    run = fans.export()
    assert (run.rejected, run.invalid) == (1, 1)
    found = look_up(fans, "fan-3")
    [one], [line] = found.syncs, found.history
    assert one.in_webengage is None and one.presence is Presence.NEVER_SENT
    assert (line.operation, line.outcome) == ("add", "rejected")
    assert one.not_taken == line.reason != ""
    found = look_up(fans, LONG_ID)
    assert [(one.operation, one.outcome) for one in found.history] == [("none", "invalid")]
    assert found.syncs[0].not_taken == found.history[0].reason != ""


def test_person_when_a_run_is_held_is_shown_as_not_sent_yet(fans: Workspace) -> None:
    """What is only planned changes nothing that is said of WebEngage."""
    run = fans.export(dry_run=True)
    assert run.state is RunState.HELD
    found = look_up(fans, "fan-1")
    assert [(one.operation, one.outcome, one.ended) for one in found.history] == [("add", "not sent", False)]
    assert [one.presence for one in found.syncs] == [Presence.NEVER_SENT]


def test_person_when_a_run_under_way_was_answered_is_known_before_it_ends(fans: Workspace) -> None:
    """Confirmed counts as sent, in flight as unconfirmed, although the snapshot is not written yet."""
    run = fans.export(dry_run=True)
    with fans.open_store() as store:
        batches = {user_id: at // 25 for at, user_id in enumerate(store.batches.block(run.id, 0).ids)}
        store.batches.mark_in_flight(run.id, (0, 1))
        store.batches.confirm(run.id, 0)
    confirmed, in_flight = (next(one for one in batches if batches[one] == number) for number in (0, 1))
    assert read_presence(fans, confirmed) is Presence.SENT_TRUE
    assert read_presence(fans, in_flight) is Presence.UNCONFIRMED


def test_person_when_no_answer_was_heard_is_unconfirmed(fans: Workspace) -> None:
    """The snapshot may be right or not, and so nothing is claimed."""
    fans.export()
    with fans.open_store() as store:
        store.snapshot.unconfirm()
    assert [one.in_webengage for one in look_up(fans, "fan-1").syncs] == [None]
    assert read_presence(fans, "fan-1") is Presence.UNCONFIRMED


def test_person_when_on_lists_has_them_with_note_and_author(fans: Workspace) -> None:
    """The never-export list of an account and tripwires, for one cohort and for any; also of somebody never seen."""
    with fans.open() as service:
        service.cohorts.list(PROJECT)
        service.safety.add_never_export(None, ["stranger"], "asked by e-mail")
        service.safety.add_tripwires(PROJECT, fans.cohort, ["stranger"])
        service.safety.add_tripwires(PROJECT, None, ["stranger"])
    found = look_up(fans, "stranger")
    assert found.is_known and not found.syncs
    assert {(one.kind, one.license_code, one.cohort_name, one.note) for one in found.lists} == {
        ("never-export", LICENSE, None, "asked by e-mail"),
        ("tripwire", None, "Fans", ""),
        ("tripwire", None, None, ""),
    }


def test_person_when_forgotten_is_unknown(fans: Workspace) -> None:
    """Nothing of what was found before is found after it."""
    fans.export()
    with fans.open() as service:
        service.admin.forget_person("fan-2")
    assert not look_up(fans, "fan-2").is_known
    assert look_up(fans, "fan-3").is_known


def test_an_id_that_has_an_invisible_character_in_mixpanel_is_found_and_forgotten(fans: Workspace) -> None:
    """Nothing is refused while something is stored by exactly this id; then the character is what to look at."""
    odd = "ann\u200b"
    fans.sandbox.set_members(fans.cohort, [member(odd)])
    fans.export()
    assert look_up(fans, odd).is_known
    with fans.open() as service:
        assert service.admin.forget_person(odd).places
        for again in (service.admin.forget_person, service.people.find):
            with pytest.raises(InvalidRequest, match=r"This User ID has an invisible character \(U\+200B\)"):
                again(odd)


def test_looking_somebody_up_is_audited_once_an_hour_without_the_id(fans: Workspace) -> None:
    """A fingerprint names the person: the same one that forgetting them uses."""
    fans.export()
    for user_id in ("fan-1", "fan-1", "fan-2"):
        look_up(fans, user_id)
    fans.ahead += 3700
    look_up(fans, "fan-1")
    with fans.open() as service:
        service.admin.forget_person("fan-1")
        lines = service.admin.list_audit(50)
    looked = [one.target for one in lines if one.action == "look up a person"]
    assert len(looked) == 3 and looked[0] == looked[2] != looked[1]
    assert looked[0] in {one.target for one in lines if one.action == "forget a person"}
    assert "fan-" not in json.dumps([(one.target, one.before, one.after) for one in lines])


def test_person_command_answers_what_the_contract_says(fans: Workspace) -> None:
    """Scripts find sync, attribute, whether it is in WebEngage, the history and the lists."""
    run = fans.export()
    with fans.open() as service:
        service.safety.add_never_export(None, ["fan-4"])
    answer = fans.read_answer("person", "fan-4")
    assert answer["user_id"] == "fan-4" and answer["known"] is True
    [sync], [line], [listed] = answer["syncs"], answer["history"], answer["lists"]
    assert (sync["sync_id"], sync["cohort_name"], sync["attribute"], sync["in_webengage"]) == (
        run.sync_id,
        "Fans",
        ATTRIBUTE,
        True,
    )
    assert {name: line[name] for name in ("at", "run_id", "operation", "outcome", "reason")} == {
        "at": run.finished_at,
        "run_id": run.id,
        "operation": "add",
        "outcome": "accepted",
        "reason": "",
    }
    assert listed["kind"] == "never-export"
    assert fans.read_answer("person", "nobody") == {
        "user_id": "nobody",
        "known": False,
        "syncs": [],
        "history": [],
        "lists": [],
        "known_by": [],
    }
    assert fans.read_answer("person", "fan-4", "--project", str(PROJECT))["known"] is True
    text = fans.run_command("person", "nobody")
    assert text.exit_code == 0 and "Nothing is stored about this person" in text.output
    text = fans.run_command("person", "fan-4")
    assert "never-export list" in text.output and ATTRIBUTE in text.output


def ask_page(workspace: Workspace, user_id: str) -> AppTest:
    """Look somebody up on the page."""
    app = workspace.page("people")
    app.text_input(key="person-id").set_value(user_id)
    click_button(app, "Look up")
    return app


@pytest.mark.slow
def test_people_page_when_asked_shows_cohorts_history_and_lists(fans: Workspace) -> None:
    """Words for a marketer; the id stays out of the address."""
    fans.sandbox.poison("fan-3")
    run = fans.export()
    app = ask_page(fans, "fan-1")
    text = page_text(app)
    for words in (f"✓ {ATTRIBUTE} = true", "✓ Sent to WebEngage"):
        assert words in text, words
    assert {"Fans", f"Run {run.id}"} <= {button.label for button in app.button}
    assert "user" not in app.query_params and "fan-1" not in str(app.query_params)
    assert f"{ATTRIBUTE} was never set" in page_text(ask_page(fans, "fan-3"))
    assert "✗ Rejected by WebEngage" in page_text(ask_page(fans, "fan-3"))
    assert "Nothing is stored about this person" in page_text(ask_page(fans, "fan-31"))
    assert "Type the User ID" in page_text(ask_page(fans, " "))


@pytest.mark.slow
def test_people_page_when_a_person_is_put_on_the_list_and_forgotten_says_so(fans: Workspace) -> None:
    """Each in a dialog that says what it does; the next run sets the attribute to false."""
    fans.export()
    app = ask_page(fans, "fan-1")
    click_button(app, "Never export")
    click_button(app, "Cancel")
    assert "Never sent to WebEngage account" not in page_text(app) and not look_up(fans, "fan-1").lists
    click_button(app, "Never export")
    app.text_input(key="person-note").set_value("asked by phone")
    click_button(app, "Put on the list")
    text = page_text(app)
    assert "On the never-export list from now on." in text and "Note: asked by phone" in text
    fans.export()
    assert "fan-1" not in fans.sandbox.holding(ATTRIBUTE)[0]
    app = ask_page(fans, "fan-1")
    assert f"{ATTRIBUTE} = false" in page_text(app)
    click_button(app, "Forget")
    assert "This cannot be undone." in page_text(app)
    click_button(app, "Cancel")
    assert "This cannot be undone." not in page_text(app) and look_up(fans, "fan-1").history
    click_button(app, "Forget")
    click_button(app, "Forget this person")
    assert "Kept on 1 never-export list or tripwire by a hash alone" in page_text(app)
    assert not look_up(fans, "fan-1").history


@pytest.mark.slow
def test_forgetting_somebody_who_is_true_in_webengage_says_so_before_and_after(fans: Workspace) -> None:
    """On the never-export list, and forgotten before the next run, they would stay true and nothing would say so."""
    fans.export()
    with fans.open() as service:
        service.safety.add_never_export(None, ["fan-1", "fan-2"])
    app = ask_page(fans, "fan-1")
    click_button(app, "Forget")
    assert "WebEngage has them as true for “Fans”, and keeps that" in page_text(app)
    click_button(app, "Forget this person")
    assert "WebEngage still has them as true for “Fans”, and nothing here can set that to false" in page_text(app)
    answer = fans.read_answer("forget", "fan-2")
    assert answer["stay_true"] == ["Fans"]
    fans.export()
    assert fans.sandbox.holding(ATTRIBUTE)[0] >= {"fan-1", "fan-2"}  # as was said
    assert "forgotten here" in page_text(ask_page(fans, "fan-1"))
    assert fans.read_answer("person", "fan-1")["lists"][0]["forgotten"] is True
    assert fans.read_answer("forget", "fan-1")["stay_true"] == []


@pytest.mark.parametrize(
    ("level", "buttons"),
    [
        (AccessLevel.VIEWER, set()),
        (AccessLevel.MARKETER, {"Never export"}),
        (AccessLevel.ADMIN, {"Never export", "Forget"}),
    ],
)
def test_people_page_shows_the_buttons_of_the_access_level(
    fans: Workspace, monkeypatch: pytest.MonkeyPatch, level: AccessLevel, buttons: set[str]
) -> None:
    """A viewer may look, a marketer may keep out, an admin may forget."""
    sign_in_as(monkeypatch, "pat@example.com", level)
    shown = {button.label for button in ask_page(fans, "fan-1").button}
    assert shown & {"Never export", "Forget"} == buttons
