"""How a million members are kept small: marks, id lists and sealed values, packed page by page.

A **mark** is 16 bytes over everything that would be told about one person (user id, mapped values).
Equal marks mean nothing changed, so a refresh compares marks and opens the ids of those who differ
only. Rows of text would cost four times the CPU and twice the file (docs/decisions.md).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
import xxhash
import zstandard

from sync.model import ChangeKind

MARK_SIZE = 16  # bytes; 128 bits, so two people of one cohort never share one by chance
IN_FLIGHT_MARK = b"\0" * MARK_SIZE  # the mark of someone who may have been told, but was not heard of
CHUNK = 4096  # people per snapshot chunk: small enough to rewrite, large enough to compress
_LEVEL = 1  # zstd's fastest documented level; ids hardly compress better at higher ones


def compute_marks(ids: Sequence[str], values: Sequence[bytes], salt: int) -> list[bytes]:
    """Digest what would be told about each person; the salt is secret, so nobody can aim at a collision."""
    draw = xxhash.xxh3_128_digest
    if not values:
        return [draw(user_id.encode(), salt) for user_id in ids]
    return [draw(b"%b\0%b" % (user_id.encode(), told), salt) for user_id, told in zip(ids, values, strict=True)]


def derive_salt(salt: int, mapping: Sequence[tuple[str, str]]) -> int:
    """Draw the salt of a sync: a property sent to another attribute is something new to tell."""
    return xxhash.xxh3_64_intdigest(orjson.dumps(mapping), salt) if mapping else salt


def digest_marks(blob: bytes) -> bytes:
    """Tell two packed lists of marks apart."""
    return xxhash.xxh3_128_digest(blob)


def pack_values(values: Iterable[bytes]) -> bytes:
    """Compress a page's values, each a JSON array; ValueError when they could not be read back."""
    packed = b"[" + b",".join(values) + b"]"
    orjson.loads(packed)
    return zstandard.compress(packed, _LEVEL)


def unpack_values(blob: bytes) -> list[list[object]]:
    """Read back what ``pack_values`` wrote."""
    found: list[list[object]] = orjson.loads(zstandard.decompress(blob))
    return found


def join_marks(marks: Iterable[bytes]) -> bytes:
    """Pack marks one after the other."""
    return b"".join(marks)


def split_marks(blob: bytes) -> tuple[bytes, ...]:
    """Unpack what ``join_marks`` packed."""
    return struct.unpack(f"{MARK_SIZE}s" * (len(blob) // MARK_SIZE), blob)


def pack_list(value: object) -> bytes:
    """Compress a list of plain values (ids, kinds) for the database."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(orjson.dumps(value))


def unpack_list(blob: bytes) -> list[object]:
    """Read back what ``pack`` wrote."""
    found: list[object] = orjson.loads(zstandard.ZstdDecompressor().decompress(blob))
    return found


def unpack_ids(blob: bytes) -> list[str]:
    """Read back a packed list of user ids."""
    return [str(user_id) for user_id in unpack_list(blob)]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one change's person stands: at a place of a staged page (enter, update), of a snapshot chunk (exit, update)."""

    kind: ChangeKind
    page: int = 0
    place: int = 0
    chunk: int = 0
    at: int = 0


_ENTRY = struct.Struct("<BIHIH")
_KINDS = tuple(ChangeKind)
_CODES = {kind: code for code, kind in enumerate(ChangeKind)}


def pack_entries(entries: Iterable[Entry]) -> bytes:
    """Pack the changes of one request as positions, a few bytes each."""
    return zstandard.compress(
        b"".join(_ENTRY.pack(_CODES[e.kind], e.page, e.place, e.chunk, e.at) for e in entries), _LEVEL
    )


def unpack_entries(blob: bytes) -> list[Entry]:
    """Read back what ``pack_entries`` wrote."""
    return [Entry(_KINDS[code], *where) for code, *where in _ENTRY.iter_unpack(zstandard.decompress(blob))]


def find_span(blob: bytes, low: int, high: int) -> tuple[int, int]:
    """Tell which stretch of ascending marks begins with a byte in ``low <= byte < high``, as positions."""
    first_bytes = blob[::MARK_SIZE]
    start = bisect_left(first_bytes, low)
    return start, bisect_left(first_bytes, high, lo=start)


def marks_in(blob: bytes, start: int, end: int) -> tuple[bytes, ...]:
    """Unpack the marks at positions ``start`` to ``end``."""
    return split_marks(blob[start * MARK_SIZE : end * MARK_SIZE])
