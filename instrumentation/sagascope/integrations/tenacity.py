"""Retries of tenacity as the attempts of a step.

    for attempt in attempts("wallet.debit", Retrying(stop=stop_after_attempt(5), wait=wait_exponential())):
        with attempt:
            debit_the_wallet()

Each attempt carries its number, the number of the last attempt if the stop condition tells it, and the planned wait if
it failed and another attempt follows. With `AsyncRetrying`, use ``async for``.
"""

from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import closing
from inspect import isawaitable
from types import TracebackType
from typing import Any, Unpack

from tenacity import (
    AsyncRetrying,
    AttemptManager,
    BaseRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_unless_exception_type,
    stop_after_attempt,
)

from sagascope._errors import Guard
from sagascope._saga import RunningSaga
from sagascope._step import Attempt, StepOptions, step

_PLANNING = Guard("asking tenacity for the next wait")


def attempts(
    name: str, retrying: BaseRetrying, *, saga: RunningSaga | None = None, **options: Unpack[StepOptions]
) -> "Attempts":
    """Returns the attempts of a step, as tenacity makes them.

    Args:
        name: The name of the step.
        retrying: A `tenacity.Retrying`, or an `AsyncRetrying` for ``async for``.
        saga: The saga that the step belongs to. Default: the current one.
        **options: As for `sagascope.step`.
    """
    return Attempts(name, retrying, saga, options)


class Attempts:
    """Iterates over the attempts of a step; each is a context manager."""

    def __init__(self, name: str, retrying: BaseRetrying, saga: RunningSaga | None, options: StepOptions) -> None:
        self._name = name
        self._wait = _PlannedWait(retrying.wait)
        self._retrying = retrying.copy(wait=self._wait)
        self._saga = saga
        self._options: Any = {**options}
        max_attempts = _max_attempts(retrying.stop)
        if max_attempts is not None:
            self._options.setdefault("max_attempts", max_attempts)

    def __iter__(self) -> "Iterator[RetriedAttempt]":
        if not isinstance(self._retrying, Retrying):
            raise TypeError("use async for with AsyncRetrying")
        for manager in self._retrying:
            with closing(self._attempt(manager)) as attempt:
                yield attempt

    async def __aiter__(self) -> "AsyncIterator[RetriedAttempt]":
        if not isinstance(self._retrying, AsyncRetrying):
            raise TypeError("use for with Retrying")
        async for manager in self._retrying:
            with closing(self._attempt(manager)) as attempt:
                yield attempt

    def _attempt(self, manager: AttemptManager) -> "RetriedAttempt":
        options = {**self._options, "attempt": manager.retry_state.attempt_number}
        attempt: Attempt = (step if self._saga is None else self._saga.step)(self._name, **options)
        return RetriedAttempt(manager, attempt, self._retrying, self._wait)


class ResultRetried(Exception):
    """Tenacity retries because of the result of an attempt, which raised no error."""


class RetriedAttempt:
    """Tenacity's attempt and Sagascope's, as one context manager.

    Tenacity's condition may depend on the result, which is set after the block. Then the attempt ends when it is known.
    """

    def __init__(self, manager: AttemptManager, attempt: Attempt, retrying: BaseRetrying, wait: "_PlannedWait") -> None:
        self._manager = manager
        self._attempt = attempt
        self._retrying = retrying
        self._wait = wait
        self._awaits_result = False

    @property
    def retry_state(self) -> RetryCallState:
        """Tenacity's state of this attempt."""
        return self._manager.retry_state

    def __enter__(self) -> Attempt:
        return self._attempt.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        # first: it sets the outcome, which the conditions for a retry read
        suppressed = self._manager.__exit__(kind, error, trace)
        self._awaits_result = error is None and _depends_on_result(self._retrying.retry)
        if self._awaits_result:
            self._attempt.leave()
            return suppressed
        if error is not None:
            with _PLANNING:
                self._attempt.retry_in = self._retry_in()
        self._attempt.__exit__(kind, error, trace)
        return suppressed

    def close(self) -> None:
        """Ends an attempt that awaits its result."""
        if not self._awaits_result:
            return
        error = None
        with _PLANNING:
            if _unless_awaitable(self._retrying.retry(self.retry_state)):
                error = ResultRetried("its result is retried")
                self._attempt.retry_in = self._retry_in()
        self._attempt.__exit__(type(error) if error else None, error, None)

    def _retry_in(self) -> float | None:
        """Returns the seconds until the next attempt; None if there is none, or only a coroutine can tell."""
        state = self.retry_state
        if not _unless_awaitable(self._retrying.retry(state)):
            return None
        wait = _unless_awaitable(self._wait.plan(state))
        if wait is None:
            return None
        state.upcoming_sleep = wait  # read by stop conditions such as stop_before_delay
        stop = _unless_awaitable(self._retrying.stop(state))
        return float(wait) if stop is False else None


class _PlannedWait:
    """Returns the wait that was planned for an attempt, because a second call may return another random one."""

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


def _depends_on_result(retry: Any) -> bool:
    """Returns whether a condition may ask for a retry after an attempt without an error."""
    return not isinstance(retry, retry_if_exception) or isinstance(retry, retry_unless_exception_type)


def _max_attempts(stop: Any) -> int | None:
    """Returns the number of the last attempt, if the stop condition tells it."""
    if isinstance(stop, stop_after_attempt):
        return int(stop.max_attempt_number)
    numbers = [number for each in getattr(stop, "stops", ()) if (number := _max_attempts(each)) is not None]
    return min(numbers, default=None) if type(stop).__name__ == "stop_any" else None


def _unless_awaitable(answer: Any) -> Any:
    """Returns tenacity's answer; None in place of an awaitable, which is not awaited here."""
    if not isawaitable(answer):
        return answer
    if isinstance(answer, Coroutine):
        answer.close()
    return None
