"""netvane.yml: strict YAML into frozen msgspec structs.

Every complaint is a `ConfigError` that names file, line and key, what stood there and what was expected. YAML is read
as a tree of nodes, not as plain values, because only nodes know their line.
"""

import math
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

S = TypeVar("S", bound="Section")

DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
SIZE_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class ConfigError(Exception):
    """A mistake in a configuration: ``file:line: key: what is wrong``."""

    def __init__(self, problem: str, *, file: Path | None = None, line: int | None = None, key: str = "") -> None:
        place = "" if file is None else f"{file}:{line}: " if line else f"{file}: "
        super().__init__(f"{place}{key + ': ' if key else ''}{problem}")


class Duration(float):
    """Seconds; written as ``500ms``, ``15s``, ``5m``, ``12h``, ``31d`` or ``2w``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "Duration":
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", text) if isinstance(text, str) else None
        if match is None:
            raise ValueError("expected a duration such as 500ms, 15s, 5m, 12h or 31d")
        return cls(float(match[1]) * DURATION_UNITS[match[2]])


class Size(int):
    """Bytes; written as ``500MB``, ``2GB`` or ``64MiB``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "Size":
        match = re.fullmatch(r"(\d+)(B|kB|MB|GB|KiB|MiB|GiB)", text) if isinstance(text, str) else None
        if match is None:
            raise ValueError("expected a size such as 500MB, 2GB or 64MiB")
        return cls(int(match[1]) * SIZE_UNITS[match[2]])


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the configuration file; every key has a default unless it is the point of the section.

    A section whose keys depend on each other overrides `problem`. Sub-classes say ``frozen=True`` again: mypy wants it.
    """

    def problem(self) -> tuple[str, str] | None:
        """The key at fault and what is wrong with it, or None where all is well."""
        return None


class Document:
    """A configuration file, read and split into its top-level sections, each still to be checked by its owner."""

    def __init__(self, file: Path | None, sections: dict[str, yaml.Node]) -> None:
        self.file = file
        self._sections = sections

    @classmethod
    def load(cls, file: Path | None, known_sections: frozenset[str]) -> "Document":
        """Read `file`; None and an empty file are a working set-up.

        Raises ConfigError: unreadable file, not YAML, not a mapping, a top-level name outside `known_sections`.
        """
        if file is None:
            return cls(None, {})
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=file) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"is not UTF-8 text (byte {error.start})", file=file) from error
        return cls.parse(text, file, known_sections)

    @classmethod
    def parse(cls, text: str, file: Path, known_sections: frozenset[str]) -> "Document":
        """The same from a text; `file` is what complaints name."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise ConfigError(f"is not YAML: {error.problem}", file=file, line=line) from error
        except (yaml.YAMLError, RecursionError) as error:
            reason = str(error).splitlines()[0] if isinstance(error, yaml.YAMLError) else "nested too deeply"
            raise ConfigError(f"is not YAML: {reason}", file=file) from error
        if root is None or _is_null(root):
            return cls(file, {})
        reader = _Reader(file)
        nodes = reader.mapping(root, "", "a mapping of " + ", ".join(sorted(known_sections)))
        for name, (key_node, _) in nodes.items():
            if name not in known_sections:
                raise reader.error(key_node, name, f"unknown key; expected one of {', '.join(sorted(known_sections))}")
        return cls(file, {name: value for name, (_, value) in nodes.items()})

    def section(self, name: str, model: type[S]) -> S:
        """The section `name` checked against `model`; its defaults where the file does not have it or it is empty.

        Raises ConfigError.
        """
        node = self._sections.get(name)
        if node is None or _is_null(node):
            return model()
        return typing.cast("S", _Reader(self.file).value(node, model, name))

    def __contains__(self, name: str) -> bool:
        return name in self._sections

    def texts(self, name: str) -> dict[str, str]:
        """A section whose keys the owner chooses, each with a text. Raises ConfigError."""
        if name not in self._sections or _is_null(self._sections[name]):
            return {}
        return typing.cast("dict[str, str]", _Reader(self.file).value(self._sections[name], dict[str, str], name))

    def text(self, name: str, model: Any, default: str) -> str:
        """A top-level key that is a single text; `model` is str or a constrained str. Raises ConfigError."""
        if name not in self._sections:
            return default
        return typing.cast("str", _Reader(self.file).value(self._sections[name], model, name))


