import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common.text import MAX_NAME_BYTES, clean_name


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        (b"kitchen-pi", "kitchen-pi"),
        (b"kitchen-pi\0\0", "kitchen-pi"),
        ("Küche ☕", "Küche ☕"),
        ("Küche".encode("latin-1"), "K\ufffdche"),
        (b"a\"b'c`d\\e<f>g", "abcdefg"),
        (b"  two\r\n\tlines \x1b[31m ", "two lines [31m"),
        ("evil\u202egnp.exe\u2066\ufeff", "evilgnp.exe"),
        ("\ud800lone surrogate", "lone surrogate"),
        ("a ' b", "a b"),
        (b"", None),
        (b"\0\x01 \"'\x7f", None),
        (b"x" * 300, "x" * 255),
        ("é" * 200, "é" * 127),
    ],
)
def test_clean_name(name: bytes | str, cleaned: str | None) -> None:
    assert clean_name(name) == cleaned


@given(st.binary(max_size=2000) | st.text(alphabet=st.characters(), max_size=1000))
def test_cleaned_is_harmless_and_stays_as_it_is(name: bytes | str) -> None:
    cleaned = clean_name(name)
    if cleaned is None:
        return
    assert 0 < len(cleaned.encode()) <= MAX_NAME_BYTES
    assert not set(cleaned) & set("\"'`\\<>\n\r\t\0")
    assert all(character == " " or unicodedata.category(character)[0] not in "CZ" for character in cleaned)
    assert clean_name(cleaned) == cleaned
