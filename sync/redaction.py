"""Mask secrets and e-mail addresses in every log line, tracebacks included, and private values in API errors."""

from __future__ import annotations

import html
import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

MIN_SECRET_LENGTH = 6  # characters; masking a shorter secret would blank harmless words
_ADDRESS = re.compile(r"[^\s@<>\"'=:,;/?&]+@[^\s@<>\"',;/?&]+\.\w+")
_SECRET_LIKE = re.compile(r"\b(?:Basic|Bearer)\s+\S+|[A-Za-z0-9+/_-]{40,}={0,2}")
_hidden: set[str] = set()

STRIPPED = "…"
MIN_ANYWHERE_LENGTH = 6  # letters and digits; a shorter value is only found as a word of its own
MIN_WORD_LENGTH = 3  # letters of a part of a value (a first name of a full name) that is stripped alone
MIN_DIGITS = 6  # digits in a row, whatever stands between them, that may be part of a phone number
MAX_DECODINGS = 3  # layers of escaping that are undone: JSON in a URL in HTML
# Words of error messages: as a part of a longer value they reveal nothing about a person.
_COMMON = (
    "address and attribute batch birthdate cannot com company custom date email empty error field first "
    "firstname for format from gender invalid last lastname limit malformed message missing must name not "
    "null number phone reached rejected request required should status string than the too type unknown "
    "user userid users value with"
)
COMMON_WORDS = frozenset(_COMMON.split())
HEXADECIMAL = 16  # the base of the digits in an escape
_TOKEN = re.compile(r"[^\W_]+")
_DIGIT_RUN = re.compile(rf"\d(?:[^\w\n]{{0,3}}\d){{{MIN_DIGITS - 1},}}")
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([nrtbf])|(.))")
_CUT_AFTER = re.compile(r"\W*\Z|\s?(?:…|\.\.)")


def hide_secret(secret: str) -> None:
    """Mask this secret in every text from now on, in this process; one under 6 characters is ignored."""
    if len(secret) >= MIN_SECRET_LENGTH:
        _hidden.add(secret)


def redact_text(text: str) -> str:
    """Return a text without the hidden secrets, without what looks like a secret, and without e-mail addresses."""
    for secret in _hidden:
        text = text.replace(secret, "…")
    return _SECRET_LIKE.sub("…", _ADDRESS.sub("…@…", text))


@dataclass(frozen=True, slots=True)
class _Needles:
    """The texts to search for: whole values, their words, their digits, and values made of symbols only."""

    whole: frozenset[str]
    words: frozenset[str]
    digits: frozenset[str]
    symbols: frozenset[str]


def strip_values(text: str, values: Iterable[object]) -> str:
    """Return the text with each value, and each word of it, replaced by "…", in whatever form it appears.

    Found in another case, without accents, with other punctuation, JSON-escaped, URL-encoded, as HTML
    entities, and cut off at the end. Rather too much is stripped than too little: the text is shown and stored.
    """
    needles = _build_needles(values)
    if not (needles.whole or needles.symbols):
        return text
    text = _undo_escapes(text)
    stretches = [*_find_values(text, needles.whole), *_find_symbols(text, needles.symbols)]
    stretches += [*_find_words(text, needles.words), *_find_numbers(text, needles.digits)]
    return _strip_stretches(text, stretches)


def _build_needles(values: Iterable[object]) -> _Needles:
    spelled = {one for value in values for one in _spell_value(value) if one.strip()}
    whole = {one: _fold_letters(one)[0] for one in spelled}
    words = {_fold_letters(word)[0] for one in spelled for word in _TOKEN.findall(one)}
    digits = {"".join(filter(str.isdecimal, one)) for one in spelled}
    return _Needles(
        frozenset(filter(None, whole.values())),
        frozenset(word for word in words if len(word) >= MIN_WORD_LENGTH and word not in COMMON_WORDS),
        frozenset(one for one in digits if len(one) >= MIN_DIGITS),
        frozenset(one for one, letters in whole.items() if not letters),
    )


