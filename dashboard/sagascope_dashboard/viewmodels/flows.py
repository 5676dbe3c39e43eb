"""Flows: the transaction types, and how theirs end."""

from dataclasses import dataclass

from sagascope_collector.client import schemas
from sagascope_dashboard.filters import Filters, FlowAddress
from sagascope_dashboard.format import line
from sagascope_dashboard.palette import STATUS, Sign

STATUSES = ("running", "completed", "compensated", "failed")


@dataclass(frozen=True, slots=True)
class Part:
    """How many of one type are in one status."""

    sign: Sign
    number: int
    share: float
    """Percent of the type."""
    href: str


@dataclass(frozen=True, slots=True)
class Flow:
    """One transaction type in one environment."""

    key: str
    name: str
    environment: str
    href: str
    """Step by step."""
    total: int
    parts: tuple[Part, ...]
    attention: int
    attention_href: str


def flows(known: schemas.Flows) -> tuple[Flow, ...]:
    """Every type, those with most to look after first."""
    ordered = sorted(known.items, key=lambda flow: (-flow.attention, flow.name, flow.environment))
    return tuple(_flow(flow) for flow in ordered)


def _flow(flow: schemas.Flow) -> Flow:
    only = Filters(name=flow.name, environment=flow.environment)
    counts = {status: int(getattr(flow, status)) for status in STATUSES}
    total = sum(counts.values())
    return Flow(
        key=only.href(),
        name=line(flow.name, 80),
        environment=line(flow.environment, 60),
        href=FlowAddress(flow.name, flow.environment).href(),
        total=total,
        parts=tuple(
            Part(STATUS[status], number, 100 * number / total if total else 0.0, only.having(status=status).href())
            for status, number in counts.items()
        ),
        attention=flow.attention,
        attention_href=only.having(attention="any").href(),
    )
