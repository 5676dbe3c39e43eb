"""Sessions with the catalog of a lake, and the lock of commits."""

import os
import signal

import duckdb
import psycopg
import pytest

from sagascope_collector.errors import BadValue
from sagascope_collector.lake import Lake
from sagascope_collector.lake.catalog import COMMIT_LOCK
from support import preloaded
from support.lake import LakePlace, needs_extensions

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lake")]


def of(place: LakePlace) -> Lake:
    return Lake(place.server.dsn(place.database), place.data)


def test_a_session_gives_up_only_after_the_limit_of_its_statements(lake: LakePlace) -> None:
    with of(lake).session(statement_seconds=3_600) as session:
        ((limit,),) = session.execute("SHOW statement_timeout").fetchall()
        assert limit == "1h"
        assert session.answer_seconds > 3_600
    session = of(lake).session(statement_seconds=1)
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute("SELECT pg_sleep(60)")
    pid = session.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(psycopg.OperationalError, match="no answer came within 6 s"):
            session.execute("SELECT 1")
    finally:
        os.kill(pid, signal.SIGCONT)


@needs_extensions
def test_no_unsigned_extension_can_be_loaded_once_the_lake_is_open(lake: LakePlace) -> None:
    create(lake)
    assert lake.query("SELECT current_setting('allow_unsigned_extensions')") == [[False]]


def create(place: LakePlace) -> None:
    """What each process does at its start."""
    program = "import sys; from sagascope_collector.lake import Lake; Lake(*sys.argv[1:]).create('a digest')"
    arguments = (place.server.dsn(place.database), place.data)
    done = preloaded.run("-c", program, *arguments, environment=place.variables())
    assert done.returncode == 0, done.stderr


def test_a_catalog_that_could_not_be_used_is_refused_and_never_quoted() -> None:
    for url in ("postgresql://u:se%zzcret@127.0.0.1/lake", "postgresql://u:se@cret@127.0.0.1/lake"):
        with pytest.raises(BadValue, match="The catalog of --lake") as refused:
            Lake(url, "data")
        assert "cret" not in str(refused.value)


@needs_extensions
def test_a_process_starts_while_another_one_commits(lake: LakePlace) -> None:
    create(lake)
    with lake.server.connect(lake.database) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [COMMIT_LOCK])
        create(lake)
    assert lake.catalog("SELECT digest FROM sagascope_pseudonym_key") == [("a digest",)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Failed to commit: Failed to commit DuckLake transaction.\nFailed to flush changes: "
            "Failed to execute query \"INSERT INTO t VALUES ('person-4711')\": "
            'ERROR:  could not extend file "base/1": No space left on device\nHINT:  Check free disk space.',
            "Failed to commit: Failed to commit DuckLake transaction: No space left on device",
        ),
        (
            "Failed to execute query \"INSERT INTO t VALUES ('person-4711')\": ERROR:  value too long: person-4711",
            "Failed to execute a query",
        ),
        ('Failed to execute query "ROLLBACK": ', "Failed to execute a query: PostgreSQL did not answer"),
    ],
)
def test_the_reason_of_a_failure_shows_what_postgresql_said_and_no_telemetry(text: str, shown: str) -> None:
    error = duckdb.TransactionException(text)
    assert Lake("postgresql://user:password@127.0.0.1/lake", "data").reason(error) == shown
