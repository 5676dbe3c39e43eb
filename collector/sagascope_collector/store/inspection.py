"""Looks at a database file without changing it."""

from pathlib import Path
from typing import NamedTuple

import duckdb

from sagascope_collector.store import opening
from sagascope_collector.store.migrate import applied, migrations


class Inspected(NamedTuple):
    """What a file is."""

    schema: int
    """Its latest migration; 0: it is empty."""
    known: int
    """The latest migration of this version of Sagascope."""


def inspect(path: Path) -> Inspected:
    """Open the database to read, and close it again.

    Raises:
        DatabaseLocked: another process has it open.
        NewerDatabase: a later DuckDB wrote it.
        NotADatabase: it is something else, or damaged.
        CannotStart: it may not be written, or its folder is missing.
    """
    opening.look_at(path)
    try:
        with duckdb.connect(path, read_only=True) as connection:
            return Inspected(max(applied(connection, str(path)), default=0), migrations()[-1].version)
    except duckdb.Error as error:
        raise opening.explained(str(path), str(error)) from error
