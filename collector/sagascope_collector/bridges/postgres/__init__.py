"""Follows prepared transactions of PostgreSQL that were neither committed nor rolled back.

Everything about ``PREPARE TRANSACTION`` is in this package. It only reads: it never ends a transaction.
"""

from sagascope_collector.bridges.postgres.source import (
    CONNECTION_OPTIONS,
    Checkpoint,
    Database,
    PostgresSource,
    first_line,
)
from sagascope_collector.bridges.postgres.telemetry import GlobalIdFormat, statement_start

__all__ = [
    "CONNECTION_OPTIONS",
    "Checkpoint",
    "Database",
    "GlobalIdFormat",
    "PostgresSource",
    "first_line",
    "statement_start",
]