def _spell_value(value: object) -> tuple[str, ...]:
    """Return the texts JSON may write a value as."""
    if isinstance(value, bool):
        return (str(value),)
    if isinstance(value, float) and value.is_integer():
        return (str(value), str(int(value)))
    if isinstance(value, list | tuple):
        return tuple(one for part in value for one in _spell_value(part))
    if isinstance(value, dict):
        return _spell_value(list(value.values()))
    return () if value is None else (str(value),)


def _fold_letters(text: str) -> tuple[str, list[int]]:
    """Return the letters and digits without case and accents, and the place of each in the text."""
    found: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        for plain in unicodedata.normalize("NFKD", letter).casefold():
            if plain.isalnum():
                found.append(plain)
                places.append(place)
    return "".join(found), places


def _undo_escapes(text: str) -> str:
    """Undo JSON escapes, URL encoding and HTML entities, up to three layers deep."""
    for _ in range(MAX_DECODINGS):
        plain = html.unescape(unquote(_ESCAPED.sub(_unescape_one, text)))
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins escaped halves of an emoji
        if plain == text:
            break
        text = plain
    return text


def _unescape_one(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, HEXADECIMAL)) if code else (" " if found[3] else found[4])


def _find_values(text: str, needles: Iterable[str]) -> Iterator[tuple[int, int]]:
    letters, places = _fold_letters(text)
    for needle in needles:
        at = letters.find(needle)
        while at >= 0:
            start, end = places[at], places[at + len(needle) - 1] + 1
            if len(needle) >= MIN_ANYWHERE_LENGTH or not needle.isascii() or _stands_alone(text, start, end):
                yield start, end
            at = letters.find(needle, at + 1)


def _stands_alone(text: str, start: int, end: int) -> bool:
    return not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()


def _find_symbols(text: str, needles: Iterable[str]) -> Iterator[tuple[int, int]]:
    return ((found.start(), found.end()) for one in needles for found in re.finditer(re.escape(one), text))


def _find_words(text: str, words: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Find the words, and the beginnings of words where the text was cut off."""
    for found in _TOKEN.finditer(text):
        token = _fold_letters(found[0])[0]
        cut_off = (
            len(token) >= MIN_WORD_LENGTH and token not in COMMON_WORDS and bool(_CUT_AFTER.match(text, found.end()))
        )
        if token in words or (cut_off and any(word.startswith(token) for word in words)):
            yield found.start(), found.end()


def _find_numbers(text: str, known: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Find runs of digits that share their end with a part of a value, with another country code for instance."""
    for found in _DIGIT_RUN.finditer(text):
        tail = "".join(filter(str.isdecimal, found[0]))[-MIN_DIGITS:]
        if any(tail in one for one in known):
            yield found.start(), found.end()


def _strip_stretches(text: str, stretches: Iterable[tuple[int, int]]) -> str:
    """Replace each stretch; those that touch or overlap become one."""
    pieces: list[str] = []
    done = 0
    for start, end in sorted(stretches):
        if start >= done and (start > done or not pieces):
            pieces += [text[done:start], STRIPPED]
        done = max(done, end)
    return "".join([*pieces, text[done:]])


class RedactingFormatter(logging.Formatter):
    """A formatter that redacts what another formatter writes, tracebacks included."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one redacted text."""
        return redact_text(self._inner.format(record))


def redact_logs(*names: str) -> None:
    """Redact what the handlers of the root logger and of the named loggers write; repeating it changes nothing."""
    for logger in (logging.getLogger(), *(logging.getLogger(name) for name in names)):
        for handler in logger.handlers:
            if not isinstance(handler.formatter, RedactingFormatter):
                handler.setFormatter(RedactingFormatter(handler.formatter or logging.Formatter()))
