"""Pages that moved are known but for their news, and nobody is ever taken for known who is not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from sync.http_client import Reply
from sync.mixpanel.chunks import STAND_IN, CutPage, PageText
from sync.mixpanel.parsing import parse_columns
from sync.model import RunState
from sync.packing import digest_chunks
from tests.drill.invariants import judge_known_chunks
from tests.engine_workspace import MAPPED, EngineWorkspace, last, later, on_plan, patient_workspace
from tests.sandbox.control import PROJECT, Member, Sandbox

PEOPLE = 1000
TEXTS = ("", "gold", "é", '"', "\\", '},{"$distinct_id":"', '}, {"$distinct_id": "', "]", "}", '"results":[{', "<null>")
WRITERS: dict[str, Callable[[object], bytes]] = {
    "compact": orjson.dumps,
    "spaced": lambda value: json.dumps(value).encode(),
    "indented": lambda value: orjson.dumps(value, option=orjson.OPT_INDENT_2),
}


def make_rows(draw: random.Random) -> list[dict[str, object]]:
    """Return the rows of a page, with texts and nested values that look like the ends of rows."""
    values = (*TEXTS, 7, None, [{"$distinct_id": "x"}, {"$distinct_id": "y"}], {"$distinct_id": {"plan": "}"}})
    return [
        {
            "$distinct_id": f"{number}{draw.choice(TEXTS)}",
            **({"x": draw.choice(values)} if draw.random() < 0.2 else {}),
            "$properties": {"plan": draw.choice(values)},
        }
        for number in range(draw.randrange(1, 120))
    ]


class Remembered:
    """A filter that knows the chunks of the pages it saw before, and takes everybody else for news."""

    keeps_chunks = True

    def __init__(self) -> None:
        self.chunks: set[bytes] = set()
        self.cut: dict[bytes, bytes] = {}

    def count_known(self, results: bytes) -> int | None:
        """Return nothing, so that each page is cut."""

    def find_unknown(self, cut: CutPage) -> list[tuple[int, int]]:
        """Return where chunks are that were not read before."""
        chunks = digest_chunks(cut.rows, cut.opening + cut.between, 0)
        self.cut = {digest: cut.join(start, stop) for digest, start, stop in chunks}
        return [(start, stop) for digest, start, stop in chunks if digest not in self.chunks]

    def find_news(self, ids: list[str], values: list[bytes]) -> list[int]:
        """Return everybody."""
        return list(range(len(ids)))

    def list_seen(self) -> list[str]:
        """Return the ids in known chunks of the last page, and know all its chunks from now on."""
        seen = [b"[%b]" % chunk for digest, chunk in self.cut.items() if digest in self.chunks]
        self.chunks.update(self.cut)
        return [row["$distinct_id"] for chunk in seen for row in orjson.loads(chunk)]


@pytest.mark.parametrize("writer", WRITERS)
def test_chunks_of_a_page_are_its_rows_in_order(writer: str) -> None:
    """Whatever texts members have and however a page is written, brackets and commas are all that is cut away."""
    cut_into = []
    for seed in range(40):
        rows, head = make_rows(random.Random(seed)), {"page": 0, "status": "ok", "session_id": "ab"}
        page = {**head, "results": rows} if seed % 2 else {"results": rows, **head}
        text = PageText.find(WRITERS[writer](page))
        assert text is not None and orjson.loads(text.head) == {**page, "results": orjson.loads(STAND_IN)}
        cut = text.cut()
        with suppress(orjson.JSONDecodeError):  # cut inside a row: such a page is parsed as a whole
            bounds = [(start, stop) for _, start, stop in digest_chunks(cut.rows, cut.between, 0)]
            parts = [orjson.loads(b"[%b]" % cut.join(*chunk)) for chunk in bounds]
            are_whole = [len(part) for part in parts] == [stop - start for start, stop in bounds]
            assert not are_whole or [row for part in parts for row in part] == rows
            cut_into.append(len(parts))
    assert max(cut_into) > 2


@pytest.mark.parametrize("writer", WRITERS)
def test_a_page_that_moved_is_known_but_for_its_news(writer: str) -> None:
    """Who is in known chunks and who is parsed are together exactly the members of the page."""
    ways = set()
    for seed in range(40):
        draw, known = random.Random(seed), Remembered()
        rows = make_rows(draw)
        for _ in range(3):
            page = Reply(200, WRITERS[writer]({"page": 0, "results": rows, "total": len(rows)}), {})
            found, plain = (
                parse_columns(page, "a page", 0, ("plan",), known),
                parse_columns(page, "a page", 0, ("plan",)),
            )
            assert (found.rows, found.total) == (plain.rows, plain.total)
            seen = known.list_seen() if found.is_cut else []
            assert sorted([*found.ids, *seen]) == sorted(plain.ids)
            ways.add((found.is_cut, bool(seen)))
            rows = [row for row in rows if draw.random() > 0.05] or rows
    assert ways >= {(True, False), (True, True)}


@pytest.mark.parametrize(
    "body",
    [
        b'{"computed": {"results": [{"$distinct_id": "a", "$properties": {}}]}, "results": []}',
        b'{"results": [{"$distinct_id": "a", "$properties": {}}], "results": []}',
        b'{"results": [{"$distinct_id": "a", "$properties": {}}], "more": [{"$distinct_id": "b", "$properties": {}}]}',
        b'{"results": [{"$distinct_id": "a", "$properties": {}}, 7], "total": 2}',
    ],
)
def test_a_page_that_is_no_plain_list_is_parsed_as_a_whole(body: bytes) -> None:
    """Results inside something else, twice, or beside another list are what a parser says they are."""
    known = Remembered()
    for _ in range(2):
        found = parse_columns(Reply(200, body, {}), "a page", 0, (), known)
        assert not found.is_cut and found == parse_columns(Reply(200, body, {}), "a page", 0, ())


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with a cohort of four pages, exported and refreshed once, so that its chunks are known."""
    found = patient_workspace(data_dir, sandbox)
    sandbox.settings(page_size=PEOPLE // 4)
    found.set_members(*gold(range(PEOPLE)))
    for _ in range(2):
        assert found.export(mapping=MAPPED).state is RunState.SUCCEEDED
    return found


def gold(numbers: Iterable[int]) -> list[Member]:
    """Return these fans, all on one plan."""
    return [on_plan(f"fan-{number:04}", "gold") for number in numbers]


def count_known(workspace: EngineWorkspace) -> int:
    """Return how many chunks are known, after a check that they hold nobody or exactly the snapshot."""
    with workspace.open_store() as store:
        judge_known_chunks(store, 1)
        return len(store.known_chunks.list_digests(1))


def test_a_refresh_without_changes_looks_at_nobody(workspace: EngineWorkspace) -> None:
    """Each page is known as a whole; with a tripwire in one of them the run is held all the same."""
    run = workspace.export(mapping=MAPPED)
    assert (run.state, run.unchanged, run.identified) == (RunState.SUCCEEDED, PEOPLE, PEOPLE)
    with workspace.open() as service:
        service.safety.add_tripwires(PROJECT, None, ["fan-0500"])
    run = workspace.export(mapping=MAPPED)
    with workspace.open_store() as store:
        assert run.state is RunState.HELD and store.staged.count_records(run.id) == 0
        assert store.known_chunks.are_all_seen(run.id, 1)


def test_a_refresh_with_few_changes_looks_at_few_people(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """One left from the first page, one has another plan and one came: the other pages moved, and most of them are known."""
    people = gold(range(PEOPLE))
    del people[17]
    people[203] = on_plan("fan-0204", "free")
    workspace.set_members(*people, on_plan("new", "gold"))
    run = workspace.export(mapping=MAPPED, dry_run=True)
    with workspace.open_store() as store:
        assert 3 < store.staged.count_records(run.id) < PEOPLE / 2
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    run = last(workspace)
    assert (run.entered, run.updated, run.exited, run.unchanged) == (1, 1, 1, PEOPLE - 2)
    assert workspace.holders() == sandbox.exportable(workspace.cohort) and count_known(workspace) > PEOPLE / 32


def reject_one(workspace: EngineWorkspace) -> None:
    """Let somebody come whom WebEngage rejects."""
    workspace.sandbox.poison("fan-0500")


def list_one(workspace: EngineWorkspace) -> None:
    """Let somebody be on the never-export list who is in the cohort."""
    with workspace.open() as service:
        service.safety.add_never_export(None, ["fan-0500"])


def forget_one(workspace: EngineWorkspace) -> None:
    """Forget somebody who stays in the cohort."""
    with workspace.open() as service:
        service.admin.forget_person("fan-0500")


def list_twice(workspace: EngineWorkspace) -> None:
    """Let both readings of the next run lack somebody and list somebody twice."""
    workspace.sandbox.fault("displaced", page=2, by=1, times=2)


def miss_a_page(workspace: EngineWorkspace) -> None:
    """Let the first reading of the next run end early."""
    workspace.sandbox.fault("short_page", page=2, by=30)


def unsend_everybody(workspace: EngineWorkspace) -> None:
    """Let everybody be sent again."""
    with workspace.open() as service:
        service.syncs.resync(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "happens",
    [reject_one, list_one, forget_one, list_twice, miss_a_page, unsend_everybody],
    ids=lambda one: one.__name__,
)
def test_known_chunks_are_the_snapshot_whatever_happens(
    workspace: EngineWorkspace, sandbox: Sandbox, happens: Callable[[EngineWorkspace], None]
) -> None:
    """After each run they hold nobody or exactly those WebEngage was sent, and it holds exactly the cohort."""
    workspace.set_members(*gold(range(10, PEOPLE)))
    assert workspace.export(mapping=MAPPED).exited == 10
    for numbers in (range(2, PEOPLE + 4), range(2, PEOPLE + 4), range(6, PEOPLE + 9)):
        happens(workspace)
        workspace.set_members(*gold(numbers))
        workspace.export_and_approve()
        count_known(workspace)
    sandbox.clear_faults()
    for _ in range(2):
        workspace.export(mapping=MAPPED)
        count_known(workspace)
    kept_out = {"fan-0500"} if happens is list_one else set()
    assert workspace.holders() == sandbox.exportable(workspace.cohort) - kept_out


def test_somebody_rejected_does_not_keep_the_others_from_being_known(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Their chunk is looked at each time, so that they are tried again when a person asks for it."""
    sandbox.poison("new")
    workspace.set_members(*gold(range(1, PEOPLE)), on_plan("new", "gold"))
    assert workspace.export(mapping=MAPPED).rejected == 1
    assert count_known(workspace) > PEOPLE / 32
    sandbox.clear_faults()
    with workspace.open() as service:
        service.syncs.retry_rejected(1)
    workspace.run_queued()
    assert "new" in workspace.holders() and count_known(workspace) > PEOPLE / 32


def test_a_refresh_that_is_cancelled_half_way_leaves_nobody_known_who_was_removed(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """When those who left come back, on the very pages that were known, they are sent again."""
    workspace.set_members(*gold(range(40, PEOPLE)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, after=1, times=0)
    run = workspace.export()
    with workspace.open() as service:
        service.runs.cancel(run.id)
    workspace.run_queued()
    assert last(workspace).state is RunState.CANCELLED and 0 < last(workspace).delivered < 40
    assert count_known(workspace) == 0
    sandbox.clear_faults()
    workspace.set_members(*gold(range(PEOPLE)))
    later(workspace, 400)
    workspace.export_and_approve()
    assert workspace.holders() == sandbox.exportable(workspace.cohort)
