"""Query parameters of each call, validated by pydantic. Unknown parameters are refused."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, Field

from sagascope_collector.client import schemas
from sagascope_collector.durations import parse_duration
from sagascope_collector.errors import BadValue
from sagascope_collector.saga_filters import SagaFilters, Text, Word
from sagascope_collector.storage import Order

MAX_WORDS: int = 6
"""Words of a longer text that a search tries; in a sentence, an id is usually among the last words with a digit."""

_SURROUNDING = (
    " #*_`'\"()[]{}<>.,;:!?|\\\u00ab\u00b4\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2026\u2039\u203a"
)
"""Characters that people, chats and mail programs put around an id."""

_INVISIBLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.IGNORECASE)
_TELEMETRY_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{16}", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"[\s=:,;|]+")


def trim(text: str) -> str:
    """Strips punctuation around an id: ``"#8492?"`` becomes ``8492``. A text of only punctuation is kept."""
    visible = _INVISIBLE.sub(" ", text).strip()
    return visible.strip(_SURROUNDING) or visible


def interpretations(text: str) -> list[str]:
    """Returns what a text may mean as one id, key or trace: first unchanged, then increasingly trimmed."""
    visible = _INVISIBLE.sub(" ", text).strip()
    found = [text, visible, *_from_link(visible), trim(visible), *_TRACEPARENT.findall(visible)]
    lowered = [each.lower() for each in found if _TELEMETRY_ID.fullmatch(each)]
    return _distinct(found + lowered)


def words(text: str) -> list[str]:
    """Returns the words of a longer text that may be an id: those with a digit first, then from the last."""
    trimmed = _distinct(trim(each) for each in reversed(_BETWEEN_WORDS.split(text)))
    ranked = sorted(trimmed, key=lambda word: not any(letter.isdigit() for letter in word))
    return ranked[:MAX_WORDS] if len(ranked) > 1 else []


def telemetry_ids(text: str) -> list[str]:
    """Returns the interpretations that have the form of a trace or span id, in lower case."""
    return _distinct(each.lower() for each in interpretations(text) if _TELEMETRY_ID.fullmatch(each))


def _from_link(text: str) -> list[str]:
    """Returns the ids in a pasted link to a page of a saga or to the API."""
    if "://" not in text:
        return []
    try:
        link = urlsplit(text)
    except ValueError:
        return []
    return [value for name, value in parse_qsl(link.query) if name in {"id", "q"}]


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


DEFAULT_PAGE_ROWS: int = 50
"""Default number of sagas on a page."""

MAX_PAGE_ROWS: int = 500
"""Maximum number of sagas on a page."""

MAX_PAGE_TASKS: int = 100
"""Maximum and default number of tasks on a page: the verdict of each is derived anew, as of now."""

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


class Search(NoParameters):
    """Parameters of a search."""

    q: Word


class OneSaga(NoParameters):
    """Selects among the sagas of one name and id."""

    environment: Text | None = None
    run: Text | None = None


class NamedSaga(OneSaga):
    """Selects a saga by its name and id, which may contain any character."""

    name: Word
    id: Word


class IncidentListing(NoParameters):
    """Filters of the list of incidents."""

    state: schemas.IncidentState | None = None


class BusinessKey(NoParameters):
    """Selects sagas by a business key."""

    key: Word
    value: Word
    environment: Text | None = None


WindowText = Annotated[str, AfterValidator(_valid_window)]


class Counting(SagaFilters):
    """The filters of the sagas that are counted, and the window, which ends at `until`, else now."""

    window: WindowText = "24h"


class Window(NoParameters):
    """The time window and environment for which steps are counted."""

    window: WindowText = "24h"
    environment: Text | None = None

    @property
    def seconds(self) -> int:
        """The length of the window in seconds."""
        return int(parse_duration(self.window))


class CallWindow(Window):
    """The time window and environment for which calls between services are counted."""

    window: WindowText = "1h"


class TaskListing(NoParameters):
    """Selects a page of the tasks of an incident."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_TASKS)] = MAX_PAGE_TASKS
    cursor: Word | None = None


class Listing(SagaFilters):
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
