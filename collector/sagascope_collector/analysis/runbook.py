"""What a team wants to be done, or read, when a saga of some kind needs attention."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sagascope_collector.analysis.templates import as_link, as_text
from sagascope_collector.config_file import Template


@dataclass(frozen=True, slots=True)
class Runbook:
    """What to do, and where to read on, in the cases that it is for."""

    when: Mapping[str, Sequence[str]]
    """Patterns by field, one of which must fit; ``*`` stands for any characters. No field: always."""
    do: Template | None
    link: Template | None

    def applies(self, fields: Mapping[str, str]) -> bool:
        """Whether it is for a saga with these fields."""
        return all(
            any(fnmatchcase(fields.get(field, ""), pattern) for pattern in patterns)
            for field, patterns in self.when.items()
        )

    def text(self, fields: Mapping[str, str]) -> str:
        """The sentence, the link, or both."""
        parts = [as_text(self.do, fields) if self.do else "", as_link(self.link, fields) if self.link else ""]
        return " ".join(filter(None, parts))
