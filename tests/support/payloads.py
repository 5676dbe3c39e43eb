"""Unique OTLP requests by the thousand, of sagas that ended well.

One request is built and serialized; of it only the ids are overwritten, so that a client costs little. Sagas have
UUIDs, as most do: rows of digits in these look like card numbers. Ten spans make a saga: its root, five steps, and what
four of them call.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.otlp import NOON, SECOND, attributes, log, logs, of_saga, resource, span, traces

SPANS_A_SAGA = 10
STEPS = ("fraud.check", "wallet.debit", "ledger.record", "shipping.book", "customer.notify")
MILLISECOND = 1_000_000
STACK_TRACE = "".join(
    f'  File "/srv/ledger/part_{line}.py", line {line}, in work\n    return inner({line})\n' for line in range(20)
)
SENDER = {"service_instance_id": "ledger-1", "service_version": "3.2.1", "deployment_environment_name": "production"}

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_UUID = np.frombuffer(b"00000000-0000-0000-0000-000000000000", np.uint8)


Clock = Callable[[], int]
"""The current time in nanoseconds since 1970."""


class Pair(NamedTuple):
    """A request of spans, and one with a log record for each of them."""

    spans: bytes
    logs: bytes


def requests(count: int, spans: int = 510, *, seed: int = 1, clock: Clock = lambda: NOON) -> Iterator[bytes]:
    """Requests of `spans` spans with 8 attributes each; `clock` says when their sagas start."""
    template = _plain(spans)
    return (template.fresh(seed, number, clock()) for number in range(count))


def rich_requests(count: int, spans: int = 510, *, seed: int = 1, clock: Clock = lambda: NOON) -> Iterator[Pair]:
    """The same with 25 attributes, about 1 KB, a span, a stack trace on one of a hundred, and a log record for each."""
    template, beside = _rich(spans), _logs(spans)
    for number in range(count):
        at = clock()
        yield Pair(template.fresh(seed, number, at), beside.fresh(seed, number, at))


class Template:
    """The bytes of a request, and where in them its ids and times stand."""

    def __init__(self, raw: bytes, spans: int) -> None:
        self._raw = np.frombuffer(raw, np.uint8)
        self._spans = spans
        self._traces = _found(rb"T(\d{15})", raw)
        self._ids = _found(rb"S(\d{7})", raw)
        self._sagas = _found(rb"saga-(\d{31})", raw)
        self._times = np.array([place for place, _ in _times(raw)])
        self._since_noon = np.array([at - NOON for _, at in _times(raw)], np.uint64)

    def fresh(self, seed: int, number: int, at: int = NOON) -> bytes:
        """The request with this number, as no other is; the same for the same seed and time."""
        body, random = self._raw.copy(), np.random.default_rng((seed, number))
        sagas = -(-self._spans // SPANS_A_SAGA)
        _overwrite(body, self._traces, random.integers(1, 256, (sagas, 16), np.uint8))
        _overwrite(body, self._ids, random.integers(1, 256, (self._spans, 8), np.uint8))
        uuids = np.full((sagas, len(_UUID)), ord("-"), np.uint8)
        uuids[:, ord("-") != _UUID] = _HEX[random.integers(0, 16, (sagas, 32), np.uint8)]
        _overwrite(body, self._sagas, uuids)
        times = (self._since_noon + np.uint64(at)).astype("<u8").view(np.uint8).reshape(-1, 8)
        body[self._times[:, None] + np.arange(8)] = times
        return body.tobytes()


Places = tuple[np.ndarray, np.ndarray]
"""Where something stands, and which of its kind it is."""


def _found(pattern: bytes, raw: bytes) -> Places:
    found = list(re.finditer(pattern, raw))
    return np.array([each.start() for each in found]), np.array([int(each[1]) for each in found])


def _times(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yields the place and value of each time: a fixed64 within a second after noon."""
    for found in re.finditer(rb"(?=[\x09\x39\x41](.{8}))", raw, re.DOTALL):
        value = int.from_bytes(found[1], "little")
        if NOON <= value < NOON + SECOND:
            yield found.start(1), value


def _overwrite(body: np.ndarray, places: Places, values: np.ndarray) -> None:
    at, which = places
    if len(at):
        body[at[:, None] + np.arange(values.shape[1])] = values[which]


@cache
def _plain(spans: int) -> Template:
    every = [_span(number, _ordinary(number)) for number in range(spans)]
    return Template(traces(*every, of=resource("ledger", **SENDER)).SerializeToString(), spans)


@cache
def _rich(spans: int) -> Template:
    every = [_span(number, _ordinary(number) | _more(number)) for number in range(spans)]
    for each in every[::100]:
        told = each.events.add(name="exception", time_unix_nano=each.end_time_unix_nano)
        told.attributes.extend(attributes({"exception.type": "TimeoutError", "exception.stacktrace": STACK_TRACE}))
    return Template(traces(*every, of=resource("ledger", **SENDER)).SerializeToString(), spans)


@cache
def _logs(spans: int) -> Template:
    records = [
        log(
            f'booked "{number}" in the ledger',
            at=NOON + number * MILLISECOND,
            severity_number=9,
            severity_text="INFO",
            trace_id=_trace_id(number),
            span_id=_span_id(number),
            attributes=_of_saga(number) | {"code.function.name": "ledger.book", "thread.name": "worker-3"},
        )
        for number in range(spans)
    ]
    return Template(logs(*records, of=resource("ledger", **SENDER)).SerializeToString(), spans)


def _span(number: int, said: Mapping[str, Any]) -> Span:
    place = number % SPANS_A_SAGA
    start = NOON + place * MILLISECOND
    each = span(1, start=start, end=start + (SPANS_A_SAGA if place == 0 else 1) * MILLISECOND, attributes=said)
    each.name, each.kind = ("payment", 2) if place == 0 else (_step(place), 3 if place % 2 == 0 else 1)
    each.trace_id, each.span_id = _trace_id(number), _span_id(number)
    if place:
        each.parent_span_id = _span_id(number - place)
    return each


def _ordinary(number: int) -> dict[str, Any]:
    called = {"http.request.method": "POST", "http.response.status_code": 200, "server.address": "ledger.internal"}
    if number % SPANS_A_SAGA == 0:
        return _of_saga(number) | {"saga.outcome": "completed", "saga.key.channel": "web"} | called
    return _of_saga(number) | called


def _of_saga(number: int) -> dict[str, Any]:
    place, id_ = number % SPANS_A_SAGA, f"saga-{number // SPANS_A_SAGA:031}"
    if place == 0:
        return of_saga(id_, role="saga")
    said = of_saga(id_, step_name=_step(place), step_attempt=1)
    return said | ({"saga.role": "step"} if place % 2 else {"rpc.system": "http"})


def _more(number: int) -> dict[str, Any]:
    texts = {f"app.context.part_{part}": f"ctx{part} " * 6 for part in range(10)}
    numbers: dict[str, Any] = {"app.items": number % 7, "app.total": 50.25 + number % 10, "app.retry": number % 2 == 0}
    return (
        texts
        | numbers
        | {
            "url.full": f"https://ledger.internal/v1/book/{number}?verbose=true",
            "app.tags": ["a", "b"],
            "user_agent.original": "python-httpx/0.28.1",
            "network.peer.port": 8443,
        }
    )


def _step(place: int) -> str:
    return STEPS[(place - 1) // 2]


def _trace_id(number: int) -> bytes:
    return b"T%015d" % (number // SPANS_A_SAGA)


def _span_id(number: int) -> bytes:
    return b"S%07d" % number
