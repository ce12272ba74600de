"""The two APIs' limits, shared by pages, CLI and every runner through the database.

Killed between taking and using: the slot or query is lost, never used twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync.store.database import Table, immediate
from sync.store.process import identity, is_gone

HOUR = 3600.0  # seconds; Mixpanel counts over a rolling hour (Mixpanel docs, rate limits)
HOUR_MARGIN = 5.0  # seconds; their clock and ours need not agree
QUERIES_AN_HOUR = 60  # Mixpanel docs: 60 queries per hour and project
QUERIES_AT_ONCE = 5  # Mixpanel docs: at most 5 concurrent queries
SERVER_DEADLINE = 490.0  # seconds; Mixpanel itself gives up on a query after 488 s (its SDK), answered or not
STILL_ASKING = 90.0  # seconds a query keeps its place at least while its process says that it waits for the answer
LAST_FLIGHT = 10.0  # seconds a query keeps its place at least after its process was seen to be gone
LAST_FLIGHT_FACTOR = 3.0  # times the longest answer of late that such a query may take
BATCHES_A_MINUTE_MAX = 500  # WebEngage docs, bulk-users: 500 requests a minute
BATCHES_A_MINUTE = 490  # below WebEngage's 500 (WebEngage docs, bulk-users), so jitter cannot exceed it
PACE_FARTHEST = 3700.0  # seconds; a later next slot can only come from a clock that was set back
BUSY_PAUSE = 0.1  # seconds until a place among the concurrent queries may be free


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to ask Mixpanel (``id``), or how long to wait and which limit says so."""

    id: int | None
    wait: float = 0.0
    limit: str = ""


