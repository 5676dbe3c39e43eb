"""The seam between what people write and what carries it away.

What people write needs opentelemetry-api alone. `configure` and `install` put something here that makes real spans;
while nothing is here, sagas and steps do nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from sagascope._told import Told

Attributes = Mapping[str, Any]


class Runtime(Protocol):
    """Makes saga spans, apart from the service's own."""

    def start(
        self,
        name: str,
        context: Context,
        attributes: Attributes,
        links: Sequence[Link],
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: int = 0,
    ) -> Span:
        """Start a span below the one in `context`; it is recorded whatever the service's sampler decides.

        `span_id` is the id that it is to have; 0: any.
        """
        ...

    def tell(self, told: Told) -> None:
        """Send a span as it is told of; it belongs to the service, and to no process of it."""
        ...

    def carried(self, name: str, own: SpanContext, context: Context) -> SpanContext:
        """Say what the service goes on with: the ids of `own`, with the flags that the service's sampler gives."""
        ...

    def conceal(self, attribute: str, text: str) -> str:
        """A text that travels in headers, as it may leave the process."""
        ...

    def fit(self, attributes: Attributes) -> Attributes:
        """Attributes as they may be set: no longer than allowed."""
        ...

    def failure(self, error: BaseException) -> Attributes:
        """The attributes of an exception event."""
        ...

    def may_reach(self, address: str) -> bool:
        """Whether a saga's baggage may go to the host of this URL."""
        ...

    def trusts(self, headers: Any) -> bool:
        """Whether the saga that these incoming headers name is taken up."""
        ...

    def emit(self, body: str, context: Context, attributes: Attributes) -> None:
        """Send a log record at once."""
        ...


active: Runtime | None = None
"""What was configured; None before `configure` or `install`, and after `shutdown`."""
