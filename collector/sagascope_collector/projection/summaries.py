"""Computes summaries from saga ids. A saga that cannot be read does not block others."""

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event

from sagascope_collector import analysis
from sagascope_collector.analysis import model
from sagascope_collector.analysis.diagnosis import Diagnosis
from sagascope_collector.client import schemas
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.incidents import incident_saga
from sagascope_collector.projection import clean_completions
from sagascope_collector.projection.baseline_learner import BaselineLearner
from sagascope_collector.projection.system_state import ProcessDependencies, SystemState
from sagascope_collector.records import Facts, SagaId, SagaKey
from sagascope_collector.storage import SagaRow, Storage, id_of

logger = logging.getLogger(__name__)

Summarise = Callable[[model.Saga, Diagnosis], schemas.SagaSummary]

MIN_REEVALUATION_DELAY_NS: int = 100_000_000
"""Minimum time between two evaluations of a saga, whatever its evaluation requests."""

LARGE_RECORDS: int = 2_000
"""Number of records beyond which a saga is evaluated after the others, and less often."""

LARGE_PAUSE_FACTOR: float = 20.0
"""Pause between two evaluations of a large saga, as a multiple of the duration of an evaluation."""

UNREADABLE_RETRY_SECONDS: float = 60.0
"""Time after which an unreadable saga is retried."""

MAX_NAMED_SAGAS: int = 3
"""Maximum number of unreadable sagas that a notice names."""

MAX_UNREADABLE: int = 10_000
"""Maximum number of unreadable sagas that are remembered."""


