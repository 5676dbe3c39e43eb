"""What the server will do after a try failed, by the retry policy that it sent along."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError

from sagascope import semconv

MOST_DOUBLINGS = 64
"""Beyond so many the longest wait is reached whatever the coefficient."""


def after(info: activity.Info, error: BaseException) -> dict[str, Any]:
    """The attributes of a try that failed: the wait until the next, or that it was the last; nothing if unknown."""
    policy = info.retry_policy
    if policy is None or isinstance(error, (asyncio.CancelledError, CancelledError)):
        return {}
    wait = _wait(policy, info.attempt, error)
    if _is_last(policy, info.attempt, error) or _is_too_late(info, wait):
        return {semconv.STEP_MAX_ATTEMPTS: info.attempt}
    return {semconv.STEP_RETRY_IN: wait.total_seconds()}


def _wait(policy: RetryPolicy, attempt: int, error: BaseException) -> timedelta:
    if isinstance(error, ApplicationError) and error.next_retry_delay is not None:
        return error.next_retry_delay
    longest = policy.maximum_interval or policy.initial_interval * 100
    seconds = policy.initial_interval.total_seconds() * policy.backoff_coefficient ** min(attempt - 1, MOST_DOUBLINGS)
    return min(longest, timedelta(seconds=min(seconds, longest.total_seconds())))


def _is_last(policy: RetryPolicy, attempt: int, error: BaseException) -> bool:
    if policy.maximum_attempts and attempt >= policy.maximum_attempts:
        return True
    if isinstance(error, ApplicationError) and error.non_retryable:
        return True
    kind = error.type if isinstance(error, ApplicationError) else type(error).__name__
    return kind in (policy.non_retryable_error_types or ())


def _is_too_late(info: activity.Info, wait: timedelta) -> bool:
    """Whether the time for all tries together is over before the next."""
    if not info.schedule_to_close_timeout:
        return False
    return datetime.now(UTC) + wait >= info.scheduled_time + info.schedule_to_close_timeout
