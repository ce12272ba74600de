"""Export to WebEngage: how often, under which attribute, how many; then Start Sync."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from pages.parts import notices, preview, properties
from pages.parts.desk import open_service
from pages.parts.look import plain
from pages.parts.wishes import drop, go
from pages.parts.words import escape, every, trouble
from sync.errors import CohortSyncError
from sync.model import ATTRIBUTE_MAX, Mode
from sync.service import Service
from sync.views import CohortView, Preview, ProjectView, Proposal, Started

MODES = {Mode.ONE_TIME: "One-time", Mode.DYNAMIC: "Dynamic (every two hours)"}
MEANING = {
    Mode.ONE_TIME: "Sends the people who are in the cohort now, once.",
    Mode.DYNAMIC: "Again and again: people who came are added, people who left are taken out.",
}
NEW_PROFILES = "A user id WebEngage does not know becomes a **new profile** there; ids are compared letter by letter."
PERMANENT = "Everybody exported gets it as true. The name is **permanent** after the first export."
DRY = "Works out who would be told what, and waits for your yes before anything is sent."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the dialog's fields say."""

    mode: Mode
    attribute: str
    every: float | None
    mapping: properties.Mapping
    dry: bool
    account: str


ACCOUNT = "_export_account"


def _closed() -> None:
    drop("export")
    preview.forget()
    st.session_state.pop(ACCOUNT, None)


@st.dialog("Export to WebEngage", width="medium", on_dismiss=_closed)
def show(project: ProjectView, cohort: CohortView) -> None:
    """Ask how a cohort is to be exported and start it."""
    try:
        with open_service() as service:
            proposal = service.proposal(project.id, cohort.id)
            _form(service, project, cohort, proposal)
    except CohortSyncError as error:
        st.error(trouble(error))


def _form(service: Service, project: ProjectView, cohort: CohortView, proposal: Proposal) -> None:
    account = _account(cohort, proposal)
    mode = _mode(cohort.id, proposal)
    attribute, problem = _attribute(service, project, cohort, proposal)
    seen = _numbers(project, cohort)
    mapping, wrong = properties.choose(cohort.id, proposal.mapping, seen.properties if seen else ())
    blocked = bool(problem or wrong) or not account
    if not account:
        st.warning(escape(proposal.account_problem))
    with st.container(horizontal=True, horizontal_alignment="right"):
        cancel = st.button("Cancel", key="export-cancel")
        dry = st.button("Dry run", key="export-dry", disabled=blocked, help=DRY)
        start = st.button("Start Sync", key="export-start", type="primary", disabled=blocked)
    if cancel:
        _closed()
        st.rerun()
    if start or dry:
        _start(
            service,
            project,
            cohort,
            Wanted(mode, attribute, proposal.every if mode == Mode.DYNAMIC else None, mapping, bool(dry), account),
        )


def _account(cohort: CohortView, proposal: Proposal) -> str:
    """Show where the cohort goes; the answer is the account shown first, until the dialog is closed.

    Nothing goes elsewhere because somebody chose another account in the meantime.
    """
    kept = st.session_state.get(ACCOUNT)
    if not kept or kept[0] != cohort.id or not kept[1]:
        kept = st.session_state[ACCOUNT] = cohort.id, proposal.license_code or ""
    with st.container(horizontal=True, vertical_alignment="center"):
        plain(cohort.name, "export", width="content")
        if kept[1]:
            st.caption(f"to WebEngage account **{escape(kept[1])}**", width="content")
    return str(kept[1])


def _mode(cohort_id: int, proposal: Proposal) -> Mode:
    choices = list(MODES)
    labels = MODES | ({Mode.DYNAMIC: f"Dynamic ({every(proposal.every)})"} if proposal.every != 7200 else {})
    chosen = st.radio(
        "How often",
        choices,
        index=choices.index(proposal.mode),
        key=f"export-mode-{cohort_id}",
        format_func=labels.__getitem__,
        captions=[MEANING[mode] for mode in choices],
    )
    return chosen or proposal.mode


def _attribute(service: Service, project: ProjectView, cohort: CohortView, proposal: Proposal) -> tuple[str, str]:
    if proposal.permanent:
        st.caption("Attribute in WebEngage – permanent since the first export")
        st.code(proposal.attribute, language=None, wrap_lines=True)
        return proposal.attribute, ""
    name = st.text_input(
        "Attribute in WebEngage",
        value=proposal.attribute,
        key=f"export-attribute-{cohort.id}",
        live=True,
        max_chars=2 * ATTRIBUTE_MAX,
    )
    problem = service.attribute_problem(project.id, cohort.id, name or "") or ""
    if problem:
        st.error(escape(problem))
    else:
        st.caption(PERMANENT)
    return name or "", problem


def _numbers(project: ProjectView, cohort: CohortView) -> Preview | None:
    try:
        seen = preview.read(project.id, cohort.id)
    except CohortSyncError as error:
        st.warning(trouble(error))
        return None
    preview.numbers(seen)
    with st.expander("Look at some members"):
        preview.sample(seen)
    with st.container(gap=None):
        preview.cost(seen)
        st.caption(f":material/person_add: {NEW_PROFILES}")
    return seen


def _start(service: Service, project: ProjectView, cohort: CohortView, wanted: Wanted) -> None:
    try:
        started = service.export(
            project.id,
            cohort.id,
            wanted.mode,
            wanted.attribute,
            wanted.every,
            wanted.dry,
            wanted.mapping,
            wanted.account,
        )
    except CohortSyncError:
        st.session_state.pop(ACCOUNT, None)  # the next look shows where it would go now
        raise
    _closed()
    if wanted.dry:
        go("runs", run=started.run_id)
    notices.tell(_outcome(cohort, started))
    st.rerun()


def _outcome(cohort: CohortView, started: Started) -> str:
    if started.started:
        return f"{cohort.name} is on its way to WebEngage. Its row shows how far it is; Syncs and Runs show more."
    return f"{cohort.name} is already on its way to WebEngage; nothing was started twice."
