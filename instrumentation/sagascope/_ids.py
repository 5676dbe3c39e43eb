"""Ids of spans: at random, or as somebody wants the next one."""

from contextvars import ContextVar

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

_wanted: ContextVar[int] = ContextVar("wanted_span_id", default=0)


class Ids(IdGenerator):
    """The service's ids, or random ones, unless a span is wanted under its own."""

    def __init__(self, service: IdGenerator | None) -> None:
        self._others = service or RandomIdGenerator()

    def generate_span_id(self) -> int:
        """The id of the next span."""
        return _wanted.get() or self._others.generate_span_id()

    def generate_trace_id(self) -> int:
        """The id of the next trace."""
        return self._others.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Whether ids of traces are made at random."""
        return self._others.is_trace_id_random()


class Wanting:
    """In this block the next span has this id; 0: any."""

    __slots__ = ("_span_id", "_token")

    def __init__(self, span_id: int) -> None:
        self._span_id = span_id

    def __enter__(self) -> None:
        self._token = _wanted.set(self._span_id)

    def __exit__(self, *_: object) -> None:
        _wanted.reset(self._token)