class Summaries:
    """Computes and writes the summaries of one database."""

    def __init__(
        self, storage: Storage, summarise: Summarise, learner: BaselineLearner, system_state: SystemState
    ) -> None:
        self._storage = storage
        self._learner = learner
        self._system_state = system_state
        self.dependencies = ProcessDependencies()
        self._summarise = summarise
        self._unreadable: dict[SagaId, str] = {}
        self._deferred_until: dict[SagaId, float] = {}
        """The earliest time of the next evaluation of large sagas."""

    @property
    def unreadable(self) -> int:
        """The number of sagas that cannot be read, and have no summary or an outdated one."""
        return len(self._unreadable)

    def renew(self, ids: Sequence[SagaId], context: analysis.Context, stopping: Event) -> None:
        """Reads the records of these ids and writes their summaries, until `stopping` is set.

        Large sagas come last, one at a time, and are not evaluated again soon.

        Raises:
            StorageUnavailable: nothing was written.
        """
        ids = self._without_deferred(ids)
        if not ids:
            return
        where = self._storage.sagas.bounds(ids)
        large = [each for each in ids if each in where and where[each].records > LARGE_RECORDS]
        self._renew([each for each in ids if each not in set(large)], context, stopping)
        for each in large:
            if stopping.is_set():
                break
            started = time.monotonic()
            self._renew([each], context, stopping)
            self._deferred_until[each] = time.monotonic() + LARGE_PAUSE_FACTOR * (time.monotonic() - started)

    def _without_deferred(self, ids: Sequence[SagaId]) -> Sequence[SagaId]:
        now = time.monotonic()
        if not self._deferred_until:
            return ids
        self._deferred_until = {each: until for each, until in self._deferred_until.items() if until > now}
        deferred = [each for each in ids if each in self._deferred_until]
        for each in deferred:
            self._storage.changes.defer([each], seconds=self._deferred_until[each] - now)
        return [each for each in ids if each not in self._deferred_until]

    def _renew(self, ids: Sequence[SagaId], context: analysis.Context, stopping: Event) -> None:
        if not ids:
            return
        facts = self._facts(ids)
        done: list[SagaId] = []
        rows: list[SagaRow] = []
        samples: list[analysis.SagaSample] = []
        for each in ids:
            if stopping.is_set():
                break
            if each in self._unreadable and each not in facts:
                continue
            rows += self._rows(each, facts.get(each), context, samples)
            done.append(each)
            time.sleep(0)  # lets the threads run that ingest records
        self._learner.add_samples(samples, done)
        self._storage.sagas.put(done, rows)

    def learn(self, keys: Sequence[SagaKey], context: analysis.Context, stopping: Event) -> None:
        """Learns from sagas that were summarized in bulk. Their summaries stay: the general path computes the same.

        Raises:
            StorageUnavailable: nothing was learned.
        """
        if not keys:
            return
        ids = list(dict.fromkeys(SagaId(key.environment, key.id) for key in keys))
        facts = self._facts(ids)
        samples: list[analysis.SagaSample] = []
        for each in ids:
            if stopping.is_set():
                return
            if each in facts:
                self._learn_clean(each, facts[each], context, samples)
        self._learner.add_samples(samples, ids)
        self._learner.remove_candidates(keys)

    def renew_clean(self, ids: Sequence[SagaId]) -> Sequence[SagaId]:
        """Writes the summaries of the sagas that completed cleanly; returns the others.

        Raises:
            StorageUnavailable: nothing was written.
        """
        try:
            rows = clean_completions.rows(self._storage, ids)
        except StorageUnavailable as error:
            logger.warning("Sagas cannot be summarised together; each is rebuilt instead: %s", error)
            return ids
        except Exception:  # one saga must not delay the others
            logger.exception("Sagas cannot be summarised together; each is rebuilt instead")
            return ids
        done = [id_of(row) for row in rows]
        for each in done:
            self.dependencies.replace(each, {})
        self._system_state.record_completions(done)
        self._storage.sagas.put(done, rows)
        self._learner.add_candidates(rows)
        summarised = set(done)
        return [each for each in ids if each not in summarised]

    def notices(self) -> list[str]:
        """Returns notices for readers of lists."""
        number = len(self._unreadable)
        if not number:
            return []
        named = ", ".join(sorted(each.id for each in list(self._unreadable)[:MAX_NAMED_SAGAS]))
        which = "saga cannot be read and is" if number == 1 else "sagas cannot be read and are"
        more = "" if number <= MAX_NAMED_SAGAS else ", ..."
        return [f"unreadable: {number:,} {which} not evaluated ({named}{more}); the log says why."]

    def _facts(self, ids: Sequence[SagaId]) -> dict[SagaId, Facts]:
        """Returns the records of these ids, except those of ids that cannot be read.

        Raises:
            StorageUnavailable: none can be read.
        """
        try:
            return self._storage.lookup.facts(ids)
        except Exception as error:
            if len(ids) == 1:
                if isinstance(error, StorageUnavailable) and not self._is_database_available():
                    raise
                self._set_aside(ids[0], error)
                return {}
            found: dict[SagaId, Facts] = {}
            failed: dict[SagaId, Exception] = {}
            for each in ids:
                try:
                    found |= self._storage.lookup.facts([each])
                except Exception as caught:  # noqa: BLE001  one saga must not delay the others
                    failed[each] = caught
            if len(failed) == len(ids) and isinstance(error, StorageUnavailable) and not self._is_database_available():
                raise
            for each, of_one in failed.items():
                self._set_aside(each, of_one)
            return found

    def _is_database_available(self) -> bool:
        """Returns whether the database responds. If so, only the records of single sagas cannot be read."""
        try:
            self._storage.sagas.flow_counts()
        except StorageUnavailable:
            return False
        return True

    def _rows(
        self, saga_id: SagaId, facts: Facts | None, context: analysis.Context, samples: list[analysis.SagaSample]
    ) -> list[SagaRow]:
        """Returns the summaries of every saga with an id, and adds its samples; empty if they cannot be computed."""
        if facts is None:
            return []
        try:
            rebuilt = analysis.rebuild(facts, context.now, context.baselines)
            diagnosed = [(saga, analysis.diagnose(saga, facts.instances, context)) for saga in rebuilt]
            rows = [self._row(saga, diagnosis, context) for saga, diagnosis in diagnosed]
            self._learn(saga_id, diagnosed, samples)
        except Exception as error:  # noqa: BLE001  likewise
            self._set_aside(saga_id, error)
            return []
        self._unreadable.pop(saga_id, None)
        return rows

    def _learn_clean(
        self, saga_id: SagaId, facts: Facts, context: analysis.Context, samples: list[analysis.SagaSample]
    ) -> None:
        """Adds the samples of the sagas of an id, and records their successful steps."""
        try:
            rebuilt = analysis.rebuild(facts, context.now, context.baselines)
            samples += [sample for saga in rebuilt if (sample := analysis.take_sample(saga))]
        except Exception as error:  # noqa: BLE001  one saga must not delay the others
            self._set_aside(saga_id, error)
            return
        for saga in rebuilt:
            self._system_state.record_successes(saga)

    def _learn(
        self, saga_id: SagaId, diagnosed: Sequence[tuple[model.Saga, Diagnosis]], samples: list[analysis.SagaSample]
    ) -> None:
        """Records the effect of these sagas on others, and the processes on which they rely."""
        report_deadlines: dict[tuple[str, str], int | None] = {}
        for saga, diagnosis in diagnosed:
            report_deadlines |= diagnosis.report_deadlines
            self._system_state.record(saga, diagnosis)
            if sample := analysis.take_sample(saga):
                samples.append(sample)
        self._learner.remove_candidates(saga.key for saga, _ in diagnosed)
        self.dependencies.replace(saga_id, report_deadlines)

    def _row(self, saga: model.Saga, diagnosis: Diagnosis, context: analysis.Context) -> SagaRow:
        due_at = diagnosis.due_at
        attempted = [step for step in saga.steps if step.attempts]
        return SagaRow(
            key=saga.key,
            status=saga.status.value,
            attention=diagnosis.verdict.reason.value if diagnosis.verdict else None,
            step=diagnosis.step,
            service=diagnosis.service,
            steps=tuple(dict.fromkeys(step.name for step in attempted)),
            services=tuple(dict.fromkeys(span.process.service for span in saga.spans if span.process.service)),
            started_at=saga.started_at,
            updated_at=saga.updated_at,
            ended_at=saga.ended_at,
            due_at=None if due_at is None else max(due_at, context.now + MIN_REEVALUATION_DELAY_NS),
            keys=saga.keys,
            document=self._summarise(saga, diagnosis).model_dump_json(),
            step_services=_step_services(saga, context),
            incident=incident_saga(saga, diagnosis),
        )

    def _set_aside(self, saga_id: SagaId, error: Exception) -> None:
        """Skips a saga for a while, so that the others proceed."""
        self._storage.changes.defer([saga_id], seconds=UNREADABLE_RETRY_SECONDS)
        if self._unreadable.get(saga_id) == str(error) or len(self._unreadable) >= MAX_UNREADABLE:
            return
        self._unreadable[saga_id] = str(error)
        logger.error("Saga %r in %r cannot be read; it is set aside", saga_id.id, saga_id.environment, exc_info=error)


def _step_services(saga: model.Saga, context: analysis.Context) -> dict[str, str]:
    """Returns the service that ran each step.

    If only the caller's span of a step was received, a service that is already known to run the step is kept.
    """
    caller = saga.root.process.service if saga.root else None
    ran = {step.name: step.service for step in saga.steps if step.attempts and step.service}
    known = context.services
    return {
        name: known.get((*saga.key[:2], name), service) if service == caller else service
        for name, service in ran.items()
    }
