"""Cohorts before anything is sent: the list, the preview, the proposal of an export."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace

from sync.attribute_names import find_attribute_problem, suggest_attribute
from sync.errors import ApiError, InvalidRequest, ReplyTooLarge
from sync.id_property import find_id_property_problem
from sync.mixpanel.client import Mixpanel
from sync.model import DEFAULT_INTERVAL, Eligibility, Member, Mode, Page, Sync
from sync.permissions import AccessLevel, check_level, requires
from sync.records import CohortView, ProjectView
from sync.service.base import INTERACTIVE_TIMEOUT_SECONDS, ServiceState, Topic, name_cohort
from sync.service.held_people import count_held, read_held
from sync.service.sending_cost import add_cost_of_changes
from sync.store.export_requests import Request
from sync.store.rejections import LONG_ID_KEPT
from sync.views import CohortList, Preview, Proposal, Sample

LIST_FRESH_SECONDS = 300.0  # seconds a list of cohorts is shown without asking Mixpanel again
LIST_PATIENCE = 10.0  # seconds to wait for a new list before the last one is shown, unless a person asked for a new one
LIST_RETRY = 60.0  # seconds until a list that could not be read is asked for again, unless a person asks for it
PREVIEW_FRESH_SECONDS = 600.0  # seconds a preview is shown without asking Mixpanel again
QUERY_PATIENCE_SECONDS = 20.0  # a person waits so long for a place among Mixpanel's concurrent queries
MAX_COMPARED_MEMBERS = 50_000  # people of a snapshot compared in memory while a person waits
SAMPLE_SIZE = 20  # members of each kind shown in a preview


class CohortService(Topic):
    """Requests about cohorts, previews and proposals."""

    @requires(AccessLevel.VIEWER)
    def list(self, project_id: int | None = None, fresh: bool = False, patience: float | None = None) -> CohortList:
        """Return the project's cohorts, as last read within five minutes, else read again.

        When Mixpanel cannot be asked, the last list is returned with the problem, for a minute; without a list the
        problem is raised. At most one query, and ``patience`` seconds of waiting (default: 10 when there is a list to show,
        else 130).
        """
        project, now, lists = self._state.get_project(project_id).id, self._state.now(), self._store.connections
        read_at, problem = lists.get_cohorts_read_at(project), lists.get_list_problem(project, now, LIST_RETRY)
        if read_at is not None and not fresh and not 0 <= now - read_at < LIST_FRESH_SECONDS:
            fresh, patience = problem is None, patience or LIST_PATIENCE
        if read_at is None or fresh:
            read_at, problem = self._read_or_keep(project, patience or INTERACTIVE_TIMEOUT_SECONDS, read_at)
        return CohortList(lists.list_cohorts(project), read_at, problem, lists.list_remark(project) or "")

    def _read_or_keep(self, project_id: int, patience: float, before: float | None) -> tuple[float, str | None]:
        """Read the list; on failure return the time of the one read ``before`` and the problem, which is raised without one.

        What another session read meanwhile has no problem.
        """
        try:
            return self._read_cohorts(project_id, patience), None
        except (ApiError, InvalidRequest) as problem:
            meanwhile = self._store.connections.get_cohorts_read_at(project_id)
            if meanwhile not in (None, before):
                return meanwhile or 0.0, None
            if before is None:
                raise
            self._store.connections.save_list_problem(project_id, str(problem), self._state.now())
            return before, str(problem)

    def _read_cohorts(self, project_id: int, patience: float) -> float:
        """Ask for the list and store it, unless a later one is stored; return when Mixpanel was asked for the stored one."""
        client = self._state.open_mixpanel(project_id, patience)
        with self._state.mixpanel_query(project_id):
            asked_at = self._state.now()
            listed, odd_rows = client.list_cohorts()  # the client ends the whole call after `patience` seconds
        with self._store.transaction():
            is_newest, read_at = self._store.connections.save_cohorts(
                project_id, listed, asked_at, self._state.now(), _describe_odd_rows(odd_rows)
            )
            for one in listed if is_newest else ():
                known = self._store.syncs.get_sync_of_cohort(project_id, one.id)
                if known and known.cohort_name != one.name:
                    self._store.syncs.rename_cohort(known.id, one.name)
        return read_at

    @requires(AccessLevel.VIEWER)
    def get(self, project_id: int | None, cohort_id: int) -> CohortView:
        """Return one cohort; raise InvalidRequest when Mixpanel does not list it."""
        began = self._state.now()
        listed = self.list(project_id)
        just_asked = listed.problem is not None or listed.read_at >= began
        if not just_asked and all(one.id != cohort_id for one in listed.cohorts):
            listed = self.list(project_id, fresh=True)
        return _find_cohort(listed, cohort_id)

    @requires(AccessLevel.VIEWER)
    def get_exportable(self, project_id: int | None, cohort_id: int) -> CohortView:
        """Return one cohort that can be exported; raise InvalidRequest for a group cohort."""
        return _require_people(self.get(project_id, cohort_id))

    @requires(AccessLevel.VIEWER)
    def preview(
        self, project_id: int | None, cohort_id: int, fresh: bool = False, id_property: str | None = None
    ) -> Preview:
        """Return who would be sent to WebEngage; two queries, or none within ten minutes of the last preview.

        ``id_property`` is the profile property that would be the User ID, None for the one the cohort has. Another one
        shows its values, so a marketer may ask for it.
        """
        project = self._state.get_project(project_id).id
        wanted = self.choose_id_property(project, cohort_id, id_property)
        cohort = self.get_exportable(project, cohort_id)
        kept = None if fresh else self.get_known(project, cohort_id, wanted)
        return kept or self._read_preview(project, cohort, wanted)

    @requires(AccessLevel.VIEWER)
    def choose_id_property(self, project_id: int, cohort_id: int, asked: str | None) -> str:
        """Return the User ID property asked for, or the cohort's own; raise for another one that is not allowed."""
        sync = self._store.syncs.get_sync_of_cohort(project_id, cohort_id)
        own = sync.id_property if sync else ""
        if asked in (None, own):
            return own
        check_level(self.actor, AccessLevel.MARKETER)
        problem = find_id_property_problem(asked or "")
        if problem:
            raise InvalidRequest(problem, "id_property")
        return asked or ""

    @requires(AccessLevel.VIEWER)
    def get_known(self, project_id: int | None, cohort_id: int, id_property: str | None = None) -> Preview | None:
        """Return the last preview when it is not older than ten minutes and by this User ID property; asks nobody.

        None: by the one the cohort has.
        """
        project = self._state.get_project(project_id).id
        wanted = self.choose_id_property(project, cohort_id, None) if id_property is None else id_property
        kept = self._store.connections.get_preview(project, cohort_id)
        found = load_preview(kept) if kept else None
        if found is None or found.id_property != wanted:
            return None
        is_fresh = 0 <= self._state.now() - found.read_at < PREVIEW_FRESH_SECONDS
        return self.add_current_limits(project, found) if is_fresh else None

    def _read_preview(self, project_id: int, cohort: CohortView, id_property: str) -> Preview:
        client = self._state.open_mixpanel(project_id)
        version = self._store.maintenance.get_forget_version()
        self._state.add_audit_line("preview", name_cohort(project_id, cohort.id), once_in=PREVIEW_FRESH_SECONDS)
        with self._state.mixpanel_query(project_id):
            asked_at = self._state.now()
            known = client.read_page(cohort.id, 0, None, all_users=False, properties=(), id_property=id_property)
        everyone = read_with_properties(self._state, client, cohort, all_users=True)
        known = self._mark_never_exported(project_id, cohort.id, known)
        found = replace(_build_preview(cohort, known, everyone, asked_at), id_property=id_property)
        found = self._add_changes(project_id, found, known)
        self._store.connections.save_preview(
            project_id, cohort.id, json.dumps(asdict(found)), found.total, version, self._state.now()
        )
        return self.add_current_limits(project_id, found)

    @requires(AccessLevel.VIEWER)
    def find_never_exported(self, project_id: int, cohort_id: int, members: Iterable[Member]) -> frozenset[str]:
        """Return the User IDs of those who are on the never-export list of the account the cohort goes to, by either ID.

        Who has the User ID of somebody listed by the distinct_id is the same person in WebEngage, and not sent either.
        """
        sync = self._store.syncs.get_sync_of_cohort(project_id, cohort_id)
        account = sync.license_code if sync else self._find_account(self._state.get_project(project_id))[0]
        people = [one for one in members if one.eligibility is Eligibility.IDENTIFIED]
        names = {name for one in people for name in (one.id, one.distinct_id)}
        listed = self._store.safety_lists.find_never_exported(account or "", names)
        return frozenset(one.id for one in people if listed & {one.id, one.distinct_id})

    def _mark_never_exported(self, project_id: int, cohort_id: int, known: Page) -> Page:
        """Return a page on which those on the never-export list of the cohort's account are known as such."""
        ids = self.find_never_exported(project_id, cohort_id, known.members)
        members = tuple(
            replace(one, eligibility=Eligibility.NEVER_EXPORT)
            if one.id in ids and one.eligibility is Eligibility.IDENTIFIED
            else one
            for one in known.members
        )
        return replace(known, members=members)

    def _add_changes(self, project_id: int, found: Preview, known: Page) -> Preview:
        """Add how many people are added and removed, if page 0 is the whole cohort and the snapshot is not too large."""
        sync = self._store.syncs.get_sync_of_cohort(project_id, found.cohort_id)
        if not (sync and found.exact and 0 < self._store.snapshot.count_members(sync.id) <= MAX_COMPARED_MEMBERS):
            return found
        now = {one.id for one in known.members if one.eligibility is Eligibility.IDENTIFIED}
        held = read_held(self._store, sync)
        return replace(found, to_add=len(held.find_added(now)), to_remove=len(held.find_removed(now)))

    @requires(AccessLevel.VIEWER)
    def add_current_limits(self, project_id: int | None, found: Preview, *, sends_values: bool = False) -> Preview:
        """Add what changes quickly: how many people were exported before, and the queries left this hour.

        ``sends_values``: properties are to be mapped, whether or not they were before.
        """
        project_id = self._state.get_project(project_id).id
        sync = self._store.syncs.get_sync_of_cohort(project_id, found.cohort_id)
        before = count_held(self._store, sync)
        last = self._store.runs.get_run(sync.last_run_id) if sync and sync.last_run_id else None
        if last and (last.finished_at is None or last.finished_at > found.read_at):
            found = replace(found, to_add=None, to_remove=None)
        unsure = self._store.snapshot.count_unconfirmed(sync.id) if sync else 0
        found = add_cost_of_changes(
            found,
            before,
            unsure,
            sends_values=sends_values or bool(sync and sync.mapping),
            requests_a_minute=self._state.settings.batches_a_minute,
        )
        return replace(
            found,
            exported_before=before,
            queries_left=self._store.rate_limits.queries_left(project_id, self._state.now()),
        )

    @requires(AccessLevel.VIEWER)
    def propose_export(self, project_id: int | None, cohort_id: int) -> Proposal:
        """Return the terms a cohort would be exported on, before the person changes anything."""
        view = self._state.get_project(project_id)
        # As last read: a dialog that is rendered again, also by Start Sync, must not wait for Mixpanel.
        known = next((one for one in self._store.connections.list_cohorts(view.id) if one.id == cohort_id), None)
        cohort = _require_people(known) if known else self.get_exportable(view.id, cohort_id)
        sync = self._store.syncs.get_sync_of_cohort(view.id, cohort_id)
        if sync:
            request = Request.parse(self._store.open_requests.list_last_asked([sync.id]).get(sync.id))
            sync = request.apply(sync) if request else sync  # what nobody let go ahead yet is not the sync's
            return Proposal(
                attribute=sync.attribute,
                permanent=True,
                mode=sync.mode,
                interval_seconds=sync.interval_seconds or DEFAULT_INTERVAL,
                license_code=sync.license_code,
                account_problem=self._explain_disconnected(sync),
                mapping=sync.mapping,
                daily=sync.daily,
                ends_at=sync.ends_at,
                forms=sync.forms,
                id_property=sync.id_property,
                last_halt=self._store.approvals.find_last_halt(sync.id),
            )
        license_code, problem = self._find_account(view)
        name = suggest_attribute(cohort.name, self._list_taken(license_code))
        return Proposal(
            attribute=name,
            permanent=False,
            mode=Mode.DYNAMIC,
            interval_seconds=DEFAULT_INTERVAL,
            license_code=license_code,
            account_problem=problem,
        )

    def _explain_disconnected(self, sync: Sync) -> str:
        """Return why an exported cohort cannot be exported again, empty when it can."""
        try:
            self._state.require_connections(sync)
        except InvalidRequest as problem:
            return str(problem)
        return ""

    def _find_account(self, project: ProjectView) -> tuple[str | None, str]:
        """Return the license code a project exports to, or None and why there is none."""
        try:
            return self._state.account_of(project), ""
        except InvalidRequest as problem:
            return None, str(problem)

    @requires(AccessLevel.VIEWER)
    def check_attribute(self, project_id: int | None, cohort_id: int, name: str) -> str | None:
        """Return what is wrong with an attribute's name for this cohort, or None."""
        project = self._state.get_project(project_id)
        sync = self._store.syncs.get_sync_of_cohort(project.id, cohort_id)
        if sync and name == sync.attribute:
            return None
        if sync:
            return f"This cohort is exported to “{sync.attribute}”; an attribute is permanent after its first export."
        license_code, _ = self._find_account(project)
        return find_attribute_problem(name, self._list_taken(license_code))

    def _list_taken(self, license_code: str | None) -> frozenset[str]:
        """Return the case-folded attributes of an account that have an owner; none without an account."""
        return self._store.attributes.list_taken(license_code) if license_code else frozenset()


