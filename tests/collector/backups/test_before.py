"""A database of an earlier version is kept as it is before its schema changes, and can be had back."""

from pathlib import Path

import duckdb
import pytest

from sagascope_collector import backups
from sagascope_collector.store import DuckDBStore
from sagascope_collector.store.migrate import migrations
from sagascope_collector.store.sql import Query
from support.command import run

EARLIER = [each.version for each in migrations()[:-1]]


def of_version(path: Path, version: int) -> Path:
    """A database as the version that had this schema left it."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(Query.CREATE_MIGRATIONS.text)
        for each in migrations()[:version]:
            connection.execute(each.text)
            connection.execute("INSERT INTO migrations VALUES (?, ?, now(), '0')", [each.version, each.name])
    return path


def version_of(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as connection:
        [(version,)] = connection.execute("SELECT max(version) FROM migrations").fetchall()
    return int(version)


@pytest.mark.parametrize("version", EARLIER)
def test_the_way_back_from_every_earlier_version(version: int, tmp_path: Path) -> None:
    path = of_version(tmp_path / "sagascope.duckdb", version)
    DuckDBStore(str(path)).close()
    assert version_of(path) == migrations()[-1].version
    [kept] = tmp_path.glob("*.before-*")
    assert kept.name == f"sagascope.duckdb.before-{version + 1:04}"
    backups.restore(kept, tmp_path / "back.duckdb")
    assert version_of(tmp_path / "back.duckdb") == version


def test_it_is_one_command(tmp_path: Path) -> None:
    path = of_version(tmp_path / "sagascope.duckdb", EARLIER[-1])
    DuckDBStore(str(path)).close()
    [kept] = tmp_path.glob("*.before-*")
    done = run("restore", str(kept), "--db", str(tmp_path / "back.duckdb"))
    assert done.returncode == 0, done.stderr
    assert version_of(tmp_path / "back.duckdb") == EARLIER[-1]


def test_nothing_is_kept_of_a_database_of_this_version(tmp_path: Path) -> None:
    for _ in range(2):
        DuckDBStore(str(tmp_path / "sagascope.duckdb")).close()
    assert not list(tmp_path.glob("*.before-*"))
