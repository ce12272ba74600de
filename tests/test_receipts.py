"""The receipt of a cohort: its numbers are those of the sandbox, and people shared are counted exactly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from pages.parts.formatting import format_full_time
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.reports import Receipt
from sync.service import Service
from sync.steps import Steps
from sync.store.snapshot import FIRST_BYTES, Bucket
from tests.sandbox.control import LICENSE, PROJECT, anonymous, member
from tests.workspace import ATTRIBUTE, Workspace, make_fans, page_text


def read_receipt(workspace: Workspace, cohort: int | None = None) -> Receipt:
    """Return the receipt of a cohort."""
    with workspace.open() as service:
        return service.receipts.read(PROJECT, cohort or workspace.cohort)


def count_holding(workspace: Workspace) -> int:
    """Return for how many people the attribute of the cohort "Fans" is true in the sandbox."""
    return len(workspace.sandbox.holding(ATTRIBUTE)[0])


@pytest.mark.slow
def test_receipt_when_exported_has_the_numbers_of_the_sandbox(fans: Workspace) -> None:
    """Accepted, rejected, anonymous, invalid and on the list: each member is counted once."""
    others = [*(anonymous(f"device-{number}") for number in range(4)), member("x" * 300), member("y" * 300)]
    fans.sandbox.set_members(fans.cohort, [*make_fans(30), *others])
    fans.sandbox.poison("fan-1", "fan-2", "fan-3")
    with fans.open() as service:
        service.safety.add_never_export(None, ["fan-9"])
    run = fans.export()
    found = read_receipt(fans)
    assert (found.accepted, found.unconfirmed, found.rejected) == (count_holding(fans), 0, 3) == (26, 0, 3)
    assert (found.never_exported, found.anonymous, found.invalid, found.exact) == (1, 4, 2, True)
    assert (found.run.id, found.as_of, found.remarks) == (run.id, run.planned_at, ())
    assert found.requested and "command line" in found.requested.actor and found.approved is None
    assert found.sentence.startswith("As of 20") and f"26 people of “Fans” have the attribute “{ATTRIBUTE}”" in (
        found.sentence
    )
    assert "3 rejected by WebEngage, 1 on the never-export list, 4 anonymous, 2 with an invalid" in found.sentence


@pytest.mark.slow
def test_receipt_when_rejected_people_left_or_were_forgotten_counts_them_no_more(fans: Workspace) -> None:
    """A rejection of somebody who is gone says nothing about the cohort of now."""
    fans.sandbox.poison("fan-1", "fan-2", "fan-3")
    fans.export()
    assert read_receipt(fans).rejected == 3
    with fans.open() as service:
        service.admin.forget_person("fan-2")
        service.admin.forget_person("fan-9")
    assert read_receipt(fans).rejected == 2
    fans.sandbox.set_members(fans.cohort, make_fans(30)[2:])
    fans.export()
    assert (read_receipt(fans).rejected, read_receipt(fans).accepted) == (2, count_holding(fans))


def test_receipt_names_no_approval_of_a_run_that_sent_nothing(fans: Workspace) -> None:
    """An approved run that was cancelled before it was sent is not what these people were approved by, nor is a later one."""
    first = fans.export()
    fans.sandbox.set_members(fans.cohort, make_fans(300))
    held = fans.export()
    assert held.state is RunState.HELD
    with fans.open() as service:
        service.runs.approve(held.id)
    found = read_receipt(fans)
    assert (found.run.id, found.approved) == (first.id, None)
    with fans.open() as service:
        service.runs.cancel(held.id)
    fans.run_queued()
    fans.sandbox.set_members(fans.cohort, make_fans(31))
    last = fans.export()
    found = read_receipt(fans)
    assert (found.run.id, found.approved) == (last.id, None)
    assert found.requested and found.requested.run_id <= last.id


def test_receipt_when_a_removal_or_an_update_was_rejected_counts_them_as_held(fans: Workspace) -> None:
    """WebEngage still holds true for both, and the receipt says that one of them left."""
    fans.export(mapping=(("$email", "email"),))
    fans.sandbox.poison("fan-1", "fan-2")
    fans.sandbox.set_members(
        fans.cohort, [*make_fans(30)[3:], make_fans(1)[0], member("fan-2", **{"$email": "new@example.com"})]
    )
    fans.export()
    found = read_receipt(fans)
    assert (found.accepted, found.left_behind, found.rejected) == (count_holding(fans), 1, 0) == (30, 1, 0)


def test_receipt_when_answers_were_not_heard_counts_them_apart(fans: Workspace) -> None:
    """What may have been sent is unconfirmed, and the sentence says so."""
    fans.export()
    with fans.open_store() as store:
        store.snapshot.unconfirm()
    found = read_receipt(fans)
    assert (found.accepted, found.unconfirmed) == (0, 30)
    assert "30 of them not confirmed" in found.sentence


def test_receipt_when_a_person_approved_names_who_and_which_run(fans: Workspace) -> None:
    """The last approval of a run of this sync, not of another one."""
    other = fans.sandbox.add_cohort("Others", [member("other-1")])
    held = fans.export(dry_run=True)
    with pytest.raises(InvalidRequest, match="No run of “Fans” has succeeded yet"):
        read_receipt(fans)
    with fans.open() as service:
        service.runs.approve(held.id)
    fans.run_queued()
    of_other = fans.export(other, dry_run=True)
    with fans.open() as service:
        service.runs.approve(of_other.id)
    found = read_receipt(fans)
    assert found.approved and found.approved.run_id == held.id
    assert f"approved by {found.approved.actor} (run {held.id})" in found.sentence


def test_receipt_while_a_run_is_held_says_whether_it_has_sent_anybody(fans: Workspace) -> None:
    """“It may have sent a part already” was said of a dry run; of a first step it is known how many were sent."""
    fans.export()
    fans.sandbox.set_members(fans.cohort, make_fans(60))
    run = fans.export(dry_run=True)
    assert read_receipt(fans).remarks[0] == (
        f"Run {run.id} has not ended: it waits for approval and has sent nobody yet. Look again when it has ended."
    )
    with fans.open() as service:
        service.runs.cancel(run.id)
    run = fans.export(steps=Steps(first=10))
    found = read_receipt(fans)
    assert (found.in_webengage, found.changed_since) == (30, "") and found.remarks[0] == (
        f"Run {run.id} has not ended: it has sent 10 people so far, and these numbers are those before it. "
        "Look again when it has ended."
    )


def test_receipt_while_a_run_has_not_begun_says_that_it_has_sent_nobody(fans: Workspace) -> None:
    """“It may have sent a part already” was said of a run that no runner had touched."""
    fans.export()
    run_id = fans.start_export()
    assert read_receipt(fans).remarks[0] == (
        f"Run {run_id} has not ended: it has not begun and has sent nobody yet. Look again when it has ended."
    )


def test_receipt_when_later_runs_or_members_changed_says_so(fans: Workspace) -> None:
    """A held run, a paused sync, a cohort that grew since, and a clear are remarks."""
    first = fans.export()
    fans.sandbox.set_members(fans.cohort, make_fans(40))
    with fans.open() as service:
        service.cohorts.preview(PROJECT, fans.cohort, fresh=True)
        held = service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=True)).run_id
    fans.run_queued()
    found = read_receipt(fans)
    assert found.run.id == first.id
    assert f"Run {held} has not ended" in found.remarks[0]
    assert "Mixpanel has 40 identified members, the run read 30" in found.remarks[1]
    with fans.open() as service:
        service.runs.cancel(held)
        service.syncs.stop(first.sync_id, clear=True)
    fans.run_queued()
    found = read_receipt(fans)
    assert found.in_webengage == count_holding(fans) == 0
    assert "has since set everybody to false" in found.remarks[0]
    assert "export it once more if" in found.remarks[1]  # nothing else sends it again
    cancelled = fans.export(dry_run=True).id
    with fans.open() as service:
        service.runs.cancel(cancelled)
    found = read_receipt(fans)
    assert f"Run {cancelled} came later and was cancelled" in found.remarks[0]
    assert "has since set everybody to false" in found.remarks[1]


def test_receipt_when_an_export_goes_in_steps_waits_for_the_last_one(fans: Workspace) -> None:
    """Until everybody is sent the refusal says how far it is; then the receipt names who let it go on."""
    held = fans.export(steps=Steps(first=10))
    with pytest.raises(InvalidRequest, match="Sent for 10 people so far; 20 wait for approval"):
        read_receipt(fans)
    with fans.open() as service:
        known = fans.sandbox.holding(ATTRIBUTE)[0]
        assert {one for one in fans.sandbox.exportable(fans.cohort) if is_true(service, one)} == known
        service.runs.approve(held.id)
    fans.run_queued()
    found = read_receipt(fans)
    assert found.accepted == count_holding(fans) == 30
    assert found.approved and found.approved.run_id == held.id


def is_true(service: Service, user_id: str) -> bool:
    """Return whether the page of a person says that WebEngage holds true."""
    return any(one.in_webengage for one in service.people.find(user_id).syncs)


def test_receipt_when_a_run_was_taken_back_has_the_numbers_of_the_sandbox(fans: Workspace) -> None:
    """It says that a run was taken back, and so does the history of who was in it."""
    fans.export()
    fans.sandbox.set_members(fans.cohort, make_fans(40))
    run = fans.export()
    with fans.open() as service:
        undo = service.runs.undo(run.id).run_id
    fans.run_queued()
    with fans.open() as service:
        service.runs.approve(undo)
    fans.run_queued()
    found = read_receipt(fans)
    assert (found.accepted, found.rejected) == (count_holding(fans), 0) == (30, 0)
    assert f"Run {undo} has taken back what an earlier run changed." in found.remarks
    assert "The sync is paused" in found.remarks[1]
    with fans.open() as service:
        person = service.people.find("fan-35")
        assert [(one.run_id, one.operation) for one in person.history] == [(undo, "remove"), (run.id, "add")]
        assert not is_true(service, "fan-35") and is_true(service, "fan-5")


@pytest.mark.parametrize("how", ["cleared", "cleared and tried again", "taken back", "emptied"])
def test_receipt_of_nobody_says_why_and_as_of_when_and_claims_no_send(fans: Workspace, how: str) -> None:
    """Who quotes it must not read that people were sent who are false, as of a time at which they were true."""
    run = fans.export()
    with fans.open() as service:
        if how == "taken back":
            undo_id = service.runs.undo(run.id).run_id
        elif how == "emptied":
            fans.sandbox.set_members(fans.cohort, [])
            undo_id = service.syncs.refresh_now(run.sync_id).run_id
        else:
            service.syncs.stop(run.sync_id, clear=True)
    fans.run_queued()
    if how in ("taken back", "emptied"):
        with fans.open() as service:
            service.runs.approve(undo_id)
        fans.run_queued()
    if how == "cleared and tried again":
        with fans.open() as service:
            service.runs.cancel(fans.start_export())
    assert count_holding(fans) == 0
    found, last = read_receipt(fans), fans.get_run(2)
    assert found.in_webengage == 0 and found.as_of == (last.planned_at if how == "emptied" else last.finished_at)
    assert "Sent by" not in found.sentence and "No member is left out" not in found.sentence
    why = {"taken back": "run 2 took back run 1", "emptied": "Last read by run 2."}
    assert why.get(how, "run 2 set 30 people to false") in found.sentence


def test_receipt_when_people_in_webengage_are_on_a_list_now_says_how_many(fans: Workspace) -> None:
    """Who was put on the never-export list after the run is still true; a tripwire that was approved is, too."""
    fans.export()
    with fans.open() as service:
        service.safety.add_never_export(None, ["fan-1", "fan-2", "stranger"])
        service.safety.add_tripwires(PROJECT, fans.cohort, ["fan-3"])
        service.safety.add_tripwires(PROJECT, fans.sandbox.add_cohort("Others"), ["fan-4"])
    found = read_receipt(fans)
    assert (found.accepted, found.never_exported) == (count_holding(fans), 0) == (30, 0)
    assert found.remarks == (
        "2 people in WebEngage are on the never-export list now; the next run sets them to false.",
        "1 person in WebEngage is a tripwire: they must not be in this cohort.",
    )


def test_receipt_when_mixpanel_cannot_be_asked_says_what_is_not_known(fans: Workspace) -> None:
    """The anonymous are those a run does not read; everything else stands."""
    fans.export()
    fans.sandbox.fault("status", api="mixpanel", code=401, times=0)
    found = read_receipt(fans)
    assert found.anonymous is None and found.accepted == 30
    assert "The anonymous members could not be counted" in found.remarks[0]
    assert "How many members are anonymous is not known." in found.sentence and "left out" not in found.sentence


def test_receipt_when_the_cohort_was_never_exported_is_refused(fans: Workspace) -> None:
    """The sentence says what to do."""
    with pytest.raises(InvalidRequest, match=r"never exported to WebEngage.*export it first"):
        read_receipt(fans)


@pytest.mark.slow
def test_overlap_when_cohorts_share_people_is_the_number_of_both(fans: Workspace) -> None:
    """Whatever their sizes, and so however their snapshots are cut into buckets."""
    others = {
        "Large": make_fans(9_000),
        "Some": [member(f"fan-{number}") for number in range(20, 60)],
        "None": [member("other")],
    }
    fans.sandbox.settings(bulk_per_minute=100_000)
    fans.export()
    numbers = {name: fans.sandbox.add_cohort(name, members) for name, members in others.items()}
    for number in numbers.values():
        fans.export(number)
    found = read_receipt(fans).overlaps
    assert [(one.cohort_name, one.size, one.shared) for one in found] == [
        ("Large", 9_000, 30),
        ("Some", 40, 10),
        ("None", 1, 0),
    ]
    assert {one.cohort_name: one.shared for one in read_receipt(fans, numbers["Large"]).overlaps} == {
        "Fans": 30,
        "Some": 40,
        "None": 0,
    }
    with fans.open() as service:
        chosen = service.receipts.read(PROJECT, fans.cohort, [found[1].sync_id]).overlaps
        assert [one.cohort_name for one in chosen] == ["Some"]
        assert [one.cohort_name for one in service.receipts.list_comparable(1)] == ["Large", "Some", "None"]


def test_overlap_when_buckets_are_cut_at_any_bytes_is_exact(fans: Workspace) -> None:
    """Snapshots of every mixture of widths, empty buckets included, are compared without losing anybody."""
    people = [bytes([first, number]) * 8 for first in range(FIRST_BYTES) for number in range(3)]
    cuts = {1: (0, 256), 2: (0, 64, 128, 256), 3: (0, 2, 4, 130, 131, 256), 4: (96, 160, 256)}
    chosen = {number: [one for at, one in enumerate(people) if at % (number + 1) == 0] for number in cuts}
    for name in ("Fans", "B", "C", "D"):
        fans.export(fans.cohort if name == "Fans" else fans.sandbox.add_cohort(name, [member("one")]))
    with fans.open_store() as store:
        for number, bounds in cuts.items():
            records = bytearray(b"".join(one + b"\1" * 8 for one in chosen[number]))
            everybody = Bucket(records, [one.hex() for one in chosen[number]])
            store.snapshot.write(number, 0, FIRST_BYTES, Bucket(bytearray(), []))
            for low, high in pairwise(bounds):
                store.snapshot.write(number, low, high, everybody.cut(low, high))
        for one in cuts:
            for other in cuts:
                inside = {who for who in chosen[one] if who[0] >= 96 or 4 not in (one, other)}
                assert store.snapshot.count_shared(one, other) == len(inside & set(chosen[other])), (one, other)


def test_reading_when_others_write_meanwhile_sees_one_state(fans: Workspace) -> None:
    """The numbers of a receipt belong together, though a run may end between two of them."""
    fans.export()
    with fans.open_store() as store, fans.open_store() as other:
        with store.reading():
            assert store.snapshot.count_unconfirmed(1) == 0
            other.snapshot.unconfirm()
            assert store.snapshot.count_unconfirmed(1) == 0
        assert store.snapshot.count_unconfirmed(1) == 30


def test_receipt_command_answers_numbers_and_a_sentence(fans: Workspace) -> None:
    """Scripts get everything as JSON, people the sentence and a table."""
    run = fans.export()
    other = fans.export(fans.sandbox.add_cohort("Others", make_fans(5)))
    done = fans.run_command("receipt", str(fans.cohort), "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    expected = {"accepted": 30, "unconfirmed": 0, "rejected": 0, "anonymous": 0, "invalid": 0, "never_exported": 0}
    assert {name: answer[name] for name in expected} == expected
    assert (answer["license_code"], answer["in_webengage"], answer["run"]["id"]) == (LICENSE, 30, run.id)
    assert run.state is RunState.SUCCEEDED and answer["run"]["state"] == "succeeded"
    assert [(one["sync_id"], one["shared"]) for one in answer["overlaps"]] == [(other.sync_id, 5)]
    text = fans.run_command("receipt", str(fans.cohort), "--with", str(other.sync_id)).output
    assert answer["sentence"] in text and "Others" in text


@pytest.mark.slow
def test_receipt_page_shows_the_sentence_numbers_and_shared_people(fans: Workspace) -> None:
    """It opens from the page of the sync; whom to compare with is chosen, the largest first."""
    run = fans.export()
    fans.export(fans.sandbox.add_cohort("Others", make_fans(5)))
    app = fans.page("syncs", sync=str(run.sync_id))
    assert "Receipt" in {link.proto.label for link in app.get("page_link")}
    app = fans.page("receipt", cohort=str(fans.cohort))
    text = page_text(app)
    assert app.title[0].value == "Receipt: Fans"
    for words in (
        "30 people of “Fans” have the attribute",
        "Accepted",
        "nobody; no run needed an approval",
    ):
        assert words in text, words
    assert f"As of {format_full_time(run.planned_at or 0)}" in text and str(datetime.now(UTC).year) in text
    assert "5 in both, 17 %; 5 in that one" in text
    app.multiselect(key="receipt-compared").set_value([]).run()
    assert "in both, " not in page_text(app)


def test_receipt_page_when_there_is_none_says_what_to_do(fans: Workspace) -> None:
    """A cohort that was never exported, an address without a cohort."""
    assert "never exported to WebEngage" in page_text(fans.page("receipt", cohort=str(fans.cohort)))
    assert "Open a cohort that is exported" in page_text(fans.page("receipt"))


def test_receipt_names_the_mode_asked_for_beside_that_of_its_run(fans: Workspace) -> None:
    """Of a cleared cohort the page of the sync has the mode that was asked for since, which nobody let go ahead yet."""
    fans.export(mode=Mode.DYNAMIC)
    assert "Dynamic" in page_text(fans.page("receipt", cohort=str(fans.cohort))).splitlines()
    with fans.open() as service:
        service.syncs.stop(1, clear=True)
    fans.run_queued()
    fans.export(mode=Mode.ONE_TIME, dry_run=True)
    assert "One-time]" in page_text(fans.page("syncs", sync="1"))
    asked = "Dynamic; one-time was requested since, and has not gone ahead"
    assert asked in page_text(fans.page("receipt", cohort=str(fans.cohort))).splitlines()
