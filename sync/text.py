"""Texts of other people's making: cut between characters as people see them, and without what cannot be seen."""

from __future__ import annotations

import re
import unicodedata

JOINER = "\u200d"
MASK = "•••"  # the middle of an id in a label; always three, so that a label does not show how long the id is
TIME_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_INVISIBLE = ("Cc", "Cf", "Zl", "Zp")  # Unicode's categories: controls, marks such as U+FEFF, separators of lines
# A joiner between parts of an emoji or of a word that is not Latin; the tags of a flag such as England's.
_MEANT = re.compile(
    "(?<=[^\x00-\x7f\u200c\u200d])[\u200c\u200d](?=[^\x00-\x7f\u200c\u200d])|(?<=\U0001f3f4)[\U000e0020-\U000e007f]+"
)


def count_noun(number: int, noun: str, several: str = "") -> str:
    """Return a number with its noun; ``several`` is the plural when it is not the noun and an s."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def count_people(people: int) -> str:
    """Return a number of people with its noun."""
    return count_noun(people, "person", "people")


def format_duration(seconds: float) -> str:
    """Format a duration in seconds in the largest unit that fits."""
    for size, noun in TIME_UNITS:
        if seconds >= size * (1 if size == 1 else 1.5) or seconds == size:
            return count_noun(round(seconds / size), noun)
    return "1 second"


def matches_id(wanted: str, user_id: str) -> bool:
    """Return whether an id has the text in it, or the ends of a label such as pe•••m; ``wanted`` is in small letters."""
    start, mask, end = wanted.partition(MASK)
    folded = user_id.casefold()
    return folded.startswith(start) and folded.endswith(end) if mask else wanted in folded


def fold_name(name: str) -> str:
    """Return a name so that two that read alike are equal: in capitals or not, with accents written in either way."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def count_units(text: str) -> int:
    """Return the length in UTF-16 units, the longest way in which a vendor may count characters."""
    return len(text) + sum(letter > "\uffff" for letter in text)


def cut_text(text: str, units: int) -> str:
    """Return the text, or as much of it as fits so many UTF-16 units without half a character at its end."""
    if 2 * len(text) <= units or count_units(text) <= units:
        return text
    end, used = 0, 0
    while used + (size := 1 + (text[end] > "\uffff")) <= units:
        end, used = end + 1, used + size
    while end and _is_within_character(text, end):
        end -= 1
    return text[:end]


def _is_within_character(text: str, at: int) -> bool:
    """Return whether what people see as one character goes on at this place."""
    letter, before = text[at], text[at - 1]
    if letter == JOINER or before == JOINER:
        return True
    if unicodedata.category(letter).startswith("M") or "\U0001f3fb" <= letter <= "\U0001f3ff" or _is_tag(letter):
        return True  # an accent, a variation, a tone of skin, the rest of a flag
    flags = re.search("[\U0001f1e6-\U0001f1ff]*$", text[:at])  # two regional letters are one flag
    return "\U0001f1e6" <= letter <= "\U0001f1ff" and flags is not None and len(flags[0]) % 2 == 1


def _is_tag(letter: str) -> bool:
    return "\U000e0020" <= letter <= "\U000e007f"


def has_only_visible(text: str) -> bool:
    """Return whether a text has nothing that cannot be seen, but for what holds a visible character together."""
    return _MEANT.sub("", text).isprintable()


def find_invisible(text: str) -> str:
    """Return the code, such as U+200B, of the first character that cannot be seen and that nobody types on purpose, or none."""
    found = next((one for one in _MEANT.sub("", text) if one != "\t" and unicodedata.category(one) in _INVISIBLE), "")
    return f"U+{ord(found):04X}" if found else ""


def show_text(text: str) -> str:
    """Return a text on one line: every kind of space is a space, and what cannot be seen is gone."""
    plain = " ".join(text.split())
    meant = {at for found in _MEANT.finditer(plain) for at in range(*found.span())}
    kept = "".join(letter for at, letter in enumerate(plain) if letter.isprintable() or at in meant)
    return kept if has_only_visible(kept) else "".join(filter(str.isprintable, kept))
