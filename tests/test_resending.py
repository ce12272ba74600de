"""Send messages again while a try at their receiver is under way: they are tried, and not given up with its end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sync.records import Message
from tests.alert_receivers import serve_hook
from tests.engine_workspace import DAY, HOUR
from tests.workspace import Workspace, wait_until

ANSWER_SECONDS = 1.5  # how long the receiver takes to answer; never asserted


def deliver(workspace: Workspace) -> None:
    """Send what is due."""
    with workspace.open() as service:
        service.alerts.deliver()


def list_messages(workspace: Workspace) -> list[Message]:
    """Return the messages to webhooks, the oldest first."""
    with workspace.open() as service:
        return sorted(service.alerts.list_messages("webhook"), key=lambda one: one.id)


def test_messages_sent_again_while_the_last_try_of_another_one_fails_are_tried_at_once(fans: Workspace) -> None:
    """That try ends a day of them; what a person asks for meanwhile begins a new one."""
    with serve_hook() as receiver:
        receiver.answers = [503] * 100
        with fans.open() as service:
            hook = service.alerts.add_webhook(receiver.url)[0].id
        fans.start_export()
        deliver(fans)
        fans.ahead = 1.1 * DAY
        deliver(fans)
        given_up = [one.id for one in list_messages(fans) if one.failed_at]
        assert len(given_up) > 1 and len(given_up) == len(list_messages(fans))
        with fans.open() as service:
            service.syncs.change_interval(1, HOUR)
        fans.ahead = 1.2 * DAY
        deliver(fans)
        assert list_messages(fans)[-1].attempts == 1
        fans.ahead, receiver.seconds = 2.3 * DAY, ANSWER_SECONDS
        before = len(receiver.requests)
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(deliver, fans)
            wait_until(lambda: len(receiver.requests) > before)
            with fans.open() as service:
                service.alerts.resend_all(hook, "webhook")
            working.result()
        found = {one.id: one for one in list_messages(fans)}
        assert [one for one in given_up if found[one].failed_at] == []
        assert found[given_up[0]].attempts == 1
