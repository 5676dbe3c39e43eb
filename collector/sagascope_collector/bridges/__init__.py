"""Bridges: processes beside the collector that follow other systems and report their state as OTLP.

A bridge polls an engine or a database for changes, sends them to the collector as spans and log records, and keeps a
checkpoint in a file. Ids are derived from what the followed system says, so that the collector stores what is sent
twice only once.
"""

from sagascope_collector.bridges.bridge import Bridge, CheckpointFile, PollResult, Source
from sagascope_collector.bridges.health import Health, Heartbeats, serve_metrics
from sagascope_collector.bridges.otlp import LogRecord, Resource, Span, Telemetry

__all__ = [
    "Bridge",
    "CheckpointFile",
    "Health",
    "Heartbeats",
    "LogRecord",
    "PollResult",
    "Resource",
    "Source",
    "Span",
    "Telemetry",
    "serve_metrics",
]
