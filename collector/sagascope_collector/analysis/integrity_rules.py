"""Integrity rules: committed work that is wrong until corrected, whether or not the saga makes progress."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.analysis import ledger
from sagascope_collector.analysis.case import Case, Finding, StepAttempt
from sagascope_collector.analysis.context import IN_TRANSIT_SECONDS
from sagascope_collector.analysis.deadlines import is_overdue
from sagascope_collector.analysis.ledger import StepEffect, effective_attempts, effects_by_name
from sagascope_collector.analysis.model import (
    IN_EFFECT_STATES,
    Attempt,
    AttemptState,
    Confidence,
    LedgerState,
    Phase,
    Step,
    StepState,
)
from sagascope_collector.analysis.order import is_proven_after, took_effect_after
from sagascope_collector.attention_codes import AttentionCode


class _Pair(NamedTuple):
    """Two executions, or a compensation and an execution after it."""

    first: Attempt
    second: Attempt
    is_proven: bool
    """Whether no other order of the attempts, in which nothing is wrong, is possible."""


def applied_twice(case: Case) -> Finding | None:
    """A step or a compensation took effect twice, or a step after its compensation."""
    executed = (_executed_twice(effect, case.saga.restarts) for effect in reversed(case.step_effects))
    compensations = (step for step in case.saga.steps if step.phase is Phase.COMPENSATION)
    items = effects_by_name(case.step_effects)
    compensated = (_compensated_twice(step, items.get(step.compensates or "", ())) for step in compensations)
    pair = next((pair for pair in chain(executed, compensated) if pair is not None), None)
    return None if pair is None or _may_records_be_in_transit(case, pair) else _finding_of(case, pair)


def _may_records_be_in_transit(case: Case, pair: _Pair) -> bool:
    """Whether records of a compensation or an execution between the two may still be in transit."""
    views = (*pair.first.views, *pair.second.views)
    return not case.clock.is_late(max((case.known_at(view) for view in views), default=0), 0)


def _executed_twice(effect: StepEffect, restarts: Sequence[int]) -> _Pair | None:
    """Returns the execution that should not have happened, after the execution or the compensation before it."""
    executed, compensated = effect.executed, effect.compensated
    earlier: Attempt | None = None
    for each in executed:
        between = [one for one in compensated if took_effect_after(each, one)]
        is_reversed = earlier is not None and any(took_effect_after(one, earlier) for one in between)
        is_proven = earlier is None or not _may_any_be_between(effect.compensation_attempts, earlier, each)
        # compensated and then executed, without an earlier execution that the compensation reversed
        if (
            between
            and not is_reversed
            and not any((between[-1].finished_at or 0) <= restart <= each.called_at for restart in restarts)
        ):
            return _Pair(between[-1], each, is_proven and not restarts and is_proven_after(each, between[-1]))
        if earlier is not None and not any(took_effect_after(one, earlier) for one in between):
            return _Pair(earlier, each, is_proven and _are_reported_alike(earlier, each))
        earlier = each
    return None


def _compensated_twice(step: Step, items: Sequence[StepEffect]) -> _Pair | None:
    """``items`` holds the effects of the step that is compensated."""
    compensated = effective_attempts(step.attempts)
    if len(compensated) < 2:
        return None
    of_item = [effect for effect in items if effect.key == step.key]
    effects = of_item or items
    executed = [each for effect in effects for each in effect.executed]
    if not of_item and len(compensated) <= len(executed):
        return None  # without a key, each may have compensated another item
    possible = [each for effect in effects for each in effect.attempts if each.state is not AttemptState.ERROR]
    for index, each in enumerate(compensated[1:]):
        earlier = compensated[index]
        if not any(took_effect_after(one, earlier) and took_effect_after(each, one) for one in executed):
            is_proven = len(possible) < 2 or not _may_any_be_between(possible, earlier, each)
            return _Pair(earlier, each, is_proven and _are_reported_alike(earlier, each))
    return None


def _are_reported_alike(one: Attempt, other: Attempt) -> bool:
    """Whether the same service reports both as steps.

    If only one was reported by its executor, the other may be an answer that the executor kept from the first.
    """
    services = [
        [view.process.service for view in each.views if view.mark.role == semconv.ROLE_STEP][-1:]
        for each in (one, other)
    ]
    return services[0] == services[1]


def _may_any_be_between(attempts: Iterable[Attempt], earlier: Attempt, later: Attempt) -> bool:
    """Whether one of these attempts may have taken effect after one execution and before another."""
    return any(
        each.state is not AttemptState.ERROR
        and not is_proven_after(each, later)
        and not (each.state is AttemptState.OK and is_proven_after(earlier, each))
        for each in attempts
    )


def _finding_of(case: Case, pair: _Pair) -> Finding:
    step_attempts = {id(each.attempt): each for each in case.step_attempts}
    first, second = step_attempts[id(pair.first)], step_attempts[id(pair.second)]
    # the missing records may include a compensation between the two
    is_doubtful = case.saga.lacks_records or not pair.is_proven
    confidence = Confidence.POSSIBLE if is_doubtful else Confidence.CERTAIN
    service = second.attempt.process.service or None
    reason = AttentionCode.APPLIED_TWICE
    return Finding.of_attempt(reason, second, service, case.stopped_at, confidence, other=first)


def compensation_failed(case: Case) -> Finding | None:
    """A compensation failed permanently, and its step is still committed, or may be as no other step was read."""
    for each in reversed(case.step_attempts):
        step, attempt = each
        if (
            step.phase is not Phase.COMPENSATION
            or attempt is not step.attempts[-1]
            or step.state is not StepState.FAILED
        ):
            continue
        is_unread = case.has_unread_steps
        if step.compensates in case.saga.relied_on:
            continue
        if (is_unread or _is_committed(case, each)) and _has_failed_for_good(case, attempt):
            service = case.service_of(step.name)
            reason = AttentionCode.COMPENSATION_FAILED
            # the missing records may include a later attempt
            is_doubtful = is_unread or (case.saga.lacks_records and not ledger.is_last_allowed(attempt))
            confidence = Confidence.POSSIBLE if is_doubtful else Confidence.CERTAIN
            return Finding.of_attempt(reason, each, service, case.stopped_at, confidence)
    return None


def _is_committed(case: Case, compensation: StepAttempt) -> bool:
    """Whether its item is certainly still committed; where that is unknown, a step of another name that is."""
    step, attempt = compensation
    if step.compensates is None:
        return any(effect.committed and effect.name != step.name for effect, _ in case.effects)
    return any(
        entry.state is LedgerState.COMPENSATION_FAILED and any(one is attempt for one in effect.compensation_attempts)
        for effect, entry in case.effects
    )


def _has_failed_for_good(case: Case, attempt: Attempt) -> bool:
    if not ledger.has_ended(case.saga.status) or ledger.is_last_allowed(attempt):
        return ledger.is_for_good(attempt, case.saga.status)
    return case.clock.is_late(case.end_known_at, IN_TRANSIT_SECONDS)


def uncompensated(case: Case) -> Finding | None:
    """The saga ended or was given up, and a committed step with a compensation was not compensated."""
    if case.has_unread_steps and case.clock.is_late(case.end_known_at, IN_TRANSIT_SECONDS):
        return Finding(
            AttentionCode.UNCOMPENSATED,
            Phase.COMPENSATION,
            step=None,
            service=None,
            since=case.saga.ended_at or 0,
            confidence=Confidence.POSSIBLE,
            subject=case.last,
        )
    uncompensated_effect = next(_left_committed(case), None)
    if uncompensated_effect is None or not _is_abandoned(case):
        return None
    effect, state = uncompensated_effect
    step = next(step for step in case.saga.steps if step.name == effect.name and step.key == effect.key)
    latest = (ledger.left_open(effect) if state is LedgerState.UNKNOWN else effect.executed)[-1]
    doubtful = state in ledger.POSSIBLE_STATES
    doubtful |= case.saga.superseded_by is not None or case.saga.other_run is not None
    reported_at = case.reported_since(step.service, case.since)
    confidence = Confidence.LIKELY if reported_at and not doubtful else Confidence.POSSIBLE
    reason = AttentionCode.UNCOMPENSATED
    phase = Phase.COMPENSATION
    service = case.service_of(step.name)
    return Finding(reason, phase, step.name, service, case.since, confidence, subject=StepAttempt(step, latest))


def _left_committed(case: Case) -> Iterator[tuple[StepEffect, LedgerState]]:
    """The committed steps that have a compensation and are not compensated, the latest first.

    A newer run may continue with the steps that an older run committed; then only steps that it committed again remain.
    No step remains on which another run relies.
    """
    superseded = case.saga.superseded_by is not None
    for effect, entry in reversed(case.effects):
        if effect.name in case.saga.relied_on or (superseded and effect.name not in case.saga.repeated_by_newer):
            continue
        retried = effect.retried
        if retried and not case.clock.is_late(
            retried.finished_at or 0, (retried.retry_in or 0) + case.context.default_timeout
        ):
            continue
        if effect.compensation and entry.state in IN_EFFECT_STATES and not ledger.is_pending(effect, case.saga.status):
            yield effect, entry.state


def _is_abandoned(case: Case) -> bool:
    """Whether the saga ended, or a step failed permanently and nothing followed in time."""
    if ledger.has_ended(case.saga.status):
        return case.clock.is_late(case.end_known_at, IN_TRANSIT_SECONDS)
    failed = case.failing
    if failed is None or case.in_flight:
        return False
    if not ledger.is_for_good(failed.attempt, case.saga.status):
        return False
    return is_overdue(case, failed)
