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
