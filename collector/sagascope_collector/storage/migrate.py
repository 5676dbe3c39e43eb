"""Brings a database to this version's schema: numbered files, each in one transaction with its own record."""

from importlib.metadata import version
from importlib.resources import files
from typing import Final, NamedTuple

import duckdb

from sagascope_collector.errors import NewerDatabase, NotADatabase
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
