"""Finds sagas that ended plainly among the rows of many: one query over all, instead of a fold of each.

Texts are numbered first, and what a record's attributes are called is looked at once for each set of names: both
repeat from record to record.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from sagascope import semconv
from sagascope_collector.records import SagaId
from sagascope_collector.store import rows
from sagascope_collector.store.contract import PlainEnd
from sagascope_collector.store.database import Database
from sagascope_collector.store.sql import Query
from sagascope_collector.store.tiers import Tiers, Wanted

SPANS: Final = (
    "trace_id", "span_id", "name", "kind", "start", "end", "status", "saga_id", "saga_name", "saga_run", "saga_role",
    "step_name", "step_type", "step_key", "step_attempt", "attribute_keys", "attribute_values", "environment",
    "service",
)  # fmt: skip
LOGS: Final = (
    "at", "observed_at", "event_name", "trace_id", "span_id", "saga_id", "saga_name", "saga_run", "attribute_keys",
    "attribute_values", "environment", "identity",
)  # fmt: skip

ATTRIBUTES: Final = ("attribute_keys", "attribute_values")

ROLES: Final = ("", semconv.ROLE_SAGA, semconv.ROLE_STEP)
FORWARD: Final = ("", semconv.TYPE_ACTION)
FOREIGN: Final = ("logfire.", "partial.")
"""How names of attributes begin by which others tell of spans that are in flight."""

SAGA_ID: Final = 0
"""`saga.id` among the names of attributes: the first column of a mark."""

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Encoded = tuple[list[str], npt.NDArray[Any]]
"""Different texts, and the number of one of them for each row."""


def ends(tiers: Tiers, database: Database, ids: Sequence[SagaId]) -> list[PlainEnd]:
    """See `Store.plain_ends`."""
    wanted, numbers = Wanted(ids), {each: number for number, each in enumerate(ids)}
    spans = _rows(tiers.of_sagas("spans", wanted, SPANS), numbers)
    logs = _rows(tiers.of_sagas("logs", wanted, LOGS), numbers)
    if not len(spans.sagas):
        return []
    doubtful = [numbers[each] for each in _linked(tiers, wanted) if each in numbers]
    doubtful += _announced(spans, logs)
    names = _Numbering(), _Numbering()
    found = database.rows(
        Query.SELECT_PLAIN_ENDS,
        told=_told(spans, *names),
        logs=_logged(logs, *names),
        doubtful=pa.table({"saga": pa.array(doubtful, pa.int64())}),
    )
    return list(_Telling(ids, names[0].texts(), spans, logs).ends(found))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one table and the number of each one's saga; what repeats in a column is looked at once."""

    table: pa.Table
    sagas: Numbers
    encoded: dict[str, Encoded] = field(default_factory=dict)

    def texts(self, name: str) -> Encoded:
        """The different texts of a column, and which of them each row has."""
        if name not in self.encoded:
            self.encoded[name] = _encoded(self.table[name])
        return self.encoded[name]

    def each(self, name: str, judged: Callable[[str], bool]) -> Mask:
        """What is judged of each text, each distinct one once."""
        texts, indices = self.texts(name)
        if not len(indices):
            return np.empty(0, np.bool_)
        return np.array([judged(text) for text in texts], np.bool_)[indices]


def _rows(table: pa.Table, wanted: Mapping[SagaId, int]) -> _Rows:
    """Those of a table that are of wanted sagas."""
    sagas = _sagas(table, wanted)
    if (sagas >= 0).all():
        return _Rows(table, sagas)
    return _Rows(table.filter(pa.array(sagas >= 0)), sagas[sagas >= 0])


class _Numbering:
    """Numbers texts, over several columns; "" is 0."""

    def __init__(self) -> None:
        self._numbers = {"": 0}

    def of(self, encoded: Encoded) -> Numbers:
        """The numbers of a column's texts."""
        texts, indices = encoded
        known = np.array([self._numbers.setdefault(text, len(self._numbers)) for text in texts], np.int64)
        return known[indices]

    def texts(self) -> list[str]:
        """The texts, by their numbers."""
        return list(self._numbers)


