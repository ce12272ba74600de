"""Keep the data itself: backup, restore, keys, retention, forgetting a person, the audit."""

from __future__ import annotations

from pathlib import Path

from sync.errors import InvalidRequest
from sync.permissions import AccessLevel, requires
from sync.service.base import ServiceBase, get_data_folder
from sync.vault import KEY_VARIABLE, add_key, drop_former_keys, key_ids
from sync.views import AuditLine, ForgetResult


class AdminService(ServiceBase):
    """What the people who run Cohort Sync ask for."""

    @requires(AccessLevel.ADMIN)
    def write_backup(self, file: Path) -> None:
        """Copy the database to a new file while everything goes on; the key is not in it."""
        self._store.maintenance.write_backup(file)
        self._add_audit_line("backup", file.name)

    @requires(AccessLevel.ADMIN)
    def restore_open_database(self, file: Path) -> None:
        """Go back to a backup; Refused while a runner works.

        Every dynamic sync then tells all its members anew at its next run. People who entered and
        left after the backup was made are in no list any more: clear and export such a cohort anew.
        """
        if self._store.runners.can_any_write(self._now()):
            raise InvalidRequest("A runner is working, or may still be; stop it, then restore.")
        self._store.restore(file)
        self._reopen_store()
        self._add_audit_line("restore", file.name)

    @requires(AccessLevel.ADMIN)
    def note_restore(self, file: Path, set_aside: tuple[str, ...]) -> None:
        """Add a restore in the place of an unusable database to the audit, which begins again with the backup."""
        self._add_audit_line(
            "restore", file.name, after=f"the former file is kept as {set_aside[0]}" if set_aside else ""
        )

    def _reopen_store(self) -> None:
        """Open the file anew, so that a backup of an earlier version gets today's schema."""
        folder = get_data_folder(self._env)
        self._store.close()
        self._store = type(self._store).open(folder)

    @requires(AccessLevel.ADMIN)
    def rotate_key(self) -> bool:
        """Seal all stored secrets with the newest key; tell whether former keys are needed no longer.

        With COHORT_SYNC_KEY the newest is its first; otherwise a new one is put into secret.key. Refused while
        a runner works that was started without the newest key. Killed anywhere: the former keys still open
        what was not sealed with the newest. Rotations wait for one another.
        """
        folder = get_data_folder(self._env)
        in_file = not self._env.get(KEY_VARIABLE)
        self._open_vault()  # a missing key is said before a new one is made
        with self._store.transaction():
            if in_file:
                add_key(folder)
            else:
                self._require_runners_with_newest_key()
            vault = self._open_vault()
            for kind, name, sealed in self._store.maintenance.list_secrets():
                self._store.maintenance.replace_secret(kind, name, vault.reseal_text(sealed))
            self._add_audit_line("rotate key")
        return self._drop_former_keys(folder, in_file)

    def _require_runners_with_newest_key(self) -> None:
        """Raise Refused while a runner works that could open nothing after the rotation: it would pause every sync."""
        newest = key_ids(self._env)[0]
        names = self._store.runners.list_working(self._now())
        if any(newest not in name.rpartition("-")[2].split(".")[1:] for name in names):
            raise InvalidRequest(
                "A runner works that does not know the new key; restart the runner and the pages with the same "
                "COHORT_SYNC_KEY (NEW,OLD), then rotate. Nothing was changed."
            )

    def _drop_former_keys(self, folder: Path, in_file: bool) -> bool:
        """Drop the former keys of the folder when nothing needs them; return whether nothing does.

        Runs under way may hold values sealed with a former key. Another rotation may have added a key that
        nothing is sealed with yet.
        """
        with self._store.transaction():
            newest = self._open_vault().newest_only()
            if self._store.runs.count_unfinished() or not all(
                newest.can_open(sealed) for _, _, sealed in self._store.maintenance.list_secrets()
            ):
                return False
            if in_file:
                drop_former_keys(folder)
        return True

    @requires(AccessLevel.ADMIN)
    def forget_person(self, user_id: str) -> ForgetResult:
        """Remove a person from everything stored here, by id; Mixpanel and WebEngage keep what they have.

        Each place is a short transaction, so that runs and pages go on meanwhile. Killed anywhere: what was
        removed stays so, the audit shows that it was begun, and asking again removes the rest.
        """
        begun, who = self._now(), self._fingerprint(user_id)
        self._add_audit_line("forget a person", who, after="begun")
        places = self._store.maintenance.forget_person(user_id)
        self._add_audit_line("forget a person", who, after=f"{places} places")
        self._store.maintenance.shrink_file()
        return ForgetResult(places, self._store.runs.unfinished_since(begun))

    @requires(AccessLevel.ADMIN)
    def purge_expired(self) -> int:
        """Remove what is past its days for good; tell how many rows."""
        self._store.remove_stale_drafts()
        gone = self._store.maintenance.purge_expired(self._now())
        if gone:
            self._add_audit_line("purge", after=f"{gone} rows")
        return gone

    @requires(AccessLevel.ADMIN)
    def set_retention(self, rejections: float | None = None, detail: float | None = None) -> tuple[float, float]:
        """Set how long refusals and run details are kept, and tell both."""
        with self._store.transaction():
            for name, days in (("keep_rejections_days", rejections), ("keep_detail_days", detail)):
                if days is not None:
                    before = self._store.maintenance.get_retention_days(name)
                    self._store.maintenance.set_retention_days(name, days)
                    self._add_audit_line("retention", name, f"{before:g} days", f"{days:g} days")
        return self._store.maintenance.get_retention_days(
            "keep_rejections_days"
        ), self._store.maintenance.get_retention_days("keep_detail_days")

    @requires(AccessLevel.ADMIN)
    def list_audit(self, limit: int = 1000) -> tuple[AuditLine, ...]:
        """Who did what, newest first."""
        return self._store.events.list_audit(limit)
