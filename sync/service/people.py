"""Find what happened to one person: in which cohorts, what was sent, when, by which run, rejected why, on which lists."""

from __future__ import annotations

from collections.abc import Iterator

from sync.errors import InvalidRequest
from sync.model import ChangeKind
from sync.permissions import AccessLevel, requires
from sync.records import PersonEntry, SyncView
from sync.reports import Person, PersonSync, Presence
from sync.service.base import Topic
from sync.service.listed_people import list_known_by
from sync.service.safety import require_visible

LOOKED_UP_ONCE_IN = 3600.0  # seconds in which one line of the audit log stands for every look at the same person
ACCEPTED, UNSURE = ("accepted", "membership only"), "unconfirmed"  # outcomes of what WebEngage took, or may have


class PeopleService(Topic):
    """Requests about one person, by user id, letter by letter."""

    @requires(AccessLevel.VIEWER)
    def find(self, user_id: str, project_id: int | None = None) -> Person:
        """Return everything stored about a person, of all projects or of one; asks neither Mixpanel nor WebEngage.

        The audit log says once an hour that the person was looked up, by a fingerprint of the id. Raise InvalidRequest
        for an empty id, and when nothing is stored about one that has an invisible character. One bucket of each snapshot
        is opened, and the kept log of every run is searched.
        """
        if not user_id.strip():
            raise InvalidRequest("Type the User ID of the person, exactly as Mixpanel has it.")
        fingerprint = self._store.connections.compute_fingerprint(user_id)
        self._state.add_audit_line("look up a person", fingerprint, once_in=LOOKED_UP_ONCE_IN)
        with self._store.reading():
            views = {one.id: one for one in self._store.syncs.list_views(project_id)}
            history = tuple(one for one in self._store.people.list_history(user_id) if one.sync_id in views)
            id_hash = self._store.safety_lists.hash_ids([user_id])[0]
            found = Person(
                user_id=user_id,
                syncs=tuple(self._describe_syncs(user_id, id_hash, views, history)),
                history=history,
                lists=tuple(
                    one
                    for one in self._store.people.list_listings(id_hash)
                    if project_id is None or one.project_id in (None, project_id)
                ),
                detail_days=self._store.maintenance.get_retention_days("keep_detail_days"),
                known_by=list_known_by(self._store, views.values()),
            )
        if not found.is_known:
            require_visible(user_id)
        return found

    def _describe_syncs(
        self, user_id: str, id_hash: bytes, views: dict[int, SyncView], history: tuple[PersonEntry, ...]
    ) -> Iterator[PersonSync]:
        """Yield each sync whose snapshot has the person, or whose history names them."""
        standing = self._store.people.list_standing_rejections(user_id)
        for sync in views.values():
            entries = [one for one in history if one.sync_id == sync.id]
            is_confirmed = self._store.snapshot.is_confirmed(sync.id, id_hash)
            if is_confirmed is None and not entries and sync.id not in standing:
                continue
            yield PersonSync(
                sync_id=sync.id,
                project_id=sync.project_id,
                cohort_id=sync.cohort_id,
                cohort_name=sync.cohort_name,
                license_code=sync.license_code,
                attribute=sync.attribute,
                presence=_find_presence(is_confirmed, entries),
                since=next((one.at for one in entries if one.outcome in ACCEPTED), None),
                not_taken=standing.get(sync.id, "") or _find_invalid_reason(entries),
            )


def _find_presence(is_confirmed: bool | None, entries: list[PersonEntry]) -> Presence:
    """Return what WebEngage holds: by a run under way that sent something, else by the snapshot, else by the log."""
    sent = [one for one in entries if one.outcome in ACCEPTED or one.outcome == UNSURE]
    if sent and not sent[0].ended:
        return _presence_after(sent[0])
    if is_confirmed is not None:
        return Presence.SENT_TRUE if is_confirmed else Presence.UNCONFIRMED
    was_removed = bool(sent) and sent[0].operation == ChangeKind.REMOVE
    return Presence.SENT_FALSE if was_removed else Presence.NEVER_SENT


def _presence_after(entry: PersonEntry) -> Presence:
    if entry.outcome == UNSURE:
        return Presence.UNCONFIRMED
    return Presence.SENT_FALSE if entry.operation == ChangeKind.REMOVE else Presence.SENT_TRUE


def _find_invalid_reason(entries: list[PersonEntry]) -> str:
    """Return why the last run that met the person could not send them, empty when it could."""
    return entries[0].reason if entries and entries[0].outcome == "invalid" else ""
