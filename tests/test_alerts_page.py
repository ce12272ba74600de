"""The Alerts page: who gets alerts, a test, when they wait, and what a person does about what was not delivered."""

from __future__ import annotations

import pytest

from pages.parts.formatting import format_time
from sync.alerting.quiet_hours import Schedule
from sync.errors import InvalidRequest
from sync.permissions import AccessLevel
from sync.service.alerts import MAX_NAME
from tests.alert_receivers import serve_hook, serve_mail
from tests.workspace import Workspace, click_button, page_text, sign_in_as


@pytest.mark.slow
def test_an_address_when_added_is_tested_masked_and_removed(workspace: Workspace) -> None:
    """A person adds an address, sends a test that arrives, and removes it; the address itself is never shown."""
    with serve_mail() as mailbox:
        page = workspace.page("alerts")
        assert "Nobody gets alerts yet" in page_text(page)
        page.text_input(key="url-alerts").set_value(mailbox.url)
        click_button(page, "Add address")
        assert "Added." in page_text(page) and "team@example.com" not in page_text(page)
        click_button(page, "Send a test")
        assert "The test was accepted." in page_text(page) and mailbox.subjects == ["Cohort Sync: a test"]
        click_button(page, "Remove")
        assert "Nobody gets alerts yet" in page_text(page)


@pytest.mark.slow
def test_a_test_when_nobody_answers_says_why(workspace: Workspace) -> None:
    """The reason is on the page, without a traceback."""
    with workspace.open() as service:
        service.alerts.add("json://127.0.0.1:9/x")
    page = workspace.page("alerts")
    click_button(page, "Send a test")
    assert "did not take the message" in page_text(page)


@pytest.mark.slow
def test_a_webhook_when_added_shows_its_secret_until_it_is_hidden(workspace: Workspace) -> None:
    """A page drawn again, or half drawn, does not take it away before somebody copied it; once hidden it is gone."""
    page = workspace.page("alerts")
    page.text_input(key="url-webhook").set_value("http://127.0.0.1:9/x")
    click_button(page, "Add webhook")
    secrets = [one.value for one in page.code]
    assert len(secrets) == 1 and secrets[0].startswith("whsec_")
    assert [one.value for one in page.run().code] == secrets
    click_button(page, "Hide the secret")
    assert not page.code and "whsec_" not in page_text(page.run())


@pytest.mark.slow
def test_times_when_saved_are_kept_and_wrong_ones_refused(workspace: Workspace) -> None:
    """Quiet hours and digest are stored with their zone; a wrong time is one sentence."""
    page = workspace.page("alerts")
    fields = {field.label: field for field in page.text_input}
    fields["Quiet from"].set_value("22:00")
    fields["Quiet until"].set_value("nonsense")
    click_button(page, "Save")
    assert "is not a time of day" in page_text(page)
    next(field for field in page.text_input if field.label == "Quiet until").set_value("07:00")
    next(box for box in page.selectbox if box.label == "Time zone").set_value("Europe/Berlin")
    click_button(page, "Save")
    with workspace.open() as service:
        assert service.alerts.get_schedule() == Schedule(zone="Europe/Berlin", quiet_from="22:00", quiet_to="07:00")


@pytest.mark.slow
def test_a_message_when_given_up_is_sent_again_or_discarded_by_a_person(fans: Workspace) -> None:
    """What was refused for good stands on the page with its reason and two buttons."""
    with serve_hook() as hook:
        hook.answers[:] = [400, 400]
        with fans.open() as service:
            service.alerts.add_webhook(hook.url)
        fans.export()
        page = fans.page("alerts")
        assert page_text(page).count("Not delivered to") == 2
        click_button(page, "Send again")
        with fans.open() as service:
            service.alerts.deliver()
        assert page_text(page.run()).count("Not delivered to") == 1
        click_button(page, "Discard")
        assert "Not delivered to" not in page_text(page.run())


