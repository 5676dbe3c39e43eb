"""Brings a database to this version's schema: numbered files, each in one transaction with its own record."""

import logging
from importlib.metadata import version
from importlib.resources import files
from typing import Final, NamedTuple

import duckdb

from sagascope_collector.errors import NewerDatabase, NotADatabase
from sagascope_collector.store import before
from sagascope_collector.store.sql import Query

_log: Final = logging.getLogger(__name__)


class Migration(NamedTuple):
    """One numbered step of the schema."""

    version: int
    name: str
    text: str


def migrations() -> list[Migration]:
    """Every migration that this version knows, in order."""
    found = [each for each in files(__package__).joinpath("migrations").iterdir() if each.name.endswith(".sql")]
    known = [Migration(int(each.name[:4]), each.name[5:-4], each.read_text(encoding="utf-8")) for each in found]
    return sorted(known)


def migrate(connection: duckdb.DuckDBPyConnection, place: str) -> None:
    """Apply what is missing, after keeping a database of an earlier version as it is.

    What was applied stays when a later one fails.

    Raises:
        NewerDatabase: a later version of Sagascope has written to it; nothing was changed.
        NotADatabase: it holds other tables than ours; nothing was changed.
        CannotStart: there is no room to keep what is there; nothing was changed.
    """
    done = applied(connection, place)
    missing = [each for each in migrations() if each.version not in done]
    if done and missing:
        kept = before.keep(connection, place, missing[0].version)
        _log.info("The database is of an earlier version and is brought to this one; it is kept as it was in %s", kept)
    for migration in missing:
        _apply(connection, migration)


def applied(connection: duckdb.DuckDBPyConnection, place: str) -> list[int]:
    """The versions that a database has had applied, in order; none: it is empty.

    Raises:
        NewerDatabase: a later version of Sagascope has written to it.
        NotADatabase: it holds other tables than ours.
    """
    tables = {name for (name,) in connection.execute(Query.SELECT_TABLES.text).fetchall()}
    if tables and "migrations" not in tables:
        raise NotADatabase(f"{place} is a DuckDB database, but not one of Sagascope's. Name another file with --db.")
    found = [version for (version,) in connection.execute(Query.SELECT_MIGRATIONS.text).fetchall()] if tables else []
    known = migrations()[-1].version
    if found and found[-1] > known:
        raise NewerDatabase(
            f"{place} was written by a later version of Sagascope (schema {found[-1]}; this version knows "
            f"{known}). Update Sagascope, or name another file with --db."
        )
    return found


def _apply(connection: duckdb.DuckDBPyConnection, migration: Migration) -> None:
    connection.begin()
    try:
        connection.execute(Query.CREATE_MIGRATIONS.text)
        connection.execute(migration.text)
        values = {"version": migration.version, "name": migration.name, "applied_by": version("sagascope")}
        connection.execute(Query.INSERT_MIGRATION.text, values)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
