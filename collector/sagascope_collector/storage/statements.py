"""The SQL that the storage runs: files by subject in `sql/`, with statements under ``-- name: verb_noun``."""

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

import duckdb

from sagascope_collector.errors import CannotStart

Statements = MappingProxyType[str, str]
"""The text of each statement, by its name."""

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load(subject: str) -> Statements:
    """Returns the statements of one subject."""
    text = files(__package__).joinpath("sql", f"{subject}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return MappingProxyType({name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)})


def subjects() -> list[str]:
    """Returns every subject that has a file."""
    found = files(__package__).joinpath("sql").iterdir()
    return sorted(each.name.removesuffix(".sql") for each in found if each.name.endswith(".sql"))


@cache
def check() -> None:
    """Checks that every statement can be read, and is exactly one.

    Raises:
        CannotStart: the installation is broken.
    """
    for subject in subjects():
        for name, text in load(subject).items():
            try:
                count = len(duckdb.extract_statements(text))
            except duckdb.Error as error:
                raise CannotStart(f"This installation is broken: {subject}.sql, {name}: {error}.") from error
            if count != 1:
                raise CannotStart(f"This installation is broken: {subject}.sql, {name} holds {count} statements.")
