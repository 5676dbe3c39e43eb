"""Temporal: open workflows, their histories, and what the server alone knows of what they wait for."""

from sagascope_collector.bridges.temporal.place import Place
from sagascope_collector.bridges.temporal.server import Server, Tls
from sagascope_collector.bridges.temporal.source import Temporal

__all__ = ["Place", "Server", "Temporal", "Tls"]
