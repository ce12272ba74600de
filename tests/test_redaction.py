"""No secret and no profile value where it does not belong: planted markers are looked for everywhere."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.redaction import RedactingFormatter, hide_secret, redact_logs, redact_text
from sync.service import Service
from tests.browser import tab, visit
from tests.conftest import StreamlitServer
from tests.sandbox.control import Sandbox, member
from tests.workspace import read_everything_stored

SECRET, KEY = "marker-secret-5eC", "marker-key-9kQ"
MARK = "marker.person"  # begins every planted e-mail address
PROJECT = 77


@pytest.fixture
def planted(sandbox: Sandbox, data_dir: Path) -> Iterator[Service]:
    """Export a cohort with marked addresses through connections with marked secrets, with faults."""
    sandbox.add_project(PROJECT, "Marked", username="marked.mp-service-account", secret=SECRET, role="admin")
    sandbox.add_account("marked", KEY)
    people = [member(f"p-{number}", **{"$email": f"{MARK}{number}@example.com"}) for number in range(60)]
    cohort = sandbox.add_cohort("Marked", people, project=PROJECT)
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.connections.connect_mixpanel(PROJECT, "marked.mp-service-account", SECRET, sandbox.url)
        service.connections.connect_webengage("marked", KEY, sandbox.url)
        service.cohorts.preview(PROJECT, cohort)
        service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=(("$email", "email"),)))
        yield service


@pytest.mark.slow
def test_markers_are_in_no_log_and_no_table(planted: Service, sandbox: Sandbox, data_dir: Path, tmp_path: Path) -> None:
    """With debug logging and faults that quote people back at us, log and database stay clean, also half-way."""
    sandbox.fault(
        "status",
        api="webengage",
        path="bulk",
        code=500,
        after=1,
        times=2,
        body={"response": {"message": f"cannot store {MARK}1@example.com with {KEY}", "status": "error"}},
    )
    sandbox.fault(
        "status",
        api="webengage",
        path="bulk",
        code=400,
        after=2,
        times=1,
        body=f"<html><p>{MARK}2@example.com Bearer {KEY}</p></html>",
    )
    with (tmp_path / "log").open("wb") as log:
        process = _runner(data_dir, log)
        assert process.wait(90) == 0
    said = (tmp_path / "log").read_bytes()
    stored = read_everything_stored(data_dir)
    assert b"bulk-users" in said and b"p-1" in stored  # debug logging is on, and the tables were really opened
    for marker in (SECRET, KEY, MARK):
        assert marker.encode() not in said
        assert marker.encode() not in stored


def _runner(folder: Path, log: io.BufferedWriter) -> subprocess.Popen[bytes]:
    env = os.environ | {"COHORT_SYNC_DATA": str(folder), "COHORT_SYNC_LOG": "DEBUG"}
    return subprocess.Popen([sys.executable, "-m", "sync.runner", "--once"], env=env, stderr=log, stdout=log)


def test_markers_are_in_no_page(
    planted: Service, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Integrations and the run's page hold neither secret nor address."""
    server = streamlit_server(data_dir)
    with tab(browser) as page:
        for place, title in (("integrations", "Integrations"), ("runs", "Runs")):
            visit(page, f"{server}/{place}", title)
            assert not [marker for marker in (SECRET, KEY, MARK) if marker in page.content()]


def test_a_traceback_is_redacted_too() -> None:
    """What an exception says passes the same filter as every other line, from any logger."""
    hide_secret("sesame-open")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        redact_logs()
        redact_logs()
        try:
            raise ValueError("ann@example.com came with sesame-open and Bearer abcdef")
        except ValueError:
            logging.getLogger("urllib3").exception("request failed")
    finally:
        root.removeHandler(handler)
    assert isinstance(handler.formatter, RedactingFormatter)
    assert "ValueError" in stream.getvalue()
    assert not [word for word in ("ann@", "sesame", "abcdef") if word in stream.getvalue()]


def test_redaction_when_a_text_holds_no_secret_changes_nothing() -> None:
    """Cohort names, numbers and paths stay readable."""
    text = "run 7: Mixpanel - Power Users, 8,729 members, /v1/accounts/in~58adbca1/bulk-users 200"
    assert redact_text(text) == text
