"""Never export and tripwires: people who are never sent to WebEngage, and people who hold a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import pandas as pd
import streamlit as st

from pages.parts import layout, notices
from pages.parts.formatting import escape_markdown, format_time, shorten_name, tell_apart
from pages.parts.navigation import open_page
from pages.parts.session import is_allowed, open_service
from sync.errors import CohortSyncError
from sync.permissions import AccessLevel
from sync.records import ProjectView, Tripwire
from sync.service import Service
from sync.service.safety import MAX_NOTE, parse_csv, parse_lines
from sync.text import count_noun, count_people
from sync.views import AddedPeople, NeverExported
from sync.wording import explain_staying

Choice = TypeVar("Choice", int, str)
ANY_COHORT_LABEL = "Any cohort"
ANY_COHORT = 0  # stands for every cohort; no cohort has this number
ROWS_SHOWN = 1000  # newest people of a list; the rest is counted
WIDTHS = {
    name: st.column_config.TextColumn(width=pixels)
    for name, pixels in (("User ID", 100), ("Cohort", 210), ("Note", 250), ("Added by", 170))
}  # in pixels, for a laptop: a long note, or a long name, leaves the others their place
FILES_USED = "_{}-files"  # session key, by list: how many forms were taken
LABEL_HELP = "The User IDs are not stored, only this label and a hash, which do not say who somebody is."
NEVER_EXPORT_HELP = (
    "These people are never sent to WebEngage account **{account}** as members, whatever cohort they are in. Those "
    "already in WebEngage are set to false by the next run. Every preview and run counts them."
)
OTHER_LIST = (
    "This project exports to WebEngage account {}, which is not connected. Its list is kept, and is shown and changed here "
    "once the account is connected again. Below is the list of another account."
)
TRIPWIRE_HELP = (
    "People who must never be in a cohort, for example a colleague or an account you know to be inactive. When a run "
    "finds one, the cohort itself is wrong: the run is held before anything is sent, and says so."
)


def show_page() -> None:
    """Show both lists of the chosen project."""
    st.title("Never export and tripwires", anchor=False)
    with open_service() as service:
        project = layout.chosen_project(service.connections.list_projects())
        accounts = [one.license_code for one in service.connections.list_accounts()]
    if not project or not accounts:
        st.info("Connect Mixpanel and WebEngage first.")
        if st.button("Go to Integrations", type="primary"):
            open_page("integrations")
        return
    never_export, tripwires = st.tabs(["Never export", "Tripwires"])
    with never_export:
        if project.license_code and project.license_code not in accounts:
            st.warning(escape_markdown(OTHER_LIST.format(project.license_code)), icon=":material/warning:")
        _show_never_export(_choose_account(project, accounts), _account_key(project))
    with tripwires:
        _show_tripwires(project)


def _choose_account(project: ProjectView, accounts: list[str]) -> str:
    """Return the account whose list is shown; ask for it when there are several."""
    if len(accounts) == 1:
        return accounts[0]
    index = accounts.index(project.license_code) if project.license_code in accounts else 0
    return str(st.selectbox("WebEngage account", accounts, index=index, key=_account_key(project)))


def _account_key(project: ProjectView) -> str:
    """Return the key of the choice of account; of another project, or its new account, it is another choice."""
    return f"never-account-{project.id}-{project.license_code}"


def _show_never_export(account: str, choice: str) -> None:
    """Show the list of an account; ``choice`` is the key of the field in which it can be chosen."""
    st.caption(NEVER_EXPORT_HELP.format(account=escape_markdown(account)))
    if is_allowed(AccessLevel.MARKETER):
        _show_form(
            "never",
            lambda service, ids, note: service.safety.add_never_export(_chosen(choice, account), ids, note),
            lambda service, ids: service.safety.remove_never_export(_chosen(choice, account), ids),
        )
    with open_service() as service:
        listed = service.safety.list_never_export(account)
    cells = {one.key: (one.label, one.note, one.added_by, format_time(one.added_at)) for one in listed}
    chosen = _show_people("never", ("User ID", "Note", "Added by", "Added"), cells)
    _show_take_off("never", chosen, lambda service: service.safety.remove_never_export(account, keys=chosen))


def _show_tripwires(project: ProjectView) -> None:
    st.caption(TRIPWIRE_HELP)
    choice = f"trip-cohort-{project.id}"
    names = _read_cohort_names(project.id)
    if is_allowed(AccessLevel.MARKETER):
        st.selectbox(
            "In which cohort must they never be?",
            [ANY_COHORT, *names],
            format_func=lambda number: names[number] if number else ANY_COHORT_LABEL,
            key=choice,
        )
        _show_form(
            "trip",
            lambda service, ids, note: service.safety.add_tripwires(
                project.id, _chosen(choice, ANY_COHORT) or None, ids, note
            ),
            lambda service, ids: service.safety.remove_tripwires(project.id, _chosen(choice, ANY_COHORT) or None, ids),
        )
    with open_service() as service:
        listed = service.safety.list_tripwires(project.id)
    cells = {
        one.id: (one.label, _name_cohort(one, names), one.note, one.added_by, format_time(one.added_at))
        for one in listed
    }
    chosen = _show_people("trip", ("User ID", "Cohort", "Note", "Added by", "Added"), cells)
    _show_take_off("trip", chosen, lambda service: service.safety.delete_tripwires(chosen))


def _chosen(key: str, otherwise: Choice) -> Choice:
    """Return what a list shows as chosen at the moment of a click, which may come before the page is drawn with it."""
    return cast(Choice, st.session_state.get(key, otherwise))


def _read_cohort_names(project_id: int) -> dict[int, str]:
    """Return what the cohorts of a project are called here, as far as they are known; none when Mixpanel never answered."""
    try:
        with st.spinner("Reading the cohorts from Mixpanel…", show_time=True), open_service() as service:
            return tell_apart({one.id: one.name for one in service.cohorts.list(project_id).cohorts}, ANY_COHORT_LABEL)
    except CohortSyncError:
        return {}


def _name_cohort(one: Tripwire, names: dict[int, str]) -> str:
    return (
        ANY_COHORT_LABEL if one.cohort_id is None else shorten_name(names.get(one.cohort_id, f"Cohort {one.cohort_id}"))
    )


def _show_form(
    key: str, add: Callable[[Service, list[str], str], AddedPeople], remove: Callable[[Service, list[str]], int]
) -> None:
    """Ask for user ids, typed, pasted or in a file, and add them to the list or take them off it."""
    with st.form(f"{key}-form", border=False):
        typed, uploaded = st.columns(2)
        with typed:
            st.text_area("User IDs, one per line", key=f"{key}-ids", height=132)
        with uploaded:
            st.file_uploader("Or a CSV file", type=["csv", "txt"], key=_file_key(key))
            st.text_input("Note", key=f"{key}-note", max_chars=MAX_NOTE, placeholder="Why they are on the list")
        with st.container(horizontal=True):
            st.form_submit_button(
                "Add to the list",
                type="primary",
                key=f"{key}-add",
                on_click=_change_list,
                args=(key, lambda service, ids, note: _describe_added(add(service, ids, note))),
            )
            st.form_submit_button(
                "Take off the list",
                key=f"{key}-remove",
                on_click=_change_list,
                args=(key, lambda service, ids, _: _describe_gone(remove(service, ids))),
            )


def _file_key(key: str) -> str:
    """Return the key of a form's file; a file that was used is gone with its key, since nothing else empties the field."""
    return f"{key}-file-{st.session_state.get(FILES_USED.format(key), 0)}"


