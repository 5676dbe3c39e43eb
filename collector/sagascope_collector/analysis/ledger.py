"""The ledger: the committed and compensated attempts of each step."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sagascope import semconv
from sagascope_collector.analysis.model import Attempt, AttemptState, LedgerEntry, LedgerState, Plan, Status, Step
from sagascope_collector.analysis.order import called_after, took_effect_after
from sagascope_collector.analysis.values import total


@dataclass(slots=True)
class StepEffect:
    """All attempts of one step and key in order of start, and those that took effect."""

    name: str
    key: str
    attempts: Sequence[Attempt] = ()
    compensation_attempts: Sequence[Attempt] = ()
    votes: Sequence[Attempt] = ()
    shares_compensation: bool = False
    """Whether no key tells for which of several items its compensation is."""
    may_be_of_other_items: bool = False
    """Whether the compensation is for a part of these items only: fewer keys, or a smaller amount, were received."""
    rollbacks: Sequence[Attempt] = ()
    """The rollbacks of a two-phase commit. They discard a vote; no commit is ever reversed by one."""
    compensation: str | None = None
    """The step that compensates this step: as planned, else as observed; None if unknown."""
    executed: Sequence[Attempt] = ()
    """The attempts that took effect."""
    compensated: Sequence[Attempt] = ()
    """The compensations that took effect."""
    committed: Sequence[Attempt] = ()
    """The attempts that took effect and were not compensated afterwards."""
    retried: Attempt | None = None
    """A failed compensation that started after the saga's end and announced a retry: it goes on without the saga."""
    at: int = 0
    """The time at which it last took effect, else started. Compensations run in the reverse of this order."""

    @property
    def label(self) -> str:
        """The step's name for sentences, with its item: ``pick (item-1)``."""
        return f"{self.name} ({self.key})" if self.key else self.name


def step_effects(steps: Sequence[Step], plan: Plan, ended_at: int | None) -> list[StepEffect]:
    """Returns one record for each step and key that was attempted, in the order in which they took effect."""
    effects = _effects_of(steps)
    _add_compensations(steps, effects)
    compensations = {step.name: step.compensation for step in plan.steps}
    for effect in effects.values():
        effect.compensation = compensations.get(effect.name) or effect.compensation
        _find_effective(effect)
        for each in effect.compensation_attempts[-1:]:
            is_retried = each.retry_in is not None and not is_last_allowed(each)
            if each.state is AttemptState.ERROR and is_retried and ended_at and each.called_at > ended_at:
                effect.retried = each
    return sorted(effects.values(), key=lambda each: (each.at, each.name, each.key))


def _effects_of(steps: Iterable[Step]) -> dict[tuple[str, str], StepEffect]:
    effects: dict[tuple[str, str], StepEffect] = {}
    for step in steps:
        if not step.attempts or semconv.TABLE_STATE in step.attempts[0].views[0].attributes:
            continue
        if step.type != semconv.TYPE_COMPENSATION:
            effect = effects.get((step.name, step.key))
            if effect is None:
                effect = effects[step.name, step.key] = StepEffect(step.name, step.key)
            _add_attempts(effect, step)
    return effects


def _add_attempts(effect: StepEffect, step: Step) -> None:
    if step.type == semconv.TYPE_ROLLBACK:
        effect.rollbacks = step.attempts
    elif step.type == semconv.TYPE_PREPARE:
        effect.votes = step.attempts
    else:
        effect.attempts = (*effect.attempts, *step.attempts) if effect.attempts else step.attempts


