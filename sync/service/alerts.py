"""Requests about alerts and webhooks: who gets them, when they wait, what became of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sync.alerting.addresses import mask_address
from sync.alerting.quiet_hours import Schedule
from sync.alerting.webhooks import make_secret, mask_url
from sync.errors import InvalidRequest
from sync.permissions import AccessLevel, requires
from sync.records import Message, OpenAlert, Recipient
from sync.reports import AlertPlace
from sync.service.alert_delivery import AlertDelivery
from sync.service.base import ServiceState, Topic
from sync.store.alerts import SealedRecipient
from sync.text import count_noun, show_text
from sync.views import Health

__all__ = ["AlertService", "Schedule"]

MAX_NAME = 60  # characters of the name a person gives an address
MAX_URL = 2000  # characters of an address
NOUNS = {"alerts": "alert address", "webhook": "webhook"}
TEST_TEXT = "This is a test. Alerts of Cohort Sync arrive here."


class AlertService(Topic):
    """Alert addresses and webhooks, their messages, quiet hours and the digest."""

    def __init__(self, state: ServiceState, *, check_health: Callable[[], Health]) -> None:
        """Use the shared state; ``check_health`` reads what needs a person."""
        super().__init__(state)
        self._delivery = AlertDelivery(state, check_health)

    @requires(AccessLevel.ADMIN)
    def add(self, url: str, name: str = "") -> Recipient:
        """Send alerts to this apprise address from now on; raise InvalidRequest when it is none. Nothing is sent yet."""
        return self._add("alerts", url, mask_address(_require_short(url)), name, None)

    @requires(AccessLevel.ADMIN)
    def add_webhook(self, url: str, name: str = "") -> tuple[Recipient, str]:
        """Send changes of runs and syncs to this URL from now on; return it with its signing secret, shown this once."""
        masked, secret = mask_url(_require_short(url)), make_secret()
        return self._add("webhook", url, masked, name, secret), secret

    def _add(self, kind: str, url: str, masked: str, name: str, secret: str | None) -> Recipient:
        shown = show_text(name)
        if len(shown) > MAX_NAME:
            raise InvalidRequest(f"The name has over {MAX_NAME} characters.")
        with self._store.transaction():  # sealed inside: a rotation may be dropping the former key now
            sealed = None if secret is None else self._state.seal_secret(secret)
            number = self._store.alerts.add_recipient(
                kind, shown, masked, self._state.seal_secret(url), sealed, self._state.now()
            )
            fingerprint = self._store.connections.compute_fingerprint(url)
            self._state.add_audit_line(f"add {NOUNS[kind]}", f"{NOUNS[kind]} {number}", after=fingerprint)
        return self._get(number, kind).view

    @requires(AccessLevel.ADMIN)
    def remove(self, recipient_id: int, kind: str = "alerts") -> None:
        """Send nothing there any more, and delete its messages; raise InvalidRequest when there is none."""
        with self._store.transaction():
            self._get(recipient_id, kind)
            self._store.alerts.remove_recipient(recipient_id)
            self._state.add_audit_line(f"remove {NOUNS[kind]}", f"{NOUNS[kind]} {recipient_id}")

    @requires(AccessLevel.ADMIN)
    def list(self, kind: str = "alerts") -> tuple[Recipient, ...]:
        """Return the alert addresses, or with "webhook" the webhooks; their URLs are masked."""
        return self._store.alerts.list_recipients(kind)

    @requires(AccessLevel.VIEWER)
    def list_open(self) -> tuple[OpenAlert, ...]:
        """Return the alerts that began and did not end yet, the oldest first."""
        return self._store.alerts.list_open()

    @requires(AccessLevel.VIEWER)
    def find_place(self, alert: OpenAlert) -> AlertPlace | None:
        """Return where what an alert is about is mended; None for what no page mends, the disk for instance."""
        return self._delivery.find_place(alert.key)

    @requires(AccessLevel.ADMIN)
    def send_test(self, recipient_id: int, kind: str = "alerts") -> None:
        """Send a test at once, also in quiet hours; raise DeliveryFailed with the reason when it does not go through."""
        recipient = self._get(recipient_id, kind)
        topic, text = ("alert.test", TEST_TEXT) if kind == "alerts" else ("test", '{"test": true}')
        test = Message(
            id=0,
            recipient_id=recipient_id,
            key=uuid.uuid4().hex,
            topic=topic,
            title="Cohort Sync: a test",
            body=text,
            created_at=self._state.now(),
        )
        self._state.add_audit_line("test", f"{NOUNS[kind]} {recipient_id}")
        self._delivery.send(recipient, test)
        self._store.alerts.note_reached(recipient_id)

    @requires(AccessLevel.ADMIN)
    def list_messages(self, kind: str = "alerts", limit: int = 100) -> tuple[Message, ...]:
        """Return the newest messages and what became of them, newest first."""
        return self._store.alerts.list_messages(kind, limit)

    @requires(AccessLevel.ADMIN)
    def list_undelivered(self, limit: int) -> tuple[Message, ...]:
        """Return the newest messages to anybody that were given up, however many were delivered since."""
        return self._store.alerts.list_undelivered(limit)

    @requires(AccessLevel.ADMIN)
    def resend(self, message_id: int) -> None:
        """Send a message again, also one that was delivered; the runner does it within seconds."""
        with self._store.transaction():
            if not self._store.alerts.resend(message_id=message_id):
                raise InvalidRequest(f"There is no message {message_id}; see the list of messages.")
            self._state.add_audit_line("send again", f"message {message_id}")

    @requires(AccessLevel.ADMIN)
    def discard(self, message_id: int) -> None:
        """Delete a message, so that it is not sent and no longer needs a person."""
        with self._store.transaction():
            if not self._store.alerts.discard(message_id=message_id):
                raise InvalidRequest(f"There is no message {message_id}; see the list of messages.")
            self._state.add_audit_line("discard", f"message {message_id}")

    @requires(AccessLevel.ADMIN)
    def resend_all(self, recipient_id: int, kind: str) -> str:
        """Send all messages to a recipient that were given up again; return a sentence with their number."""
        with self._store.transaction():
            self._get(recipient_id, kind)
            found = self._store.alerts.resend(recipient_id=recipient_id)
            if not found:
                return _explain_nothing_given_up(recipient_id, kind)
            count = count_noun(found, "message")
            self._state.add_audit_line("send again", f"{NOUNS[kind]} {recipient_id}", after=count)
        return f"The runner sends {count} again."

    @requires(AccessLevel.ADMIN)
    def discard_all(self, recipient_id: int, kind: str) -> str:
        """Delete all messages to a recipient that were given up; return a sentence with their number."""
        with self._store.transaction():
            self._get(recipient_id, kind)
            found = self._store.alerts.discard(recipient_id=recipient_id)
            if not found:
                return _explain_nothing_given_up(recipient_id, kind)
            count = count_noun(found, "message")
            self._state.add_audit_line("discard", f"{NOUNS[kind]} {recipient_id}", before=count)
        return f"{count} discarded."

    @requires(AccessLevel.ADMIN)
    def get_schedule(self) -> Schedule:
        """Return when alerts wait and when the digest is sent."""
        return self._delivery.read_schedule()

    @requires(AccessLevel.ADMIN)
    def set_schedule(self, schedule: Schedule) -> None:
        """Set quiet hours, digest and time zone; raise InvalidRequest for a time or a zone that is none."""
        schedule.require_valid()
        with self._store.transaction():
            before = self.get_schedule()
            if schedule == before:
                return
            self._store.alerts.write_schedule(
                {name: str(getattr(schedule, name)).strip() for name in Schedule.__slots__}
            )
            self._state.add_audit_line("alert times", "", _describe_schedule(before), _describe_schedule(schedule))

    @requires(AccessLevel.ADMIN)
    def update(self) -> None:
        """Begin and end alerts, as a working runner does every few seconds."""
        self._delivery.update_alerts()

    @requires(AccessLevel.VIEWER)
    def has_dead_runner(self) -> bool:
        """Return whether a runner ended without signing off: killed, or out of memory."""
        return bool(self._store.runners.list_dead_runners())

    @requires(AccessLevel.ADMIN)
    def begin_silence(self) -> None:
        """Begin the alert that no runner works."""
        self._delivery.begin_silence()

    @requires(AccessLevel.ADMIN)
    def deliver(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Send what is due until nothing is, or ``is_stopping``; return how many messages were delivered."""
        return self._delivery.deliver_due(is_stopping)

    def _get(self, recipient_id: int, kind: str) -> SealedRecipient:
        found = self._store.alerts.get_recipient(recipient_id)
        if found is None or found.view.kind != kind:
            raise InvalidRequest(f"There is no {NOUNS[kind]} {recipient_id}; see the list.")
        return found


def _require_short(url: str) -> str:
    if not url.isprintable() or len(url) > MAX_URL:
        raise InvalidRequest(f"An address has at most {MAX_URL} visible characters.", "url")
    return url


def _explain_nothing_given_up(recipient_id: int, kind: str) -> str:
    return f"Nothing to do: no message to {NOUNS[kind]} {recipient_id} was given up."


def _describe_schedule(schedule: Schedule) -> str:
    quiet = f"quiet {schedule.quiet_from} to {schedule.quiet_to}" if schedule.quiet_from else "never quiet"
    digest = f"digest at {schedule.digest}" if schedule.digest else "no digest"
    return f"{quiet}, {digest}, {schedule.zone}"
