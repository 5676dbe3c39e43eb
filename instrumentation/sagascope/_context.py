"""The saga that code runs in, kept in OpenTelemetry's context.

It follows the code through threads and tasks wherever OpenTelemetry's context does.
"""

from typing import Any, NamedTuple, Protocol

from opentelemetry.context import Context, attach, create_key, get_current
from opentelemetry.trace import SpanContext

from sagascope import semconv
from sagascope._plan import Plan

SAGA_CONTEXT_KEY = create_key("sagascope")


class SagaIdentity(NamedTuple):
    """Identifies one run of one saga."""

    id: str
    name: str = ""
    run: str = ""


class SagaHandle(Protocol):
    """A running saga, as its steps use it."""

    identity: SagaIdentity
    plan: Plan | None

    def compensated_step(self, compensation: str) -> str | None:
        """Returns the step that this compensation compensates."""
        ...

    def record_success(self, kind: str, step: str, key: str, compensates: str | None) -> None:
        """Records an attempt that succeeded."""
        ...

    def context_for_step(self, context: Context) -> Context:
        """Returns the context in which to open a step of this saga from `context`, which is outside the saga."""
        ...


class SagaContext:
    """The saga, and the step in it, that code runs in. Every span and log record below gets `attributes`."""

    __slots__ = (
        "attempt",
        "attributes",
        "closed",
        "enclosing",
        "ended",
        "identity",
        "key",
        "remote",
        "saga",
        "span_context",
        "step",
    )

    def __init__(
        self,
        identity: SagaIdentity,
        span_context: SpanContext,
        *,
        step: str = "",
        key: str = "",
        attempt: int = 0,
        remote: bool = False,
        saga: SagaHandle | None = None,
    ) -> None:
        self.identity: SagaIdentity = identity
        self.span_context: SpanContext = span_context
        """The saga span below which work continues."""
        self.step: str = step
        self.key: str = key
        self.attempt: int = attempt
        self.remote: bool = remote
        """True when the caller sent it from another process."""
        self.saga: SagaHandle | None = saga
        self.attributes: dict[str, Any] = _attributes(identity, step, key, attempt)
        self.enclosing: Context | None = None
        """The context that was current before, once the block is closed."""
        self.closed: bool = False
        """True once its block was left."""
        self.ended: bool = False
        """True once the saga or step ended. Code that still runs in a copy of this context is no longer part of it."""

    def copy(self) -> "SagaContext":
        """Returns an open copy, to be entered again."""
        return SagaContext(
            self.identity,
            self.span_context,
            step=self.step,
            key=self.key,
            attempt=self.attempt,
            remote=self.remote,
            saga=self.saga,
        )


def _attributes(identity: SagaIdentity, step: str, key: str, attempt: int) -> dict[str, Any]:
    """Returns the attributes of everything in this context, without empty ones."""
    attributes: dict[str, Any] = {semconv.SAGA_ID: identity.id}
    if identity.name:
        attributes[semconv.SAGA_NAME] = identity.name
    if identity.run:
        attributes[semconv.SAGA_RUN_ID] = identity.run
    if step:
        attributes[semconv.STEP_NAME] = step
        if key:
            attributes[semconv.STEP_KEY] = key
        if attempt:
            attributes[semconv.STEP_ATTEMPT] = attempt
    return attributes


def get_saga_context(context: Context) -> SagaContext | None:
    """Returns the innermost saga context that has not ended, or None outside any saga.

    A task that outlives its block, and the consumer of a generator that was not exhausted, keep a context that has
    ended.
    """
    found: SagaContext | None = context.get(SAGA_CONTEXT_KEY)  # type: ignore[assignment]
    while found is not None and found.ended:
        found = found.enclosing.get(SAGA_CONTEXT_KEY) if found.enclosing is not None else None  # type: ignore[assignment]
    return found


def set_saga_in_context(saga_context: SagaContext, context: Context) -> Context:
    """Returns a copy of `context` that holds `saga_context`."""
    return Context({**context, SAGA_CONTEXT_KEY: saga_context})


def restore(entered: Context, previous: Context, *, ended: bool = False) -> None:
    """Makes `previous`, or the nearest context around it that is still open, current again.

    Does nothing when `entered` is no longer current: blocks may overlap, or end in another task.

    Args:
        entered: The context that the block entered.
        previous: The context that was current before.
        ended: Whether the saga or step ended with the block.
    """
    previous = _nearest_open(previous)
    saga_context: SagaContext | None = entered.get(SAGA_CONTEXT_KEY)  # type: ignore[assignment]
    if saga_context is not None and saga_context is not previous.get(SAGA_CONTEXT_KEY):
        saga_context.closed = True
        saga_context.enclosing = previous
        saga_context.ended = ended
    if get_current() is entered:
        attach(previous)


def _nearest_open(context: Context) -> Context:
    """Returns the nearest context, from this one outward, whose saga context is open."""
    found: SagaContext | None = context.get(SAGA_CONTEXT_KEY)  # type: ignore[assignment]
    while found is not None and found.closed and found.enclosing is not None:
        context = found.enclosing
        found = context.get(SAGA_CONTEXT_KEY)  # type: ignore[assignment]
    return context