def _add_compensations(steps: Iterable[Step], effects: Mapping[tuple[str, str], StepEffect]) -> None:
    """Adds each compensation to the effect with the same key; without a key, to all effects of that step.

    One whose key is not that of an effect is added to those without a compensation of their own.
    """
    items = effects_by_name(effects.values())
    of_other_items: dict[str, list[Step]] = {}
    for step in steps:
        if step.type != semconv.TYPE_COMPENSATION or not step.attempts or step.compensates is None:
            continue
        if same := effects.get((step.compensates, step.key)):
            _compensate(same, step)
        elif step.key:
            of_other_items.setdefault(step.compensates, []).append(step)
        else:
            _compensate_each(items.get(step.compensates, ()), [step])
    for name, compensations in of_other_items.items():
        left = [effect for effect in items.get(name, ()) if not effect.compensation_attempts]
        _compensate_each(left, compensations)
        for effect in left:
            effect.may_be_of_other_items |= len(compensations) < len(left)


def _compensate_each(effects: Sequence[StepEffect], compensations: Sequence[Step]) -> None:
    """Adds compensations to several items, since no key tells to which of them they belong."""
    executed = [each.amount for effect in effects for each in effective_attempts(effect.attempts)]
    compensated = [each.amount for step in compensations for each in effective_attempts(step.attempts)]
    # an amount that is not reported may be any: then nothing shows that the compensations are smaller
    is_known = bool(compensated) and None not in compensated
    is_partial = is_known and _total_without_signs(compensated) < _total_without_signs(executed)
    for effect in effects:
        effect.shares_compensation = len(effects) > 1
        effect.may_be_of_other_items = is_partial and len(effects) > 1
        for step in compensations:
            _compensate(effect, step)


def _total_without_signs(amounts: Iterable[Decimal | None]) -> Decimal:
    """Returns the sum of the reported amounts; some report what moves back as a negative amount."""
    return total(each.copy_abs() for each in amounts if each is not None)


def _compensate(effect: StepEffect, step: Step) -> None:
    effect.compensation_attempts = (*effect.compensation_attempts, *step.attempts)
    effect.compensation = step.name


def effects_by_name(effects: Iterable[StepEffect]) -> dict[str, list[StepEffect]]:
    """Returns the effects of each step's items, by the step's name."""
    found: dict[str, list[StepEffect]] = {}
    for effect in effects:
        found.setdefault(effect.name, []).append(effect)
    return found


def _find_effective(effect: StepEffect) -> None:
    effect.executed = committed = effective_attempts(effect.attempts)
    if effect.compensation_attempts and not effect.may_be_of_other_items:
        effect.compensated = compensated = effective_attempts(effect.compensation_attempts)
        committed = [
            each
            for each in effect.executed
            if all(took_effect_after(each, compensation) for compensation in compensated)
        ]
    effect.committed = committed
    for each in effect.executed or effect.attempts or effect.votes:
        effect.at = max(effect.at, each.finished_at or each.called_at)


OPEN_STATES = (AttemptState.UNKNOWN, AttemptState.IN_FLIGHT)
"""States of attempts that may have been committed, although no result was received."""


def entries_with_attempts(
    effects: Iterable[StepEffect], plan: Plan, status: Status, *, is_complete: bool
) -> list[LedgerEntry]:
    """Returns the ledger entries of everything that was attempted, in the order in which it took effect.

    ``is_complete``: no telemetry of the saga may be missing.
    """
    is_known = plan.compensations_known
    not_compensable = {step.name for step in plan.steps if is_known and step.compensation is None}
    return [_entry(effect, status, not_compensable, is_complete=is_complete) for effect in effects]


def entries_without_attempts(
    steps: Iterable[Step], plan: Plan, entries: Iterable[LedgerEntry], not_done: Collection[str]
) -> list[LedgerEntry]:
    """Returns the ledger entries of steps without a received attempt: compensated ones, then planned ones.

    ``not_done`` holds the planned steps that certainly took no effect.
    """
    seen = {entry.step for entry in entries}
    states, names = dict[str, LedgerState](), dict[str, str | None]()
    for step in steps:
        if step.compensates is not None and step.compensates not in seen:
            is_compensated = bool(effective_attempts(step.attempts))
            names[step.compensates] = step.name
            states[step.compensates] = LedgerState.COMPENSATED if is_compensated else LedgerState.UNKNOWN
    names |= {step.name: step.compensation or names.get(step.name) for step in plan.steps if step.name not in seen}
    states |= dict.fromkeys(not_done, LedgerState.NOT_DONE)
    return [LedgerEntry(name, names[name], states.get(name, LedgerState.NOT_SEEN), None, None) for name in names]


