"""`sagascope rebuild`: makes every summary anew from the facts. The collector must not run meanwhile."""

import time
from collections.abc import Callable
from typing import Annotated

import typer

from sagascope_collector import analysis
from sagascope_collector.api import present
from sagascope_collector.health import IngestOutages
from sagascope_collector.projection import Memory, Projection
from sagascope_collector.settings import Settings
from sagascope_collector.storage import Storage

Database = Annotated[str, typer.Option("--db", envvar="SAGASCOPE_DB", help="The database file.", metavar="PATH")]


DEFAULTS = Settings()

AT_ONCE = 1_000
"""Sagas that are summarised together."""


def rebuild(db: Database = DEFAULTS.db) -> None:
    """Make every summary anew from what was received.

    Lists, triage and search read summaries. The collector must be stopped; this may be interrupted, and run again.
    """
    storage = Storage(db)
    try:
        typer.echo(f"{again(storage):,} transactions were summarised anew.")
    finally:
        storage.close()


def caught_up(storage: Storage) -> None:
    """Summarise what changed since a store was open last."""
    projection = _projection(storage, time.time_ns)
    while ids := storage.changes.claim(AT_ONCE):
        projection.renew(ids)


def again(storage: Storage, clock: Callable[[], int] = time.time_ns) -> int:
    """Summarise every saga of a storage; how many ids there are."""
    projection = _projection(storage, clock)
    for lost in storage.lookup.lost():
        storage.changes.restore(lost)
    caught_up(storage)
    return sum(projection.renew(ids) for ids in storage.lookup.ids())


def _projection(storage: Storage, clock: Callable[[], int]) -> Projection:
    outages, memory = IngestOutages(storage, clock), Memory(storage)

    def context(now: int) -> analysis.Context:
        deaf = tuple(outages.intervals())
        return analysis.Context(
            now=now, ingest_outages=deaf, services=storage.sagas.step_services(), baselines=memory.baselines
        )

    return Projection(storage, summarise=present.summary, context=context, memory=memory, clock=clock)
