"""One case of `tests/scenarios`: a readable file with the telemetry as it would arrive, and the expected answer."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.telemetry import Telemetry, emit

KEYS = {"description", "now", "saga", "telemetry", "processes", "ingest_outages", "step_timeouts", "expect", "direct"}
EXPECTED = {
    "name",
    "run",
    "status",
    "attention",
    "phase",
    "step",
    "service",
    "instance",
    "since",
    "confidence",
    "attempts",
    "error",
    "anomalies",
    "amount_at_risk",
    "ledger",
    "states",
    "headline",
    "customer",
    "action",
}


@dataclass(frozen=True)
class Scenario:
    """A case. Times are seconds from the start of its story."""

    name: str
    description: str
    """What happened, for the reader."""
    now: float
    """When it is diagnosed."""
    saga: Mapping[str, str]
    telemetry: str
    expect: tuple[Mapping[str, Any], ...]
    """One table for each saga behind the id, latest started first."""
    processes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ingest_outages: tuple[tuple[float, float], ...] = ()
    step_timeouts: Mapping[tuple[str, str], float] = field(default_factory=dict)
    direct: bool = False
    """It cannot be replayed through a real collector, which has no such ingest outage or is not exact to the second."""

    def delivered(self, salt: str = "") -> Telemetry:
        return emit(self.telemetry, self.saga, self.processes, salt)


def read(path: Path) -> Scenario:
    """Read a case; a word that means nothing is an error."""
    case = tomllib.loads(path.read_text())
    expect = case["expect"] if isinstance(case["expect"], list) else [case["expect"]]
    unknown = (set(case) - KEYS) | {key for each in expect for key in set(each) - EXPECTED}
    if unknown:
        raise ValueError(f"{path.name}: {sorted(unknown)} means nothing")
    timeouts = {tuple(key.split("/", 1)): seconds for key, seconds in case.get("step_timeouts", {}).items()}
    return Scenario(
        name=path.stem,
        description=case["description"],
        now=case["now"],
        saga=case.get("saga", {"id": "8492", "name": "payment"}),
        telemetry=case["telemetry"],
        expect=tuple(expect),
        processes=case.get("processes", {}),
        ingest_outages=tuple((start, end) for start, end in case.get("ingest_outages", [])),
        step_timeouts=timeouts,
        direct=case.get("direct", False),
    )


CASES = sorted((Path(__file__).parents[1] / "scenarios" / "cases").glob("*.toml"))


def differences(expected: Mapping[str, Any], answered: Mapping[str, Any]) -> list[str]:
    """What was not said as it should be; ``answered`` is the saga in full, as the API writes it."""
    return [
        f"{word}: {got!r}, not {want!r}"
        for word, want in expected.items()
        if not _fits(word, want, got := _got(word, answered))
    ]


def _fits(word: str, want: Any, got: Any) -> bool:
    if word in {"headline", "customer", "action", "error"}:
        return want in (got or "")
    if word in {"ledger", "states"}:
        return {key: got.get(key) for key in want} == want
    if word == "amount_at_risk":
        return _amounts(want) == _amounts(got)
    return bool(want == got)


def _amounts(amount_at_risk: Mapping[str, list[str]]) -> dict[str, list[Decimal]]:
    return {currency: [Decimal(each) for each in both] for currency, both in amount_at_risk.items()}


def _got(word: str, answered: Mapping[str, Any]) -> Any:
    verdict = answered["verdict"] or {}
    if word in _READ:
        return _READ[word](answered)
    if word in {"confidence", "instance"}:
        return verdict.get(word)
    return answered[word]


_READ: dict[str, Any] = {
    "attention": lambda answered: answered["attention"] or "none",
    "step": lambda answered: answered["step"] or "none",
    "service": lambda answered: answered["service"] or "none",
    "error": lambda answered: (answered["error"] or {}).get("message"),
    "anomalies": lambda answered: sorted({each["code"] for each in answered["anomalies"]}),
    "amount_at_risk": lambda answered: {
        each["currency"]: [each["certain"], each["possible"]] for each in answered["amount_at_risk"]
    },
    "ledger": lambda answered: {
        f"{each['step']} ({each['key']})" if each["key"] else each["step"]: each["state"] for each in answered["ledger"]
    },
    "states": lambda answered: {each["name"]: each["state"] for each in answered["steps"]},
    "customer": lambda answered: answered["customer_line"],
    "action": lambda answered: " ".join((answered["verdict"] or {}).get("actions", [])),
    "since": lambda answered: answered["since"],
}
