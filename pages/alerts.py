"""Alerts, for admins only: what needs somebody now, who gets alerts and webhooks, when they wait, what was not delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import available_timezones

import pandas as pd
import streamlit as st

from pages.parts import layout, notices, polling
from pages.parts.badges import show_name, show_small_text
from pages.parts.formatting import escape_markdown, format_error, format_time
from pages.parts.memory import recall
from pages.parts.navigation import show_page_link
from pages.parts.session import open_service
from sync.errors import CohortSyncError, InvalidRequest
from sync.records import Message, OpenAlert, Recipient
from sync.reports import AlertPlace
from sync.service import Service
from sync.service.alerts import MAX_NAME, Schedule
from sync.text import count_noun

SHOWN_MESSAGES = 50  # the newest of each kind
SHOWN_FAILED = 5  # messages with buttons; older ones follow when these are sent or discarded
SECRET = "webhook secret"  # in the memory: of the one just added, until it is hidden  # noqa: S105  # nosec B105
ABOUT = {
    "alerts": "One message when something needs attention, and one when it is resolved. Write an address as "
    "[apprise](https://appriseit.com/services) does: e-mail, Slack, Teams, Telegram and many more.",
    "webhook": "Every change of a run or sync as signed JSON, for programs. docs/webhooks.md describes it.",
}
EXAMPLES = {
    "alerts": "mailtos://USER:PASSWORD@smtp.example.com?to=TEAM@example.com",
    "webhook": "https://example.com/cohort-sync",
}
PLACE_LABELS = {"run": "See run", "sync": "Open sync", "project": "See syncs"}
ADD_LABELS = {"alerts": "Add address", "webhook": "Add webhook"}
TIME_PLACEHOLDER = "off, or a time such as 07:30"


@dataclass(frozen=True, slots=True)
class Seen:
    """Hold what the page shows of alerts, their receivers and messages."""

    opened: tuple[tuple[OpenAlert, AlertPlace | None], ...]
    schedule: Schedule
    addresses: tuple[Recipient, ...]
    webhooks: tuple[Recipient, ...]
    messages: tuple[Message, ...]
    failed: tuple[Message, ...]


def show_page() -> None:
    """Show open alerts, addresses, times, webhooks and messages, or to anyone who is not an admin why not."""
    st.title("Alerts", anchor=False)
    try:
        seen = _read()
    except CohortSyncError as error:
        st.error(format_error(error), icon=":material/lock:")
        return
    recipients = {one.id: one for one in seen.addresses + seen.webhooks}
    _show_open(seen.opened, bool(seen.addresses))
    _show_failed(seen.failed, recipients)
    st.header("Who gets alerts", anchor=False)
    _show_recipients(seen.addresses, "alerts")
    _show_times(seen.schedule)
    st.header("Webhooks", anchor=False)
    _show_recipients(seen.webhooks, "webhook")
    _show_messages(seen.messages, {number: _name(one) for number, one in recipients.items()})
    polling.poll_slowly(lambda: _redraw_when_changed(seen))


def _read() -> Seen:
    with open_service() as service:
        alerts = service.alerts
        return Seen(
            opened=tuple((one, alerts.find_place(one)) for one in alerts.list_open()),
            schedule=alerts.get_schedule(),
            addresses=alerts.list(),
            webhooks=alerts.list("webhook"),
            messages=(
                *alerts.list_messages(limit=SHOWN_MESSAGES),
                *alerts.list_messages("webhook", SHOWN_MESSAGES),
            ),
            failed=alerts.list_undelivered(SHOWN_FAILED),
        )


def _redraw_when_changed(drawn: Seen) -> None:
    """Draw the whole page again when it shows what is not so any more; what is being typed stays in its fields."""
    try:
        is_same = _read() == drawn
    except CohortSyncError:  # which the page then says
        is_same = False
    if not is_same:
        polling.redraw_page()


def _name(recipient: Recipient) -> str:
    return recipient.name or recipient.masked_url


def _show_open(opened: tuple[tuple[OpenAlert, AlertPlace | None], ...], has_addresses: bool) -> None:
    """Show each open alert with a link to where it is mended, as its message has one."""
    if not has_addresses:
        st.info("Nobody gets alerts yet. Add an address below.", icon=":material/notifications_off:")
    elif not opened:
        st.success("Nothing needs attention now.", icon=":material/check_circle:")
    for one, place in opened:
        since = format_time(one.began_at)
        with st.container(gap="xsmall", key=f"open-{one.key.replace(' ', '-')}"):
            st.warning(escape_markdown(f"{one.title}, since {since}"), icon=":material/notifications_active:")
            if place:
                label = PLACE_LABELS[place.request]
                show_page_link(label, "open_in_full", place.page, **{place.request: place.number})


def _show_failed(failed: tuple[Message, ...], recipients: dict[int, Recipient]) -> None:
    """Show the newest messages that were given up, with what a person can do about them."""
    number = sum(one.undelivered for one in recipients.values())
    if number > len(failed):
        st.caption(
            f"{number:,} messages were not delivered; these are the newest {len(failed)}. All messages to one receiver can "
            "be sent again or discarded at once, with the buttons beside its address below."
        )
    for message in failed:
        _show_failed_message(message, _name(recipients[message.recipient_id]))


def _show_failed_message(message: Message, to: str) -> None:
    with st.container(border=True, key=f"failed-{message.id}"):
        what = f"{message.title or message.topic}, {format_time(message.created_at)}"
        st.error(escape_markdown(f"Not delivered to {to}: {what}. {message.problem}"), icon=":material/error:")
        with st.container(horizontal=True):
            _show_button(
                "Send again",
                f"resend-{message.id}",
                "The runner sends it again.",
                lambda service: service.alerts.resend(message.id),
            )
            _show_button(
                "Discard", f"discard-{message.id}", "Discarded.", lambda service: service.alerts.discard(message.id)
            )


def _show_button(label: str, key: str, done: str, action: Callable[[Service], object]) -> None:
    """Show a button that does something with the service, and says what was ``done``."""
    st.button(label, key=key, on_click=notices.try_action, args=(done, action))


def _show_recipients(recipients: tuple[Recipient, ...], kind: str) -> None:
    st.caption(ABOUT[kind])
    for one in recipients:
        _show_recipient(one)
    if kind == "webhook" and SECRET in recall():
        st.info(
            "The signing secret of the new webhook. Copy it now; once hidden it is not shown again.",
            icon=":material/key:",
        )
        st.code(recall()[SECRET], language=None, wrap_lines=True)
        st.button("Hide the secret", key="hide-secret", on_click=recall().pop, args=(SECRET, None))
    with st.form(f"add-{kind}", clear_on_submit=True):
        st.text_input("Address (URL)", key=f"url-{kind}", type="password", placeholder=EXAMPLES[kind])
        st.text_input(
            "Name", key=f"label-{kind}", max_chars=MAX_NAME, placeholder="What people call it; may stay empty"
        )
        st.form_submit_button(ADD_LABELS[kind], on_click=_add, args=(kind,))


def _show_recipient(one: Recipient) -> None:
    with st.container(border=True, key=f"recipient-{one.id}"):
        show_name(_name(one), f"recipient-{one.id}")
        if one.name:
            show_small_text(one.masked_url, f"recipient-{one.id}")  # as Markdown a part of it would be a link
        if one.problem:
            since = format_time(one.failing_since or 0.0)
            st.warning(escape_markdown(f"Not reached since {since}. {one.problem}"), icon=":material/warning:")
        if one.undelivered:
            st.caption(f"{count_noun(one.undelivered, 'message was', 'messages were')} not delivered.")
        with st.container(horizontal=True):
            _show_recipient_buttons(one)


def _show_recipient_buttons(one: Recipient) -> None:
    tested = "The test was accepted. Check that it arrived."
    _show_button("Send a test", f"test-{one.id}", tested, lambda here: here.alerts.send_test(one.id, one.kind))
    if one.undelivered > 1:
        _show_button(
            "Send all again", f"resend-all-{one.id}", "", lambda here: here.alerts.resend_all(one.id, one.kind)
        )
        _show_button("Discard all", f"discard-all-{one.id}", "", lambda here: here.alerts.discard_all(one.id, one.kind))
    _show_button("Remove", f"remove-{one.id}", "Removed.", lambda here: here.alerts.remove(one.id, one.kind))


def _show_times(schedule: Schedule) -> None:
    st.header("When", anchor=False)
    st.caption("In quiet hours alerts wait. The digest is one message each day: what ran, and what needs attention.")
    zones = sorted(available_timezones())
    with st.form("times"):  # no keys: a field with one keeps its value when somebody else changes what is stored
        left, middle, right = st.columns(3)
        quiet_from = left.text_input("Quiet from", schedule.quiet_from, placeholder=TIME_PLACEHOLDER)
        quiet_to = middle.text_input("Quiet until", schedule.quiet_to, placeholder=TIME_PLACEHOLDER)
        digest = right.text_input("Daily digest at", schedule.digest, placeholder=TIME_PLACEHOLDER)
        index = zones.index(schedule.zone) if schedule.zone in zones else None
        zone = st.selectbox("Time zone", zones, index=index)
        if st.form_submit_button("Save"):
            _save_times(zone or "UTC", quiet_from, quiet_to, digest)


def _show_messages(messages: tuple[Message, ...], names: dict[int, str]) -> None:
    st.header("Messages", anchor=False)
    if not messages:
        st.caption("No message has been sent yet.")
        return
    newest = sorted(messages, key=lambda one: -one.id)[:SHOWN_MESSAGES]
    rows = [
        (
            format_time(one.created_at),
            names.get(one.recipient_id, ""),
            one.state,
            one.title or one.topic,
            one.attempts,
            one.problem or "",
        )
        for one in newest
    ]
    columns = ["Time", "To", "State", "Message", "Tries", "Problem"]
    st.dataframe(pd.DataFrame(rows, columns=columns), hide_index=True)


def _add(kind: str) -> None:
    """Add what the form holds; the address leaves the session at once."""
    url = str(st.session_state.get(f"url-{kind}") or "").strip()
    name = str(st.session_state.get(f"label-{kind}") or "")
    done = "Added. Press Send a test to see whether it arrives."
    notices.try_action(done, lambda service: _add_recipient(service, kind, url, name))


def _add_recipient(service: Service, kind: str, url: str, name: str) -> None:
    if not url:
        raise InvalidRequest("Type the address first.")
    if kind == "alerts":
        service.alerts.add(url, name)
    else:
        recall()[SECRET] = service.alerts.add_webhook(url, name)[1]


def _save_times(zone: str, *times: str) -> None:
    """Store when quiet hours begin and end, and the time of the digest; "off" and an empty one mean never."""
    quiet_from, quiet_to, digest = ("" if one.strip().lower() == "off" else one.strip() for one in times)
    schedule = Schedule(zone=zone, quiet_from=quiet_from, quiet_to=quiet_to, digest=digest)
    notices.act_and_redraw("Saved.", lambda service: service.alerts.set_schedule(schedule))


layout.run_in_layout(show_page)
