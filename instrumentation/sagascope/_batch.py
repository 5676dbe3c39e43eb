"""One step of many sagas, as a batch consumer performs it: one span with a link to each saga."""

from collections.abc import Iterable
from typing import Any, Self

from opentelemetry.context import get_current
from opentelemetry.trace import Link

from sagascope import _runtime, semconv
from sagascope._guard import Guard
from sagascope._propagation import Incoming
from sagascope._scope import SpanScope

_OPENING = Guard("starting a batch")


class Batch(SpanScope):
    """A step of several sagas at once. An error that leaves the block fails the attempt of each saga."""

    __slots__ = ("_incoming", "name")

    _closing = Guard("ending a batch")

    def __init__(self, name: str, incoming: Iterable[Incoming]) -> None:
        self._span = None
        self.name: str = name
        self._incoming = incoming

    def __enter__(self) -> Self:
        runtime = _runtime.active
        if runtime is not None:
            with _OPENING:
                links = [link for each in self._incoming if (link := _link(self.name, each)) is not None]
                if links:
                    attributes = {semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_NAME: self.name}
                    self._start_span(runtime, self.name, attributes, None, get_current(), links)
        return self

    async def __aenter__(self) -> Self:
        return self.__enter__()


def batch(name: str, incoming: Iterable[Incoming]) -> Batch:
    """Opens one step for all sagas that a batch of messages belongs to.

    ``with sagascope.batch("ledger.settle", [sagascope.extract(m.headers) for m in messages]):`` or ``async with``. Each
    saga gets an attempt of the step, with the caller's number if the caller opened a step of the same name.

    Args:
        name: The name of the step.
        incoming: The results of `extract` for the messages; those without a saga are ignored.
    """
    return Batch(name, incoming)


def _link(name: str, incoming: Incoming) -> Link | None:
    caller = incoming.saga_context
    if caller is None:
        return None
    attributes: dict[str, Any] = {
        **caller.attributes,
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_NAME: name,
        semconv.STEP_TYPE: semconv.TYPE_ACTION,
    }
    if caller.step != name:
        attributes.pop(semconv.STEP_KEY, None)
        attributes[semconv.STEP_ATTEMPT] = 1
    return Link(caller.span_context, attributes)
