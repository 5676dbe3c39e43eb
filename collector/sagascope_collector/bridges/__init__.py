"""Bridges: separate processes that follow other systems and report their state as OTLP.

A bridge polls an engine or a database for changes, sends them to the collector as spans and log records, and keeps a
checkpoint in a file. Ids are derived from the data of the followed system, so that the collector stores repeated
records once.
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
