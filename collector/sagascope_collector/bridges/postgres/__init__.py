"""Follows prepared transactions of PostgreSQL that were neither committed nor rolled back.

Everything about ``PREPARE TRANSACTION`` is in this package. It only reads: it never ends a transaction.
"""

from sagascope_collector.bridges.postgres.source import (
    CONNECTION_OPTIONS as CONNECTION_OPTIONS,
    Checkpoint as Checkpoint,
    Database as Database,
    PostgresSource as PostgresSource,
    first_line as first_line,
)
from sagascope_collector.bridges.postgres.telemetry import (
    GlobalIdFormat as GlobalIdFormat,
    statement_start as statement_start,
)
