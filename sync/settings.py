"""Every environment variable of Cohort Sync, in one place: name, default, range, and the error when it is wrong.

The names are a contract with those who run it. ``REQUESTS_CA_BUNDLE`` and the proxy variables belong to
requests and are read where HTTP is spoken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sync.errors import InvalidRequest
from sync.model import BATCHES_A_MINUTE

DATA_VARIABLE = "COHORT_SYNC_DATA"
KEY_VARIABLE = "COHORT_SYNC_KEY"
BATCHES_VARIABLE = "COHORT_SYNC_BATCHES_A_MINUTE"
PAGE_SIZE_VARIABLE = "COHORT_SYNC_PAGE_SIZE"
LOG_VARIABLE = "COHORT_SYNC_LOG"
URL_VARIABLE = "COHORT_SYNC_URL"
ADMINS_VARIABLE = "COHORT_SYNC_ADMINS"
MARKETERS_VARIABLE = "COHORT_SYNC_MARKETERS"
VIEWERS_VARIABLE = "COHORT_SYNC_VIEWERS"
TRUSTED_ISSUERS_VARIABLE = "COHORT_SYNC_TRUSTED_ISSUERS"
PUBLIC_HEALTH_VARIABLE = "COHORT_SYNC_PUBLIC_HEALTH"
SERVICE_ACCOUNT_VARIABLE = "MIXPANEL_SECRET"
API_KEY_VARIABLE = "WEBENGAGE_API_KEY"
ALERT_URL_VARIABLE = "COHORT_SYNC_ALERT_URL"
# Setting one of these means that people must sign in.
ACCESS_VARIABLES = (ADMINS_VARIABLE, MARKETERS_VARIABLE, VIEWERS_VARIABLE, TRUSTED_ISSUERS_VARIABLE)

DEFAULT_DATA_FOLDER = "data"
DEFAULT_LOG_LEVEL = "INFO"
MAX_BATCHES_A_MINUTE = 500  # requests a minute; WebEngage docs, rate limits of bulk-users
MAX_PAGE_SIZE = 40_000  # members a page; the largest size a public client of Mixpanel uses (Airbyte's connector)
MAX_SHOWN = 20  # characters of a wrong value that an error quotes


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment variables of Cohort Sync, as values.

    Numbers and the log level are checked when a runner starts, so that a wrong setting of the runner does
    not shut the pages; what these show is counted by the defaults then. Secrets are left out of ``repr``.
    """

    data_folder: Path = Path(DEFAULT_DATA_FOLDER)
    """The folder of app.db and secret.key."""
    keys: tuple[str, ...] = field(default=(), repr=False)
    """Encryption keys or passphrases, the newest first; empty: the keys are in secret.key."""
    admins: tuple[str, ...] = ()
    marketers: tuple[str, ...] = ()
    viewers: tuple[str, ...] = ()
    """Who has which access level, as entries: an address, ``@domain`` or ``claim=value``."""
    trusted_issuers: frozenset[str] = frozenset()
    """Issuers whose addresses count without ``email_verified``; without a slash at the end."""
    mixpanel_secret: str = field(default="", repr=False)
    webengage_api_key: str = field(default="", repr=False)
    """Credentials for `connect`; empty: they are asked for."""
    is_health_public: bool = False
    """Whether /healthz and /metrics answer others than this machine."""
    alert_url: str = field(default="", repr=False)
    """The address for `alerts add` or `webhooks add`; empty: it is asked for."""
    public_url: str = ""
    """Where people open the pages, without a slash at the end; empty: messages have no links."""
    batches_a_minute_text: str = ""
    page_size_text: str = ""
    log_level_text: str = ""
    """Values as they were written; the properties below check them."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Return the settings of an environment; nothing is checked yet."""
        return cls(
            data_folder=_find_folder(env.get(DATA_VARIABLE) or DEFAULT_DATA_FOLDER),
            keys=_split_list(env, KEY_VARIABLE),
            admins=_split_list(env, ADMINS_VARIABLE),
            marketers=_split_list(env, MARKETERS_VARIABLE),
            viewers=_split_list(env, VIEWERS_VARIABLE),
            trusted_issuers=frozenset(one.rstrip("/") for one in _split_list(env, TRUSTED_ISSUERS_VARIABLE)) - {""},
            mixpanel_secret=env.get(SERVICE_ACCOUNT_VARIABLE, ""),
            webengage_api_key=env.get(API_KEY_VARIABLE, ""),
            is_health_public=env.get(PUBLIC_HEALTH_VARIABLE, "").strip().lower() == "yes",
            alert_url=env.get(ALERT_URL_VARIABLE, "").strip(),
            public_url=env.get(URL_VARIABLE, "").strip().rstrip("/"),
            batches_a_minute_text=env.get(BATCHES_VARIABLE, "").strip(),
            page_size_text=env.get(PAGE_SIZE_VARIABLE, "").strip(),
            log_level_text=env.get(LOG_VARIABLE, "").strip().upper(),
        )

    def require_numbers(self) -> None:
        """Raise InvalidRequest for a number that is none or out of its range."""
        for name, text, largest in (
            (BATCHES_VARIABLE, self.batches_a_minute_text, MAX_BATCHES_A_MINUTE),
            (PAGE_SIZE_VARIABLE, self.page_size_text, MAX_PAGE_SIZE),
        ):
            if text and _parse_number(text, largest) is None:
                raise InvalidRequest(f"{name} is “{text[:MAX_SHOWN]}”; set it to a number from 1 to {largest}.")

    @property
    def batches_a_minute(self) -> int:
        """Return the requests a minute to each WebEngage account, 1 to 500; 490 when unset or wrong."""
        return _parse_number(self.batches_a_minute_text, MAX_BATCHES_A_MINUTE) or BATCHES_A_MINUTE

    @property
    def page_size(self) -> int | None:
        """Return the members a page to ask Mixpanel for, 1 to 40,000, or None when unset or wrong."""
        return _parse_number(self.page_size_text, MAX_PAGE_SIZE)

    @property
    def log_level(self) -> int:
        """Return the runner's log level, INFO by default; raise InvalidRequest when it is the name of none."""
        name = self.log_level_text or DEFAULT_LOG_LEVEL
        level = logging.getLevelNamesMapping().get(name)
        if level is None:
            raise InvalidRequest(f"{LOG_VARIABLE} is “{name[:MAX_SHOWN]}”; set it to DEBUG, INFO, WARNING or ERROR.")
        return level


def _find_folder(text: str) -> Path:
    """Return the folder of this name; ``~`` is the home, since no shell reads the settings of a service or a container.

    A folder that an earlier version made by the very name ``~`` stays in use.
    """
    written = Path(text)
    if text.startswith("~") and not written.exists():
        with suppress(RuntimeError):  # a user without a home
            return written.expanduser()
    return written


def _split_list(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the entries of a list with commas, without spaces at their ends and without empty ones."""
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip())


def _parse_number(text: str, largest: int) -> int | None:
    """Return a number from 1 to ``largest``, or None for any other text."""
    return int(text) if text.isdecimal() and 1 <= int(text) <= largest else None
