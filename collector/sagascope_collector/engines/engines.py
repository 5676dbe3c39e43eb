"""Every engine that is understood without configuration, the most exactly told first."""

from collections.abc import Mapping
from typing import Final

from sagascope_collector.engines import celery, dapr, dbos, masstransit, nservicebus, restate, sagaz, temporal
from sagascope_collector.engines.engine import Engine

ENGINES: Final[tuple[Engine, ...]] = (
    temporal.ENGINE,
    dbos.ENGINE,
    restate.ENGINE,
    dapr.ENGINE,
    masstransit.ENGINE,
    nservicebus.ENGINE,
    sagaz.ENGINE,
    celery.ENGINE,
)

BY_ROLE: Final[Mapping[str, Engine]] = {engine.name: engine for engine in ENGINES}
"""By the role that their marks have."""
