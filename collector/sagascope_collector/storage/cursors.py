"""Where a page of sagas ended, as an opaque text for the caller to send back."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

import orjson

from sagascope_collector.errors import BadCursor


class Position(NamedTuple):
    """The last row of the page before, in an order."""

    order: str
    number: int
    text: str
    environment: str
    name: str
    id: str
    run: str


def write(position: Position) -> str:
    """Returns the cursor that goes on after this position."""
    return urlsafe_b64encode(orjson.dumps(tuple(position))).decode("ascii").rstrip("=")


def read(cursor: str, order: str) -> Position:
    """Returns where to go on.

    Raises:
        BadCursor: `write` did not make it for this order.
    """
    try:
        order_of, number, *texts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position = Position(order_of, number, *texts)
    except (ValueError, TypeError) as error:
        raise BadCursor("This cursor was not issued by this collector.") from error
    if order_of != order or not isinstance(number, int) or not all(isinstance(each, str) for each in texts):
        raise BadCursor("This cursor was not issued for this order by this collector.")
    return position
