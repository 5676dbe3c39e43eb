"""Removes sagas so that nothing of them is left on disk: no fact, no summary, no text, no free block of the database.

What is to be forgotten is noted first; after a crash it is carried out at the next start, before anything else.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import orjson
import pyarrow as pa

from sagascope_collector.records import SagaId
from sagascope_collector.store import home
from sagascope_collector.store.alerts import Alerts
from sagascope_collector.store.contract import SagaRow
from sagascope_collector.store.database import Database
from sagascope_collector.store.incidents import Incidents
from sagascope_collector.store.journal import sync_folder
from sagascope_collector.store.leaving import Leaving
from sagascope_collector.store.pending import Pending
from sagascope_collector.store.resting import Resting
from sagascope_collector.store.sql import Query
from sagascope_collector.store.tiers import Tiers

NAMED: Final = pa.schema([(name, pa.string()) for name in ("environment", "id", "text")])

IDS: Final = pa.schema([(name, pa.string()) for name in SagaId._fields])

SHORT: Final = 4
"""Characters below which a text is in many others by chance: it is looked for where it is all of a text."""

OWN: Final = (Query.DELETE_SAGAS, Query.DELETE_LESSONS_OF_IDS, Query.DELETE_PENDING)
"""What has rows of sagas that are deleted, and nothing else need be done."""


class Forgetting:
    """One at a time; reading and taking in go on meanwhile."""

    def __init__(
        self,
        database: Database,
        tiers: Tiers,
        leaving: Leaving,
        resting: Resting,
        pending: Pending,
        incidents: Incidents,
        alerts: Alerts,
        *,
        seal: Callable[[], None],
        give_up: Callable[[], None],
        summarising: threading.Lock,
    ) -> None:
        """Work beside what makes these.

        Args:
            database: what is written anew at the end.
            tiers: where the facts are.
            leaving: takes sagas out of chunks.
            resting: summaries at rest.
            pending: sagas that are to be summarised.
            incidents: what names sagas.
            alerts: likewise.
            seal: moves all facts to the sealed tier.
            give_up: removes a chunk that is half made of others.
            summarising: held while summaries change.
        """
        self._database = database
        self._marker = tiers.folder / home.REWRITE_NAME
        self._leaving = leaving
        self._resting = resting
        self._pending = pending
        self._incidents = incidents
        self._alerts = alerts
        self._seal = seal
        self._give_up = give_up
        self._summarising = summarising
        self._working = threading.Lock()
        self._gone: set[SagaId] = set()

    def forget(self, ids: Sequence[SagaId], texts: Iterable[str]) -> int:
        """Remove these sagas, and what else was kept with one of these texts in it; how many records went.

        Raises:
            StoreUnavailable: it is not done; it is, at the latest, after the next start.
        """
        if not ids:
            self.resume()
            return 0
        with self._working:
            rows = [{"environment": each.environment, "id": each.id, "text": each.id} for each in ids]
            rows += [{"environment": "", "id": "", "text": each} for each in texts]
            with self._database.transaction():
                self._database.count(Query.INSERT_FORGETTING, named=pa.Table.from_pylist(rows, schema=NAMED))
            return self._carry_out()

    def resume(self) -> None:
        """Do what was left undone when the process died, or the disk was full.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        with self._working:
            if self._database.rows(Query.SELECT_FORGETTING):
                self._carry_out()
            elif self._marker.exists():
                self._rewrite()

    def heard(self, ids: Iterable[SagaId]) -> None:
        """There are facts of these anew."""
        if self._gone:
            self._gone.difference_update(ids)

    def lasting(self, rows: Sequence[SagaRow]) -> Sequence[SagaRow]:
        """Those of these summaries that were not made of facts which are forgotten by now."""
        if not self._gone:
            return rows
        return [row for row in rows if SagaId(row.key.environment, row.key.id) not in self._gone]

    def _carry_out(self) -> int:
        named = self._database.rows(Query.SELECT_FORGETTING)
        ids = list(dict.fromkeys(SagaId(environment, id_) for environment, id_, _ in named if id_))
        self._seal()
        removed = self._leaving.without(ids, named=True)
        self._give_up()
        self._remove_summaries(ids, [text for _, _, text in named])
        self._resting.purge()
        self._marker.touch()
        sync_folder(self._marker.parent)
        self._database.count(Query.CLEAR_FORGETTING)
        self._rewrite()
        return removed

    def _remove_summaries(self, ids: Sequence[SagaId], texts: Iterable[str]) -> None:
        settled = pa.Table.from_pylist([each._asdict() for each in ids], schema=IDS)
        with self._summarising:
            self._gone.update(ids)
            self._pending.drop(ids)
            with self._database.transaction():
                woken = self._resting.wake(ids)
                keys = self._incidents.named(settled)
                for query in OWN:
                    self._database.count(query, settled=settled)
                self._incidents.put(settled, [], 0)
                told = pa.table({"text": pa.array(_sought([*texts, *keys]), pa.string())})
                self._incidents.redact(settled, keys, told)
                self._alerts.redact(told)
            self._resting.woken(woken)
        self._incidents.redacted()

    def _rewrite(self) -> None:
        self._database.rewrite()
        self._marker.unlink()
        sync_folder(self._marker.parent)


def _sought(texts: Iterable[str]) -> list[str]:
    """What is looked for in documents and notes."""
    every = set(texts)
    return sorted({orjson.dumps(each).decode() for each in every} | {each for each in every if len(each) >= SHORT})
