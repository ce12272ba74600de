"""Webhooks: signed, stored with the change they report, delivered at least once, replayed by hand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.cadence import DailyTime
from sync.errors import InvalidRequest
from tests.alert_receivers import Hook, serve_hook
from tests.workspace import Workspace, free_port, read_everything_stored

HOUR, DAY = 3600.0, 86400.0
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "webhooks.md"


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Run a receiver."""
    with serve_hook() as running:
        yield running


def add_webhook(workspace: Workspace, url: str) -> str:
    """Add a webhook; return its secret."""
    with workspace.open() as service:
        return service.alerts.add_webhook(url)[1]


def deliver(workspace: Workspace) -> None:
    """Send what is due."""
    with workspace.open() as service:
        service.alerts.deliver()


def read_types(hook: Hook) -> list[str]:
    """Return the types of what arrived, in order."""
    return [json.loads(body)["type"] for _, body in hook.requests]


def test_changes_of_a_run_and_its_sync_when_made_arrive_signed_and_in_order(fans: Workspace, hook: Hook) -> None:
    """The signature is that of the specification, computed here by hand, and nothing about a person is in the body."""
    secret = add_webhook(fans, hook.url)
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
        service.syncs.resume(1)
    deliver(fans)
    assert read_types(hook) == [
        "sync.created",
        "run.queued",
        "run.pulling",
        "run.delivering",
        "run.succeeded",
        "sync.paused",
        "sync.active",
        *read_types(hook)[7:],
    ]
    for headers, body in hook.requests:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
        assert b"fan-" not in body and b"@" not in body and b"Fans" not in body
    assert json.loads(hook.requests[4][1])["data"]["entered"] == 30


def test_a_sync_when_only_its_times_change_is_reported_once_for_each_change(fans: Workspace, hook: Hook) -> None:
    """Time of day, zone, days, end, and the end of a pause; what is set again as it is, is no change."""
    fans.export()
    add_webhook(fans, hook.url)
    berlin, kolkata = (DailyTime.parse("07:30", zone) for zone in ("Europe/Berlin", "Asia/Kolkata"))
    end, morning = (float(int(fans.now())) + days * DAY for days in (30, 1))
    with fans.open() as service:
        for daily, ends_at in ((berlin, None), (kolkata, None), (kolkata, end), (kolkata, end)):
            service.syncs.change_interval(1, DAY, daily, ends_at)
        service.syncs.pause(1)
        service.syncs.pause(1, until=morning)
    deliver(fans)
    assert read_types(hook) == ["sync.changed"] * 3 + ["sync.paused", "sync.changed"]
    data = [json.loads(body)["data"] for _, body in hook.requests]
    assert [one["daily_zone"] for one in data[:2]] == ["Europe/Berlin", "Asia/Kolkata"]
    assert (data[2]["daily_at"], data[2]["ends_at"], data[2]["resume_at"]) == ("07:30", end, None)
    assert data[4]["resume_at"] == morning


def test_a_sync_when_it_is_reported_names_its_next_refresh_only_if_that_comes(fans: Workspace, hook: Hook) -> None:
    """Not one after its end, none while paused for good, the end of a pause, and after it no time that has passed."""

    def read_next() -> float | None:
        deliver(fans)
        last = [json.loads(body)["data"] for _, body in hook.requests if b'"type": "sync.' in body][-1]
        with fans.open() as service:
            assert service.syncs.get(1).next_run_at == pytest.approx(last["next_run_at"])
        return None if last["next_run_at"] is None else float(last["next_run_at"])

    add_webhook(fans, hook.url)
    fans.start_export(interval=2 * HOUR, ends_at=fans.now() + HOUR)
    assert read_next() is None
    fans.run_queued()
    with fans.open() as service:
        service.syncs.change_interval(1, HOUR, ends_at=fans.now() + 9 * HOUR)
        assert read_next() == pytest.approx(fans.now() + HOUR, abs=60)
        service.syncs.pause(1)
        assert read_next() is None
        resumed_at = fans.now() + 3 * HOUR
        service.syncs.pause(1, until=resumed_at)
        assert read_next() == pytest.approx(resumed_at)
        service.syncs.pause(1, until=fans.now() + 10 * HOUR)
        assert read_next() is None
        fans.ahead = 2.5 * HOUR
        service.syncs.resume(1)
        assert read_next() == pytest.approx(fans.now() + HOUR / 2, abs=60)
        service.syncs.stop(1)
        assert read_next() is None


def test_a_paused_sync_when_it_is_exported_again_is_reported_with_its_next_time(fans: Workspace, hook: Hook) -> None:
    """The message was written before the times that had passed were left out."""
    fans.export(interval=HOUR)
    add_webhook(fans, hook.url)
    with fans.open() as service:
        service.syncs.pause(1)
    fans.ahead = 2.5 * HOUR
    fans.export(interval=HOUR)
    deliver(fans)
    [active] = [json.loads(body)["data"] for _, body in hook.requests if b'"sync.active"' in body]
    assert active["next_run_at"] == pytest.approx(fans.now() + HOUR / 2, abs=60)


