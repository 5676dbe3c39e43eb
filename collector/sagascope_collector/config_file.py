"""Reads YAML files that users write, validates them with a model, and reports all errors with their lines.

The accepted YAML is a strict subset: ``no`` and ``12:30`` are text, a key occurs once in a mapping, and anchors, tags
and deep nesting are refused.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sagascope_collector.errors import BadRules

Model = TypeVar("Model", bound=BaseModel)

MAX_FILE_BYTES: Final = 1024 * 1024

MAX_LISTED_ERRORS: Final = 20
"""Maximum number of errors that a message lists for one file; it gives the number of further ones."""

MAX_DEPTH: Final = 50
"""Maximum depth of nested lists and mappings."""

KeyPath = tuple[str | int, ...]
"""Keys and list indexes from the root: ``("rules", 2, "step")``."""


class FileError(NamedTuple):
    """One error in a file."""

    line: int
    """The line number, from 1."""
    path: KeyPath
    text: str


def read(file: Path, model: type[Model]) -> Model:
    """Reads a file; an empty file is an empty mapping.

    Keys that the model does not declare are errors, regardless of the model's own configuration.

    Raises:
        BadRules: the file cannot be read, or is not valid. Each error is a line ``file:line: key.path: text``.
    """
    try:
        document = _parse(_read_text(file))
    except _SyntaxError as error:
        raise _bad_rules(file, [error.file_error]) from error
    try:
        parsed = model.model_validate(document.value, extra="forbid")
    except ValidationError as error:
        invalid = [_file_error(each, document.lines) for each in error.errors(include_url=False, include_input=False)]
        raise _bad_rules(file, [*document.errors, *invalid]) from error
    if document.errors:
        raise _bad_rules(file, document.errors)
    return parsed


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadRules(f"{file} cannot be read: {error.strerror or error}.") from error
    if len(raw) > MAX_FILE_BYTES:
        raise BadRules(f"{file} is larger than {MAX_FILE_BYTES // 1024} KiB.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _bad_rules(file, [FileError(line, (), "this is not UTF-8")]) from error


def _bad_rules(file: Path, errors: Iterable[FileError]) -> BadRules:
    """Returns the exception that lists these errors, ordered by line."""
    ordered = sorted(set(errors), key=lambda each: (each.line, str(each.path)))
    lines = [f"{file}:{each.line}: {_prefix(each.path)}{each.text}" for each in ordered[:MAX_LISTED_ERRORS]]
    if len(ordered) > MAX_LISTED_ERRORS:
        lines.append(f"{file}: and {len(ordered) - MAX_LISTED_ERRORS} more")
    return BadRules("\n".join(lines))


def _prefix(path: KeyPath) -> str:
    """Formats a path as the start of a sentence: ``rules[2].step: ``."""
    text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path)
    return f"{text.removeprefix('.')}: " if text else ""


def _file_error(error: Mapping[str, Any], lines: Mapping[KeyPath, int]) -> FileError:
    path = _existing_part(error["loc"], lines)
    line = lines[path]
    if error["type"] == "missing":
        return FileError(line, (*path, error["loc"][-1]), "is missing")
    if error["type"] == "extra_forbidden":
        return FileError(line, path, "is not a known key")
    if error["type"] in ("model_type", "dict_type"):
        return FileError(line, path, "should be a mapping of keys to values")
    text = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "should be", 1)
    return FileError(line, path, text)


def _existing_part(path: KeyPath, lines: Mapping[KeyPath, int]) -> KeyPath:
    """Returns the part of a path that is in the file: pydantic's paths also name types and missing keys."""
    existing: KeyPath = ()
    for each in path:
        if (*existing, each) in lines:
            existing = (*existing, each)
    return existing


class _SyntaxError(Exception):
    """The text is not valid; nothing after the error can be read."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.file_error = FileError(line, (), text)


@dataclass(slots=True)
class _Document:
    value: Any = field(default_factory=dict)
    """Mappings, lists, strings, numbers, bools and None."""
    lines: dict[KeyPath, int] = field(default_factory=lambda: {(): 1})
    """The line of each key and list item."""
    errors: list[FileError] = field(default_factory=list)


def _parse(text: str) -> _Document:
    document = _Document()
    node = _compose(text)
    value = _NodeReader(document).value(node, ()) if node is not None else None
    if value is not None:
        document.value = value
    return document


def _compose(text: str) -> yaml.Node | None:
    try:
        return _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _SyntaxError(line, f"this is not YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _SyntaxError(line, "this is not YAML: it has a character that is not allowed in text") from error


class _Loader(yaml.SafeLoader):
    """Composes nodes without resolving scalars, which are resolved by YAML 1.2 in `_scalar`."""

    _depth = 0

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _SyntaxError(line, "anchors and aliases are not supported; repeat the value")
        if getattr(event, "tag", None):
            raise _SyntaxError(line, "tags are not supported")
        if self._depth > MAX_DEPTH:
            raise _SyntaxError(line, f"nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _NodeReader:
    """Converts nodes to values; collects lines and errors in a document."""

    def __init__(self, document: _Document) -> None:
        self._lines, self._errors = document.lines, document.errors

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*path, index)) for index, each in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._errors.append(FileError(line, path, "a key must be plain text"))
                continue
            below = (*path, key_node.value)
            if key_node.value in values:
                self._errors.append(FileError(line, below, f"is a duplicate of line {self._lines[below]}"))
                continue
            self._lines[below] = line
            values[key_node.value] = self.value(value_node, below)
        return values


def _scalar(node: Any) -> Any:
    """Returns the value of a scalar by the core schema of YAML 1.2; quoted scalars are text."""
    text = str(node.value)
    if node.style is not None:
        return text
    return next((convert(text) for pattern, convert in _SCALARS if pattern.fullmatch(text)), text)


_SCALARS: Final = (
    (re.compile(r"|~|null|Null|NULL"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]{1,18}"), int),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)


_TEMPLATE_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with fields, as pairs of a literal text and the field after it; the last pair has no field."""

    pieces: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, check: Callable[[str], None]) -> Self:
        """Parses a template with fields such as ``{name}``; ``{{`` and ``}}`` are literal braces.

        Args:
            text: the template.
            check: raises `ValueError` for an unknown field.

        Raises:
            ValueError: a brace is single, or a field is unknown.
        """
        pieces, literal, end = [], "", 0
        for part in _TEMPLATE_PART.finditer(text):
            literal += text[end : part.start()]
            end = part.end()
            if part[0] in ("{{", "}}"):
                literal += part[0][0]
                continue
            pieces.append((literal, _field_name(part, check)))
            literal = ""
        return cls((*pieces, (literal + text[end:], "")))

    def filled(self, fields: Mapping[str, str], safe: Callable[[str], str] = str) -> str:
        """Returns the text with each field's value, escaped by `safe`; a missing value is ``""``."""
        return "".join(text + (safe(fields.get(name, "")) if name else "") for text, name in self.pieces)


def _field_name(part: re.Match[str], check: Callable[[str], None]) -> str:
    name = part[1]
    if name is None:
        raise ValueError(f"a single {part[0]} is not a field; write {part[0] * 2} for a literal brace")
    check(name)
    return name
