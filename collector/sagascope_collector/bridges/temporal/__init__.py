"""Follows the open workflows of a Temporal server: their histories, and state that only the server reports."""

from sagascope_collector.bridges.temporal.client import TemporalClient as TemporalClient, Tls as Tls
from sagascope_collector.bridges.temporal.source import TemporalSource as TemporalSource
from sagascope_collector.bridges.temporal.telemetry import Checkpoint as Checkpoint
