"""Keep what a run sent in the snapshot, part by part: each is stored by itself, any may be the last of a process."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sync.model import BATCH_SIZE, Mode
from sync.packing import FORGOTTEN, UNCONFIRMED, hash_id, pack, unpack_ids
from sync.service.run_people import iterate_people
from sync.store import Store
from sync.store.batches import BATCHES_A_BLOCK, BLOCK_SIZE, Block
from sync.store.export_requests import ExportRequest, Request
from sync.store.recording import BUCKETS_A_PART, Recording
from sync.store.snapshot import Bucket
from sync.store.staged import StagedPage

NOW = 1_800_000_000.0
SALT = 5
SYNC, RUN = 1, 1
SENT, SENT_BEFORE = b"sent-now", b"sent-ago"
FIRST_EXPORT = ExportRequest(42, 7, "Fans", "lc", "Mixpanel - Fans", Request(Mode.DYNAMIC, 7200.0))


class ProcessKilled(Exception):
    """The process ends here."""


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bucket hold some twenty people, so that a few thousand need many parts."""
    monkeypatch.setattr("sync.store.snapshot.BUCKET_SIZE", 20)


@pytest.fixture
def store(data_dir: Path) -> Iterator[Store]:
    """Make a fresh database with one sync and a run of it."""
    with Store.open(data_dir) as opened:
        opened.syncs.create(FIRST_EXPORT, NOW, active=True)
        opened.runs.enqueue_run(SYNC, "export", NOW)
        yield opened


def name_people(count: int, first: int = 0) -> list[str]:
    """Return user ids in the order of their id hashes, as a plan has them."""
    return sorted((f"fan-{number}" for number in range(first, first + count)), key=lambda one: hash_id(one, SALT))


def plan_changes(store: Store, changes: dict[str, str]) -> None:
    """Plan a letter of KINDS for each of these people, in their order."""
    ids = list(changes)
    for number, at in enumerate(range(0, len(ids), BLOCK_SIZE)):
        some = ids[at : at + BLOCK_SIZE]
        kinds = "".join(changes[user_id] for user_id in some)
        store.batches.add_batches(RUN, Block(number, kinds, some, (SENT,) * len(some)))


def confirm_blocks(store: Store, numbers: Iterable[int]) -> None:
    """Confirm every batch of these blocks."""
    for number in numbers:
        for batch in range(number * BATCHES_A_BLOCK, (number + 1) * BATCHES_A_BLOCK):
            store.batches.confirm(RUN, batch)


def fill_snapshot(store: Store, ids: list[str]) -> None:
    """Let these people have been sent before."""
    people = Bucket(bytearray(), [])
    for user_id in ids:
        people.put(hash_id(user_id, SALT), user_id, SENT_BEFORE)
    store.snapshot.write(SYNC, 0, 256, people)


def change_run(data_dir: Path, setting: str) -> None:
    """Set columns of the run."""
    with closing(sqlite3.connect(data_dir / "app.db")) as db, db:
        db.execute(f"update run set {setting}")


def read_snapshot(store: Store) -> dict[str, bytes]:
    """Return everybody of the snapshot with their content, each found the way a single person is looked up."""
    listed = list(store.snapshot.iterate_members(SYNC))
    assert len(listed) == len(set(listed)) == store.snapshot.count_members(SYNC)
    found = {user_id: store.snapshot.find(SYNC, hash_id(user_id, SALT)) for user_id in listed}
    assert None not in found.values()
    return {user_id: content for user_id, content in found.items() if content is not None}


def record(store: Store, begin_part: Callable[[], object] = lambda: None) -> Recording:
    """Record the run as its executor does."""
    recording = Recording(store, SYNC, RUN, SALT)
    recording.record(begin_part)
    return recording


def kill_at(part: int) -> Callable[[], object]:
    """Return what ends the process when this part begins, counted from 1."""
    parts = itertools.count(1)

    def begin_part() -> None:
        if next(parts) == part:
            raise ProcessKilled

    return begin_part


def test_recording_when_a_part_begins_holds_the_write_lock(store: Store, data_dir: Path) -> None:
    """So the lease that is renewed first still holds when the part is stored, and half a part never is."""
    plan_changes(store, dict.fromkeys(name_people(1000), "a"))
    confirm_blocks(store, [0])
    with closing(sqlite3.connect(data_dir / "app.db", timeout=0, isolation_level=None)) as other:

        def expect_locked() -> None:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("begin immediate")

        record(store, expect_locked)
        other.execute("begin immediate")


def test_recording_when_many_were_sent_stores_a_few_buckets_at_a_time(store: Store) -> None:
    """A process that dies in the third part leaves two of them stored, so each had a transaction of its own."""
    ids = name_people(3000)
    plan_changes(store, dict.fromkeys(ids, "a"))
    confirm_blocks(store, range(3))
    with pytest.raises(ProcessKilled):
        record(store, kill_at(3))
    stored = read_snapshot(store)
    assert stored and set(stored) < set(ids)
    assert len(store.snapshot.ranges(SYNC)) == 2 * BUCKETS_A_PART


def test_recording_when_it_was_cut_off_comes_to_the_same_from_its_start(store: Store, data_dir: Path) -> None:
    """The numbers are those of the whole run, and the log has everybody once."""
    ids = name_people(3000)
    plan_changes(store, dict.fromkeys(ids, "a"))
    confirm_blocks(store, range(2))
    with pytest.raises(ProcessKilled):
        record(store, kill_at(4))
    outcome = record(store).finish(None)
    assert (outcome.delivered, outcome.rejected, outcome.is_settled) == (2000, 0, False)
    assert read_snapshot(store) == dict.fromkeys(ids[:2000], SENT)
    change_run(data_dir, f"state = 'succeeded', finished_at = {NOW}")
    assert [(one.user_id, one.operation, one.outcome) for one in iterate_people(store, RUN)] == [
        (user_id, "add", "accepted" if place < 2000 else "not sent") for place, user_id in enumerate(ids)
    ]


