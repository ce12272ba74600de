"""Choose the type of each mapped property, and see how many values fit, are empty or would be dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import streamlit as st

from pages.parts.formatting import escape_markdown, format_count, format_error
from sync.errors import CohortSyncError
from sync.property_values import BY_DATA_TYPE, CHOICES, FIELD_TYPES, Forms, ValueForm, ValueType, list_countries
from sync.service import Service
from sync.value_check import ValueCheck, ValueSample

SAMPLE_KEY = "_value_sample"
READ_AT_ONCE = 20  # properties whose values are read with one query, so that choosing one more costs none
TYPE_LABELS = {
    ValueType.TEXT: "Text",
    ValueType.NUMBER: "Number",
    ValueType.YES_NO: "Yes/no",
    ValueType.DATE: "Date",
    ValueType.PHONE: "Phone",
    ValueType.EMAIL: "E-mail",
    ValueType.GENDER: "Gender",
}
TYPE_HELP = "Fixed by the first export: WebEngage then silently drops values of another type."
FIXED_HELP = "Fixed in WebEngage."
COUNTRY_LABEL = "Phone numbers without a country code are from"
NO_COUNTRY = ""
NONE_SENT = "nobody has one, or Mixpanel withholds it as classified"
Pairs = tuple[tuple[str, str], ...]


def forget_sample() -> None:
    """Forget the values that were read for the dialog."""
    st.session_state.pop(SAMPLE_KEY, None)


def choose_types(
    service: Service, project_id: int, cohort_id: int, mapping: Pairs, seen: Iterable[str], id_property: str
) -> Forms:
    """Show the type of each mapped property beside what becomes of its values; return the chosen forms.

    ``id_property`` is the User ID: the values are those of the members who have one.
    """
    if not mapping:
        return ()
    sample = _read_sample(service, project_id, cohort_id, mapping, seen, id_property)
    if sample is None:
        return ()  # what nothing is known about stays as it was, or is decided by what is sent first
    proposed = service.properties.check(project_id, cohort_id, mapping, (), sample)
    slots = [st.container(gap=None) for _ in proposed]
    forms = [_choose_form(cohort_id, one, slot) for one, slot in zip(proposed, slots, strict=True)]
    if any(form.type is ValueType.PHONE for form in forms):
        country = _choose_country(cohort_id, forms)
        forms = [replace(form, country=country) if form.type is ValueType.PHONE else form for form in forms]
    chosen = tuple((target, form.dump()) for (_, target), form in zip(mapping, forms, strict=True))
    checks = service.properties.check(project_id, cohort_id, mapping, chosen, sample)
    for one, slot in zip(checks, slots, strict=True):
        slot.caption(_describe_check(one, sample))
    return chosen


def _read_sample(
    service: Service, project_id: int, cohort_id: int, mapping: Pairs, seen: Iterable[str], id_property: str
) -> ValueSample | None:
    """Return the values read before when they are of these properties, else read them; None when that failed."""
    wanted = [source for source, _ in mapping]
    asked, sample, problem = st.session_state.get(SAMPLE_KEY) or (None, None, "")
    known = asked is not None and asked[0] == (project_id, cohort_id, id_property) and set(wanted) <= set(asked[1])
    if not known:
        sources = tuple(dict.fromkeys([*wanted, *list(seen)[:READ_AT_ONCE]]))
        sample, problem = None, ""
        try:
            with st.spinner("Reading their values from Mixpanel…", show_time=True):
                sample = service.properties.read_sample(project_id, cohort_id, sources, id_property)
        except CohortSyncError as error:
            problem = format_error(error)
        st.session_state[SAMPLE_KEY] = ((project_id, cohort_id, id_property), sources), sample, problem
    if problem:
        st.warning(problem)
    return sample


def _choose_form(cohort_id: int, check: ValueCheck, slot: st.delta_generator.DeltaGenerator) -> ValueForm:
    options = _list_types(check)
    with slot, st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{escape_markdown(check.source)} → **{escape_markdown(check.target)}**", width="stretch")
        joined = (
            check.form.type is ValueType.TEXT
            and check.has_lists
            and st.checkbox(
                "Lists as text",
                value=check.form.joined,
                key=f"export-joined-{cohort_id}-{check.target}",
                width="content",
            )
        )
        kind = st.selectbox(
            f"Type of {check.target}",
            options,
            index=options.index(check.form.type),
            key=f"export-type-{cohort_id}-{check.target}",
            format_func=TYPE_LABELS.__getitem__,
            disabled=len(options) == 1,
            help=FIXED_HELP if len(options) == 1 else TYPE_HELP,
            label_visibility="collapsed",
            width=130,
        )
    return ValueForm(kind, joined=bool(joined) and kind is ValueType.TEXT, country=check.form.country)


def _list_types(check: ValueCheck) -> list[ValueType]:
    """Return the types an attribute can still have."""
    if check.target in FIELD_TYPES:
        return [FIELD_TYPES[check.target]]
    fixed = BY_DATA_TYPE[check.fixed].data_type if check.fixed else None
    return [one for one in CHOICES if fixed in (None, one.data_type)]


def _choose_country(cohort_id: int, forms: Iterable[ValueForm]) -> str:
    before = next((form.country for form in forms if form.country), NO_COUNTRY)
    codes = {NO_COUNTRY: 0} | dict(list_countries())
    return st.selectbox(
        COUNTRY_LABEL,
        list(codes),
        index=list(codes).index(before) if before in codes else 0,
        key=f"export-country-{cohort_id}",
        format_func=lambda code: f"{code} (+{codes[code]})" if code else "No country: such numbers are dropped",
    )


def _describe_check(one: ValueCheck, sample: ValueSample) -> str:
    """Return what becomes of a property's values, in one line."""
    of = "" if sample.is_complete else f"Of the first {format_count(len(sample.rows))}: "
    parts = [f"{format_count(one.fits)} fit", f"{format_count(one.empty)} empty"]
    if one.dropped:
        reasons = "; ".join(f"{reason.reason}: {', '.join(reason.examples)}" for reason in one.left_out)
        parts.append(f"**{format_count(one.dropped)} would be dropped** ({escape_markdown(reasons)})")
    if not one.fits and not one.dropped:
        parts.append(NONE_SENT)
    return of + " · ".join(parts)
