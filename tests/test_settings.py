"""Settings from the environment: defaults, ranges, and the error when a value is wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.settings import Settings


def test_settings_of_an_empty_environment_are_the_defaults() -> None:
    """Nothing must be set to start: the folder is data/, the pace 490, the log level INFO."""
    found = Settings.from_env({})
    assert found == Settings() and found.data_folder == Path("data")
    assert (found.batches_a_minute, found.page_size, found.log_level) == (490, None, logging.INFO)
    assert (found.keys, found.admins, found.trusted_issuers) == ((), (), frozenset())


def test_settings_when_every_variable_is_set_are_read() -> None:
    """Lists are split at commas without spaces and empty entries; an issuer loses the slash at its end."""
    found = Settings.from_env(
        {
            "COHORT_SYNC_DATA": "/srv/cohorts",
            "COHORT_SYNC_KEY": " new , ,old",
            "COHORT_SYNC_BATCHES_A_MINUTE": " 100 ",
            "COHORT_SYNC_PAGE_SIZE": "10000",
            "COHORT_SYNC_LOG": "debug",
            "COHORT_SYNC_ADMINS": "ann@example.com,",
            "COHORT_SYNC_MARKETERS": "@example.com",
            "COHORT_SYNC_VIEWERS": "groups=agency, groups=board",
            "COHORT_SYNC_TRUSTED_ISSUERS": "https://id.example/,",
            "MIXPANEL_SECRET": "one",
            "WEBENGAGE_API_KEY": "two",
        }
    )
    assert (found.data_folder, found.keys) == (Path("/srv/cohorts"), ("new", "old"))
    assert (found.batches_a_minute, found.page_size, found.log_level) == (100, 10_000, logging.DEBUG)
    assert (found.admins, found.marketers) == (("ann@example.com",), ("@example.com",))
    assert found.viewers == ("groups=agency", "groups=board")
    assert found.trusted_issuers == {"https://id.example"}
    assert (found.mixpanel_secret, found.webengage_api_key) == ("one", "two")


def test_settings_when_printed_show_no_secret() -> None:
    """A traceback or a log line with the settings gives no key away."""
    names = ("COHORT_SYNC_KEY", "MIXPANEL_SECRET", "WEBENGAGE_API_KEY")
    assert "hidden" not in repr(Settings.from_env(dict.fromkeys(names, "hidden")))


@pytest.mark.parametrize("text", ["0", "501", "-1", "many", "4.5"])
def test_batches_a_minute_when_out_of_range_is_refused(text: str) -> None:
    """The setting may slow requests down, never past WebEngage's 500 a minute."""
    settings = Settings.from_env({"COHORT_SYNC_BATCHES_A_MINUTE": text})
    with pytest.raises(InvalidRequest, match=rf"COHORT_SYNC_BATCHES_A_MINUTE is “{text}”; .* from 1 to 500"):
        settings.require_numbers()


@pytest.mark.parametrize("text", ["0", "40001", "large"])
def test_page_size_when_out_of_range_is_refused(text: str) -> None:
    """Nobody has seen Mixpanel send larger pages than 40,000 members."""
    with pytest.raises(InvalidRequest, match=r"COHORT_SYNC_PAGE_SIZE is .* from 1 to 40000"):
        Settings.from_env({"COHORT_SYNC_PAGE_SIZE": text}).require_numbers()


def test_log_level_when_unknown_is_refused() -> None:
    """The error names the variable and the levels."""
    with pytest.raises(InvalidRequest, match="COHORT_SYNC_LOG is “LOUD”; set it to DEBUG, INFO"):
        _ = Settings.from_env({"COHORT_SYNC_LOG": "loud"}).log_level


def test_settings_when_a_number_is_wrong_do_not_shut_the_pages() -> None:
    """A wrong setting of the runner is reported by the runner; the folder, the lists and previews are read all the same."""
    found = Settings.from_env(
        {"COHORT_SYNC_PAGE_SIZE": "large", "COHORT_SYNC_BATCHES_A_MINUTE": "501", "COHORT_SYNC_DATA": "/srv/cohorts"}
    )
    assert (found.data_folder, found.page_size, found.batches_a_minute) == (Path("/srv/cohorts"), None, 490)


def test_folder_when_it_begins_with_a_tilde_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell reads the settings of a service; a folder called ``~`` would be made, and deleting that is dangerous."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    env = {"COHORT_SYNC_DATA": "~/cohorts"}
    assert Settings.from_env(env).data_folder == Path("/home/ann/cohorts")
    (tmp_path / "~" / "cohorts").mkdir(parents=True)  # made by an earlier version, and in use
    assert Settings.from_env(env).data_folder == Path("~/cohorts")
