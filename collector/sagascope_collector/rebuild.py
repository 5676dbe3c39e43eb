"""`sagascope rebuild`: makes every summary anew from the facts. The collector must not run meanwhile."""

import time
from collections.abc import Callable
from typing import Annotated

import typer

from sagascope_collector import sagas
from sagascope_collector.api import present
from sagascope_collector.deafness import Deafness
from sagascope_collector.projection import Memory, Projection
from sagascope_collector.settings import Settings
from sagascope_collector.store import DuckDBStore, Store

Database = Annotated[str, typer.Option("--db", envvar="SAGASCOPE_DB", help="The database file.", metavar="PATH")]


DEFAULTS = Settings()

AT_ONCE = 1_000
"""Sagas that are summarised together."""


def rebuild(db: Database = DEFAULTS.db) -> None:
    """Make every summary anew from what was received.

    Lists, triage and search read summaries. The collector must be stopped; this may be interrupted, and run again.
    """
    store = DuckDBStore(db)
    try:
        typer.echo(f"{again(store):,} transactions were summarised anew.")
    finally:
        store.close()


def caught_up(store: Store) -> None:
    """Summarise what changed since a store was open last."""
    projection = _projection(store, time.time_ns)
    while ids := store.changed_ids(AT_ONCE):
        projection.renew(ids)


def again(store: Store, clock: Callable[[], int] = time.time_ns) -> int:
    """Summarise every saga of a store; how many ids there are."""
    projection = _projection(store, clock)
    return sum(projection.renew(ids) for ids in store.saga_ids())


def _projection(store: Store, clock: Callable[[], int]) -> Projection:
    deafness, memory = Deafness(store, clock), Memory(store)

    def context(now: int) -> sagas.Context:
        deaf = tuple(deafness.intervals())
        return sagas.Context(now=now, deaf=deaf, services=store.runners(), experience=memory.experience)

    return Projection(store, summarise=present.summary, context=context, memory=memory, clock=clock)
