"""Follows transactions that PostgreSQL has prepared, and nobody has decided.

Everything that is known of ``PREPARE TRANSACTION`` is in this package. It reads only: it never decides one.
"""

from sagascope_collector.bridges.postgres.gids import Gids
from sagascope_collector.bridges.postgres.place import Place
from sagascope_collector.bridges.postgres.source import SETTINGS, Database, Postgres, reason

__all__ = ["SETTINGS", "Database", "Gids", "Place", "Postgres", "reason"]
