"""The database refuses what must not be, whoever writes; meters, leases and migrations across processes."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import InvalidRequest, LeaseLost
from sync.model import Mode, RunState
from sync.store import Store
from sync.store.batches import Block
from sync.store.export_requests import ExportRequest, Request
from sync.store.migrations import MIGRATIONS
from sync.store.rejections import Rejection
from sync.store.runs import LEASE_SECONDS
from sync.store.sqlite_errors import StorageUnavailable

SCHEMAS = Path(__file__).parent / "schemas"
NOW = 1_800_000_000.0
REQUEST = ExportRequest(42, 7, "Fans", "lc", "Mixpanel - Fans", Request(Mode.DYNAMIC, 7200.0))


@pytest.fixture
def store(data_dir: Path) -> Iterator[Store]:
    """Make a fresh database with one sync."""
    with Store.open(data_dir) as opened:
        opened.syncs.create(REQUEST, NOW, active=True)
        yield opened


@pytest.fixture
def plain(store: Store, data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the same file as anybody could."""
    with closing(sqlite3.connect(data_dir / "app.db", isolation_level=None)) as db:
        db.execute("pragma foreign_keys = on")
        yield db


RUN = "insert into run (sync_id, state, purpose, queued_at, not_before{more}) values (1, '{state}', 'export', 1, 1{values})"


def run_row(state: str = "queued", **more: object) -> str:
    """Insert a run with some columns set."""
    return RUN.format(
        state=state,
        more="".join(f", {name}" for name in more),
        values="".join(f", {value!r}" if value is not None else ", null" for value in more.values()),
    )


@pytest.mark.parametrize(
    "statements",
    [
        [run_row(), run_row()],
        [run_row("failed", finished_at=1)],
        [run_row("succeeded")],
        [run_row("queued", finished_at=1)],
        [run_row("succeeded", finished_at=1, error="x")],
        [run_row("held")],
        [run_row("pulling", lease_owner="a")],
        [run_row("pulling", lease_until=1)],
        [run_row("dreaming")],
        ["update sync set state = 'paused'"],
        ["update sync set pause_reason = 'x'"],
        ["update sync set interval_seconds = null"],
        ["update sync set mode = 'one-time'"],
        ["update sync set next_run_at = null"],
        ["update sync set state = 'finished'"],
        ["update sync set attribute = ''"],
        [f"update sync set attribute = '{'x' * 50}'"],
        [
            "insert into sync (project_id, cohort_id, cohort_name, license_code, attribute, mode, state, schedule_anchor) "
            "values (42, 8, 'x', 'lc', 'Mixpanel - Fans', 'one-time', 'active', 1)"
        ],
        [
            "insert into sync (project_id, cohort_id, cohort_name, license_code, attribute, mode, state, schedule_anchor) "
            "values (42, 7, 'x', 'lc', 'Other', 'one-time', 'active', 1)"
        ],
        [run_row(), "insert into rejection values (1, 1, 'a', 'add', 'rejected', '', null, 0, 1, 1)"],
        [
            run_row(),
            "insert into rejection values (1, 1, 'a', 'add', 'rejected', 'x', null, 0, 1, 1)",
            "insert into rejection values (2, 1, 'a', 'add', 'rejected', 'x', null, 0, 1, 1)",
        ],
        [run_row(), "insert into batch values (1, 0, 'pending', 0)"],
        [run_row(), "insert into batch values (1, 0, 'lost', 1)"],
        ["insert into batch values (99, 0, 'pending', 1)"],
        [
            run_row(),
            "insert into staged_page values (1, 3, 0, 1, 0, 0, 1, null, x'', x'', x'', x'', x'', x'', x'', x'', x'', null)",
        ],
        [
            run_row(),
            "insert into staged_page values (1, 1, 0, 1, 0, 0, 1, null, x'', x'', x'', x'', x'', x'', x'00', x'', x'', null)",
        ],
        [
            run_row(),
            "insert into staged_page values (1, 1, 0, 1, 0, 0, 1, null, x'', x'', x'', x'', x'', x'', x'', x'00', x'', null)",
        ],
        [run_row(), "update run set id_property_before = ''"],
        [run_row(), "update run set doubles = -1"],
        [run_row(), "insert into batch_block values (1, 0, 'aa', x'00', x'00', null)"],
        ["insert into snapshot_bucket values (1, 0, x'00', x'00')"],
        ["insert into snapshot_bucket values (1, 256, zeroblob(24), x'00')"],
        ["insert into attribute_owner values ('lc', 'vip', 'VIP', null, null, null, null)"],
        ["insert into attribute_owner values ('lc', 'vip', 'VIP', 1, null, 'text', null)"],
        ["insert into attribute_owner values ('lc', 'vip', 'VIP', 1, null, null, 'string')"],
        ["insert into attribute_owner values ('lc', 'plan', 'Plan', null, 'plan', null, 'object')"],
        ["insert into event (at, message) values (1, 'x')", "update event set message = 'y'"],
        ["insert into event (at, message) values (1, 'x')", "update event set times = 2, until = 9"],
        ["insert into event (at, message, until) values (1, 'x', 2)", "update event set message = 'y', times = 2"],
        ["insert into event (at, message, until) values (1, 'x', 2)", "update event set at = 0, times = 2"],
        ["insert into event (at, message, until, times) values (1, 'x', 2, 5)", "update event set times = 4"],
        ["insert into event (at, message, until) values (1, 'x', 2)", "update event set until = 3"],
        ["insert into event (at, message, until) values (1, 'x', 2)", "update event set until = null, times = 2"],
        ["insert into audit (at, actor, action, target, before, after) values (1, '', 'x', '', '', '')"],
    ],
    ids=lambda statements: statements[-1][:70],
)
def test_the_schema_refuses(plain: sqlite3.Connection, statements: list[str]) -> None:
    """Two active runs, a failure without error, a pause without reason, one attribute for two cohorts, and so on."""
    for statement in statements[:-1]:
        plain.execute(statement)
    with pytest.raises(sqlite3.IntegrityError):
        plain.execute(statements[-1])


