"""Administration: backup, restore, keys, retention, forgetting a person, the audit log."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sync.errors import InvalidRequest
from sync.guards import MAX_PEOPLE
from sync.permissions import AccessLevel, Actor, requires
from sync.records import AuditLine, RestoreReport
from sync.service.base import Topic
from sync.service.listed_people import list_known_by, list_true
from sync.service.safety import require_visible
from sync.text import count_noun, count_people
from sync.vault import add_key, drop_former_keys, has_key
from sync.views import ForgetResult


class AdminService(Topic):
    """Requests of administrators."""

    @requires(AccessLevel.ADMIN)
    def write_backup(self, file: Path) -> None:
        """Copy the database to a new file while everything runs; the key is not in it.

        Raise InvalidRequest when the file exists or cannot be written. Killed half-way, no such file exists.
        """
        self._store.maintenance.write_backup(file)
        self._state.add_audit_line("backup", file.name)

    @requires(AccessLevel.VIEWER)
    def get_approval_limit(self) -> int | None:
        """Return above how many people an export needs another person's approval; None: never."""
        return self._store.approvals.get_limit()

    @requires(AccessLevel.ADMIN)
    def set_approval_limit(self, people: int | None) -> None:
        """Set above how many people an export needs another person's approval; None: never."""
        if people is not None and not 0 <= people <= MAX_PEOPLE:
            raise InvalidRequest(f"A number of people lies between 0 and {MAX_PEOPLE:,}.")
        with self._store.transaction():
            before = self._store.approvals.get_limit()
            if people != before:
                self._store.approvals.set_limit(people)
                self._state.add_audit_line("second person", "", _name_limit(before), _name_limit(people))

    @requires(AccessLevel.ADMIN)
    def restore(self, file: Path) -> RestoreReport:
        """Replace the content by a backup, return what was kept and paused; raise InvalidRequest while a runner works.

        Every dynamic sync then sends all its members again at its next run, and false to those whom the former content
        had as true. Cohorts that were first exported after the backup are kept, paused; so is, paused, what was not
        refreshed any more, or sent other properties or User IDs. Killed half-way, the former content is there.
        """
        self._require_no_runner()
        describe = partial(describe_restore, file, self._state.actor, self._state.now())
        report = self._store.restore(file, self._require_no_runner, describe)
        self._store.close()  # opened again, a backup of an earlier version gets the current schema
        self._state.store = type(self._store).open(self._state.settings.data_folder)
        return report

    def _require_no_runner(self) -> None:
        if self._store.runners.can_any_write(self._state.now()):
            raise InvalidRequest("A runner is working, or may be; stop it, then restore.")

    @requires(AccessLevel.ADMIN)
    def rotate_key(self) -> bool:
        """Seal all stored secrets with the newest key; return whether former keys are no longer needed.

        With COHORT_SYNC_KEY the newest is its first; otherwise a new one is written to secret.key. Raise
        InvalidRequest while a runner works that was started without the newest key. Killed anywhere, the former
        keys still open what was not sealed with the newest. Rotations wait for one another.
        """
        folder, in_file = self._state.settings.data_folder, not self._state.settings.keys
        if in_file and not has_key(folder) and not self._store.maintenance.list_secrets():
            raise InvalidRequest("No secret is stored yet, and there is no key: the first secret makes one.")
        self._state.open_vault()  # raises for a missing key before a new one is made
        with self._store.transaction():
            if in_file:
                add_key(folder)
            else:
                self._require_runners_with_newest_key()
            self._store.maintenance.reseal_secrets(self._state.open_vault().reseal_text)
            self._state.add_audit_line("rotate key")
        return self.drop_former_keys()

    def _require_runners_with_newest_key(self) -> None:
        """Raise InvalidRequest while a runner works without the newest key: after the rotation it would pause every sync."""
        if not self._state.is_key_known_to_runners():
            raise InvalidRequest(
                "A working runner does not have the new key; restart the runner and the pages with the same "
                "COHORT_SYNC_KEY (NEW,OLD), then rotate. Nothing was changed."
            )

    @requires(AccessLevel.ADMIN)
    def drop_former_keys(self) -> bool:
        """Drop the former keys of secret.key when nothing needs them; return whether nothing does.

        Runs under way may have values sealed with a former key. Another rotation may have added a key that
        nothing is sealed with yet.
        """
        with self._store.transaction():
            newest = self._state.open_vault().restrict_to_newest()
            if self._store.runs.count_unfinished() or not all(
                map(newest.can_open, self._store.maintenance.list_secrets())
            ):
                return False
            if not self._state.settings.keys:
                drop_former_keys(self._state.settings.data_folder)
        return True

    @requires(AccessLevel.ADMIN)
    def forget_person(self, user_id: str) -> ForgetResult:
        """Delete a person from everything stored here, by id; Mixpanel and WebEngage keep what they have.

        Each place is a short transaction, so that runs and pages continue meanwhile. Killed anywhere, what was
        deleted stays deleted, the audit log shows that it was begun, and repeating it deletes the rest. On a
        never-export list or tripwire the person stays, by the hash alone: being forgotten must not export them again.
        Raise InvalidRequest for an empty id, which is nobody's and would empty every preview, and when nothing is stored
        about one that has an invisible character.
        """
        if not user_id.strip():
            raise InvalidRequest("Name the User ID of the person, exactly as Mixpanel has it.")
        begun, who = self._state.now(), self._store.connections.compute_fingerprint(user_id)
        self._state.add_audit_line("forget a person", who, after="begun")
        id_hash, syncs = self._store.safety_lists.hash_ids([user_id])[0], self._store.syncs.list_views()
        stay_true = list_true(self._store, syncs, id_hash)
        kept = self._store.safety_lists.forget(id_hash)
        places = self._store.maintenance.forget_person(user_id, self._store.connections.get_salt())
        self._state.add_audit_line("forget a person", who, after=count_noun(places, "place"))
        self._store.maintenance.shrink_file()
        if not places and not kept:
            require_visible(user_id)
        return ForgetResult(
            places=places,
            runs_under_way=self._store.runs.unfinished_since(begun),
            kept_on_lists=kept,
            known_by=list_known_by(self._store, syncs),
            stay_true=stay_true,
        )

    @requires(AccessLevel.ADMIN)
    def purge_expired(self) -> int:
        """Delete what is older than its retention, and drafts of killed restores; return how many rows."""
        self._store.remove_stale_drafts()
        gone = self._store.maintenance.purge_expired(self._state.now())
        if gone:
            self._state.add_audit_line("purge", after=count_noun(gone, "row"))
        return gone

    @requires(AccessLevel.ADMIN)
    def get_retention(self) -> tuple[float, float]:
        """Return how many days rejections are kept, and run details."""
        read = self._store.maintenance.get_retention_days
        return read("keep_rejections_days"), read("keep_detail_days")

    @requires(AccessLevel.ADMIN)
    def set_retention(self, rejections: float | None = None, detail: float | None = None) -> tuple[float, float]:
        """Set the days rejections and run details are kept, where given; return both."""
        with self._store.transaction():
            for name, days in (("keep_rejections_days", rejections), ("keep_detail_days", detail)):
                before = self._store.maintenance.get_retention_days(name)
                if days is not None and days != before:
                    self._store.maintenance.set_retention_days(name, days)
                    self._state.add_audit_line("retention", name, f"{before:g} days", f"{days:g} days")
        return self.get_retention()

    @requires(AccessLevel.ADMIN)
    def list_audit(self, limit: int = 1000, search: str = "") -> tuple[AuditLine, ...]:
        """Return the lines of the audit log that contain a text, capitals or not, newest first."""
        return self._store.events.list_audit(limit, search)

    @requires(AccessLevel.ADMIN)
    def count_audit(self, search: str = "") -> int:
        """Return how many lines of the audit log contain a text, capitals or not."""
        return self._store.events.count_audit(search)


def describe_restore(file: Path, actor: Actor, at: float, report: RestoreReport) -> AuditLine:
    """Return the line of the audit log about a restore."""
    after = f"paused: {', '.join(report.paused)}" if report.paused else ""
    if report.set_aside:
        after = f"the former file is kept as {report.set_aside[0]}"
    return AuditLine(at, actor.name, "restore", file.name, before="", after=after, run_id=None)


def _name_limit(people: int | None) -> str:
    return "off" if people is None else f"above {count_people(people)}"
