"""Judge whether what was read is known to be the whole cohort: only then may somebody leave after one reading."""

from __future__ import annotations

from sync.store.export_requests import Request
from sync.store.staged import Tally


def find_reading_problem(tally: Tally, members: int, repeated: int) -> str | None:
    """Return why a reading is not known to be the whole cohort, or None.

    ``members``: how many different members who are exported were listed; ``repeated``: how many rows of somebody who is
    not exported list them once more, or list somebody who is exported, too.
    """
    distinct = members + tally.others - repeated
    total = None if tally.says_nothing else tally.total
    if tally.last_full and tally.full_then_empty:
        return f"Mixpanel refused the page after {tally.rows:,} members"
    if tally.last_full:
        return f"Mixpanel gave no session to read on in after {tally.rows:,} members"
    if total is None and tally.has_gap:
        return f"Mixpanel said no total, and sent fewer members on a page than on one after it ({tally.rows:,} in all)"
    if total is not None and tally.rows != total:
        return f"Mixpanel announced {total:,} members and sent {tally.rows:,}"
    if total is not None and distinct != total:
        return f"Mixpanel announced {total:,} members and listed {distinct:,} different people"
    return None


def explain_unproven(tally: Tally, problem: str | None, repeated: int | None) -> str | None:
    """Return why one reading does not prove who left, or None; ``repeated`` None: not known for the others."""
    if problem:
        return problem
    if tally.says_nothing:
        return "Mixpanel did not say how many members there are"
    if repeated is None and tally.others:
        return "it is not known whether somebody who is not exported was listed twice"
    if tally.unnamed > 1:
        return "it is not known whether a row without a readable id was listed twice"
    return None


def may_lack_people(tally: Tally, request: Request | None, changes: int) -> bool:
    """Return whether a reading without a total is to be read again although nobody leaves.

    It was cut off behind a full page, or has fewer rows than the preview that the export was started from.
    """
    previewed = request.previewed or 0 if request else 0
    return tally.says_nothing and (tally.rows < previewed or (tally.full_then_empty and changes > 0))
