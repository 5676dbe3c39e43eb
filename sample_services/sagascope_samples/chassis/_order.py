"""What one service asks another for."""

from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from json import JSONDecodeError
from typing import Any, Self

from starlette.requests import Request

from sagascope_samples.chassis._errors import Refused
from sagascope_samples.chassis._peers import KEY_HEADER

CURRENCIES = ("EUR", "GBP", "USD")
"""All have two decimals, so amounts are kept as whole cents."""

MOST = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Order:
    """A payment, as far as the services behind the orchestrator need to know it."""

    payment: str
    order_id: str
    customer: str
    amount: Decimal
    currency: str

    @classmethod
    def read(cls, body: Any) -> Self:
        """Read a request's JSON.

        Raises:
            Refused: something is missing, or cannot be meant.
        """
        try:
            texts = {field: str(body[field]) for field in ("payment", "order_id", "customer", "currency")}
            order = cls(**texts, amount=Decimal(body["amount"]))
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise Refused("An order names payment, order_id, customer, amount (a decimal string), currency.") from error
        order._check()
        return order

    def write(self) -> dict[str, str]:
        """The JSON that `read` reads."""
        return {field: str(value) for field, value in asdict(self).items()}

    @property
    def cents(self) -> int:
        """The amount in hundredths."""
        return int(self.amount * 100)

    def _check(self) -> None:
        if not self.payment or self.currency not in CURRENCIES:
            raise Refused(f"A payment has an id and a currency among {', '.join(CURRENCIES)}.")
        if not (self.amount.is_finite() and 0 < self.amount < MOST and self.amount == round(self.amount, 2)):
            raise Refused(f"An amount is above zero, below {MOST} and has at most two decimals.")


async def read_order(request: Request) -> tuple[Order, str]:
    """The order in a request, and its idempotency key.

    Raises:
        Refused: there is none that can be read, or no key.
    """
    try:
        body = await request.json()
    except JSONDecodeError as error:
        raise Refused("The body is no JSON.") from error
    key = request.headers.get(KEY_HEADER)
    if not key:
        raise Refused(f"The header {KEY_HEADER} is missing.")
    return Order.read(body), key