def _told(spans: _Rows, names: _Numbering, runs: _Numbering) -> pa.Table:
    plain = (
        spans.each("attribute_keys", _is_plain)
        & spans.each("saga_role", lambda text: text in ROLES)
        & spans.each("step_type", lambda text: text in FORWARD)
    )
    received = spans.each("kind", lambda text: text in ("server", "consumer"))
    return pa.table(
        {
            "saga": spans.sagas,
            "place": np.arange(len(spans.sagas)),
            "step": _steps(spans)[1],
            "step_key": _Numbering().of(spans.texts("step_key")),
            "service": _Numbering().of(spans.texts("service")),
            "attempt": spans.table["step_attempt"],
            "failed": spans.each("status", lambda text: text == "error"),
            "is_attempt": spans.each("saga_role", _is_step),
            "is_root": spans.each("saga_role", lambda text: text == semconv.ROLE_SAGA),
            "is_received": received & spans.each("saga_role", _is_none),
            "name": names.of(spans.texts("saga_name")),
            "run": runs.of(spans.texts("saga_run")),
            "end": spans.table["end"],
            "is_plain": plain,
        }
    )


def _steps(spans: _Rows) -> Encoded:
    """The name of each span's step, in numbers and what they stand for."""
    numbering = _Numbering()
    named, called = numbering.of(spans.texts("step_name")), numbering.of(spans.texts("name"))
    return numbering.texts(), np.where(named == 0, called, named)


def _logged(logs: _Rows, names: _Numbering, runs: _Numbering) -> pa.Table:
    return pa.table(
        {
            "saga": logs.sagas,
            "at": logs.table["at"],
            "name": names.of(logs.texts("saga_name")),
            "run": runs.of(logs.texts("saga_run")),
            "is_plain": logs.each("attribute_keys", _is_plain),
        }
    )


def _linked(tiers: Tiers, wanted: Wanted) -> Iterator[SagaId]:
    """Sagas that links name: spans of others are among theirs."""
    links = tiers.of_sagas("links", wanted)
    return map(SagaId, links["environment"].to_pylist(), links["saga_id"].to_pylist())


def _announced(spans: _Rows, logs: _Rows) -> Sequence[int]:
    """Sagas with a start record of a span that has not come, or not to them."""
    starts = logs.each("event_name", lambda text: text == semconv.EVENT_SPAN_START)
    if not starts.any():
        return []
    known = set(_places(spans.sagas, spans.table))
    return [each[0] for each in _places(logs.sagas[starts], logs.table.filter(pa.array(starts))) if each not in known]


def _places(sagas: Numbers, table: pa.Table) -> Iterator[tuple[int, bytes, bytes]]:
    """Of which saga, trace and span each row is."""
    return zip(sagas.tolist(), table["trace_id"].to_pylist(), table["span_id"].to_pylist(), strict=True)


def _sagas(table: pa.Table, wanted: Mapping[SagaId, int]) -> Numbers:
    """The number of each row's saga; -1 where it is not wanted."""
    environments, places = _encoded(table["environment"])
    sagas, indices = _encoded(table["saga_id"])
    known = np.array(
        [[wanted.get(SagaId(environment, saga), -1) for saga in sagas] for environment in environments], np.int64
    ).reshape(len(environments), len(sagas))
    return known[places, indices] if len(table) else np.empty(0, np.int64)


def _encoded(column: pa.ChunkedArray) -> Encoded:
    encoded = pa.chunked_array(column).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks() if encoded.num_chunks else pa.array([], encoded.type)
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


def _is_none(text: str) -> bool:
    return not text


@cache
def _is_plain(keys: str) -> bool:
    """Whether a record with attributes of these names can be part of a saga that ended plainly."""
    names = orjson.loads(keys)
    texts = [each for each in names if isinstance(each, str)]
    return SAGA_ID in names and semconv.STEP_COMPENSATES not in texts and not any(map(_is_foreign, texts))


def _is_foreign(name: str) -> bool:
    return name.startswith(FOREIGN)


def _has_key(keys: str) -> bool:
    return f'"{semconv.KEY_PREFIX}' in keys