def test_saving_another_cohort_with_a_taken_attribute_is_a_sentence(store: Store) -> None:
    """The database's refusal becomes words at the field."""
    with pytest.raises(InvalidRequest, match="another cohort") as refused:
        store.syncs.create(
            ExportRequest(42, 8, "Other", "lc", REQUEST.attribute, Request(Mode.ONE_TIME, None)), NOW, active=True
        )
    assert refused.value.field == "attribute"


def test_taking_over_a_request_keeps_the_attribute_and_the_beats(store: Store) -> None:
    """The same interval keeps its beats, another one begins now; what is permanent stays."""
    before = store.syncs.get_sync(1)
    store.syncs.take_over(1, Request(Mode.DYNAMIC, 7200.0, (("plan", "Plan"),)), NOW + 100)
    after = store.syncs.get_sync(1)
    assert before and after and (after.attribute, after.next_run_at) == (before.attribute, before.next_run_at)
    store.syncs.take_over(1, Request(Mode.ONE_TIME, None), NOW + 100)
    after = store.syncs.get_sync(1)
    assert after and (after.mode, after.next_run_at, after.mapping) == (Mode.ONE_TIME, None, (("plan", "Plan"),))


def test_of_many_claimers_one_gets_the_run(store: Store, data_dir: Path) -> None:
    """Eight connections at once, one claim."""
    store.runs.enqueue_run(1, "export", NOW)

    def claim(name: int) -> bool:
        with Store.open(data_dir) as own:
            return own.runs.claim_run(f"owner-{name}", NOW) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(8))) == 1


def test_of_many_enqueuers_one_makes_the_run(store: Store, data_dir: Path) -> None:
    """Eight clicks at once, one run."""

    def enqueue(_: int) -> int | None:
        with Store.open(data_dir) as own:
            return own.runs.enqueue_run(1, "export", NOW)

    with ThreadPoolExecutor(8) as pool:
        assert [one for one in pool.map(enqueue, range(8)) if one] == [1]


def test_a_lost_lease_writes_nothing(store: Store) -> None:
    """After its lease ended and another claimed, the first owner can neither write, count, hold nor finish."""
    store.runs.enqueue_run(1, "export", NOW)
    store.runs.claim_run("first", NOW)
    assert store.runs.claim_run("second", NOW + LEASE_SECONDS - 1) is None
    assert store.runs.claim_run("second", NOW + LEASE_SECONDS + 1) is not None
    for attempt in (
        lambda: store.runs.renew_lease(1, "first", NOW),
        lambda: store.runs.write_run(1, "first", entered=5),
        lambda: store.runs.add_counts(1, "first", delivered=1),
        lambda: store.runs.finish_run(1, "first", RunState.SUCCEEDED, NOW),
    ):
        with pytest.raises(LeaseLost):
            attempt()
    found = store.runs.get_run(1)
    assert found is not None and (found.entered, found.delivered, found.lease_owner) == (0, 0, "second")


