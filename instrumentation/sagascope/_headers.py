"""Reads and writes headers, whatever carries them: the text of ``baggage``, mappings, lists of pairs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sagascope import semconv
from sagascope._context import Place
from sagascope._identity import Identity

BAGGAGE = "baggage"
TRACE_HEADERS = frozenset({"traceparent", "tracestate"})

LONGEST_BAGGAGE = 8192
"""Bytes of a baggage header that W3C lets everybody rely on."""

Carrier = Any
"""A mapping of header names to values, or a list of (name, value) pairs; names and values are str or bytes."""


def merge_baggage(existing: str, place: Place) -> str:
    """A baggage header with the place's members; other members of `existing` are left as they are."""
    from urllib.parse import quote  # not for a process that only declares sagas

    ours = [f"{name}={quote(str(value), safe='')}" for name, value in place.stamp.items()]
    merged = ",".join([*other_members(existing), *ours])
    return merged if len(merged) <= LONGEST_BAGGAGE else existing


def other_members(header: str) -> Iterator[str]:
    """The members of a baggage header that are not ours, each as it was written."""
    return (member for member in header.split(",") if member.strip() and _name(member) not in semconv.BAGGAGE_MEMBERS)


def parse_baggage(header: str) -> dict[str, str]:
    """The members of a baggage header that are ours; what cannot be read is left out."""
    from urllib.parse import unquote

    if len(header) > LONGEST_BAGGAGE:
        header = header[:LONGEST_BAGGAGE].rpartition(",")[0]
    members = {}
    for member in header.split(","):
        name = _name(member)
        if name in semconv.BAGGAGE_MEMBERS:
            members[name] = unquote(member.split(";", 1)[0].partition("=")[2].strip())
    return members


def identity(members: Mapping[str, str]) -> Identity | None:
    """The saga that baggage members name; None: they name none."""
    saga_id = members.get(semconv.SAGA_ID)
    if not saga_id:
        return None
    return Identity(saga_id, members.get(semconv.SAGA_NAME, ""), members.get(semconv.SAGA_RUN_ID, ""))


def attempt(members: Mapping[str, str]) -> int:
    """The caller's attempt number; 0 if it was not said."""
    said = members.get(semconv.STEP_ATTEMPT, "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0


def read(carrier: Carrier) -> dict[str, str]:
    """The headers that carry a context, by lower-case name; several ``baggage`` headers are one."""
    headers: dict[str, str] = {}
    for name, value in pairs(carrier):
        key = text(name).lower().removeprefix("http_")
        if key == BAGGAGE or key in TRACE_HEADERS:
            headers[key] = ",".join(filter(None, (headers.get(key), first(value))))
    return headers


def write(carrier: Carrier, headers: Mapping[str, str]) -> None:
    """Set these headers, in place of those of the same name in whatever case."""
    if hasattr(carrier, "items"):
        present = {text(name).lower(): name for name, _ in pairs(carrier)}
        for name, value in headers.items():
            carrier[present.get(name, name)] = value
        return
    as_bytes = any(isinstance(value, bytes) for _, value in carrier)
    carrier[:] = [pair for pair in carrier if text(pair[0]).lower() not in headers]
    carrier.extend((name, value.encode() if as_bytes else value) for name, value in headers.items())


def pairs(carrier: Carrier) -> Iterable[tuple[Any, Any]]:
    """Names and values of a carrier."""
    if carrier is None:
        return ()
    found: Iterable[tuple[Any, Any]] = carrier.items() if hasattr(carrier, "items") else carrier
    return found


def text(value: Any) -> str:
    """A header's name or value as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def first(value: Any) -> str:
    """A header's value, of a carrier that may hold several in a list."""
    if isinstance(value, (list, tuple)):
        return text(value[0]) if value else ""
    return text(value)


def _name(member: str) -> str:
    return member.partition("=")[0].strip()
