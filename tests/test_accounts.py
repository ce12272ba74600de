"""Which WebEngage account a project exports to: chosen by a person, shown, and never changed by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.permissions import AccessLevel
from sync.service.base import choose_connected
from tests.sandbox.control import API_KEY_2, LICENSE, LICENSE_2, PROJECT, SECRET, USERNAME, Sandbox, member
from tests.workspace import (
    ATTRIBUTE,
    Workspace,
    assert_refused,
    click_button,
    page_text,
    service,
    sign_in_as,
)


@pytest.fixture
def two(connected: Workspace, sandbox: Sandbox) -> Workspace:
    """Connect a second account; the project exports to the first."""
    with connected.open() as here:
        here.connections.connect_webengage(LICENSE_2, API_KEY_2, sandbox.url)
    return connected


@pytest.mark.parametrize(
    ("known", "named", "problem"),
    [
        ([], None, "No Mixpanel project is connected yet; connect it under Integrations."),
        ([7], 8, "Mixpanel project 8 is not connected; connect it under Integrations."),
        ([8, 7], None, "Several Mixpanel projects are connected (7, 8); choose one with --project."),
    ],
)
def test_a_connection_when_it_is_not_clear_which_is_refused_with_what_to_do(
    known: list[int], named: int | None, problem: str
) -> None:
    """Projects and accounts alike: it is the one that is named, or the only one."""
    with pytest.raises(InvalidRequest) as refused:
        choose_connected("Mixpanel project", known, named, "--project")
    assert str(refused.value) == problem
    assert choose_connected("Mixpanel project", [7, 8], 8, "--project") == 8
    assert choose_connected("Mixpanel project", [7], None, "--project") == 7


def used(workspace: Workspace) -> str | None:
    """Return the account new exports go to."""
    with workspace.open() as here:
        return here.connections.list_projects()[0].license_code


@pytest.mark.parametrize("code", [LICENSE, LICENSE_2])
def test_new_exports_when_another_account_is_connected_or_checked_again_stay(
    two: Workspace, sandbox: Sandbox, code: str
) -> None:
    """Pressing "Check again" on either account, after the other one was connected, moves nothing."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with two.open() as here:
        here.connections.check_webengage(code)
        assert here.cohorts.propose_export(PROJECT, cohort).license_code == LICENSE
        here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
    two.run_queued()
    assert sandbox.holding(ATTRIBUTE, LICENSE)[0] == {"a"}
    assert sandbox.holding(ATTRIBUTE, LICENSE_2)[0] == set()


def test_new_exports_when_a_person_chooses_go_there_and_existing_syncs_stay(two: Workspace, sandbox: Sandbox) -> None:
    """The choice is for cohorts exported from then on, and the audit has who chose, before and after."""
    old, new = sandbox.add_cohort("Old", [member("a")]), sandbox.add_cohort("New", [member("b")])
    with two.open() as here:
        here.syncs.start_export(PROJECT, old, ExportTerms(mode=Mode.DYNAMIC))
        here.connections.use_account(PROJECT, LICENSE_2)
        here.syncs.start_export(PROJECT, new, ExportTerms(mode=Mode.DYNAMIC))
        assert [one.license_code for one in here.syncs.list()] == [LICENSE_2, LICENSE]
        line = next(one for one in here.admin.list_audit() if one.action == "use account")
    assert (line.target, line.before, line.after) == (f"project {PROJECT}", LICENSE, LICENSE_2)


def test_an_export_when_its_account_was_disconnected_is_refused_until_a_person_chooses(
    two: Workspace, sandbox: Sandbox
) -> None:
    """The one account left is not taken instead."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with two.open() as here:
        here.connections.disconnect_webengage(LICENSE)
        assert used(two) == LICENSE
        with pytest.raises(InvalidRequest, match=f"{LICENSE}, which project {PROJECT} exports to, is not connected"):
            here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
        here.connections.use_account(PROJECT, LICENSE_2)
        assert here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC)).started


def test_an_export_again_when_the_account_of_its_sync_was_disconnected_is_refused(
    two: Workspace, sandbox: Sandbox
) -> None:
    """Its people are in that account, so the one the project exports to by now does not stand in for it."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    two.export(cohort)
    with two.open() as here:
        here.connections.use_account(PROJECT, LICENSE_2)
        here.connections.disconnect_webengage(LICENSE)
        with pytest.raises(InvalidRequest, match=f"{LICENSE}, where this cohort goes, is not connected"):
            here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
        assert here.runs.count() == 1


