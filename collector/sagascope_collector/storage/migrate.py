"""Brings a database to this version's schema, and looks at the schema and the content of one without changing it.

Migrations are numbered files, each applied in one transaction with its own record.
"""

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import duckdb

from sagascope_collector.errors import NewerDatabase, NotADatabase
from sagascope_collector.storage import connection
from sagascope_collector.storage.statements import load

SQL: Final = load("migrations")


class Migration(NamedTuple):
    """One numbered step of the schema."""

    version: int
    name: str
    text: str


def migrations() -> list[Migration]:
    """Returns every migration that this version knows, in order."""
    found = [each for each in files(__package__).joinpath("migrations").iterdir() if each.name.endswith(".sql")]
    known = [Migration(int(each.name[:4]), each.name[5:-4], each.read_text(encoding="utf-8")) for each in found]
    return sorted(known)


def migrate(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Applies the migrations that are missing; what was applied stays when a later one fails.

    Raises:
        NewerDatabase: a later version of Sagascope has written to it; nothing was changed.
        NotADatabase: it holds other tables than ours; nothing was changed.
    """
    done = applied(connection, path)
    for migration in migrations():
        if migration.version not in done:
            _apply(connection, migration)


def applied(connection: duckdb.DuckDBPyConnection, path: str) -> list[int]:
    """Returns the versions that a database has had applied, in order; none: it is empty.

    Raises:
        NewerDatabase: a later version of Sagascope has written to it.
        NotADatabase: it holds other tables than ours.
    """
    tables = {name for (name,) in connection.execute(SQL["select_tables"]).fetchall()}
    if tables and "migrations" not in tables:
        raise NotADatabase(f"{path} is a DuckDB database, but not one of Sagascope's. Name another file with --db.")
    found = [number for (number,) in connection.execute(SQL["select_migrations"]).fetchall()] if tables else []
    known = migrations()[-1].version
    if found and found[-1] > known:
        raise NewerDatabase(
            f"{path} was written by a later version of Sagascope (schema {found[-1]}; this version knows "
            f"{known}). Update Sagascope, or name another file with --db."
        )
    return found


def _apply(connection: duckdb.DuckDBPyConnection, migration: Migration) -> None:
    connection.begin()
    try:
        connection.execute(SQL["create_migrations"])
        connection.execute(migration.text)
        values = {"version": migration.version, "name": migration.name, "applied_by": version("sagascope")}
        connection.execute(SQL["insert_migration"], values)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


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