@dataclass(slots=True)
class _Telling:
    """Adds to the sagas that were found what is said of them."""

    ids: Sequence[SagaId]
    names: Sequence[str]
    """Of sagas, by their numbers."""
    spans: _Rows
    logs: _Rows

    def ends(self, found: Sequence[tuple[int, int, int, int]]) -> Iterator[PlainEnd]:
        """What is said of these sagas: (saga, place of its root, name, latest moment)."""
        sagas = np.array([saga for saga, *_ in found], np.int64)
        roots = self._roots(np.array([root for _, root, *_ in found], np.int64))
        keys = self._keys(sagas, {root: said for (_, root, *_), (*_, said) in zip(found, roots, strict=True)})
        courses = self._courses(sagas)
        for (saga, _, name, updated_at), course, root in zip(found, courses, roots, strict=True):
            run, start, end, status, said = root
            yield PlainEnd(
                *self.ids[saga],
                self.names[name],
                run,
                start,
                updated_at,
                end,
                status,
                said,
                *course,
                keys.get(saga, ()),
            )

    def _courses(self, sagas: Numbers) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """The steps and the services of each saga in order of time; most sagas of a name take the same course."""
        order, bounds = self._in_order(sagas)
        steps, of_steps = _steps(self.spans)
        services, of_services = self.spans.texts("service")
        tried = np.where(self.spans.each("saga_role", _is_step), of_steps, -1)
        taken = np.stack([tried, of_services], axis=1)[order].astype(np.int32)
        known: dict[bytes, tuple[Sequence[str], Sequence[str]]] = {}
        for first, last in pairwise(bounds):
            course = taken[first:last]
            if (told := known.get(key := course.tobytes())) is None:
                names = [steps[step] for step in course[:, 0] if step >= 0]
                told = known[key] = names, [text for place in course[:, 1] if (text := services[place])]
            yield told

    def _in_order(self, sagas: Numbers) -> tuple[Numbers, list[int]]:
        """The places of the spans of these sagas, by saga and then by time, and where each saga's begin."""
        of = self.spans.sagas
        chosen = np.flatnonzero(np.isin(of, sagas))
        starts = self.spans.table["start"].to_numpy()[chosen]
        order = chosen[np.lexsort((starts, of[chosen]))]
        bounds = np.searchsorted(of[order], np.append(sagas, np.iinfo(np.int64).max))
        return order, bounds.tolist()

    def _roots(self, places: Numbers) -> list[tuple[str, int, int, str, dict[str, Any]]]:
        """Run, start, end, status and attributes of these spans."""
        names = ("saga_run", "start", "end", "status", "attribute_keys", "attribute_values")
        taken = self.spans.table.select(names).take(pa.array(places))
        *own, keys, values = (column.to_pylist() for column in taken.columns)
        return list(zip(*own, map(_attributes, keys, values), strict=True))

    def _keys(self, sagas: Numbers, read: Mapping[int, dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
        """The attributes of all records that have a business key, by saga, in their order.

        `read` are those of some spans, by their places.
        """
        found: dict[int, list[dict[str, Any]]] = {}
        logged = ("at", "observed_at", "trace_id", "span_id", "event_name", "identity")
        for saga, _, keys, values in self._with_keys(self.logs, sagas, logged):
            found.setdefault(saga, []).append(_attributes(keys, values))
        told = self._with_keys(self.spans, sagas, ("start", "trace_id", "span_id"))
        for saga, place, keys, values in told:
            found.setdefault(saga, []).append(read.get(place) or _attributes(keys, values))
        return found

    def _with_keys(self, records: _Rows, sagas: Numbers, order: Sequence[str]) -> Iterator[tuple[int, int, str, str]]:
        """Saga, place and attributes of the records that have a business key."""
        chosen = np.flatnonzero(records.each("attribute_keys", _has_key) & np.isin(records.sagas, sagas))
        told = records.table.select([*order, "attribute_keys", "attribute_values"]).take(pa.array(chosen))
        told = told.append_column("saga", pa.array(records.sagas[chosen])).append_column("place", pa.array(chosen))
        told = told.sort_by([(name, "ascending") for name in order]) if len(told) > 1 else told
        return zip(*(told[name].to_pylist() for name in ("saga", "place", *ATTRIBUTES)), strict=True)


def _attributes(keys: str, values: str) -> dict[str, Any]:
    return dict(rows.attributes(keys, values))


def _is_step(role: str) -> bool:
    return role == semconv.ROLE_STEP