def _change_list(key: str, change: Callable[[Service, list[str], str], str]) -> None:
    """Change a list by what its form holds, and empty the form; what was refused stays in it, to be corrected."""
    text, note = (str(st.session_state.get(f"{key}-{name}") or "") for name in ("ids", "note"))
    file = st.session_state.get(_file_key(key))

    def act(service: Service) -> str:
        return change(service, [*parse_lines(text), *(parse_csv(file.getvalue()) if file else [])], note)

    if notices.try_action("", act):
        st.session_state[f"{key}-ids"] = st.session_state[f"{key}-note"] = ""
        st.session_state[FILES_USED.format(key)] = st.session_state.get(FILES_USED.format(key), 0) + 1


def _describe_added(found: AddedPeople) -> str:
    there = count_noun(found.already_there, "person was", "people were")
    already = f" {there} on the list already." if found.already_there else ""
    staying = explain_staying(found.stay_true, found.may_stay_true) if isinstance(found, NeverExported) else ""
    return f"{count_people(found.added)} added.{already} {staying}".strip()


def _describe_gone(people: int) -> str:
    return f"{count_people(people)} taken off the list." if people else "None of them was on the list."


def _show_people(key: str, columns: Sequence[str], people: Mapping[Choice, tuple[str, ...]]) -> list[Choice]:
    """Show a list, newest first: the cells of each person by who it is; return who is chosen, nobody for viewers.

    What the browser names as chosen are places in the list it was sent, so another list is another table.
    """
    if not people:
        st.info("Nobody is on the list.")
        return []
    shown = dict(islice(people.items(), ROWS_SHOWN))
    st.caption(f"{count_people(len(people))} on the list. {LABEL_HELP}")
    may_choose = is_allowed(AccessLevel.MARKETER)
    event: Any = st.dataframe(
        pd.DataFrame(list(shown.values()), columns=list(columns)),
        hide_index=True,
        on_select="rerun" if may_choose else "ignore",
        selection_mode="multi-row",
        column_config=WIDTHS,
        key=f"{key}-table-{hash(tuple(shown))}",
        alt="People on the list",
    )
    if len(people) > ROWS_SHOWN:
        st.caption(f"The newest {ROWS_SHOWN:,} are shown.")
    known = list(shown)
    return [known[at] for at in event.selection.rows if at < len(known)] if may_choose else []


def _show_take_off(key: str, chosen: Sequence[object], action: Callable[[Service], int]) -> None:
    """Offer to take off the list whom the page shows as chosen now, no matter who is added before the click."""
    if chosen:
        label = f"Take {count_people(len(chosen))} off the list"
        args = "", lambda service: _describe_gone(action(service))
        st.button(label, key=f"{key}-take-off", on_click=notices.try_action, args=args)


layout.run_in_layout(show_page)
