"""Look at cohorts before anything is sent: the list, the preview, the proposal."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from sync.access import Grade, needs
from sync.errors import ApiError, Refused
from sync.model import BATCH_SIZE, TWO_HOURS, Fate, Member, Mode, Page, attribute_for, attribute_problem
from sync.service.base import ASK_SECONDS, Base
from sync.store.connections import SealedProject
from sync.store.meters import BATCHES_A_MINUTE
from sync.views import CohortList, CohortView, Preview, ProjectView, Proposal, Sample

LIST_FRESH = 300.0  # seconds a list of cohorts is shown without asking again
LIST_PATIENCE = 10.0  # seconds a list is waited for before the last one is trusted, unless a person asks for a new one
LIST_RETRY = 60.0  # seconds until a list that could not be read is asked for again, unless a person asks
PREVIEW_FRESH = 600.0  # seconds a preview is shown without asking again
COMPARED_MOST = 50_000  # people of a snapshot compared in memory while somebody waits
SAMPLES = 20  # members of each kind shown in a preview


class Browsing(Base):
    """Cohorts as people see them."""

    @needs(Grade.VIEWER)
    def cohorts(self, project_id: int | None = None, fresh: bool = False, patience: float | None = None) -> CohortList:
        """The project's cohorts: as last read when that is recent, read anew otherwise.

        When Mixpanel cannot be asked, the last reading is shown together with the problem; only
        without any reading is the problem raised. At most one query, and ``patience`` seconds of waiting:
        without a wish for less, as long as Mixpanel may take when there is nothing else to show.
        """
        sealed = self._sealed_project(project_id)
        project, now = sealed.view.id, self._now()
        read_at, problem = self._store.connections.cohorts_read_at(project), None
        if read_at is not None and not fresh and not 0 <= now - read_at < LIST_FRESH:
            problem = self._store.connections.list_problem(project, now, LIST_RETRY)
            fresh, patience = problem is None, patience or LIST_PATIENCE
        if read_at is None or fresh:
            read_at, problem = self._read_or_keep(sealed, patience or ASK_SECONDS, read_at)
        return CohortList(self._store.connections.cohorts(project), read_at, problem)

    def _read_or_keep(self, sealed: SealedProject, patience: float, before: float | None) -> tuple[float, str | None]:
        """Read the list; else keep the one read ``before``, with the problem, which is raised without one."""
        try:
            return self._read_cohorts(sealed, patience), None
        except (ApiError, Refused) as trouble:
            if before is None:
                raise
            self._store.connections.save_list_problem(sealed.view.id, str(trouble), self._now())
            return before, str(trouble)

    def _read_cohorts(self, sealed: SealedProject, patience: float) -> float:
        client, project_id = self._mixpanel(sealed, patience), sealed.view.id
        with self._query(project_id):
            listed = client.cohorts()  # the client ends the whole call after `patience` seconds
        now = self._now()
        with self._store.transaction():
            self._store.connections.save_cohorts(project_id, listed, now)
            for one in listed:
                known = self._store.syncs.of_cohort(project_id, one.id)
                if known and known.cohort_name != one.name:
                    self._store.syncs.renamed(known.id, one.name)
        return now

    @needs(Grade.VIEWER)
    def cohort(self, project_id: int | None, cohort_id: int) -> CohortView:
        """One cohort; Refused when Mixpanel does not list it."""
        began = self._now()
        listed = self.cohorts(project_id)
        just_asked = listed.problem is not None or listed.read_at >= began
        if not just_asked and all(one.id != cohort_id for one in listed.cohorts):
            listed = self.cohorts(project_id, fresh=True)
        return _listed(listed, cohort_id)

    @needs(Grade.VIEWER)
    def exportable(self, project_id: int | None, cohort_id: int) -> CohortView:
        """One cohort that can be exported; Refused for a group cohort."""
        return _of_people(self.cohort(project_id, cohort_id))

    @needs(Grade.VIEWER)
    def refresh_count(self, project_id: int | None, cohort_id: int) -> int:
        """Count a cohort anew, by its preview."""
        return self.preview(project_id, cohort_id, fresh=True).total

    @needs(Grade.VIEWER)
    def preview(self, project_id: int | None, cohort_id: int, fresh: bool = False) -> Preview:
        """Who would go to WebEngage: two queries, none when a recent answer is at hand."""
        project = self._sealed_project(project_id).view.id
        cohort = self.exportable(project, cohort_id)
        kept = self._store.connections.preview(project, cohort_id)
        if kept and not fresh:
            found = _kept_preview(kept)
            if 0 <= self._now() - found.read_at < PREVIEW_FRESH:
                return self._current(project, found)
        return self._ask_preview(project, cohort)

    def _ask_preview(self, project_id: int, cohort: CohortView) -> Preview:
        client = self._mixpanel(self._sealed_project(project_id))
        self._audit("preview", f"cohort {cohort.id}", once_in=PREVIEW_FRESH)
        with self._query(project_id):
            known = client.page(cohort.id, 0, None, all_users=False, properties=())
        with self._query(project_id):
            everyone = client.page(cohort.id, 0, None, all_users=True, properties=(), trimmed=False)
        found = _preview_of(cohort, known, everyone, self._now())
        found = self._since_the_export(project_id, found, known)
        self._store.connections.save_preview(project_id, cohort.id, json.dumps(asdict(found)), found.total)
        return self._current(project_id, found)

    def _since_the_export(self, project_id: int, found: Preview, known: Page) -> Preview:
        """Who would enter and leave, when page 0 is the whole cohort and the snapshot is not huge."""
        sync = self._store.syncs.of_cohort(project_id, found.cohort_id)
        if not (sync and found.exact and 0 < self._store.snapshot.size(sync.id) <= COMPARED_MOST):
            return found
        now = {one.id for one in known.members if one.fate is Fate.IDENTIFIED}
        before = set(self._store.snapshot.people(sync.id))
        return replace(found, entering=len(now - before), leaving=len(before - now))

    def _current(self, project_id: int, found: Preview) -> Preview:
        """Add what changes by the minute: who was exported before, and what is left of the hour."""
        sync = self._store.syncs.of_cohort(project_id, found.cohort_id)
        before = self._store.snapshot.size(sync.id) if sync else 0
        last = self._store.runs.get(sync.last_run_id) if sync and sync.last_run_id else None
        if last and (last.finished_at is None or last.finished_at > found.read_at):
            found = replace(found, entering=None, leaving=None)
        if found.entering is not None and found.leaving is not None and sync and not sync.mapping:
            found = _costing(found, found.entering + found.leaving)  # only the difference is sent
        return replace(found, exported_before=before, queries_left=self._store.meters.left(project_id, self._now()))

    @needs(Grade.VIEWER)
    def proposal(self, project_id: int | None, cohort_id: int) -> Proposal:
        """How a cohort would be exported, before the person changes anything."""
        view = self._sealed_project(project_id).view
        # As last read: a dialog that is drawn again, Start Sync included, waits for nobody.
        known = next((one for one in self._store.connections.cohorts(view.id) if one.id == cohort_id), None)
        cohort = _of_people(known) if known else self.exportable(view.id, cohort_id)
        sync = self._store.syncs.of_cohort(view.id, cohort_id)
        if sync:
            return Proposal(sync.attribute, True, sync.mode, sync.every or TWO_HOURS, sync.license_code, sync.mapping)
        license_code, problem = self._account_or_problem(view)
        taken = self._store.attributes.taken(license_code) if license_code else frozenset()
        name = attribute_for(cohort.name, taken)
        return Proposal(name, False, Mode.DYNAMIC, TWO_HOURS, license_code, account_problem=problem)

    def _account_or_problem(self, project: ProjectView) -> tuple[str | None, str]:
        try:
            return self._account_of(project), ""
        except Refused as problem:
            return None, str(problem)

    @needs(Grade.VIEWER)
    def attribute_problem(self, project_id: int | None, cohort_id: int, name: str) -> str | None:
        """What is wrong with an attribute's name for this cohort, or None."""
        project = self._sealed_project(project_id).view
        sync = self._store.syncs.of_cohort(project.id, cohort_id)
        if sync:
            return (
                None
                if name == sync.attribute
                else (
                    f"This cohort already goes to “{sync.attribute}”; an attribute is permanent after its first export."
                )
            )
        license_code, _ = self._account_or_problem(project)
        return attribute_problem(name, self._store.attributes.taken(license_code) if license_code else frozenset())


