"""Which paths the sagas of a type took: the steps that ran, in the order in which they started."""

from typing import Final, NamedTuple

import orjson

from sagascope_collector.records import SagaId
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("paths")


class PathCount(NamedTuple):
    """How many sagas of a type that ended took one path, and the newest of them."""

    steps: tuple[str, ...]
    sagas: int
    completed: int
    newest: SagaId


def count_paths(database: Database, name: str, environment: str | None, since: int, limit: int) -> list[PathCount]:
    """Returns the paths of sagas that started since then and ended, the most frequent first."""
    values = {"name": name, "environment": environment, "since": since, "limit": limit}
    return [
        PathCount(tuple(orjson.loads(steps)), sagas, completed, SagaId(where, id_))
        for steps, sagas, completed, where, id_ in database.rows(SQL["count_paths"], values)
    ]
