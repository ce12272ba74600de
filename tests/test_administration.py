"""The administration page: the audit people can read and take away, retention, forgetting; for admins only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import TextInput

from sync.cli.commands import cli
from sync.permissions import AccessLevel
from sync.service import Service
from tests.workspace import click_button, page_text, sign_in_as

ROOT = Path(__file__).resolve().parents[1]
TABLE_PIXELS = 907  # the width of a table on a laptop, beside the side bar
NAMED_IN = ("README.md", "CHANGELOG.md", "docs/commands.md", "docs/operations.md", "pages/administration.py")
pytestmark = pytest.mark.usefixtures("local_browser")


def opened(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """Run the page alone on a data folder."""
    monkeypatch.setenv("COHORT_SYNC_DATA", str(data_dir))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).switch_page("pages/administration.py").run()
    assert not app.exception
    return app


def find_forget_field(page: AppTest) -> TextInput:
    """Return the field of the person to forget."""
    return next(field for field in page.text_input if field.label.startswith("User ID"))


@pytest.mark.slow
def test_retention_when_changed_is_saved_and_in_the_audit(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changing how long things are kept takes effect and appears in the audit with before and after."""
    page = opened(data_dir, monkeypatch)
    page.number_input[0].set_value(10)
    next(button for button in page.button if button.label == "Save").click().run()
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        assert service.admin.get_retention() == (10.0, 14.0)
        assert [(line.action, line.before, line.after) for line in service.admin.list_audit()][-1] == (
            "retention",
            "30 days",
            "10 days",
        )
    again = opened(data_dir, monkeypatch)
    assert "retention" in again.dataframe[0].value.to_string()


@pytest.mark.slow
def test_all_columns_of_the_audit_log_are_in_sight_on_a_laptop(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run, which leads on, stood behind the right edge, and half of what changed with it."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.admin.set_retention(10.0, 14.0)
    [table] = opened(data_dir, monkeypatch).dataframe
    columns = json.loads(table.proto.columns)
    assert sum(columns[name]["width"] for name in table.value.columns) <= TABLE_PIXELS


@pytest.mark.slow
def test_forgetting_asks_first_and_says_when_the_id_is_unknown(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted before a person said so once more, and the audit keeps a fingerprint, not the id."""
    page = opened(data_dir, monkeypatch)
    find_forget_field(page).set_value("stranger-7")
    click_button(page, "Forget")
    assert "This cannot be undone." in page_text(page)
    click_button(page, "Cancel")
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        assert "forget a person" not in {line.action for line in service.admin.list_audit()}
    find_forget_field(page).set_value("stranger-7")
    click_button(page, "Forget")
    click_button(page, "Forget this person")
    assert "Nothing to delete was stored under this User ID" in page.success[0].value
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        assert "stranger" not in str(service.admin.list_audit())


@pytest.mark.slow
def test_the_page_when_opened_by_a_marketer_shows_the_refusal_only(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who is no admin sees the reason, no line of the audit, and no field or heading of what is refused."""
    sign_in_as(monkeypatch, "mo@example.com", AccessLevel.MARKETER)
    page = opened(data_dir, monkeypatch)
    assert "needs an admin" in page.error[0].value.replace("\\", "") and not page.dataframe
    assert not page.text_input and not page.header


@pytest.mark.slow
def test_the_approval_of_a_second_person_has_one_name_on_the_page_and_in_the_commands(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who read about it on the page finds the command, and the line of the audit log, by the same words."""
    page = opened(data_dir, monkeypatch)
    assert "Approval by a second person" in [header.value for header in page.header]
    assert "second person" in next(box.label for box in page.checkbox)
    assert "second-person" in cli.commands and "second person" in str(cli.commands["second-person"].help)
    assert not [file for file in NAMED_IN if "pair of eyes" in (ROOT / file).read_text()]


def test_forgetting_and_looking_up_nobody_say_what_to_type(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A click with an empty field did nothing."""
    page = opened(data_dir, monkeypatch)
    click_button(page, "Forget")
    assert "Type the User ID of the person" in page_text(page) and "This cannot be undone." not in page_text(page)
    page.switch_page("pages/people.py").run()
    assert "Type the User ID" not in page_text(page)
    click_button(page, "Look up")
    assert "Type the User ID of the person" in page_text(page)


@pytest.mark.slow
def test_the_audit_log_when_it_is_long_says_so_and_can_be_searched(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin who looks for one person finds the oldest line, too, whatever letters the name has."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.admin.set_retention(77.0)
        for days in range(2, 204):
            service.admin.set_retention(float(days))
    page = opened(data_dir, monkeypatch)
    assert "The newest 200 of 203 lines" in page_text(page) and len(page.dataframe[0].value) == 200
    page.text_input(key="audit-search").set_value("30 DAYS").run()
    assert "5 lines" in page_text(page) and "77 days" in page.dataframe[0].value.to_string()
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.admin.write_backup(data_dir / "Übersicht.db")
    page.text_input(key="audit-search").set_value("übersicht").run()
    assert "1 line" in page_text(page) and "Übersicht.db" in page.dataframe[0].value.to_string()
    page.text_input(key="audit-search").set_value("%").run()
    assert "No line contains this text." in page_text(page)
