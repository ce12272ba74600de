"""People: what happened to one person, by user ID, and what can be done about it."""

from __future__ import annotations

import streamlit as st

from pages.parts import layout, notices, rows
from pages.parts.badges import show_name, show_small_text
from pages.parts.dialog_buttons import show_dialog_buttons
from pages.parts.forget_dialog import show_forget_dialog
from pages.parts.formatting import escape_markdown, format_error, format_time, shorten_name
from pages.parts.navigation import PERSON_KEY, open_page
from pages.parts.session import is_allowed, open_service
from sync.errors import CohortSyncError
from sync.permissions import AccessLevel
from sync.records import PersonEntry, PersonListing
from sync.reports import Person, PersonSync, Presence
from sync.service import Service
from sync.service.safety import MAX_NOTE
from sync.text import count_noun
from sync.wording import (
    FORGOTTEN_HERE,
    NO_COHORT_KNOWN,
    NOT_SENT_YET,
    OUTCOME_SIGNS,
    OUTCOMES,
    explain_staying,
    explain_two_ids,
    explain_unknown_person,
)

DIALOG_KEY = "_person_dialog"  # session key: which dialog is open, so that it stays open while it is filled in
NEVER_EXPORT, FORGET = "never-export", "forget"
HISTORY_SHOWN = 25  # newest lines; the command `person` lists all
SYNC_COLUMNS = (("Cohort", 2.4), ("In WebEngage", 2.6), ("Since", 1.6), ("Why not", 3.4))
HISTORY_COLUMNS = (("When", 1.6), ("Run", 0.9), ("Cohort", 2.4), ("Attribute", 1.5), ("Outcome", 1.6), ("Reason", 3))
CHANGE_WORDS = {"add": "= true", "update": "= true, new values", "remove": "= false", "none": "nothing"}
PRESENCE_WORDS = {
    Presence.SENT_TRUE: "✓ {} = true",
    Presence.SENT_FALSE: "{} = false",
    Presence.UNCONFIRMED: "? {}: sent, but not confirmed",
    Presence.NEVER_SENT: "{} was never set",
}
INTRODUCTION = (
    "Type a User ID exactly as Mixpanel has it. This page knows what was sent to WebEngage and what is stored here; "
    "looking somebody up is noted in the audit log, without the ID."
)


def show_page() -> None:
    """Ask for a user ID, and show what happened to the person."""
    st.title("What happened to this person?", anchor=False)
    st.caption(INTRODUCTION)
    _ask()
    asked = st.session_state.get(PERSON_KEY)
    if asked is None:
        return
    try:
        with open_service() as service:
            found = service.people.find(asked)
    except CohortSyncError as error:
        st.error(format_error(error), icon=":material/error:")
        return
    _show_person(found)


