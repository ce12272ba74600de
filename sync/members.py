"""How a million members are kept small: marks, id lists and sealed values, packed page by page.

A **mark** is 16 bytes over everything that would be told about one person (user id, mapped values).
Equal marks mean nothing changed, so a refresh compares marks and opens the ids of those who differ
only. Rows of text would cost four times the CPU and twice the file (docs/decisions.md).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import cast

import orjson
import xxhash
import zstandard

MARK_SIZE = 16  # bytes; 128 bits, so two people of one cohort never share one by chance
IN_DOUBT = b"\0" * MARK_SIZE  # the mark of someone who may have been told, but was not heard of
CHUNK = 4096  # people per snapshot chunk: small enough to rewrite, large enough to compress
_LEVEL = 1  # zstd's fastest documented level; ids hardly compress better at higher ones


def mark(user_id: str, values: tuple[object, ...], salt: int) -> bytes:
    """Digest what would be told about a person; the salt is secret, so nobody can aim at a collision."""
    content = orjson.dumps((user_id, values)) if values else user_id.encode("utf-8", "surrogatepass")
    return xxhash.xxh3_128_digest(content, salt)


def join_marks(marks: Iterable[bytes]) -> bytes:
    """Pack marks one after the other."""
    return b"".join(marks)


def split_marks(blob: bytes) -> tuple[bytes, ...]:
    """Unpack what ``join_marks`` packed."""
    return struct.unpack(f"{MARK_SIZE}s" * (len(blob) // MARK_SIZE), blob)


def pack(value: object) -> bytes:
    """Compress a list of plain values (ids, kinds) for the database."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(orjson.dumps(value))


def unpack(blob: bytes) -> list[object]:
    """Read back what ``pack`` wrote."""
    found: list[object] = orjson.loads(zstandard.ZstdDecompressor().decompress(blob))
    return found


def unpack_ids(blob: bytes) -> list[str]:
    """Read back a packed list of user ids."""
    return [str(user_id) for user_id in unpack(blob)]


def pack_people(ids: Sequence[str], kinds: Sequence[str]) -> bytes:
    """Compress user ids with what is told about each."""
    return pack([ids, kinds])


def unpack_people(blob: bytes) -> tuple[list[str], list[str]]:
    """Read back what ``pack_people`` wrote."""
    ids, kinds = cast(tuple[list[str], list[str]], unpack(blob))
    return ids, kinds


def slices(items: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    """Cut a sequence into pieces of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def span(blob: bytes, low: bytes, high: bytes) -> tuple[int, int]:
    """Tell which stretch of a page's ascending marks lies in ``low <= mark < high``, as positions."""
    places = range(len(blob) // MARK_SIZE)
    start = bisect_left(places, low, key=lambda at: blob[at * MARK_SIZE : (at + 1) * MARK_SIZE])
    end = bisect_left(places, high, lo=start, key=lambda at: blob[at * MARK_SIZE : (at + 1) * MARK_SIZE])
    return start, end


def marks_in(blob: bytes, start: int, end: int) -> tuple[bytes, ...]:
    """Unpack the marks at positions ``start`` to ``end``."""
    return split_marks(blob[start * MARK_SIZE : end * MARK_SIZE])
