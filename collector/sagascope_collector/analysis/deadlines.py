"""Deadlines of attempts, next steps and retries, and the forecast of a step that keeps failing."""

from collections.abc import Iterator
from typing import NamedTuple

from sagascope_collector.analysis import ledger
from sagascope_collector.analysis.case import Case, Finding, StepAttempt
from sagascope_collector.analysis.model import IN_EFFECT_STATES, Attempt, AttemptState, Phase
from sagascope_collector.analysis.values import MAX_TIMESTAMP_NS
from sagascope_collector.analysis.wording import Text, phrase
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Process

NEVER_NS = MAX_TIMESTAMP_NS
"""The deadline of a wait for an event without a timeout."""


LOGGED_PAUSE_SECONDS = 600.0
"""Minimum seconds without a log record after which a step that only log records report is overdue."""


class Deadline(NamedTuple):
    """A start, and the seconds until the deadline, not counting ingest outages."""

    start: int
    seconds: float
    known: bool = True
    """Whether it was declared or configured; False for a learned or default one."""


def of_attempt(case: Case, in_flight_attempt: StepAttempt) -> Deadline:
    """The deadline of an attempt in flight."""
    step, attempt = in_flight_attempt
    start = attempt.started_at + attempt.offset
    wait = _wait_until(case, attempt)
    if wait is not None and wait > start:
        return Deadline(wait, 0)
    deadline = _deadline(case, step.name, attempt, start)
    if deadline.known:
        return deadline
    if attempt.logged_until:  # a log record shows that work goes on; its absence does not show that the work ended
        pause = max(LOGGED_PAUSE_SECONDS, deadline.seconds, case.saga.longest_pause or 0)
        return deadline._replace(start=attempt.logged_until, seconds=pause)
    return deadline._replace(start=max(start, _latest_inside(case, in_flight_attempt)))


def is_late(case: Case, deadline: Deadline) -> bool:
    """Whether a deadline has passed."""
    return case.clock.is_late(deadline.start, deadline.seconds)


def of_next(case: Case, step: str | None, start: int) -> Deadline:
    """The deadline of the next step, or of the saga's close, counted from ``start``."""
    start = max(start, case.saga.resumed_at)
    wait = _wait_until(case, case.last.attempt if case.last else None)
    if wait is not None and wait > start:
        return Deadline(wait, 0)
    transition_limits = case.baseline.transition_limits.get(case.last.step.name) if case.last else None
    return _deadline(case, step, None, start, transition_limits)


def _of_next_attempt(case: Case, failed: StepAttempt) -> Deadline:
    """The deadline of the retry of a failed attempt, or of what follows the last one."""
    finished_at = failed.attempt.finished_at or 0
    wait = _wait_until(case, failed.attempt)
    if wait is not None and wait > finished_at:
        return Deadline(wait, 0)
    start = finished_at + round((failed.attempt.retry_in or 0) * NANOSECONDS_PER_SECOND)
    deadline = _deadline(case, failed.step.name, failed.attempt, start)
    if ledger.is_for_good(failed.attempt, case.saga.status) and (unseen := _unseen_compensation(case)):
        duration = _deadline(case, unseen, None, start, case.baseline.duration_limits.get(unseen))
        return max(deadline, duration, key=lambda each: each.seconds)
    return deadline


def _unseen_compensation(case: Case) -> str | None:
    """The next compensation, if it will be seen at its end only: its step was reported by such an executor alone."""
    effect = case.next_compensation
    attempted = case.step(effect.name) if effect is not None else None
    views = attempted.attempts[-1].views if attempted is not None else ()
    is_unseen = len(views) == 1 and views[0].kind != "client" and not case.liveness.sends_heartbeats(views[0].process)
    return effect.compensation if effect is not None and is_unseen else None


def _deadline(
    case: Case, step: str | None, attempt: Attempt | None, start: int, baseline_seconds: float | None = None
) -> Deadline:
    """The first known deadline of: the attempt's timeout, the plan's, the setting, the baseline, the default."""
    planned = case.saga.plan.step(step) if step else None
    declared = attempt.timeout if attempt else None
    seconds = declared or (planned and planned.timeout) or case.context.step_timeouts.get((case.type[1], step or ""))
    if seconds:
        return Deadline(start, seconds)
    baseline_seconds = baseline_seconds or (case.baseline.duration_limits.get(step or "") if attempt else None)
    return Deadline(start, baseline_seconds or case.context.default_timeout, known=False)


def _wait_until(case: Case, attempt: Attempt | None) -> int | None:
    """The latest intended wait of this attempt, of later attempts, or of the whole saga."""
    if case.saga.awaited_event is not None:
        timeout = case.saga.timeout
        return case.started_at + round(timeout * NANOSECONDS_PER_SECOND) if timeout else NEVER_NS
    if not case.saga.waits:
        return None
    starts = [case.at(view.process, view.start) for view in attempt.views] if attempt else [0]
    start = min(starts, default=attempt.started_at if attempt else 0)
    deadlines = [wait.until for wait in case.saga.waits if wait.whole or wait.declared_at >= start]
    return max(deadlines, default=None)


