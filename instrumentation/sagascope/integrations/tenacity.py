"""Tenacity's retries as the attempts of a step.

    for attempt in attempts("wallet.debit", Retrying(stop=stop_after_attempt(5), wait=wait_exponential())):
        with attempt:
            debit_the_wallet()

Each try is an attempt with its number, with the number of the last one where the stop says it, and with the planned
wait where it failed and another follows. With `AsyncRetrying`: ``async for``.
"""

from collections.abc import AsyncIterator, Coroutine, Iterator
from inspect import isawaitable
from types import TracebackType
from typing import Any, Unpack

from tenacity import AsyncRetrying, AttemptManager, BaseRetrying, RetryCallState, Retrying, stop_after_attempt

from sagascope._guard import Guard
from sagascope._saga import RunningSaga
from sagascope._step import Attempt, StepOptions, step

_PLANNING = Guard("asking tenacity for the next wait")


def attempts(
    name: str, retrying: BaseRetrying, *, saga: RunningSaga | None = None, **options: Unpack[StepOptions]
) -> "Tries":
    """The tries of a step, as tenacity makes them.

    Args:
        name: What the step is called.
        retrying: A `tenacity.Retrying`, or an `AsyncRetrying` for ``async for``.
        saga: The saga that the step belongs to; the current one if it is left out.
        **options: As in `sagascope.StepOptions`.
    """
    return Tries(name, retrying, saga, options)


class Tries:
    """Iterates over the tries of a step; each is a context manager."""

    def __init__(self, name: str, retrying: BaseRetrying, saga: RunningSaga | None, options: StepOptions) -> None:
        self._name = name
        self._waits = _Waits(retrying.wait)
        self._retrying = retrying.copy(wait=self._waits)
        self._saga = saga
        self._options: Any = {**options}
        last = _last_attempt(retrying.stop)
        if last is not None:
            self._options.setdefault("max_attempts", last)

    def __iter__(self) -> "Iterator[Try]":
        if not isinstance(self._retrying, Retrying):
            raise TypeError("use async for with AsyncRetrying")
        for attempt in self._retrying:
            yield self._try(attempt)

    async def __aiter__(self) -> "AsyncIterator[Try]":
        if not isinstance(self._retrying, AsyncRetrying):
            raise TypeError("use for with Retrying")
        async for attempt in self._retrying:
            yield self._try(attempt)

    def _try(self, attempt: AttemptManager) -> "Try":
        told = {**self._options, "attempt": attempt.retry_state.attempt_number}
        made: Attempt = self._saga.step(self._name, **told) if self._saga is not None else step(self._name, **told)
        return Try(attempt, made, self._retrying, self._waits)


class Try:
    """One try: tenacity's attempt and Sagascope's, together."""

    def __init__(self, attempt: AttemptManager, made: Attempt, retrying: BaseRetrying, waits: "_Waits") -> None:
        self._attempt = attempt
        self._made = made
        self._retrying = retrying
        self._waits = waits

    @property
    def retry_state(self) -> RetryCallState:
        """Tenacity's state of this try."""
        return self._attempt.retry_state

    def __enter__(self) -> Attempt:
        return self._made.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        swallowed = self._attempt.__exit__(kind, error, trace)
        if error is not None:
            with _PLANNING:
                self._made.retry_in = self._planned_wait()
        self._made.__exit__(kind, error, trace)
        return swallowed

    def _planned_wait(self) -> float | None:
        """Seconds until the next try; None where there will be none, or only a coroutine can tell."""
        state = self.retry_state
        if not _known(self._retrying.retry(state)):
            return None
        wait = _known(self._waits.plan(state))
        if wait is None:
            return None
        state.upcoming_sleep = wait
        stop = _known(self._retrying.stop(state))
        return float(wait) if stop is False else None


class _Waits:
    """A wait that was asked for already is the one that is kept: it may be random."""

    def __init__(self, wait: Any) -> None:
        self._wait = wait
        self._planned: tuple[int, Any] | None = None

    def plan(self, state: RetryCallState) -> Any:
        wait = self._wait(state)
        if not isawaitable(wait):
            self._planned = (state.attempt_number, wait)
        return wait

    def __call__(self, state: RetryCallState) -> Any:
        planned, self._planned = self._planned, None
        if planned is not None and planned[0] == state.attempt_number:
            return planned[1]
        return self._wait(state)


def _last_attempt(stop: Any) -> int | None:
    """The number of the last attempt, where the stop says it."""
    if isinstance(stop, stop_after_attempt):
        return int(stop.max_attempt_number)
    numbers = [number for each in getattr(stop, "stops", ()) if (number := _last_attempt(each)) is not None]
    return min(numbers, default=None) if type(stop).__name__ == "stop_any" else None


def _known(answer: Any) -> Any:
    """What tenacity was asked; None where only a coroutine could tell, which is not awaited here."""
    if not isawaitable(answer):
        return answer
    if isinstance(answer, Coroutine):
        answer.close()
    return None
