"""Files of rules that people write in YAML: checked by a model, and refused with everything that is wrong."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel, ValidationError

from sagascope_collector import yamltext
from sagascope_collector.errors import BadRules
from sagascope_collector.yamltext import Fault, Place

Model = TypeVar("Model", bound=BaseModel)

MOST_BYTES: Final = 1024 * 1024
"""A larger file is none that a person wrote."""

MOST_FAULTS: Final = 20
"""How many are told of one file; of the others their number."""


def read(path: Path, model: type[Model]) -> Model:
    """Read a file of rules; an empty one is an empty mapping.

    Keys that the model does not have are refused, whatever its own configuration says.

    Raises:
        BadRules: it cannot be read, or is not as the model wants it. Each fault is a line
            ``file:line: key.path: what is wrong``.
    """
    try:
        document = yamltext.parse(_text(path))
    except yamltext.Unreadable as error:
        raise bad(path, [error.fault]) from error
    try:
        found = model.model_validate(document.value, extra="forbid")
    except ValidationError as error:
        told = [_fault(each, document.lines) for each in error.errors(include_url=False, include_input=False)]
        raise bad(path, [*document.faults, *told]) from error
    if document.faults:
        raise bad(path, document.faults)
    return found


def bad(path: Path, faults: Iterable[Fault]) -> BadRules:
    """The error that tells of these faults, in the order of their lines."""
    told = sorted(set(faults), key=lambda fault: (fault.line, str(fault.place)))
    lines = [f"{path}:{fault.line}: {spelt(fault.place)}{fault.text}" for fault in told[:MOST_FAULTS]]
    if len(told) > MOST_FAULTS:
        lines.append(f"{path}: and {len(told) - MOST_FAULTS} more")
    return BadRules("\n".join(lines))


def spelt(place: Place) -> str:
    """A place as people read it, with what parts it from a sentence: ``rules[2].step: ``."""
    text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place)
    return f"{text.removeprefix('.')}: " if text else ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadRules(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(raw) > MOST_BYTES:
        raise BadRules(f"{path} is larger than {MOST_BYTES // 1024} KiB.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad(path, [Fault(raw.count(b"\n", 0, error.start) + 1, (), "this is not UTF-8")]) from error


def _fault(error: Mapping[str, Any], lines: Mapping[Place, int]) -> Fault:
    place = _written(error["loc"], lines)
    line = lines[place]
    if error["type"] == "missing":
        return Fault(line, (*place, error["loc"][-1]), "is missing")
    if error["type"] == "extra_forbidden":
        return Fault(line, place, "is not known here")
    if error["type"] in ("model_type", "dict_type"):
        return Fault(line, place, "should be a mapping of keys to values")
    said = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "should be", 1)
    return Fault(line, place, said)


def _written(place: Place, lines: Mapping[Place, int]) -> Place:
    """The part of a place that stands in the file: models name also their own parts, and what is missing."""
    told: Place = ()
    for each in place:
        if (*told, each) in lines:
            told = (*told, each)
    return told


_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Template:
    """A text in pieces: what stands as it is, and names of fields in between, each as (text, field after it)."""

    pieces: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, check: Callable[[str], None]) -> Self:
        """Read a template: ``{field}``; ``{{`` and ``}}`` stand for the braces themselves.

        Args:
            text: the template.
            check: raises `ValueError` for a name that is no field.

        Raises:
            ValueError: a brace stands alone, or holds what is no field.
        """
        pieces, fixed, at = [], "", 0
        for part in _PART.finditer(text):
            fixed += text[at : part.start()]
            at = part.end()
            if part[0] in ("{{", "}}"):
                fixed += part[0][0]
                continue
            pieces.append((fixed, _field(part, check)))
            fixed = ""
        return cls((*pieces, (fixed + text[at:], "")))

    def filled(self, fields: Mapping[str, str], safe: Callable[[str], str] = str) -> str:
        """The text with every field as `safe` writes its value; one without a value is ``""`` to it."""
        return "".join(text + (safe(fields.get(field, "")) if field else "") for text, field in self.pieces)


def _field(part: re.Match[str], check: Callable[[str], None]) -> str:
    name = part[1]
    if name is None:
        raise ValueError(f"a single {part[0]} stands for nothing; write {part[0] * 2} for the brace itself")
    check(name)
    return name
