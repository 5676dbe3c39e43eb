"""The HTTP API: reads the store, derives verdicts and serializes the responses."""

from sagascope_collector.api.admission import ReadLimits as ReadLimits
from sagascope_collector.api.overview import Health as Health
from sagascope_collector.api.routes import create_api as create_api
