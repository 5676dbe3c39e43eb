"""The HTTP API: reads the store, judges, presents."""

from sagascope_collector.api.health import Health
from sagascope_collector.api.routes import create_api

__all__ = ["Health", "create_api"]