def _listed(listed: CohortList, cohort_id: int) -> CohortView:
    """Return a cohort of a list; Refused when it is not there."""
    for one in listed.cohorts:
        if one.id == cohort_id:
            return one
    if listed.problem:
        raise Refused(f"The list of cohorts as last read has no cohort {cohort_id}. {listed.problem}")
    raise Refused(
        f"Mixpanel does not list a cohort {cohort_id} in this project; "
        "it was deleted, or it must be shared with the project."
    )


def exportable_in(listed: CohortList, cohort_id: int) -> CohortView:
    """Return a cohort of a list that can be exported; Refused when it is not there, or a group cohort."""
    return _of_people(_listed(listed, cohort_id))


def _of_people(found: CohortView) -> CohortView:
    """Return a cohort that can be exported; Refused for a group cohort."""
    if found.group:
        raise Refused(
            f"“{found.name}” is a cohort of groups, not of people, so it cannot be exported to WebEngage; "
            "choose a cohort of users."
        )
    return found


def _preview_of(cohort: CohortView, known: Page, everyone: Page, now: float) -> Preview:
    """Put the two first pages together; exact when they hold the whole cohort."""
    with_profile = known.total if known.total is not None else len(known.members)
    total = max(everyone.total if everyone.total is not None else len(everyone.members), with_profile)
    share = with_profile / len(known.members) if known.members else 0.0  # 1.0 when page 0 is everybody
    invalid = round(share * sum(1 for one in known.members if one.fate.invalid))
    unknown = round(share * sum(1 for one in known.members if one.fate.anonymous))
    identified = max(0, with_profile - unknown - invalid)
    whole = len(known.members) >= with_profile and (known.total is not None or len(known.members) < known.size)
    found = Preview(
        cohort.id,
        cohort.name,
        total,
        identified,
        max(0, total - identified - invalid),
        invalid,
        whole,
        _sample(known.members, everyone.members),
        0,
        now,
        0,
        0.0,
        0,
        properties=everyone.properties,
    )
    return _costing(found, identified)


def _costing(found: Preview, people: int) -> Preview:
    """Say what it takes to send so many people."""
    batches = -(-people // BATCH_SIZE)
    return replace(found, requests=batches, seconds=batches * 60.0 / BATCHES_A_MINUTE)


def _sample(known: tuple[Member, ...], everyone: tuple[Member, ...]) -> tuple[Sample, ...]:
    """A few members of each kind; never more than their ids."""
    seen = {one.id for one in known}
    going = [one for one in known if one.fate is Fate.IDENTIFIED]
    staying = [one for one in known if one.fate is not Fate.IDENTIFIED]
    staying += [one for one in everyone if one.fate is not Fate.IDENTIFIED and one.id not in seen]
    return tuple(Sample(one.id[:200], one.fate) for one in going[:SAMPLES] + staying[:SAMPLES])


def _kept_preview(text: str) -> Preview:
    values = json.loads(text)
    values["sample"] = tuple(Sample(one["id"], Fate(one["fate"])) for one in values["sample"])
    values["properties"] = tuple(values.get("properties", ()))
    return Preview(**values)
