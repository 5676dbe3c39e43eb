"""Messages between services, on any broker: a span where a message is published.

    with publishing("payments.debited", system="nats") as headers:
        await stream.publish("payments.debited", body, headers=headers)

The consumer's step is a child of that span, so that a message without a consumer is detected. The consumer needs
nothing from this module: ``with extract(message.headers), step("ledger.record"):``.
"""

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from sagascope import semconv
from sagascope._context import SpanScope, get_saga_context
from sagascope._errors import Guard
from sagascope._propagation import inject
from sagascope._runtime import Runtime


def publishing(destination: str, *, system: str = "", message_id: str = "") -> "Publication":
    """Returns a block, ``with`` or ``async with``, that publishes one message of the current saga.

    The block gets the headers of the message. An error that leaves the block means that the message was not, or perhaps
    not, published; it propagates unchanged. Outside any saga, and while nothing is configured, the headers are empty.

    Args:
        destination: The subject, topic or queue.
        system: The broker, as OpenTelemetry names it: ``nats``, ``kafka``, ``rabbitmq``.
        message_id: The message's own id, if it has one.
    """
    attributes = {
        semconv.MESSAGING_DESTINATION: destination,
        semconv.MESSAGING_SYSTEM: system,
        semconv.MESSAGING_MESSAGE_ID: message_id,
    }
    return Publication(destination, {name: value for name, value in attributes.items() if value})


class Publication(SpanScope):
    """The publication of one message. Its block gets the headers that the message must carry, as a dict of texts."""

    __slots__ = ("_attributes", "_destination")

    _opening = Guard("starting to publish a message")
    _closing = Guard("publishing a message")

    def __init__(self, destination: str, attributes: dict[str, str]) -> None:
        self._span = None
        self._destination = destination
        self._attributes = attributes

    def __enter__(self) -> dict[str, str]:  # type: ignore[override]
        super().__enter__()
        headers: dict[str, str] = {}
        if self._span is not None:
            inject(headers)
        return headers

    async def __aenter__(self) -> dict[str, str]:  # type: ignore[override]
        return self.__enter__()

    def _open(self, runtime: Runtime, context: Context) -> None:
        saga_context = get_saga_context(context)
        if saga_context is not None:
            attributes = {**saga_context.attributes, **self._attributes}
            name = f"publish {self._destination}"
            self._start_span(runtime, name, attributes, saga_context.copy(), context, kind=SpanKind.PRODUCER)
