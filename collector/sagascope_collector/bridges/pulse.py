"""A bridge's own heartbeats: that it is alive, how far it is behind, and what it cannot reach."""

import socket
import threading
import time
from pathlib import Path
from typing import Final, Self

from sagascope import semconv
from sagascope_collector.archives import Sender
from sagascope_collector.bridges.running import Health
from sagascope_collector.bridges.telling import Attributes, Facts, LogRecord, Resource
from sagascope_collector.errors import StoppedShort

EVERY: Final = 5.0
"""Seconds between two heartbeats."""


class Pulse:
    """Sends heartbeats while it is entered, from a thread of its own: a source that hangs does not silence it.

    Args:
        health: what is said.
        kind: what the bridge follows.
        cursor: the file of its place; with the host it tells bridges apart, also over restarts.
        sender: speaks with the collector, and does not wait for one that is away.
    """

    def __init__(self, health: Health, kind: str, cursor: Path, sender: Sender) -> None:
        self._health = health
        self._kind = kind
        self._sender = sender
        self._resource: Resource = (
            ("service.name", f"sagascope-bridge-{kind}"),
            ("service.instance.id", f"{socket.gethostname()}:{cursor.resolve()}"),
        )
        self._sequence = 0
        self._is_ending = False
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        self._health.news.set()
        self._thread.join(EVERY)
        if not self._thread.is_alive():
            self._send(final=True)

    def _beat(self) -> None:
        while True:
            self._health.news.clear()
            if self._is_ending:
                return
            self._send()
            self._health.news.wait(EVERY)

    def _send(self, *, final: bool = False) -> None:
        self._sequence += 1
        try:
            for message, kind in Facts(logs=[self._record(final=final)]).messages():
                self._sender.send(message, kind)
        except StoppedShort:
            pass  # the bridge says so itself, once

    def _record(self, *, final: bool) -> LogRecord:
        said: Attributes = {
            semconv.HEARTBEAT_INTERVAL: EVERY,
            semconv.HEARTBEAT_SEQUENCE: self._sequence,
            semconv.HEARTBEAT_OPEN_SPANS: (),
            semconv.HEARTBEAT_FINAL: final,
            semconv.BRIDGE_KIND: self._kind,
            semconv.BRIDGE_LAG: self._health.lag_seconds(),
            semconv.BRIDGE_WATCHING: self._health.watching,
            **({semconv.BRIDGE_ERROR: self._health.trouble} if self._health.trouble else {}),
        }
        return LogRecord(
            resource=self._resource,
            trace_id=b"",
            span_id=b"",
            at=time.time_ns(),
            event_name=semconv.EVENT_HEARTBEAT,
            body="",
            attributes=said,
        )
