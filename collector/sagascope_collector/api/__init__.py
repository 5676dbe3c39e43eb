"""The HTTP API: reads the store, judges, presents."""

from sagascope_collector.api.health import Health
from sagascope_collector.api.read_slots import ReadLimits
from sagascope_collector.api.routes import create_api

__all__ = ["Health", "ReadLimits", "create_api"]