@pytest.mark.slow
def test_the_page_when_opened_by_a_marketer_shows_the_refusal_only(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who is no admin sees the reason and no form."""
    sign_in_as(monkeypatch, "mo@example.com", AccessLevel.MARKETER)
    page = workspace.page("alerts")
    assert "needs an admin" in page_text(page) and not page.text_input


def write_messages(workspace: Workspace, rows: list[tuple[int, str, str, int | None, int | None]]) -> None:
    """Store messages: to whom, with which key and title, and when they were delivered or given up."""
    with workspace.open_database() as db:
        db.executemany(
            """
            insert into message (recipient_id, key, topic, title, body, created_at, delivered_at, failed_at, problem)
            values (?1, ?2, 'run.ended', ?3, '', 1, ?4, ?5, iif(?5 is null, null, 'refused'))
            """,
            rows,
        )


def test_a_message_when_given_up_before_many_others_can_still_be_discarded(workspace: Workspace) -> None:
    """The status asks for somebody until then; the newest of addresses and webhooks come first, and all are counted."""
    with workspace.open() as service:
        webhook = service.alerts.add_webhook("http://127.0.0.1:9/x")[0]
        address = service.alerts.add("json://127.0.0.1:9/x")
    write_messages(
        workspace,
        [
            *((address.id, f"a{n}", f"Old {n}", None, 1) for n in range(2)),
            *((webhook.id, f"b{n}", f"New {n}", None, 1) for n in range(4)),
            *((webhook.id, f"c{n}", "", 1, None) for n in range(60)),
            *((address.id, f"d{n}", "", 1, None) for n in range(60)),
        ],
    )
    page = workspace.page("alerts")
    assert "6 messages were not delivered; these are the newest 5." in page_text(page)
    assert all(f"New {n}" in page_text(page) for n in range(4)) and "Old 1" in page_text(page)
    click_button(page, "Discard")
    assert "Old 0" in page_text(page) and "messages were not delivered;" not in page_text(page)


@pytest.mark.parametrize(("button", "waiting"), [("Send all again", 3), ("Discard all", 0)])
def test_many_messages_when_given_up_are_sent_again_or_discarded_at_once(
    workspace: Workspace, button: str, waiting: int
) -> None:
    """A receiver that was away for a day leaves hundreds; those of another one stay, and what was delivered is not sent."""
    with workspace.open() as service:
        webhook = service.alerts.add_webhook("http://127.0.0.1:9/x", "Warehouse")[0]
        address = service.alerts.add("json://127.0.0.1:9/x")
    write_messages(
        workspace,
        [
            (address.id, "a", "Other", None, 1),
            (webhook.id, "sent", "", 1, None),
            *((webhook.id, f"b{n}", "", None, 1) for n in range(3)),
        ],
    )
    page = workspace.page("alerts")
    assert "3 messages were not delivered." in page_text(page) and "1 message was not delivered." in page_text(page)
    click_button(page, button)
    assert "3 messages" in page.success[0].value
    with workspace.open() as service:
        assert [one.recipient_id for one in service.alerts.list_undelivered(9)] == [address.id]
        messages = service.alerts.list_messages("webhook")
        assert [one.state for one in messages].count("waiting") == waiting and len(messages) == 1 + waiting
        assert service.admin.list_audit(1)[0].target == f"webhook {webhook.id}"


def test_messages_say_to_whom_they_went_and_those_not_delivered_when_they_were_written(workspace: Workspace) -> None:
    """One and the same change goes to each receiver, and one kind of change comes many times."""
    with workspace.open() as service:
        webhook = service.alerts.add_webhook("http://127.0.0.1:9/x", "Warehouse")[0]
        address = service.alerts.add("json://127.0.0.1:9/x")
    write_messages(workspace, [(address.id, "a", "Other", 1, None), (webhook.id, "b", "", None, 1)])
    page = workspace.page("alerts")
    [table] = page.dataframe
    assert list(table.value["To"]) == ["Warehouse", address.masked_url]
    assert f"Not delivered to Warehouse: run.ended, {format_time(1.0)}. refused" in page_text(page)


def test_a_name_that_is_too_long_for_an_address_is_refused_instead_of_cut(workspace: Workspace) -> None:
    """Half of a name was stored without a word; the field takes as much as is stored."""
    assert workspace.page("alerts").text_input(key="label-webhook").max_chars == MAX_NAME
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match="The name has over 60 characters"):
            service.alerts.add_webhook("http://127.0.0.1:9/x", "x" * (MAX_NAME + 1))
        assert not service.alerts.list("webhook")