def test_who_stays_true_when_listed_for_one_account_names_no_cohort_of_another(
    two: Workspace, sandbox: Sandbox
) -> None:
    """The list of an account says nothing of what the same person is in another one."""
    old, new = sandbox.add_cohort("Old", [member("a")]), sandbox.add_cohort("New", [member("a")])
    two.export(old, Mode.ONE_TIME)
    with two.open() as here:
        here.connections.use_account(PROJECT, LICENSE_2)
    two.export(new, Mode.ONE_TIME)
    with two.open() as here:
        assert here.safety.add_never_export(LICENSE, ["a"]).stay_true == ("Old",)
        assert here.safety.add_never_export(LICENSE_2, ["a"]).stay_true == ("New",)


def test_a_project_when_connected_after_two_accounts_has_none_until_a_person_chooses(
    two: Workspace, sandbox: Sandbox
) -> None:
    """With several accounts nobody guesses."""
    sandbox.add_project(77, "Second", username=USERNAME, secret=SECRET, role="admin")
    cohort = sandbox.add_cohort("Fans", [member("a")], project=77)
    with two.open() as here:
        assert here.connections.connect_mixpanel(77, USERNAME, SECRET, sandbox.url).license_code is None
        with pytest.raises(InvalidRequest, match="No WebEngage account is chosen yet for project 77"):
            here.syncs.start_export(77, cohort, ExportTerms(mode=Mode.DYNAMIC))


@pytest.mark.slow
def test_start_sync_when_the_account_changed_since_the_dialog_opened_is_refused(
    two: Workspace, sandbox: Sandbox
) -> None:
    """Nothing goes to an account the person was not shown; the next look shows the new one."""
    number = sandbox.add_cohort("Fans", [member("a")])
    dialog = two.page("cohorts", export=str(number))
    assert f"to WebEngage account **{LICENSE}**" in page_text(dialog)
    with two.open() as here:
        here.connections.use_account(PROJECT, LICENSE_2)
    click_button(dialog, "Start Sync")
    assert f"would be exported to WebEngage account {LICENSE_2} now" in page_text(dialog)
    with two.open() as here:
        assert here.syncs.list() == ()
    click_button(dialog, "Start Sync")
    with two.open() as here:
        assert [one.license_code for one in here.syncs.list()] == [LICENSE_2]


@pytest.mark.slow
def test_the_integrations_page_with_two_accounts_shows_both_and_lets_an_admin_choose(two: Workspace) -> None:
    """Each account has its card; the choice takes a click of its own."""
    page = two.page("integrations")
    assert {f"License code {LICENSE}", f"License code {LICENSE_2}"} <= {text.value for text in page.text}
    page.selectbox(key=f"use-account-{PROJECT}-{LICENSE}").set_value(LICENSE_2).run()
    assert used(two) == LICENSE
    click_button(page, "Use this account")
    assert used(two) == LICENSE_2
    assert f"go to WebEngage account {LICENSE_2}" in page_text(page)


