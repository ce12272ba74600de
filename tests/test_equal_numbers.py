"""Two Mixpanel projects, each with a cohort of one number and one name: what is about one is never about the other."""

from __future__ import annotations

import pytest

from sync.service import Service
from sync.service.member_reading import MemberReading
from tests.sandbox.control import PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import Workspace, make_fans

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