def _entry(effect: StepEffect, status: Status, not_compensable: set[str], *, is_complete: bool) -> LedgerEntry:
    valued = _first_with_amount(effect.committed, effect.executed, effect.attempts, effect.votes)
    is_not_compensable = effect.compensation is None and effect.name in not_compensable
    state = _state(effect, status, is_not_compensable=is_not_compensable)
    if state is LedgerState.NOT_DONE and not _is_over(effect, status, is_complete=is_complete):
        state = LedgerState.NOT_SEEN
    return LedgerEntry(
        effect.name,
        effect.compensation,
        state,
        valued.amount if valued else None,
        valued.currency if valued else None,
        is_not_compensable,
        effect.key,
        compensated_amount(effect) if state is LedgerState.COMPENSATED else None,
        any(each.state is not AttemptState.OK for each in further(effect)),
    )


def compensated_amount(effect: StepEffect) -> Decimal | None:
    """Returns the amount that was compensated, where compensations of one execution report another in all."""
    if len(effect.executed) != 1 or effect.shares_compensation or not effect.compensated:
        return None
    executed = effect.executed[0]
    for each in (executed, *effect.compensated):
        if each.amount is None or (each.currency or executed.currency) != (executed.currency or each.currency):
            return None
    compensated = _total_without_signs(each.amount for each in effect.compensated)
    return None if compensated == _total_without_signs([executed.amount]) else compensated


def _is_over(effect: StepEffect, status: Status, *, is_complete: bool) -> bool:
    """Whether it is certain that no unreceived attempt of a failed step took effect.

    An earlier unreceived attempt may have; so may a later one, if more attempts are allowed and telemetry may be
    missing, or if the saga completed. A saga that compensates, or ended otherwise, has abandoned the step.
    """
    attempts = effect.attempts or effect.votes
    if not attempts or has_gap(attempts):
        return False
    if effect.attempts and is_last_allowed(effect.attempts[-1]):
        return True
    if attempts[-1].state is not AttemptState.ERROR or status is Status.COMPLETED:
        return False
    return is_complete or status is not Status.RUNNING


def _first_with_amount(*groups: Iterable[Attempt]) -> Attempt | None:
    """The first attempt with an amount, committed attempts first."""
    for attempts in groups:
        for each in attempts:
            if each.amount is not None:
                return each
    return None


def _state(effect: StepEffect, status: Status, *, is_not_compensable: bool) -> LedgerState:
    if effect.committed:
        return _state_of_committed(effect, status, is_not_compensable=is_not_compensable)
    if left_open(effect):
        return LedgerState.UNKNOWN
    is_any_done = any(each.state is not AttemptState.ERROR for each in (*effect.attempts, *effect.votes))
    return LedgerState.COMPENSATED if is_any_done and _reversals(effect) else LedgerState.NOT_DONE


def left_open(effect: StepEffect) -> list[Attempt]:
    """Returns the attempts and votes of unknown effect that no compensation and no rollback was called after.

    An attempt with the idempotency key of an earlier success has no effect of its own.
    """
    reversals = _reversals(effect)
    votes = [each for each in effect.votes if each.state is AttemptState.OK]
    return [each for each in (*votes, *_unanswered(effect)) if all(called_after(each, one) for one in reversals)]


def _unanswered(effect: StepEffect) -> list[Attempt]:
    """Returns the attempts of unknown outcome whose idempotency key is not that of a success."""
    keys = {each.idempotency_key for each in effect.executed if each.idempotency_key}
    return [each for each in effect.attempts if each.state in OPEN_STATES and each.idempotency_key not in keys]


def _reversals(effect: StepEffect) -> Sequence[Attempt]:
    return (*effect.compensated, *effective_attempts(effect.rollbacks))


