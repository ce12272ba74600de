"""Alerts: one message when a state begins and one when it ends, kept until delivered, and nobody's data in them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from sync.alerting.addresses import DeliveryFailed
from sync.alerting.quiet_hours import Schedule
from sync.errors import InvalidRequest
from sync.service.alert_worker import SILENCE_SECONDS, RunnerWatch
from tests.alert_receivers import Mailbox, add_address, look, serve_mail
from tests.sandbox.control import member
from tests.workspace import Workspace, free_port, read_everything_stored

HOUR = 3600.0
BERLIN = "Europe/Berlin"


@pytest.mark.slow
def test_a_state_when_it_begins_and_ends_is_one_message_each(fans: Workspace, mailbox: Mailbox) -> None:
    """However often the runner looks, people read once that a sync is paused, and once that it is over."""
    add_address(fans, mailbox.url)
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
    for _ in range(3):
        look(fans)
    assert mailbox.subjects == ["Cohort Sync: “Fans” is paused"]
    with fans.open() as service:
        service.syncs.resume(1)
    for _ in range(3):
        look(fans)
    assert mailbox.subjects[1:] == ["Cohort Sync: resolved: “Fans” is paused"]


@pytest.mark.slow
def test_a_message_when_the_public_address_is_set_links_to_the_page(fans: Workspace, mailbox: Mailbox) -> None:
    """The link opens the page that mends it; without the setting there is none."""
    fans.env["COHORT_SYNC_URL"] = "https://sync.example.com/"
    add_address(fans, mailbox.url)
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
    look(fans)
    assert "https://sync.example.com/syncs?sync=1" in mailbox.texts[0]


@pytest.mark.slow
def test_messages_when_people_have_recognisable_data_hold_none_of_it(connected: Workspace, mailbox: Mailbox) -> None:
    """Neither ids nor addresses nor values are in what is sent or stored for sending, also when a vendor quotes them."""
    people = [member(f"Zanzibar-{n}", **{"$email": f"zanzibar{n}@example.com", "plan": "Krakatoa"}) for n in range(100)]
    connected.cohort = connected.sandbox.add_cohort("Team zanzibar@example.com", people)
    add_address(connected, mailbox.url)
    connected.sandbox.poison(*(f"Zanzibar-{n}" for n in range(7, 100, 8)))
    connected.export(attribute="Fans", mapping=(("$email", "email"), ("plan", "Plan")))
    with connected.open() as service:
        service.syncs.pause(1)
    look(connected)
    assert len(mailbox.mails) == 2, (mailbox.subjects, connected.get_run(1).error)  # paused, and many rejected
    for text in mailbox.texts:
        assert "zanzibar" not in text.lower() and "krakatoa" not in text.lower()
    with connected.open() as service:
        stored = repr((service.alerts.list_messages(), service.alerts.list_open()))
    assert "zanzibar" not in stored.lower()


@pytest.mark.slow
def test_a_message_when_the_receiver_is_down_waits_and_is_delivered(fans: Workspace) -> None:
    """It is tried again with pauses, `status` shows the failure after a quarter of an hour, and success ends it."""
    port = free_port()
    fans.export()
    add_address(fans, f"mailto://127.0.0.1:{port}/?from=a@example.com&to=b@example.com&mode=insecure")
    with fans.open() as service:
        service.syncs.pause(1)
    look(fans)
    with fans.open() as service:
        (waiting,) = service.alerts.list_messages()
        assert waiting.attempts == 1 and waiting.delivered_at is None
        assert waiting.problem == service.alerts.list()[0].problem != ""  # the list says why it waits
        assert not service.check_health().not_notified
    fans.ahead = 1000.0
    look(fans)
    with fans.open() as service:
        (unreachable,) = service.check_health().not_notified
        assert unreachable.problem and service.check_health().needs_attention
    fans.ahead = 2 * HOUR
    with serve_mail(port) as mailbox:
        look(fans)
        assert mailbox.subjects[0] == "Cohort Sync: “Fans” is paused"
    with fans.open() as service:
        assert all(one.delivered_at and one.problem is None for one in service.alerts.list_messages())
        assert not service.check_health().not_notified


def test_a_message_when_its_deadline_passes_is_given_up_and_needs_a_person(fans: Workspace) -> None:
    """After a day nobody tries it by itself; sending it again or discarding it is up to a person."""
    fans.export()
    add_address(fans, f"json://127.0.0.1:{free_port()}/x")
    with fans.open() as service:
        service.syncs.pause(1)
    look(fans)
    fans.ahead = 25 * HOUR
    look(fans)
    with fans.open() as service:
        given_up = [one for one in service.alerts.list_messages() if one.failed_at]
        assert len(given_up) == 1
        assert [one.undelivered for one in service.check_health().not_notified] == [1]
        service.alerts.discard(given_up[0].id)
        assert [one.undelivered for one in service.check_health().not_notified] in ([], [0])


def test_a_message_when_the_sender_dies_before_marking_it_is_sent_again(
    fans: Workspace, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: killed between sending and marking, it is sent again after the lease, and never lost."""
    add_address(fans, mailbox.url)
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
    with monkeypatch.context() as dying:
        dying.setattr("sync.store.alerts.Alerts.mark_delivered", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        dying.setattr(
            "sync.store.alerts.Alerts.release_recipient", lambda *_: None
        )  # a killed process releases nothing
        with pytest.raises(KeyboardInterrupt):
            look(fans)
    assert len(mailbox.mails) == 1
    look(fans)
    assert len(mailbox.mails) == 1  # the dead sender's lease still stands
    fans.ahead = 200.0
    look(fans)
    assert len(mailbox.mails) == 2


def test_an_alert_when_the_process_dies_while_beginning_it_is_stored_whole_or_not_at_all(
    fans: Workspace, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open state and its message are one transaction."""
    add_address(fans, mailbox.url)
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
    with monkeypatch.context() as dying:
        dying.setattr("sync.store.alerts.Alerts.add_message", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            look(fans)
    with fans.open() as service:
        assert service.alerts.list_open() == ()
    look(fans)
    assert len(mailbox.mails) == 1


def test_addresses_when_stored_are_sealed_masked_and_rotated(fans: Workspace, mailbox: Mailbox) -> None:
    """The URL is in no file and no listing; after a key rotation it still works."""
    url = mailbox.url.replace("team@", "recognisable-team@")
    number = add_address(fans, url)
    assert b"recognisable-team" not in read_everything_stored(fans.data_dir)
    with fans.open() as service:
        assert "recognisable" not in repr(service.alerts.list()) + repr(service.admin.list_audit())
        assert service.admin.rotate_key()
        service.alerts.send_test(number)
    assert mailbox.subjects == ["Cohort Sync: a test"]


@pytest.mark.parametrize("url", ["nonsense", "slack://bad", "dbus://", "syslog://", "mailto://", "x" * 3000])
def test_an_address_when_it_is_none_is_refused(workspace: Workspace, url: str) -> None:
    """One plain sentence, and nothing is stored."""
    with workspace.open() as service:
        with pytest.raises(InvalidRequest):
            service.alerts.add(url)
        assert service.alerts.list() == ()


def test_a_test_when_it_does_not_go_through_says_why(workspace: Workspace) -> None:
    """The person who presses Send a test reads the reason at once."""
    number = add_address(workspace, f"json://127.0.0.1:{free_port()}/x")
    with workspace.open() as service, pytest.raises(DeliveryFailed, match="did not take the message"):
        service.alerts.send_test(number)


def test_alerts_when_it_is_quiet_wait_until_the_end(fans: Workspace, mailbox: Mailbox) -> None:
    """A state that begins at night is sent in the morning, once."""
    add_address(fans, mailbox.url)
    fans.export()
    now = datetime.fromtimestamp(fans.now(), ZoneInfo("UTC"))
    begin, end = f"{now.hour:02}:00", f"{(now.hour + 1) % 24:02}:00"
    with fans.open() as service:
        service.alerts.set_schedule(Schedule(quiet_from=begin, quiet_to=end))
        service.syncs.pause(1)
    fans.ahead = -(now.minute * 60.0)  # the first minute of the hour, whenever the test runs
    look(fans)
    assert mailbox.mails == []
    fans.ahead += HOUR + 60
    look(fans)
    assert mailbox.subjects[0] == "Cohort Sync: “Fans” is paused"


@pytest.mark.parametrize(
    ("quiet", "moments"),
    [
        (
            ("22:00", "07:00"),
            {"2026-05-04 21:59": 0, "2026-05-04 22:00": 1, "2026-05-05 06:59": 1, "2026-05-05 07:00": 0},
        ),
        (("09:00", "10:00"), {"2026-05-04 08:59": 0, "2026-05-04 09:30": 1, "2026-05-04 10:00": 0}),
        # Spring: 02:00 becomes 03:00 on 29 March 2026.
        (("22:00", "07:00"), {"2026-03-29 01:59": 1, "2026-03-29 03:01": 1, "2026-03-29 07:00": 0}),
        (("01:00", "02:30"), {"2026-03-29 01:59": 1, "2026-03-29 03:29": 1, "2026-03-29 03:30": 0}),
        # Autumn: 03:00 becomes 02:00 on 25 October 2026; what comes twice ends the first time.
        (("22:00", "02:30"), {"2026-10-25 02:29": 1, "2026-10-25 02:31": 0, "2026-10-25 02:29 again": 0}),
        (("02:15", "06:00"), {"2026-10-25 02:14": 0, "2026-10-25 02:20": 1, "2026-10-25 02:10 again": 1}),
    ],
    ids=str,
)
def test_quiet_hours_when_the_clock_changes_are_one_stretch(quiet: tuple[str, str], moments: dict[str, int]) -> None:
    """Across midnight, and on the days when an hour is missing or comes twice."""
    schedule = Schedule(zone=BERLIN, quiet_from=quiet[0], quiet_to=quiet[1])
    for text, expected in moments.items():
        when, _, again = text.partition(" again") if text.endswith(" again") else (text, "", "")
        moment = datetime.strptime(when, "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo(BERLIN), fold=int(when != text))
        assert schedule.is_quiet(moment.timestamp()) == bool(expected), (text, again)


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-05-05"])
def test_the_digest_when_asked_for_is_due_once_each_day(day: str) -> None:
    """From its time on for four hours, also on the days of the clock changes."""
    schedule = Schedule(zone=BERLIN, digest="08:00")
    eight = datetime.fromisoformat(f"{day} 08:00").replace(tzinfo=ZoneInfo(BERLIN)).timestamp()
    assert schedule.find_digest_day(eight - 1) is None
    assert str(schedule.find_digest_day(eight)) == day
    assert str(schedule.find_digest_day(eight + 4 * HOUR - 1)) == day
    assert schedule.find_digest_day(eight + 4 * HOUR) is None


def test_the_digest_when_two_runners_look_is_sent_once(fans: Workspace, mailbox: Mailbox) -> None:
    """Its key is the day."""
    add_address(fans, mailbox.url)
    now = datetime.fromtimestamp(fans.now(), ZoneInfo("UTC"))
    with fans.open() as service:
        service.alerts.set_schedule(Schedule(digest=f"{now.hour:02}:{now.minute:02}"))
    look(fans)
    look(fans)
    assert mailbox.subjects == ["Cohort Sync: all is well"]


def test_the_digest_when_days_pass_is_one_each_morning(fans: Workspace, mailbox: Mailbox) -> None:
    """However often the runner looks on a day."""
    add_address(fans, mailbox.url)
    now = datetime.fromtimestamp(fans.now(), ZoneInfo("UTC"))
    with fans.open() as service:
        service.alerts.set_schedule(Schedule(digest=f"{now.hour:02}:{now.minute:02}"))
    for day in range(3):
        for later in (0.0, 60.0, HOUR):
            fans.ahead = day * 24 * HOUR + later
            look(fans)
    assert mailbox.subjects == ["Cohort Sync: all is well"] * 3


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(zone="Mars/Base"),
        Schedule(quiet_from="22:00"),
        Schedule(quiet_from="25:00", quiet_to="7:00"),
        Schedule(quiet_from="7:00", quiet_to="07:00"),
        Schedule(digest="noon"),
    ],
    ids=str,
)
def test_times_when_they_make_no_sense_are_refused(workspace: Workspace, schedule: Schedule) -> None:
    """One sentence, and nothing is stored."""
    with workspace.open() as service:
        with pytest.raises(InvalidRequest):
            service.alerts.set_schedule(schedule)
        assert service.alerts.get_schedule() == Schedule()


def test_a_runner_when_it_died_is_noticed_by_the_watch_and_over_with_the_next(
    fans: Workspace, mailbox: Mailbox
) -> None:
    """Two minutes after its last sign of life the pages' process says so, once; the next runner says that it is over."""
    add_address(fans, mailbox.url)
    with fans.open_store() as store:
        store.runners.record_heartbeat("elsewhere/1:2-x", fans.now() - 60)
    clock = [0.0]
    watch = RunnerWatch(lambda: clock[0])
    with fans.open() as service:
        watch.look(service)
        assert mailbox.mails == []
        clock[0] = SILENCE_SECONDS
        watch.look(service)
        watch.look(service)
        RunnerWatch(lambda: clock[0]).look(service)
    assert mailbox.subjects == ["Cohort Sync: The runner is silent"]
    look(fans)
    assert mailbox.subjects[1:] == ["Cohort Sync: resolved: The runner is silent"]


def test_a_runner_that_came_back_in_time_is_not_counted_as_silent_before(fans: Workspace, mailbox: Mailbox) -> None:
    """The two minutes begin again with the next silence; a short one before it adds nothing."""
    add_address(fans, mailbox.url)
    clock = [0.0]
    watch = RunnerWatch(lambda: clock[0])
    with fans.open() as service, fans.open_store() as store:
        store.runners.record_heartbeat("elsewhere/1:2-x", fans.now() - 60)
        watch.look(service)
        clock[0] = SILENCE_SECONDS - 1
        store.runners.record_heartbeat("elsewhere/1:2-x", fans.now())
        watch.look(service)
        fans.ahead += 60
        clock[0] = SILENCE_SECONDS + 60
        watch.look(service)
        assert mailbox.mails == []
        clock[0] += SILENCE_SECONDS
        watch.look(service)
    assert mailbox.subjects == ["Cohort Sync: The runner is silent"]


def test_messages_when_delivered_are_deleted_after_their_days(fans: Workspace, mailbox: Mailbox) -> None:
    """What was sent is kept as long as the details of runs."""
    add_address(fans, mailbox.url)
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
    look(fans)
    fans.ahead = 15 * 24 * HOUR
    with fans.open() as service:
        service.admin.purge_expired()
        assert service.alerts.list_messages() == ()


def test_commands_when_used_add_test_list_and_remove(workspace: Workspace, mailbox: Mailbox) -> None:
    """The command line does what the page does; the address comes from the environment or an argument."""
    added = workspace.run_cli("alerts", "add", "--name", "Team", "--json", COHORT_SYNC_ALERT_URL=mailbox.url)
    assert added.returncode == 0, added.stderr
    assert workspace.run_cli("alerts", "test", "1").returncode == 0
    (listed,) = workspace.read_json("alerts", "list")
    assert listed["name"] == "Team" and "team@example.com" not in repr(listed)
    assert workspace.run_cli("alerts", "remove", "1").returncode == 0
    assert workspace.read_json("alerts", "list") == []
    assert len(mailbox.mails) == 1
