"""What is told of a workflow. It is called with plain values, and never while a workflow replays."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from opentelemetry.trace import Link, SpanKind

from sagascope import _runtime, semconv
from sagascope._guard import Guard
from sagascope._told import Told
from sagascope._values import Amount, business_keys, money
from sagascope.integrations.temporal import _spans
from sagascope.integrations.temporal._rules import Rules
from sagascope.integrations.temporal._run import Call, Child, Run

_DESCRIBING = Guard("asking what a workflow is about")
_TELLING = Guard("telling of a workflow")


class About(TypedDict, total=False):
    """What a workflow is about, for people who look for it."""

    amount: Amount
    """The value at stake: ``"50.00"``, a `Decimal` or a number."""
    currency: str
    """ISO 4217."""
    keys: Mapping[str, Any]
    """Business keys to search for."""


Describe = Callable[[str, Sequence[Any]], About | None]
"""What a workflow of this type, with these arguments, is about."""


class Telling:
    """Tells of runs of workflows."""

    def __init__(self, rules: Rules, describe: Describe | None = None, elsewhere: Iterable[str] = ()) -> None:
        self.rules = rules
        self.elsewhere = frozenset(elsewhere)
        """Task queues whose workers tell nothing."""
        self._describe = describe

    def begun(self, run: Run, args: Sequence[Any], at: int, links: tuple[Link, ...] = ()) -> None:
        """A workflow was started; the server holds it."""
        self._root(run, args, at, None, {}, None, links)

    def ended(
        self,
        run: Run,
        args: Sequence[Any],
        times: tuple[int, int],
        outcome: str,
        error: BaseException | None,
        links: tuple[Link, ...] = (),
    ) -> None:
        """A workflow ended; `times` are its start and its end."""
        self._root(run, args, *times, {semconv.SAGA_OUTCOME: outcome}, error, links)

    def called(self, run: Run, call: Call, activity: str, queue: str, timeout: float | None, at: int) -> None:
        """An activity was scheduled; the server holds it until a worker takes it."""
        self._attempt(run, call, activity, queue, at, timeout=timeout)

    def settled(
        self, run: Run, call: Call, activity: str, queue: str, times: tuple[int, int], error: BaseException | None
    ) -> None:
        """An activity is over of which perhaps no worker tells; `times` are when it was called for, and when over."""
        at, end = times
        self._attempt(run, call, activity, queue, at, end=end, error=error)

    def child(self, run: Run, call: Call, child: Child, at: int, end: int | None, error: BaseException | None) -> None:
        """A child workflow began, or ended."""
        said = {**_step(run, call), semconv.TEMPORAL_CHILD_ID: child.workflow}
        if child.timeout:
            said[semconv.STEP_TIMEOUT] = child.timeout
        self._tell(run, call.name, _spans.child_id(run.run, child.run), said, at, end, error, SpanKind.CLIENT)

    def signalled(self, run: Run, name: str, number: int, at: int) -> None:
        """A signal came."""
        self._tell(run, f"signal {name}", _spans.signal_id(run.run, name, number), {}, at, at)

    def updated(self, run: Run, name: str, update: str, at: int) -> None:
        """An update came; `update` is its id."""
        self._tell(run, f"update {name}", _spans.update_id(run.run, update), {}, at, at)

    def task_failed(self, run: Run, history: int, at: int, error: BaseException) -> None:
        """The workflow's own code failed; the server tries that task again and again."""
        span = _spans.failed_task_id(run.run, history)
        self._tell(run, f"workflow task of {run.type}", span, {semconv.TEMPORAL_TASK_QUEUE: run.queue}, at, at, error)

    def _attempt(
        self,
        run: Run,
        call: Call,
        activity: str,
        queue: str,
        at: int,
        *,
        end: int | None = None,
        timeout: float | None = None,
        error: BaseException | None = None,
    ) -> None:
        said = {**_step(run, call), semconv.MESSAGING_DESTINATION: queue, semconv.TEMPORAL_ACTIVITY_ID: activity}
        if timeout:
            said[semconv.STEP_TIMEOUT] = timeout
        self._tell(run, call.name, _spans.attempt_id(run.run, activity, 1), said, at, end, error, SpanKind.PRODUCER)

    def _root(
        self,
        run: Run,
        args: Sequence[Any],
        at: int,
        end: int | None,
        outcome: Mapping[str, Any],
        error: BaseException | None,
        links: tuple[Link, ...] = (),
    ) -> None:
        runtime = _runtime.active
        if runtime is None:
            return
        about: About = {}
        if self._describe is not None:
            with _DESCRIBING:
                about = self._describe(run.type, args) or {}
        with _TELLING:
            plan = self.rules.plan_of(run.type)
            runtime.tell(
                Told(
                    name=run.type,
                    trace_id=_spans.trace_id(run.run),
                    span_id=_spans.root_id(run.run),
                    start=at,
                    end=end,
                    kind=SpanKind.INTERNAL,
                    attributes={
                        **run.stamp,
                        semconv.SAGA_ROLE: semconv.ROLE_SAGA,
                        semconv.TEMPORAL_TASK_QUEUE: run.queue,
                        **(plan.attributes if plan is not None else {}),
                        **money(about.get("amount"), about.get("currency")),
                        **business_keys(about.get("keys")),
                        **outcome,
                    },
                    links=links,
                    error=error,
                )
            )

    def _tell(
        self,
        run: Run,
        name: str,
        span: int,
        said: Mapping[str, Any],
        at: int,
        end: int | None,
        error: BaseException | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        runtime = _runtime.active
        if runtime is not None:
            with _TELLING:
                runtime.tell(
                    Told(
                        name=name,
                        trace_id=_spans.trace_id(run.run),
                        span_id=span,
                        parent_id=_spans.root_id(run.run),
                        start=at,
                        end=end,
                        kind=kind,
                        attributes={**run.stamp, **said},
                        error=error,
                    )
                )


def _step(run: Run, call: Call) -> dict[str, Any]:
    return {**call.stamp, semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_ATTEMPT: 1}
