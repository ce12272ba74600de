"""Change by a configuration file what it says of one sync, and nothing that it does not say."""

from __future__ import annotations

import pytest

from sync.cadence import DailyTime, find_end, format_moment
from sync.config_file.parsing import parse_configuration
from sync.errors import InvalidRequest
from sync.model import Mode, RunState, SyncState
from sync.records import SyncView
from tests.sandbox.control import API_KEY_2, LICENSE, LICENSE_2, PROJECT, member
from tests.workspace import ATTRIBUTE, Workspace

CUSTOMER = "customer"
MAPPING = "mapping: [{property: plan, attribute: Plan, type: text}]"
PHONES = {"mapping": (("$phone", "phone"), ("plan", "Plan")), "forms": (("phone", "phone,DE"),)}


@pytest.fixture
def connected(connected: Workspace) -> Workspace:
    """Connect a workspace, and give it a cohort whose people have properties."""
    people = [member(f"fan-{n}", plan="gold", **{"$phone": "030 901820", CUSTOMER: f"c-{n}"}) for n in range(3)]
    connected.cohort = connected.sandbox.add_cohort("Fans", people)
    return connected


def apply(workspace: Workspace, *lines: str, mode: str = "dynamic") -> tuple[str, ...]:
    """Apply a file of one sync with these lines, and return what it changed."""
    entry = "".join(f"  {line}\n" for line in (f"cohort: {workspace.cohort}", f"mode: {mode}", *lines))
    text = f"version: 1\nsyncs:\n- project: {PROJECT}\n{entry}"
    with workspace.open() as service:
        plan = service.configuration.apply(parse_configuration(text.encode()), lambda _: [])
    return tuple(one.text for one in plan.changes)


def get_sync(workspace: Workspace) -> SyncView:
    """Return the only sync."""
    with workspace.open() as service:
        (sync,) = service.syncs.list()
    return sync


def count_runs(workspace: Workspace) -> int:
    """Return how many runs there were."""
    with workspace.open() as service:
        return len(service.runs.list())


def test_a_new_cohort_when_the_file_says_everything_is_exported_on_those_terms(connected: Workspace) -> None:
    """Another attribute, another User ID or a property that is left out would be other people, or other values."""
    daily = ("at: '07:30'", "zone: Asia/Kolkata", "until: 2099-03-31")
    apply(
        connected, "attribute: VIP", f"user_id_property: {CUSTOMER}", *daily, MAPPING.replace("text", "'text,joined'")
    )
    connected.run_queued()
    sync = get_sync(connected)
    assert (sync.attribute, sync.id_property, sync.daily) == ("VIP", CUSTOMER, DailyTime("07:30", "Asia/Kolkata"))
    assert sync.ends_at == find_end("2099-03-31", "Asia/Kolkata")
    assert connected.sandbox.holding("VIP")[0] == {"c-0", "c-1", "c-2"}
    with connected.open() as service:
        assert dict(service.cohorts.propose_export(PROJECT, connected.cohort).forms) == {"Plan": "text,joined"}


def test_a_new_cohort_when_the_file_names_another_account_than_its_project_uses_is_not_exported(
    connected: Workspace,
) -> None:
    """The account is permanent, so people must not be sent to one that the file does not say."""
    with connected.open() as service:
        service.connections.connect_webengage(LICENSE_2, API_KEY_2, connected.sandbox.url)
    with pytest.raises(InvalidRequest, match=f"exported to WebEngage account {LICENSE} now"):
        apply(connected, f"account: {LICENSE_2}")
    apply(connected, f"account: {LICENSE}")
    with pytest.raises(InvalidRequest, match=f"the account of sync 1 is “{LICENSE}”, and that is permanent"):
        apply(connected, f"account: {LICENSE_2}")


