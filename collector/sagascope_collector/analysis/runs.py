"""What the runs of one id say of each other: a newer run ends the older, which may have continued as it."""

from collections.abc import Iterable
from dataclasses import replace

from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.model import AttemptState, LedgerState, Saga, Status

COMMITTED = (LedgerState.COMMITTED, LedgerState.COMPENSATING, LedgerState.COMPENSATION_FAILED)


def linked(sagas: Iterable[Saga]) -> list[Saga]:
    """The sagas behind one id, each with what the other runs of its name tell of it."""
    by_name: dict[str, list[Saga]] = {}
    for saga in sagas:
        by_name.setdefault(saga.key.name, []).append(saga)
    return [saga for runs in by_name.values() for saga in (_chained(runs) if len(runs) > 1 else runs)]


def _chained(runs: list[Saga]) -> list[Saga]:
    ordered = sorted(runs, key=lambda saga: (saga.started_at, saga.key))
    chained = [ordered[-1]]
    for older, newer in zip(ordered[-2::-1], ordered[:0:-1], strict=True):
        linked_older = _followed(older, newer)
        if linked_older.continued_as == newer.key:
            chained[-1] = replace(chained[-1], continued_from=older.key)
        chained.append(linked_older)
    return chained


def _followed(older: Saga, newer: Saga) -> Saga:
    """The older of two runs, given that the newer one began."""
    if older.continued_as is not None:
        known = older.continued_as.run
        return older if known and known != newer.key.run else replace(older, continued_as=newer.key)
    if has_ended(older.status) or older.updated_at > newer.started_at:
        return older
    ended = replace(older, ended_at=newer.started_at, awaited_event=None, blocked=())
    if _shares_a_trace(older, newer):
        return replace(ended, status=Status.COMPLETED, continued_as=newer.key, amount_at_risk=())
    repeated = _repeated(older, newer)
    return replace(ended, status=Status.FAILED, superseded_by=newer.key, repeated_by_newer=repeated)


def _shares_a_trace(older: Saga, newer: Saga) -> bool:
    """Whether the newer run was begun by the older one, which handed its context on."""
    if older.root is None or newer.root is None:
        return False
    return older.root.trace_id == newer.root.trace_id


def _repeated(older: Saga, newer: Saga) -> frozenset[str]:
    """What both have committed, each for itself: with one idempotency key, the receiver did it once."""
    kept = {line.step for line in older.ledger if line.state in COMMITTED}
    return frozenset(name for name in kept if not _keys(older, name) & _keys(newer, name) and _keys(newer, name))


def _keys(saga: Saga, name: str) -> set[str]:
    """The idempotency keys with which a step succeeded; of one without a key, one of its own."""
    return {
        attempt.idempotency_key or f"{attempt.trace_id} {attempt.span_id}"
        for step in saga.steps
        if step.name == name
        for attempt in step.attempts
        if attempt.state is AttemptState.OK
    }
