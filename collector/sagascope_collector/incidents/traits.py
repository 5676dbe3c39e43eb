"""What can be said of a saga's processes and steps, by the attributes that many sagas share. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector.records import Attributes, Span, Value

LONGEST: Final = 200
"""Characters of a value; longer ones are no property that sagas share."""

MOST: Final = 2_000
"""Traits of one saga; what comes after them is left out."""

SHARED: Final = (semconv.KEY_PREFIX, semconv.CURRENCY)
"""What a saga says of its business; all else that begins as these do describes its course."""

UNTOLD: Final = (
    "error.", "exception.", "otel.status", "http.status_code", "http.response.", "rpc.grpc.status", "rpc.response.",
    "db.response.", "messaging.message.", "process.", "thread.", "code.", "telemetry.", "deployment.environment",
    "saga.", "sagascope.", "service.name", "client.", "network.peer.port", "net.peer.port", "net.sock.peer.port",
)  # fmt: skip
"""Beginnings of keys that tell how it went, who asked, or what is told already, and so never why."""


class Trait(NamedTuple):
    """A property, and of what: of a service's process, else of a step, else of the whole saga."""

    service: str
    step: str
    key: str
    value: str

    @property
    def place(self) -> tuple[str, str]:
        """Of what it is a property."""
        return self.service, self.step


class Traits(NamedTuple):
    """All of one saga."""

    places: frozenset[tuple[str, str]]
    """The services and steps that it was seen at; ``("", "")`` is the saga as a whole."""
    found: frozenset[Trait]


def traits(spans: Iterable[Span]) -> Traits:
    """The properties of the saga that has these spans."""
    places, found = {("", "")}, set[Trait]()
    for span in spans:
        service, step = span.process.service, span.mark.step
        places |= {(service, ""), ("", step)}
        if len(found) < MOST:
            found |= {Trait(service, "", *each) for each in _plain(span.resource.attributes)}
            found |= {Trait("", "" if each[0].startswith(SHARED) else step, *each) for each in _plain(span.attributes)}
    return Traits(frozenset(places), frozenset(found))


def _plain(attributes: Attributes) -> Iterator[tuple[str, str]]:
    for key, value in attributes.items():
        if key.startswith(SHARED) or not key.startswith(UNTOLD):
            text = _text(value)
            if text:
                yield key, text


def _text(value: Value) -> str:
    """A value that sagas may share; ``""``: they do not."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | str) and len(str(value)) <= LONGEST else ""
