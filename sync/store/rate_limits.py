"""The two APIs' limits, shared by pages, CLI and every runner through the database.

Killed between taking and using: the slot or query is lost, never used twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync.process_identity import is_process_gone, process_name
from sync.store.database import Table, write_transaction

HOUR_SECONDS = 3600.0  # seconds; Mixpanel counts over a rolling hour (Mixpanel docs, rate limits)
HOUR_MARGIN_SECONDS = 5.0  # seconds; their clock and ours need not agree
QUERIES_AN_HOUR = 60  # Mixpanel docs: 60 queries per hour and project
MAX_CONCURRENT_QUERIES = 5  # Mixpanel docs: at most 5 concurrent queries
RESERVED_FOR_PEOPLE = 10  # queries an hour no run takes, so that the pages can always ask
SYNC_QUERIES_AN_HOUR = QUERIES_AN_HOUR - RESERVED_FOR_PEOPLE
LEARNED_SECONDS = 86400.0  # what a refusal taught of a limit is believed for a day
SERVER_DEADLINE = 490.0  # seconds; Mixpanel itself gives up on a query after 488 s (its SDK), answered or not
STILL_ASKING = 90.0  # seconds a query keeps its place at least while its process says that it waits for the answer
DEAD_QUERY_SECONDS = 10.0  # seconds a query keeps its place at least after its process was seen to be gone
LAST_FLIGHT_FACTOR = 3.0  # times the longest answer of late that such a query may take
MAX_SLOT_AHEAD_SECONDS = 3700.0  # seconds; a later next slot can only come from a clock that was set back
BUSY_POLL_SECONDS = 0.1  # seconds until a place among the concurrent queries may be free
CLOCK_STEP_SECONDS = 120.0  # a clock that shows so much more than when last looked at may have been set forward
# A clock that shows less by more than this, some 25 hours, was wrong before and is right now.
CLOCK_BELIEVED_SECONDS = 90_000.0


@dataclass(frozen=True, slots=True)
class QuerySlot:
    """Leave to ask Mixpanel (``id``), or how long to wait and which limit says so."""

    id: int | None
    wait: float = 0.0
    limit: str = ""


class RateLimits(Table):
    """The pace of WebEngage accounts and the query ledger of Mixpanel projects."""

    def reserve_slots(self, license_code: str, now: float, ahead: float, most: int, a_minute: int) -> list[float]:
        """Reserve the evenly paced slots of the next ``ahead`` seconds, at most so many."""
        with write_transaction(self._db):
            first, gap = self.next_slot(license_code, now), 60.0 / a_minute
            count = min(most, int((now + ahead - first) / gap) + 1) if first <= now + ahead else 0
            if count:
                self._set_next_slot(license_code, first + count * gap)
        return [first + number * gap for number in range(count)]

    def next_slot(self, license_code: str, now: float) -> float:
        """Return the time of the account's next slot, without taking it."""
        at = self._fetch_value("select next_at from webengage_rate where license_code = ?", (license_code,))
        return now if at is None or at > now + MAX_SLOT_AHEAD_SECONDS else max(float(at), now)

    def find_wait(self, license_code: str, now: float) -> float:
        """Return the seconds until the account's next slot, 0 when it was far away only since the clock was set back."""
        self.note_time(now)
        wait = self.next_slot(license_code, now) - now
        return wait if wait > CLOCK_STEP_SECONDS else 0.0

    def delay_account_until(self, license_code: str, until: float) -> None:
        """Let everyone who shares the account wait, since WebEngage said it is too much."""
        self._execute(
            """
            insert into webengage_rate (license_code, next_at) values (?, ?) on conflict (license_code)
            do update set next_at = max(next_at, excluded.next_at)
            """,
            (license_code, until),
        )

    def _set_next_slot(self, license_code: str, at: float) -> None:
        self._db.execute(
            """
            insert into webengage_rate (license_code, next_at) values (?, ?)
            on conflict (license_code) do update set next_at = excluded.next_at
            """,
            (license_code, at),
        )

    def note_time(self, now: float) -> None:
        """Remember the latest time that a clock showed, and what it shows now.

        Queries asked while it was behind are dated as asked now when it may have been set forward since the last look:
        their true time may be any until now. The next slots of WebEngage's pace go back with a clock that was set back.
        """
        with write_transaction(self._db):
            known = self._fetch_all("select name, value from setting where name in ('clock_latest', 'clock_now')")
            times = {row["name"]: float(row["value"]) for row in known}
            latest, last = times.get("clock_latest", now), times.get("clock_now", now)
            if now > last + CLOCK_STEP_SECONDS:
                self._db.execute(
                    "update mixpanel_query set at = ?1 where behind_until > ?1 and behind_until < ?1 + ?2",
                    (now, CLOCK_BELIEVED_SECONDS),
                )
            if now < last - CLOCK_STEP_SECONDS:
                self._db.execute("update webengage_rate set next_at = next_at - ?", (last - now,))
            latest = now if latest > now + CLOCK_BELIEVED_SECONDS else max(latest, now)
            self._write_setting("clock_latest", repr(latest))
            self._write_setting("clock_now", repr(now))

    def acquire_query(
        self,
        project_id: int,
        now: float,
        *,
        later_page: bool,
        at_once: int = MAX_CONCURRENT_QUERIES,
        sync_id: int | None = None,
    ) -> QuerySlot:
        """Acquire one query, or learn how long to wait; ``sync_id`` names the sync it is for, None a person.

        A page after the first may count as a query or not (nobody could confirm it): it is entered
        in the ledger, but only held back once Mixpanel's own refusal showed that it counts.
        """
        with write_transaction(self._db):
            self.note_time(now)
            if self._has_odd_times(project_id, now):
                self._correct_past(project_id, now)
                self._correct_future(project_id, now, MAX_SLOT_AHEAD_SECONDS)
            waits = self._must_wait(project_id, now, later_page, sync_id)
            if waits and self._correct_future(project_id, now, 0.0):
                waits = self._must_wait(project_id, now, later_page, sync_id)
            if waits:
                return QuerySlot(None, waits, "hourly")
            running = self._running_until(project_id, now)
            if len(running) >= at_once:
                return QuerySlot(None, max(BUSY_POLL_SECONDS, running[len(running) - at_once] - now), "concurrent")
            latest = self._latest_time_known(project_id)
            found = self._db.execute(
                """
                insert into mixpanel_query (project_id, at, is_later_page, in_flight_until, owner, sync_id, behind_until)
                values (?1, ?2, ?3, ?2 + ?4, ?5, ?6, iif(?7 > ?2, ?7, null))
                """,
                (project_id, now, later_page, SERVER_DEADLINE, process_name(), sync_id, latest),
            )
            return QuerySlot(found.lastrowid)

    def _latest_time_known(self, project_id: int) -> float:
        """Return the latest time a clock showed, or dated a query of the project with; one that shows less was set back."""
        return float(
            self._fetch_value(
                """
                select max(
                  ifnull((select cast(value as real) from setting where name = 'clock_latest'), 0),
                  ifnull((select max(at) from mixpanel_query where project_id = ?1), 0),
                  ifnull((
                    select max(behind_until)
                    from mixpanel_query
                    where project_id = ?1 and behind_until is not null
                  ), 0))
                """,
                (project_id,),
            )
        )

    def _has_odd_times(self, project_id: int, now: float) -> bool:
        """Return whether a clock was changed, by the times of a project's queries."""
        return self._fetch_bool(
            """
                select exists (select 1 from mixpanel_query where project_id = ?1 and behind_until <= ?2)
                  or exists (select 1 from mixpanel_query where project_id = ?1 and at > ?2 + ?3)
                  or exists (select 1 from mixpanel_query where project_id = ?1 and in_flight_until > ?2 + ?4)
                """,
            (project_id, now, MAX_SLOT_AHEAD_SECONDS, SERVER_DEADLINE),
        )

    def _correct_past(self, project_id: int, now: float) -> None:
        """Date queries as asked now that were dated while a clock was behind, once it shows the latest time known.

        Whether it was put right or only went on nobody can tell: their true time may be any until now.
        """
        self._db.execute(
            """
            update mixpanel_query set at = :now, behind_until = null
            where project_id = :project_id and behind_until <= :now
            """,
            {"project_id": project_id, "now": now},
        )

    def _correct_future(self, project_id: int, now: float, tolerated: float) -> int:
        """Date queries from further in the future than this as asked now; return how many there were.

        A clock that was set back since dated them. A step of an hour is tolerated until such a query makes
        somebody wait.
        """
        self._db.execute(
            "update mixpanel_query set in_flight_until = ?1 where project_id = ?2 and in_flight_until > ?1",
            (now + SERVER_DEADLINE, project_id),
        )
        return self._db.execute(
            """
            update mixpanel_query set at = :now, behind_until = max(at, coalesce(behind_until, at))
            where project_id = :project_id and at > :latest
            """,
            {"project_id": project_id, "now": now, "latest": now + tolerated},
        ).rowcount

    def _must_wait(self, project_id: int, now: float, later_page: bool, sync_id: int | None) -> float:
        return self._blocked_seconds(project_id, now) or self._hourly_wait(project_id, now, later_page, sync_id)

    def release_query(self, slot: QuerySlot, now: float) -> None:
        """Free the place of a query that Mixpanel is done with, and keep how long the answer took (below zero)."""
        self._execute("update mixpanel_query set in_flight_until = min(0, at - ?) where id = ?", (now, slot.id))

    def abandon_query(self, slot: QuerySlot) -> None:
        """Leave a query its place until Mixpanel's own deadline: we stopped waiting, Mixpanel may not have.

        Without an owner it keeps it also when this process ends.
        """
        self._execute("update mixpanel_query set owner = '' where id = ?", (slot.id,))

    def renew_queries(self, slots: Iterable[QuerySlot], now: float) -> None:
        """Keep the places of queries whose answer is still awaited, also after a clock was set forward."""
        with write_transaction(self._db):
            self._db.executemany(
                "update mixpanel_query set in_flight_until = max(in_flight_until, ?) where id = ? and in_flight_until > 0",
                ((now + STILL_ASKING, slot.id) for slot in slots),
            )

    def release_dead_queries(self, now: float) -> None:
        """Free the places of processes that are gone once Mixpanel, by its other answers of late, must be done.

        Without such answers to compare with, the places stay until Mixpanel's own deadline.
        """
        owners = self._fetch_all(
            "select distinct owner from mixpanel_query where in_flight_until > ?", (now + DEAD_QUERY_SECONDS,)
        )
        for owner in (row[0] for row in owners if is_process_gone(row[0])):
            self._execute(
                """
                update mixpanel_query
                set in_flight_until = min(in_flight_until, ifnull((
                    select max(?1, mixpanel_query.at - ?2 * min(answered.in_flight_until))
                    from mixpanel_query as answered
                    where answered.project_id = mixpanel_query.project_id
                        and answered.is_later_page = mixpanel_query.is_later_page and answered.in_flight_until <= 0
                ), in_flight_until))
                where owner = ?3 and in_flight_until > ?1
                """,
                (now + DEAD_QUERY_SECONDS, LAST_FLIGHT_FACTOR, owner),
            )

    def block_until(self, project_id: int, until: float, *, pages_count: bool, now: float) -> None:
        """Ask nothing of a project until then; remember for a day when its refusal showed that pages count.

        A block from a clock that was set back since is none, and must not stand in the way of this one.
        """
        with write_transaction(self._db):
            self._db.execute(
                """
                insert into mixpanel_block (project_id, until)
                values (?1, ?2)
                on conflict (project_id) do update
                set until = iif(until > ?3, excluded.until, max(until, excluded.until))
                """,
                (project_id, until, now + MAX_SLOT_AHEAD_SECONDS),
            )
            if pages_count:
                self._db.execute(
                    "update mixpanel_project set later_pages_counted_at = ? where id = ?", (now, project_id)
                )

    def next_query_at(self, project_id: int, now: float, sync_id: int | None = None) -> float:
        """Return when the oldest query of the last hour, of everybody or of one sync, leaves the window."""
        oldest = self._fetch_value(
            "select min(at) from mixpanel_query where project_id = ?1 and at > ?2 and (?3 is null or sync_id = ?3)",
            (project_id, now - HOUR_SECONDS - HOUR_MARGIN_SECONDS, sync_id),
        )
        return max(now, float(oldest or now) + HOUR_SECONDS) + HOUR_MARGIN_SECONDS

    def queries_left(self, project_id: int, now: float) -> int:
        """Return how many of the hour's queries are left, counting our own only; none while Mixpanel refuses them."""
        if self._blocked_seconds(project_id, now):
            return 0
        return max(0, QUERIES_AN_HOUR - self.queries_used(project_id, now))

    def queries_used(self, project_id: int, now: float) -> int:
        """Return how many queries of our own the last hour had."""
        return self._count_queries(project_id, now, self.pages_count(project_id, now))

    def more_queries_at(self, project_id: int, now: float) -> float:
        """Return when more queries than now may be asked: when Mixpanel ends its refusal, else when the oldest is an hour old."""
        blocked = self._blocked_seconds(project_id, now)
        return now + blocked if blocked else self.next_query_at(project_id, now)

    def pages_count(self, project_id: int, now: float) -> bool:
        """Return whether Mixpanel showed within the last day that later pages count as queries."""
        at = self._fetch_value("select later_pages_counted_at from mixpanel_project where id = ?", (project_id,))
        return at is not None and 0 <= now - at < LEARNED_SECONDS

    def _blocked_seconds(self, project_id: int, now: float) -> float:
        until = self._fetch_value("select until from mixpanel_block where project_id = ?", (project_id,))
        return until - now if until is not None and now < until <= now + MAX_SLOT_AHEAD_SECONDS else 0.0

    def _hourly_wait(self, project_id: int, now: float, later_page: bool, sync_id: int | None) -> float:
        """Return how long to wait for the hour: ten queries are reserved for people, the rest is shared by the syncs."""
        strict = self.pages_count(project_id, now)
        if later_page and not strict:
            return 0.0
        if self._count_queries(project_id, now, strict) >= QUERIES_AN_HOUR:
            return max(1.0, self.next_query_at(project_id, now) - now)
        if sync_id is None:
            return 0.0
        shared = QUERIES_AN_HOUR - min(RESERVED_FOR_PEOPLE, QUERIES_AN_HOUR // 2)
        mine = max(1, shared // max(1, self._readers(project_id, now)))
        is_full = (
            self._count_queries(project_id, now, strict, 0) >= shared
            or self._count_queries(project_id, now, strict, sync_id) >= mine
        )
        return max(1.0, self.next_query_at(project_id, now, sync_id) - now) if is_full else 0.0

    def _readers(self, project_id: int, now: float) -> int:
        """Return how many syncs of a project have something to read now."""
        return self._fetch_int(
            """
                select count(*) from run join sync on sync.id = run.sync_id where finished_at is null
                and not planned and not_before <= ?1 + ?2 and project_id = ?3
                """,
            (now, HOUR_SECONDS, project_id),
        )

    def _count_queries(self, project_id: int, now: float, with_pages: bool, sync_id: int | None = None) -> int:
        """Return how many queries of the last hour there are: of everybody, of one sync, or of all syncs (0)."""
        return self._fetch_int(
            """
                select count(*) from mixpanel_query where project_id = ?1 and at > ?2 and is_later_page <= ?3
                and (?4 is null or sync_id = ?4 or (?4 = 0 and sync_id is not null))
                """,
            (project_id, now - HOUR_SECONDS - HOUR_MARGIN_SECONDS, int(with_pages), sync_id),
        )

    def _running_until(self, project_id: int, now: float) -> list[float]:
        """Return when each running query frees its place at the latest, the first one first."""
        rows = self._fetch_all(
            "select in_flight_until from mixpanel_query where project_id = ? and in_flight_until > ? order by in_flight_until",
            (project_id, now),
        )
        return [row[0] for row in rows]

    def delete_old_queries(self, now: float) -> None:
        """Delete the lines of the query ledger that are too old to matter."""
        self._execute("delete from mixpanel_query where at < ?", (now - 3 * HOUR_SECONDS,))
