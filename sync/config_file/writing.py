"""Writes a configuration file."""

from __future__ import annotations

import yaml

from sync.cadence import EVERY_DAY, format_end, format_moment, shorten_days
from sync.config_file.entries import VERSION, Configuration, ProjectEntry, SyncEntry
from sync.id_property import show_id_property
from sync.model import write_interval

MAX_WIDTH = 10_000  # characters of a line; long values are not broken
HEADER = """# What Cohort Sync exports, as code: `python -m sync apply FILE` shows what would change, `--yes` changes it.
# Secrets are not in here. What a file does not name is left as it is.
"""


def write_configuration(found: Configuration, comments: tuple[str, ...] = ()) -> str:
    """Return a file that says this, with comments at its end; reading it gives the same configuration."""
    document: dict[str, object] = {
        "version": VERSION,
        "accounts": [{"license_code": one.license_code, "data_center": one.data_center} for one in found.accounts],
        "projects": [_write_project(one) for one in found.projects],
        "syncs": [_write_sync(one) for one in found.syncs],
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=MAX_WIDTH)
    return HEADER + text + "".join(f"# {comment}\n" for comment in comments)


def _write_project(entry: ProjectEntry) -> dict[str, object]:
    return _drop_unset(
        {
            "id": entry.id,
            "name": entry.name,
            "username": entry.username,
            "region": entry.region,
            "account": entry.account,
        }
    )


def _write_sync(entry: SyncEntry) -> dict[str, object]:
    values: dict[str, object] = {
        "project": entry.project,
        "cohort": entry.cohort,
        "name": entry.name,
        "account": entry.license_code,
        "attribute": entry.attribute,
        "mode": entry.mode.value,
        "every": None if entry.interval is None or entry.daily else write_interval(entry.interval),
        **_write_daily(entry),
        "state": entry.state.value if entry.state else None,
        "paused_until": None if entry.resume_at is None else format_moment(entry.resume_at, _find_zone(entry)),
        "user_id_property": None if entry.id_property is None else show_id_property(entry.id_property),
        "mapping": [
            _drop_unset({"property": source, "attribute": target, "type": dict(entry.forms).get(target)})
            for source, target in entry.mapping or ()
        ],
        "guard": {"lifted": bool(entry.guard.lifted), **entry.guard.limits},
    }
    return _drop_unset(values)


def _write_daily(entry: SyncEntry) -> dict[str, object]:
    daily, zone = entry.daily, _find_zone(entry)
    until = None if entry.ends_at is None else format_end(entry.ends_at, zone)
    if daily is None:
        return {"until": until}
    days = None if daily.days == EVERY_DAY else shorten_days(daily.days)
    return {"at": daily.at, "zone": zone, "days": days, "until": until}


def _find_zone(entry: SyncEntry) -> str:
    """Return the zone in which the times of a sync are read."""
    return entry.daily.zone if entry.daily else "UTC"


def _drop_unset(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
