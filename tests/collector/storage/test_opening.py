"""Database files: new, reopened, newer, damaged, of another program; none is ever overwritten."""

import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sagascope_collector import storage as package
from sagascope_collector.errors import CannotStart, DatabaseLocked, NewerDatabase, NotADatabase
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
from sagascope_collector.storage.connection import Migration, migrations
from support import preloaded
from support.otlp import NOON, SECOND, of_saga, span, traces
from support.statements import by_subject

from .conftest import append

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.duckdb"


def refused(path: Path, error: type[CannotStart]) -> str:
    """The text with which a file is refused; the file is the same afterwards."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as caught:
        Storage(str(path))
    assert before is None or path.read_bytes() == before
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_everything_is_there_again_after_a_restart(path: Path) -> None:
    storage = Storage(str(path))
    append(storage, traces(span(1, attributes=of_saga())))
    storage.close()
    storage = Storage(str(path))
    assert len(storage.lookup.facts([SagaId("", "8492")])) == 1
    assert storage.records.counters.stored == 1
    assert storage.changes.claim(10) == [SagaId("", "8492")]
    assert append(storage, traces(span(1, attributes=of_saga()))).duplicate == 1
    storage.close()


def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    Storage(str(path)).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 'later', now(), '99.0')")
    assert "later version of Sagascope (schema 9999" in refused(path, NewerDatabase)


def test_a_database_of_another_program_is_refused(path: Path) -> None:
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
    storage = Storage(str(path))
    append(storage, traces(*(span(number, attributes=of_saga()) for number in range(1, 500))))
    storage.close()
    assert path.stat().st_size > size
    path.write_bytes(path.read_bytes()[:size])
    assert "damaged" in refused(path, NotADatabase)


def test_a_database_with_broken_headers_is_refused(path: Path) -> None:
    Storage(str(path)).close()
    content = bytearray(path.read_bytes())
    content[4096:12288] = bytes(8192)
    path.write_bytes(content)
    assert "damaged" in refused(path, NotADatabase)


def test_a_database_that_another_process_has_open_is_refused(path: Path) -> None:
    Storage(str(path)).close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DatabaseLocked, match=f"in use by another process.*PID {holder.pid}"):
            Storage(str(path))
        holder.communicate()


def test_a_missing_folder_or_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, NotADatabase)
    assert "folder that does not exist" in refused(tmp_path / "missing" / "x.duckdb", CannotStart)


def test_a_migration_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Migration(len(migrations()) + 1, "failing", "CREATE TABLE a (b INT); SELECT x;")
    broken = [*migrations(), failing]
    monkeypatch.setattr("sagascope_collector.storage.connection.migrations", lambda: broken)
    with pytest.raises(duckdb.Error):
        Storage(str(path))
    monkeypatch.undo()
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT version FROM migrations").fetchall() == [
            (each.version,) for each in migrations()
        ]
        assert ("a",) not in connection.execute("SHOW TABLES").fetchall()
    Storage(str(path)).close()


MIGRATE = """
import os, signal, sys, threading
from sagascope_collector.storage import Storage, connection
known = connection.migrations()
work = "CREATE TABLE a (b INT); " + "INSERT INTO a SELECT range FROM range(1_000_000); " * 200
slow = connection.Migration(len(known) + 1, "slow", work)
connection.migrations = lambda: [*known, slow]
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
Storage(sys.argv[1])
"""


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3])
def test_a_process_that_is_killed_in_a_migration_leaves_nothing_of_it(path: Path, seconds: float) -> None:
    Storage(str(path)).close()
    done = preloaded.run("-c", MIGRATE, str(path), str(seconds))
    assert done.returncode == -signal.SIGKILL
    Storage(str(path)).close()
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT max(version) FROM migrations").fetchone() == (migrations()[-1].version,)
        assert ("a",) not in connection.execute("SHOW TABLES").fetchall()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [each.version for each in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_database_of_the_format_before_the_first_release_is_refused_with_one_sentence(path: Path) -> None:
    Storage(str(path)).close()
    Path(f"{path}.d").mkdir()
    said = refused(path, NotADatabase)
    assert said.startswith(f"{path}.d belongs to a database of an unreleased version, which this one cannot read.")
    assert "\n" not in said


def test_every_statement_is_used_by_some_module() -> None:
    folder = Path(package.__file__).parents[1]
    code = "\n".join(each.read_text(encoding="utf-8") for each in folder.rglob("*.py"))
    names = {name for statements in by_subject().values() for name in statements}
    assert not {name for name in names if not _is_named(name, code)}


def _is_named(name: str, code: str) -> bool:
    """Whether a statement is named, also where the kind of records is filled in."""
    kinds = "(spans|logs|links|counts|durations|span_records|log_records|linked_spans)"
    with_kind = re.sub(rf"(^|_){kinds}(_|$)", r"\1{\2}\3", name)
    patterns = {name, re.sub(r"\{\w+\}", "{kind}", with_kind), re.sub(r"\{\w+\}", "{table}", with_kind)}
    return any(f'"{each}"' in code for each in patterns)


def test_the_time_between_two_runs_is_an_ingest_outage(path: Path) -> None:
    now = NOON
    storage = Storage(str(path), clock=lambda: now, steady=lambda: now)
    assert storage.outages.since(0) == []
    now = NOON + 10 * SECOND
    storage.outages.record_alive(now)
    storage.close()
    now = NOON + 60 * SECOND
    storage = Storage(str(path), clock=lambda: now, steady=lambda: now)
    assert storage.outages.since(0) == [(NOON + 10 * SECOND, NOON + 60 * SECOND)]
    assert storage.outages.since(NOON + 60 * SECOND) == []
    storage.close()


def test_after_a_crash_the_last_sign_of_life_counts(path: Path) -> None:
    code = (
        "import os, sys; from sagascope_collector.storage import Storage; "
        "storage = Storage(sys.argv[1], clock=lambda: 1000); storage.outages.record_alive(2000); os._exit(9)"
    )
    assert preloaded.run("-c", code, str(path)).returncode == 9
    storage = Storage(str(path), clock=lambda: 9000)
    assert storage.outages.since(0) == [(2000, 9000)]
    storage.close()


def test_size_counts_the_write_ahead_log(path: Path) -> None:
    storage = Storage(str(path))
    before = storage.size_bytes()
    append(storage, traces(span(1)))
    assert storage.size_bytes() > before
    storage.close()
    memory = Storage()
    assert memory.size_bytes() == 0
    memory.close()


def test_each_name_has_one_statement_that_duckdb_understands() -> None:
    for subject, statements in by_subject().items():
        for name, text in statements.items():
            assert len(duckdb.extract_statements(text)) == 1, (subject, name)
