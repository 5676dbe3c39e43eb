"""The filters and the order of a list of sagas. Each filter is declared once, in this module.

The API's parameters, the client, the options of `sagascope triage` and the dashboard take name, type and description
from `SagaFilters`. CONTRIBUTING.md says what else a new filter needs.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.durations import NANOSECONDS_PER_SECOND, parse_datetime, to_datetime, to_nanoseconds

MAX_FILTER_CHARACTERS: Final = 4_096

LATEST_NS: Final = 2**63 - 1
"""The latest time that can be stored, in the year 2262."""

SagaStatus = Literal["running", "compensating", "completed", "compensated", "failed"]

_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")

_STEP_NAMES: Final = TypeAdapter(list[str])


def parse_time(text: str) -> int:
    """Parses a time in RFC 3339 to nanoseconds since 1970; one that cannot be stored is replaced by the nearest.

    Raises:
        ValueError: the text is not such a time.
    """
    parts = _RFC3339.fullmatch(text)
    if parts is None:
        raise ValueError("write a moment like 2026-11-22T14:02:11Z; a + in a URL is %2B")
    day, time, fraction, zone = parts.groups()
    try:
        second = to_nanoseconds(parse_datetime(f"{day}T{time}{zone.upper()}"))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"there is no such moment: {error}") from error
    return min(max(second + int((fraction or "").ljust(9, "0")), 0), LATEST_NS)


def _time(value: Any) -> Any:
    if isinstance(value, datetime):  # a time without a zone is in UTC
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    return parse_time(value) if isinstance(value, str) else value


def _rfc3339(nanoseconds: int) -> str:
    return f"{to_datetime(nanoseconds):%Y-%m-%dT%H:%M:%S}.{nanoseconds % NANOSECONDS_PER_SECOND:09d}Z"


def _checked_path(text: str) -> str:
    try:
        _STEP_NAMES.validate_json(text)
    except ValidationError as error:
        raise ValueError('write the steps as JSON, like ["wallet.debit","ledger.record"]') from error
    return text


Text = Annotated[str, Field(max_length=MAX_FILTER_CHARACTERS)]
Word = Annotated[str, Field(min_length=1, max_length=MAX_FILTER_CHARACTERS)]
Time = Annotated[
    int,
    BeforeValidator(_time),
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""Nanoseconds since 1970; in text as RFC 3339."""


class SagaFilters(BaseModel):
    """The sagas that a list shows; None: the filter is not set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: Text | None = Field(default=None, description="Only of this environment.")
    status: SagaStatus | None = Field(default=None, description="Only with this status.")
    attention: AttentionCode | Literal["any"] | None = Field(
        default=None, description="Only with this attention code; any: all that need attention."
    )
    name: Word | None = Field(default=None, description="Only of this type, such as payment.")
    service: Word | None = Field(default=None, description="Only with telemetry of this service.")
    step: Word | None = Field(default=None, description="Only with an attempt of this step.")
    since: Time | None = Field(default=None, description="Only started at this time or later, in RFC 3339.")
    until: Time | None = Field(default=None, description="Only started before this time, in RFC 3339.")
    stuck_since: Time | None = Field(default=None, description="Only without progress since this time or later.")
    stuck_until: Time | None = Field(default=None, description="Only without progress since before this time.")
    q: Word | None = Field(
        default=None, description="Only what a search finds: an id, a prefix, a key, a trace or span id."
    )
    amount: Annotated[str, Field(pattern=r"^\d{1,20}(\.\d{1,9})?$")] | None = Field(
        default=None, description="Only with at least this amount at risk, in any currency."
    )
    incident: Word | None = Field(default=None, description="Only of the incident with this key.")
    alone: bool | None = Field(default=None, description="Only sagas that share their incident with no other.")
    path: Annotated[str, Field(max_length=MAX_FILTER_CHARACTERS), AfterValidator(_checked_path)] | None = Field(
        default=None, description="Only with exactly these steps, as a JSON list in the order in which they started."
    )

    def query(self) -> dict[str, str]:
        """Returns the filters that are set, as the API's parameters."""
        set_ = self.model_dump(mode="json", exclude_none=True)
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in set_.items()}

    @property
    def steps(self) -> tuple[str, ...] | None:
        """The steps of `path`."""
        return None if self.path is None else tuple(_STEP_NAMES.validate_json(self.path))


FILTERS: Final = tuple(SagaFilters.model_fields)
"""The names of all filters."""


class Order(NamedTuple):
    """The order of a list."""

    by: str = "started"
    """``started``, ``updated``, ``duration`` (so far, if open), ``status``, ``id`` or ``step``."""
    is_falling: bool = True

    def __str__(self) -> str:
        """Returns the form of the API."""
        return f"-{self.by}" if self.is_falling else self.by


NEWEST: Final = Order()
