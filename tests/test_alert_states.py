"""Each state that is worth an alert: one message when it begins, one when it ends, a link to the page that mends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from sync.alerting.states import DISK_ENOUGH_BYTES
from sync.engine import RetryPolicy
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.service.alert_worker import SILENCE_SECONDS, RunnerWatch
from sync.steps import Steps
from sync.views import DISK_LOW_BYTES
from tests.alert_receivers import Mailbox, serve_mail
from tests.sandbox.control import PROJECT, SECRET, USERNAME, member
from tests.workspace import FAST, Workspace, page_text

HOUR = 3600.0
SOON = RetryPolicy(delays=(0.001,), max_delay=0.5, postponements=(1200.0,))
URL = "https://sync.example.com"
RUNNER = "elsewhere/1:2-x"
PEOPLE = [member(f"Zanzibar-{n}", **{"$email": f"zanzibar{n}@example.com", "plan": "Krakatoa"}) for n in range(100)]


class Scene:
    """A workspace whose alerts go to a mailbox, the free bytes of its disk, and its watch."""

    def __init__(self, workspace: Workspace, mailbox: Mailbox) -> None:
        """Begin with enough space and a runner that works."""
        self.workspace, self.mailbox, self.free = workspace, mailbox, 10 * DISK_ENOUGH_BYTES
        self.is_runner_alive, self.silence = True, [0.0]
        self.watch = RunnerWatch(lambda: self.silence[0])

    def look(self) -> None:
        """Do what the runner, or while none works the pages' process, does every few seconds."""
        with self.workspace.open_store() as store:
            if self.is_runner_alive:
                store.runners.record_heartbeat(RUNNER, self.workspace.now())
        with self.workspace.open() as service:
            if self.is_runner_alive:
                service.alerts.update()
                service.alerts.deliver()
            else:
                self.watch.look(service)

    def export(self) -> None:
        """Export the cohort with a value of each person."""
        self.workspace.export(attribute="Fans", mapping=(("plan", "Plan"),))


def fail_run(scene: Scene) -> None:
    """Let Mixpanel be out until the run fails."""
    scene.workspace.sandbox.fault("status", path="/engage", code=503, times=0)
    scene.workspace.start_export()
    scene.workspace.run_queued()
    scene.workspace.ahead += 5 * HOUR
    scene.workspace.run_queued()


def succeed(scene: Scene) -> None:
    """Let Mixpanel be back, and the runner work."""
    scene.workspace.sandbox.clear_faults()
    scene.workspace.ahead += 3 * HOUR
    scene.workspace.run_queued()


def pause(scene: Scene) -> None:
    """Pause the sync."""
    scene.export()
    with scene.workspace.open() as service:
        service.syncs.pause(1)


def resume(scene: Scene) -> None:
    """Resume it."""
    with scene.workspace.open() as service:
        service.syncs.resume(1)


def hold_run(scene: Scene) -> None:
    """Ask for a dry run."""
    scene.workspace.export(dry_run=True)


def cancel_run(scene: Scene) -> None:
    """Cancel it."""
    with scene.workspace.open() as service:
        service.runs.cancel(1)


def fail_to_clear(scene: Scene) -> None:
    """Stop and clear while WebEngage refuses everything."""
    scene.export()
    scene.workspace.sandbox.fault("status", path="bulk-users", code=403, times=0)
    clear(scene)


def clear(scene: Scene) -> None:
    """Stop and clear."""
    with scene.workspace.open() as service:
        service.syncs.stop(1, clear=True)
    scene.workspace.run_queued()


def clear_again(scene: Scene) -> None:
    """Clear once more, with WebEngage as it should be."""
    scene.workspace.sandbox.clear_faults()
    clear(scene)


def be_late(scene: Scene) -> None:
    """Let three intervals pass in which a runner lives and queues nothing."""
    scene.export()
    scene.workspace.ahead += 7 * HOUR


def reject_many(scene: Scene) -> None:
    """Let WebEngage reject twelve of a hundred people, and nobody in the run after it."""
    scene.workspace.sandbox.poison(*(f"Zanzibar-{n}" for n in range(7, 100, 8)))
    scene.export()
    with scene.workspace.open() as service:
        service.syncs.refresh_now(1)
    scene.workspace.run_queued()


def take_everybody(scene: Scene) -> None:
    """Send them once more, with WebEngage as it should be."""
    scene.workspace.sandbox.clear_faults()
    with scene.workspace.open() as service:
        service.syncs.retry_rejected(1)
    scene.workspace.run_queued()


