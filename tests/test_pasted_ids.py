"""Lists of User IDs that people paste or upload: each line is exactly one person, or is refused."""

from __future__ import annotations

import pytest

from sync.errors import InvalidRequest
from sync.service.safety import parse_csv, parse_lines
from sync.spreadsheet import write_csv


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"\xef\xbb\xbfName;User ID\r\nAnn; a \r\nBob;b\r\n", [" a ", "b"]),
        (b'user_id,note\n"a,1",x\n\n"",y\n', ["a,1"]),
        (b"", []),
        (b"$email,Distinct ID\na@example.com,a\n", ["a"]),
        (
            write_csv(("User ID", "Status"), [("+4912", "x"), ("007", "x"), (" a", "x")], ids=(0,)).encode(),
            ["+4912", "007", " a"],
        ),
        (write_csv(("user_id",), [("=1",), ("12",), ("'ann",)], mark=False).encode(), ["=1", "12", "'ann"]),
    ],
)
def test_a_file_of_ids_is_read_letter_by_letter(content: bytes, ids: list[str]) -> None:
    """The column named like a user id, else the first; spaces belong to an id, and no apostrophe of our own files does."""
    assert parse_csv(content) == ids


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'User ID\n"bob\nalice\n', "line 3"),
        (b'ann\n"bob"by\n', "line 2"),
        (b'User ID\n"' + b"x" * 200_000 + b'"\n', "line 2"),
        (b"User ID\nann,1\n", "Line 2"),
        (b"User ID;Note\nann;x\nbob;1;x\n", "Line 3"),
    ],
)
def test_a_file_whose_cells_are_not_clear_is_refused(content: bytes, line: str) -> None:
    """A mark that was never closed made one id of all that followed, and an id with a comma was cut: nobody was protected."""
    with pytest.raises(InvalidRequest, match=line):
        parse_csv(content)


@pytest.mark.parametrize(
    "odd", ["\ufeffann", "ann\u200b", "a\u2060nn", "an\u00adn", "a\u2028nn", "a\x85nn", "a\x0bnn"], ids=ascii
)
def test_an_id_with_an_invisible_character_is_refused_with_its_line(odd: str) -> None:
    """Pasted along it made another id, and the person who was meant was not protected."""
    for parse, place in ((parse_lines, "Line 3"), (lambda text: parse_csv(text.encode()), "Line 3 of the file")):
        with pytest.raises(InvalidRequest, match=rf"^{place} has an invisible character \(U\+[0-9A-F]{{4}}\)"):
            parse(f"bob\r\n\r\n{odd}\r\n")


def test_an_id_keeps_what_joins_visible_characters_and_a_tab_in_a_file() -> None:
    """Emoji and words of other scripts are joined by characters that cannot be seen."""
    ids = ["👩\u200d👧\ufe0f", "می\u200cخواهم", "山田\u3000太郎"]
    assert parse_lines("\n".join(ids)) == parse_csv("\n".join(ids).encode()) == ids
    assert parse_csv(b'User ID\n"a\tb"\n') == ["a\tb"]
