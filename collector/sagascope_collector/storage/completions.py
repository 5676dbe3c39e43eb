"""Finds sagas that completed cleanly among the records of many: one query instead of rebuilding each.

Whatever is in doubt is not found here, and left to the general path, which is slower by far. A property test holds the
two equal.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from sagascope_collector.records import SagaId
from sagascope_collector.storage import rows, summaries, values
from sagascope_collector.storage.bounds import Bounds
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("completions")

MAX_WIDTH: int = 1_000_000
"""Records between the first and the last of the sagas that are looked at together."""

MAX_RECORDS: Final = 2_000
"""Records of one saga: a larger one is left to the general path."""


class CleanCompletion(NamedTuple):
    """A saga about which nothing speaks against its having completed cleanly, but perhaps what its root says.

    One root, which has ended; one name and run; every span is final; steps forward only, each with one attempt, which
    did not fail.
    """

    environment: str
    id: str
    run: str
    name: str
    steps: tuple[str, ...]
    """Each once, in the order in which they started."""
    services: tuple[str, ...]
    started_at: int
    updated_at: int
    ended_at: int
    root: Mapping[str, Any]
    """The root's attributes; those of its place in the saga are None."""
    keyed: Sequence[Mapping[str, Any]]
    """The attributes of the records that carry a business key, in their order."""


def select(database: Database, where: Mapping[SagaId, Bounds]) -> list[CleanCompletion]:
    """Returns those of these sagas that completed cleanly; others are absent."""
    chosen = {saga: each for saga, each in where.items() if _is_near(each)}
    if not chosen:
        return []
    last = max(each.intervals[-1][1] for each in chosen.values())
    chosen = {saga: each for saga, each in chosen.items() if each.intervals[0][0] > last - MAX_WIDTH}
    span = {"first": min(each.intervals[0][0] for each in chosen.values()), "last": last}
    wanted = summaries.ids_table(chosen).append_column("number", pa.array(range(len(chosen)), pa.int64()))
    ids = list(chosen)
    return [_read(ids, row) for row in database.rows(SQL["select_clean_completions"], span, wanted=wanted)]


def _is_near(each: Bounds) -> bool:
    if not each.intervals or each.move or each.records > MAX_RECORDS:
        return False
    return each.intervals[-1][1] - each.intervals[0][0] < MAX_WIDTH


def _read(ids: Sequence[SagaId], row: tuple[Any, ...]) -> CleanCompletion:
    number, run, name, steps, services, start, end, updated, root, logged, keyed = row
    environment, id_ = ids[number]
    found = [_attributes(each) for each in (*(logged or ()), *(keyed or ()))]
    return CleanCompletion(
        environment,
        id_,
        run,
        name,
        tuple(steps or ()),
        tuple(services or ()),
        start,
        updated,
        end,
        _attributes(root),
        found,
    )


def _attributes(stored: Mapping[str, str]) -> Mapping[str, Any]:
    names = [name for name, column in rows.known_keys(stored["keys"]) if column is None]
    return values.attributes(zip(names, orjson.loads(stored["values"]), strict=True))
