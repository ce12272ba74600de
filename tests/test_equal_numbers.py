"""Two Mixpanel projects, each with a cohort of one number and one name: what is about one is never about the other."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.service import Service
from sync.service.member_reading import MemberReading
from tests.sandbox.control import API_KEY_2, LICENSE, LICENSE_2, PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import Workspace, click_button, make_fans, page_text

OTHER = 43  # the number of the second project


@pytest.fixture
def twins(fans: Workspace, sandbox: Sandbox) -> Workspace:
    """Connect a second project whose cohort has the number and the name of the first one's, and three people."""
    sandbox.add_project(OTHER, "Film Finder")
    sandbox.add_cohort("Fans", make_fans(3), project=OTHER, id=fans.cohort)
    with fans.open() as here:
        here.connections.connect_mixpanel(OTHER, USERNAME, SECRET, sandbox.url)
    return fans


def _read_members(service: Service, project: int, cohort: int) -> MemberReading:
    reading = service.members.begin(project, cohort)
    while service.members.read_next(reading):
        pass
    return reading


def test_a_look_at_people_is_in_the_audit_log_also_after_one_at_the_same_number_of_another_project(
    twins: Workspace,
) -> None:
    """One line stands for every look at a cohort within the hour; it stood for that of the other project, too."""
    with twins.open() as service:
        for project in (PROJECT, OTHER):
            reading = _read_members(service, project, twins.cohort)
            service.members.list(reading, reveal=True)
            service.members.note_download(reading, "everybody")
            service.cohorts.preview(project, twins.cohort, fresh=True)
            service.properties.read_sample(project, twins.cohort, ["plan"])
        lines = [(one.action, one.target) for one in service.admin.list_audit()]
    for project in (PROJECT, OTHER):
        cohort = f"project {project}, cohort {twins.cohort}"
        for action in ("view members", "show names and e-mail addresses", "preview", "check values"):
            assert lines.count((action, cohort)) == 1, (action, project)
        assert ("download", f"project {project}, members of cohort {twins.cohort}") in lines


def test_an_export_is_in_the_audit_log_with_its_project(twins: Workspace) -> None:
    """Its number alone says of two cohorts neither."""
    twins.start_export()
    with twins.open() as service:
        [line] = [one for one in service.admin.list_audit() if one.action == "export"]
    assert line.target == f"project {PROJECT}, cohort {twins.cohort}"


def test_an_export_dialog_shows_what_is_of_its_project(twins: Workspace, sandbox: Sandbox) -> None:
    """The browser's way back leads from one dialog to another; account and values are of the project it names."""
    with twins.open() as here:
        here.connections.connect_webengage(LICENSE_2, API_KEY_2, sandbox.url)
        here.connections.use_account(OTHER, LICENSE_2)
    app = twins.page("cohorts", project=str(PROJECT), export=str(twins.cohort))
    properties = f"export-properties-{twins.cohort}"
    for project, account, people in ((PROJECT, LICENSE, 30), (OTHER, LICENSE_2, 3)):
        app.query_params["project"] = str(project)
        app.run()
        assert f"to WebEngage account **{account}**" in page_text(app)
        assert not app.multiselect(key=properties).value
        app.multiselect(key=properties).set_value(["$email=email"]).run()
        assert f"{people} fit" in page_text(app)


def test_the_never_export_list_is_that_of_the_account_of_the_project_that_is_chosen(
    twins: Workspace, sandbox: Sandbox
) -> None:
    """Whoever chose another project went on with the list of the one before."""
    with twins.open() as here:
        here.connections.connect_webengage(LICENSE_2, API_KEY_2, sandbox.url)
        here.connections.use_account(OTHER, LICENSE_2)
    app = twins.page("safety", project=str(PROJECT))
    assert f"account **{LICENSE}**" in page_text(app)
    app.selectbox(key="project").set_value(OTHER).run()
    assert f"account **{LICENSE_2}**" in page_text(app)
    app.text_area(key="never-ids").set_value("fan-1")
    click_button(app, "Add to the list")
    with twins.open() as here:
        assert [len(here.safety.list_never_export(code)) for code in (LICENSE, LICENSE_2)] == [0, 1]


