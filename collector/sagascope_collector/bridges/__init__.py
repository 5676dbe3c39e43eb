"""Bridges: separate processes that follow other systems and report their state as OTLP.

A bridge polls an engine or a database for changes, sends them to the collector as spans and log records, and keeps a
checkpoint in a file. Ids are derived from the data of the followed system, so that the collector stores repeated
records once.
"""

from sagascope_collector.bridges.bridge import (
    Bridge as Bridge,
    CheckpointFile as CheckpointFile,
    Health as Health,
    Heartbeats as Heartbeats,
    PollResult as PollResult,
    Source as Source,
    serve_metrics as serve_metrics,
)
from sagascope_collector.bridges.otlp import (
    LogRecord as LogRecord,
    Resource as Resource,
    Span as Span,
    Telemetry as Telemetry,
)
