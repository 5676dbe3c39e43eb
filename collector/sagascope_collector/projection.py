"""Keeps the summary of every saga in step with its facts and with the clock.

Lists, triage and search read these summaries; the page of one saga judges anew with the same code.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from sagascope_collector import sagas, wire
from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.records import Facts, SagaId
from sagascope_collector.sagas import model
from sagascope_collector.store.contract import SagaRow, Store

logger = logging.getLogger(__name__)

Summarise = Callable[[model.Saga, model.Judgement], wire.SagaSummary]

AT_ONCE: int = 256
"""Saga ids whose facts are held in memory together."""

PAUSE: float = 0.2
"""Seconds between two looks for changes while there are none."""

SOONEST: int = 100_000_000
"""Nanoseconds after which a saga is judged again at the earliest, whatever its judgement asks for."""

REMEMBERED: int = 10_000
"""Saga ids of which it is remembered that they cannot be summarised."""


class Projection:
    """One background thread that summarises the sagas which changed, and those whose time has come.

    A store that is unavailable is asked again; a saga that cannot be summarised is logged once and left out, and the
    rest goes on.

    Args:
        store: whence facts come and whither summaries go.
        summarise: what is kept of a saga and its judgement.
        context: what to judge by, for a time in nanoseconds.
        clock: now, in nanoseconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        *,
        summarise: Summarise,
        context: Callable[[int], sagas.Context],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._summarise = summarise
        self._context = context
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projection", daemon=True)
        self._current_at = time.monotonic()
        self._left_out: set[SagaId] = set()
        self._failing = False

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End within a second; what is not done yet is done after the next start."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def lag_seconds(self) -> float:
        """Seconds by which summaries may be behind the facts; it grows while the store gives no answer."""
        return max(0.0, time.monotonic() - self._current_at - 2 * PAUSE)

    def notices(self) -> list[str]:
        """What readers of lists should know."""
        number = len(self._left_out)
        if not number:
            return []
        which = "saga could not be read and is" if number == 1 else "sagas could not be read and are"
        return [f"{number:,} {which} missing from lists; see the log."]

    def advance(self) -> bool:
        """Summarise what changed and what is due, as far as one round goes; False: nothing is left.

        Raises:
            StoreUnavailable: what was not written is still to be done.
        """
        begun = time.monotonic()
        changed = self._store.changed_ids(AT_ONCE)
        due = self._store.due_ids(self._clock(), AT_ONCE)
        self._renew(changed)
        self._renew([each for each in due if each not in set(changed)])
        left = AT_ONCE in {len(changed), len(due)}
        if not left and not self._stopping.is_set():
            self._current_at = begun
        return left

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._advance_or_wait():
                self._stopping.wait(PAUSE)

    def _advance_or_wait(self) -> bool:
        """One round; a store that fails is logged when that begins, not at each try."""
        try:
            left = self.advance()
        except Exception as error:
            if not self._failing:
                logger.exception("Summaries wait for the store: %s", error)
            self._failing = True
            return False
        self._failing = False
        return left

    def _renew(self, ids: Sequence[SagaId]) -> None:
        """Read the facts of these ids and write their summaries."""
        if not ids:
            return
        facts = self._facts(ids)
        context = self._context(self._clock())
        done: list[SagaId] = []
        rows: list[SagaRow] = []
        for each in ids:
            if self._stopping.is_set():
                break
            rows += self._rows(each, facts.get(each), context)
            done.append(each)
        self._store.put_summaries(done, rows)

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

    def _rows(self, saga_id: SagaId, facts: Facts | None, context: sagas.Context) -> list[SagaRow]:
        """The summaries of every saga behind an id; none where they cannot be made."""
        if facts is None:
            return []
        try:
            rows = [self._row(saga, facts, context) for saga in sagas.rebuild(facts, context.now)]
        except Exception as error:  # noqa: BLE001  likewise
            self._leave_out(saga_id, error)
            return []
        self._left_out.discard(saga_id)
        return rows

    def _row(self, saga: model.Saga, facts: Facts, context: sagas.Context) -> SagaRow:
        judgement = sagas.judge(saga, facts.instances, context)
        due_at = judgement.due_at
        return SagaRow(
            key=saga.key,
            status=saga.status.value,
            attention=judgement.verdict.reason.value if judgement.verdict else None,
            step=judgement.step,
            service=judgement.service,
            steps=tuple(dict.fromkeys(step.name for step in saga.steps if step.attempts)),
            services=_services(saga),
            started_at=saga.started_at,
            updated_at=saga.updated_at,
            ended_at=saga.ended_at,
            due_at=None if due_at is None else max(due_at, context.now + SOONEST),
            keys=saga.keys,
            document=self._summarise(saga, judgement).model_dump_json(),
            runners={step.name: step.service for step in saga.steps if step.attempts and step.service},
        )

    def _leave_out(self, saga_id: SagaId, error: Exception) -> None:
        if saga_id in self._left_out or len(self._left_out) >= REMEMBERED:
            return
        self._left_out.add(saga_id)
        logger.error("Saga %r in %r cannot be read; it is left out", saga_id.id, saga_id.environment, exc_info=error)


def _services(saga: model.Saga) -> tuple[str, ...]:
    """Every service that has a span in the saga, each once."""
    return tuple(dict.fromkeys(span.process.service for span in saga.spans if span.process.service))
