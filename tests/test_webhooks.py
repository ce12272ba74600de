"""Webhooks: signed, stored with the change they report, delivered at least once, replayed by hand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from tests.alert_receivers import Hook, serve_hook
from tests.workspace import Workspace, free_port, read_everything_stored

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
