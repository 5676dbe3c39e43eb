"""Sagas that ended plainly well, summarised without being rebuilt: at a flood there is no time for more.

What is said here agrees with the fold and the judge, to the letter: a property test holds it. Whatever is in doubt is
left to them.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import orjson

from sagascope import semconv
from sagascope_collector.records import SagaKey
from sagascope_collector.sagas import values
from sagascope_collector.sagas.identity import UNKNOWN
from sagascope_collector.sagas.model import Status
from sagascope_collector.sagas.values import SECOND
from sagascope_collector.sagas.words import dated, money, sentence
from sagascope_collector.store.contract import PlainEnd, SagaRow

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_FAILURES: Final = (semconv.OUTCOME_COMPENSATED, semconv.OUTCOME_FAILED)


def row(end: PlainEnd) -> SagaRow | None:
    """The summary of a saga that was completed; None: it is to be rebuilt."""
    root, course = end.root, end.course
    if not _is_completed(end, root) or _undoes(root, course.steps):
        return None
    key = SagaKey(end.environment, course.name or UNKNOWN, end.id, end.run)
    keys = _keys(end.told)
    return SagaRow(
        key,
        Status.COMPLETED.value,
        None,
        None,
        None,
        course.steps,
        course.services,
        end.started_at,
        end.updated_at,
        end.ended_at,
        None,
        keys,
        _document(key, end, root, keys),
    )


def _is_completed(end: PlainEnd, root: dict[str, Any]) -> bool:
    outcome = root.get(semconv.SAGA_OUTCOME)
    if outcome == semconv.OUTCOME_COMPLETED:
        return True
    return outcome not in _FAILURES and not end.course.has_failed


def _undoes(root: dict[str, Any], steps: Iterable[str]) -> bool:
    """Whether a step may be an undo by the plan that was declared."""
    declared = values.texts(root.get(semconv.PLAN_COMPENSATIONS))
    return bool(declared and set(declared).intersection(steps))


def _keys(told: Iterable[dict[str, Any]]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for attributes in told:
        keys |= values.business_keys(attributes)
    return dict(sorted(keys.items()))


def _document(key: SagaKey, end: PlainEnd, root: dict[str, Any], keys: dict[str, str]) -> str:
    """The `wire.SagaSummary` as JSON, put together of pieces: most of them are those of many sagas."""
    return (
        f'{{"id":{_text(key.id)},"name":{_text(key.name)},"run":{_text(key.run)},'
        f'"environment":{_text(key.environment)},{_COMPLETED},'
        f'"started_at":{_moment(end.started_at)},"updated_at":{_moment(end.updated_at)},'
        f'"ended_at":{_moment(end.ended_at)},{_NO_TROUBLE},"keys":{orjson.dumps(keys).decode()},'
        f'"headline":{_headline(end.ended_at // SECOND)},"customer_line":{_customer_line(key.name, root)}}}'
    )


def _members(**told: Any) -> str:
    return orjson.dumps(told).decode()[1:-1]


_COMPLETED: Final = _members(
    status=Status.COMPLETED.value, attention=None, phase=None, step=None, service=None, since=None
)
_NO_TROUBLE: Final = _members(attempts=0, error=None, exposure=[])


@lru_cache(maxsize=1024)
def _headline(second: int) -> str:
    return _text(sentence(f"Completed on {dated(second * SECOND)}"))


def _customer_line(name: str, root: dict[str, Any]) -> str:
    amount = values.amount(root.get(semconv.AMOUNT))
    whole = "" if amount is None else f" of {money(amount, values.text(root.get(semconv.CURRENCY)))}"
    return _text(f"The {name}{whole} went through.")


def _moment(at: int) -> str:
    return f'"{_second(at // SECOND)}.{at % SECOND // 1_000:06}Z"'


@lru_cache(maxsize=1024)
def _second(at: int) -> str:
    return (_EPOCH + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S")


def _text(text: str) -> str:
    return orjson.dumps(text).decode()


def rows(ends: Iterable[PlainEnd]) -> Sequence[SagaRow]:
    """The summaries of those that were completed."""
    return [made for each in ends if (made := row(each)) is not None]
