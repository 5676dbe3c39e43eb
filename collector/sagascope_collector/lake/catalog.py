"""Opens a lake: loads DuckDB's extensions from installed packages, attaches the lake, creates or upgrades its tables.

The tables have numbered migrations, which the first process of a new version applies at its start. Processes of the
previous version keep running beside it. So a migration only adds tables, and columns that may be NULL, and each part of
it has no effect the second time: a killed process repeats it. A migration with which earlier processes cannot continue
sets `sagascope_version.oldest` to its own number in its catalog part, and is applied while none of them runs.
"""

import os
import re
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import duckdb
import psycopg
import pyarrow as pa
from psycopg.conninfo import make_conninfo

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import CannotStart, NewerDatabase
from sagascope_collector.postgres_dsn import dsn_parameters
from sagascope_collector.storage.connection import quoted, statements

SQL: Final = statements("lake", __package__)
SHARED: Final = statements("shared", __package__)

CLOCK_TOLERANCE_NS: Final = NANOSECONDS_PER_SECOND
"""A deviation up to this is not corrected: PostgreSQL may take as long to answer."""

EXCLUDED: Final = "The lake was upgraded by a later version of Sagascope. Upgrade this process."

INSTALL: Final = 'pip install "sagascope[lake]"'

EXTENSIONS: Final = ("postgres_scanner", "httpfs", "ducklake")

TABLES: Final = ("spans", "logs", "linked_spans")

COMMIT_LOCK: Final = 8_492_017
"""The key of the session advisory lock that every commit takes: DuckLake 1.0 loses statistics of concurrent commits."""

LOCK_TIMEOUT_SECONDS: Final = 10
STATEMENT_TIMEOUT_SECONDS: Final = 2 * LOCK_TIMEOUT_SECONDS

ANSWER_GRACE_SECONDS: Final = 5.0
"""Time after the limit for statements at which a session gives up: a stopped PostgreSQL cannot keep its own limits."""

CONNECT_TIMEOUT_SECONDS: Final = 5

COMMIT_LOCK_IDLE_SECONDS: Final = 20
"""Time after which PostgreSQL releases the commit lock of a process that sends nothing: it was paused or cut off."""

TRANSACTION_IDLE_SECONDS: Final = 15
"""Time after which PostgreSQL ends a transaction of DuckDB that sends nothing: it waits for the lock or for the object
store, or the process is paused. It exceeds `LOCK_TIMEOUT_SECONDS`, and is less than `COMMIT_LOCK_IDLE_SECONDS`: the
transaction of a paused process must have ended before another process commits."""

COMMIT_STATEMENT_SECONDS: Final = 8
"""Maximum time of one statement of a commit. It is less than `COMMIT_LOCK_IDLE_SECONDS`: the lock must not be released
while PostgreSQL runs the statement."""

CREATION_SECONDS: Final = 60
"""Maximum time of the creation or migration of tables."""

_KEEPALIVES: Final = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2}
"""Both ends notice within 20 s that the other machine or the network is lost, and release its locks."""

STOP_SECONDS: Final = 5.0
"""Time for which a stopping process waits for a thread, which may wait for an answer that never comes."""

_S3_OPTIONS: Final = {
    "KEY_ID": "AWS_ACCESS_KEY_ID",
    "SECRET": "AWS_SECRET_ACCESS_KEY",
    "SESSION_TOKEN": "AWS_SESSION_TOKEN",
    "REGION": "AWS_REGION",
}

_CAUSES: Final = re.compile(
    r"No space left on device|out of memory|out of shared memory|deadlock detected|Connection refused"
    r"|too many clients already|server closed the connection unexpectedly|the database system is (?:starting up|"
    r"shutting down|in recovery mode)|cannot execute [A-Z]+ in a read-only transaction|permission denied"
    r"|terminating connection due to (?:administrator command|idle-session timeout|idle-in-transaction timeout)"
    r"|canceling statement due to (?:statement timeout|lock timeout|user request)"
)
"""The parts of an error's further lines that may be shown: other parts can be SQL with telemetry."""


class CatalogClock:
    """The clock of this machine, corrected if it is wrong. Thread-safe."""

    def __init__(self) -> None:
        """Creates it; it is not corrected before `adjust`."""
        self._offset_ns = 0

    def __call__(self) -> int:
        """Returns nanoseconds since 1970."""
        return time.time_ns() + self._offset_ns

    def adjust(self, session: Any) -> None:
        """Compares the clock with PostgreSQL's.

        Raises:
            psycopg.Error: PostgreSQL does not answer.
        """
        asked = self()
        ((at,),) = session.execute(SQL["select_time"]).fetchall()
        deviation = at - (asked + self()) // 2
        if abs(deviation) > CLOCK_TOLERANCE_NS:
            self._offset_ns += deviation


