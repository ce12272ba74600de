"""Requests about mapped properties: what their values are, which type they get, and what would be dropped."""

from __future__ import annotations

from collections.abc import Iterable

from sync.model import Eligibility
from sync.permissions import AccessLevel, requires
from sync.property_values import Forms, parse_forms
from sync.service.base import name_cohort
from sync.service.cohorts import PREVIEW_FRESH_SECONDS, QUERY_PATIENCE_SECONDS, CohortTopic
from sync.service.members import mask_value
from sync.value_check import ValueCheck, ValueSample, check_property, choose_form


class PropertyService(CohortTopic):
    """Profile properties that are sent besides membership."""

    @requires(AccessLevel.MARKETER)
    def read_sample(
        self, project_id: int | None, cohort_id: int, sources: Iterable[str], id_property: str | None = None
    ) -> ValueSample:
        """Return the values of these properties on the first page of a cohort's identified members; one query.

        They are nowhere stored. ``id_property`` is the User ID, None for the one the cohort has.
        """
        project = self._state.get_project(project_id).id
        cohort = self._cohorts.get_exportable(project, cohort_id)
        names = tuple(dict.fromkeys(sources))
        wanted = self._cohorts.choose_id_property(project, cohort_id, id_property)
        self._state.add_audit_line("check values", name_cohort(project, cohort_id), once_in=PREVIEW_FRESH_SECONDS)
        client = self._state.open_mixpanel(project)
        with self._state.mixpanel_query(project, patience=QUERY_PATIENCE_SECONDS):
            page = client.read_page(cohort.id, 0, None, all_users=False, properties=names, id_property=wanted)
        rows = tuple(one.values for one in page.members if one.eligibility is Eligibility.IDENTIFIED)
        total = page.total if page.total is not None else len(page.members)
        return ValueSample(names, rows, is_complete=len(page.members) >= total)

    @requires(AccessLevel.VIEWER)
    def check(
        self,
        project_id: int | None,
        cohort_id: int,
        mapping: Iterable[tuple[str, str]],
        forms: Forms,
        sample: ValueSample | None,
    ) -> tuple[ValueCheck, ...]:
        """Return what becomes of each mapped property; asks nobody.

        ``forms``: what the person chose; the others are as before, or proposed from the sample.
        """
        account = self._cohorts.propose_export(project_id, cohort_id).license_code or ""
        registered = parse_forms(self._store.attributes.read_forms(account).items())
        fixed, chosen = self._store.attributes.read_data_types(account), parse_forms(forms)
        found = []
        for source, target in mapping:
            values = sample.column(source) if sample else []
            form = choose_form(target, values, chosen.get(target), registered.get(target), fixed.get(target))
            found.append(check_property(source, target, values, form, fixed.get(target), mask_value))
        return tuple(found)