def test_another_project_when_it_is_chosen_shows_all_members_of_its_cohort(twins: Workspace) -> None:
    """A filter of the former cohort stayed in the address, and hid the members of the next one."""
    app = twins.page("cohorts", project=str(PROJECT), cohort=str(twins.cohort), who="identified")
    assert app.query_params["who"] == "identified"
    app.selectbox(key="project").set_value(OTHER).run()
    assert "who" not in app.query_params


def test_a_person_of_two_accounts_is_shown_with_the_account_and_the_project_of_each(
    twins: Workspace, sandbox: Sandbox
) -> None:
    """Cohort and attribute have one name in both, and so has “any cohort”."""
    with twins.open() as here:
        here.connections.connect_webengage(LICENSE_2, API_KEY_2, sandbox.url)
        here.connections.use_account(OTHER, LICENSE_2)
        for project in (PROJECT, OTHER):
            here.syncs.start_export(project, twins.cohort, ExportTerms(mode=Mode.DYNAMIC))
    twins.run_queued()
    with twins.open() as here:
        here.safety.add_tripwires(OTHER, None, ["fan-1"])
    app = twins.page("people")
    app.text_input(key="person-id").set_value("fan-1")
    click_button(app, "Look up")
    shown = page_text(app).replace("\u2060", "")
    for account in (LICENSE, LICENSE_2):
        assert f"Mixpanel - Fans = true, in account {account}" in shown
    assert f"A tripwire for any cohort of project {OTHER}: a run" in shown
    lines = twins.run_command("person", "fan-1").stdout.splitlines()
    for account in (LICENSE, LICENSE_2):
        assert any(line.split()[:2] == ["Fans", account] for line in lines)
    assert any(f"the tripwires for any cohort of project {OTHER}" in line for line in lines)


def test_links_to_a_cohort_name_its_project(twins: Workspace) -> None:
    """Opened in another tab, without the choice of the side bar, they led to the cohort of the first project."""
    with twins.open() as here:
        run_id = here.syncs.start_export(OTHER, twins.cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    twins.run_queued()
    sync_id, cohort = twins.get_run(run_id).sync_id, str(twins.cohort)
    pages = {
        "cohorts": {},
        "syncs": {"sync": str(sync_id)},
        "runs": {"run": str(run_id)},
        "receipt": {"cohort": cohort},
    }
    for page, request in pages.items():
        links = twins.page(page, project=str(OTHER), **request).get("page_link")
        found = [parse_qs(link.proto.query_string) for link in links if "cohort=" in link.proto.query_string]
        assert found and all(one == {"project": [str(OTHER)], "cohort": [cohort]} for one in found), page


@pytest.mark.parametrize(("page", "request_"), [("cohorts", "cohort"), ("cohorts", "export"), ("receipt", "cohort")])
def test_an_address_with_a_project_that_is_not_connected_shows_no_cohort_of_another(
    twins: Workspace, page: str, request_: str
) -> None:
    """A link kept from before it was disconnected showed the cohort with that number in the first project."""
    twins.export()
    app = twins.page(page, **{"project": "77", request_: str(twins.cohort)})
    assert "There is no project 77 here." in page_text(app)
    assert app.title[0].value in ("Cohorts", "Receipt") and request_ not in app.query_params
    assert "Start Sync" not in [button.label for button in app.button]


@pytest.mark.parametrize(
    ("key", "name"), [(f"project-{OTHER}", f"Mixpanel project {OTHER}"), (f"account-{LICENSE}", LICENSE)]
)
def test_the_question_before_a_disconnect_names_what_is_disconnected(twins: Workspace, key: str, name: str) -> None:
    """It covers the box that was clicked, and the syncs it names may be called like those of another project."""
    app = twins.page("integrations")
    next(one for one in app.button if one.key == f"{key}-disconnect").click().run()
    assert any("The stored secret" in one.value and name in one.value.replace("\\", "") for one in app.markdown)