@pytest.mark.parametrize("kind", ["a", "u", "r"])
def test_recording_when_a_request_was_not_answered_leaves_its_people_to_be_sent_again(store: Store, kind: str) -> None:
    """WebEngage may hold what was sent before or what was sent now: the next run sends them, whatever they are then."""
    before = [] if kind == "a" else name_people(30)
    fill_snapshot(store, before)
    ids = name_people(30)
    plan_changes(store, dict.fromkeys(ids, kind))
    store.batches.mark_in_flight(RUN, [0])
    outcome = record(store).finish(None)
    assert (outcome.delivered, outcome.rejected, outcome.is_settled) == (0, 0, False)
    unsent = dict.fromkeys(before[BATCH_SIZE:], SENT_BEFORE)
    assert read_snapshot(store) == dict.fromkeys(ids[:BATCH_SIZE], UNCONFIRMED) | unsent


def test_a_run_that_is_being_recorded_shows_its_people_from_the_plan(store: Store) -> None:
    """Half a log is no list of people: everybody is shown, as sent or not, until the run has ended."""
    ids = name_people(3000)
    plan_changes(store, dict.fromkeys(ids, "a"))
    confirm_blocks(store, [0])
    with pytest.raises(ProcessKilled):
        record(store, kill_at(4))
    assert [(one.user_id, one.operation, one.outcome) for one in iterate_people(store, RUN)] == [
        (user_id, "add", "accepted" if place < 1000 else "not sent") for place, user_id in enumerate(ids)
    ]


@pytest.mark.parametrize("has_front", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_recording_when_people_are_forgotten_between_parts_brings_nobody_back(
    store: Store, data_dir: Path, seed: int, has_front: bool
) -> None:
    """Whoever was forgotten is in no bucket and in no line of the log; everybody else stands as they were sent."""
    draw = random.Random(seed)
    before, new = name_people(draw.choice((0, 30, 900))), name_people(draw.choice((1200, 2500)), first=1000)
    fill_snapshot(store, before)
    changes = dict.fromkeys(new, "a") | dict.fromkeys(draw.sample(before, len(before) // 2), "r")
    ordered = sorted(changes, key=lambda one: hash_id(one, SALT))
    if has_front:  # the people of a first step stand before all others
        front = set(draw.sample(ordered, BLOCK_SIZE))
        ordered.sort(key=lambda one: one not in front)
        change_run(data_dir, "step_hashes = x''")
    plan_changes(store, {user_id: changes[user_id] for user_id in ordered})
    sent = draw.sample(range(len(ordered) // BLOCK_SIZE), k=draw.choice((1, len(ordered) // BLOCK_SIZE)))
    confirm_blocks(store, sent)
    forgotten = set[str]()

    def forget_somebody() -> None:
        one = draw.choice(ordered + before)
        store.maintenance.forget_person(one, SALT)
        forgotten.add(one)

    record(store, forget_somebody).finish(None)
    expected = dict.fromkeys(before, SENT_BEFORE)
    for place, user_id in enumerate(ordered):
        if place // BLOCK_SIZE in sent:
            expected |= {user_id: SENT}
            if changes[user_id] == "r":
                del expected[user_id]
    assert len(forgotten) > 1
    assert read_snapshot(store) == {one: content for one, content in expected.items() if one not in forgotten}
    with closing(sqlite3.connect(data_dir / "app.db")) as db:
        logged = {one for (packed,) in db.execute("select ids from delivery_log") for one in unpack_ids(packed)}
    assert logged - {FORGOTTEN} == set(ordered) - forgotten


def test_people_put_into_a_bucket_whose_hashes_begin_alike_are_kept_apart() -> None:
    """Whoever is put in, replaced or taken out, a bucket has everybody once, in the order of whole hashes."""
    draw, expected, bucket = random.Random(1), dict[bytes, bytes](), Bucket(bytearray(), [])
    hashes = [bytes([draw.randrange(3)]) * 15 + bytes([draw.randrange(20)]) for _ in range(300)]
    for id_hash in [*hashes, *map(draw.randbytes, [16] * 50), *hashes[::2]]:
        content = draw.choice((None, draw.randbytes(8)))
        bucket.put(id_hash, id_hash.hex(), content)
        expected.pop(id_hash, None)
        expected |= {id_hash: content} if content else {}
        assert bucket.find(id_hash)[1] == (content is not None)
    people = sorted(expected.items())
    assert (bytes(bucket.records), bucket.ids) == (b"".join(map(b"".join, people)), [who.hex() for who, _ in people])
    assert bucket.cut(1, 2).ids == [who.hex() for who, _ in people if who[0] == 1]


def test_a_run_that_was_recorded_leaves_its_people_in_the_snapshot_and_the_log_only(
    store: Store, data_dir: Path
) -> None:
    """Its plan and its pages are deleted, and the sync says how many people WebEngage may hold."""
    ids = name_people(30)
    plan_changes(store, dict.fromkeys(ids, "a"))
    confirm_blocks(store, [0])
    store.staged.add_page(RUN, StagedPage(1, 0, 30, 0, 0, False, 30, ids=pack(ids)))
    record(store).finish(None)
    with closing(sqlite3.connect(data_dir / "app.db")) as db:
        for table in ("batch", "batch_block", "staged_page"):
            assert db.execute(f"select count(*) from {table}").fetchone() == (0,), table
        assert db.execute("select size from sync").fetchone() == (30,)
