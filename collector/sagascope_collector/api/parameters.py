"""The parameters of calls, validated by pydantic. Unknown and repeated parameters are refused."""

from collections import Counter
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, Field

from sagascope_collector.client import schemas
from sagascope_collector.durations import parse_duration
from sagascope_collector.errors import BadValue
from sagascope_collector.saga_filters import Order, SagaFilters, Text, Word

DEFAULT_PAGE_ROWS: int = 50
"""Default number of sagas on a page."""

MAX_PAGE_ROWS: int = 500
"""Maximum number of sagas on a page."""

MAX_PAGE_TASKS: int = 100
"""Maximum and default number of tasks on a page: the verdict of each is derived for the call."""

MAX_WINDOW_SECONDS: Final = 400 * 86_400
"""The retention period of statistics."""


def _valid_window(text: str) -> str:
    try:
        seconds = parse_duration(text)
    except BadValue as error:
        raise ValueError(str(error)) from error
    if not 1 <= seconds <= MAX_WINDOW_SECONDS:
        raise ValueError("write a window from 1s to 400d, such as 15m, 24h or 7d")
    return text


class NoParameters(BaseModel, extra="forbid"):
    """Parameters of a call that takes none."""


class SearchQuery(NoParameters):
    """Parameters of a search."""

    q: Word


class SagaQuery(NoParameters):
    """Selects among the sagas of one name and id."""

    environment: Text | None = None
    run: Text | None = None


class NamedSagaQuery(SagaQuery):
    """Selects a saga by its name and id, which may contain any character."""

    name: Word
    id: Word


class IncidentsQuery(NoParameters):
    """Filters of the list of incidents."""

    state: schemas.IncidentState | None = None


class BusinessKeyQuery(NoParameters):
    """Selects sagas by a business key."""

    key: Word
    value: Word
    environment: Text | None = None


WindowText = Annotated[str, AfterValidator(_valid_window)]


class CountsQuery(SagaFilters):
    """The filters of the sagas that are counted, and the window, which ends at `until`, else now."""

    window: WindowText = "24h"


class WindowQuery(NoParameters):
    """The time window and environment for which steps are counted."""

    window: WindowText = "24h"
    environment: Text | None = None

    @property
    def seconds(self) -> int:
        """The length of the window in seconds."""
        return int(parse_duration(self.window))


class CallsQuery(WindowQuery):
    """The time window and environment for which calls between services are counted."""

    window: WindowText = "1h"


class TasksQuery(NoParameters):
    """Selects a page of the tasks of an incident."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_TASKS)] = MAX_PAGE_TASKS
    cursor: Word | None = None


class SagasQuery(SagaFilters):
    """The filters of a list of sagas, its order, and the page that is requested."""

    sort: schemas.SagaOrder = "-started"
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_ROWS)] = DEFAULT_PAGE_ROWS
    cursor: Word | None = None

    @property
    def order(self) -> Order:
        """The order in the form that the store expects."""
        return Order(self.sort.removeprefix("-"), self.sort.startswith("-"))


async def refuse_repeated(request: Request) -> None:
    """Refuses a repeated parameter, because the intended value is ambiguous.

    Raises:
        BadValue: a parameter is repeated; the message names it.
    """
    times = Counter(name for name, _ in request.query_params.multi_items())
    twice = next((name for name, number in times.items() if number > 1), None)
    if twice is not None:
        raise BadValue(f"{twice!r} is given {times[twice]} times.")


def new_router() -> APIRouter:
    """Returns a router whose routes refuse repeated parameters and paths that differ by a slash."""
    return APIRouter(dependencies=[Depends(refuse_repeated)], redirect_slashes=False)
