"""Commands for alerts and webhooks: who gets them, tests, what became of each message."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import click

from sync.cli.accounts import read_secret
from sync.cli.listings import list_message_lines, list_recipient_lines
from sync.cli.output import LIMIT_RANGE, Answer, WholeSentences, answers, any_project_option, to_contract
from sync.errors import InvalidRequest
from sync.service import Service
from sync.settings import ALERT_URL_VARIABLE, Settings

NEVER = "off"  # written instead of a time: no quiet hours, no digest
name_option = click.option("--name", default="", help="What people call it.")
number_argument = click.argument("number", type=int, metavar="ID")
message_argument = click.argument("number", type=int, metavar="MESSAGE_ID")
limit_option = click.option("--limit", type=LIMIT_RANGE, default=100, help="At most this many, the newest (100).")


@click.group(cls=WholeSentences)
def alerts() -> None:
    """Send people a message when something needs them: e-mail, Slack, Teams and whatever else apprise can reach."""


@click.group(cls=WholeSentences)
def webhooks() -> None:
    """Send every change of a run or sync to other programs, signed."""


def _read_url(given: str | None) -> str:
    return read_secret(given or Settings.from_env(os.environ).alert_url, ALERT_URL_VARIABLE, "address (URL)")


@alerts.command("add")
@click.argument("url", required=False, metavar="[URL]")
@name_option
@any_project_option
@answers
def add_address(service: Service, url: str | None, name: str) -> Answer:
    """Send alerts to an apprise URL (from COHORT_SYNC_ALERT_URL, a prompt or a pipe; as an argument other users may see it)."""
    added = service.alerts.add(_read_url(url), name)
    return added, [f"Done: alerts go to {added.masked_url}. Try it: python -m sync alerts test {added.id}"]


@webhooks.command("add")
@click.argument("url", required=False, metavar="[URL]")
@name_option
@any_project_option
@answers
def add_webhook(service: Service, url: str | None, name: str) -> Answer:
    """Send changes of runs and syncs to a URL; prints the secret that signs them, this once."""
    added, secret = service.alerts.add_webhook(_read_url(url), name)
    answer = to_contract(added) | {"secret": secret}
    return answer, [f"Done: webhook {added.id} goes to {added.masked_url}.", f"Signing secret: {secret}"]


def _add_recipient_commands(group: click.Group, kind: str, noun: str) -> None:
    """Add the commands about one address or webhook, or all of them."""

    def remove(service: Service, number: int) -> Answer:
        service.alerts.remove(number, kind)
        return {"done": True, "id": number}, [f"Done: {noun} {number} is removed."]

    def show_list(service: Service) -> Answer:
        found = service.alerts.list(kind)
        return found, list_recipient_lines(found)

    def send_test(service: Service, number: int) -> Answer:
        service.alerts.send_test(number, kind)
        return {"done": True, "id": number}, [f"Done: {noun} {number} took the test."]

    def replay_all(service: Service, number: int) -> Answer:
        return {"done": True, "id": number}, [service.alerts.resend_all(number, kind)]

    def discard_all(service: Service, number: int) -> Answer:
        return {"done": True, "id": number}, [service.alerts.discard_all(number, kind)]

    _add_command(group, "remove", f"Remove the {noun} ID and its messages.", number_argument(remove))
    _add_command(group, "list", f"List every {noun}; addresses are masked.", show_list)
    about = f"Send a test to the {noun} ID at once; exit 1 when it does not go through."
    _add_command(group, "test", about, number_argument(send_test))
    about = f"Send all messages again that could not be delivered to the {noun} ID."
    _add_command(group, "replay-all", about, number_argument(replay_all))
    about = f"Delete all messages that could not be delivered to the {noun} ID."
    _add_command(group, "discard-all", about, number_argument(discard_all))


def _add_message_commands(group: click.Group, kind: str) -> None:
    """Add the commands about the messages that were, or were not, delivered."""

    def show_messages(service: Service, limit: int) -> Answer:
        found = service.alerts.list_messages(kind, limit)
        return found, list_message_lines(found)

    def replay(service: Service, number: int) -> Answer:
        service.alerts.resend(number)
        return {"done": True, "id": number}, [f"Done: the runner sends message {number} again."]

    def discard(service: Service, number: int) -> Answer:
        service.alerts.discard(number)
        return {"done": True, "id": number}, [f"Done: message {number} is deleted."]

    about = "List the newest messages and what became of them."
    _add_command(group, "messages", about, limit_option(show_messages))
    _add_command(group, "replay", "Send a message again, also one that was delivered.", message_argument(replay))
    about = "Delete a message, so that it is neither sent nor counted as needing a person."
    _add_command(group, "discard", about, message_argument(discard))


def _add_command(group: click.Group, name: str, about: str, command: Callable[..., Answer]) -> None:
    group.command(name, help=about)(any_project_option(answers(command)))


_add_recipient_commands(alerts, "alerts", "alert address")
_add_recipient_commands(webhooks, "webhook", "webhook")
_add_message_commands(alerts, "alerts")
_add_message_commands(webhooks, "webhook")


@alerts.command("times")
@click.option("--zone", help="The time zone of these times, such as Europe/Berlin.")
@click.option("--quiet", metavar="FROM-TO", help="When alerts wait, such as 22:00-07:00; off: never.")
@click.option("--digest", metavar="TIME", help="When the digest is sent each day, such as 08:00; off: never.")
@any_project_option
@answers
def show_times(service: Service, zone: str | None, quiet: str | None, digest: str | None) -> Answer:
    """Show or set quiet hours and the daily digest."""
    schedule = service.alerts.get_schedule()
    if quiet is not None:
        begin, dash, end = ("", "-", "") if quiet == NEVER else quiet.partition("-")
        if not dash:
            raise InvalidRequest(f"“{quiet[:20]}” is not a span of time; write it like 22:00-07:00, or off.")
        schedule = replace(schedule, quiet_from=begin.strip(), quiet_to=end.strip())
    if digest is not None:
        schedule = replace(schedule, digest="" if digest == NEVER else digest)
    if zone is not None:
        schedule = replace(schedule, zone=zone)
    if (zone, quiet, digest) != (None, None, None):
        service.alerts.set_schedule(schedule)
    quiet, digest = schedule.quiet_from, schedule.digest
    waits = (
        f"Alerts wait from {quiet} to {schedule.quiet_to}." if quiet else "Alerts do not wait: no quiet hours are set."
    )
    daily = f"The digest is sent each day at {digest}." if digest else "No daily digest is sent."
    zone_line = f"Times are those of {schedule.zone}." if quiet or digest else ""
    return schedule, [waits, daily, zone_line]


ALERT_COMMANDS = (alerts, webhooks)