class Session(psycopg.Connection[Any]):
    """A session that is closed if PostgreSQL does not answer: psycopg itself would wait for ever."""

    answer_seconds = STATEMENT_TIMEOUT_SECONDS + ANSWER_GRACE_SECONDS
    """Time after which it is closed."""

    def wait(self, gen: Any, *rest: Any, **named: Any) -> Any:
        """Waits for an answer.

        Raises:
            psycopg.Error: none came within `answer_seconds`.
        """
        return super().wait(self._limited(gen), *rest, **named)

    def _limited(self, answer: Any) -> Generator[Any, Any, Any]:
        ends = time.monotonic() + self.answer_seconds
        try:
            wanted = next(answer)
            while True:
                ready = yield wanted  # 0 after each interval in which nothing arrived
                wanted = answer.send(ready)
                if not ready and time.monotonic() > ends:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer came within {self.answer_seconds:.0f} s")
        except StopIteration as end:
            return end.value


@dataclass(frozen=True, slots=True)
class Lake:
    """The address of a lake. Its text never shows the password of the catalog.

    Raises:
        BadValue: the URL of the catalog is invalid.
    """

    catalog: str = field(repr=False)
    """The URL of a database in PostgreSQL."""
    data: str
    """A folder, or ``s3://BUCKET/PREFIX``."""
    s3_endpoint: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    memory_bytes: int = 400_000_000
    clock: CatalogClock = field(default_factory=CatalogClock, compare=False)

    def __post_init__(self) -> None:
        dsn_parameters(self.catalog, "The catalog of --lake")

    def check(self) -> None:
        """Checks the installed packages.

        Raises:
            CannotStart: one is missing, or DuckDB has a version without these extensions.
        """
        for name in EXTENSIONS:
            try:
                wanted = version(f"duckdb-extension-{name.replace('_', '-')}")
            except PackageNotFoundError as error:
                raise CannotStart(f"--lake needs further packages. Install them with: {INSTALL}") from error
            if wanted != duckdb.__version__:
                raise CannotStart(
                    f"--lake needs DuckDB {wanted}, and this is {duckdb.__version__}. Install it with: {INSTALL}"
                )

    def create(self, key_digest: str = "") -> None:
        """Creates the lake's missing tables, or upgrades those of an earlier version.

        Args:
            key_digest: identifies the key for pseudonyms, which all processes of the lake share; empty: none is used.

        Raises:
            CannotStart: the catalog or the data folder cannot be used, or the lake has another key or version.
        """
        self.check()
        if not self.data.startswith("s3://"):
            Path(self.data).mkdir(parents=True, exist_ok=True)
        try:
            with self.session() as session:
                self.clock.adjust(session)
                if check_version(session) >= known_version():
                    self.attached().close()  # checks the data folder
                else:
                    with self.exclusive(session, CREATION_SECONDS), self.attached(CREATION_SECONDS // 2) as connection:
                        connection.execute(SQL["set_file_size"])
                        _upgrade(session, connection)
                if key_digest:
                    self._check_key(session, key_digest)
        except (psycopg.Error, duckdb.Error) as error:
            raise CannotStart(f"The lake cannot be opened: {self.reason(error)}") from error

    def _check_key(self, session: Any, digest: str) -> None:
        """Checks that this process has the key of earlier ones: erasures identify sagas by hashes with it."""
        if not session.execute(SHARED["select_key_digest"]).fetchall():
            with self.exclusive(session):
                session.execute(SHARED["insert_key_digest"], {"digest": digest})
        ((known,),) = session.execute(SHARED["select_key_digest"]).fetchall()
        if known != digest:
            raise CannotStart("The key for pseudonyms is not the one of the lake's other processes.")

    def session(self, *, statement_seconds: int = STATEMENT_TIMEOUT_SECONDS, **settings: str) -> Any:
        """Opens a session with PostgreSQL that commits each statement.

        Args:
            statement_seconds: maximum time of a statement.
            settings: further settings of PostgreSQL.

        Raises:
            psycopg.Error: PostgreSQL does not answer.
        """
        timeouts = {"lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s", "statement_timeout": f"{statement_seconds}s"}
        session = Session.connect(self._conninfo(**{**timeouts, **settings}), autocommit=True)
        session.answer_seconds = statement_seconds + ANSWER_GRACE_SECONDS
        return session

    def _conninfo(self, **settings: str) -> str:
        limit = STATEMENT_TIMEOUT_SECONDS * 1000
        known = {f"tcp_{name}": str(value) for name, value in _KEEPALIVES.items()} | {"tcp_user_timeout": str(limit)}
        options = " ".join(f"-c {name}={value}" for name, value in {**known, **settings}.items())
        return make_conninfo(
            self.catalog,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            tcp_user_timeout=limit,
            options=options,
            **_KEEPALIVES,
        )

    @contextmanager
    def exclusive(self, session: Any, seconds: int = COMMIT_LOCK_IDLE_SECONDS) -> Iterator[None]:
        """Holds the commit lock during the block, which must contain the whole transaction.

        Args:
            session: a session with the catalog.
            seconds: maximum time for which the block may send nothing in this session.

        Raises:
            psycopg.Error: the lock was not held all the time. The caller closes the session after any error.
        """
        session.execute(SQL["take_lock"], [f"{seconds}s", COMMIT_LOCK])
        yield
        ((was_held, _),) = session.execute(SQL["release_lock"], [COMMIT_LOCK]).fetchall()
        if not was_held:
            raise psycopg.OperationalError("the lock of commits was lost during the commit")

    def attached(self, seconds: int = 0, statement_seconds: int = 0) -> duckdb.DuckDBPyConnection:
        """Opens a database in memory with the lake attached as the default. Only statements of this package run in it.

        Args:
            seconds: maximum time for which a transaction may send nothing to the catalog; 0: unlimited.
            statement_seconds: maximum time of a statement in the catalog; 0: unlimited.

        Raises:
            duckdb.Error: the catalog does not answer.
        """
        connection = duckdb.connect(
            config={
                "threads": "1",
                "memory_limit": f"{self.memory_bytes}B",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
                "allow_community_extensions": "false",
                # the installer has checked these files, as DuckDB's own; to check them again takes longer than the rest
                "allow_unsigned_extensions": "true",
            }
        )
        for name in EXTENSIONS:
            file = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
            connection.execute(f"LOAD {quoted(str(file / f'{name}.duckdb_extension'))}")
        connection.execute("SET GLOBAL allow_unsigned_extensions = false")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        if self.data.startswith("s3://"):
            connection.execute("SET GLOBAL http_timeout = 10")
            connection.execute("SET GLOBAL http_retries = 2")
            connection.execute(f"CREATE SECRET (TYPE s3, {self._s3_secret()})")
        catalog, data = quoted(f"ducklake:postgres:{self._address(seconds, statement_seconds)}"), quoted(self.data)
        # otherwise small commits would be rows in PostgreSQL, which cost fifty times more
        connection.execute(f"ATTACH {catalog} AS lake (DATA_PATH {data}, DATA_INLINING_ROW_LIMIT 0)")
        connection.execute("USE lake")
        # DuckLake waits before it retries after commits of others; under the commit lock there are no further ones
        connection.execute("SET GLOBAL ducklake_retry_wait_ms = 0")
        return connection

    def new_file(self, table: str) -> str:
        """Returns the path of a file to write for a table."""
        folder = f"{self.data.rstrip('/')}/main/{table}"
        if not self.data.startswith("s3://"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        return f"{folder}/{uuid4()}.parquet"

    def _address(self, seconds: int, statement_seconds: int = 0) -> str:
        return self._conninfo(
            idle_in_transaction_session_timeout=f"{seconds}s", statement_timeout=f"{statement_seconds}s"
        )

    def _s3_secret(self) -> str:
        found = {option: self.environment.get(variable) for option, variable in _S3_OPTIONS.items()}
        parts = [f"{option} {quoted(value)}" for option, value in found.items() if value]
        if self.s3_endpoint:
            scheme, _, address = self.s3_endpoint.rpartition("://")
            parts += [f"ENDPOINT {quoted(address)}", "URL_STYLE 'path'", f"USE_SSL {scheme != 'http'}"]
        return ", ".join(parts)

    def reason(self, error: Exception) -> str:
        """Returns the first line of an error, and the reason that PostgreSQL gave, if it is one of `_CAUSES`.

        It omits the address of the catalog, which may contain a password, and SQL, which may contain telemetry.
        """
        known = re.escape(self._address(0)).replace("=0s", r"=\d+s")
        lines = re.sub(known, "the catalog", str(error)).replace(self.catalog, "the catalog").splitlines()
        line = re.sub(r'execute query ".*', "execute a query", lines[0]) if lines else type(error).__name__
        cause = _cause(error)
        return line if cause in line else f"{line.rstrip('.')}: {cause}"


def _cause(error: Exception) -> str:
    """Returns which of `_CAUSES` an error of DuckDB contains; empty if none."""
    text = str(error)
    found = _CAUSES.findall(text)
    return found[-1] if found else "PostgreSQL did not answer" if text.rstrip().endswith('":') else ""


def change(connection: duckdb.DuckDBPyConnection, *statements: str, values: Any = None) -> list[pa.Table]:
    """Runs statements that write files, in one transaction; returns their rows. The connection cannot be used again.

    DuckLake deletes the files of a commit that failed. If only the answer to the commit was lost, the lake needs these
    files: so the connection can no longer access files when it commits.

    Raises:
        duckdb.Error: the transaction may or may not be committed.
    """
    connection.begin()
    try:
        found = [connection.execute(each, values).to_arrow_table() for each in statements]
        connection.execute(SQL["disable_file_systems"])
    except duckdb.Error:
        roll_back(connection)
        raise
    try:
        connection.commit()
    except duckdb.Error as error:
        # DuckDB's own text is about the files that it could not delete
        cause = _cause(error)
        failure = f"A commit failed, or its answer was lost{f': {cause}' if cause else '.'}"
        raise duckdb.TransactionException(failure) from error
    return found


def roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Ends the current transaction, if there is one."""
    # if PostgreSQL is lost, closing the connection within a transaction aborts the process
    with suppress(duckdb.Error):
        connection.rollback()


class Migration(NamedTuple):
    """One numbered change of the tables."""

    number: int
    catalog: str
    """Statements of PostgreSQL, one transaction."""
    lake: str
    """Statements of DuckLake, one transaction."""


@cache
def migrations() -> tuple[Migration, ...]:
    """Returns every migration that this version of Sagascope knows, in order."""
    texts = {
        each.name: each.read_text(encoding="utf-8") for each in files(__package__).joinpath("migrations").iterdir()
    }
    names = sorted(name.removesuffix(".catalog.sql") for name in texts if name.endswith(".catalog.sql"))
    return tuple(
        Migration(int(each[:4]), texts[f"{each}.catalog.sql"], texts.get(f"{each}.lake.sql", "SELECT 1"))
        for each in names
    )


def known_version() -> int:
    """Returns the number of the last migration that this version of Sagascope knows."""
    return migrations()[-1].number


def check_version(session: Any) -> int:
    """Returns the last migration that was applied to a lake; 0: none was.

    Raises:
        NewerDatabase: this version can no longer use the lake.
        psycopg.Error: the catalog does not answer.
    """
    applied, minimum = _versions(session)
    if minimum > known_version():
        raise NewerDatabase(EXCLUDED)
    return applied


def _versions(session: Any) -> tuple[int, int]:
    """Returns the last applied migration, and the minimum that a process must know."""
    ((exists,),) = session.execute(SQL["select_has_versions"]).fetchall()
    found: list[tuple[int, int]] = session.execute(SQL["select_version"]).fetchall() if exists else [(0, 0)]
    return found[0]


def _upgrade(session: Any, connection: duckdb.DuckDBPyConnection) -> None:
    """Applies the missing migrations. The caller holds the commit lock.

    Raises:
        NewerDatabase: this version can no longer use the lake; nothing was changed.
        CannotStart: processes run that could not continue after the upgrade; nothing was changed.
        psycopg.Error: the catalog does not answer; the next start continues.
        duckdb.Error: likewise.
    """
    applied = check_version(session)
    for each in (each for each in migrations() if each.number > applied):
        with session.transaction():
            session.execute(each.catalog)
            if applied and _versions(session)[1] == each.number:
                _require_no_receiver(session)
        connection.begin()
        try:
            connection.execute(each.lake)
            connection.commit()
        except duckdb.Error:
            roll_back(connection)
            raise
        # last: no transaction spans both databases, so a process that is killed before this repeats the migration
        session.execute(SQL["update_version"], [each.number])


def _require_no_receiver(session: Any) -> None:
    ((running,),) = session.execute(SQL["count_live_receivers"]).fetchall()
    if running:
        raise CannotStart(
            f"{running} processes of an earlier version use the lake, or did so 10 s ago, and cannot go on after this "
            "upgrade. Stop all of them first."
        )