class Meters(Table):
    """The pace of WebEngage accounts and the query ledger of Mixpanel projects."""

    def slots(self, license_code: str, now: float, ahead: float, most: int, a_minute: int) -> list[float]:
        """Reserve the evenly paced slots of the next ``ahead`` seconds, at most so many."""
        with immediate(self._plain):
            first, gap = self.next_slot(license_code, now), 60.0 / a_minute
            count = min(most, int((now + ahead - first) / gap) + 1) if first <= now + ahead else 0
            if count:
                self._pace(license_code, first + count * gap)
        return [first + number * gap for number in range(count)]

    def next_slot(self, license_code: str, now: float) -> float:
        """Tell when the account's next slot is, without taking it."""
        at = self._value("select next_at from pace where license_code = ?", (license_code,))
        return now if at is None or at > now + PACE_FARTHEST else max(float(at), now)

    def yield_until(self, license_code: str, until: float) -> None:
        """Let everyone who shares the account wait, since WebEngage said it is too much."""
        self._do(
            "insert into pace (license_code, next_at) values (?, ?) on conflict (license_code) "
            "do update set next_at = max(next_at, excluded.next_at)",
            (license_code, until),
        )

    def _pace(self, license_code: str, at: float) -> None:
        self._plain.execute(
            "insert into pace (license_code, next_at) values (?, ?) "
            "on conflict (license_code) do update set next_at = excluded.next_at",
            (license_code, at),
        )

    def take_query(self, project_id: int, now: float, *, later_page: bool, at_once: int = QUERIES_AT_ONCE) -> Ticket:
        """Take leave for one query, or learn how long to wait.

        A page after the first may count as a query or not (nobody could confirm it): it is entered
        in the ledger, but only held back once Mixpanel's own refusal showed that it counts.
        """
        with immediate(self._plain):
            self._correct_future(project_id, now, PACE_FARTHEST)
            waits = self._must_wait(project_id, now, later_page)
            if waits and self._correct_future(project_id, now, 0.0):
                waits = self._must_wait(project_id, now, later_page)
            if waits:
                return Ticket(None, waits, "hourly")
            running = self._running_until(project_id, now)
            if len(running) >= at_once:
                return Ticket(None, max(BUSY_PAUSE, running[len(running) - at_once] - now), "concurrent")
            # Never earlier than the last one: while a clock is set back, queries would look an hour old when it is right again.
            found = self._plain.execute(
                "insert into query (project_id, at, later_page, flying_until, owner) values (?1, max(?2, coalesce("
                "(select max(at) from query where project_id = ?1), ?2)), ?3, ?4, ?5)",
                (project_id, now, int(later_page), now + SERVER_DEADLINE, identity()),
            )
            return Ticket(found.lastrowid)

    def _correct_future(self, project_id: int, now: float, tolerated: float) -> int:
        """Date queries from further in the future than this as asked now; return how many there were.

        A clock that was set back since dated them. A step of an hour is tolerated until such a query makes
        somebody wait: should the clock be put right again, it must still count.
        """
        self._plain.execute(
            "update query set flying_until = ?1 where project_id = ?2 and flying_until > ?1",
            (now + SERVER_DEADLINE, project_id),
        )
        return self._plain.execute(
            "update query set at = ? where project_id = ? and at > ?", (now, project_id, now + tolerated)
        ).rowcount

    def _must_wait(self, project_id: int, now: float, later_page: bool) -> float:
        return self._quiet(project_id, now) or self._full_hour(project_id, now, later_page)

    def landed(self, ticket: Ticket, now: float) -> None:
        """Free the place of a query that Mixpanel is done with, and keep how long the answer took (below zero)."""
        self._do("update query set flying_until = min(0, at - ?) where id = ?", (now, ticket.id))

    def abandon_query(self, ticket: Ticket) -> None:
        """Leave a query its place until Mixpanel's own deadline: we stopped waiting, Mixpanel may not have.

        Without an owner it keeps it also when this process ends.
        """
        self._do("update query set owner = '' where id = ?", (ticket.id,))

    def still_flying(self, tickets: Iterable[Ticket], now: float) -> None:
        """Keep the places of queries whose answer is still awaited, also after a clock was set forward."""
        with immediate(self._plain):
            self._plain.executemany(
                "update query set flying_until = max(flying_until, ?) where id = ? and flying_until > 0",
                ((now + STILL_ASKING, ticket.id) for ticket in tickets),
            )

    def bury(self, now: float) -> None:
        """Free the places of processes that are gone once Mixpanel, by its other answers of late, must be done.

        Without such answers to compare with, the places stay until Mixpanel's own deadline.
        """
        owners = self._all("select distinct owner from query where flying_until > ?", (now + LAST_FLIGHT,))
        for owner in (row[0] for row in owners if is_gone(row[0])):
            self._do(
                "update query set flying_until = min(flying_until, coalesce((select max(?1, query.at - ?2 * "
                "min(answered.flying_until)) from query answered where answered.project_id = query.project_id "
                "and answered.later_page = query.later_page and answered.flying_until <= 0), flying_until)) "
                "where owner = ?3 and flying_until > ?1",
                (now + LAST_FLIGHT, LAST_FLIGHT_FACTOR, owner),
            )

    def hush(self, project_id: int, until: float, *, pages_count: bool) -> None:
        """Ask nothing of a project until then; remember when its refusal showed that pages count."""
        with immediate(self._plain):
            self._plain.execute(
                "insert into quiet (project_id, until) values (?, ?) on conflict (project_id) "
                "do update set until = max(until, excluded.until)",
                (project_id, until),
            )
            if pages_count:
                self._plain.execute("update project set pages_count = 1 where id = ?", (project_id,))

    def free_again(self, project_id: int, now: float) -> float:
        """Tell when the oldest query of the last hour leaves the window."""
        oldest = self._value(
            "select min(at) from query where project_id = ? and at > ?", (project_id, now - HOUR - HOUR_MARGIN)
        )
        return max(now, float(oldest or now) + HOUR) + HOUR_MARGIN

    def left(self, project_id: int, now: float) -> int:
        """Tell how many of the hour's queries are left, as far as we asked ourselves."""
        return max(0, QUERIES_AN_HOUR - self._asked(project_id, now, self._pages_count(project_id)))

    def _pages_count(self, project_id: int) -> bool:
        return bool(self._value("select pages_count from project where id = ?", (project_id,)))

    def _quiet(self, project_id: int, now: float) -> float:
        until = self._value("select until from quiet where project_id = ?", (project_id,))
        return until - now if until is not None and now < until <= now + PACE_FARTHEST else 0.0

    def _full_hour(self, project_id: int, now: float, later_page: bool) -> float:
        strict = self._pages_count(project_id)
        if (later_page and not strict) or self._asked(project_id, now, strict) < QUERIES_AN_HOUR:
            return 0.0
        return max(1.0, self.free_again(project_id, now) - now)

    def _asked(self, project_id: int, now: float, with_pages: bool) -> int:
        return int(
            self._value(
                "select count(*) from query where project_id = ? and at > ? and later_page <= ?",
                (project_id, now - HOUR - HOUR_MARGIN, int(with_pages)),
            )
        )

    def _running_until(self, project_id: int, now: float) -> list[float]:
        """Return when each running query frees its place at the latest, the first one first."""
        rows = self._all(
            "select flying_until from query where project_id = ? and flying_until > ? order by flying_until",
            (project_id, now),
        )
        return [row[0] for row in rows]

    def forget_old(self, now: float) -> None:
        """Drop ledger lines that can no longer matter."""
        self._do("delete from query where at < ?", (now - 3 * HOUR,))
