"""Open the clients of both sides for a run, and ask Mixpanel what a reading cannot say."""

from __future__ import annotations

from sync.engine.lease import RunLease
from sync.engine.retry import Postpone
from sync.errors import ConfigurationError, KeyUnavailable, NoAnswer
from sync.mixpanel.client import Mixpanel
from sync.model import Account, Project, Sync
from sync.webengage import WebEngage


def open_mixpanel(lease: RunLease, sync: Sync) -> Mixpanel:
    """Return a client of a sync's project; raise ConfigurationError when it is not connected."""
    project = lease.store.connections.open_project(sync.project_id, lease.open_text)
    if project is None:
        raise ConfigurationError(f"Mixpanel project {sync.project_id} is not connected; connect it under Integrations.")
    lease.connections.append(project)
    return Mixpanel(project, page_size=lease.context.page_size)


def open_webengage(lease: RunLease, sync: Sync) -> WebEngage:
    """Return a client of a sync's account; raise ConfigurationError when it is not connected."""
    account = lease.store.connections.open_account(sync.license_code, lease.open_text)
    if account is None:
        raise ConfigurationError(
            f"WebEngage account {sync.license_code} is not connected; connect it under Integrations."
        )
    lease.connections.append(account)
    return WebEngage(account)


def is_connection_replaced(lease: RunLease) -> bool:
    """Return whether somebody connected another secret since a run opened its clients: what was refused is the former one."""
    try:
        return any(_find_current(lease, used) not in (None, used) for used in lease.connections)
    except KeyUnavailable:  # sealed with a key that this claim does not have, as its own was not
        return True


def _find_current(lease: RunLease, used: Project | Account) -> Project | Account | None:
    if isinstance(used, Project):
        return lease.store.connections.open_project(used.id, lease.open_text)
    return lease.store.connections.open_account(used.license_code, lease.open_text)


def check_still_listed(lease: RunLease, sync: Sync, mixpanel: Mixpanel) -> None:
    """When nobody was read, make sure the cohort exists: Mixpanel may answer for a deleted one as for an empty one.

    Raise ConfigurationError when it is gone; Postpone when no query is free.
    """
    limits, now = lease.store.rate_limits, lease.now()
    slot = limits.acquire_query(sync.project_id, now, later_page=False, sync_id=sync.id)
    if slot.id is None:
        raise Postpone(
            max(slot.wait, 1.0),
            "nobody was read, and whether the cohort still exists cannot be asked yet",
            failed=False,
        )
    try:
        listed = {one.id for one in mixpanel.list_cohorts()[0]}
    except NoAnswer:
        limits.abandon_query(slot)
        raise
    except BaseException:
        limits.release_query(slot, lease.now())
        raise
    limits.release_query(slot, lease.now())
    if sync.cohort_id not in listed:
        raise ConfigurationError(
            f"Cohort “{sync.cohort_name}” ({sync.cohort_id}) is gone from Mixpanel, or no longer shared with "
            "the project; nobody was removed. Share it again, or stop this sync."
        )
