"""Parse Mixpanel's list of cohorts ("Cohorts: list" of its reference); an odd row is left out and counted."""

from __future__ import annotations

from sync.errors import RetryLater, UnexpectedResponse
from sync.http_client import Reply, describe_problem
from sync.mixpanel.identity import ODD_SHOWN
from sync.mixpanel.parsing import parse_leniently
from sync.model import Cohort


def parse_cohorts(reply: Reply) -> tuple[tuple[Cohort, ...], int]:
    """Return the cohorts of a list, and how many rows are left out because they have no number to ask for them by."""
    try:
        rows = parse_leniently(reply.body)
    except (ValueError, RecursionError):
        raise RetryLater(
            f"Mixpanel was asked for its list of cohorts, but the answer ({reply.status}) is not JSON: "
            f"{describe_problem(reply)}."
        ) from None
    if not isinstance(rows, list):
        raise UnexpectedResponse(
            f"Mixpanel was asked for its list of cohorts and sent something else ({describe_problem(reply)})."
        )
    found = [cohort for row in rows if (cohort := _parse_cohort(row))]
    return tuple(found), len(rows) - len(found)


def _parse_cohort(row: object) -> Cohort | None:
    number = _cohort_number(row.get("id")) if isinstance(row, dict) else None
    if not isinstance(row, dict) or number is None:
        return None
    name, about, created = (_clean_line(row.get(key)) for key in ("name", "description", "created"))
    count = row.get("count")
    return Cohort(
        number,
        name or f"Cohort {number}",
        about,
        count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None,
        created,
        group=row.get("data_group_id") not in (None, "", 0, "0"),
    )


def _cohort_number(given: object) -> int | None:
    """Return a cohort's number, which some clients see as text; None for what is no whole number of 64 bits."""
    if isinstance(given, str) and given.strip().isascii() and given.strip().isdecimal():
        given = int(given) if len(given) <= ODD_SHOWN else None
    whole = given if isinstance(given, int) and not isinstance(given, bool) else None
    return whole if whole is not None and -(2**63) <= whole < 2**63 else None


def _clean_line(given: object) -> str:
    """Return a text with a mark in the place of each half character."""
    return given.encode("utf-16", "replace").decode("utf-16") if isinstance(given, str) else ""
