"""The commands that do what a sentence of the service asks for in the words of the pages."""

from __future__ import annotations

import re

_CONNECT = "`python -m sync connect`"
_CHOOSE = "`python -m sync use-account LICENSE`"
_COMMANDS = (
    (r"choose one under Integrations", f"choose one with {_CHOOSE}"),
    (r"choose another account there", f"choose another account with {_CHOOSE}"),
    (r"(check [^;.]+) under Integrations", rf"\1, and connect again with {_CONNECT}"),
    (r"under Integrations", f"with {_CONNECT}"),
    (r"press “Clear again” on the page of sync (\d+)\.", r"run: python -m sync stop \1 --clear"),
)


def name_commands(sentence: str) -> str:
    """Return a sentence with commands instead of pages and buttons; runs store theirs once, for readers of both."""
    for page, command in _COMMANDS:
        sentence = re.sub(page, command, sentence)
    return sentence
