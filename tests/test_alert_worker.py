"""The threads that send alerts: whatever an address does, nobody is held up, nothing is lost, no secret is shown."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync.alerting.addresses import DeliveryFailed
from sync.model import RunState
from sync.redaction import RedactingFormatter
from sync.runner import Runner
from sync.service.alert_worker import start_alert_worker, start_runner_watch
from sync.service.alerts import AlertService
from tests.alert_receivers import Mailbox, add_address, look, serve_hook
from tests.conftest import RunnerProcess
from tests.workspace import Workspace, free_port, wait_until


@contextmanager
def working_runner(workspace: Workspace) -> Iterator[None]:
    """Let a runner work in a thread of this process until the end of the block."""
    runner = Runner(workspace.env)
    thread = threading.Thread(target=runner.run_forever)
    thread.start()
    try:
        yield
    finally:
        runner.request_stop()
        thread.join()


@pytest.mark.slow
def test_a_receiver_when_it_stalls_holds_up_nobody_for_long(
    fans: Workspace, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever takes the connection and says nothing is given up on, and the next address gets its message."""
    monkeypatch.setattr("sync.alerting.addresses.SEND_SECONDS", 4.0)
    fans.export()
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        add_address(fans, f"json://127.0.0.1:{stalled.getsockname()[1]}/x")
        add_address(fans, mailbox.url)
        with fans.open() as service:
            service.syncs.pause(1)
        look(fans)
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("receiver", ["refuses", "is not there"])
def test_an_address_when_it_fails_shows_no_part_of_its_secrets(
    fans: Workspace, receiver: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the password nor a token of the URL is in the reason, a listing or the log, redacted as in each process."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(caplog.handler, "formatter", RedactingFormatter(logging.Formatter()))
    with serve_hook() as hook:
        hook.answers[:] = [401] * 9
        port = hook.port if receiver == "refuses" else free_port()
        url = f"json://robot:Kra%20katoa9@127.0.0.1:{port}/Zanzibar-token-9?+X-Key=Montevideo-77"
        number = add_address(fans, url)
        fans.export()
        with fans.open() as service:
            service.syncs.pause(1)
            with pytest.raises(DeliveryFailed) as caught:
                service.alerts.send_test(number)
        look(fans)
    with fans.open() as service:
        (unreached,) = service.alerts.list()
        assert unreached.problem
        shown = (
            f"{caught.value} {unreached} {service.alerts.list_messages()} {service.admin.list_audit()} {caplog.text}"
        )
    for part in ("Kra%20", "Kra katoa", "Zanzibar-token", "Montevideo"):
        assert part not in shown


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sender_when_its_thread_dies_has_sent_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that ends its own thread says nothing at all; that is no success."""
    number = add_address(workspace, f"json://127.0.0.1:{free_port()}/x")
    monkeypatch.setattr("apprise.plugins.custom_json.NotifyJSON.send", lambda *_, **__: sys.exit())
    with workspace.open() as service, pytest.raises(DeliveryFailed, match="no explanation"):
        service.alerts.send_test(number)


def test_an_address_when_it_hangs_holds_up_no_refresh(fans: Workspace) -> None:
    """While a message waits for an answer that never comes, an export is taken and succeeds."""
    fans.export()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        add_address(fans, f"json://127.0.0.1:{silent.getsockname()[1]}/x")
        with fans.open() as service:
            service.syncs.pause(1)
        with working_runner(fans):
            silent.accept()  # it is being sent from now on
            run_id = fans.start_export(fans.add_cohort(3, "Others"))
            wait_until(lambda: fans.get_run(run_id).state is RunState.SUCCEEDED)
    with fans.open() as service:
        (waiting,) = service.alerts.list_messages()
        assert (waiting.attempts, waiting.delivered_at, waiting.failed_at) == (1, None, None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_thread_of_alerts_when_it_ended_is_started_again(
    fans: Workspace, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The runner notices that within two seconds and says so, and the alert arrives all the same."""
    add_address(fans, mailbox.url)
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
    update, deaths = AlertService.update, [SystemExit()]

    def die_once(service: AlertService) -> None:
        if deaths:
            raise deaths.pop()
        update(service)

    monkeypatch.setattr("sync.service.alerts.AlertService.update", die_once)
    with working_runner(fans):
        wait_until(lambda: bool(mailbox.mails))
    assert "the thread of alerts ended; it is started again" in caplog.text


def test_a_runner_process_when_a_sync_pauses_sends_the_alert_and_stops_at_sigterm(
    fans: Workspace, mailbox: Mailbox, runner_process: RunnerProcess
) -> None:
    """The real process sends, and a stalled address does not keep it from stopping."""
    fans.export()
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        add_address(fans, mailbox.url)
        add_address(fans, f"json://127.0.0.1:{stalled.getsockname()[1]}/x")
        with fans.open() as service:
            service.syncs.pause(1)
        process = runner_process(fans.data_dir)
        wait_until(lambda: bool(mailbox.mails))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert mailbox.subjects == ["Cohort Sync: “Fans” is paused"]


def test_the_watch_when_started_twice_in_a_process_is_one_thread(empty_dir: Path) -> None:
    """Every way into the pages may start it, and it makes no database where there is none."""
    for _ in range(2):
        start_runner_watch({"COHORT_SYNC_DATA": str(empty_dir)})
    assert [one.name for one in threading.enumerate()].count(f"watch {empty_dir}") == 1
    assert not (empty_dir / "app.db").exists()


def test_the_thread_of_alerts_when_its_runner_ends_does_not_say_that_it_looks_again(
    empty_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The runner's last line is why it ends; a look that fails meanwhile is over with it."""
    (empty_dir / "app.db").write_text("no database")
    for answers, lines in (([False, False, True], 1), ([False, True, True], 0)):  # asked before and after a look
        caplog.clear()
        asked = iter(answers)
        start_alert_worker({"COHORT_SYNC_DATA": str(empty_dir)}, time.time, lambda asked=asked: next(asked)).join()
        said = [one for one in caplog.messages if "looked at again" in one]
        assert len(said) == lines and not any(".;" in one for one in said)
