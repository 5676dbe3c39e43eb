"""A service's own SQLite file, with idempotent changes."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
Json = dict[str, Any]
Work = Callable[["Transaction"], Result]

SQL = Path(__file__).parents[1] / "sql"
"""One statement per file: ``sql/<service>/<verb_noun>.sql``; every service uses those of ``sql/chassis``."""


class Transaction:
    """One database transaction. It is valid only inside the function that receives it."""

    def __init__(self, connection: sqlite3.Connection, statements: dict[str, str]) -> None:
        self._connection = connection
        self._statements = statements

    def run(self, statement: str, **values: str | int) -> list[sqlite3.Row]:
        """Runs the statement of this file name with bound values."""
        return self._connection.execute(self._statements[statement], values).fetchall()

    def one(self, statement: str, **values: str | int) -> sqlite3.Row | None:
        """Returns the first row, or None."""
        return next(iter(self.run(statement, **values)), None)


class Database:
    """Owns the only connection. It runs functions in a thread, each in one transaction, one at a time."""

    def __init__(self, path: Path, service: str) -> None:
        statements = {
            file.stem: file.read_text() for folder in ("chassis", service) for file in (SQL / folder).iterdir()
        }
        self._connection = _open(path)
        self._transaction = Transaction(self._connection, statements)
        self._lock = asyncio.Lock()
        for name in statements:
            if name.startswith("create_"):
                self._transaction.run(name)

    def close(self) -> None:
        """Closes the file; further work fails."""
        self._connection.close()

    async def run(self, work: Work[Result]) -> Result:
        """Runs the work in a transaction: committed when it returns, rolled back when it raises."""
        async with self._lock:
            return await asyncio.to_thread(self._transact, work)

    async def once(self, key: str, work: Work[Json]) -> Json:
        """Runs the work at most once for this idempotency key; later calls return the first result.

        Work that raised an error was rolled back and can run again.
        """
        return await self.run(lambda transaction: _answer(transaction, key) or _keep(transaction, key, work))

    async def answer(self, key: str) -> Json | None:
        """Returns the result that is stored for this key, or None."""
        return await self.run(lambda transaction: _answer(transaction, key))

    def _transact(self, work: Work[Result]) -> Result:
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            return work(self._transaction)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _answer(transaction: Transaction, key: str) -> Json | None:
    kept = transaction.one("find_answer", key=key)
    return None if kept is None else dict(json.loads(kept["answer"]))


def _keep(transaction: Transaction, key: str, work: Work[Json]) -> Json:
    answer = work(transaction)
    transaction.run("keep_answer", key=key, answer=json.dumps(answer))
    return answer
