"""Reads those requests of a group that can be read quickly, and leaves the others."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from sagascope import semconv
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp.columnar.declined import Declined
from sagascope_collector.otlp.columnar.logs import read_logs
from sagascope_collector.otlp.columnar.spans import read_spans
from sagascope_collector.otlp.columns import Origins
from sagascope_collector.otlp.observations import Observations

MIN_BYTES: Final = 16 * 1024
"""Bytes of requests below which an object for each record costs less than columns do."""

MAX_ATTEMPTS: Final = 3
"""How often the remaining requests are read again without those that were declined."""

_HEARTBEAT: Final = semconv.EVENT_HEARTBEAT.encode()


class Requests:
    """The tables of all that could be read."""

    def __init__(self, observations: Observations, origins: Origins, *, worthwhile: int = MIN_BYTES) -> None:
        """Fewer bytes than are `worthwhile` are left alone."""
        self._worthwhile = worthwhile
        self._observations = observations
        self._origins = origins
        self.spans: list[pa.Table] = []
        self.logs: list[pa.Table] = []
        self.links: list[tuple[Any, ...]] = []
        """Rows of `schema.LINKS`."""

    def read(self, payloads: Mapping[int, Payload]) -> dict[int, int]:
        """Reads requests and returns how many records of each were rejected; requests without entry were not read."""
        traces = {number: each for number, each in payloads.items() if _fits(each, Signal.TRACES)}
        logs = {number: each for number, each in payloads.items() if _fits(each, Signal.LOGS)}
        return self._read(traces, self._read_spans) | self._read(logs, self._read_logs)

    def _read(self, payloads: dict[int, Payload], read: Any) -> dict[int, int]:
        for _ in range(MAX_ATTEMPTS):
            if sum(len(each.body) for each in payloads.values()) < max(self._worthwhile, 1):
                break
            numbers = list(payloads)
            bodies, received_at = zip(*((each.body, each.received_at) for each in payloads.values()), strict=True)
            try:
                return dict(zip(numbers, read(bodies, received_at), strict=True))
            except Declined as declined:
                for each in declined.requests:
                    del payloads[numbers[each]]
        return {}

    def _read_spans(self, bodies: Sequence[bytes], received_at: Sequence[int]) -> list[int]:
        read = read_spans(bodies, received_at, self._origins, self._observations)
        self.spans.append(read.spans)
        self.links += read.links
        return read.rejected

    def _read_logs(self, bodies: Sequence[bytes], received_at: Sequence[int]) -> list[int]:
        self.logs.append(read_logs(bodies, received_at, self._origins, self._observations))
        return [0] * len(bodies)


def _fits(payload: Payload, signal: Signal) -> bool:
    """Whether a request may hold only what is read here."""
    if payload.encoding is not Encoding.PROTOBUF or payload.signal is not signal:
        return False
    return signal is Signal.TRACES or _HEARTBEAT not in payload.body