def ask_too_often(scene: Scene) -> None:
    """Refresh six cohorts every five minutes."""
    for number in range(6):
        scene.workspace.add_cohort(1, f"Busy {number}")
        scene.workspace.export(interval=300.0)


def ask_less(scene: Scene) -> None:
    """Refresh one of them every day."""
    with scene.workspace.open() as service:
        for number in (1, 2, 3):
            service.syncs.change_interval(number, 86400.0)


def fill_disk(scene: Scene) -> None:
    """Leave a byte too little."""
    scene.export()
    scene.free = DISK_LOW_BYTES - 1


def make_room(scene: Scene) -> None:
    """Give enough again."""
    scene.free = DISK_ENOUGH_BYTES


def lose_runner(scene: Scene) -> None:
    """Let the runner be silent for longer than a restart takes."""
    scene.look()
    scene.is_runner_alive = False
    scene.workspace.ahead += HOUR
    scene.look()
    scene.silence[0] += SILENCE_SECONDS


def start_runner(scene: Scene) -> None:
    """Let one work again."""
    scene.is_runner_alive = True


@dataclass(frozen=True)
class Case:
    """A state, what begins and ends it, the subject of its message, and the page that mends it."""

    name: str
    begin: Callable[[Scene], None]
    end: Callable[[Scene], None]
    subject: str
    page: str


NAME = "“Team …@…”"
CASES = [
    Case("failed", fail_run, succeed, f"A run of {NAME} failed", "syncs?sync=1"),
    Case("paused", pause, resume, f"{NAME} is paused", "syncs?sync=1"),
    Case("held", hold_run, cancel_run, f"A run of {NAME} needs approval", "runs?run=1"),
    Case("not cleared", fail_to_clear, clear_again, f"{NAME} was not cleared", "syncs?sync=1"),
    Case("late", be_late, succeed, f"{NAME} is late", "syncs?sync=1"),
    Case("rejected", reject_many, take_everybody, f"Many people of {NAME} are rejected", "runs?run=1"),
    Case("quota", ask_too_often, ask_less, "Mixpanel's hourly limit is too small", f"syncs?project={PROJECT}"),
    Case("disk", fill_disk, make_room, "The disk is nearly full", ""),
    Case("runner", lose_runner, start_runner, "The runner is silent", ""),
]


