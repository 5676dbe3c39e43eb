"""Computes summaries of sagas in the database of a stopped collector."""

import time
from collections.abc import Callable
from typing import Final

from sagascope_collector import analysis
from sagascope_collector.api import present
from sagascope_collector.health import IngestOutages
from sagascope_collector.projection import BaselineLearner, Projection
from sagascope_collector.storage import Storage

BATCH_SAGAS: Final = 1_000
"""Number of sagas that are summarized at a time."""


def summarize_changes(storage: Storage) -> None:
    """Summarizes the sagas that changed after their summaries were computed."""
    _summarize_changes(storage, _projection(storage, time.time_ns))


def summarize_all(storage: Storage, clock: Callable[[], int] = time.time_ns) -> int:
    """Summarizes every saga; returns their number."""
    projection = _projection(storage, clock)
    for lost in storage.lookup.unlocated():
        storage.changes.restore(lost)
    _summarize_changes(storage, projection)
    return sum(projection.renew(ids) for ids in storage.lookup.ids())


def _summarize_changes(storage: Storage, projection: Projection) -> None:
    while ids := storage.changes.claim(BATCH_SAGAS):
        projection.renew(ids)


def _projection(storage: Storage, clock: Callable[[], int]) -> Projection:
    outages, learner = IngestOutages(storage, clock), BaselineLearner(storage)

    def context(now: int) -> analysis.Context:
        return analysis.Context(
            now=now,
            ingest_outages=tuple(outages.intervals()),
            services=storage.sagas.step_services(),
            baselines=learner.baselines,
        )

    return Projection(storage, summarise=present.summary, context=context, learner=learner, clock=clock)
