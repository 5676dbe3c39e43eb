"""The file of runbooks, as a team writes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sagascope_collector import config_file
from sagascope_collector.analysis import runbooks
from sagascope_collector.analysis.model import Phase
from sagascope_collector.analysis.runbooks import Runbook
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.config_file import Template


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _among(*known: str) -> Callable[[list[str]], list[str]]:
    def check(words: list[str]) -> list[str]:
        for word in words:
            if word not in known:
                raise ValueError(f"{word!r} is none of {', '.join(known)}")
        return words

    return check


def _checked(parse: Callable[[str], Template]) -> Callable[[str], str]:
    def check(text: str) -> str:
        parse(text)
        return text

    return check


Word = Annotated[str, Field(min_length=1, max_length=200)]
Patterns = Annotated[list[Word], BeforeValidator(_listed), Field(min_length=1)]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class When(BaseModel):
    """What must hold for a runbook to be told; of each list one. `*` in a word stands for any characters."""

    model_config = ConfigDict(extra="forbid")

    name: Patterns | None = None
    environment: Patterns | None = None
    step: Patterns | None = None
    service: Patterns | None = None
    error_type: Patterns | None = None
    reason: Annotated[Patterns, AfterValidator(_among(*AttentionCode))] | None = None
    phase: Annotated[Patterns, AfterValidator(_among(*Phase))] | None = None


class Rule(BaseModel):
    """One runbook."""

    model_config = ConfigDict(extra="forbid")

    when: When = When()
    do: Annotated[Text, AfterValidator(_checked(runbooks.parse))] | None = None
    link: Annotated[Text, AfterValidator(_checked(runbooks.link))] | None = None

    @model_validator(mode="after")
    def _require_text_or_link(self) -> "Rule":
        if self.do is None and self.link is None:
            raise ValueError("says neither what to do nor where to read on: give `do`, `link` or both")
        return self


class File(BaseModel):
    """All of them; those that are for a saga are told in this order."""

    model_config = ConfigDict(extra="forbid")

    runbooks: list[Rule] = []


def read(path: Path) -> tuple[Runbook, ...]:
    """Read the runbooks of a file.

    Raises:
        BadRules: it cannot be read; or some of it means nothing, and then each fault is told with its line.
    """
    return tuple(_runbook(each) for each in config_file.read(path, File).runbooks)


def _runbook(rule: Rule) -> Runbook:
    when = rule.when.model_dump(exclude_none=True)
    do = runbooks.parse(rule.do) if rule.do else None
    return Runbook(when, do, runbooks.link(rule.link) if rule.link else None)
