"""The page of a cohort, without a browser: its states, what it shows and to whom."""

from __future__ import annotations

import re
import time

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.formatting import format_time
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.permissions import AccessLevel
from sync.store import Store
from tests.sandbox.control import (
    BLIND_SECRET,
    BLIND_USERNAME,
    CUSTOM_SECRET,
    CUSTOM_USERNAME,
    PROJECT,
    SECRET,
    USERNAME,
    Sandbox,
    anonymous,
    member,
)
from tests.workspace import Workspace, click_button, page_numbers, page_text, sign_in_as, wait_until

ACCOUNTS = f"/api/app/projects/{PROJECT}/service-accounts"
NUMBER = re.compile(r"[\d,]+")
PEOPLE = [
    member("a-1", **{"$name": "Ann Lee", "$email": "ann@example.com", "plan": "gold"}),
    member("b-2", name="Bob Ray", email="bob@there.org"),
    anonymous("$device:1"),
    anonymous("ghost"),
    member("x" * 101),
]


@pytest.fixture
def mixed(connected: Workspace) -> Workspace:
    """Connect a workspace with a cohort of two identified, two anonymous and one invalid member."""
    connected.cohort = connected.sandbox.add_cohort("Mixed", PEOPLE)
    return connected


def open_cohort(workspace: Workspace, **parameters: str) -> AppTest:
    """Open the page of the workspace's cohort and wait until its reading ended."""
    app = workspace.page("cohorts", cohort=str(workspace.cohort), **parameters)
    wait_until(lambda: not is_reading(app))
    return app


def is_reading(app: AppTest) -> bool:
    """Draw the page again, and return whether it still reads."""
    time.sleep(0.1)
    app.run()
    assert not app.exception
    return any(button.label == "Cancel" for button in app.button)


def numbers(app: AppTest) -> dict[str, str]:
    """Return the numbers at the top by their labels."""
    return {label: number for label, number in page_numbers(app).items() if NUMBER.fullmatch(number)}


def cells(app: AppTest) -> list[list[str]]:
    """Return the cells of the table."""
    found: list[list[str]] = app.dataframe[0].value.values.tolist() if app.dataframe else []
    return found


def test_the_page_when_everybody_was_read_shows_exact_numbers_and_who(mixed: Workspace) -> None:
    """Every member with status and reason, and never “about”."""
    app = open_cohort(mixed)
    assert numbers(app) == {"Identified": "2", "Anonymous": "2", "Invalid": "1", "All members": "5"}
    assert "about" not in page_text(app).casefold()
    assert [row[:3] for row in cells(app)][2:] == [
        ["$device:1", "○ Anonymous", "A device that never signed in"],
        ["ghost", "○ Anonymous", "No profile in Mixpanel"],
        ["x" * 101, "✕ Invalid", "The User ID has over 100 characters, more than WebEngage takes"],
    ]


def test_pages_say_at_what_time_something_was_read_or_checked(mixed: Workspace) -> None:
    """The words stay as they are while a page is open for an hour, so an age would soon be wrong."""
    assert re.search(r"Read at \d\d:\d\d", page_text(open_cohort(mixed)))
    assert re.search(r"1 cohort · read at \d\d:\d\d", page_text(mixed.page("cohorts")))
    connections = page_text(mixed.page("integrations"))
    assert len(re.findall(r"^\d\d:\d\d$", connections, re.MULTILINE)) == 2 and " ago" not in connections


def test_names_and_addresses_are_masked_until_a_marketer_asks(mixed: Workspace) -> None:
    """Masked at first; shown after the switch, with one line in the audit; masked again after it."""
    app = open_cohort(mixed)
    assert [row[3:5] for row in cells(app)[:2]] == [["A…", "a…@e…"], ["B…", "b…@t…"]]
    for _ in range(2):
        app.toggle[0].set_value(True).run()
        assert [row[3:5] for row in cells(app)[:2]] == [["Ann Lee", "ann@example.com"], ["Bob Ray", "bob@there.org"]]
        app.toggle[0].set_value(False).run()
        assert cells(app)[0][3:5] == ["A…", "a…@e…"]
    with mixed.open() as service:
        assert [line.action for line in service.admin.list_audit(20)].count("show names and e-mail addresses") == 1


