"""Where a page of sagas ended, as an opaque text for the caller to bring back."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

import orjson

from sagascope_collector.errors import BadCursor
from sagascope_collector.store.contract import SagaRow


class After(NamedTuple):
    """The last row of the page before."""

    started_at: int
    environment: str
    name: str
    id: str
    run: str


class Place(NamedTuple):
    """The last row of the page before, in an order of choice."""

    order: str
    number: int
    text: str
    environment: str
    name: str
    id: str
    run: str


def write_place(place: Place) -> str:
    """The cursor that goes on after this place."""
    return urlsafe_b64encode(orjson.dumps(tuple(place))).decode("ascii").rstrip("=")


def read_place(cursor: str, order: str) -> Place:
    """Where to go on in this order.

    Raises:
        BadCursor: `write_place` did not make it for this order.
    """
    try:
        told, number, *texts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        place = Place(told, number, *texts)
    except (ValueError, TypeError) as error:
        raise BadCursor("This cursor was not given by this collector.") from error
    if told != order or not isinstance(number, int) or not all(isinstance(each, str) for each in texts):
        raise BadCursor("This cursor was not given for this order by this collector.")
    return place


def of_place(place: Place | None) -> dict[str, int | str | None]:
    """The values of a query that goes on after it."""
    return {
        "number": place and place.number,
        "text": place and place.text,
        "after_environment": place and place.environment,
        "after_name": place and place.name,
        "after_id": place and place.id,
        "after_run": place and place.run,
    }


def write(row: SagaRow) -> str:
    """The cursor that goes on after this row."""
    after = After(row.started_at, row.key.environment, row.key.name, row.key.id, row.key.run)
    return urlsafe_b64encode(orjson.dumps(tuple(after))).decode("ascii").rstrip("=")


def read(cursor: str) -> After:
    """Where to go on.

    Raises:
        BadCursor: `write` did not make it.
    """
    try:
        started_at, *texts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        environment, name, id_, run = texts
    except (ValueError, TypeError) as error:
        raise BadCursor("This cursor was not given by this collector.") from error
    if not isinstance(started_at, int) or not all(isinstance(each, str) for each in texts):
        raise BadCursor("This cursor was not given by this collector.")
    return After(started_at, environment, name, id_, run)