def test_a_sync_when_its_user_id_property_changes_is_reported(fans: Workspace, hook: Hook) -> None:
    """With Mixpanel's name of the default; another property by its own."""
    fans.export()
    add_webhook(fans, hook.url)
    with fans.open_store() as store:
        store.syncs.set_id_property(1, "customer")
        store.syncs.set_id_property(1, "customer")
        store.syncs.set_id_property(1, "")
    deliver(fans)
    assert read_types(hook) == ["sync.changed"] * 2
    assert [json.loads(body)["data"]["user_id_property"] for _, body in hook.requests] == ["customer", "$distinct_id"]


def test_the_document_when_read_shows_what_arrives(fans: Workspace, hook: Hook) -> None:
    """Each example of docs/webhooks.md has exactly the keys of a real message, and its check accepts one."""
    secret = add_webhook(fans, hook.url)
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
    deliver(fans)
    text = DOCUMENT.read_text(encoding="utf-8")
    real = {json.loads(body)["type"]: json.loads(body) for _, body in hook.requests}
    examples = [json.loads(one) for one in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert [one["type"] for one in examples] == ["run.succeeded", "sync.paused"]
    for example in examples:
        assert example.keys() == real[example["type"]].keys()
        assert example["data"].keys() == real[example["type"]]["data"].keys()
    scope: dict[str, object] = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], scope)  # noqa: S102  # the document's own code
    is_genuine = scope["is_genuine"]
    headers, body = hook.requests[0]
    assert is_genuine(secret, headers, body) and not is_genuine(secret, headers, body + b" ")  # type: ignore[operator]


def test_a_change_when_it_is_rolled_back_leaves_no_message(fans: Workspace, hook: Hook) -> None:
    """The message is part of the transaction of the change."""
    add_webhook(fans, hook.url)
    fans.export()
    with fans.open_store() as store:
        before = len(store.alerts.list_messages("webhook", 100))
        with contextlib.suppress(InvalidRequest), store.transaction():
            store.syncs.pause_sync(1, "…")
            assert len(store.alerts.list_messages("webhook", 100)) == before + 1
            raise InvalidRequest("died here")
        assert len(store.alerts.list_messages("webhook", 100)) == before


def test_messages_when_the_receiver_is_down_arrive_in_order_once_it_is_up(fans: Workspace) -> None:
    """One try for the whole receiver while it is down, and everything afterwards."""
    port = free_port()
    add_webhook(fans, f"http://127.0.0.1:{port}/x")
    fans.export()  # `--once` tries to send at its end
    deliver(fans)
    with fans.open() as service:
        assert sum(one.attempts for one in service.alerts.list_messages("webhook")) == 1
    fans.ahead = 60.0
    with serve_hook(port) as hook:
        hook.answers[:] = [503]
        deliver(fans)
        assert len(hook.requests) == 1
        fans.ahead = 300.0
        deliver(fans)
        assert read_types(hook)[1:] == ["sync.created", "run.queued", "run.pulling", "run.delivering", "run.succeeded"]
        assert hook.requests[0][0]["webhook-id"] == hook.requests[1][0]["webhook-id"]


def test_a_message_when_refused_for_good_holds_up_no_other_and_is_replayed_by_hand(fans: Workspace, hook: Hook) -> None:
    """A 400 is not tried again; `status` shows it until it is sent again."""
    add_webhook(fans, hook.url)
    hook.answers[:] = [400]
    fans.export()
    deliver(fans)
    assert len(hook.requests) == 5
    with fans.open() as service:
        (refused,) = [one for one in service.alerts.list_messages("webhook") if one.failed_at]
        assert refused.problem and "400" in refused.problem
        assert service.check_health().needs_attention
        service.alerts.resend(refused.id)
    deliver(fans)
    assert hook.requests[-1][0]["webhook-id"] == hook.requests[0][0]["webhook-id"]
    with fans.open() as service:
        assert not service.check_health().not_notified


def test_a_receiver_when_it_redirects_is_refused_for_good_and_nothing_goes_elsewhere(
    fans: Workspace, hook: Hook
) -> None:
    """What is signed for one address is sent to no other."""
    with serve_hook() as elsewhere:
        hook.answers[:], hook.location = [302, 308], elsewhere.url
        add_webhook(fans, hook.url)
        fans.export()
        deliver(fans)
        assert elsewhere.requests == [] and len(hook.requests) == 5
    with fans.open() as service:
        refused = [one.problem for one in service.alerts.list_messages("webhook") if one.failed_at]
    assert [str(problem)[:25] for problem in refused] == ["The receiver answered 308", "The receiver answered 302"]


@pytest.mark.slow
def test_an_answer_when_it_is_huge_is_not_read_and_its_status_counts(fans: Workspace, hook: Hook) -> None:
    """A gigabyte after 200 is a message taken; after 500 it is one reason of a line, and the next try."""
    hook.body_bytes, hook.answers[:] = 2**30, [500]
    add_webhook(fans, hook.url)
    fans.export()
    deliver(fans)
    with fans.open() as service:
        (recipient,) = service.alerts.list("webhook")
        assert recipient.problem and "500" in recipient.problem and len(recipient.problem) < 300
    fans.ahead = 60.0
    deliver(fans)
    with fans.open() as service:
        assert all(one.delivered_at for one in service.alerts.list_messages("webhook"))


