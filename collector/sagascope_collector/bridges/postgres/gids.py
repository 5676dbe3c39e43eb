"""Reads the global ids by which coordinators name prepared transactions. Pure."""

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Final

from sagascope_collector.errors import BadValue

XA: Final = re.compile(r"(?P<format>-?\d{1,10})_(?P<global>[A-Za-z0-9+/]+={0,2})_(?P<branch>[A-Za-z0-9+/]*={0,2})\Z")
"""As PostgreSQL's JDBC driver writes the ids of XA: what is common to all participants stands between the lines."""

GROUPS: Final = frozenset({"id", "name", "run", "participant"})


@dataclass(frozen=True, slots=True)
class Gid:
    """What a global id says."""

    saga_id: str
    name: str = ""
    run: str = ""
    participant: str = ""
    """Empty: the database alone tells who it is."""


class Gids:
    """Reads global ids.

    Args:
        pattern: a regular expression with the group ``id`` and, if wanted, ``name``, ``run`` and ``participant``; what
            it does not match is read without it.

    Raises:
        BadValue: it is no such expression.
    """

    def __init__(self, pattern: str | None = None) -> None:
        self._pattern = _compiled(pattern) if pattern else None

    def read(self, text: str) -> Gid:
        """The saga of a global id: by the pattern, as an id of XA, or else the whole text is the saga's id."""
        if self._pattern and (found := self._pattern.search(text)) and found["id"]:
            said = {name: value or "" for name, value in found.groupdict().items() if name in GROUPS}
            return Gid(said.pop("id"), **said)
        found = XA.match(text)
        return Gid((_decoded(found["global"]) if found else None) or text)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadValue(f"--gid is no regular expression: {error}.") from error
    if "id" not in compiled.groupindex:
        raise BadValue("--gid needs a group (?P<id>...): the part that is the transaction's id.")
    return compiled


def _decoded(text: str) -> str | None:
    """The shared part as coordinators show it: as text where it is text, else in hex; None: it is something else."""
    try:
        raw = b64decode(text, validate=True)
    except binascii.Error:
        return None
    return raw.decode() if raw and raw.isascii() and raw.decode().isprintable() else raw.hex()