class CohortTopic(Topic):
    """A topic whose requests ask about cohorts, too."""

    def __init__(self, state: ServiceState, *, cohorts: CohortService) -> None:
        super().__init__(state)
        self._cohorts = cohorts


def read_with_properties(state: ServiceState, client: Mixpanel, cohort: CohortView, *, all_users: bool) -> Page:
    """Read page 0 with all properties, whose names are wanted; with few when that is too large to read.

    One query, and two more when it is too large.
    """
    with state.mixpanel_query(client.project_id, patience=QUERY_PATIENCE_SECONDS):
        try:
            return client.read_page(cohort.id, 0, None, all_users=all_users, properties=(), trimmed=False)
        except ReplyTooLarge:
            pass
    with state.mixpanel_query(client.project_id, patience=QUERY_PATIENCE_SECONDS):
        page = client.read_page(cohort.id, 0, None, all_users=all_users, properties=())
    try:
        with state.mixpanel_query(client.project_id):
            return replace(page, properties=client.list_properties())
    except (ApiError, InvalidRequest):
        return page  # the names are typed then


def _describe_odd_rows(rows: int) -> str | None:
    if not rows:
        return None
    return (
        f"{rows:,} {'row' if rows == 1 else 'rows'} of Mixpanel's list cannot be shown: without a number "
        "a cohort cannot be asked for. Look at the project's cohorts in Mixpanel."
    )


