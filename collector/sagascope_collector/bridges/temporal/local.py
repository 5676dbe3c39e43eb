"""Local activities: of these a history has only a mark each, when they are over, as Temporal's core writes it.

The SDKs for Python, TypeScript, .NET and Ruby share that core. What a codec has encrypted is not understood.
"""

from typing import Any, Final, NamedTuple, Self

from pydantic import BaseModel, ValidationError

MARK: Final = "core_local_activity"

SECOND: Final = 1_000_000_000


class _Moment(BaseModel):
    seconds: int
    nanos: int = 0

    @property
    def at(self) -> int:
        return self.seconds * SECOND + self.nanos


class _Data(BaseModel):
    activity_id: str
    activity_type: str
    attempt: int = 1
    original_schedule_time: _Moment
    complete_time: _Moment


class Local(NamedTuple):
    """A local activity that is over; times in nanoseconds since 1970."""

    activity: str
    type: str
    attempt: int
    since: int
    until: int

    @classmethod
    def read(cls, marked: Any) -> Self | None:
        """What a mark says; None: it is no such mark, or cannot be read."""
        payloads = marked.details["data"].payloads if marked.marker_name == MARK else ()
        if not payloads:
            return None
        try:
            data = _Data.model_validate_json(payloads[0].data)
        except ValidationError:
            return None
        since = data.original_schedule_time.at
        until = max(since, data.complete_time.at)  # by two clocks: it may be told to be over before it was called for
        return cls(data.activity_id, data.activity_type, data.attempt, since, until)
