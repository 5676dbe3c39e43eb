"""Computes summaries of cleanly completed sagas without rebuilding them: the bulk path under high load.

A property test verifies that they equal those of the general path. Doubtful cases are left to that path.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from sagascope import semconv
from sagascope_collector.analysis import values
from sagascope_collector.analysis.headline import ENDED_WORDS
from sagascope_collector.analysis.ledger_text import completed_line
from sagascope_collector.analysis.model import UNKNOWN_NAME, Status
from sagascope_collector.analysis.wording import Time, datetime_text, phrase, sentences
from sagascope_collector.durations import NANOSECONDS_PER_SECOND, to_datetime
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import SagaRow, Storage
from sagascope_collector.storage.schema import attributes

_FAILURES: Final = (semconv.OUTCOME_COMPENSATED, semconv.OUTCOME_FAILED)


class CompletionSpans(NamedTuple):
    """The spans of a saga, consistent with a clean completion: a row of `select_clean_completions`.

    It has one root, which has ended; one name and run; only final spans; forward steps only, each with one attempt,
    which did not fail.
    """

    run: str
    name: str
    steps: list[str] | None
    """In the order of their starts, once for each report."""
    services: list[str] | None
    started_at: int
    ended_at: int
    updated_at: int
    root: Mapping[str, str]
    """The stored attributes of the root."""
    keyed: list[Mapping[str, str]] | None
    """The stored attributes of the spans with a business key."""
    ids: list[bytes]


class CompletionLogs(NamedTuple):
    """The log records of such a saga: a row of `select_logs_of_completions`."""

    updated_at: int
    keyed: list[Mapping[str, str]] | None
    announced: list[bytes] | None
    """The ids of spans whose start was announced."""
    run: str
    name: str
    are_plain: bool
    """Whether all have one name and run, and none has the format of another library."""


def rows(storage: Storage, ids: Sequence[SagaId]) -> list[SagaRow]:
    """Returns the summaries of those of these sagas that completed cleanly; the others must be rebuilt."""
    summaries = (
        _row(saga, CompletionSpans(*spans), CompletionLogs(*logs) if logs else None)
        for saga, spans, logs in storage.lookup.completions(ids)
    )
    return [row for row in summaries if row is not None]


def _row(saga: SagaId, spans: CompletionSpans, logs: CompletionLogs | None) -> SagaRow | None:
    root, steps = _attributes(spans.root), tuple(dict.fromkeys(spans.steps or ()))
    if not _are_consistent(spans, logs) or root.get(semconv.SAGA_OUTCOME) in _FAILURES or _may_compensate(root, steps):
        return None
    key = SagaKey(saga.environment, spans.name or UNKNOWN_NAME, saga.id, spans.run)
    keys = _keys((*((logs and logs.keyed) or ()), *(spans.keyed or ())))
    updated_at = max(spans.updated_at, logs.updated_at if logs else 0)
    return SagaRow(
        key,
        Status.COMPLETED.value,
        None,
        None,
        None,
        steps,
        tuple(dict.fromkeys(spans.services or ())),
        spans.started_at,
        updated_at,
        spans.ended_at,
        None,
        keys,
        _document(key, spans, updated_at, root, keys),
    )


def _are_consistent(spans: CompletionSpans, logs: CompletionLogs | None) -> bool:
    """Returns whether each span was received once, and the log records are of the same saga and announce no other."""
    received = set(spans.ids)
    if len(received) < len(spans.ids):
        return False
    return logs is None or (
        logs.are_plain
        and logs.run == spans.run
        and logs.name in ("", spans.name)
        and received.issuperset(logs.announced or ())
    )


def _attributes(stored: Mapping[str, str]) -> Mapping[str, Any]:
    """Returns the attributes of a record; those in columns are None."""
    return attributes(stored["keys"], stored["values"])


def _may_compensate(root: Mapping[str, Any], steps: Iterable[str]) -> bool:
    """Returns whether a step may be a compensation by the declared plan."""
    declared = values.texts(root.get(semconv.PLAN_COMPENSATIONS))
    return bool(declared and set(declared).intersection(steps))


def _keys(keyed: Iterable[Mapping[str, str]]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for each in keyed:
        keys |= values.business_keys(_attributes(each))
    return values.listed_keys(keys)


def _document(
    key: SagaKey, spans: CompletionSpans, updated_at: int, root: Mapping[str, Any], keys: dict[str, str]
) -> str:
    """Returns `schemas.SagaSummary` as JSON, composed of cached pieces that many sagas share."""
    return (
        f'{{"id":{_text(key.id)},"name":{_text(key.name)},"run":{_text(key.run)},'
        f'"environment":{_text(key.environment)},{_COMPLETED},'
        f'"started_at":{_moment(spans.started_at)},"updated_at":{_moment(updated_at)},'
        f'"ended_at":{_moment(spans.ended_at)},{_NO_ERROR},"keys":{orjson.dumps(keys).decode()},'
        f"{_headline(spans.ended_at)},{_customer_line(key.name, root)}}}"
    )


def _members(**members: Any) -> str:
    return orjson.dumps(members).decode()[1:-1]


_COMPLETED: Final = _members(
    status=Status.COMPLETED.value, attention=None, phase=None, step=None, service=None, since=None
)
_NO_ERROR: Final = _members(attempts=0, error=None, amount_at_risk=[])


def _headline(ended_at: int) -> str:
    return _completed_at(ended_at // NANOSECONDS_PER_SECOND).replace(_MOMENT, _moment(ended_at))


@lru_cache(maxsize=1024)
def _completed_at(second: int) -> str:
    """Returns the headline and its parts, with `_MOMENT` as the placeholder of the exact time."""
    text = sentences(phrase("{} at {}", ENDED_WORDS[Status.COMPLETED], datetime_text(second * NANOSECONDS_PER_SECOND)))
    parts = [{"time": None} if isinstance(part, Time) else {"text": part} for part in text.parts]
    return _members(headline=text, headline_parts=parts).replace('{"time":null}', f'{{"time":{_MOMENT}}}')


_MOMENT: Final = "\x00"
"""A placeholder that does not occur unescaped in JSON."""


def _customer_line(name: str, root: Mapping[str, Any]) -> str:
    text = completed_line(name, values.amount(root.get(semconv.AMOUNT)), values.currency(root.get(semconv.CURRENCY)))
    return _members(customer_line=text, customer_line_parts=[{"text": part} for part in text.parts])


def _moment(at: int) -> str:
    return f'"{_second(at // NANOSECONDS_PER_SECOND)}.{at % NANOSECONDS_PER_SECOND // 1_000:06}Z"'


@lru_cache(maxsize=1024)
def _second(at: int) -> str:
    return to_datetime(at * NANOSECONDS_PER_SECOND).strftime("%Y-%m-%dT%H:%M:%S")


def _text(text: str) -> str:
    return orjson.dumps(text).decode()
