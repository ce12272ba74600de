"""Find the form in which a run writes each mapped attribute, count what does not fit, and fix the data types."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from sync.engine.lease import RunLease
from sync.errors import ConfigurationError
from sync.model import Sync
from sync.property_values import (
    BY_DATA_TYPE,
    FIELD_TYPES,
    LOOKS_LIKE_DATE,
    ValueForm,
    convert_value,
    data_type_of,
    find_form_problem,
    parse_forms,
)
from sync.store import Store

STRING, DATE = "string", "date"


class ValueTally:
    """Counts the mapped values of a plan: by data type, and those that are left out, by property and reason."""

    def __init__(self, mapping: tuple[tuple[str, str], ...], forms: Mapping[str, ValueForm]) -> None:
        """Count values of this mapping, written in these forms; an attribute without one has no data type yet."""
        self._mapping, self._forms = mapping, forms
        self._types: dict[str, Counter[str]] = defaultdict(Counter)
        self.left_out: Counter[tuple[str, str]] = Counter()

    def add(self, values: Sequence[object]) -> None:
        """Count one person's values."""
        for (source, target), value in zip(self._mapping, values, strict=False):
            kept, reason = convert_value(target, value, self._forms.get(target))
            if reason:
                self.left_out[source, reason] += 1
            elif kept is not None:
                self._types[target][data_type_of(kept)] += 1

    def decide(self) -> dict[str, str]:
        """Return the data type of each attribute somebody has a value for; values of several types are sent as text."""
        found = {}
        for source, target in self._mapping:
            types = self._types[target]
            if not types or target in FIELD_TYPES:
                continue
            found[target] = next(iter(types)) if len(types) == 1 else STRING
            if len(types) > 1 and types[DATE]:
                self.left_out[source, LOOKS_LIKE_DATE] += types[DATE]
        return found


def list_forms(store: Store, sync: Sync) -> dict[str, ValueForm]:
    """Return the form of each mapped attribute: as a person chose, else by the data type it has in WebEngage.

    Raise ConfigurationError when WebEngage would drop every value of an attribute for its type.
    """
    chosen, fixed = parse_forms(sync.forms), store.attributes.read_data_types(sync.license_code) if sync.mapping else {}
    for target, form in chosen.items():
        problem = find_form_problem(target, form, fixed.get(target))
        if problem:
            raise ConfigurationError(problem)
    by_type = {target: ValueForm(BY_DATA_TYPE[fixed[target]]) for _, target in sync.mapping if target in fixed}
    return by_type | chosen


def fix_forms(lease: RunLease, sync: Sync) -> dict[str, ValueForm]:
    """Note the data types this run is about to fix in WebEngage; return the form of each mapped attribute.

    Killed before the first request: the types are noted all the same, since a request may have left.
    """
    if not sync.mapping:
        return {}
    with lease.store.transaction():
        lease.renew()
        lease.store.attributes.fix_data_types(sync.license_code, lease.run.id)
    return list_forms(lease.store, sync)
