"""Spans as engines make them, told in a few words, and what a collector says of them."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.otlp import SECOND, resource, span, traces

AGO = 60
"""Seconds before now at which the stories begin."""

WITHIN = 60.0


@dataclass
class Story:
    """The spans of one saga, in one trace unless told otherwise; times are seconds from its start."""

    number: int
    begun: int = field(default_factory=lambda: time.time_ns() - AGO * SECOND)
    spans: list[tuple[str, str, Span]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """A name that no other story has: what finished sagas of one name taught is held against the next."""
        return f"Order{self.number}"

    def span(
        self,
        name: str,
        attributes: Mapping[str, Any],
        at: float,
        lasts: float | None = 0.0,
        *,
        above: int = 0,
        error: str | None = None,
        events: Iterable[tuple[str, float, Mapping[str, Any]]] = (),
        trace: int = 0,
        kind: Any = "SPAN_KIND_INTERNAL",
        service: str = "worker",
        scope: str = "engine",
    ) -> int:
        """Add a span, and answer its number; `lasts=None`: it was sent while it was open."""
        own = self.number * 1000 + len(self.spans) + 1
        start = self.begun + round(at * SECOND)
        end = 0 if lasts is None else start + round(lasts * SECOND)
        said = span(
            own,
            trace=self.number * 10 + trace,
            name=name,
            start=start,
            end=end,
            attributes=attributes,
            error=error,
            kind=kind,
        )
        if above:
            said.parent_span_id = above.to_bytes(8, "big")
        for event, when, of_event in events:
            added = said.events.add(name=event, time_unix_nano=self.begun + round(when * SECOND))
            added.attributes.extend(span(attributes=of_event).attributes)
        self.spans.append((service, scope, said))
        return own

    def send(self, http: httpx.Client) -> None:
        """Send everything, each span in a request of its own, the last first."""
        for service, scope, said in reversed(self.spans):
            body = traces(said, of=resource(service), scope=scope).SerializeToString()
            answer = http.post("/v1/traces", content=body, headers={"Content-Type": "application/x-protobuf"})
            assert answer.status_code == 200, answer.text


def saga(
    api: httpx.Client, saga_id: str, name: str, until: Callable[[Any], bool] = lambda _: True, log: Path | None = None
) -> Any:
    """What the API says of a saga, once it is as awaited; `log` is shown where it does not come to that."""
    deadline = time.monotonic() + WITHIN
    while True:
        answer = api.get("/api/v1/saga", params={"id": saga_id, "name": name})
        if answer.status_code == 200 and until(answer.json()):
            return answer.json()
        assert time.monotonic() < deadline, f"{answer.text}\n{log.read_text() if log else ''}"
        time.sleep(0.05)


def steps(told: Mapping[str, Any]) -> list[tuple[str, str, str, list[str]]]:
    """(name and key, type, state, states of its attempts) of each step."""
    return [
        (f"{each['name']}#{each['key']}".removesuffix("#"), each["type"], each["state"], _states(each))
        for each in told["steps"]
    ]


def _states(step: Mapping[str, Any]) -> list[str]:
    return [each["state"] for each in step["attempts"]]