def _find_cohort(listed: CohortList, cohort_id: int) -> CohortView:
    """Return a cohort of a list; raise InvalidRequest when it is not in it."""
    for one in listed.cohorts:
        if one.id == cohort_id:
            return one
    if listed.problem:
        raise InvalidRequest(f"The list of cohorts that was last read has no cohort {cohort_id}. {listed.problem}")
    raise InvalidRequest(
        f"Mixpanel does not list a cohort {cohort_id} in this project; "
        "it was deleted, or it must be shared with the project."
    )


def exportable_in(listed: CohortList, cohort_id: int) -> CohortView:
    """Return a cohort of a list that can be exported; raise InvalidRequest when it is not in it, or a group cohort."""
    return _require_people(_find_cohort(listed, cohort_id))


def _require_people(found: CohortView) -> CohortView:
    """Return a cohort of people as it is; raise InvalidRequest for a group cohort."""
    if found.group:
        raise InvalidRequest(
            f"“{found.name}” is a cohort of groups, not of people, so it cannot be exported to WebEngage; "
            "choose a cohort of users."
        )
    return found


def _build_preview(cohort: CohortView, known: Page, everyone: Page, asked_at: float) -> Preview:
    """Return the preview from the first page with and without profiles; exact when they are the whole cohort."""
    with_profile = known.total if known.total is not None else len(known.members)
    total = max(everyone.total if everyone.total is not None else len(everyone.members), with_profile)
    share = with_profile / len(known.members) if known.members else 0.0  # 1.0 when page 0 is everybody
    invalid = round(share * sum(1 for one in known.members if one.eligibility.is_invalid))
    unknown = round(share * sum(1 for one in known.members if one.eligibility.is_anonymous))
    identified = max(0, with_profile - unknown - invalid)
    listed = [one.id for one in known.members if one.eligibility is Eligibility.NEVER_EXPORT]
    whole = known.known_total == len(known.members) and everyone.known_total is not None
    going = [one.id for one in known.members if one.eligibility is Eligibility.IDENTIFIED]
    return Preview(
        cohort_id=cohort.id,
        cohort_name=cohort.name,
        total=total,
        identified=identified,
        anonymous=max(0, total - identified - invalid),
        invalid=invalid,
        exact=whole,
        is_least=None in (known.known_total, everyone.known_total),
        sample=_pick_samples(known.members, everyone.members),
        read_at=asked_at,
        never_exported=round(share * len(set(listed))),
        properties=everyone.properties,
        doubles=len(going) + len(listed) - len({*going, *listed}),
    )


def _pick_samples(known: tuple[Member, ...], everyone: tuple[Member, ...]) -> tuple[Sample, ...]:
    """Return a few members of each kind, their ids only."""
    seen = {one.distinct_id for one in known}
    sent = [one for one in known if one.eligibility is Eligibility.IDENTIFIED]
    not_sent = [one for one in known if one.eligibility is not Eligibility.IDENTIFIED]
    not_sent += [
        one for one in everyone if one.eligibility is not Eligibility.IDENTIFIED and one.distinct_id not in seen
    ]
    return tuple(
        Sample((one.id or one.distinct_id)[:LONG_ID_KEPT], one.eligibility)
        for one in sent[:SAMPLE_SIZE] + not_sent[:SAMPLE_SIZE]
    )


def load_preview(text: str) -> Preview:
    """Return a stored preview."""
    values = json.loads(text)
    values["sample"] = tuple(Sample(one["id"], Eligibility(one["eligibility"])) for one in values["sample"])
    values["properties"] = tuple(values.get("properties", ()))
    return Preview(**values)
