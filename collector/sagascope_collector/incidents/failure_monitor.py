"""Finds saga types and steps that fail more often than usual, although no single saga needs attention."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from sagascope_collector import analysis
from sagascope_collector.analysis.model import AttemptState, Saga
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.incident_records import FailedSaga, FailureRate, IncidentGroup
from sagascope_collector.incidents.affected_sagas import Cause, error_text, fingerprint
from sagascope_collector.incidents.failure_rate import (
    BASELINE_SECONDS,
    HOUR_SECONDS,
    MIN_FAILED,
    MINUTES_KEPT_SECONDS,
    WINDOW_SECONDS,
    History,
    departure,
    first_minute,
)
from sagascope_collector.incidents.lifecycle import Incident, State
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage

FAILURE_RATE: Final = "failure_rate"
"""The reason of these incidents."""

EVALUATION_INTERVAL_SECONDS: Final = 2.0
STEP_EVALUATION_INTERVAL_SECONDS: Final = 10.0

MIN_PAUSE_FACTOR: Final = 20
"""Minimum wait before the next evaluation, as a multiple of the CPU time of the last one."""

AGE_INTERVAL_SECONDS: Final = 3_600.0

SAMPLED_SAGAS: Final = 25
"""Maximum number of failed sagas whose records are read to find their most common error."""

EXAMPLES: Final = 5

STEP_WINDOW_SECONDS: Final = (300, 3_600)
"""Windows in seconds for failure rates of steps; sagas are counted, not attempts."""


class SagaFailure(NamedTuple):
    """The failure that ended a saga: its last failed step. Unknown texts are ``""``."""

    step: str
    service: str
    error: str
    fingerprint: str


NO_FAILURE: Final = SagaFailure("", "", "", "")


class _Sample(NamedTuple):
    failed: int
    """Number of failed sagas."""
    failed_when_read: int
    """Number of failed sagas when their records were read."""
    latest: FailedSaga | None
    examples: tuple[str, ...]
    failure: SagaFailure


def failure_rate_key(environment: str, name: str, step: str = "") -> str:
    """Returns the key of the incident of the failure rate of a saga type, or of one of its steps."""
    return Cause(environment, name, step, "forward", FAILURE_RATE, "").key


def last_failure(saga: Saga, at: str = "") -> SagaFailure:
    """Returns the failure that ended a saga, or the last failure of a given step, which may have succeeded since."""
    failed = [
        (attempt.finished_at or 0, step, attempt)
        for step in saga.steps
        if (step.name == at if at else not step.compensates)
        for attempt in (step.attempts if at else step.attempts[-1:])
        if attempt.state is AttemptState.ERROR or (attempt.error and attempt.state is AttemptState.UNKNOWN)
    ]
    if not failed:
        return NO_FAILURE
    _, step, attempt = max(failed, key=lambda each: each[0])
    error = attempt.error
    return SagaFailure(
        step.name, attempt.process.service, error_text(error), fingerprint(error.type, error.message) if error else ""
    )


class FailureRates:
    """Monitors the failure rates of all saga types of one store. Used by one thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._groups: Mapping[str, IncidentGroup] = {}
        self._samples: dict[str, _Sample] = {}
        self._step_groups: Mapping[str, IncidentGroup] = {}
        self._next_evaluation = self._next_step_evaluation = self._next_aging = 0.0

    def groups(self, known: Mapping[str, Incident], now: int) -> Mapping[str, IncidentGroup]:
        """Returns the failed sagas of each type whose failure rate has left its baseline, by the incident's key.

        The counts are updated every `EVALUATION_INTERVAL_SECONDS`.

        Args:
            known: The current incidents, by key.
            now: The time in nanoseconds since 1970.

        Raises:
            StorageUnavailable: The sagas cannot be counted.
        """
        if time.monotonic() < self._next_evaluation:
            return self._groups
        started = time.thread_time()
        seconds = now // NANOSECONDS_PER_SECOND
        outcomes = self._storage.outcomes
        types = set(outcomes.failing_types(seconds - WINDOW_SECONDS[-1], MIN_FAILED))
        ongoing = [each for each in known.values() if _is_open(each)]
        types |= {(each.environment, each.name) for each in ongoing}
        minutes_from = first_minute(seconds, (each.since // NANOSECONDS_PER_SECOND for each in ongoing))
        counts = outcomes.counts(types, seconds - BASELINE_SECONDS, minutes_from) if types else {}
        groups = {}
        for (environment, name), periods in counts.items():
            key = failure_rate_key(environment, name)
            found = departure(periods, seconds, _history(known.get(key)), minutes_from=minutes_from)
            if found:
                groups[key] = self._group(key, environment, name, found.since, found.rate, now)
        self._step_groups = self._of_steps(known, groups, now)
        groups |= self._step_groups
        self._samples = {key: sample for key, sample in self._samples.items() if key in groups}
        self._groups = groups
        self._age(seconds)
        took = time.thread_time() - started  # CPU time, not the clock: a busy machine must not delay an incident more
        self._next_evaluation = time.monotonic() + max(EVALUATION_INTERVAL_SECONDS, MIN_PAUSE_FACTOR * took)
        return groups

    def _of_steps(
        self, known: Mapping[str, Incident], failing: Mapping[str, IncidentGroup], now: int
    ) -> Mapping[str, IncidentGroup]:
        """Returns the continuing sagas with errors at each step whose failure rate has left its baseline.

        Sagas that fail, or are stuck at that step, already belong to an incident and open no second one.
        """
        if time.monotonic() < self._next_step_evaluation:
            return self._step_groups
        groups, seconds = {}, now // NANOSECONDS_PER_SECOND
        hour_ago = first_minute(seconds)
        stuck = {
            (each.environment, each.name, each.step)
            for each in known.values()
            if each.failure_rate is None and each.count >= MIN_FAILED
        }
        counts = self._storage.outcomes.step_counts(seconds - BASELINE_SECONDS, hour_ago, MIN_FAILED)
        for (environment, name, step), periods in counts.items():
            key = failure_rate_key(environment, name, step)
            history = _history(known.get(key))
            evaluate = partial(
                departure, now=seconds, history=history, minutes_from=hour_ago, windows=STEP_WINDOW_SECONDS
            )
            is_covered = failure_rate_key(environment, name) in failing or (environment, name, step) in stuck
            if (history.open_since is None and is_covered) or evaluate(periods) is None:
                continue
            # counting attempts is cheap; counting sagas is exact: a saga that is retried forever counts once
            latest = self._storage.outcomes.step_sagas(environment, name, step, hour_ago * NANOSECONDS_PER_SECOND, now)
            before = [each for each in periods if each.start < hour_ago]
            found = evaluate([*before, *latest])
            if found:
                rate = found.rate._replace(step=step)
                groups[key] = self._group(key, environment, name, found.since, rate, now)
        self._next_step_evaluation = time.monotonic() + STEP_EVALUATION_INTERVAL_SECONDS
        return groups

    def _age(self, seconds: int) -> None:
        if time.monotonic() >= self._next_aging:
            self._storage.outcomes.age(
                seconds - MINUTES_KEPT_SECONDS - HOUR_SECONDS, seconds - BASELINE_SECONDS - HOUR_SECONDS
            )
            self._next_aging = time.monotonic() + AGE_INTERVAL_SECONDS

    def _group(
        self, key: str, environment: str, name: str, since_seconds: int, rate: FailureRate, now: int
    ) -> IncidentGroup:
        since = since_seconds * NANOSECONDS_PER_SECOND
        sample = self._samples.get(key)
        if sample is None or rate.failed != sample.failed:
            sample = self._samples[key] = self._sample(environment, name, since, now, rate, sample)
        latest_at = sample.latest.ended_at if sample.latest else since
        return IncidentGroup(
            key=key,
            environment=environment,
            name=name,
            step=rate.step or sample.failure.step,
            service=sample.failure.service,
            phase="forward",
            reason=FAILURE_RATE,
            fingerprint=sample.failure.fingerprint,
            error=sample.failure.error,
            count=rate.failed,
            since=since,
            middle=latest_at,
            latest_at=latest_at,
            joined_at=now,
            examples=sample.examples,
            recommended_actions={"resume": 0, "compensate": 0, "verify_first": 0},
            amounts=(),
            failure_rate=rate,
        )

    def _sample(
        self, environment: str, name: str, since: int, now: int, rate: FailureRate, before: _Sample | None
    ) -> _Sample:
        """Returns the latest failed sagas and their most common failure.

        Records are read again after the number has doubled.
        """
        outcomes, failed = self._storage.outcomes, rate.failed
        if rate.step:
            sagas = outcomes.failed_at_step(environment, name, rate.step, since, now, SAMPLED_SAGAS)
        else:
            sagas = outcomes.failed(environment, name, since, now, SAMPLED_SAGAS)
        examples = tuple(each.key.id for each in sagas[:EXAMPLES])
        latest = sagas[0] if sagas else None
        if before and failed < 2 * before.failed_when_read:
            return before._replace(failed=failed, latest=latest, examples=examples)
        return _Sample(failed, failed, latest, examples, self._most_common_failure(sagas, rate.step, now))

    def _most_common_failure(self, sagas: Sequence[FailedSaga], step: str, now: int) -> SagaFailure:
        if not sagas:
            return NO_FAILURE
        keys = {each.key for each in sagas}
        facts = self._storage.lookup.facts(list(dict.fromkeys(SagaId(key.environment, key.id) for key in keys)))
        failures = [
            last_failure(saga, step)
            for each in facts.values()
            for saga in analysis.rebuild(each, now)
            if step or saga.key in keys
        ]
        known = [each for each in failures if each.step]
        if not known:
            return NO_FAILURE
        causes = Counter((each.step, each.service, each.fingerprint) for each in known)
        most_common = causes.most_common(1)[0][0]
        return next(each for each in known if (each.step, each.service, each.fingerprint) == most_common)


def _is_open(incident: Incident) -> bool:
    return incident.failure_rate is not None and not incident.failure_rate.step and incident.state is not State.RESOLVED


def _history(incident: Incident | None) -> History:
    if incident is None:
        return History()
    is_open = incident.state is not State.RESOLVED
    return History(
        open_since=incident.since // NANOSECONDS_PER_SECOND if is_open else None,
        resolved_at=0 if is_open else incident.changed_at // NANOSECONDS_PER_SECOND,
        baseline_from=incident.baseline_from // NANOSECONDS_PER_SECOND,
        excluded=[
            (begun // NANOSECONDS_PER_SECOND, over // NANOSECONDS_PER_SECOND) for begun, over in incident.excluded
        ],
    )
