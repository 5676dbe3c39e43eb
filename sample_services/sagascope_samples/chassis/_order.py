"""The order that one service sends to another."""

from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from json import JSONDecodeError
from typing import Any, Self

from starlette.requests import Request

from sagascope_samples.chassis._calls import KEY_HEADER, Refused

CURRENCIES = ("EUR", "GBP", "USD")
"""All have two decimals, so amounts are stored as integer cents."""

MAX_AMOUNT = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Order:
    """A payment, as the services behind the orchestrator know it."""

    payment: str
    order_id: str
    customer: str
    amount: Decimal
    currency: str

    @classmethod
    def read(cls, body: Any) -> Self:
        """Reads the JSON of a request.

        Raises:
            Refused: A value is missing or invalid.
        """
        try:
            texts = {field: str(body[field]) for field in ("payment", "order_id", "customer", "currency")}
            order = cls(**texts, amount=Decimal(body["amount"]))
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise Refused(
                "An order needs payment, order_id, customer, amount (a decimal string) and currency."
            ) from error
        order._check()
        return order

    def write(self) -> dict[str, str]:
        """Returns the JSON that `read` reads."""
        return {field: str(value) for field, value in asdict(self).items()}

    @property
    def cents(self) -> int:
        """The amount in cents."""
        return int(self.amount * 100)

    def _check(self) -> None:
        if not self.payment or self.currency not in CURRENCIES:
            raise Refused(f"A payment needs an id and one of the currencies {', '.join(CURRENCIES)}.")
        if not (self.amount.is_finite() and 0 < self.amount < MAX_AMOUNT and self.amount == round(self.amount, 2)):
            raise Refused(f"An amount must be above zero, below {MAX_AMOUNT}, and have at most two decimals.")


async def read_order(request: Request) -> tuple[Order, str]:
    """Returns the order in a request and its idempotency key.

    Raises:
        Refused: The order is missing or invalid, or there is no key.
    """
    try:
        body = await request.json()
    except JSONDecodeError as error:
        raise Refused("The body is not valid JSON.") from error
    key = request.headers.get(KEY_HEADER)
    if not key:
        raise Refused(f"The header {KEY_HEADER} is missing.")
    return Order.read(body), key
