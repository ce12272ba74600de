"""More cohorts and runs than a page shows at once."""

from __future__ import annotations

from pathlib import Path

from tests.sandbox.control import LICENSE, PROJECT, Sandbox
from tests.workspace import connect, open_database, service

COHORTS, RUNS = 300, 10_000


def fill_history(sandbox: Sandbox, data_dir: Path) -> None:
    """Write ten thousand runs of one sync, every hundredth failed, and a second sync without any."""
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.cohorts.list()
    with open_database(data_dir) as db:
        for number, name in ((1, "First"), (2, "Second")):
            db.execute(
                "insert into sync (id, project_id, cohort_id, cohort_name, license_code, attribute, mode, state, "
                "schedule_anchor) "
                "values (?, ?, ?, ?, ?, ?, 'one-time', 'finished', 0)",
                (number, PROJECT, number, name, LICENSE, name),
            )
        db.executemany(
            "insert into run (sync_id, state, purpose, queued_at, started_at, finished_at, not_before, error) "
            "values (1, ?, 'refresh', ?, ?, ?, ?, ?)",
            [
                ("failed" if n % 100 == 0 else "succeeded", n, n, n, n, "Broken." if n % 100 == 0 else None)
                for n in range(RUNS)
            ],
        )
        db.execute("update sync set last_run_id = 10000 where id = 1")
