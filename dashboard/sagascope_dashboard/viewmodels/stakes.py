"""Money at stake, in words. Pure."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from sagascope_collector import wire
from sagascope_dashboard.format import amount


def exposure(stakes: Sequence[wire.Exposure]) -> tuple[str, ...]:
    """What is at stake, one phrase a currency: ``€50.00 in force``, ``€50.00 possibly``."""
    return tuple(phrase for stake in stakes for phrase in _phrases(stake))


def _phrases(stake: wire.Exposure) -> list[str]:
    certain, possible = number(stake.certain), number(stake.possible)
    said = [f"{amount(stake.certain, stake.currency)} in force"] if certain else []
    if possible:
        said.append(f"{amount(stake.possible, stake.currency)} possibly in force")
    return said


def number(value: str) -> Decimal:
    """A decimal string as a number; 0 where it is none."""
    try:
        return Decimal(value)
    except InvalidOperation:
        return Decimal(0)
