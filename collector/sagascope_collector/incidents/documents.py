"""Incidents as the texts that a store keeps, and back. Pure."""

from dataclasses import asdict, fields
from decimal import Decimal
from typing import Any

import orjson

from sagascope_collector.incidents.life import Incident, Scope, State
from sagascope_collector.storage import AmountAtRisk, FailureRate


def write(incident: Incident) -> str:
    """The incident as a text."""
    return orjson.dumps(asdict(incident), default=_plain).decode()


def read(text: str) -> Incident:
    """The incident of a text; what a newer version added to it is left out.

    Raises:
        ValueError, KeyError, TypeError: the text is none of `write`'s.
    """
    known = {each.name for each in fields(Incident)}
    said: dict[str, Any] = {name: value for name, value in orjson.loads(text).items() if name in known}
    said["state"], said["scope"] = State(said["state"]), Scope(said["scope"])
    said["examples"] = tuple(said["examples"])
    said["amounts"] = tuple(
        AmountAtRisk(name, Decimal(sure), Decimal(unsure)) for name, sure, unsure in said["amounts"]
    )
    said["excluded"] = tuple((begun, over) for begun, over in said.get("excluded", ()))
    said["failure_rate"] = FailureRate(*said["failure_rate"]) if said.get("failure_rate") else None
    return Incident(**said)


def _plain(value: Any) -> Any:
    """Named tuples as lists, amounts as texts."""
    return list(value) if isinstance(value, tuple) else str(value)
