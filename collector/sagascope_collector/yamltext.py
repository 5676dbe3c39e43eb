"""A careful part of YAML: text to plain values, each with its line. Pure.

What people write by hand is read as they mean it: ``no`` and ``12:30`` stay text, a key stands once in a mapping, and
anchors, tags and deep nesting, which a file of rules has no use for, are refused.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import yaml

DEEPEST: Final = 50
"""Levels of lists and mappings, one within another."""

Place = tuple[str | int, ...]
"""Keys and positions in lists, from the top: ``("rules", 2, "step")``."""


class Fault(NamedTuple):
    """One thing that is wrong."""

    line: int
    """From 1."""
    place: Place
    text: str


class Unreadable(Exception):
    """The text is no such YAML, and nothing is known of what follows the fault."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(line, (), text)


@dataclass(slots=True)
class Document:
    """What a text says."""

    value: Any = field(default_factory=dict)
    """Mappings, lists, strings, numbers, bools and None. An empty text is an empty mapping."""
    lines: dict[Place, int] = field(default_factory=lambda: {(): 1})
    """Where the key, or the item, of each place stands."""
    faults: list[Fault] = field(default_factory=list)


def parse(text: str) -> Document:
    """Read a text.

    Raises:
        Unreadable: it is no YAML, or uses more of it than is read here.
    """
    document = Document()
    node = _composed(text)
    value = _Reader(document).plain(node, ()) if node is not None else None
    if value is not None:
        document.value = value
    return document


def _composed(text: str) -> yaml.Node | None:
    try:
        return _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(mark.line + 1 if mark else 1, f"this is no YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(line, "this is no YAML: it holds a character that text does not have") from error


class _Loader(yaml.SafeLoader):
    """Composes nodes; their tags follow YAML 1.2."""

    _depth = 0

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Unreadable(line, "anchors and aliases are not read here: write it out")
        if getattr(event, "tag", None):
            raise Unreadable(line, "tags are not read here")
        if self._depth > DEEPEST:
            raise Unreadable(line, f"nested deeper than {DEEPEST} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    def __init__(self, document: Document) -> None:
        self._lines, self._faults = document.lines, document.faults

    def plain(self, node: yaml.Node, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(each, (*place, number)) for number, each in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._faults.append(Fault(line, place, "a key must be plain text"))
                continue
            below = (*place, key_node.value)
            if key_node.value in said:
                self._faults.append(Fault(line, below, f"stands on line {self._lines[below]} already"))
                continue
            self._lines[below] = line
            said[key_node.value] = self.plain(value_node, below)
        return said


def _scalar(node: Any) -> Any:
    """The value of a scalar by YAML 1.2's core schema; what is quoted is text."""
    text = str(node.value)
    if node.style is not None:
        return text
    return next((kind(text) for pattern, kind in _KINDS if pattern.fullmatch(text)), text)


_KINDS: Final = (
    (re.compile(r"|~|null|Null|NULL"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]{1,18}"), int),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)
