"""Finds sagas that ended plainly among the rows of many: one query over all, instead of a fold of each."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from sagascope import semconv
from sagascope_collector.records import SagaId
from sagascope_collector.store import rows
from sagascope_collector.store.contract import PlainEnd
from sagascope_collector.store.database import Database
from sagascope_collector.store.sql import Query
from sagascope_collector.store.tiers import Tiers

_VALUES: Final = {
    "key_prefix": f'"{semconv.KEY_PREFIX}',
    "compensates": f'"{semconv.STEP_COMPENSATES}"',
    "started": semconv.EVENT_SPAN_START,
}


def ends(tiers: Tiers, database: Database, ids: Sequence[SagaId]) -> list[PlainEnd]:
    """See `Store.plain_ends`."""
    spans, logs, links = (tiers.of_sagas(kind, ids) for kind in ("spans", "logs", "links"))
    wanted = pa.table(
        {
            "environment": pa.array([each.environment for each in ids], pa.string()),
            "saga_id": pa.array([each.id for each in ids], pa.string()),
        }
    )
    found = database.rows(
        Query.SELECT_PLAIN_ENDS, _VALUES, wanted_sagas=wanted, rows_spans=spans, rows_logs=logs, rows_links=links
    )
    return [_end(*each) for each in found]


def _end(
    environment: str,
    id_: str,
    name: str,
    run: str,
    started_at: int,
    updated_at: int,
    ended_at: int,
    root_status: str,
    root_keys: str,
    root_values: str,
    steps: Sequence[str],
    services: Sequence[str],
    told: Sequence[Sequence[str]],
) -> PlainEnd:
    root: dict[str, Any] = dict(rows.attributes(root_keys, root_values))
    others = tuple(dict(rows.attributes(*each)) for each in told)
    return PlainEnd(
        environment, id_, name, run, started_at, updated_at, ended_at, root_status, root, steps, services, others
    )
