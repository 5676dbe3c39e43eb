"""Builds the spans of one saga as an engine sends them, and reads what a collector shows."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.otlp import SECOND, resource, span, traces

AGO = 60
"""Seconds before now at which the sagas start."""

WITHIN = 60.0


@dataclass
class Story:
    """The spans of one saga, by default in one trace. Times are seconds from its start."""

    number: int
    begun: int = field(default_factory=lambda: time.time_ns() - AGO * SECOND)
    spans: list[tuple[str, str, Span]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """A saga name of its own: baselines that are learned from one saga type apply to later sagas of that type."""
        return f"Order{self.number}"

    def span(
        self,
        name: str,
        attributes: Mapping[str, Any],
        at: float,
        lasts: float | None = 0.0,
        *,
        parent: int = 0,
        error: str | None = None,
        events: Iterable[tuple[str, float, Mapping[str, Any]]] = (),
        trace: int = 0,
        kind: Any = "SPAN_KIND_INTERNAL",
        service: str = "worker",
        scope: str = "engine",
    ) -> int:
        """Adds a span and returns its number. With `lasts=None` it is sent while it is open."""
        own = self.number * 1000 + len(self.spans) + 1
        start = self.begun + round(at * SECOND)
        end = 0 if lasts is None else start + round(lasts * SECOND)
        built = span(
            own,
            trace=self.number * 10 + trace,
            name=name,
            start=start,
            end=end,
            attributes=attributes,
            error=error,
            kind=kind,
        )
        if parent:
            built.parent_span_id = parent.to_bytes(8, "big")
        for event, when, of_event in events:
            added = built.events.add(name=event, time_unix_nano=self.begun + round(when * SECOND))
            added.attributes.extend(span(attributes=of_event).attributes)
        self.spans.append((service, scope, built))
        return own

    def send(self, http: httpx.Client) -> None:
        """Sends each span in a request of its own, the last span first."""
        for service, scope, built in reversed(self.spans):
            body = traces(built, of=resource(service), scope=scope).SerializeToString()
            answer = http.post("/v1/traces", content=body, headers={"Content-Type": "application/x-protobuf"})
            assert answer.status_code == 200, answer.text


def saga(
    api: httpx.Client, saga_id: str, name: str, until: Callable[[Any], bool] = lambda _: True, log: Path | None = None
) -> Any:
    """Returns a saga from the API once `until` holds. After a timeout the failure shows `log`."""
    deadline = time.monotonic() + WITHIN
    while True:
        answer = api.get("/api/v1/saga", params={"id": saga_id, "name": name})
        if answer.status_code == 200 and until(answer.json()):
            return answer.json()
        assert time.monotonic() < deadline, f"{answer.text}\n{log.read_text() if log else ''}"
        time.sleep(0.05)


def steps(shown: Mapping[str, Any]) -> list[tuple[str, str, str, list[str]]]:
    """Returns (name and key, type, state, states of its attempts) of each step."""
    return [
        (f"{each['name']}#{each['key']}".removesuffix("#"), each["type"], each["state"], _states(each))
        for each in shown["steps"]
    ]


def _states(step: Mapping[str, Any]) -> list[str]:
    return [each["state"] for each in step["attempts"]]
