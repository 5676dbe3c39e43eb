"""Texts with fields in braces. A field is a word that is looked up, never an expression. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

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