def _latest_inside(case: Case, in_flight_attempt: StepAttempt) -> int:
    """The latest progress of the attempts inside an attempt, which is not late while they make progress."""
    views = {id(view) for view in in_flight_attempt.attempt.views}
    inside = [
        each.attempt.finished_at or each.attempt.called_at
        for each in case.step_attempts
        if each.attempt is not in_flight_attempt.attempt
        and any(id(above) in views for above in case.tree.above(each.attempt.views[0]))
    ]
    return max(inside, default=0)


MIN_CONSECUTIVE_FAILURES = 3
"""Minimum number of consecutive failed attempts for `retrying`."""

BACKOFF_FACTOR = 2
"""Factor by which an unannounced wait may exceed the longest earlier wait; `MAX_BACKOFF_FACTOR` for an engine's."""

MAX_EXTRA_WAIT_NS = 3_600 * NANOSECONDS_PER_SECOND
"""Maximum nanoseconds by which an unannounced wait may exceed the longest earlier wait."""


def overdue_retry(case: Case) -> StepAttempt | None:
    """The latest failed attempt of a retried step whose next attempt is overdue."""
    return next((each for each in retried_steps(case) if is_overdue(case, each)), None)


def is_overdue(case: Case, failed: StepAttempt) -> bool:
    """Whether the attempt after this failed attempt is overdue.

    An orchestrator may wait for the parallel steps before it retries or compensates, unless it announced the retry.
    """
    latest = failed.step.attempts[-1]
    if latest.state is AttemptState.IN_FLIGHT and not latest.is_only_requested:
        return False
    if failed.attempt.retry_in is None and any(_is_parallel(case, failed, each) for each in case.in_flight):
        return False
    return is_late(case, of_retry(case, failed))


def of_retry(case: Case, failed: StepAttempt) -> Deadline:
    """The deadline of the next attempt; if its wait was not announced, from earlier waits and the parallel steps."""
    deadline = _of_next_attempt(case, failed)
    if failed.attempt.retry_in is not None:
        return deadline
    parallel = [each.attempt.finished_at or 0 for each in case.step_attempts if _is_parallel(case, failed, each)]
    deadline = deadline._replace(start=max([deadline.start, *parallel]))
    failures = consecutive_failures(failed)
    if len(failures) < MIN_CONSECUTIVE_FAILURES or ledger.is_for_good(failed.attempt, case.saga.status):
        return deadline
    ends = [each.attempt.finished_at or each.attempt.called_at for each in failures]
    waits = [max(after.attempt.called_at - end, 0) for end, after in zip(ends, failures[1:], strict=False)]
    is_engine_retry = failed.step.attempts[-1].is_only_requested
    factor = MAX_BACKOFF_FACTOR if is_engine_retry else BACKOFF_FACTOR
    next_due = ends[-1] + round(min(factor * max(waits), max(waits) + MAX_EXTRA_WAIT_NS))
    return deadline._replace(start=max(deadline.start, next_due))


def _is_parallel(case: Case, failed: StepAttempt, other: StepAttempt) -> bool:
    """Whether another step was called before this attempt failed, by the same caller and not by way of the other."""
    if other.step is failed.step or other.attempt.called_at >= (failed.attempt.finished_at or 0):
        return False
    return not any(above in other.attempt.views for above in case.tree.above(failed.attempt.views[0]))


def lost_retrier(case: Case) -> tuple[StepAttempt, Process] | None:
    """Returns (latest failed attempt, process that should retry it) if that process is lost; else None.

    Another instance of its service may retry instead, until the next attempt is overdue.
    """
    failed = case.failing
    if failed is None or case.root is not None or not is_retried(case, failed):
        return None
    process = failed.attempt.views[0].process if failed.attempt.views else failed.attempt.process
    if not case.liveness.is_lost(process):
        return None
    may_be_replaced = case.liveness.replacement(process) is not None
    return None if may_be_replaced and not is_overdue(case, failed) else (failed, process)


def is_retried(case: Case, failed: StepAttempt) -> bool:
    """Whether another attempt is expected: it was announced, or there were several attempts."""
    if ledger.is_for_good(failed.attempt, case.saga.status):
        return False
    return failed.attempt.retry_in is not None or len(consecutive_failures(failed)) >= MIN_CONSECUTIVE_FAILURES


def is_retrier_lost(case: Case, finding: Finding) -> bool:
    """Whether the finding is that the process that should retry a failed attempt is lost."""
    subject = finding.subject
    if (
        finding.reason is not AttentionCode.INSTANCE_LOST
        or subject is None
        or subject.attempt is not subject.step.attempts[-1]
    ):
        return False
    has_failed = subject.attempt.state in (AttemptState.ERROR, AttemptState.UNKNOWN)
    return has_failed and finding.step == subject.step.name and is_retried(case, subject)


