"""Finds sagas that ended plainly among the rows of many: one look at their columns, instead of a fold of each.

Texts are numbered first, and what repeats is looked at once: the names of a record's attributes, and the courses that
sagas take.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import compress
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from sagascope import semconv
from sagascope_collector.records import SagaId
from sagascope_collector.store import courses, fingerprints, rows, values
from sagascope_collector.store.contract import Course, PlainEnd
from sagascope_collector.store.courses import BYTES, Courses
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
LINKS: Final = ("environment", "saga_id")

ROLES: Final = ("", semconv.ROLE_SAGA, semconv.ROLE_STEP)
FORWARD: Final = ("", semconv.TYPE_ACTION)
FOREIGN: Final = ("logfire.", "partial.")
"""How names of attributes begin by which others tell of spans that are in flight."""

ASKED: Final = (semconv.SAGA_OUTCOME, semconv.AMOUNT, semconv.CURRENCY, semconv.PLAN_COMPENSATIONS)
"""Attributes that are told of a root, beside the business keys."""

SAGA_ID: Final = 0
"""`saga.id` among the names of attributes: the first column of a mark."""

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Encoded = tuple[list[str], npt.NDArray[Any]]
"""Different texts, and the number of one of them for each row."""


def ends(tiers: Tiers, known: Courses, ids: Sequence[SagaId]) -> list[PlainEnd]:
    """See `Store.plain_ends`."""
    wanted, numbers = Wanted(ids), {each: number for number, each in enumerate(ids)}
    spans = _rows(tiers.of_sagas("spans", wanted, SPANS), numbers)
    logs = _rows(tiers.of_sagas("logs", wanted, LOGS), numbers)
    if not len(spans.sagas):
        return []
    doubtful = np.zeros(len(ids), np.bool_)
    doubtful[[numbers[each] for each in _linked(tiers, wanted) if each in numbers]] = True
    doubtful[_announced(spans, logs)] = True
    with known.using:
        known.tidy()
        return list(_Telling(ids, known, spans, logs).ends(doubtful))


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

    def numbers(self, name: str, known: Courses, kind: str) -> Numbers:
        """The numbers of a column's texts among those of a kind."""
        texts, indices = self.texts(name)
        return known.numbers(kind, texts)[indices]

    def values(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers."""
        column: npt.NDArray[Any] = self.table[name].to_numpy()
        return column


def _rows(table: pa.Table, wanted: Mapping[SagaId, int]) -> _Rows:
    """Those of a table that are of wanted sagas."""
    sagas = _sagas(table, wanted)
    if (sagas >= 0).all():
        return _Rows(table, sagas)
    return _Rows(table.filter(pa.array(sagas >= 0)), sagas[sagas >= 0])


def _linked(tiers: Tiers, wanted: Wanted) -> Iterator[SagaId]:
    """Sagas that links name: spans of others are among theirs."""
    links = tiers.of_sagas("links", wanted, LINKS)
    return map(SagaId, links["environment"].to_pylist(), links["saga_id"].to_pylist())


def _announced(spans: _Rows, logs: _Rows) -> Numbers:
    """Sagas with a start record of a span that has not come, or not to them."""
    starts = logs.each("event_name", lambda text: text == semconv.EVENT_SPAN_START)
    if not starts.any():
        return np.empty(0, np.int64)
    sagas = logs.sagas[starts]
    return sagas[~np.isin(_places(sagas, logs.table.filter(pa.array(starts))), _places(spans.sagas, spans.table))]


def _places(sagas: Numbers, table: pa.Table) -> fingerprints.Fingerprints:
    """The fingerprint of each row's saga, trace and span."""
    traces, spans = fingerprints.of_traces(table["trace_id"]), fingerprints.words(table["span_id"])
    with np.errstate(over="ignore"):
        return fingerprints.mixed(traces + fingerprints.mixed(spans + fingerprints.mixed(sagas.astype(np.uint64))))


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


class _Taken(NamedTuple):
    """What course a saga took."""

    saga: int
    course: Course
    root: int
    """The place of its root among all spans."""


@dataclass(slots=True)
class _Telling:
    """Tells the sagas that ended plainly."""

    ids: Sequence[SagaId]
    known: Courses
    spans: _Rows
    logs: _Rows
    runs: "_Runs" = field(init=False)
    order: Numbers = field(init=False)
    """The places of all spans, by saga and then by time."""
    firsts: Numbers = field(init=False)
    """Where each saga begins in it."""

    def __post_init__(self) -> None:
        self.order = np.lexsort((self.spans.values("start"), self.spans.sagas))
        self.firsts = np.flatnonzero(np.diff(self.spans.sagas[self.order], prepend=-1))
        self.runs = _runs(self.spans, self.logs, len(self.ids))

    def ends(self, doubtful: Mask) -> Iterator[PlainEnd]:
        """All but doubtful ones."""
        taken = self._undisputed(list(self._courses(doubtful)))
        roots = np.array([each.root for each in taken], np.int64)
        told = _told(self.spans, self.logs, roots)
        updated = self._updated()
        columns = (self.spans.values("start"), self.spans.values("end"), self.runs.of_spans)
        times = (column[roots].tolist() for column in columns)
        for (saga, course, root), start, end, run in zip(taken, *times, strict=True):
            environment, id_ = self.ids[saga]
            said, keys = told.roots[root], told.keys.get(saga, ())
            yield PlainEnd(environment, id_, self.runs.texts[run], course, start, updated[saga], end, said, keys)

    def _courses(self, doubtful: Mask) -> Iterator[_Taken]:
        """The sagas whose spans say nothing else."""
        words = self._words()[self.order].tobytes()
        bounds = [*(self.firsts * BYTES).tolist(), len(words)]
        sagas = self.spans.sagas[self.order[self.firsts]]
        may_be = ~doubtful[sagas]
        for saga, first, last in compress(zip(sagas.tolist(), bounds, bounds[1:], strict=False), may_be):
            if (course := self.known.judge(words[first:last])) is not None:
                yield _Taken(saga, course, int(self.order[first // BYTES + course.root]))

    def _words(self) -> Numbers:
        spans, known = self.spans, self.known
        received = spans.each("kind", lambda text: text in ("server", "consumer"))
        return courses.Spans(
            steps=_steps(spans, known),
            step_keys=spans.numbers("step_key", known, "step_keys"),
            services=spans.numbers("service", known, "services"),
            names=spans.numbers("saga_name", known, "names"),
            attempts=spans.values("step_attempt"),
            failed=spans.each("status", lambda text: text == "error"),
            tried=spans.each("saga_role", lambda text: text == semconv.ROLE_STEP),
            roots=spans.each("saga_role", lambda text: text == semconv.ROLE_SAGA),
            received=received & spans.each("saga_role", lambda text: not text),
            plain=spans.each("attribute_keys", _is_plain)
            & spans.each("saga_role", lambda text: text in ROLES)
            & spans.each("step_type", lambda text: text in FORWARD)
            & (spans.values("end") > 0)
            & (self.runs.of_spans == self.runs.of_sagas[spans.sagas]),
        ).words()

    def _undisputed(self, taken: list[_Taken]) -> list[_Taken]:
        """Those that no log record contradicts."""
        logs = self.logs
        if not len(logs.sagas):
            return taken
        names = np.zeros(len(self.ids), np.int64)
        for each in taken:
            names[each.saga] = self.known.numbers("names", [each.course.name])[0]
        told = logs.numbers("saga_name", self.known, "names")
        agrees = logs.each("attribute_keys", _is_plain) & (self.runs.of_logs == self.runs.of_sagas[logs.sagas])
        disputed = np.zeros(len(self.ids), np.bool_)
        disputed[logs.sagas[~(agrees & ((told == 0) | (told == names[logs.sagas])))]] = True
        return [each for each in taken if not disputed[each.saga]]

    def _updated(self) -> list[int]:
        """The latest moment that each saga's records tell of."""
        latest = np.zeros(len(self.ids), np.uint64)
        np.maximum.at(latest, self.spans.sagas, self.spans.values("end"))
        np.maximum.at(latest, self.logs.sagas, self.logs.values("at"))
        return latest.tolist()


class _Runs(NamedTuple):
    """Runs in numbers, which mean something among these rows only."""

    texts: Sequence[str]
    of_spans: Numbers
    of_logs: Numbers
    of_sagas: Numbers
    """Of one of its spans; a saga of several runs is none that ended plainly."""


def _runs(spans: _Rows, logs: _Rows, sagas: int) -> _Runs:
    numbering = courses.Texts()
    of_spans, of_logs = (_numbered(each.texts("saga_run"), numbering.number) for each in (spans, logs))
    of_sagas = np.zeros(sagas, np.int64)
    of_sagas[spans.sagas] = of_spans
    return _Runs(numbering.texts, of_spans, of_logs, of_sagas)


def _numbered(encoded: Encoded, number: Callable[[str], int]) -> Numbers:
    texts, indices = encoded
    return np.fromiter(map(number, texts), np.int64)[indices]


def _steps(spans: _Rows, known: Courses) -> Numbers:
    """The names of the spans' steps; only those of steps are numbered: other spans' may be any."""
    named, tried = spans.numbers("step_name", known, "steps"), spans.each("saga_role", lambda t: t == semconv.ROLE_STEP)
    unnamed = tried & (named == 0)
    if unnamed.any():
        texts, indices = spans.texts("name")
        wanted = np.unique(indices[unnamed])
        called = np.zeros(len(texts), np.int64)
        called[wanted] = known.numbers("steps", [texts[each] for each in wanted])
        named = np.where(unnamed, called[indices], named)
    return np.where(tried, named, 0)


class _Told(NamedTuple):
    """Attributes of records, as far as a summary tells of them."""

    roots: Mapping[int, dict[str, Any]]
    """Of some spans, by their places."""
    keys: Mapping[int, Sequence[dict[str, Any]]]
    """Of the records with a business key, by saga, in their order."""


def _told(spans: _Rows, logs: _Rows, roots: Numbers) -> _Told:
    """What the roots of sagas say, and all records of them that have business keys."""
    wanted = np.zeros(max(spans.sagas.max(initial=-1), logs.sagas.max(initial=-1)) + 1, np.bool_)
    wanted[spans.sagas[roots]] = True
    keyed = np.flatnonzero(spans.each("attribute_keys", _has_key) & wanted[spans.sagas])
    places = np.union1d(roots, keyed)
    read = dict(zip(places.tolist(), _attributes(spans, places), strict=True))
    keys: dict[int, list[dict[str, Any]]] = {}
    logged = np.flatnonzero(logs.each("attribute_keys", _has_key) & wanted[logs.sagas])
    logged = _in_order(logs, logged, ("at", "observed_at", "trace_id", "span_id", "event_name", "identity"))
    for saga, said in zip(logs.sagas[logged].tolist(), _attributes(logs, logged), strict=True):
        keys.setdefault(saga, []).append(said)
    keyed = _in_order(spans, keyed, ("start", "trace_id", "span_id"))
    for saga, place in zip(spans.sagas[keyed].tolist(), keyed.tolist(), strict=True):
        keys.setdefault(saga, []).append(read[place])
    return _Told(read, keys)


def _in_order(records: _Rows, places: Numbers, order: Sequence[str]) -> Numbers:
    """The places of records in the order of these columns; as they are where no saga has two."""
    if len(np.unique(records.sagas[places])) == len(places):
        return places
    taken = records.table.select(order).take(pa.array(places)).append_column("place", pa.array(places))
    found: Numbers = taken.sort_by([(name, "ascending") for name in order])["place"].to_numpy()
    return found


def _attributes(records: _Rows, places: Numbers) -> Iterator[dict[str, Any]]:
    """Those of `ASKED` and the business keys of records."""
    texts, indices = records.texts("attribute_keys")
    taken = records.table["attribute_values"].take(pa.array(places)).to_pylist()
    for number, spelt in zip(indices[places].tolist(), taken, strict=True):
        said = orjson.loads(spelt)
        yield values.attributes((name, said[place]) for name, place in _asked(texts[number]))


@lru_cache(maxsize=4096)
def _asked(keys: str) -> Sequence[tuple[str, int]]:
    """Names of attributes that are asked for, and which of the values is theirs."""
    named = [name for name, place in rows.known_keys(keys) if place is None]
    return [(name, place) for place, name in enumerate(named) if name in ASKED or name.startswith(semconv.KEY_PREFIX)]