def test_a_clock_set_back_does_not_lock_a_run_away(store: Store) -> None:
    """A lease and a waiting time of next year are free now."""
    store.runs.enqueue_run(1, "export", NOW + 3e7)
    store.runs.claim_run("future", NOW + 3e7)
    assert store.runs.claim_run("present", NOW) is not None


def test_missed_beats_merge_and_keep_the_grid(store: Store) -> None:
    """After a day away one beat is due, and the next lies on the old grid."""
    [sync] = store.syncs.list_due(NOW + 86_400 + 10)
    store.syncs.advance_schedule(sync, NOW + 86_400 + 10)
    found = store.syncs.get_sync(1)
    assert found is not None and found.next_run_at == NOW + 86_400 + 7200
    assert store.syncs.list_due(NOW + 86_400 + 20) == ()


def test_slots_are_even_and_shared(store: Store, data_dir: Path) -> None:
    """Two runners' slots never come closer than the pace, and no minute holds more than 490."""
    slots = store.rate_limits.reserve_slots("lc", NOW, 30.0, 1000, 490)
    with Store.open(data_dir) as other:
        slots += other.rate_limits.reserve_slots("lc", NOW, 90.0, 1000, 490)
    gaps = [later - earlier for earlier, later in itertools.pairwise(slots)]
    assert min(gaps) == pytest.approx(60 / 490, rel=1e-3)
    assert sum(1 for slot in slots if NOW <= slot < NOW + 60) <= 490


def test_after_a_refusal_everybody_yields(store: Store) -> None:
    """No slot lies before the time WebEngage asked for."""
    store.rate_limits.delay_account_until("lc", NOW + 30)
    assert store.rate_limits.reserve_slots("lc", NOW, 0.5, 5, 490) == []
    assert store.rate_limits.reserve_slots("lc", NOW + 30, 0.5, 2, 490)[0] == NOW + 30


def test_the_sixty_first_query_waits_for_the_hour(store: Store) -> None:
    """Sixty queries are let through, the next learns when the window opens."""
    for number in range(60):
        store.rate_limits.release_query(
            store.rate_limits.acquire_query(42, NOW + number, later_page=False), NOW + number
        )
    refused = store.rate_limits.acquire_query(42, NOW + 60, later_page=False)
    assert (refused.id, refused.limit) == (None, "hourly") and 3500 < refused.wait < 3610
    assert store.rate_limits.acquire_query(42, NOW + 60, later_page=True).id is not None
    assert store.rate_limits.acquire_query(42, NOW + 3700, later_page=False).id is not None


def test_a_clock_set_back_for_a_while_gives_no_second_hour(store: Store) -> None:
    """What was asked while the clock was wrong still counts when it is right again."""
    for now in (NOW, NOW - 3600):
        for _ in range(30):
            store.rate_limits.release_query(store.rate_limits.acquire_query(42, now, later_page=False), now)
    assert store.rate_limits.acquire_query(42, NOW + 100, later_page=False).limit == "hourly"


def test_a_burst_of_sixty_is_waited_for_once(store: Store) -> None:
    """Asked again just before the hour is over, one waits for the rest of it and not for another hour."""
    for _ in range(60):
        store.rate_limits.release_query(store.rate_limits.acquire_query(42, NOW, later_page=False), NOW)
    assert 0 < store.rate_limits.acquire_query(42, NOW + 3602, later_page=False).wait <= 5


def test_later_pages_count_once_a_refusal_showed_it(store: Store, plain: sqlite3.Connection) -> None:
    """Until then they pass; from then on they are held within the sixty too."""
    plain.execute(
        "insert into mixpanel_project (id, name, username, secret_last4, region, role, role_note, checked_at) "
        "values (42, 'x', 'x', '', 'us', 'admin', '', 1)"
    )
    for number in range(70):
        store.rate_limits.release_query(
            store.rate_limits.acquire_query(42, NOW + number / 100, later_page=True), NOW + 1
        )
    store.rate_limits.block_until(42, NOW + 1, pages_count=True, now=NOW)
    assert store.rate_limits.acquire_query(42, NOW + 2, later_page=True).limit == "hourly"
    assert not store.rate_limits.pages_count(42, NOW + 2 * 86_400)


def test_a_rejected_person_may_stand_rejected_once(store: Store) -> None:
    """A later rejection replaces the earlier one as the standing one; both stay in the history."""
    store.runs.enqueue_run(1, "export", NOW)
    for run_id in (1, 2):
        store.rejections.add(run_id, 1, [Rejection("a", "add", "bad", content_hash=b"m")], NOW)
    assert store.rejections.count_active() == 1 and len(store.rejections.list(1, 9)) == 1
    assert store.rejections.forgive(1) == 1 and store.rejections.count_active() == 0


