"""Looks at a database file without changing it."""

from pathlib import Path
from typing import Final, NamedTuple

import duckdb

from sagascope_collector.storage import connection
from sagascope_collector.storage.migrate import applied, migrations
from sagascope_collector.storage.statements import load

SQL: Final = load("inspection")


class Inspected(NamedTuple):
    """What a file is."""

    schema: int
    """Its latest migration; 0: it is empty."""
    known: int
    """The latest migration of this version of Sagascope."""


class Contents(NamedTuple):
    """What a file holds."""

    bytes: int
    records: int
    """Spans and log records."""
    latest: int
    """When the last of them was received, in nanoseconds since 1970; 0: there are none."""


def inspect(path: Path) -> Inspected:
    """Opens the database to read, and closes it again.

    Raises:
        DatabaseLocked: another process has it open.
        NewerDatabase: a later DuckDB wrote it.
        NotADatabase: it is something else, or damaged.
        CannotStart: it is not writable, or its folder is missing.
    """
    connection.check_path(path)
    try:
        with duckdb.connect(path, read_only=True) as opened:
            return Inspected(max(applied(opened, str(path)), default=0), migrations()[-1].version)
    except duckdb.Error as error:
        raise connection.explain(str(path), str(error)) from error


def read_all(path: Path) -> Contents:
    """Reads every row of a database, so that DuckDB checks every block that is in use.

    Raises:
        CannotStart: as `inspect`.
    """
    connection.check_path(path)
    try:
        with duckdb.connect(path, read_only=True, config={"threads": "1"}) as opened:
            if not applied(opened, str(path)):
                raise connection.explain(str(path), "It is empty.")
            tables = [name for (name,) in opened.execute(SQL["select_tables"]).fetchall()]
            for table in tables:
                opened.execute(SQL["read_table"].replace('"table"', table)).fetchall()
            ((records, latest),) = opened.execute(SQL["count_records"]).fetchall()
            return Contents(path.stat().st_size, records, latest)
    except duckdb.Error as error:
        raise connection.explain(str(path), str(error)) from error
