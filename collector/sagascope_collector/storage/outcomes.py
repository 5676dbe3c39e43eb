"""How many sagas of each type ended, and how many of them failed, by time."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from sagascope_collector.records import SagaKey
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("outcomes")

SAGA_TYPE: Final = pa.schema([("environment", pa.string()), ("name", pa.string())])

SagaType = tuple[str, str]
"""An environment, and a saga name."""


class OutcomePeriod(NamedTuple):
    """The sagas that ended within one minute, or, where that is long ago, within one hour."""

    start: int
    """In seconds since 1970."""
    ended: int
    failed: int
    """Those of them that failed or were compensated."""
    running: int = 0
    """Sagas that started within it and have not ended."""


class FailedSaga(NamedTuple):
    """A saga that failed or was compensated, and when it ended."""

    key: SagaKey
    ended_at: int


class Outcomes:
    """The table of outcome counts. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def failing_types(self, since: int, failed: int) -> list[SagaType]:
        """Returns the types of which so many sagas or more failed since then, in seconds since 1970."""
        found = self._database.rows(SQL["select_failing_types"], {"since": since, "failed": failed})
        return [(environment, name) for environment, name in found]

    def counts(self, types: Iterable[SagaType], oldest: int, recent: int) -> dict[SagaType, list[OutcomePeriod]]:
        """Returns the outcomes of these types since `oldest`: by minute since `recent`, by hour before it.

        Sagas that need attention are left out. Both times are in seconds since 1970.
        """
        wanted = pa.Table.from_pylist(
            [dict(zip(SAGA_TYPE.names, each, strict=True)) for each in types], schema=SAGA_TYPE
        )
        found: dict[SagaType, list[OutcomePeriod]] = {}
        values = {"oldest": oldest, "recent": recent}
        for environment, name, *period in self._database.rows(SQL["select_outcome_counts"], values, wanted=wanted):
            found.setdefault((environment, name), []).append(OutcomePeriod(*period))
        return found

    def failed(self, environment: str, name: str, since: int, until: int, limit: int) -> Sequence[FailedSaga]:
        """Returns the sagas of a type that ended between these times and did not complete, the latest first."""
        values = {"environment": environment, "name": name, "since": since, "until": until, "limit": limit}
        found = self._database.rows(SQL["select_failed"], values)
        return [FailedSaga(SagaKey(environment, name, id_, run), ended_at) for id_, run, ended_at in found]

    def step_counts(self, oldest: int, recent: int, failed: int) -> dict[tuple[str, str, str], list[OutcomePeriod]]:
        """Returns the attempts since `oldest` by (environment, saga name, step), as far as they are counted.

        By five minutes since `recent`, by hour before it; both times are in seconds since 1970. Steps with fewer than
        `failed` failed attempts since `recent` are left out.
        """
        found: dict[tuple[str, str, str], list[OutcomePeriod]] = {}
        values = {"oldest": oldest, "recent": recent, "failed": failed}
        for environment, name, step, *period in self._database.rows(SQL["select_step_counts"], values):
            found.setdefault((environment, name, step), []).append(OutcomePeriod(*period))
        return found

    def step_sagas(self, environment: str, name: str, step: str, since: int, until: int) -> list[OutcomePeriod]:
        """Returns the sagas that reached a step between these times, by five minutes; those with an error have failed.

        The times are in nanoseconds since 1970.
        """
        values = {"environment": environment, "name": name, "step": step, "since": since, "until": until}
        return [OutcomePeriod(*period) for period in self._database.rows(SQL["select_step_sagas"], values)]

    def failed_at_step(
        self, environment: str, name: str, step: str, since: int, until: int, limit: int
    ) -> Sequence[FailedSaga]:
        """Returns the sagas with an error at a step that started between these times, the latest first."""
        times = {"since": since, "until": until, "limit": limit}
        values = {"environment": environment, "name": name, "step": step} | times
        found = self._database.rows(SQL["select_failed_at_step"], values)
        return [FailedSaga(SagaKey(environment, name, id_, run), ended_at) for id_, run, ended_at in found]

    def age(self, before: int, oldest: int) -> None:
        """Adds up minutes before `before` to hours, and deletes what is older than `oldest`; both in seconds."""
        values = {"before": before // 3600 * 3600}
        with self._database.transaction():
            self._database.rows(SQL["age_outcome_counts"], values)
            self._database.rows(SQL["delete_aged_outcome_counts"], values | {"oldest": oldest})