class _Reader:
    def __init__(self, file: Path | None) -> None:
        self._file = file

    def error(self, node: yaml.Node, key: str, problem: str) -> ConfigError:
        return ConfigError(problem, file=self._file, line=node.start_mark.line + 1, key=key)

    def mapping(self, node: yaml.Node, key: str, expected: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> (its node, its value's node)."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, key, f"expected {expected}, got {_describe(node)}")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(key_node, key, "expected a plain word as key")
            if key_node.value in found:
                raise self.error(key_node, _join(key, key_node.value), "given twice")
            found[key_node.value] = (key_node, value_node)
        return found

    def value(self, node: yaml.Node, model: Any, key: str) -> Any:
        """`node` as the type `model`: a Section, tuple, dict, optional, Duration, Size or what msgspec converts."""
        model, optional = _without_none(model)
        if optional and _is_null(node):
            return None
        if isinstance(model, type) and issubclass(model, Section):
            return self._section(node, model, key)
        if typing.get_origin(model) is tuple:
            if not isinstance(node, yaml.SequenceNode):
                raise self.error(node, key, f"expected a list, got {_describe(node)}")
            item_type = typing.get_args(model)[0]
            return tuple(self.value(item, item_type, f"{key}[{number}]") for number, item in enumerate(node.value))
        if typing.get_origin(model) is dict:
            item_type = typing.get_args(model)[1]
            items = self.mapping(node, key, "a mapping").items()
            return {name: self.value(item, item_type, _join(key, name)) for name, (_, item) in items}
        return self._scalar(node, model, key)

    def _section(self, node: yaml.Node, model: type[Section], key: str) -> Section:
        hints = typing.get_type_hints(model, include_extras=True)
        nodes = self.mapping(node, key, "a mapping of " + ", ".join(hints))
        for name, (key_node, _) in nodes.items():
            if name not in hints:
                raise self.error(key_node, _join(key, name), f"unknown key; expected one of {', '.join(hints)}")
        values = {name: self.value(value, hints[name], _join(key, name)) for name, (_, value) in nodes.items()}
        for field in msgspec.structs.fields(model):
            if field.required and field.name not in values:
                raise self.error(node, _join(key, field.name), "missing")
        section = model(**values)
        if problem := section.problem():
            at = nodes[problem[0]][1] if problem[0] in nodes else node
            raise self.error(at, _join(key, problem[0]), problem[1])
        return section

    def _scalar(self, node: yaml.Node, model: Any, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, key, f"expected {_expectation(model)}, got {_describe(node)}")
        bare = typing.get_args(model)[0] if typing.get_origin(model) is typing.Annotated else model
        # A bare `123` is a good name all the same: what a string is expected for is taken as it is written.
        value = node.value if bare in {str, Duration, Size, Path} else self._plain(node, key)
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(node, key, "expected a finite number")
        try:
            return msgspec.convert(value, model, dec_hook=_parse_custom)
        except msgspec.ValidationError as error:
            problem = str(error).removesuffix(" - at `$`")
            raise self.error(node, key, f"{problem[0].lower()}{problem[1:]}, got {_describe(node)}") from error

    def _plain(self, node: yaml.ScalarNode, key: str) -> Any:
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.error(node, key, f"expected a plain value, got {_describe(node)}") from error


def _parse_custom(model: type, value: object) -> object:
    if model is Duration:
        return Duration.parse(value)
    if model is Size:
        return Size.parse(value)
    if model is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError(f"expected {_expectation(model)}")


def _without_none(model: Any) -> tuple[Any, bool]:
    if typing.get_origin(model) in {types.UnionType, typing.Union}:
        rest = tuple(part for part in typing.get_args(model) if part is not type(None))
        if len(rest) < len(typing.get_args(model)):
            return (rest[0] if len(rest) == 1 else typing.Union[rest]), True  # noqa: UP007 - built at run time
    return model, False


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _expectation(model: Any) -> str:
    bare = typing.get_args(model)[0] if typing.get_origin(model) is typing.Annotated else model
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return words.get(bare, "a single value")


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    text = str(node.value)
    return repr(text if len(text) <= 40 else text[:40] + "…") if not _is_null(node) else "nothing"


def read_secret(path: Path) -> str:
    """The text of a secret's file less its final newline.

    Raises ConfigError where it cannot be read, is empty, or is larger than any password (4 KiB).
    """
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.read(4097)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", file=path) from error
    secret = secret.rstrip("\r\n")
    if not secret or len(secret) > 4096:
        raise ConfigError("is empty" if not secret else "is larger than 4 KiB", file=path)
    return secret
