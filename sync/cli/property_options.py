"""The options that name profile properties, their types and the country of national phone numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import click

from sync.attribute_names import parse_mapping
from sync.cli.output import gather_options
from sync.errors import InvalidRequest
from sync.id_property import parse_id_property
from sync.property_values import Forms, ValueForm, ValueType, parse_forms, split_type
from sync.service import Service
from sync.value_check import ValueCheck

Mapping = tuple[tuple[str, str], ...]
Named = tuple[tuple[tuple[str, str], ValueForm | None], ...]
"""Pairs of property and attribute, each with the form that was named, if one was."""


def _parse_named(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> Named:
    try:
        return tuple((parse_mapping(rest), form) for rest, form in map(split_type, texts))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@dataclass(frozen=True, slots=True)
class PropertyOptions:
    """Hold the profile properties that a command names, and the country of phone numbers written without one."""

    named: Named
    country: str | None


property_options = gather_options(
    "properties",
    PropertyOptions,
    click.option(
        "--map",
        "named",
        multiple=True,
        metavar="PROPERTY[=ATTRIBUTE][:TYPE]",
        callback=_parse_named,
        help="Export a profile property too, such as '$email', 'plan=Plan' or 'age=Age:number'; may be given several "
        "times. Types: text, number, yes/no, date, phone, e-mail, list (joined as text).",
    ),
    click.option("--country", metavar="CODE", help="The country of phone numbers written without one, such as DE."),
)


def _parse_id_property(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    return None if name is None else parse_id_property(name)


id_property_option = click.option(
    "--user-id-property",
    "id_property",
    metavar="PROPERTY",
    callback=_parse_id_property,
    help="The profile property that is the WebEngage User ID; '$distinct_id' is the default. Not named: as in the last export.",
)
unmap_option = click.option(
    "--unmap",
    multiple=True,
    metavar="PROPERTY",
    help="Stop exporting a profile property; may be given several times.",
)


def resolve_mapping(
    service: Service, project: int | None, cohort_id: int, options: PropertyOptions, unmap: tuple[str, ...] = ()
) -> tuple[Mapping | None, Forms]:
    """Return the mapping that was asked for, None when it stays as it is, and the forms that were asked for.

    Raise InvalidRequest for a property that is not mapped, and for a country without a phone number.
    """
    country = options.country
    mapping: Mapping | None = tuple(pair for pair, _ in options.named) or None
    before = service.cohorts.propose_export(project, cohort_id) if unmap or country else None
    if mapping is None and before:
        mapping = before.mapping
    if unmap:
        mapping = _without(mapping or (), unmap)
    forms = {target: form for (_, target), form in options.named if form}
    if country is not None:
        known = (parse_forms(before.forms) if before else {}) | forms
        forms |= _add_country(mapping or (), known, country.strip().upper())
    return mapping, tuple((target, form.dump()) for target, form in forms.items())


def _without(mapping: Mapping, unmap: tuple[str, ...]) -> Mapping:
    """Return a mapping without these properties; InvalidRequest when one of them is not in it."""
    unknown = [name for name in unmap if name not in [source for source, _ in mapping]]
    if unknown:
        raise InvalidRequest(f"“{unknown[0]}” is not exported, so there is nothing to unmap.")
    return tuple(pair for pair in mapping if pair[0] not in unmap)


def _add_country(mapping: Mapping, forms: dict[str, ValueForm], country: str) -> dict[str, ValueForm]:
    """Return the forms of the phone numbers of a mapping, with this country."""
    phone = ValueForm(ValueType.PHONE)
    named = {target: forms.get(target, phone if target == "phone" else None) for _, target in mapping}
    phones = {target: form for target, form in named.items() if form and form.type is ValueType.PHONE}
    if not phones:
        raise InvalidRequest(
            "No mapped property is a phone number, so --country has nothing to do; "
            "add a type, such as --map 'mobile=Mobile:phone'."
        )
    return {target: replace(form, country=country) for target, form in phones.items()}


def check_values(
    service: Service, project: int | None, cohort_id: int, options: PropertyOptions, id_property: str | None
) -> tuple[ValueCheck, ...]:
    """Return what becomes of the values of these properties; one query, and none without any."""
    if not options.named:
        if options.country is not None:
            raise click.UsageError("--country belongs to --map.")
        return ()
    mapping, forms = resolve_mapping(service, project, cohort_id, options)
    sample = service.properties.read_sample(project, cohort_id, (source for source, _ in mapping or ()), id_property)
    return service.properties.check(project, cohort_id, mapping or (), forms, sample)


def list_check_lines(checks: Iterable[ValueCheck]) -> Iterator[str]:
    """Yield a line for each property: how many values fit, are empty or would be dropped; then one for each reason."""
    for one in checks:
        counts = f"{one.fits:,} fit, {one.empty:,} empty, {one.dropped:,} would be dropped."
        yield f"{one.source} → {one.target} ({one.form.dump().replace(',', ', ')}): {counts}"
        for reason in one.left_out:
            yield f"  {reason.people:,} × {reason.reason}, for instance {'; '.join(reason.examples)}"


def check_json(one: ValueCheck) -> dict[str, object]:
    """Return a check as scripts read it."""
    return {
        "property": one.source,
        "attribute": one.target,
        "type": one.form.type.value,
        "joined": one.form.joined,
        "country": one.form.country or None,
        "fixed": one.fixed is not None,
        "fits": one.fits,
        "empty": one.empty,
        "dropped": one.dropped,
        "reasons": [
            {"reason": each.reason, "people": each.people, "examples": list(each.examples)} for each in one.left_out
        ],
    }