@pytest.mark.parametrize("state", ["paused", "finished"])
def test_a_new_cohort_when_the_file_has_it_paused_or_finished_is_not_exported(connected: Workspace, state: str) -> None:
    """Nobody is sent for a sync that is to rest."""
    assert apply(connected, f"state: {state}") == () and count_runs(connected) == 0


def test_a_finished_sync_when_the_file_says_other_terms_too_is_stopped_only(connected: Workspace) -> None:
    """What ends a sync sends nobody, also where the file has another interval and other properties."""
    connected.export()
    assert apply(connected, "state: finished", "every: 6h", MAPPING) == ("Stop sync 1, now active.",)
    assert apply(connected, "state: finished", "every: 6h", MAPPING) == () and count_runs(connected) == 1


def test_a_finished_sync_when_the_file_has_it_active_is_exported_again(connected: Workspace) -> None:
    """On the terms it had; a file that says no state leaves it finished."""
    connected.export()
    with connected.open() as service:
        service.syncs.stop(1)
    assert apply(connected) == ()
    (change,) = apply(connected, "state: active")
    assert change.endswith("and export it.") and apply(connected, "state: active") == ()
    connected.run_queued()
    assert (get_sync(connected).state, count_runs(connected)) == (SyncState.ACTIVE, 2)


@pytest.mark.parametrize("line", ["every: 6h", MAPPING, f"user_id_property: {CUSTOMER}", "until: 2099-03-31"])
def test_a_stopped_sync_when_the_file_says_other_terms_and_no_state_stays_stopped(
    connected: Workspace, line: str
) -> None:
    """A person stopped it, and a file that says nothing of that does not export it again; it says what to write."""
    connected.export()
    with connected.open() as service:
        service.syncs.stop(1)
    with pytest.raises(InvalidRequest, match=r"^Line 3: sync 1 is finished .* “state: active” .* “state: finished”"):
        apply(connected, line)
    assert (get_sync(connected).state, count_runs(connected)) == (SyncState.FINISHED, 1)
    assert apply(connected, line, "state: finished") == ()
    assert len(apply(connected, line, "state: active")) == 1 and count_runs(connected) == 2


def test_a_stopped_sync_when_the_file_has_a_pause_that_is_over_stays_stopped(connected: Workspace) -> None:
    """The same file did nothing while the pause lasted, and that a day came does not take back what a person did."""
    connected.export()
    lines = ("state: paused", f"paused_until: {format_moment(connected.now() + 3600.0, 'UTC')}")
    with connected.open() as service:
        service.syncs.stop(1)
    assert apply(connected, *lines) == ()
    connected.ahead = 7200.0
    assert apply(connected, *lines) == ()
    with pytest.raises(InvalidRequest, match="sync 1 is finished"):
        apply(connected, *lines, "every: 6h")
    assert (get_sync(connected).state, count_runs(connected)) == (SyncState.FINISHED, 1)


def test_a_sync_that_a_person_paused_when_the_file_has_a_pause_that_is_over_stays_paused(connected: Workspace) -> None:
    """The pause of the file ended by itself, and that of the person is another one, with no end."""
    connected.export()
    lines = ("state: paused", f"paused_until: {format_moment(connected.now() + 3600.0, 'UTC')}")
    assert len(apply(connected, *lines)) == 1
    connected.ahead = 7200.0
    connected.run_queued()
    assert (get_sync(connected).state, apply(connected, *lines)) == (SyncState.ACTIVE, ())
    with connected.open() as service:
        service.syncs.pause(1)
    assert (apply(connected, *lines), get_sync(connected).state) == ((), SyncState.PAUSED)


def test_a_cleared_export_when_the_file_says_other_properties_is_not_sent_again(connected: Workspace) -> None:
    """Its people were taken out of WebEngage on purpose; a one-time export has no state, so a person exports it."""
    connected.export(mode=Mode.ONE_TIME)
    with connected.open() as service:
        service.syncs.stop(1, clear=True)
    connected.run_queued()
    assert apply(connected, mode="one-time") == ()
    with pytest.raises(InvalidRequest, match=r"sync 1 was stopped and cleared, .* export cohort \d+ yourself"):
        apply(connected, MAPPING, mode="one-time")
    assert connected.sandbox.holding(ATTRIBUTE)[0] == set()


