"""Follows the open workflows of a Temporal server: their histories, and state that only the server reports."""

from sagascope_collector.bridges.temporal.client import TemporalClient, Tls
from sagascope_collector.bridges.temporal.source import TemporalSource
from sagascope_collector.bridges.temporal.telemetry import Checkpoint

__all__ = ["Checkpoint", "TemporalClient", "TemporalSource", "Tls"]
