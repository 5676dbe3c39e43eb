"""The HTTP API: reads the store, derives verdicts and serializes the answers."""

from sagascope_collector.api.limits import ReadLimits
from sagascope_collector.api.overview import Health
from sagascope_collector.api.routes import create_api

__all__ = ["Health", "ReadLimits", "create_api"]