def test_a_receiver_when_it_never_answers_is_tried_for_a_day_and_then_all_that_waited_as_long_is_given_up(
    fans: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One try at a time, `status` says so after a quarter of an hour, and what waits does not only become more."""
    monkeypatch.setattr("sync.alerting.webhooks.SEND_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        add_webhook(fans, f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        fans.export()
        fans.ahead = 1000.0
        deliver(fans)
        with fans.open() as service:
            assert sum(one.attempts for one in service.alerts.list_messages("webhook")) == 2
            (unreachable,) = service.check_health().not_notified
            assert unreachable.problem and "did not answer" in unreachable.problem
        fans.ahead = 25 * HOUR
        deliver(fans)
    with fans.open() as service:
        messages = service.alerts.list_messages("webhook")
        assert len(messages) == 5 and all(one.failed_at for one in messages)
        assert [one.undelivered for one in service.check_health().not_notified] == [5]


def test_secrets_and_addresses_when_stored_are_sealed(fans: Workspace, hook: Hook) -> None:
    """Neither the secret nor the token in the path is in a file, a listing or the audit; rotation keeps both."""
    secret = add_webhook(fans, hook.url)
    stored = read_everything_stored(fans.data_dir)
    assert b"token-of-the-receiver" not in stored and secret.encode() not in stored
    with fans.open() as service:
        assert "token-of" not in repr(service.alerts.list("webhook")) + repr(service.admin.list_audit())
        assert service.admin.rotate_key()
        service.alerts.send_test(1, "webhook")
    assert read_types(hook) == ["test"]


@pytest.mark.parametrize(
    "url", ["example.com", "ftp://example.com", "http://", "https://example.com:x/", "javascript:1"]
)
def test_a_webhook_when_its_address_is_none_is_refused(workspace: Workspace, url: str) -> None:
    """One plain sentence, and nothing is stored."""
    with workspace.open() as service, pytest.raises(InvalidRequest):
        service.alerts.add_webhook(url)


def test_a_restore_when_the_backup_has_unsent_messages_sends_none_of_them(fans: Workspace, tmp_path: Path) -> None:
    """They are of the time of the backup; the webhook itself is restored."""
    add_webhook(fans, f"http://127.0.0.1:{free_port()}/x")
    fans.export()
    with fans.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
    with fans.open() as service:
        service.admin.restore(tmp_path / "copy.db")
        assert len(service.alerts.list("webhook")) == 1 and service.alerts.list_messages("webhook") == ()


def test_webhooks_and_their_messages_when_handled_by_command(fans: Workspace, hook: Hook) -> None:
    """Added with its secret, shown this once; a message is listed, replayed and discarded by its number."""
    added = fans.run_command("webhooks", "add", hook.url, "--name", "Ours", "--json")
    assert added.exit_code == 0 and json.loads(added.stdout)["secret"].startswith("whsec_")
    fans.export()
    deliver(fans)
    sent = len(hook.requests)
    listed = json.loads(fans.run_command("webhooks", "messages", "--json").stdout)
    assert len(listed) == sent and all(one["delivered_at"] for one in listed)
    number = str(listed[0]["id"])
    assert fans.run_command("webhooks", "replay", number).exit_code == 0
    deliver(fans)
    assert len(hook.requests) == sent + 1 and hook.requests[-1][1] == hook.requests[sent - 1][1]
    assert "Message" in fans.run_command("webhooks", "messages").stdout
    assert fans.run_command("webhooks", "discard", number).exit_code == 0
    for command in ("replay", "discard"):
        assert f"no message {number}" in str(fans.run_command("webhooks", command, number).exception)
    assert "no alert address 1" in str(fans.run_command("alerts", "remove", "1").exception)


def test_all_messages_that_a_webhook_refused_are_sent_again_or_discarded_by_one_command(
    fans: Workspace, hook: Hook
) -> None:
    """As on the page of alerts; of another kind of receiver the number means nothing."""
    add_webhook(fans, hook.url)
    hook.answers[:] = [400] * 10
    fans.export()
    deliver(fans)
    assert fans.run_command("webhooks", "replay-all", "1").stdout == "The runner sends 5 messages again.\n"
    deliver(fans)
    assert len(hook.requests) == 10
    assert fans.run_command("webhooks", "discard-all", "1").stdout == "5 messages discarded.\n"
    noted = len(fans.read_answer("audit"))
    for command in ("replay-all", "discard-all"):
        said = fans.run_command("webhooks", command, "1").stdout
        assert said == "Nothing to do: no message to webhook 1 was given up.\n"
    assert len(fans.read_answer("audit")) == noted
    assert fans.read_answer("webhooks", "messages") == []
    assert "no alert address 1" in str(fans.run_command("alerts", "discard-all", "1").exception)
