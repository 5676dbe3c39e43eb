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
        key=key,
        status=Status.COMPLETED.value,
        attention=None,
        step=None,
        service=None,
        steps=course.steps,
        services=course.services,
        started_at=end.started_at,
        updated_at=end.updated_at,
        ended_at=end.ended_at,
        due_at=None,
        keys=keys,
        document=_document(key, end, root, keys),
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
    """The `wire.SagaSummary` as JSON."""
    amount = values.amount(root.get(semconv.AMOUNT))
    whole = "" if amount is None else f" of {money(amount, values.text(root.get(semconv.CURRENCY)))}"
    told = {
        "id": key.id,
        "name": key.name,
        "run": key.run,
        "environment": key.environment,
        "status": Status.COMPLETED.value,
        **_NOTHING,
        "started_at": _moment(end.started_at),
        "updated_at": _moment(end.updated_at),
        "ended_at": _moment(end.ended_at),
        **_NO_TROUBLE,
        "keys": keys,
        "headline": sentence(f"Completed on {_dated(end.ended_at // SECOND)}"),
        "customer_line": f"The {key.name}{whole} went through.",
    }
    return orjson.dumps(told).decode()


_NOTHING: Final = dict.fromkeys(("attention", "phase", "step", "service", "since"))
_NO_TROUBLE: Final[dict[str, Any]] = {"attempts": 0, "error": None, "exposure": []}


def _moment(at: int) -> str:
    return f"{_second(at // SECOND)}.{at % SECOND // 1_000:06}Z"


@lru_cache(maxsize=1024)
def _second(at: int) -> str:
    return (_EPOCH + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S")


_dated: Final = lru_cache(maxsize=1024)(lambda second: dated(second * SECOND))


def rows(ends: Iterable[PlainEnd]) -> Sequence[SagaRow]:
    """The summaries of those that were completed."""
    return [made for each in ends if (made := row(each)) is not None]
