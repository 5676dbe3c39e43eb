"""From saga ids to their rows. One saga that cannot be read holds up no other."""

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event

from sagascope_collector import sagas, wire
from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.incidents import standing
from sagascope_collector.projection import plain
from sagascope_collector.projection.examples import Examples, id_of
from sagascope_collector.projection.memory import Memory
from sagascope_collector.projection.reliance import Reliance
from sagascope_collector.projection.surroundings import Surroundings
from sagascope_collector.records import Facts, SagaId
from sagascope_collector.sagas import model
from sagascope_collector.store.contract import SagaRow, Store

logger = logging.getLogger(__name__)

Summarise = Callable[[model.Saga, model.Judgement], wire.SagaSummary]

SOONEST: int = 100_000_000
"""Nanoseconds after which a saga is judged again at the earliest, whatever its judgement asks for."""

REMEMBERED: int = 10_000
"""Saga ids of which it is remembered that they cannot be read."""


class Summaries:
    """Makes and writes the summaries of one store."""

    def __init__(self, store: Store, summarise: Summarise, memory: Memory, surroundings: Surroundings) -> None:
        self._store = store
        self._memory = memory
        self._surroundings = surroundings
        self.reliance = Reliance()
        self._summarise = summarise
        self._examples = Examples()
        self._unreadable: set[SagaId] = set()

    def renew(self, ids: Sequence[SagaId], context: sagas.Context, stopping: Event) -> None:
        """Read the facts of these ids and write their summaries; those not done when `stopping` is set are left.

        Raises:
            StoreUnavailable: nothing was written.
        """
        if not ids:
            return
        facts = self._facts(ids)
        done: list[SagaId] = []
        rows: list[SagaRow] = []
        lessons: list[sagas.Lesson] = []
        for each in ids:
            if stopping.is_set():
                break
            rows += self._rows(each, facts.get(each), context, lessons)
            done.append(each)
            time.sleep(0)  # whoever takes in what is received has waited for long enough
        self._memory.take(lessons)
        self._store.put_summaries(done, rows)

    def renew_plainly(self, ids: Sequence[SagaId]) -> Sequence[SagaId]:
        """Write the summaries of those that ended plainly; the others, and a few to learn from, are given back.

        Raises:
            StoreUnavailable: nothing was written.
        """
        try:
            rows = plain.rows(self._store.plain_ends(ids))
        except StoreUnavailable:
            raise
        except Exception:  # what one of them holds must not hold up the others
            logger.exception("Sagas cannot be summarised together; each is rebuilt instead")
            return ids
        examples = self._examples.among(rows)
        done = {id_of(row): row for row in rows if id_of(row) not in examples}
        for each in done:
            self.reliance.judged(each, {})
        if done:
            self._store.put_summaries(list(done), list(done.values()))
        return [each for each in ids if each not in done]

    def notices(self) -> list[str]:
        """What readers of lists should know."""
        number = len(self._unreadable)
        if not number:
            return []
        which = "saga could not be read and is" if number == 1 else "sagas could not be read and are"
        return [f"{number:,} {which} missing from lists; see the log."]

    def _facts(self, ids: Sequence[SagaId]) -> dict[SagaId, Facts]:
        """The facts of these ids; where one spoils the reading of all, each is read for itself."""
        try:
            return self._store.facts(ids)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  one saga must not hold up the others
            if len(ids) == 1:
                self._leave_out(ids[0], error)
                return {}
            return {key: facts for each in ids for key, facts in self._facts([each]).items()}

    def _rows(
        self, saga_id: SagaId, facts: Facts | None, context: sagas.Context, lessons: list[sagas.Lesson]
    ) -> list[SagaRow]:
        """The summaries of every saga behind an id, and its lessons if it ended; none where they cannot be made."""
        if facts is None:
            return []
        try:
            rebuilt = sagas.rebuild(facts, context.now, context.experience)
            judged = [(saga, sagas.judge(saga, facts.instances, context)) for saga in rebuilt]
            rows = [self._row(saga, judgement, context) for saga, judgement in judged]
            self._learn(saga_id, judged, lessons)
        except Exception as error:  # noqa: BLE001  likewise
            self._leave_out(saga_id, error)
            return []
        self._unreadable.discard(saga_id)
        return rows

    def _learn(
        self, saga_id: SagaId, judged: Sequence[tuple[model.Saga, model.Judgement]], lessons: list[sagas.Lesson]
    ) -> None:
        """Note what these sagas mean for others, and what they rely on themselves."""
        promises: dict[tuple[str, str], int | None] = {}
        for saga, judgement in judged:
            promises |= judgement.promises
            self._surroundings.saw(saga)
            if taught := sagas.lesson(saga):
                lessons.append(taught)
        self.reliance.judged(saga_id, promises)

    def _row(self, saga: model.Saga, judgement: model.Judgement, context: sagas.Context) -> SagaRow:
        due_at = judgement.due_at
        tried = [step for step in saga.steps if step.attempts]
        return SagaRow(
            key=saga.key,
            status=saga.status.value,
            attention=judgement.verdict.reason.value if judgement.verdict else None,
            step=judgement.step,
            service=judgement.service,
            steps=tuple(dict.fromkeys(step.name for step in tried)),
            services=tuple(dict.fromkeys(span.process.service for span in saga.spans if span.process.service)),
            started_at=saga.started_at,
            updated_at=saga.updated_at,
            ended_at=saga.ended_at,
            due_at=None if due_at is None else max(due_at, context.now + SOONEST),
            keys=saga.keys,
            document=self._summarise(saga, judgement).model_dump_json(),
            runners=_runners(saga, context),
            standing=standing(saga, judgement),
        )

    def _leave_out(self, saga_id: SagaId, error: Exception) -> None:
        if saga_id in self._unreadable or len(self._unreadable) >= REMEMBERED:
            return
        self._unreadable.add(saga_id)
        logger.error("Saga %r in %r cannot be read; it is left out", saga_id.id, saga_id.environment, exc_info=error)


def _runners(saga: model.Saga, context: sagas.Context) -> dict[str, str]:
    """The service that ran each step.

    A step that only its caller told of so far is no news where another service is known to run it.
    """
    caller = saga.root.process.service if saga.root else None
    ran = {step.name: step.service for step in saga.steps if step.attempts and step.service}
    known = context.services
    return {
        name: known.get((*saga.key[:2], name), service) if service == caller else service
        for name, service in ran.items()
    }
