"""netvane.yml: what is accepted, and what a mistake is told."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common.config import ConfigError, Document, Duration, Section, Size, read_secret
from netvane.common.settings import SECTIONS, Loki, Network, Storage, load, site_of

FILE = Path("netvane.yml")


class Inner(Section, frozen=True):
    name: str
    every: Duration = Duration(1)


class Outer(Section, frozen=True):
    count: int = 3
    ratio: float = 0.5
    on: bool = True
    room: Size = Size(1000)
    path: Path | None = None
    inner: tuple[Inner, ...] = ()


def outer(text: str) -> Outer:
    return Document.parse(f"up:\n{text}", FILE, SECTIONS).section("up", Outer)


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        outer(text)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n"])
def test_empty_file_is_a_working_set_up(text: str) -> None:
    document = Document.parse(text, FILE, SECTIONS)
    assert document.section("storage", Storage) == Storage()
    assert document.section("network", Network).interface is None
    assert site_of(document) == "home"


def test_values_of_every_type() -> None:
    settings = outer("  {count: 7, ratio: 1, on: false, room: 2GB, path: /x, inner: [{name: 42, every: 1.5m}]}")
    assert settings == Outer(7, 1.0, False, Size(2_000_000_000), Path("/x"), (Inner("42", Duration(90)),))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  cuont: 3", "netvane.yml:2: up.cuont: unknown key; expected one of count, ratio, on, room, path, inner"),
        ("  count: many", "netvane.yml:2: up.count: expected `int`, got `str`, got 'many'"),
        ("  count: 1\n  count: 2", "netvane.yml:3: up.count: given twice"),
        ("  count: [1]", "netvane.yml:2: up.count: expected a whole number, got a list"),
        ("  count: ", "netvane.yml:2: up.count: expected `int`, got `null`, got nothing"),
        ("  ratio: .nan", "netvane.yml:2: up.ratio: expected a finite number"),
        ("  on: 1", "netvane.yml:2: up.on: expected `bool`, got `int`, got '1'"),
        ("  room: 2 GB", "netvane.yml:2: up.room: expected a size such as 500MB, 2GB or 64MiB, got '2 GB'"),
        ("  inner:\n    - name: a\n    - every: 1s", "netvane.yml:4: up.inner[1].name: missing"),
        ("  inner:\n    - name: a\n      every: 5", "netvane.yml:4: up.inner[0].every: expected a duration such as"),
        ("  inner: a", "netvane.yml:2: up.inner: expected a list, got 'a'"),
        ("  7", "netvane.yml:2: up: expected a mapping of count, ratio, on, room, path, inner, got '7'"),
        ("  count: !!python/name:os.system x", "netvane.yml:2: up.count: expected a plain value"),
        ("  count: {a", "netvane.yml:2: is not YAML"),
        ("  ? [a]\n  : b", "netvane.yml:2: up: expected a plain word as key"),
    ],
)
def test_mistakes_name_file_line_and_key(text: str, told: str) -> None:
    assert complaint(text).startswith(told)


def test_unknown_top_level_name() -> None:
    with pytest.raises(ConfigError, match=r"netvane\.yml:2: nitwork: unknown key; expected one of alerts"):
        Document.parse("site: a\nnitwork: {}\n", FILE, SECTIONS)


@pytest.mark.parametrize("site", ["Mr House", "a_b", "-a", '""'])
def test_site_is_a_plain_label(site: str) -> None:
    with pytest.raises(ConfigError, match="site"):
        site_of(Document.parse(f"site: {site}\n", FILE, SECTIONS))


def test_problems_between_keys() -> None:
    with pytest.raises(ConfigError, match=r"netvane\.yml:2: network\.router: expected an IPv4 address, got 'fd00::1'"):
        Document.parse("network:\n  router: fd00::1\n", FILE, SECTIONS).section("network", Network)
    with pytest.raises(ConfigError, match=r"loki\.username: username and password_file go together"):
        Document.parse("loki: {username: me}\n", FILE, SECTIONS).section("loki", Loki)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "absent.yml")
    binary = tmp_path / "binary.yml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(binary)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path)


def test_secrets(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("pass word\n")
    assert read_secret(file) == "pass word"
    file.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_secret(file)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda data: data.decode("latin-1")))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    with contextlib.suppress(ConfigError):
        document = Document.parse(text, FILE, SECTIONS)
        document.section("network", Network)
        site_of(document)
