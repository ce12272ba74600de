"""Hash and pack members: identity apart from content, 24 bytes a person, ids and values beside them.

A **record** is 16 bytes that say who (a salted hash of the user id) and 8 that say what would be sent about
them. Equal records: unchanged. Same id, other content: update. Content 0: unconfirmed.
"""

from __future__ import annotations

import hashlib
import re
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise, repeat

import orjson
import xxhash
import zstandard

ID_SIZE, CONTENT_SIZE = 16, 8  # bytes; 128 bits, so that two people of one cohort never share an id hash by chance
RECORD_SIZE = ID_SIZE + CONTENT_SIZE
MEMBER_SIZE = 8  # bytes of the hash of a distinct_id; a chance repeat among a million members: 1 in 30 million
ENTRY_SIZE = RECORD_SIZE + MEMBER_SIZE
FINGERPRINT_LENGTH = 12  # hexadecimal digits; a chance repeat among a million people: 1 in 280 million
DIGEST_SIZE = ID_SIZE  # bytes of the digest of a chunk
UNCONFIRMED = b"\0" * CONTENT_SIZE  # may have been sent, but no answer was heard
FORGOTTEN = "(forgotten)"  # stands in for an id that was removed, so that counts and places stay; it is never sent
# One struct for all lengths: a format for each length would be compiled, and kept, each time.
_RECORD, _CONTENT = struct.Struct(f"{RECORD_SIZE}s"), struct.Struct(f"{CONTENT_SIZE}s")
_DIGEST = struct.Struct(f"{DIGEST_SIZE}s")
_RECORD_ID = struct.Struct(f"{ID_SIZE}s{CONTENT_SIZE}x")
_ENTRY = struct.Struct(f"{ID_SIZE}s{MEMBER_SIZE}s{CONTENT_SIZE}s")
# Chunks of sixteen rows: of fewer there are more to look up, of more each change spoils more.
_CHUNK_START = re.compile(rb"[\x00-\x0f]")
# zstd's fastest documented level, as ids hardly compress better at higher ones; and a search for long matches only, which
# takes half the time with random ids, in which a short match gains nothing.
_COMPRESSION = zstandard.ZstdCompressionParameters.from_level(1, min_match=7)


def hash_id(user_id: str, salt: int) -> bytes:
    """Return who: 16 bytes. The salt is secret, so nobody can aim at a collision."""
    return xxhash.xxh3_128_digest(user_id.encode(), salt)


def compute_fingerprint(text: str, salt: int) -> str:
    """Return a short digest that distinguishes two secrets or two people; the salt keeps it from being looked up."""
    return hashlib.sha256(f"{salt}:{text}".encode()).hexdigest()[:FINGERPRINT_LENGTH]


def mapping_salt(salt: int, mapping: Sequence[tuple[str, str]]) -> int:
    """Return the salt of contents: a property sent to another attribute is other content."""
    return xxhash.xxh3_64_intdigest(orjson.dumps(mapping), salt) if mapping else salt


def records_of(ids: Sequence[str], values: Sequence[bytes], salt: int, content_salt: int) -> list[bytes]:
    """Return the record of each member; ``values`` are JSON arrays, or nothing when no property is mapped."""
    digest = xxhash.xxh3_128_digest
    plain = [user_id.encode() for user_id in ids]
    hashes = [digest(one, salt) for one in plain]
    if not values:
        return [one + one[:CONTENT_SIZE] for one in hashes]
    contents = map(b"\0".join, zip(plain, values, strict=True))
    return [one + digest(said, content_salt)[:CONTENT_SIZE] for one, said in zip(hashes, contents, strict=True)]


def entries_of(records: Sequence[bytes], distinct_ids: Sequence[str], salt: int) -> list[bytes]:
    """Return for each member who (16 bytes), whose member (8) and what would be sent (8)."""
    members = (hash_id(one, salt)[:MEMBER_SIZE] for one in distinct_ids)
    return [one[:ID_SIZE] + member + one[ID_SIZE:] for one, member in zip(records, members, strict=True)]


def digest_text(text: bytes, content_salt: int) -> bytes:
    """Return the digest of a text: 16 bytes, so that no two texts share one by chance."""
    return xxhash.xxh3_128_digest(text, content_salt)


def digest_chunks(rows: Sequence[bytes], between: bytes, content_salt: int) -> list[tuple[bytes, int, int]]:
    """Return the chunks of a page's rows: the digest of each, from which row and up to which it reaches.

    The first row begins a chunk, and by its own bytes about one in sixteen. The digest is of the digests of the rows
    and of what stands ``between`` them, so no text has to be put together of which nothing else is asked.
    """
    digest, size = xxhash.xxh3_128_digest, DIGEST_SIZE
    whole = b"".join(map(digest, rows, repeat(content_salt)))
    starts = [0, *(found.start() for found in _CHUNK_START.finditer(whole[::size], 1)), len(rows)]
    return [
        (digest(between + whole[start * size : stop * size], content_salt), start, stop)
        for start, stop in pairwise(starts)
    ]


