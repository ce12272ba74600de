"""Alert addresses as `apprise` writes them: check, mask, send. Only this module imports apprise.

Apprise takes 0.1 s and 15 MB to import, so it is imported where it is used: commands and pages that send nothing
start without it.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from sync.errors import CohortSyncError, InvalidRequest
from sync.http_client import clean_text
from sync.redaction import hide_secret

if TYPE_CHECKING:
    from apprise import NotifyBase

CONNECT_SECONDS, READ_SECONDS = 10.0, 20.0  # seconds of one connection and of one read
SEND_SECONDS = 60.0  # seconds of a whole message: one address may name several people or rooms
SHOWN_CHARACTERS, MIN_URL_TO_SHOW = 4, 20  # characters at the end of an address that are shown; of a short one none
MIN_TOKEN_LENGTH = 12  # characters of a part of an address that is no ordinary word, such as “services”
# These act on the machine of the runner, where nobody sits.
LOCAL_SCHEMAS = frozenset(
    {"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "rsyslog", "syslog", "windows"}
)
NOT_AN_ADDRESS = (
    "This is not an address apprise knows, or a part of it is missing. Write it as https://appriseit.com/services "
    "shows, for instance mailtos://USER:PASSWORD@smtp.example.com?to=TEAM@example.com"
)
TAKEN, NO_REASON = "", "no explanation"
NOT_LOCAL = "“{}” would alert only somebody who sits at the server; choose an address that reaches people."


class DeliveryFailed(CohortSyncError):
    """A message was not taken; ``is_final``: the receiver refused it, so trying again is of no use.

    ``retry_after`` is how many seconds the receiver asked us to wait, None when it named no time.
    """

    def __init__(self, message: str, *, is_final: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.is_final, self.retry_after = is_final, retry_after


def mask_address(url: str) -> str:
    """Return an address as people may see it: what kind it is and its last characters; raise InvalidRequest if it is none."""
    plugin = _open_address(url)
    end = url[-SHOWN_CHARACTERS:] if len(url) >= MIN_URL_TO_SHOW else ""
    schema = url.partition("://")[0].lower()
    return f"{plugin.service_name}: {schema}://…{end}"


def send_alert(url: str, title: str, body: str) -> None:
    """Send one alert, within a minute; raise DeliveryFailed with the reason.

    The sending thread is left to itself after the minute, and ends with the process: a receiver that stalls
    holds nobody up. The message may then arrive all the same, and again with the next try.
    """
    problems: list[str] = []
    arguments = (_open_address(url), title, body, problems)
    sender = threading.Thread(target=_notify, args=arguments, daemon=True, name="apprise")
    sender.start()
    sender.join(SEND_SECONDS)
    if sender.is_alive():
        raise DeliveryFailed(f"The address did not take the message within {SEND_SECONDS:.0f} seconds.")
    if problems != [TAKEN]:  # nothing at all: the thread died
        raise DeliveryFailed(f"The address did not take the message: {(problems or [NO_REASON])[0]}")


def _notify(plugin: NotifyBase, title: str, body: str, problems: list[str]) -> None:
    """Send, and note in ``problems`` that it was taken or why not; apprise reports that in its log only."""
    from apprise import LogCapture, NotifyFormat

    try:
        with LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
            sent = plugin.notify(body=body, title=title, body_format=NotifyFormat.TEXT)
            reason = log.getvalue()  # closed with the capture
    except Exception as problem:  # a plugin of apprise may raise anything, and the thread must say so
        sent, reason = False, type(problem).__name__
    problems.append(TAKEN if sent else clean_text(" ".join(reason.split())) or NO_REASON)


def _hide_parts(url: str) -> None:
    """Mask an address in every text, and the parts of it that a plugin may put into its own messages."""
    hide_secret(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return  # no address at all
    tokens = (*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query)))
    long = (one for one in tokens if len(one) >= MIN_TOKEN_LENGTH)
    for secret in (parts.password or "", *long):
        hide_secret(secret)
        hide_secret(unquote(secret))


def _open_address(url: str) -> NotifyBase:
    """Return apprise's plugin of an address, with our time limits; raise InvalidRequest when there is none."""
    from apprise import Apprise

    _hide_parts(url)
    logging.getLogger("apprise").setLevel(logging.ERROR)  # its warnings are returned as the reason
    plugin = Apprise.instantiate(url, suppress_exceptions=True)
    if plugin is None:
        raise InvalidRequest(NOT_AN_ADDRESS, "url")
    schema = url.partition("://")[0].lower()
    if schema in LOCAL_SCHEMAS:
        raise InvalidRequest(NOT_LOCAL.format(schema), "url")
    plugin.socket_connect_timeout, plugin.socket_read_timeout = CONNECT_SECONDS, READ_SECONDS
    return plugin