def test_a_viewer_sees_no_switch_and_no_file(mixed: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not see names is not offered to."""
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel.VIEWER)
    app = open_cohort(mixed)
    assert len(cells(app)) == 5 and not app.toggle and not app.get("download_button")
    assert "Export to WebEngage" not in [button.label for button in app.button]


def test_filters_are_in_the_address_and_from_it(mixed: Workspace) -> None:
    """A link to the anonymous shows them; another choice changes the address; an unknown one is everybody."""
    app = open_cohort(mixed, who="anonymous")
    assert [row[0] for row in cells(app)] == ["$device:1", "ghost"]
    app.radio(key="member-who").set_value("invalid").run()
    assert app.query_params["who"] in ("invalid", ["invalid"])
    assert [row[1] for row in cells(app)] == ["✕ Invalid"]
    assert len(cells(open_cohort(mixed, who="nonsense", held="never"))) == 5


def test_search_finds_ids_and_names_only_while_they_are_shown(mixed: Workspace) -> None:
    """Searching masked values would let anybody guess them."""
    app = open_cohort(mixed)
    app.text_input(key="member-search").set_value("GHO").run()
    assert [row[0] for row in cells(app)] == ["ghost"]
    for typed in ("ann@", "@e"):  # the latter stands in the masked address, too
        app.text_input(key="member-search").set_value(typed).run()
        assert "Nobody matches" in page_text(app)
    app.text_input(key="member-search").set_value("ann@").run()
    app.toggle[0].set_value(True).run()
    assert [row[0] for row in cells(app)] == ["a-1"]


def test_a_search_for_somebody_who_is_not_there_says_what_that_means_and_looks_them_up(mixed: Workspace) -> None:
    """Why is this person not in? Neither listed by Mixpanel nor true in WebEngage; filters are named when they hide others."""
    mixed.export()
    app = open_cohort(mixed)
    app.text_input(key="member-search").set_value("Zoe-9").run()
    text = page_text(app)
    assert "Mixpanel does not list them in this cohort now" in text
    assert "WebEngage has its attribute as true for no such User ID" in text and "User IDs are searched here" in text
    app.radio(key="member-who").set_value("invalid").run()
    assert "Set them to All to search everybody." in page_text(app)
    click_button(app, "Look up this User ID")
    assert "Zoe-9" in page_text(app) and "Nothing is stored about this person" in page_text(app)


def test_a_search_in_a_part_of_a_cohort_does_not_say_that_somebody_is_not_in(connected: Workspace) -> None:
    """The others may have them: only that they were not among those read is said."""
    connected.sandbox.settings(page_size=10)
    connected.cohort = connected.sandbox.add_cohort(
        "Many", [anonymous("ghost"), *(member(f"m-{n}") for n in range(120))]
    )
    app = open_cohort(connected)
    app.text_input(key="member-search").set_value("zoe").run()
    assert "Not among the 100 members read so far." in page_text(app) and "does not list" not in page_text(app)


def test_a_large_cohort_is_read_in_part_until_somebody_anonymous_is_seen(connected: Workspace) -> None:
    """Ten pages, then from the end as long as nobody anonymous was seen; the price of the rest is said."""
    connected.sandbox.settings(page_size=10)
    people = [
        *(member(f"fan-{number:03d}") for number in range(150)),
        *(anonymous(f"z-{number}") for number in range(15)),
    ]
    connected.cohort = connected.sandbox.add_cohort("Large", people)
    app = open_cohort(connected)
    text = page_text(app)
    assert "of the 105 members read" in text and "Mixpanel counts 165 members, 150 of them with a profile" in text
    assert "6 requests, up to 6 of the" in text
    assert "Would be removed" not in text
    click_button(app, "Read all 165")
    wait_until(lambda: not is_reading(app))
    assert numbers(app) == {"Identified": "150", "Anonymous": "15", "Invalid": "0", "All members": "165"}
    with connected.open() as service:
        known = service.cohorts.get_known(PROJECT, connected.cohort)
    assert known and (known.exact, known.identified, known.anonymous) == (True, 150, 15)


def test_a_reading_when_mixpanel_fails_says_why_and_goes_on_when_asked(mixed: Workspace) -> None:
    """The reason is on it, and how many are in WebEngage, which is known here; the button reads the members."""
    mixed.export()
    mixed.sandbox.fault("status", path="/engage", code=403, times=1)
    app = open_cohort(mixed)
    assert "answered 403" in page_text(app) and numbers(app) == {"In WebEngage now": "2"}
    click_button(app, "Try again")
    wait_until(lambda: not is_reading(app))
    assert len(cells(app)) == 5 and "403" not in page_text(app)


def test_a_reading_when_mixpanel_limits_it_says_when_to_try_again(mixed: Workspace) -> None:
    """Mixpanel's own “HTTP 429” says nobody what to do."""
    mixed.sandbox.fault("status", path="/engage", code=429, times=0, retry_after=600)
    expected = {time.strftime("%H:%M", time.gmtime(time.time() + 600 + later)) for later in (0, 60)}
    found = re.search(
        r"its limit is reached; try again at (?:tomorrow )?(\d\d:\d\d)", open_cohort(mixed).error[0].value
    )
    assert found and found[1] in expected


def test_a_cohort_when_few_queries_are_left_is_read_when_asked(mixed: Workspace) -> None:
    """Opening a page does not use up what is left of the hour."""
    with mixed.open() as service, mixed.open_store() as store:
        service.cohorts.list()
        for left in range(58, -1, -1):
            if left == 0:
                assert "and 1 is left this hour." in page_text(mixed.page("cohorts", cohort=str(mixed.cohort)))
            slot = store.rate_limits.acquire_query(PROJECT, mixed.now(), later_page=False)
            store.rate_limits.release_query(slot, mixed.now())
    app = mixed.page("cohorts", cohort=str(mixed.cohort))
    assert "none is left this hour; try again at" in page_text(app) and not cells(app)
    click_button(app, "Read the members")
    wait_until(lambda: not is_reading(app))
    assert "hourly limit" in page_text(app)


def test_pages_while_mixpanel_refuses_more_queries_say_that_none_is_left(mixed: Workspace) -> None:
    """Whoever else asks in the project uses up the hour, too: our own count is no number of queries left then."""
    mixed.page("cohorts")
    mixed.sandbox.settings(queries_per_hour=1, retry_after=1800)
    click_button(mixed.page("cohorts"), "Refresh list")
    with mixed.open_store() as store:
        until = format_time(store.rate_limits.more_queries_at(PROJECT, mixed.now()))
    shown = page_text(mixed.page("cohorts", cohort=str(mixed.cohort)))
    assert "0 Mixpanel queries left this hour" in shown
    assert f"none is left this hour; try again at {until}." in shown
    with mixed.open() as service:
        assert service.overview.read(PROJECT).queries_used < 5
    mixed.start_export()
    assert "Other programs that query this project share its limit." in page_text(mixed.page("overview"))


def test_a_link_to_no_cohort_or_to_groups_says_so(connected: Workspace) -> None:
    """A wrong number shows the list with the reason; a cohort of groups has a page, but no people."""
    rooms = connected.sandbox.add_cohort("Rooms", [member("room")], data_group_id="7")
    assert "no cohort 999" in page_text(connected.page("cohorts", cohort="999"))
    assert "groups, not of people" in page_text(connected.page("cohorts", cohort=str(rooms)))
    page = connected.page("cohorts", export=str(rooms))
    assert page.warning[0].value == "A cohort of groups, not of people, so it cannot be exported."


def test_what_webengage_holds_is_beside_each_person(mixed: Workspace) -> None:
    """After an export everybody sent is there; who left the cohort is listed as would be removed."""
    mixed.export()
    mixed.sandbox.set_members(mixed.cohort, PEOPLE[1:])
    app = open_cohort(mixed)
    assert [[row[0], row[1], *row[5:]] for row in cells(app) if row[5] == "true"] == [
        ["b-2", "✓ Identified", "true", "Stays true"],
        ["a-1", "← Left", "true", "Would be removed"],
    ]
    after = {"In WebEngage now": "2", "Would be added": "0", "Would be removed": "1", "After the next export": "1"}
    assert after.items() <= numbers(app).items()


@pytest.mark.slow
def test_a_reading_when_cancelled_keeps_what_was_read(connected: Workspace) -> None:
    """The page on its way is the last one; the rest can be read later, and nothing is said to be exact."""
    connected.sandbox.settings(page_size=10, latency=400)
    connected.add_cohort(90)
    app = connected.page("cohorts", cohort=str(connected.cohort))
    assert "Reading from Mixpanel" in describe_bars(app)
    click_button(app, "Cancel")
    wait_until(lambda: not is_reading(app))
    connected.sandbox.settings(latency=0)
    assert "Read more" in [button.label for button in app.button] or "Read all 90" in [
        button.label for button in app.button
    ]
    assert len(cells(app)) < 90
    with connected.open() as service:
        known = service.cohorts.get_known(PROJECT, connected.cohort)
    assert known is None or not known.exact


def test_a_reading_when_mixpanel_fails_says_that_it_is_asked_again_and_can_be_cancelled(mixed: Workspace) -> None:
    """Not that there are 0 members, for the twenty seconds in which it is tried; a cancel does not wait for the next try."""
    mixed.sandbox.fault("status", path="/engage", code=503, times=0)
    app = mixed.page("cohorts", cohort=str(mixed.cohort))
    wait_until(lambda: is_reading(app) and "answered 503 “HTTP 503”. It is asked again." in page_text(app))
    assert "0 members" not in describe_bars(app)
    wait_until(lambda: count_pages_asked(mixed) == 3)  # the next try comes fifteen seconds later
    click_button(app, "Cancel")
    wait_until(lambda: not is_reading(app))
    assert count_pages_asked(mixed) == 3 and not app.error
    mixed.sandbox.clear_faults()
    click_button(app, "Try again")
    wait_until(lambda: not is_reading(app))
    assert numbers(app)["All members"] == "5"


def describe_bars(app: AppTest) -> str:
    """Return what stands above the bars of a page."""
    return str([one.proto.text for one in app.get("progress")])


def count_pages_asked(workspace: Workspace) -> int:
    """Return how many pages of members Mixpanel was asked for."""
    return workspace.sandbox.meter().requests.get("/api/query/engage", 0)


def test_the_export_dialog_after_everybody_was_read_has_the_same_exact_numbers(connected: Workspace) -> None:
    """Nothing is estimated of what this browser session knows, and no query is asked for it."""
    connected.sandbox.settings(page_size=10)
    people = [member(f"fan-{number}") for number in range(35)]
    connected.cohort = connected.sandbox.add_cohort("Large", [*people, anonymous("ghost"), member("x" * 101)])
    app = open_cohort(connected)
    asked = connected.sandbox.meter().requests["/api/query/engage"]
    del app.query_params["cohort"]
    app.query_params["export"] = str(connected.cohort)
    app.run()
    assert connected.sandbox.meter().requests["/api/query/engage"] == asked
    shown = page_text(app)
    assert "35" in shown and "about 35" not in shown and "About" not in shown
    app.button(key="export-see-everybody").click().run()
    assert app.query_params["cohort"] == str(connected.cohort) and "export" not in app.query_params


def test_the_export_dialog_opened_from_the_page_of_an_exported_cohort_says_who_is_in_webengage(
    mixed: Workspace,
) -> None:
    """What the page read does not hide what was exported: who is true now and after, the cost, the guard, the queries."""
    mixed.export()
    people = [member("a-1"), *[member(f"new-{number}") for number in range(30)]]
    mixed.sandbox.set_members(mixed.cohort, people)
    app = open_cohort(mixed)
    app.query_params["export"] = str(mixed.cohort)
    shown = page_text(app.run())
    assert "In WebEngage now: 2 people. After this export: 31, as 30 would be added, 1 would be removed." in shown
    assert "2 requests, about" in shown and "if more than 100 people would be added" in shown
    assert "1 of the 56 Mixpanel queries left this hour" in shown and "next hours" not in shown


def test_the_page_when_a_run_is_sending_says_of_when_its_numbers_are(mixed: Workspace) -> None:
    """They change with each request, and the page follows when the run has ended."""
    with mixed.open() as service:
        run_id = service.syncs.start_export(PROJECT, mixed.cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    with Store.open(mixed.data_dir) as store:
        store.runs.claim_run("runner-1", time.time())
        store.runs.write_run(run_id, "runner-1", state="delivering", planned=1, entered=2, delivered=1)
    assert re.search(r"A run is sending. The numbers of WebEngage are as of \d\d:\d\d,", page_text(open_cohort(mixed)))


def test_a_dry_run_of_an_exported_cohort_keeps_its_terms(mixed: Workspace) -> None:
    """The button plans the next export as the last one was, mode, interval and properties; it waits for a decision."""
    mixed.export(interval=3600.0, mapping=(("plan", "Plan"),))
    app = open_cohort(mixed)
    app.button(key="cohort-dry").click().run()
    assert not app.exception
    mixed.run_queued()
    with mixed.open() as service:
        sync = service.syncs.list()[0]
        assert sync.last_run and sync.last_run.dry_run and sync.last_run.state is RunState.HELD
        assert "Decide" in {link.proto.label for link in open_cohort(mixed).get("page_link")}
        service.runs.approve(sync.last_run.id)
        mixed.run_queued()
        after = service.cohorts.propose_export(PROJECT, mixed.cohort)
    assert (after.mode, after.interval_seconds, after.mapping) == (Mode.DYNAMIC, 3600.0, (("plan", "Plan"),))


@pytest.mark.parametrize(
    ("username", "secret", "said"),
    [
        (USERNAME, SECRET, "Nobody has a value for E-mail in Mixpanel. It is not withheld"),
        (CUSTOM_USERNAME, CUSTOM_SECRET, "It may be withheld: the service account may not see classified data."),
        (BLIND_USERNAME, BLIND_SECRET, "Either nobody has one, or it is classified in Mixpanel and withheld"),
    ],
)
def test_a_column_nobody_has_a_value_in_says_only_what_is_known(
    username: str, secret: str, said: str, workspace: Workspace, sandbox: Sandbox
) -> None:
    """Whether a value is missing or withheld, Mixpanel does not say; whether the account may see such data it may."""
    people = [member("a-1", **{"$name": "Ann Lee", "$email": "ann@example.com"}), member("b-2", **{"$name": "Bob Ray"})]
    hidden = username != USERNAME
    sandbox.settings(classified="$email")
    workspace.cohort = sandbox.add_cohort("People", people if hidden else people[1:])
    with workspace.open() as service:
        service.connections.connect_mixpanel(PROJECT, username, secret, sandbox.url)
    app = open_cohort(workspace)
    assert said in page_text(app) and [row[4] for row in cells(app)] == [""] * (1 + hidden)
    asked = sandbox.meter().requests.get(ACCOUNTS, 0)
    click_button(app, "Read again")
    wait_until(lambda: not is_reading(app))
    assert sandbox.meter().requests.get(ACCOUNTS, 0) == asked, "asked once a session"


def test_a_column_in_which_somebody_has_a_value_says_nothing(mixed: Workspace) -> None:
    """Nothing is asked either."""
    before = mixed.sandbox.meter().requests.get(ACCOUNTS, 0)
    assert "withheld" not in page_text(open_cohort(mixed))
    assert mixed.sandbox.meter().requests.get(ACCOUNTS, 0) == before
