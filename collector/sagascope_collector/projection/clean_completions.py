"""Computes summaries of cleanly completed sagas without rebuilding them: the bulk path under high load.

A property test verifies that they equal those of the general path. Doubtful cases are left to that path.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import orjson

from sagascope import semconv
from sagascope_collector.analysis import values
from sagascope_collector.analysis.headline import ENDED_WORDS
from sagascope_collector.analysis.ledger_text import completed_line
from sagascope_collector.analysis.model import UNKNOWN_NAME, Status
from sagascope_collector.analysis.wording import Time, dated, phrase, sentences
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import SagaKey
from sagascope_collector.storage import CleanCompletion, SagaRow

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_FAILURES: Final = (semconv.OUTCOME_COMPENSATED, semconv.OUTCOME_FAILED)


def row(end: CleanCompletion) -> SagaRow | None:
    """Returns the summary of a completed saga; None: it must be rebuilt."""
    root = end.root
    if not _is_completed(end, root) or _may_compensate(root, end.steps):
        return None
    key = SagaKey(end.environment, end.name or UNKNOWN_NAME, end.id, end.run)
    keys = _keys(end.keyed)
    return SagaRow(
        key,
        Status.COMPLETED.value,
        None,
        None,
        None,
        end.steps,
        end.services,
        end.started_at,
        end.updated_at,
        end.ended_at,
        None,
        keys,
        _document(key, end, root, keys),
    )


def _is_completed(end: CleanCompletion, root: Mapping[str, Any]) -> bool:
    outcome = root.get(semconv.SAGA_OUTCOME)
    if outcome == semconv.OUTCOME_COMPLETED:
        return True
    return outcome not in _FAILURES


def _may_compensate(root: Mapping[str, Any], steps: Iterable[str]) -> bool:
    """Returns whether a step may be a compensation by the declared plan."""
    declared = values.texts(root.get(semconv.PLAN_COMPENSATIONS))
    return bool(declared and set(declared).intersection(steps))


def _keys(marked: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for attributes in marked:
        keys |= values.business_keys(attributes)
    return dict(sorted(keys.items()))


def _document(key: SagaKey, end: CleanCompletion, root: Mapping[str, Any], keys: dict[str, str]) -> str:
    """Returns `schemas.SagaSummary` as JSON, composed of cached pieces that many sagas share."""
    return (
        f'{{"id":{_text(key.id)},"name":{_text(key.name)},"run":{_text(key.run)},'
        f'"environment":{_text(key.environment)},{_COMPLETED},'
        f'"started_at":{_moment(end.started_at)},"updated_at":{_moment(end.updated_at)},'
        f'"ended_at":{_moment(end.ended_at)},{_NO_ERROR},"keys":{orjson.dumps(keys).decode()},'
        f"{_headline(end.ended_at)},{_customer_line(key.name, root)}}}"
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
    text = sentences(phrase("{} at {}", ENDED_WORDS[Status.COMPLETED], dated(second * NANOSECONDS_PER_SECOND)))
    parts = [{"time": None} if isinstance(part, Time) else {"text": part} for part in text.parts]
    return _members(headline=text, headline_parts=parts).replace('{"time":null}', f'{{"time":{_MOMENT}}}')


_MOMENT: Final = "\x00"
"""A placeholder that does not occur unescaped in JSON."""


def _customer_line(name: str, root: Mapping[str, Any]) -> str:
    text = completed_line(name, values.amount(root.get(semconv.AMOUNT)), values.text(root.get(semconv.CURRENCY)))
    return _members(customer_line=text, customer_line_parts=[{"text": part} for part in text.parts])


def _moment(at: int) -> str:
    return f'"{_second(at // NANOSECONDS_PER_SECOND)}.{at % NANOSECONDS_PER_SECOND // 1_000:06}Z"'


@lru_cache(maxsize=1024)
def _second(at: int) -> str:
    return (_EPOCH + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S")


def _text(text: str) -> str:
    return orjson.dumps(text).decode()


def rows(ends: Iterable[CleanCompletion]) -> Sequence[SagaRow]:
    """Returns the summaries of the sagas that completed."""
    return [made for each in ends if (made := row(each)) is not None]
