"""The seam between what people write and what carries it away.

What people write needs opentelemetry-api alone. `configure` and `install` put something here that makes real spans;
while nothing is here, sagas and steps do nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext

Attributes = Mapping[str, Any]


class Runtime(Protocol):
    """Makes saga spans, apart from the service's own."""

    def start(self, name: str, context: Context, attributes: Attributes, links: Sequence[Link]) -> Span:
        """Start a span below the one in `context`; it is recorded whatever the service's sampler decides."""
        ...

    def carried(self, name: str, own: SpanContext, context: Context) -> SpanContext:
        """Say what the service goes on with: the ids of `own`, with the flags that the service's sampler gives."""
        ...

    def emit(self, body: str, context: Context, attributes: Attributes) -> None:
        """Send a log record at once."""
        ...


active: Runtime | None = None
"""What was configured; None before `configure` or `install`, and after `shutdown`."""
