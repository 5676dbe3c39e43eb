"""What an attempt says of itself: amount, timeout, keys. The executor's word goes before the caller's."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sagascope import semconv
from sagascope_collector.analysis import values
from sagascope_collector.records import Span


class Details(NamedTuple):
    """The optional attributes of an attempt, in the order of `model.Attempt`."""

    amount: Decimal | None = None
    currency: str | None = None
    idempotency_key: str | None = None
    timeout: float | None = None
    retry_in: float | None = None
    max_attempts: int | None = None
    wait_until: int | None = None
    resources: tuple[str, ...] = ()
    pivot: bool = False
    compensates: str | None = None


NAMES: Final = frozenset(
    {
        semconv.AMOUNT,
        semconv.CURRENCY,
        semconv.STEP_IDEMPOTENCY_KEY,
        semconv.STEP_TIMEOUT,
        semconv.STEP_RETRY_IN,
        semconv.STEP_MAX_ATTEMPTS,
        semconv.WAIT_UNTIL,
        semconv.STEP_RESOURCES,
        semconv.STEP_PIVOT,
        semconv.STEP_COMPENSATES,
    }
)

NONE: Final = Details()


def details(views: Sequence[Span]) -> Details:
    """Read them from the views of one attempt, the caller's first."""
    said: dict[str, Any] = {}
    for view in views:
        if not NAMES.isdisjoint(view.attributes):
            said.update((name, view.attributes[name]) for name in NAMES if view.attributes.get(name) is not None)
    return _read(said) if said else NONE


def _read(said: dict[str, Any]) -> Details:
    return Details(
        amount=values.amount(said.get(semconv.AMOUNT)),
        currency=values.text(said.get(semconv.CURRENCY)),
        idempotency_key=values.text(said.get(semconv.STEP_IDEMPOTENCY_KEY)),
        timeout=values.seconds(said.get(semconv.STEP_TIMEOUT)),
        retry_in=values.wait(said.get(semconv.STEP_RETRY_IN)),
        max_attempts=values.count(said.get(semconv.STEP_MAX_ATTEMPTS)),
        wait_until=values.moment(said.get(semconv.WAIT_UNTIL)),
        resources=values.texts(said.get(semconv.STEP_RESOURCES)) or (),
        pivot=said.get(semconv.STEP_PIVOT) is True,
        compensates=values.text(said.get(semconv.STEP_COMPENSATES)),
    )
