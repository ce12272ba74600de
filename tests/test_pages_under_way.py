"""Each page while a run is under way, without a browser: how far it is, what it waits for, who works."""

from __future__ import annotations

import re
import time

from streamlit.testing.v1 import AppTest

from sync.model import Mode
from sync.store import Store
from sync.store.process import identity
from tests.browsing import connect, service
from tests.desk import Desk, said
from tests.sandbox.control import Sandbox, member

PEOPLE = 60


def under_way(desk: Desk, sandbox: Sandbox) -> int:
    """A run that a runner works on."""
    number = sandbox.add_cohort("Moving", [member(f"u{n}") for n in range(PEOPLE)])
    connect(desk.data_dir, sandbox)
    with service(desk.data_dir) as here:
        run_id = here.export(None, number, Mode.DYNAMIC).run_id
    with Store.open(desk.data_dir) as store:
        assert store.runs.claim("runner-1", time.time())
    return run_id


def bars(app: AppTest) -> list[tuple[int, str]]:
    """How full each bar of a page is, in percent, and what stands above it."""
    return [(bar.proto.value, bar.proto.text.replace("\\", "")) for bar in app.get("progress")]


def test_every_page_tells_how_far_a_run_is(desk: Desk, sandbox: Sandbox) -> None:
    """While it reads and while it sends, the row, the card, the history and the run's page say done of total."""
    run_id = under_way(desk, sandbox)
    with Store.open(desk.data_dir) as store:
        store.runs.write(run_id, "runner-1", {"expected": PEOPLE, "staged": 15})
        assert {page: bars(desk.page(*page)) for page in (("cohorts",), ("syncs",), ("runs",))} == {
            page: [(25, "15 of 60 people read from Mixpanel")] for page in (("cohorts",), ("syncs",), ("runs",))
        }
        store.runs.write(
            run_id, "runner-1", {"state": "delivering", "planned": 1, "entered": PEOPLE, "delivered": 29, "rejected": 1}
        )
    for app in (desk.page("cohorts"), desk.page("syncs"), desk.page("runs"), desk.page("runs", run=str(run_id))):
        assert bars(app) == [(50, "30 of 60 people told to WebEngage")]
    for app in (desk.page("syncs"), desk.page("runs", run=str(run_id))):
        assert [button.label for button in app.button].count("Cancel run") == 1
    with service(desk.data_dir) as here:
        here.cancel(run_id)
    app = desk.page("runs", run=str(run_id))
    assert "Cancelling: what is on its way is finished first." in said(app) + str(bars(app))
    assert "Cancel run" not in [button.label for button in app.button]


def test_a_cancelled_run_tells_how_far_it_came(desk: Desk, sandbox: Sandbox) -> None:
    """Ended half-way, the run's page and the card say how many were told, and who tells the rest."""
    run_id = under_way(desk, sandbox)
    with Store.open(desk.data_dir) as store:
        store.runs.write(run_id, "runner-1", {"planned": 1, "entered": PEOPLE, "delivered": 25})
        store.runs.write(
            run_id,
            "runner-1",
            {"state": "cancelled", "finished_at": time.time(), "lease_owner": None, "lease_until": None},
        )
    for app in (desk.page("syncs"), desk.page("runs"), desk.page("runs", run=str(run_id))):
        assert "Cancelled after 25 of 60 people were told to WebEngage; the next sync tells the rest." in said(app)


def test_the_frame_tells_who_works_and_what_is_left(desk: Desk, sandbox: Sandbox) -> None:
    """The side bar says when the runner was seen, and how many of the hour's queries are left after each."""
    sandbox.add_cohort("Any", [member("a")])
    connect(desk.data_dir, sandbox)
    with Store.open(desk.data_dir) as store:
        store.history.alive(f"{identity()}-1", time.time() - 4)
    words = said(desk.page("integrations"))
    assert re.search(r"Runner last seen [4-9] s ago", words)
    assert "The runner is not working" not in words
    left = int(re.search(r"(\d+) Mixpanel queries left this hour", words)[1])
    desk.page("cohorts")
    assert f"{left - 1} Mixpanel queries left this hour" in said(desk.page("syncs"))