def test_an_export_that_is_done_when_the_file_says_other_properties_is_exported_with_them(connected: Workspace) -> None:
    """A one-time export ends by itself, so that it has ended holds nothing back."""
    connected.export(mode=Mode.ONE_TIME)
    (change,) = apply(connected, MAPPING, mode="one-time")
    assert change.endswith("and export it.") and count_runs(connected) == 2


def test_a_dynamic_sync_when_it_rests_and_the_file_has_it_once_is_exported_by_a_person_only(
    connected: Workspace,
) -> None:
    """A one-time export can have no state in a file, so the answer asks for no “state: active”."""
    connected.export()
    for rest in ("pause", "stop"):
        with connected.open() as service:
            getattr(service.syncs, rest)(1)
        with pytest.raises(InvalidRequest, match=r"export cohort \d+ yourself") as refused:
            apply(connected, mode="one-time")
        assert "state:" not in str(refused.value) and count_runs(connected) == 1


def test_a_type_that_the_file_does_not_say_stays_as_it_is(connected: Workspace) -> None:
    """A mapping alone says nothing about how its values are written."""
    connected.export(**PHONES)
    pairs = "{property: $phone, attribute: phone}, {property: plan, attribute: Plan}"
    assert apply(connected, f"mapping: [{pairs}]") == () and apply(connected) == ()
    assert count_runs(connected) == 1


def test_a_last_day_alone_is_changed_without_a_run(connected: Workspace) -> None:
    """It moves, and stays when a file says nothing about the times at all."""
    connected.export(interval=7200.0)
    for day in ("2099-03-31", "2098-03-31"):
        assert len(apply(connected, "every: 2h", f"until: {day}")) == 1
        assert get_sync(connected).ends_at == find_end(day, "UTC")
    assert len(apply(connected, "until: 2097-03-31")) == 1
    assert (get_sync(connected).ends_at, get_sync(connected).interval_seconds) == (
        find_end("2097-03-31", "UTC"),
        7200.0,
    )
    assert apply(connected) == () and count_runs(connected) == 1


@pytest.mark.parametrize("line", ["at: '07:30'", "every: 6h"])
def test_times_when_the_file_says_others_take_the_place_of_both(connected: Workspace, line: str) -> None:
    """A time of day ends an interval and the other way round, and the second time nothing is left to change."""
    connected.export(daily=DailyTime.parse("09:00", "UTC"))
    assert apply(connected) == ()
    assert len(apply(connected, line)) == 1 and apply(connected, line) == ()
    sync = get_sync(connected)
    assert (sync.daily is None) == (line == "every: 6h") and count_runs(connected) == 1


def test_a_user_id_property_alone_is_changed_by_an_export_once(connected: Workspace) -> None:
    """Everybody gets another User ID, so the run is held; the second application asks for nothing more."""
    connected.export()
    (change,) = apply(connected, f"user_id_property: {CUSTOMER}")
    assert change.endswith(f"User ID {CUSTOMER}, and export it.")
    assert apply(connected, f"user_id_property: {CUSTOMER}") == () and apply(connected) == ()
    connected.run_queued()
    with connected.open() as service:
        run = service.runs.list()[0]
        assert run.state is RunState.HELD
        service.runs.approve(run.id)
    connected.run_queued()
    assert get_sync(connected).id_property == CUSTOMER and apply(connected) == ()