def _ask() -> None:
    with st.form("person", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        user_id = st.text_input("User ID", key="person-id", width=420, placeholder="As in Mixpanel; capitals matter")
        if st.form_submit_button("Look up", type="primary", icon=":material/person_search:"):
            st.session_state[PERSON_KEY] = user_id
            _close_dialog()


def _show_person(found: Person) -> None:
    show_name(found.user_id, "person")
    _show_buttons(found)
    if found.known_by:
        st.info(escape_markdown(explain_two_ids(found.known_by, "Look up")), icon=":material/badge:")
    if not found.is_known:
        st.info(escape_markdown(explain_unknown_person(found.detail_days)), icon=":material/person_off:")
        return
    if found.was_forgotten:
        st.info(FORGOTTEN_HERE, icon=":material/person_off:")
    for one in found.lists:
        st.warning(_describe_listing(one), icon=":material/gpp_maybe:")
    _show_syncs(found.syncs)
    _show_history(found)


def _describe_listing(one: PersonListing) -> str:
    """Return on which list a person is, by whom and why, as Markdown."""
    name = (
        f"On the never-export list of WebEngage account {one.license_code}: never sent as a member"
        if one.license_code
        else f"A tripwire for {one.cohorts}: a run that finds them is held"
    )
    note = f" Note: {one.note}" if one.note else ""
    return escape_markdown(f"{name}. Added by {one.added_by}, {format_time(one.added_at)}.{note}")


def _show_syncs(syncs: tuple[PersonSync, ...]) -> None:
    st.header("In these exported cohorts", anchor=False)
    if not syncs:
        st.caption(NO_COHORT_KNOWN)
        return
    is_of_one_account = len({one.license_code for one in syncs}) == 1
    with st.container(key="rows-person-syncs"):
        rows.show_header("person-syncs", SYNC_COLUMNS)
        for one in syncs:
            cohort, held, since, why = rows.start_row(f"person-sync-{one.sync_id}", SYNC_COLUMNS)
            with cohort:
                if rows.show_opener(shorten_name(one.cohort_name), f"person-sync-{one.sync_id}"):
                    open_page("syncs", sync=one.sync_id)
            with held:
                account = "" if is_of_one_account else f", in account {one.license_code}"
                show_small_text(PRESENCE_WORDS[one.presence].format(one.attribute) + account, f"held-{one.sync_id}")
            since.caption(f"since {format_time(one.since)}" if one.since else "")
            with why:
                show_small_text(one.not_taken, f"why-{one.sync_id}")


def _show_history(found: Person) -> None:
    st.header("What was sent", anchor=False)
    if not found.history:
        st.caption(f"Nothing in the last {found.detail_days:g} days; older changes are no longer stored.")
        return
    names = {one.sync_id: one.cohort_name for one in found.syncs}
    with st.container(key="rows-person-history"):
        rows.show_header("person-history", HISTORY_COLUMNS)
        for place, entry in enumerate(found.history[:HISTORY_SHOWN]):
            _show_entry(entry, names.get(entry.sync_id, ""), f"{entry.run_id}-{place}")
    hidden = len(found.history) - HISTORY_SHOWN
    if hidden > 0:
        st.caption(f"{count_noun(hidden, 'older change')} not shown; the command “person” lists all.")


def _show_entry(entry: PersonEntry, cohort_name: str, key: str) -> None:
    when, run, cohort, change, outcome, reason = rows.start_row(f"person-entry-{key}", HISTORY_COLUMNS)
    when.caption(format_time(entry.at))
    with run:
        if rows.show_opener(f"Run {entry.run_id}", f"person-run-{key}"):
            open_page("runs", run=entry.run_id)
    is_pending = entry.outcome == "not sent" and not entry.ended
    outcome_word = NOT_SENT_YET if is_pending else OUTCOMES[entry.outcome]
    texts = (shorten_name(cohort_name), CHANGE_WORDS[entry.operation], f"{OUTCOME_SIGNS[entry.outcome]} {outcome_word}")
    for cell, text, name in zip((cohort, change, outcome), texts, ("cohort", "change", "outcome"), strict=True):
        with cell:
            show_small_text(text, f"entry-{name}-{key}")
    with reason:
        show_small_text(entry.reason, f"entry-reason-{key}")


def _show_buttons(found: Person) -> None:
    """Show what the person at the page may do about this one, and the dialog that is open."""
    open_dialog = st.session_state.get(DIALOG_KEY)
    with st.container(horizontal=True):
        if is_allowed(AccessLevel.MARKETER):
            st.button(
                "Never export", key="person-never", icon=":material/block:", on_click=_open_dialog, args=(NEVER_EXPORT,)
            )
        if is_allowed(AccessLevel.ADMIN):
            st.button("Forget", key="person-forget", icon=":material/delete:", on_click=_open_dialog, args=(FORGET,))
    if open_dialog == NEVER_EXPORT and is_allowed(AccessLevel.MARKETER):
        _show_never_export(found)
    elif open_dialog == FORGET and is_allowed(AccessLevel.ADMIN):
        show_forget_dialog(found, _close_dialog, lambda: st.session_state.pop(PERSON_KEY, None))


def _open_dialog(name: str) -> None:
    st.session_state[DIALOG_KEY] = name


def _close_dialog() -> None:
    st.session_state.pop(DIALOG_KEY, None)


@st.dialog("Never export this person", on_dismiss=_close_dialog)
def _show_never_export(found: Person) -> None:
    show_name(found.user_id, "never-person")
    with open_service() as service:
        accounts = [one.license_code for one in service.connections.list_accounts()]
    if not accounts:
        st.info("Connect WebEngage under Integrations first.")
        return
    listed = {one.license_code for one in found.lists}
    free = [one for one in accounts if one not in listed]
    if not free:
        st.info("Already on the list. Take people off it on the page “Never export and tripwires”.")
        return
    account = free[0] if len(free) == 1 else st.selectbox("WebEngage account", free, key="person-account")
    st.markdown(
        f"Never sent to WebEngage account {escape_markdown(str(account))} as a member, whatever cohort they are in. "
        "Where the attribute is true already, the next run sets it to false."
    )
    note = st.text_input("Note", key="person-note", max_chars=MAX_NOTE, placeholder="Why they are on the list")
    if show_dialog_buttons("never", "Put on the list", _close_dialog):
        notices.try_action("", lambda service: _put_on_list(service, str(account), found.user_id, note or ""))
        _close_dialog()
        st.rerun()


def _put_on_list(service: Service, account: str, user_id: str, note: str) -> str:
    added = service.safety.add_never_export(account, [user_id], note)
    return f"On the never-export list from now on. {explain_staying(added.stay_true, added.may_stay_true)}".strip()


layout.run_in_layout(show_page)