def test_a_batch_is_in_flight_before_and_confirmed_after(store: Store) -> None:
    """It is written before anything is sent, and a batch without an answer is found again after a restart."""
    store.runs.enqueue_run(1, "export", NOW)
    store.batches.add_batches(1, Block(0, "a", ["ann"], (b"12345678",)))
    store.batches.mark_in_flight(1, [0])
    assert [batch.state for batch in store.batches.unconfirmed(1, (), 9)] == ["in_flight"]
    store.batches.confirm(1, 0)
    assert store.batches.count_unconfirmed(1) == 0


def test_a_writer_waits_for_the_other_one_and_not_for_ever(
    store: Store, plain: sqlite3.Connection, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another transaction writes, ours waits its time and then says the file is locked; afterwards it goes on."""
    monkeypatch.setattr("sync.store.database.BUSY_SECONDS", 0.05)
    plain.execute("begin immediate")
    with pytest.raises(StorageUnavailable, match="locked"):
        store.events.add_event("nobody hears this", 0.0)
    monkeypatch.setattr("sync.store.database.BUSY_SECONDS", 30.0)

    def tell() -> None:
        with Store.open(data_dir) as other:
            other.events.add_event("somebody hears this", 0.0)

    with ThreadPoolExecutor(1) as pool:
        telling = pool.submit(tell)
        plain.rollback()
        telling.result()
    assert plain.execute("select message from event").fetchall() == [("somebody hears this",)]


def test_a_file_is_stored_of_every_earlier_schema() -> None:
    """Whoever adds a migration stores a file of the schema before it."""
    assert sorted(int(path.stem) for path in SCHEMAS.glob("*.sql")) == list(range(1, len(MIGRATIONS)))


@pytest.mark.parametrize("stored", sorted(SCHEMAS.glob("*.sql")), ids=lambda path: path.stem)
def test_an_earlier_schema_is_brought_forward_with_its_data(stored: Path, tmp_path: Path) -> None:
    """A file stored by an earlier schema opens and keeps its rows."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript(stored.read_text())
    with Store.open(tmp_path) as store:
        found = store.syncs.get_sync(1)
        assert found is not None and found.cohort_name == f"Stored by schema {stored.stem}"
        assert len(store.events.list_audit(5)) == (3 if int(stored.stem) >= 5 else 0)


def test_a_reading_of_an_earlier_schema_begins_again(tmp_path: Path) -> None:
    """What was read was packed in another form: the run goes on, from page 0 of its first reading."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript((SCHEMAS / "9.sql").read_text())
        assert db.execute("select count(*) from staged_page where run_id = 3").fetchone() == (1,)
    with Store.open(tmp_path) as store:
        run = store.runs.get_run(3)
        assert run is not None and (run.reading, run.session_id, run.expected_total) == (1, None, None)
        assert not store.staged.list_numbers(3, 1) and not store.known_chunks.list_digests(1)


def test_space_is_given_back(store: Store, data_dir: Path) -> None:
    """After a large pull is forgotten the file is small again."""
    store.runs.enqueue_run(1, "export", NOW)
    plain = sqlite3.connect(data_dir / "app.db")
    with closing(plain), plain:
        plain.executemany(
            "insert into staged_page (run_id, reading, page, rows, anonymous, invalid, is_full, ids) "
            "values (1, 1, ?, 1, 0, 0, 1, randomblob(20000))",
            [(number,) for number in range(200)],
        )
    store.maintenance.shrink_file()
    large = (data_dir / "app.db").stat().st_size
    store.staged.delete_pages(1)
    store.maintenance.shrink_file()
    assert (data_dir / "app.db").stat().st_size < large / 10


@pytest.mark.slow
def test_shrinking_while_somebody_reads_keeps_no_writer_out(
    store: Store, data_dir: Path, plain: sqlite3.Connection
) -> None:
    """A checkpoint that waited for the reader would hold the write lock until it gave up."""
    plain.execute("begin")
    plain.execute("select count(*) from sync").fetchall()
    plain_writer = sqlite3.connect(data_dir / "app.db", isolation_level=None, timeout=2.0)
    with ThreadPoolExecutor() as threads, closing(plain_writer) as writer:
        writer.execute("update sync set size = 1")
        shrinking = threads.submit(_shrink, data_dir)
        while not shrinking.done():
            writer.execute("update sync set size = size + 1")
        shrinking.result()
    plain.execute("rollback")
    store.maintenance.shrink_file()
    assert (data_dir / "app.db-wal").stat().st_size == 0


def _shrink(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        store.maintenance.shrink_file()