def test_an_interval_while_other_properties_wait_for_their_run_is_added_to_them(connected: Workspace) -> None:
    """The run goes ahead with the properties that were asked for first and the interval of the file."""
    connected.export()
    connected.start_export(mapping=(("plan", "Plan"),))
    assert len(apply(connected, "every: 6h")) == 1 and apply(connected, "every: 6h") == ()
    connected.run_queued()
    sync = get_sync(connected)
    assert (sync.interval_seconds, count_runs(connected), sync.mode) == (21600.0, 2, Mode.DYNAMIC)
    with connected.open() as service:
        assert service.cohorts.propose_export(PROJECT, connected.cohort).mapping == (("plan", "Plan"),)


def test_an_interval_while_a_one_time_export_waits_to_become_dynamic_is_its_runs(connected: Workspace) -> None:
    """The sync itself is not dynamic yet, so the interval is that of the run under way."""
    connected.export(mode=Mode.ONE_TIME)
    connected.start_export()
    assert len(apply(connected, "every: 6h")) == 1 and apply(connected, "every: 6h") == ()
    connected.run_queued()
    assert (get_sync(connected).interval_seconds, count_runs(connected)) == (21600.0, 2)


def test_a_finished_sync_when_the_file_has_another_interval_is_exported_and_not_only_changed(
    connected: Workspace,
) -> None:
    """Its interval alone would refresh nobody."""
    connected.export()
    with connected.open() as service:
        service.syncs.stop(1)
    (change,) = apply(connected, "state: active", "every: 6h")
    assert change.endswith("and export it.") and count_runs(connected) == 2


def test_a_pause_without_an_end_gets_the_one_of_the_file(connected: Workspace) -> None:
    """A sync that somebody paused for good goes on by itself when the file says so."""
    connected.export()
    with connected.open() as service:
        service.syncs.pause(1)
    lines = ("state: paused", "paused_until: 2099-01-07 08:00")
    assert len(apply(connected, *lines)) == 1 and apply(connected, *lines) == ()
    assert get_sync(connected).resume_at is not None


def test_an_active_sync_when_the_file_pauses_it_with_other_terms_is_neither_paused_nor_exported(
    connected: Workspace,
) -> None:
    """Other terms are sent with an export, which a file that asks for rest does not mean."""
    connected.export()
    with pytest.raises(InvalidRequest, match=r"sync 1 is to be paused .* write “state: active”"):
        apply(connected, "state: paused", "every: 6h")
    assert (get_sync(connected).state, count_runs(connected)) == (SyncState.ACTIVE, 1)
    assert get_sync(connected).interval_seconds == 7200.0


def test_a_pause_until_a_part_of_a_second_is_that_of_the_file_that_was_written_of_it(connected: Workspace) -> None:
    """The file has whole seconds, and applied again it changes nothing."""
    connected.export()
    with connected.open() as service:
        service.syncs.pause(1, float(int(connected.now())) + 3600.5)
        until = format_moment(service.syncs.get(1).resume_at or 0.0, "UTC")
    assert apply(connected, "state: paused", f"paused_until: {until}") == ()


def test_an_attribute_that_the_rules_no_longer_allow_stays_that_of_its_sync(connected: Workspace) -> None:
    """It is permanent, so what export-config wrote of an older sync is applied all the same."""
    connected.export(mode=Mode.ONE_TIME)
    with connected.open_database() as db:
        db.execute("update sync set attribute = 'we_fans'")
    assert apply(connected, "attribute: we_fans", mode="one-time") == ()


def test_what_a_run_that_is_being_cancelled_was_asked_for_is_not_there_yet(connected: Workspace) -> None:
    """The file is not said to be done by a run that goes nowhere; it says when to apply it again."""
    connected.export()
    run_id = connected.start_export(interval=21600.0)
    assert apply(connected, "every: 6h") == ()
    with connected.open_store() as store:
        assert store.runs.claim_run("a runner", connected.now())
    with connected.open() as service:
        service.runs.cancel(run_id)
        assert service.runs.get(run_id).cancel_requested
        with pytest.raises(InvalidRequest, match="still being cancelled"):
            service.syncs.refresh_now(1)
    assert apply(connected, "every: 6h") != ()
