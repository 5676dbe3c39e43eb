"""The version of a lake's tables: numbered migrations, which the first process of a new version applies at its start.

Processes of the version before go on beside it. So a migration adds tables, and columns that may be NULL, and each
part of it changes nothing the second time: a killed process repeats it. One that earlier processes cannot go on with
sets `sagascope_version.oldest` to its number in its catalog part, and is applied while none of them runs.
"""

from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import duckdb

from sagascope_collector.errors import CannotStart, NewerDatabase
from sagascope_collector.storage.connection import Statements

EXCLUDED: Final = "The lake was upgraded by a later version of Sagascope. Upgrade this process."


class Version(NamedTuple):
    """One migration."""

    number: int
    catalog: str
    """Statements of PostgreSQL, one transaction."""
    lake: str
    """Statements of DuckLake, one transaction."""


@cache
def known() -> tuple[Version, ...]:
    """Returns every migration that this version of Sagascope knows, in order."""
    texts = {
        each.name: each.read_text(encoding="utf-8") for each in files(__package__).joinpath("migrations").iterdir()
    }
    names = sorted(name.removesuffix(".catalog.sql") for name in texts if name.endswith(".catalog.sql"))
    return tuple(
        Version(int(each[:4]), texts[f"{each}.catalog.sql"], texts.get(f"{each}.lake.sql", "SELECT 1"))
        for each in names
    )


def upgrade(session: Any, connection: duckdb.DuckDBPyConnection, sql: Statements) -> None:
    """Applies the missing migrations. The caller holds the lock of commits.

    Args:
        session: of the catalog.
        connection: has the lake attached.
        sql: the statements of this package.

    Raises:
        NewerDatabase: the lake cannot be used by this version any more; nothing was changed.
        CannotStart: processes run that could not go on; nothing was changed.
        psycopg.Error: the catalog does not answer; the next start goes on.
        duckdb.Error: likewise.
    """
    version = check(session, sql)
    for each in (each for each in known() if each.number > version):
        with session.transaction():
            session.execute(each.catalog)
            if version and _current(session, sql)[1] == each.number:
                _require_alone(session, sql)
        connection.begin()
        try:
            connection.execute(each.lake)
            connection.commit()
        except duckdb.Error:
            with suppress(duckdb.Error):
                connection.rollback()
            raise
        session.execute(sql["update_version"], [each.number])


def check(session: Any, sql: Statements) -> int:
    """Returns the last migration that was applied to a lake; 0: none was.

    Raises:
        NewerDatabase: the lake cannot be used by this version any more.
        psycopg.Error: the catalog does not answer.
    """
    version, oldest = _current(session, sql)
    if oldest > known()[-1].number:
        raise NewerDatabase(EXCLUDED)
    return version


def _current(session: Any, sql: Statements) -> tuple[int, int]:
    """Returns the last applied migration, and the earliest that a process must know."""
    ((exists,),) = session.execute(sql["select_has_versions"]).fetchall()
    found: list[tuple[int, int]] = session.execute(sql["select_version"]).fetchall() if exists else [(0, 0)]
    return found[0]


def _require_alone(session: Any, sql: Statements) -> None:
    ((running,),) = session.execute(sql["select_running"]).fetchall()
    if running:
        raise CannotStart(
            f"{running} processes of an earlier version use the lake, or did so 10 s ago, and cannot go on after this "
            "upgrade. Stop all of them first."
        )
