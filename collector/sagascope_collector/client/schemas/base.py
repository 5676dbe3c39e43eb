"""Base types of the schemas of the HTTP API.

Times are RFC 3339 in UTC with microseconds; ids are strings, trace and span ids lower-case hex; amounts are decimal
strings. A field without a value is ``null``, never absent; a list is never ``null``.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, PlainSerializer

from sagascope_collector import safe_text
from sagascope_collector.attention_codes import AttentionCode as AttentionCode
from sagascope_collector.errors import SagascopeError


def rfc3339(moment: datetime) -> str:
    """Formats a time as RFC 3339 in UTC with exactly six fractional digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Time = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]

PhaseName = Literal["forward", "compensation"]

ConfidenceName = Literal["certain", "likely", "possible"]


class Wire(BaseModel):
    """The base of every schema. Unknown fields are ignored, so that an older client can read a newer answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)


class TextPart(Wire):
    """Text within a sentence."""

    text: str


class TimePart(Wire):
    """A time within a sentence; the sentence itself shows it in UTC."""

    time: Time


Parts = list[TextPart | TimePart]
"""A sentence in parts, so that a screen can show its times in the reader's time zone."""


class AmountAtRisk(Wire):
    """The amount at risk in one currency, as decimal strings.

    `certain` is the sum that steps report that are committed and not compensated. `possible` is the most that may be at
    risk in addition: what steps with an unknown outcome report; the saga's own amount, if no step at risk reports any.
    """

    currency: str
    certain: str
    possible: str

    @property
    def text(self) -> str:
        """``50.00 EUR committed``, ``up to 20.00 EUR``, or both: ``50.00 EUR committed, up to 20.00 EUR more``."""
        certain, possible = (
            safe_text.line(f"{each} {self.currency}".rstrip(), 80) for each in (self.certain, self.possible)
        )
        if not float(self.possible):
            return f"{certain} committed"
        return f"{certain} committed, up to {possible} more" if float(self.certain) else f"up to {possible}"


PROBLEM_TYPES = "https://sagascope.dev/problems/"
"""Prefix of the `type` of every problem; the rest is the kind of the error."""


class Problem(Wire):
    """An error, as RFC 9457 `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None

    @classmethod
    def of(cls, error: SagascopeError, status: int, path: str | None = None) -> Self:
        """Returns the problem that reports an error of a call of `path`."""
        type_ = f"{PROBLEM_TYPES}{error.kind()}"
        return cls(type=type_, title=error.title, status=status, detail=str(error) or error.title, instance=path)
