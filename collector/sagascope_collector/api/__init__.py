"""The HTTP API: reads the store, judges, presents."""

from sagascope_collector.api.health import Health
from sagascope_collector.api.routes import create_api
from sagascope_collector.api.turns import ReadLimits

__all__ = ["Health", "ReadLimits", "create_api"]