def test_the_integrations_page_when_the_account_is_gone_says_so(
    two: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A marketer reads why, and is offered nothing that would be refused."""
    with two.open() as here:
        here.connections.disconnect_webengage(LICENSE)
    sign_in_as(monkeypatch, "pat@example.com", AccessLevel.MARKETER)
    page = two.page("integrations")
    assert f"Account {LICENSE}, which Music Finder exports to, is not connected" in page_text(page)
    assert "Use this account" not in [button.label for button in page.button]


def test_accounts_and_use_account_at_the_command_line(connected: Workspace, sandbox: Sandbox) -> None:
    """The commands list where each project exports to, and change it; an account that is not connected is refused."""
    done = connected.run_cli(
        "connect",
        "webengage",
        "--license-code",
        LICENSE_2,
        "--data-center",
        sandbox.url,
        WEBENGAGE_API_KEY=API_KEY_2,
    )
    assert f"New exports of project {PROJECT} go to {LICENSE}" in done.stdout
    assert {one["license_code"]: one["projects"] for one in connected.read_json("accounts")} == {
        LICENSE: [PROJECT],
        LICENSE_2: [],
    }
    assert_refused(connected.run_cli("use-account", "nobody"), "nobody", "not connected")
    chosen = connected.read_json("use-account", LICENSE_2, "--project", str(PROJECT))
    assert (chosen["project_id"], chosen["license_code"]) == (PROJECT, LICENSE_2)
    rows = [" ".join(line.split()) for line in connected.run_cli("accounts").stdout.splitlines()]
    assert f"{LICENSE_2} {sandbox.url} project {PROJECT}" in rows


def test_a_command_when_it_is_not_clear_which_project_or_account_names_them(two: Workspace, sandbox: Sandbox) -> None:
    """Whoever has to choose is told between what; no other command lists the projects."""
    sandbox.add_project(43, "Film Finder")
    with two.open() as here:
        here.connections.connect_mixpanel(43, USERNAME, SECRET, sandbox.url)
    assert_refused(two.run_cli("cohorts"), f"({PROJECT}, 43); choose one with --project")
    assert_refused(two.run_cli("never-export", "list"), f"({LICENSE}, {LICENSE_2}); choose one with --account")
    again = ("connect", "webengage", "--license-code", LICENSE_2, "--data-center", sandbox.url)
    said = two.run_cli(*again, WEBENGAGE_API_KEY=API_KEY_2).stdout
    assert f"`use-account {LICENSE_2} --project {PROJECT}` changes that" in said


@pytest.mark.parametrize(("more", "chosen"), [("", "lc"), ("insert into webengage values ('b','in','k','',2)", None)])
def test_an_earlier_database_keeps_its_only_account_and_guesses_none_of_several(
    tmp_path: Path, more: str, chosen: str | None
) -> None:
    """A stored file of the schema before: with one account it is the project's, with two a person is asked."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript((Path(__file__).parent / "schemas" / "2.sql").read_text() + more)
    with service(tmp_path) as here:
        assert here.connections.list_projects()[0].license_code == chosen


def read_badges(workspace: Workspace) -> list[str]:
    """Return the tags at the heads of Mixpanel and WebEngage on the page."""
    page = workspace.page("integrations")
    return [
        tag
        for text in page.get("markdown")
        for tag in ("Connected", "Refused", "1 of 2 refused")
        if f" {tag}]" in text.value
    ]


@pytest.mark.slow
def test_integrations_when_a_run_was_refused_say_so_until_the_key_is_accepted(two: Workspace, sandbox: Sandbox) -> None:
    """The sync says "check the API key under Integrations"; there the account must not be called connected."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with two.open() as here:
        here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
    sandbox.fault("status", api="webengage", path="bulk-users", code=401)
    two.run_queued()
    assert read_badges(two) == ["Connected", "1 of 2 refused"]
    assert "answered 401" in page_text(two.page("integrations"))
    problems = {one["license_code"]: one["problem"] for one in two.read_json("accounts")}
    assert "answered 401" in problems[LICENSE] and problems[LICENSE_2] == ""
    with two.open() as here:
        here.connections.check_webengage(LICENSE)
    assert read_badges(two) == ["Connected", "Connected"]


@pytest.mark.slow
def test_integrations_when_a_check_is_refused_say_so_to_everybody(two: Workspace, sandbox: Sandbox) -> None:
    """A revoked service account is refused when it is checked: the page says it later, too, and the check before stays."""
    sandbox.fault("status", api="mixpanel", code=401)
    page = two.page("integrations")
    page.button(key=f"project-{PROJECT}-check").click().run()
    assert page_text(page).count("answered 401") == 1
    assert read_badges(two) == ["Refused", "Connected"]
    assert "Last accepted" in page_text(two.page("integrations"))
    sandbox.fault("status", api="mixpanel", code=503, times=0)
    page.button(key=f"project-{PROJECT}-check").click().run()
    assert "try again in a minute" in page_text(page)
    assert read_badges(two) == ["Refused", "Connected"]  # nothing is known of it now
    sandbox.clear_faults()
    page.button(key=f"project-{PROJECT}-check").click().run()
    assert read_badges(two) == ["Connected", "Connected"]


@pytest.mark.slow
def test_a_disconnected_account_lets_nothing_be_resumed_or_sent_that_could_only_fail(
    two: Workspace, sandbox: Sandbox
) -> None:
    """Resume said “is resumed” and the sync “Synced”; the dialog offered Start Sync; each is refused before anything changes."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with two.open() as here:
        sync_id = here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC)).sync_id
        two.run_queued()
        here.connections.disconnect_webengage(LICENSE)
        for act in (
            here.syncs.resume,
            here.syncs.refresh_now,
            lambda number: here.syncs.stop(number, clear=True),
        ):
            with pytest.raises(InvalidRequest, match=r"is not connected|is paused"):
                act(sync_id)
        assert here.syncs.get(sync_id).state.value == "paused"
        assert "is not connected" in here.cohorts.propose_export(PROJECT, cohort).account_problem
    page = two.page("cohorts", export=str(cohort))
    assert next(button for button in page.button if button.label == "Start Sync").disabled
    assert "is not connected" in page_text(page)


