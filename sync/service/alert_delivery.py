"""Open and close alerts, and send what is to be sent: the work of the runner, and of the pages while no runner works.

An alert's beginning or end and its messages are stored in one transaction; killed before it, the next look stores
them, killed after it, they are there. A message is marked as delivered after it was sent: killed in between, it is
sent again with the same key. Nothing is lost, and a receiver can tell that a message came twice.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

from sync.alerting.addresses import DeliveryFailed, send_alert
from sync.alerting.quiet_hours import Schedule
from sync.alerting.states import RUNNER_KEY, AlertState, Quotas, describe_silent_runner, find_place, find_states
from sync.alerting.webhooks import build_body, send_webhook
from sync.errors import CohortSyncError
from sync.process_identity import process_name
from sync.records import Message, OpenAlert
from sync.reports import AlertPlace
from sync.service.base import ServiceState
from sync.service.hourly_fit import find_unkept_limits
from sync.store.alerts import RESTLESS_SECONDS, SealedRecipient
from sync.store.rate_limits import SYNC_QUERIES_AN_HOUR
from sync.text import count_noun
from sync.views import Health

FIRST_PAUSE_SECONDS, PAUSE_FACTOR, MAX_PAUSE_SECONDS = 10.0, 3.0, 3600.0  # between two tries at a recipient
DEADLINE_SECONDS = 86400.0  # seconds after its first try until which a message is tried again
KINDS = ("alerts", "webhook")
RESTLESS_TEXT = " It comes and goes, so it counts as resolved only after an hour without it."
DAY_SECONDS = 86400.0
OVERVIEW = ""  # the address of the pages is that of the overview


class AlertDelivery:
    """Compare the states of now with the open alerts, and send messages."""

    def __init__(self, state: ServiceState, check_health: Callable[[], Health]) -> None:
        """Use the shared state of the service; ``check_health`` reads what needs a person."""
        self._state, self._check_health = state, check_health

    def read_schedule(self) -> Schedule:
        """Return when alerts wait and when the digest is sent."""
        return Schedule(**self._state.store.alerts.read_schedule())

    def update_alerts(self) -> None:
        """Begin and end alerts as a working runner: everything but its own silence, which it ends.

        Looked at first without the write lock, since mostly nothing changed, and once more under it: two runners
        must not answer each other with what they saw a moment ago.
        """
        if not self._state.store.alerts.has_addresses():
            return
        if any(self._compare()):
            with self._state.store.transaction():
                begun, returned, gone = self._compare()
                for one in begun:
                    self._begin(one)
                for key in returned:
                    self._state.store.alerts.note_calm(key, None)
                for alert in gone:
                    self._leave(alert)
        self._add_digest()

    def begin_silence(self) -> None:
        """Begin the alert that no runner works."""
        with self._state.store.transaction():
            if self._state.store.alerts.has_addresses():
                self._state.store.alerts.note_calm(RUNNER_KEY, None)
                self._begin(describe_silent_runner())

    def _compare(self) -> tuple[list[AlertState], list[str], list[OpenAlert]]:
        """Return the states that have no open alert, the restless alerts whose state is back, and those without one.

        A restless alert whose state is gone is among these once when that begins and once when it has lasted.
        """
        store = self._state.store
        opened = {one.key: one for one in store.alerts.list_open()}
        health, syncs, now = self._check_health(), store.syncs.list_views(), self._state.now()
        quotas = Quotas(
            rejected=store.rejections.count_by_sync(),
            queries_an_hour=SYNC_QUERIES_AN_HOUR,
            unkept=find_unkept_limits(store, syncs, now),
        )
        projects = {one.id: one.name for one in store.connections.list_projects()}
        found = find_states(health, syncs, quotas, projects, is_disk_alert_open="disk" in opened)
        states = {one.key: one for one in found}
        begun = [one for key, one in states.items() if key not in opened]
        returned = [key for key, one in opened.items() if key in states and one.calm_since is not None]
        gone = [one for key, one in opened.items() if key not in states and not _is_calming(one, now)]
        return begun, returned, gone

    def _begin(self, state: AlertState) -> None:
        now, alerts = self._state.now(), self._state.store.alerts
        is_restless, place = alerts.has_just_ended(state.key, now), self.find_place(state.key)
        since = f"Since {self.read_schedule().format_moment(now)}.{RESTLESS_TEXT if is_restless else ''}"
        body = f"{state.text}\n\n{since}{self._link(place.address if place else OVERVIEW)}"
        kind = state.key.partition(" ")[0]
        alert = OpenAlert(key=state.key, kind=kind, title=state.title, body=body, began_at=now, is_restless=is_restless)
        if alerts.begin_alert(alert):
            alerts.add_message(uuid.uuid4().hex, "alert.begun", f"Cohort Sync: {state.title}", body, now)

    def find_place(self, key: str) -> AlertPlace | None:
        """Return where the thing that an alert's key names is mended; None for what no page mends."""
        return find_place(key, self._state.store.rejections.count_by_sync() if key.startswith("rejected") else {})

    def _leave(self, alert: OpenAlert) -> None:
        """End an alert whose state is gone; one that comes and goes only after it was gone for a while."""
        if alert.is_restless and alert.calm_since is None:
            self._state.store.alerts.note_calm(alert.key, self._state.now())
        else:
            self._end(alert)

    def _end(self, alert: OpenAlert) -> None:
        now, moment = self._state.now(), self.read_schedule().format_moment
        if self._state.store.alerts.end_alert(alert.key, now):
            ended = moment(alert.calm_since or now)
            body = f"Resolved: {alert.title}.\n\nIt began {moment(alert.began_at)} and ended {ended}."
            self._state.store.alerts.add_message(
                uuid.uuid4().hex, "alert.ended", f"Cohort Sync: resolved: {alert.title}", body, now
            )

    def _link(self, page: str) -> str:
        base = self._state.settings.public_url
        return f"\n{base}/{page}" if base else ""

    def _add_digest(self) -> None:
        """Store the digest of the day when it is due; its key is the day, so that there is one."""
        now, schedule = self._state.now(), self.read_schedule()
        day = schedule.find_digest_day(now)
        if day is None:
            return
        ended = self._state.store.alerts.count_ended_runs(now - DAY_SECONDS)
        opened = self._state.store.alerts.list_open()
        changes = count_noun(ended["people"], "change of a person was", "changes of people were")
        lines = [
            f"In the last 24 hours {count_noun(ended.get('succeeded', 0), 'run')} succeeded, {ended.get('failed', 0):,} "
            f"failed and {ended.get('cancelled', 0):,} were cancelled; {changes} sent to WebEngage.",
            "",
            "These need attention:" if opened else "Nothing needs attention.",
            *(f"- {one.title}, since {schedule.format_moment(one.began_at)}" for one in opened),
        ]
        body = "\n".join(lines) + self._link("syncs")
        title = f"Cohort Sync: {count_noun(len(opened), 'open alert')}" if opened else "Cohort Sync: all is well"
        self._state.store.alerts.add_message(f"digest-{day.isoformat()}", "digest", title, body, now)

    def deliver_due(self, is_stopping: Callable[[], bool]) -> int:
        """Send what is due, one recipient after the other, until nothing is or this process stops; return how many went."""
        sent, owner = 0, f"{process_name()}-{uuid.uuid4().hex}"
        while not is_stopping():
            now = self._state.now()
            kinds = [kind for kind in KINDS if kind != "alerts" or not self.read_schedule().is_quiet(now)]
            recipient = self._state.store.alerts.claim_recipient(owner, now, json.dumps(kinds))
            if recipient is None:
                return sent
            try:
                sent += self._deliver_next(recipient)
            finally:
                self._state.store.alerts.release_recipient(recipient.view.id, owner)
        return sent

    def _deliver_next(self, recipient: SealedRecipient) -> bool:
        """Try the oldest message of a recipient; return whether it went through."""
        alerts = self._state.store.alerts
        message = alerts.next_message(recipient.view.id)
        if message is None:
            return False
        now = self._state.now()
        alerts.begin_attempt(message.id, now)
        try:
            self.send(recipient, message)
        except CohortSyncError as problem:
            self._note_failure(recipient, message, problem, now)
            return False
        alerts.mark_delivered(message, self._state.now())
        return True

    def send(self, recipient: SealedRecipient, message: Message) -> None:
        """Send one message once; raise DeliveryFailed, or KeyUnavailable when the address cannot be opened."""
        vault = self._state.open_vault()
        url = vault.open_text(recipient.sealed_url)
        if recipient.sealed_secret is None:
            send_alert(url, message.title, message.body)
        else:
            body = build_body(message.topic, message.body, message.created_at)
            send_webhook(url, vault.open_text(recipient.sealed_secret), message.key, body, self._state.now)

    def _note_failure(
        self, recipient: SealedRecipient, message: Message, problem: CohortSyncError, begun: float
    ) -> None:
        """Note a failed try: the whole recipient waits, ever longer, so that its messages stay in order."""
        now = self._state.now()
        refused = isinstance(problem, DeliveryFailed) and problem.is_final
        late = begun - (message.first_tried_at or begun) >= DEADLINE_SECONDS
        pause = min(FIRST_PAUSE_SECONDS * PAUSE_FACTOR ** min(recipient.failures, 9), MAX_PAUSE_SECONDS)
        asked = problem.retry_after if isinstance(problem, DeliveryFailed) else None
        # A message that was refused for good holds no other one up.
        next_try_at = now if refused else now + max(pause, asked or 0.0)
        alerts, claimed = self._state.store.alerts, recipient.next_try_at
        with self._state.store.transaction():
            if late:  # or each one waiting would get a day of its own, and they would only become more
                alerts.give_up_older(message.recipient_id, now, str(problem), begun - DEADLINE_SECONDS, claimed)
            alerts.note_failure(message, now, str(problem), next_try_at, claimed, given_up=refused or late)


def _is_calming(alert: OpenAlert, now: float) -> bool:
    """Return whether a restless alert is not over yet: its state may come back. A clock that was set back ends it."""
    return alert.calm_since is not None and 0 <= now - alert.calm_since < RESTLESS_SECONDS
