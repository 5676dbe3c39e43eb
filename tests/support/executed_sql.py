"""A plugin of pytest that notes which statements of the storage were used: ``-p support.executed_sql``.

At the end it writes them to the file that `VARIABLE` names, a line each: subject and name.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import sagascope_collector.app  # noqa: F401  every module that holds statements
from support.statements import by_subject

VARIABLE = "SAGASCOPE_EXECUTED_SQL"

_used: set[str] = set()


class _Noted(dict[str, str]):
    """The statements of a subject; those that are asked for are noted."""

    def __init__(self, subject: str, statements: Mapping[str, str]) -> None:
        super().__init__(statements)
        self._subject = subject

    def __getitem__(self, name: str) -> str:
        _used.add(f"{self._subject} {name}")
        return super().__getitem__(name)


def every() -> set[str]:
    """Returns all statements that there are, as they are written to the file."""
    return {f"{subject} {name}" for subject, statements in by_subject().items() for name in statements}


def pytest_sessionstart() -> None:
    """Replaces what the modules hold."""
    subjects = {id(statements): subject for subject, statements in by_subject().items()}
    for name, module in list(sys.modules.items()):
        if name.startswith("sagascope_collector."):
            for attribute, value in list(vars(module).items()):
                if isinstance(value, MappingProxyType) and id(value) in subjects:
                    setattr(module, attribute, _Noted(subjects[id(value)], value))


def pytest_sessionfinish() -> None:
    """Writes what was used."""
    Path(os.environ[VARIABLE]).write_text("\n".join(sorted(_used)))
