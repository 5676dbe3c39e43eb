"""Database files: new, reopened, newer, damaged, somebody else's; none is ever overwritten."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sagascope_collector.errors import CannotStart, DatabaseLocked, NewerDatabase, NotADatabase
from sagascope_collector.records import SagaId
from sagascope_collector.store import DuckDBStore
from sagascope_collector.store.migrate import Migration, migrations
from sagascope_collector.store.sql import Query
from support.otlp import NOON, SECOND, of_saga, span, traces

from .conftest import append

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.duckdb"


def refused(path: Path, error: type[CannotStart]) -> str:
    """The text with which a file is refused; the file is the same afterwards."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as caught:
        DuckDBStore(str(path))
    assert before is None or path.read_bytes() == before
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_everything_is_there_again_after_a_restart(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga())))
    store.close()
    store = DuckDBStore(str(path))
    assert len(store.facts([SagaId("", "8492")])) == 1
    assert store.counters().stored == 1
    assert store.changed_ids(10) == [SagaId("", "8492")]
    assert append(store, traces(span(1, attributes=of_saga()))).duplicate == 1
    store.close()


def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    DuckDBStore(str(path)).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 'later', now(), '99.0')")
    assert "later version of Sagascope (schema 9999" in refused(path, NewerDatabase)


def test_a_database_of_somebody_else_is_refused(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    assert "not one of Sagascope's" in refused(path, NotADatabase)


@pytest.mark.parametrize("content", [b"", b"hello", b"hello " * 10_000, bytes(20_000)])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "not a DuckDB database" in refused(path, NotADatabase)


def test_a_sqlite_file_is_refused_without_reaching_for_the_network(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE x (a)")
    connection.close()
    assert "not a DuckDB database" in refused(path, NotADatabase)


@pytest.mark.parametrize("size", [100, 3_000, 20_000])
def test_a_truncated_database_is_refused(path: Path, size: int) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(*(span(number, attributes=of_saga()) for number in range(1, 500))))
    store.close()
    assert path.stat().st_size > size
    path.write_bytes(path.read_bytes()[:size])
    assert "damaged" in refused(path, NotADatabase)


def test_a_database_with_broken_headers_is_refused(path: Path) -> None:
    DuckDBStore(str(path)).close()
    content = bytearray(path.read_bytes())
    content[4096:12288] = bytes(8192)
    path.write_bytes(content)
    assert "damaged" in refused(path, NotADatabase)


def test_a_database_that_another_process_has_open_is_refused(path: Path) -> None:
    DuckDBStore(str(path)).close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DatabaseLocked, match=f"in use by another process.*PID {holder.pid}"):
            DuckDBStore(str(path))
        holder.communicate()


def test_a_folder_that_is_missing_or_taken_for_a_file_is_said(tmp_path: Path) -> None:
    refused(tmp_path, NotADatabase)
    assert "folder that does not exist" in refused(tmp_path / "missing" / "x.duckdb", CannotStart)


def test_a_migration_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Migration(len(migrations()) + 1, "failing", "CREATE TABLE a (b INT); SELECT x;")
    broken = [*migrations(), failing]
    monkeypatch.setattr("sagascope_collector.store.migrate.migrations", lambda: broken)
    with pytest.raises(duckdb.Error):
        DuckDBStore(str(path))
    monkeypatch.undo()
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT version FROM migrations").fetchall() == [
            (each.version,) for each in migrations()
        ]
        assert ("a",) not in connection.execute("SHOW TABLES").fetchall()
    DuckDBStore(str(path)).close()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [each.version for each in migrations()] == list(range(1, len(migrations()) + 1))


def test_every_query_file_is_in_the_enum_and_the_other_way_round() -> None:
    import sagascope_collector.store as package

    files = {each.stem for each in (Path(package.__file__).parent / "queries").glob("*.sql")}
    assert files == {each.value for each in Query}


def test_the_time_between_two_runs_is_known_as_deaf(path: Path) -> None:
    now = NOON
    store = DuckDBStore(str(path), clock=lambda: now)
    assert store.deaf_intervals(0) == []
    now = NOON + 10 * SECOND
    store.stay_alive()
    store.close()
    now = NOON + 60 * SECOND
    store = DuckDBStore(str(path), clock=lambda: now)
    assert store.deaf_intervals(0) == [(NOON + 10 * SECOND, NOON + 60 * SECOND)]
    assert store.deaf_intervals(NOON + 60 * SECOND) == []
    store.close()


def test_after_a_crash_the_last_sign_of_life_counts(path: Path) -> None:
    code = (
        "import os, sys; from sagascope_collector.store import DuckDBStore; times = iter([1000, 2000]);"
        "store = DuckDBStore(sys.argv[1], clock=lambda: next(times)); store.stay_alive(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    store = DuckDBStore(str(path), clock=lambda: 9000)
    assert store.deaf_intervals(0) == [(2000, 9000)]
    store.close()


def test_size_counts_the_write_ahead_log(path: Path) -> None:
    store = DuckDBStore(str(path))
    before = store.size_bytes()
    append(store, traces(span(1)))
    assert store.size_bytes() > before
    store.close()
    memory = DuckDBStore()
    assert memory.size_bytes() == 0
    memory.close()