@pytest.fixture
def scene(connected: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Connect a workspace with a cohort of recognisable people, and send its alerts to a mailbox."""
    with serve_mail() as mailbox:
        made = Scene(connected, mailbox)
        connected.env["COHORT_SYNC_URL"] = URL
        connected.policy = SOON
        connected.sandbox.settings(bulk_per_minute=FAST)
        connected.cohort = connected.sandbox.add_cohort("Team zanzibar@example.com", PEOPLE)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=made.free))
        with connected.open() as service:
            service.alerts.add(mailbox.url)
        with connected.open_database() as db:  # a project that comes before the sandbox's
            db.execute(
                """
                insert into mixpanel_project (id, name, username, sealed_secret, secret_last4, region, role, role_note,
                  checked_at)
                values (?, '', 'x', 'x', '', 'us', 'admin', '', 1.0)
                """,
                (PROJECT - 1,),
            )
        yield made


def require_shown(workspace: Workspace, link: str) -> None:
    """Check that a link to a sync or run shows it, whichever project is chosen."""
    page, _, request = link.partition("?")
    name, _, number = request.partition("=")
    if name in ("sync", "run"):
        assert "Team zanzibar" in page_text(workspace.page(page, **{name: number}))


def list_links(workspace: Workspace) -> list[str]:
    """Return the addresses of the links beside the open alerts on the page of alerts."""
    app = workspace.page("alerts")
    return [f"{one.proto.page}?{one.proto.query_string}" for one in app.main.get("page_link")]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_state_when_it_begins_and_ends_is_one_message_each_with_its_page_and_nobody_in_it(
    scene: Scene, case: Case
) -> None:
    """However often the runner looks; ids, addresses and values of people are neither sent nor stored for sending.

    The page of alerts links to the same page while it is open.
    """
    case.begin(scene)
    for _ in range(3):
        scene.look()
    assert scene.mailbox.subjects == [f"Cohort Sync: {case.subject}"], scene.mailbox.texts
    assert f"{URL}/{case.page}" in scene.mailbox.texts[0].split()
    require_shown(scene.workspace, case.page)
    assert list_links(scene.workspace) == ([case.page] if case.page else [])
    case.end(scene)
    for _ in range(3):
        scene.look()
    assert scene.mailbox.subjects[1:] == [f"Cohort Sync: resolved: {case.subject}"]
    with scene.workspace.open() as service:
        assert service.alerts.list_open() == ()
        stored = repr(service.alerts.list_messages())
    for text in (*scene.mailbox.texts, stored):
        assert "zanzibar" not in text.lower() and "krakatoa" not in text.lower()


def test_the_disk_when_it_gets_a_little_space_is_still_nearly_full(scene: Scene) -> None:
    """The alert ends only with half as much again, or every log line would end and begin it."""
    fill_disk(scene)
    for free in (DISK_LOW_BYTES - 1, DISK_LOW_BYTES + 1, DISK_ENOUGH_BYTES - 1, DISK_LOW_BYTES - 1):
        scene.free = free
        scene.look()
    assert len(scene.mailbox.mails) == 1


def test_a_state_when_it_comes_and_goes_is_over_only_after_an_hour_without_it(scene: Scene) -> None:
    """Ten turns within an hour are three messages; the last one comes when it has been over for an hour."""
    fans, mailbox = scene.workspace, scene.mailbox
    scene.export()
    for turn in range(20):
        fans.ahead += 120.0
        with fans.open() as service:
            (service.syncs.resume if turn % 2 else service.syncs.pause)(1)
            for run in service.runs.list(state=RunState.QUEUED):
                service.runs.cancel(run.id)
        scene.look()
    paused, over = f"Cohort Sync: {NAME} is paused", f"Cohort Sync: resolved: {NAME} is paused"
    assert mailbox.subjects == [paused, over, paused] and "It comes and goes" in mailbox.texts[2]
    fans.ahead += HOUR - 300
    scene.look()
    assert len(mailbox.mails) == 3
    fans.ahead += 310.0
    scene.look()
    scene.look()
    assert mailbox.subjects == [paused, over, paused, over]
    with fans.open() as service:
        assert service.alerts.list_open() == ()


def test_the_alert_of_a_run_held_between_two_steps_says_whom_it_sent_as_its_page_does(scene: Scene) -> None:
    """“It would add 100” counted those who are in WebEngage already."""
    scene.workspace.export(attribute="Fans", steps=Steps(first=10))
    scene.look()
    assert "remove 0 people; 10 of them are sent already." in scene.mailbox.texts[0]


def test_the_alert_about_rejected_removals_counts_nobody_twice(scene: Scene) -> None:
    """Twelve of eighty-eight who stay: “12 of 100” had those twelve among the people of the sync and beside them."""
    scene.export()
    scene.look()
    scene.workspace.sandbox.poison(*(f"Zanzibar-{number}" for number in range(12)))
    scene.workspace.sandbox.set_members(scene.workspace.cohort, PEOPLE[12:])
    scene.workspace.export()
    scene.look()
    assert "12 of 100 people in" in scene.mailbox.texts[0]


def test_an_alert_names_the_project_of_a_cohort_where_several_have_a_sync(scene: Scene) -> None:
    """Two projects may have a cohort of one name; of projects with one name the number says which."""
    sandbox, own = scene.workspace.sandbox, scene.workspace
    sandbox.add_project(77, "Shop", username=USERNAME, secret=SECRET, role="admin")
    with own.open() as service:
        service.connections.connect_mixpanel(77, USERNAME, SECRET, sandbox.url)
        cohort = sandbox.add_cohort("Team zanzibar@example.com", PEOPLE[:5], project=77)
        service.syncs.start_export(77, cohort, ExportTerms(mode=Mode.DYNAMIC, attribute="Shop fans"))
        service.syncs.pause(1)
        scene.look()
        assert scene.mailbox.subjects == [f"Cohort Sync: {NAME} is paused"]
        own.start_export(attribute="Fans")
        service.syncs.pause(2)
    scene.look()
    with own.open_database() as db:
        [name] = db.execute("select name from mixpanel_project where id = ?", (PROJECT,)).fetchone()
        assert scene.mailbox.subjects[1:] == [f"Cohort Sync: {NAME} in “{name}” is paused"]
        assert f"The sync of {NAME} in “{name}” (sync 2) is paused" in scene.mailbox.texts[1]
        db.execute("update mixpanel_project set name = 'Shop'")
    with own.open() as service:
        service.syncs.stop(2)
        cohort = own.add_cohort(5, "Others")
        own.start_export(cohort, attribute="Others")
        service.syncs.pause(3)
    scene.look()
    assert f"Cohort Sync: “Others” in project {PROJECT} is paused" in scene.mailbox.subjects
