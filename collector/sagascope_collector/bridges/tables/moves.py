"""What it means that a row says something else than when it was told last. Pure."""

from collections.abc import Container, Iterable, Iterator
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector.bridges.tables.mapping import Table
from sagascope_collector.bridges.tables.place import Open, Try
from sagascope_collector.bridges.tables.rows import Row
from sagascope_collector.bridges.tables.states import ENDED, State

COUNTED: Final = 9
"""Attempts before the first that was seen, of which a row only counts that they were, told at most."""

FLYING: Final = frozenset({State.PENDING, State.STARTED, State.COMPENSATING})
FAILED: Final = frozenset({State.RETRYING, State.FAILED, State.COMPENSATION_FAILED})
UNDOING: Final = frozenset({State.COMPENSATING, State.COMPENSATED, State.COMPENSATION_FAILED})


class Told(NamedTuple):
    """An attempt that is in flight, or has ended."""

    attempt: Try
    end: int = 0
    """0: it is in flight."""
    failed: bool = False
    error: bool = False
    """Whether it is this attempt's error that the row says."""


class Move(NamedTuple):
    """What is to be told of a row."""

    row: Row
    is_new: bool
    """Whether nothing was told of it before."""
    since: int
    attempts: list[Told]
    end: int
    """When the row ended; 0: it is in flight."""
    outcome: str | None
    """Of the saga, once a row that stands for it has ended."""
    after: Open | None
    """What is to be remembered of it."""


def move(table: Table, before: Open | None, row: Row, *, is_first: bool = False) -> Move:
    """What a row, which says when it changed, tells; given what was told of it before.

    `is_first` says that nothing can have been told of it, also not that it had ended.
    """
    row = _meant(table, before, row)
    since = before.since if before else row.started or row.changed
    at = max(since, row.ended or row.changed) if row.state in ENDED else row.changed
    old = before.attempt if before else None
    new = _current(table, row, before, at)
    attempts = list(_attempts(table, row, old, new, at))
    done = (*(before.done if before else ()), *_done(attempts))
    if new and _is_news(table, row, new, done, is_first=is_first, is_known=before is not None):
        attempts.insert(0, Told(_undone(table, row, new, since), since))
    return _moved(before, row, since, at, new, attempts)


def _moved(before: Open | None, row: Row, since: int, at: int, new: Try | None, attempts: list[Told]) -> Move:
    undoing = row.state in UNDOING or bool(new and _is_undo(new)) or bool(before and before.is_undoing)
    if row.state in ENDED:
        return Move(row, before is None, since, attempts, at, _outcome(row.state, undoing=undoing), None)
    last = new and new.model_copy(update={"is_over": row.state in FAILED})
    done = (*(before.done if before else ()), *_done(attempts))
    after = Open(row=row, since=since, attempt=last, is_undoing=undoing, done=done)
    return Move(row, before is None, since, attempts, 0, None, after)


def _outcome(state: State, *, undoing: bool) -> str:
    if state in FAILED:
        return semconv.OUTCOME_FAILED
    return semconv.OUTCOME_COMPENSATED if undoing else semconv.OUTCOME_COMPLETED


def _done(attempts: Iterable[Told]) -> Iterator[tuple[str, str]]:
    """Steps, with their keys, that were done."""
    for told in attempts:
        if told.end and not told.failed and not _is_undo(told.attempt):
            yield told.attempt.step, told.attempt.step_key


def _is_news(
    table: Table, row: Row, new: Try, done: Container[tuple[str, str]], *, is_first: bool, is_known: bool
) -> bool:
    """Whether it was never told that the step was done that is undone now.

    A row that has ended is forgotten, and may be met again: then only the first look knows that nothing was told.
    """
    if not new.compensates or (new.compensates, new.step_key) in done:
        return False
    if table.holds == "steps":
        return is_first and new.compensates == row.step
    return is_first or is_known or row.state not in ENDED


def _is_undo(attempt: Try) -> bool:
    return attempt.type == semconv.TYPE_COMPENSATION


def is_begun(table: Table, row: Row) -> bool:
    """Whether a row tells of anything: a saga does even before its first step."""
    return row.state is not State.SKIPPED and (table.holds == "sagas" or row.state is not State.PENDING)


