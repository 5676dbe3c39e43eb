"""A coordinator of two-phase commit on PostgreSQL: transfers money from one database to another.

    python -m sagascope_samples.two_phase 8492 wallet=DSN ledger=DSN

Each participant prepares with the global id ``transfer:ID:PARTICIPANT``. When all have prepared, the decision is
written to disk, and each participant commits. ``--pause SECONDS`` waits between the phases, so that the process can be
killed there.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg.sql import SQL

import sagascope
from sagascope import Saga, Step

PARTICIPANTS: dict[str, str] = {
    "wallet": "UPDATE accounts SET amount = amount - 10 WHERE id = 1",
    "ledger": "UPDATE accounts SET amount = amount + 10 WHERE id = 1",
}
"""The statement of each participant."""

TRANSFER = Saga("transfer", [Step(name) for name in PARTICIPANTS])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one transfer."""
    parser = argparse.ArgumentParser(description="One transfer between two databases.")
    parser.add_argument("id")
    parser.add_argument("databases", nargs="+", metavar="NAME=DSN")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--decisions", type=Path, default=Path("decisions.log"))
    given = parser.parse_args(arguments)
    dsns = dict(each.split("=", 1) for each in given.databases)
    sagascope.configure(service_name="coordinator")
    try:
        transfer(given.id, dsns, given.decisions, given.pause)
    finally:
        sagascope.shutdown()


def transfer(saga_id: str, dsns: dict[str, str], decisions: Path, pause: float = 0.0) -> None:
    """Transfers ten from the wallet to the ledger; once the decision is on disk, every participant must commit."""
    with TRANSFER.begin(saga_id, amount="10.00", currency="EUR") as saga:
        for name, dsn in dsns.items():
            with saga.step(name, type="prepare"):
                prepare(dsn, PARTICIPANTS[name], _global_id(saga_id, name))
        time.sleep(pause)
        with decisions.open("a") as log:
            log.write(f"{saga_id} commit\n")
            log.flush()
            os.fsync(log.fileno())
        for name, dsn in dsns.items():
            with saga.step(name, type="commit"):
                commit(dsn, _global_id(saga_id, name))


def prepare(dsn: str, statement: str, gid: str) -> None:
    """Runs the first phase of one participant."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute(statement)
        connection.execute(SQL("PREPARE TRANSACTION {}").format(gid))


def commit(dsn: str, gid: str) -> None:
    """Runs the second phase of one participant."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SQL("COMMIT PREPARED {}").format(gid))


def _global_id(saga_id: str, name: str) -> str:
    return f"transfer:{saga_id}:{name}"


if __name__ == "__main__":
    main()
