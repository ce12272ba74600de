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
from sync.views import CohortList, CohortView, Preview, Proposal, Sample

LIST_FRESH = 300.0  # seconds a list of cohorts is shown without asking again
PREVIEW_FRESH = 600.0  # seconds a preview is shown without asking again
COMPARED_MOST = 50_000  # people of a snapshot compared in memory while somebody waits
SAMPLES = 20  # members of each kind shown in a preview


class Browsing(Base):
    """Cohorts as people see them."""

    @needs(Grade.VIEWER)
    def cohorts(self, project_id: int | None = None, fresh: bool = False, patience: float = ASK_SECONDS) -> CohortList:
        """The project's cohorts: as last read when that is recent, read anew otherwise.

        When Mixpanel cannot be asked, the last reading is shown together with the problem; only
        without any reading is the problem raised.
        """
        sealed = self._sealed_project(project_id)
        read_at, problem = self._store.connections.cohorts_read_at(sealed.view.id), None
        if fresh or read_at is None or not 0 <= self._now() - read_at < LIST_FRESH:
            try:
                read_at = self._read_cohorts(sealed, patience)
            except (ApiError, Refused) as trouble:
                if read_at is None:
                    raise
                problem = str(trouble)
        return CohortList(self._store.connections.cohorts(sealed.view.id), read_at, problem)

    def _read_cohorts(self, sealed: SealedProject, patience: float) -> float:
        client, project_id = self._mixpanel(sealed, patience), sealed.view.id
        with self._query(project_id):
            listed = client.cohorts()
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
        for fresh in (False, True):
            listed = self.cohorts(project_id, fresh=fresh)
            for one in listed.cohorts:
                if one.id == cohort_id:
                    return one
        raise Refused(
            f"Mixpanel does not list a cohort {cohort_id} in this project; "
            "it was deleted, or it must be shared with the project."
        )

    @needs(Grade.VIEWER)
    def exportable(self, project_id: int | None, cohort_id: int) -> CohortView:
        """One cohort that can be exported; Refused for a group cohort."""
        found = self.cohort(project_id, cohort_id)
        if found.group:
            raise Refused(
                f"“{found.name}” is a cohort of groups, not of people, so it cannot be exported to WebEngage; "
                "choose a cohort of users."
            )
        return found

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
        project = self._sealed_project(project_id).view.id
        cohort = self.exportable(project, cohort_id)
        sync = self._store.syncs.of_cohort(project, cohort_id)
        if sync:
            return Proposal(sync.attribute, True, sync.mode, sync.every or TWO_HOURS, sync.license_code, sync.mapping)
        accounts = self._store.connections.accounts()
        license_code = accounts[0].view.license_code if accounts else None
        taken = self._store.attributes.taken(license_code) if license_code else frozenset()
        return Proposal(attribute_for(cohort.name, taken), False, Mode.DYNAMIC, TWO_HOURS, license_code)

    @needs(Grade.VIEWER)
    def attribute_problem(self, project_id: int | None, cohort_id: int, name: str) -> str | None:
        """What is wrong with an attribute's name for this cohort, or None."""
        project = self._sealed_project(project_id).view.id
        sync = self._store.syncs.of_cohort(project, cohort_id)
        if sync:
            return (
                None
                if name == sync.attribute
                else (
                    f"This cohort already goes to “{sync.attribute}”; an attribute is permanent after its first export."
                )
            )
        accounts = self._store.connections.accounts()
        taken = self._store.attributes.taken(accounts[0].view.license_code) if accounts else frozenset()
        return attribute_problem(name, taken)


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