def _meant(table: Table, before: Open | None, row: Row) -> Row:
    """What a row means: a step that waits again is retried; a saga that names no step, but could, is at its state."""
    if table.holds == "steps" and row.state is State.PENDING and before:
        return row.model_copy(update={"state": State.RETRYING})
    if row.step or table.holds == "steps" or table.columns.step is None or row.state in ENDED:
        return row
    at = before.attempt.step if before and before.attempt and row.state is State.RETRYING else row.word
    return row.model_copy(update={"step": at})


def _current(table: Table, row: Row, before: Open | None, at: int) -> Try | None:
    """The attempt that a row is at; None: it is at none."""
    if not row.step or not is_begun(table, row):
        return None
    begun = _begun(table, row, at)
    is_own = table.holds == "sagas" or row.step == begun.step
    same = before.attempt if before and before.attempt and before.attempt.is_of(begun) else None
    number = _number(table, row, same) if is_own else 1
    if same and same.number == number:
        return same
    times = 1 if before is None else 1 + before.done.count((begun.step, begun.step_key))
    repetition = same.repetition if same else times
    is_first = table.holds == "steps" and number == 1 and is_own
    since = row.started if is_first and row.started else at
    return begun.model_copy(update={"number": number, "repetition": repetition, "since": since})


def _begun(table: Table, row: Row, at: int) -> Try:
    """The first try of the step that a row is at."""
    undone = row.compensates or table.undoes.get(row.step, "")
    is_undo = bool(undone) or row.state in UNDOING
    is_named = bool(undone) or not is_undo or row.step == row.word
    return Try(
        step=row.step if is_named else f"undo {row.step}",
        step_key=row.step_key,
        type=semconv.TYPE_COMPENSATION if is_undo else semconv.TYPE_ACTION,
        compensates=undone or ("" if is_named else row.step),
        number=1,
        since=at,
    )


def _number(table: Table, row: Row, same: Try | None) -> int:
    """Which attempt it is; where the row does not count, one that begins after one that failed is the next."""
    if row.attempt is None:
        return 1 if same is None else same.number + (same.is_over and row.state in FLYING)
    further = table.counts == "failures" and row.state not in FAILED
    return max(1, row.attempt + further)


def _attempts(table: Table, row: Row, old: Try | None, new: Try | None, at: int) -> Iterator[Told]:
    if old and not old.is_over and (new is None or old != new):
        yield _left(row, old, new, at)
    if new is None:
        return
    if old is None or new != old:
        yield from _counted(table, row, old, new)
    if row.state in FLYING:
        if new != old or new.is_over:
            yield Told(new)
    elif row.state not in FAILED or new != old or not new.is_over:
        yield Told(new, max(new.since, at), row.state in FAILED, error=row.state in FAILED)


def _left(row: Row, old: Try, new: Try | None, at: int) -> Told:
    """The end of an attempt that the row is no more at."""
    end = max(old.since, at)
    tried_again = new is not None and old.is_of(new)
    given_up = old.type == semconv.TYPE_ACTION and row.state in UNDOING and (new is None or new.compensates != old.step)
    failed = tried_again or given_up or (new is None and row.state in FAILED)
    return Told(old, end, failed, error=failed)


def _undone(table: Table, row: Row, new: Try, since: int) -> Try:
    """The step that is undone: it had been done, nobody knows when."""
    number = max(1, row.attempt or 1) if table.holds == "steps" else 1
    said = {"step": new.compensates, "type": semconv.TYPE_ACTION, "compensates": "", "number": number}
    return new.model_copy(update={**said, "since": since})


def _counted(table: Table, row: Row, old: Try | None, new: Try) -> Iterator[Told]:
    """Attempts of which a row says no more than that they were; the last error is that of the latest that failed."""
    known = old.number if old and old.is_of(new) else 0
    at = (table.holds == "steps" and row.started) or new.since
    for number in range(max(known + 1, new.number - COUNTED), new.number):
        is_latest = number == new.number - 1 and row.state in FLYING
        yield Told(new.model_copy(update={"number": number, "since": at}), at, failed=True, error=is_latest)
