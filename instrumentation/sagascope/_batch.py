"""One piece of work for many sagas, as a batch consumer does it: one span, linked to each."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from opentelemetry.context import get_current
from opentelemetry.trace import Link

from sagascope import _runtime, semconv
from sagascope._guard import Guard
from sagascope._propagation import Incoming
from sagascope._scope import Scope

_OPENING = Guard("opening a batch")
_CLOSING = Guard("closing a batch")


class Batch(Scope):
    """A step of several sagas at once. An error that leaves its block is an error of each."""

    __slots__ = ("_incoming", "name")

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
                    self._enter_scope(runtime, self.name, attributes, None, get_current(), links)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            with _CLOSING:
                self._leave_scope(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def batch(name: str, incoming: Iterable[Incoming]) -> Batch:
    """Open one step for all the sagas that a batch of messages belongs to.

    ``with sagascope.batch("ledger.settle", [sagascope.extract(m.headers) for m in messages]):`` or ``async with``. Each
    saga gets an attempt of the step, with the caller's number where the caller opened a step of the same name.

    Args:
        name: What the step is called.
        incoming: What `extract` made of each message; those that name no saga are left out.
    """
    return Batch(name, incoming)


def _link(name: str, incoming: Incoming) -> Link | None:
    place = incoming.place
    if place is None:
        return None
    attributes: dict[str, Any] = {
        **place.stamp,
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_NAME: name,
        semconv.STEP_TYPE: semconv.TYPE_ACTION,
    }
    if place.step != name:
        attributes.pop(semconv.STEP_KEY, None)
        attributes[semconv.STEP_ATTEMPT] = 1
    return Link(place.parent, attributes)
