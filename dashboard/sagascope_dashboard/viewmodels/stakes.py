"""The amount at risk, in words. Pure."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from sagascope_collector.client import schemas
from sagascope_dashboard.format import amount


def amounts_at_risk(amounts: Sequence[schemas.AmountAtRisk]) -> tuple[str, ...]:
    """What is at risk, one phrase each: ``€50.00 committed``, ``€50.00 possibly committed``."""
    return tuple(phrase for each in amounts for phrase in _phrases(each))


def _phrases(at_risk: schemas.AmountAtRisk) -> list[str]:
    certain, possible = number(at_risk.certain), number(at_risk.possible)
    said = [f"{amount(at_risk.certain, at_risk.currency)} committed"] if certain else []
    if possible:
        said.append(f"{amount(at_risk.possible, at_risk.currency)} possibly committed")
    return said


def number(value: str) -> Decimal:
    """A decimal string as a number; 0 where it is none."""
    try:
        return Decimal(value)
    except InvalidOperation:
        return Decimal(0)
