"""People who were not accepted: invalid (never sent), rejected by WebEngage, or taken without their mapped values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sync.records import RejectionView
from sync.store.database import Table, write_transaction

INVALID = "invalid"
LONG_ID_KEPT = 200  # characters; a longer id is stored cut, of people who are invalid and in previews
MEMBERSHIP_ONLY = "membership only"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One person, what was to be sent, and why it was not taken.

    ``outcome``: invalid, rejected, or membership only. ``may_be_sent``: an earlier try of the same request was not
    answered, so WebEngage may have taken it.
    """

    user_id: str
    kind: str
    reason: str
    outcome: str = "rejected"
    content_hash: bytes | None = None
    may_be_sent: bool = False


class Rejections(Table):
    """The rejections of all runs; an active one is not tried again with the same content."""

    def add(self, run_id: int, sync_id: int, rejected: Iterable[Rejection], now: float) -> None:
        """Note who was not taken."""
        with write_transaction(self._db):
            for one in rejected:
                active = one.outcome == "rejected"
                if active:
                    self._db.execute(
                        "update rejection set active = 0 where sync_id = ? and user_id = ? and active = 1",
                        (sync_id, one.user_id),
                    )
                self._db.execute(
                    """
                    insert or replace into rejection (run_id, sync_id, user_id, kind, outcome, reason, content_hash,
                      may_be_sent, at, active)
                    values (:run_id, :sync_id, :user_id, :kind, :outcome, :reason, :content_hash,
                      :may_be_sent, :at, :active)
                    """,
                    asdict(one) | {"run_id": run_id, "sync_id": sync_id, "at": now, "active": active},
                )

    def clear_taken(self, run_id: int, sync_id: int, user_ids: Iterable[str]) -> None:
        """Forget earlier rejections of people WebEngage took now; within one run the last answer is the outcome."""
        if not self._fetch_value(
            """
            select exists (select 1 from rejection where run_id = ?1 and outcome = 'rejected'
            union all select 1 from rejection where sync_id = ?2 and active = 1)
            """,
            (run_id, sync_id),
        ):
            return
        for user_id in user_ids:
            self._db.execute(
                "delete from rejection where run_id = ? and user_id = ? and outcome = 'rejected'", (run_id, user_id)
            )
            self._db.execute(
                "update rejection set active = 0 where sync_id = ? and user_id = ? and active = 1", (sync_id, user_id)
            )

    def drop(self, run_id: int) -> None:
        """Forget whom WebEngage rejected in a run: it was the account's fault, not theirs."""
        self._execute("delete from rejection where run_id = ? and outcome = 'rejected'", (run_id,))

    def list_active(self, sync_id: int) -> dict[str, tuple[str, bytes | None]]:
        """Return whom this sync does not try again: kind and content hash by user id."""
        rows = self._fetch_all(
            "select user_id, kind, content_hash from rejection where sync_id = ? and active = 1", (sync_id,)
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    def list_removals(self, sync_id: int) -> dict[str, float]:
        """Return whose removal this sync does not try again, and since when."""
        rows = self._fetch_all(
            "select user_id, at from rejection where sync_id = ? and active = 1 and kind = 'remove'", (sync_id,)
        )
        return {row[0]: row[1] for row in rows}

    def list_rejected_before(self, sync_id: int, run_id: int) -> frozenset[str]:
        """Return whom WebEngage rejected in other runs of a sync, forgiven or not."""
        rows = self._fetch_all(
            "select distinct user_id from rejection where sync_id = ? and run_id <> ? and outcome = 'rejected'",
            (sync_id, run_id),
        )
        return frozenset(row[0] for row in rows)

    def list_rejected_in(self, run_id: int) -> dict[str, bool]:
        """Return whom WebEngage rejected in a run, and whether an earlier try may have been taken."""
        rows = self._fetch_all(
            "select user_id, may_be_sent from rejection where run_id = ? and outcome = 'rejected'", (run_id,)
        )
        return {row[0]: bool(row[1]) for row in rows}

    def forgive(self, sync_id: int) -> int:
        """Let the next run try everybody again; return how many there are."""
        return self._execute("update rejection set active = 0 where sync_id = ? and active = 1", (sync_id,))

    def forgive_removals(self, user_ids: Iterable[str], *, sync_id: int | None = None, license_code: str = "") -> None:
        """Let these people be removed although WebEngage rejected that before: from a sync, or from all of an account."""
        with write_transaction(self._db):
            self._db.executemany(
                """
                update rejection
                set active = 0
                where user_id = ?1 and kind = 'remove' and active = 1
                    and sync_id in (select id from sync where id = ?2 or license_code = ?3)
                """,
                ((user_id, sync_id, license_code) for user_id in user_ids),
            )

    def list(self, run_id: int, limit: int) -> tuple[RejectionView, ...]:
        """Return who was not taken in a run, with the reason."""
        rows = self._fetch_all(
            "select user_id, kind, outcome, reason from rejection where run_id = ? order by reason, user_id limit ?",
            (run_id, limit),
        )
        return tuple(RejectionView(*row) for row in rows)

    def count_by_sync(self) -> dict[int, tuple[int, int, int]]:
        """Return how many people stand rejected in each sync that has some, how many of these are not in WebEngage, and
        the last run that rejected some of them.
        """
        rows = self._fetch_all(
            """
            select sync_id, count(*), sum(kind = 'add' and not may_be_sent), max(run_id)
            from rejection
            where active = 1
            group by sync_id
            """
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def count_active(self) -> int:
        """Return how many people stand rejected in all syncs."""
        return self._fetch_int("select count(*) from rejection where active = 1")
