"""A service's own SQLite file, and every change in it at most once."""

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
"""One statement a file: ``sql/<service>/<verb_noun>.sql``; those of ``sql/chassis`` are every service's."""


class Transaction:
    """What is done here is done whole or not at all. Valid inside the work that it was handed to."""

    def __init__(self, connection: sqlite3.Connection, statements: dict[str, str]) -> None:
        self._connection = connection
        self._statements = statements

    def run(self, statement: str, **values: str | int) -> list[sqlite3.Row]:
        """Run one statement by its file's name; values are bound, never written into it."""
        return self._connection.execute(self._statements[statement], values).fetchall()

    def one(self, statement: str, **values: str | int) -> sqlite3.Row | None:
        """The first row, None if there is none."""
        return next(iter(self.run(statement, **values)), None)


class Database:
    """Owns the only connection. Callers hand it work; it runs in a thread, in one transaction, one at a time."""

    def __init__(self, path: Path, service: str) -> None:
        statements = {file.stem: file.read_text() for room in ("chassis", service) for file in (SQL / room).iterdir()}
        self._connection = _open(path)
        self._transaction = Transaction(self._connection, statements)
        self._turn = asyncio.Lock()
        for name in statements:
            if name.startswith("create_"):
                self._transaction.run(name)

    def close(self) -> None:
        """Release the file; further work fails."""
        self._connection.close()

    async def run(self, work: Work[Result]) -> Result:
        """Do the work in a transaction: committed when it returns, undone when it raises."""
        async with self._turn:
            return await asyncio.to_thread(self._transact, work)

    async def once(self, key: str, work: Work[Json]) -> Json:
        """Do the work at most once for this idempotency key; asked again, give the first answer.

        Work that raised was not done, and may be asked for again.
        """
        return await self.run(lambda transaction: _answer(transaction, key) or _keep(transaction, key, work))

    async def answer(self, key: str) -> Json | None:
        """What was answered to this key; None if nothing was yet."""
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