class RecordSet:
    """Records to compare pages with, at some six bytes of memory each: half of each content, by the first 15 bits.

    A content hash is of id and values, so it stands for the whole record; half of it does for all but one in some forty
    million. Made ``whole``, the set takes twice the memory and is never wrong.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._size = CONTENT_SIZE if whole else CONTENT_SIZE // 2
        self._halves = struct.Struct(f"{RECORD_SIZE - self._size}x{self._size}s")
        self._contents = [b""] * 2**16  # two neighbours share what they hold

    def add(self, records: bytes) -> None:
        """Add ascending records; all with the same first byte at once."""
        first_bytes = records[::RECORD_SIZE]
        halves, size = b"".join(chain.from_iterable(self._halves.iter_unpack(records))), self._size
        for first in set(first_bytes):
            low, high = bisect_left(first_bytes, first), bisect_left(first_bytes, first + 1)
            second_bytes = records[low * RECORD_SIZE + 1 : high * RECORD_SIZE : RECORD_SIZE]
            cuts = [(low + bisect_left(second_bytes, second)) * size for second in range(0, 257, 2)]
            both = [halves[at:end] for at, end in pairwise(cuts)]
            self._contents[first::512] = self._contents[first + 256 :: 512] = both

    def find_missing(self, records: Sequence[bytes]) -> list[int]:
        """Return the places of records that are not in the set."""
        blob = b"".join(records)
        prefixes = array("H", blob)[:: RECORD_SIZE // 2]
        if sys.byteorder == "big":
            prefixes.byteswap()
        runs = map(self._contents.__getitem__, prefixes)
        # bytes.find: the operator `in` first tries whether what it looks for is a number, which costs half as much again.
        places = map(bytes.find, runs, chain.from_iterable(self._halves.iter_unpack(blob)))
        return [at for at, place in enumerate(places) if place < 0]


def split_records(blob: bytes | bytearray) -> Iterator[bytes]:
    """Return the records of a run of them."""
    return chain.from_iterable(_RECORD.iter_unpack(blob))


def sort_records(blob: bytes | bytearray) -> bytes:
    """Return the records of a run of them in ascending order."""
    return b"".join(sorted(split_records(blob)))


def split_digests(blob: bytes) -> Iterator[bytes]:
    """Return the digests, or the id hashes without contents, of a run of them."""
    return chain.from_iterable(_DIGEST.iter_unpack(blob))


def split_hashes(blob: bytes) -> Iterator[bytes]:
    """Return the id hashes of a run of records."""
    return chain.from_iterable(_RECORD_ID.iter_unpack(blob))


def count_unconfirmed(blob: bytes) -> int:
    """Return how many records of a run are unconfirmed."""
    return array("Q", blob)[2::3].count(0)


def split_contents(blob: bytes) -> tuple[bytes, ...]:
    """Return the content hashes of a run of them."""
    return tuple(chain.from_iterable(_CONTENT.iter_unpack(blob)))


def split_entries(blob: bytes | bytearray) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Return who, whose member and what would be sent of each entry of a run of them."""
    return _ENTRY.iter_unpack(blob)


def cut_records(blob: bytes | bytearray, bounds: Sequence[int], size: int = RECORD_SIZE) -> list[int]:
    """Return where in ascending records, in bytes, the first one with such a first byte or a higher one stands."""
    first_bytes = blob[::size]
    return [bisect_left(first_bytes, bound) * size for bound in bounds]


def prefix_of(id_hash: bytes) -> int:
    """Return the first half of an id hash as a number, ordered as hashes are."""
    return int.from_bytes(id_hash[: ID_SIZE // 2])


def list_prefixes(records: bytes | bytearray) -> array[int]:
    """Return the first half of each id hash of a run of records, as numbers."""
    prefixes = array("Q", records)[::3]
    if sys.byteorder == "little":
        prefixes.byteswap()
    return prefixes


def pack(value: object) -> bytes:
    """Compress a list of plain values for the database."""
    return compress(orjson.dumps(value))


def compress(text: bytes) -> bytes:
    """Compress a text for the database."""
    return zstandard.ZstdCompressor(compression_params=_COMPRESSION).compress(text)


def decompress(blob: bytes) -> bytes:
    """Return what was compressed."""
    return zstandard.decompress(blob)


def unpack_ids(blob: bytes) -> list[str]:
    """Return a packed list of user ids."""
    found: list[str] = orjson.loads(zstandard.decompress(blob))
    return found


def find_places(blob: bytes, user_id: str) -> list[int]:
    """Return the places of a user id in a packed list; the list is parsed only when it seems to be there."""
    packed = zstandard.decompress(blob)
    if orjson.dumps(user_id) not in packed:
        return []
    return [at for at, one in enumerate(orjson.loads(packed)) if one == user_id]


def pack_values(values: Iterable[bytes]) -> bytes:
    """Compress mapped values, each a JSON array."""
    return compress(b"[" + b",".join(values) + b"]")


def unpack_values(blob: bytes) -> list[list[object] | None]:
    """Return what ``pack_values`` packed."""
    found: list[list[object] | None] = orjson.loads(zstandard.decompress(blob))
    return found
