"""Messages between services, whatever carries them: a span where one is published.

    with publishing("payments.debited", system="nats") as headers:
        await stream.publish("payments.debited", body, headers=headers)

The consumer's step stands below that span, so that a message which nobody took is seen. The consumer needs nothing of
this: ``with extract(message.headers), step("ledger.record"):``.
"""

from types import TracebackType
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanKind

from sagascope import _runtime, semconv
from sagascope._context import Place, place_in
from sagascope._guard import Guard
from sagascope._propagation import inject
from sagascope._scope import Scope

_OPENING = Guard("noting that a message is published")
_CLOSING = Guard("noting that a message was published")


def publishing(destination: str, *, system: str = "", message_id: str = "") -> "Publication":
    """Publish one message of the current saga in this block, ``with`` or ``async with``; it gives the headers.

    An error that leaves the block says that the message was not, or perhaps not, published; it goes on unchanged.
    Outside any saga, and while nothing is configured, the headers are empty and nothing is told.

    Args:
        destination: The subject, topic or queue.
        system: The broker, by OpenTelemetry's names: ``nats``, ``kafka``, ``rabbitmq``.
        message_id: The message's own id, where it has one.
    """
    said = {
        semconv.MESSAGING_DESTINATION: destination,
        semconv.MESSAGING_SYSTEM: system,
        semconv.MESSAGING_MESSAGE_ID: message_id,
    }
    return Publication(destination, {name: value for name, value in said.items() if value})


class Publication(Scope):
    """One message on its way out. Its block gets the headers that the message is to carry: a dict of texts."""

    __slots__ = ("_attributes", "_destination")

    def __init__(self, destination: str, attributes: dict[str, str]) -> None:
        self._span = None
        self._destination = destination
        self._attributes = attributes

    def __enter__(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        runtime = _runtime.active
        if runtime is not None:
            with _OPENING:
                context = get_current()
                place = place_in(context)
                if place is not None:
                    here = _again(place)
                    attributes: dict[str, Any] = {**here.stamp, **self._attributes}
                    name = f"publish {self._destination}"
                    self._enter_scope(runtime, name, attributes, here, context, kind=SpanKind.PRODUCER)
                    inject(headers)
        return headers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            with _CLOSING:
                self._leave_scope(error)

    async def __aenter__(self) -> dict[str, str]:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def _again(place: Place) -> Place:
    """The same place, for a span of its own to stand at."""
    return Place(
        place.identity,
        INVALID_SPAN_CONTEXT,
        step=place.step,
        key=place.key,
        attempt=place.attempt,
        remote=place.remote,
        saga=place.saga,
    )