@pytest.mark.slow
def test_the_never_export_list_when_the_projects_account_is_gone_says_whose_list_it_is(two: Workspace) -> None:
    """Somebody who is put on the other account's list is not kept out of this project's exports."""
    with two.open() as here:
        here.connections.disconnect_webengage(LICENSE)
    text = page_text(two.page("safety"))
    assert f"exports to WebEngage account {LICENSE}, which is not connected" in text and "another account" in text


def test_a_preview_when_another_account_is_chosen_counts_the_never_export_list_of_that_one(two: Workspace) -> None:
    """For ten minutes it said how many the list of the account before would have left out."""
    cohort = two.add_cohort(3)
    with two.open() as here:
        here.safety.add_never_export(LICENSE_2, ["fan-1"])
        assert here.cohorts.preview(PROJECT, cohort).never_exported == 0
        here.connections.use_account(PROJECT, LICENSE_2)
        assert here.cohorts.preview(PROJECT, cohort).never_exported == 1


def test_a_link_to_a_sync_or_run_when_another_project_is_chosen_chooses_its_own(
    two: Workspace, sandbox: Sandbox
) -> None:
    """Alerts link to a sync without its project: its buttons, members and receipt are those of its project."""
    sandbox.add_project(43, "Film Finder")
    with two.open() as here:
        here.connections.connect_mixpanel(43, USERNAME, SECRET, sandbox.url)
    run = two.export(two.add_cohort(3))
    app = two.page("syncs", sync=str(run.sync_id))
    assert app.selectbox(key="project").value == PROJECT
    click_button(app, "Stop")
    assert "The cohort will not be refreshed any more." in page_text(app)
    app = two.page("runs", run=str(run.id))
    assert app.selectbox(key="project").value == PROJECT and f"Run {run.id}, an export" in page_text(app)
    app.selectbox(key="project").set_value(43).run()
    assert app.title[0].value == "Runs" and "No run yet." in page_text(app)


def test_the_integrations_page_names_the_project_whose_account_is_chosen(two: Workspace, sandbox: Sandbox) -> None:
    """A phone hides the side bar, where the project is chosen."""
    sandbox.add_project(43, "Film Finder")
    with two.open() as here:
        here.connections.connect_mixpanel(43, USERNAME, SECRET, sandbox.url)
    for project, name in ((PROJECT, "Music Finder"), (43, "Film Finder")):
        app = two.page("integrations", project=str(project))
        labels = [box.label.replace("\\", "") for box in app.selectbox]
        assert f"New exports of {name} go to" in labels


@pytest.mark.parametrize("is_runner_alive", [True, False])
def test_the_side_bars_link_to_late_syncs_when_they_are_of_another_project_lists_them(
    is_runner_alive: bool, two: Workspace, sandbox: Sandbox
) -> None:
    """It counts the syncs of all projects; the list said that no sync needs anybody."""
    sandbox.add_project(43, "Film Finder")
    with two.open() as here:
        here.connections.connect_mixpanel(43, USERNAME, SECRET, sandbox.url)
    for name in ("Fans", "Others"):
        two.export(two.add_cohort(3, name))
    with two.open_database() as db:
        db.execute("update sync set next_run_at = next_run_at - 200000")
    if is_runner_alive:
        with two.open_store() as store:
            store.runners.record_heartbeat("somewhere-else-1", two.now())
    for project in (43, PROJECT):
        app = two.page("overview", project=str(project))
        assert "Late, or not cleared in WebEngage: 2 syncs." in page_text(app)
        [link] = [one for one in app.sidebar.get("page_link") if one.proto.label == "See why"]
        request = {name: value for name, [value] in parse_qs(link.proto.query_string).items()}
        app = two.page("syncs", **({"project": str(project)} | request))
        assert page_text(app).count("Overdue]") == 2
