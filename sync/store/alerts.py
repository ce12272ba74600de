"""Recipients of alerts and webhooks, the messages to them, and the alerts that are open.

A message is delivered at least once: it is marked after it was sent, so a process that dies in between leaves it to be
sent again. That an alert begins once and ends once is decided here, by the rows of ``open_alert``; an ended one stays
for a while, so that a state that comes and goes is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sync.records import Message, OpenAlert, Recipient
from sync.store.database import Table, read_row, write_transaction

LEASE_SECONDS = 150.0  # seconds a recipient belongs to who sends to it; longer than any send may take
CLOCK_SLACK_SECONDS = 7200.0  # seconds; a lease or a next try farther ahead comes from a clock that was set back
RESTLESS_SECONDS = 3600.0  # seconds after its end in which an alert that begins again comes and goes
FAILING_SECONDS = 900.0  # seconds without success after which a person should look at a recipient


@dataclass(frozen=True, slots=True)
class SealedRecipient:
    """A recipient with its sealed address, and a webhook's sealed secret."""

    view: Recipient
    sealed_url: str
    sealed_secret: str | None
    failures: int
    next_try_at: float


class Alerts(Table):
    """Statements about recipients, messages and open alerts."""

    def add_recipient(
        self, kind: str, name: str, masked_url: str, sealed_url: str, sealed_secret: str | None, now: float
    ) -> int:
        """Add an address or a webhook; return its number."""
        with write_transaction(self._db):
            return self._fetch_int(
                """
                insert into recipient (kind, name, masked_url, sealed_url, sealed_secret, created_at)
                values (?, ?, ?, ?, ?, ?)
                returning id
                """,
                (kind, name, masked_url, sealed_url, sealed_secret, now),
            )

    def remove_recipient(self, recipient_id: int) -> bool:
        """Delete a recipient and its messages; without any address left, no alert is open. Return whether it was there."""
        with write_transaction(self._db):
            found = self._execute("delete from recipient where id = ?", (recipient_id,))
            self._execute("delete from open_alert where not exists (select 1 from recipient where kind = 'alerts')")
        return bool(found)

    def get_recipient(self, recipient_id: int) -> SealedRecipient | None:
        """Return one recipient, or None."""
        rows = self._read_recipients("where recipient.id = ?", recipient_id)
        return rows[0] if rows else None

    def list_recipients(self, kind: str | None = None) -> tuple[Recipient, ...]:
        """Return the recipients, of one kind when it is named, the oldest first."""
        return tuple(one.view for one in self._read_recipients("where (?1 is null or kind = ?1)", kind))

    def _read_recipients(self, where: str, value: object) -> tuple[SealedRecipient, ...]:
        rows = self._fetch_all(
            f"""
            select *, (select count(*) from message where recipient_id = recipient.id and failed_at is not null)
                as undelivered
            from recipient
            {where}
            order by id
            """,
            (value,),
        )
        return tuple(read_row(SealedRecipient, row, view=read_row(Recipient, row)) for row in rows)

    def list_unreachable(self, now: float) -> tuple[Recipient, ...]:
        """Return the recipients that need a person: a message was given up, or none went through for a while."""
        return tuple(
            one
            for one in self.list_recipients()
            if one.undelivered or (one.failing_since is not None and now - one.failing_since >= FAILING_SECONDS)
        )

    def has_addresses(self) -> bool:
        """Return whether anybody is to get alerts."""
        return self._fetch_bool("select exists (select 1 from recipient where kind = 'alerts')")

    def add_message(self, key: str, topic: str, title: str, body: str, now: float) -> int:
        """Store a message to every alert address; return how many, 0 when one with this key was stored before."""
        return self._execute(
            """
            insert into message (recipient_id, key, topic, title, body, created_at)
            select id, ?, ?, ?, ?, ?
            from recipient
            where kind = 'alerts'
            on conflict do nothing
            """,
            (key, topic, title, body, now),
        )

    def begin_alert(self, alert: OpenAlert) -> bool:
        """Open an alert; return False when it is open already."""
        return bool(
            self._execute(
                """
                insert into open_alert (key, kind, title, body, began_at, is_restless)
                values (:key, :kind, :title, :body, :began_at, :is_restless)
                on conflict (key) do update
                set kind = excluded.kind, title = excluded.title, body = excluded.body, began_at = excluded.began_at,
                    is_restless = excluded.is_restless, ended_at = null
                where ended_at is not null
                """,
                asdict(alert),
            )
        )

    def has_just_ended(self, key: str, now: float) -> bool:
        """Return whether an alert ended so shortly before that its state comes and goes."""
        ended_at = self._fetch_value("select max(ended_at) from open_alert where key = ?", (key,))
        return ended_at is not None and now - ended_at < RESTLESS_SECONDS

    def note_calm(self, key: str, calm_since: float | None) -> None:
        """Note since when the state of a restless alert is not there, or with None that it is."""
        self._execute("update open_alert set calm_since = ? where key = ? and is_restless", (calm_since, key))

    def end_alert(self, key: str, now: float) -> bool:
        """Close an alert; return False when it is not open. What ended long ago is deleted."""
        self._execute("delete from open_alert where ended_at <= ?", (now - RESTLESS_SECONDS,))
        return bool(
            self._execute(
                "update open_alert set ended_at = ?, calm_since = null where key = ? and ended_at is null", (now, key)
            )
        )

    def list_open(self) -> tuple[OpenAlert, ...]:
        """Return the alerts that are open, the oldest first."""
        rows = self._fetch_all("select * from open_alert where ended_at is null order by began_at, key")
        return tuple(read_row(OpenAlert, row) for row in rows)

    def claim_recipient(self, owner: str, now: float, kinds: str) -> SealedRecipient | None:
        """Take a recipient something is to be sent to, with a lease; ``kinds`` are JSON. None when there is nothing."""
        if self._find_claimable(now, kinds) is None:
            return None  # asked every few seconds, so without the write lock
        with write_transaction(self._db):
            row = self._fetch_one(
                """
                update recipient
                set lease_owner = ?, lease_until = ?
                where id = ?
                returning id
                """,
                (owner, now + LEASE_SECONDS, self._find_claimable(now, kinds)),
            )
        return self.get_recipient(row["id"]) if row else None

    def _find_claimable(self, now: float, kinds: str) -> int | None:
        """Return the recipient that nobody sends to and that has waited longest, or None."""
        found: int | None = self._fetch_value(
            """
            select id
            from recipient
            where kind in (select value from json_each(:kinds))
                and (next_try_at <= :now or next_try_at > :now + :slack)
                and (lease_until is null or lease_until <= :now or lease_until > :now + :slack)
                and exists (
                    select 1
                    from message
                    where recipient_id = recipient.id and delivered_at is null and failed_at is null
                )
            order by next_try_at, id
            limit 1
            """,
            {"now": now, "slack": CLOCK_SLACK_SECONDS, "kinds": kinds},
        )
        return found

    def release_recipient(self, recipient_id: int, owner: str) -> None:
        """Drop the lease of a recipient; nothing when it is not this owner's."""
        self._execute(
            "update recipient set lease_owner = null, lease_until = null where id = ? and lease_owner = ?",
            (recipient_id, owner),
        )

    def next_message(self, recipient_id: int) -> Message | None:
        """Return the oldest message that is still to be sent to a recipient, or None."""
        row = self._fetch_one(
            """
            select *
            from message
            where recipient_id = ? and delivered_at is null and failed_at is null
            order by id
            limit 1
            """,
            (recipient_id,),
        )
        return read_row(Message, row) if row else None

    def begin_attempt(self, message_id: int, now: float) -> None:
        """Count a try, before it is made."""
        self._execute(
            "update message set attempts = attempts + 1, first_tried_at = coalesce(first_tried_at, ?) where id = ?",
            (now, message_id),
        )

    def mark_delivered(self, message: Message, now: float) -> None:
        """Note that a message was taken, and with it that its recipient can be reached."""
        with write_transaction(self._db):
            self._execute("update message set delivered_at = ? where id = ?", (now, message.id))
            self.note_reached(message.recipient_id)

    def note_reached(self, recipient_id: int) -> None:
        """Forget that a recipient could not be reached."""
        self._execute(
            """
            update recipient
            set failures = 0, failing_since = null, problem = null, next_try_at = 0
            where id = ?
            """,
            (recipient_id,),
        )

    def note_failure(
        self, message: Message, now: float, problem: str, next_try_at: float, claimed: float, *, given_up: bool
    ) -> None:
        """Note that a message was not taken; ``given_up``: it is not tried again by itself.

        ``claimed``: the time of this try. Another one by now is at once, since a person wants messages sent again.
        """
        with write_transaction(self._db):
            self._execute(
                """
                update recipient
                set failures = failures + 1, failing_since = coalesce(failing_since, ?), problem = ?,
                    next_try_at = iif(next_try_at = ?, ?, next_try_at)
                where id = ?
                """,
                (now, problem, claimed, next_try_at, message.recipient_id),
            )
            if given_up:
                self._execute("update message set failed_at = ?, problem = ? where id = ?", (now, problem, message.id))

    def give_up_older(self, recipient_id: int, now: float, problem: str, before: float, claimed: float) -> None:
        """Give up the messages to a recipient that wait since then or longer and were never tried.

        None when a person wants some sent again since the try that was ``claimed`` for this time.
        """
        self._execute(
            """
            update message
            set failed_at = ?, problem = ?
            where recipient_id = ? and created_at <= ? and attempts = 0 and delivered_at is null and failed_at is null
                and exists (select 1 from recipient where id = recipient_id and next_try_at = ?)
            """,
            (now, problem, recipient_id, before, claimed),
        )

    def list_messages(self, kind: str, limit: int) -> tuple[Message, ...]:
        """Return the newest messages to recipients of a kind, newest first.

        One that was tried and waits has the problem of its recipient, which nothing else was sent to since.
        """
        rows = self._fetch_all(
            """
            select message.*, iif(failed_at is null and delivered_at is null and attempts > 0,
                recipient.problem, message.problem) as shown_problem
            from message
            join recipient on recipient.id = recipient_id
            where kind = ?
            order by message.id desc
            limit ?
            """,
            (kind, limit),
        )
        return tuple(read_row(Message, row, problem=row["shown_problem"]) for row in rows)

    def list_undelivered(self, limit: int) -> tuple[Message, ...]:
        """Return the newest messages that were given up, newest first."""
        rows = self._fetch_all("select * from message where failed_at is not null order by id desc limit ?", (limit,))
        return tuple(read_row(Message, row) for row in rows)

    def resend(self, *, message_id: int | None = None, recipient_id: int | None = None) -> int:
        """Let a message be sent again, whatever became of it, or all to a recipient that were given up; return how many."""
        with write_transaction(self._db):
            found = self._execute(
                """
                update message
                set delivered_at = null, failed_at = null, problem = null, attempts = 0, first_tried_at = null
                where id = ?1 or (recipient_id = ?2 and failed_at is not null)
                """,
                (message_id, recipient_id),
            )
            self._execute(
                "update recipient set next_try_at = 0 where id in (?2, (select recipient_id from message where id = ?1))",
                (message_id, recipient_id),
            )
        return found

    def discard(self, *, message_id: int | None = None, recipient_id: int | None = None) -> int:
        """Delete a message, or all to a recipient that were given up; return how many."""
        return self._execute(
            "delete from message where id = ?1 or (recipient_id = ?2 and failed_at is not null)",
            (message_id, recipient_id),
        )

    def count_ended_runs(self, since: float) -> dict[str, int]:
        """Return how many runs ended in each state since a moment, and under "people" how many people were sent."""
        rows = self._fetch_all(
            """
            select state, count(*), sum(delivered)
            from run
            where finished_at >= ?
            group by state
            """,
            (since,),
        )
        return {row[0]: row[1] for row in rows} | {"people": sum(row[2] for row in rows)}

    def read_schedule(self) -> dict[str, str]:
        """Return the settings of quiet hours and digest that were set, by name."""
        rows = self._fetch_all("select name, value from setting where name like 'alerts.%'")
        return {row["name"].removeprefix("alerts."): row["value"] for row in rows}

    def write_schedule(self, values: Mapping[str, str]) -> None:
        """Store the settings of quiet hours and digest."""
        with write_transaction(self._db):
            for name, value in values.items():
                self._write_setting(f"alerts.{name}", value)