def consecutive_failures(latest: StepAttempt) -> list[StepAttempt]:
    """The failed attempts of a step after its last success, earliest first."""
    failures: list[StepAttempt] = []
    for attempt in reversed(latest.step.attempts):
        if attempt.state is AttemptState.OK:
            break
        if attempt.state is not AttemptState.IN_FLIGHT:
            failures.append(StepAttempt(latest.step, attempt))
    return failures[::-1]


def retried_steps(case: Case) -> Iterator[StepAttempt]:
    """The latest failed attempt of each step that is still retried after `MIN_CONSECUTIVE_FAILURES` failures."""
    for each in reversed(case.step_attempts):
        step, attempt = each
        ended = (one for one in reversed(step.attempts) if one.state is not AttemptState.IN_FLIGHT)
        if attempt is not next(ended, None) or ledger.is_for_good(attempt, case.saga.status):
            continue
        if len(consecutive_failures(each)) >= MIN_CONSECUTIVE_FAILURES and not _was_followed(case, each):
            yield each


def _was_followed(case: Case, failed: StepAttempt) -> bool:
    """Whether a compensation of this step or of the saga followed, or a step that waits for it in the plan."""
    if failed.step.phase is Phase.COMPENSATION:
        return False
    return any(
        each.attempt.called_at >= failed.attempt.answered_at
        and (each.step.phase is Phase.COMPENSATION or case.waits_for(each.step, failed.step))
        for each in case.step_attempts
    )


MAX_ATTEMPTS_AHEAD = 1_000
"""Maximum number of future attempts in a forecast."""

MAX_FORECAST_WAIT_NS = 86_400 * NANOSECONDS_PER_SECOND
"""Maximum nanoseconds between two future attempts in a forecast."""

MAX_BACKOFF_FACTOR = 10.0
"""Maximum growth factor from one wait between attempts to the next."""


class Forecast(NamedTuple):
    """The forecast of a step that keeps failing."""

    next_attempt: int
    last_attempt_ends: int | None
    """The time at which the last allowed attempt will have failed; None if the limit is unknown."""
    compensated: int
    """Number of steps that are compensated after that."""


def forecast(case: Case, failed: StepAttempt) -> Forecast | None:
    """Returns the forecast of a failed attempt; None if no next attempt was announced or its time has passed."""
    latest = failed.attempt
    if latest.retry_in is None or latest.finished_at is None:
        return None
    next_attempt = latest.finished_at + round(latest.retry_in * NANOSECONDS_PER_SECOND)
    if next_attempt <= case.clock.now:
        return None
    case.clock.reevaluate_at(next_attempt)
    is_reversible = failed.step.phase is Phase.FORWARD and case.saga.passed_pivot is None
    committed = [entry for _, entry in case.effects if entry.state in IN_EFFECT_STATES and entry.compensation]
    compensated = {entry.step for entry in committed} - {failed.step.name}
    ends = _last_attempt_ends(case, failed, next_attempt)
    return Forecast(next_attempt, ends, len(compensated) if is_reversible else 0)


def forecast_text(case: Case, failed: StepAttempt) -> Text:
    """Returns the forecast as a sentence, without times in the past; empty if there is no forecast."""
    coming = forecast(case, failed)
    if coming is None:
        return Text()
    text = phrase("the next attempt is due at {}", case.time_text(coming.next_attempt))
    if coming.last_attempt_ends is None:
        return text
    text = phrase("{}, the last attempt ends by {}", text, case.time_text(coming.last_attempt_ends))
    if not coming.compensated:
        return text
    steps = f"{coming.compensated} step{'s are' if coming.compensated > 1 else ' is'}"
    return phrase("{}, and then {} compensated", text, steps)


def _last_attempt_ends(case: Case, failed: StepAttempt, next_attempt: int) -> int | None:
    """The time when the last allowed attempt fails, if attempts last as long as the latest and waits grow as before."""
    latest, limit = failed.attempt, failed.attempt.max_attempts
    saga_deadline = case.started_at + round(case.saga.timeout * NANOSECONDS_PER_SECOND) if case.saga.timeout else None
    left = (limit or 0) - latest.number
    if limit is None or left > MAX_ATTEMPTS_AHEAD:
        return saga_deadline
    took = max((latest.finished_at or 0) - latest.called_at, 0)
    wait, growth, at = (latest.retry_in or 0) * NANOSECONDS_PER_SECOND, _growth(failed.step.attempts), next_attempt
    for number in range(max(left, 1)):
        at += took + (round(wait) if number else 0)
        wait = min(wait * growth, MAX_FORECAST_WAIT_NS)
    return at if saga_deadline is None else min(at, saga_deadline)


def _growth(attempts: tuple[Attempt, ...]) -> float:
    waits = [each.retry_in for each in attempts if each.retry_in]
    return min(max(waits[-1] / waits[-2], 1.0), MAX_BACKOFF_FACTOR) if len(waits) > 1 else 1.0