def _state_of_committed(effect: StepEffect, status: Status, *, is_not_compensable: bool) -> LedgerState:
    if effect.retried is not None and not effect.compensated:
        return LedgerState.COMPENSATING
    if effect.compensation_attempts and not effect.compensated:
        return _state_of_compensation(effect.compensation_attempts, status)
    return LedgerState.NOT_COMPENSABLE if is_not_compensable else LedgerState.COMMITTED


def _state_of_compensation(attempts: Sequence[Attempt], status: Status) -> LedgerState:
    latest = attempts[-1]
    is_done = any(each.state is AttemptState.OK for each in attempts)  # of one of several items; which is not known
    if (
        is_done
        or any(may_be_done(each, status) for each in attempts)
        or has_gap(attempts)
        or status is Status.COMPENSATED
    ):
        return LedgerState.COMPENSATION_UNKNOWN
    if latest.state is AttemptState.ERROR and is_for_good(latest, status):
        return LedgerState.COMPENSATION_FAILED
    return LedgerState.COMPENSATING


def has_gap(attempts: Sequence[Attempt]) -> bool:
    """Whether an attempt before one of these was not received."""
    return len({each.number for each in attempts}) < max(each.number for each in attempts)


def is_for_good(attempt: Attempt, status: Status) -> bool:
    """Whether a failed attempt was the last one: the saga has ended, or no further attempt is allowed."""
    return has_ended(status) or is_last_allowed(attempt)


def is_last_allowed(attempt: Attempt) -> bool:
    """Whether no attempt is allowed after this one."""
    return attempt.max_attempts is not None and attempt.number >= attempt.max_attempts


def has_ended(status: Status) -> bool:
    """Whether the saga has ended."""
    return status is Status.COMPLETED or status is Status.COMPENSATED or status is Status.FAILED


def may_be_done(attempt: Attempt, status: Status) -> bool:
    """Whether the outcome is unknown: it was reported as unknown, or no caller waits for the attempt any longer."""
    if attempt.state is AttemptState.UNKNOWN:
        return True
    return attempt.state is AttemptState.IN_FLIGHT and (has_ended(status) or is_abandoned(attempt))


def is_pending(effect: StepEffect, status: Status) -> bool:
    """Whether a step is unknown only because its attempt is in flight, so that nothing has to be compensated yet."""
    is_prepared = any(each.state is AttemptState.OK for each in effect.votes)
    return not effect.committed and not is_prepared and not any(may_be_done(each, status) for each in effect.attempts)


def is_abandoned(attempt: Attempt) -> bool:
    """Whether the caller abandoned an attempt that is still in flight in its executor."""
    caller = attempt.views[0]
    return len(attempt.views) > 1 and caller.end > 0 and caller.status == "error"


POSSIBLE_STATES = (LedgerState.UNKNOWN, LedgerState.COMPENSATION_UNKNOWN)
"""States in which it is unknown whether the step, or its compensation, took effect."""


def further(effect: StepEffect) -> Sequence[Attempt]:
    """Returns the attempts that may be in effect besides what its state tells: no result and no key excludes it.

    Each compensation may have reversed one of them, unless it is still in flight.
    """
    unknown = _unanswered(effect)
    if effect.committed:
        return unknown
    in_flight = [each for each in unknown if each.state is AttemptState.IN_FLIGHT]
    is_compensated = effect.compensated and not left_open(effect)
    return ([*effect.executed, *unknown][len(effect.compensated) :] or in_flight) if is_compensated else ()


def effective_attempts(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Returns the attempts that took effect, in order: the successful attempts, one for each idempotency key."""
    if len(attempts) == 1:
        return attempts if attempts[0].state is AttemptState.OK else ()
    seen: set[str] = set()
    effective: list[Attempt] = []
    for each in attempts:
        if each.state is not AttemptState.OK or each.idempotency_key in seen:
            continue
        if each.idempotency_key:
            seen.add(each.idempotency_key)
        effective.append(each)
    return effective
