"""What it takes to rebuild and diagnose one saga: of ten attempts, as most are, and of ten thousand.

A saga of ten attempts has a root, and of each attempt the caller's span and the executor's: 21 spans. Medians of many
turns, in processor time, which others on the machine do not stretch; the fold alone, then with the diagnosis.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence

from report import table

from sagascope import semconv
from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.records import Facts, Heartbeat, Instance, Mark, Process, SagaId, Span

START = 1_795_000_000_000_000_000
MILLISECOND = 1_000_000
SIZES = {10: 300, 10_000: 7}
"""Turns by number of attempts."""

BOUNDS = {10: "0.2 ms", 10_000: "200 ms"}


def facts(attempts: int) -> Facts:
    """A saga in which every attempt succeeded: told by an orchestrator and four services."""
    orchestrator = Process("", "orchestrator", "1.0", "o", "orchestrator-1")
    others = [Process("", name, "1.0", name, f"{name}-1") for name in ("fraud", "wallet", "ledger", "shipping")]
    steps = [f"step.{number}" for number in range(min(attempts, 20))]
    plan = {semconv.PLAN: steps, semconv.PLAN_COMPENSATIONS: [f"{step}.undo" for step in steps]}
    end = START + (attempts + 1) * 10 * MILLISECOND
    root = Mark("8492", "payment", "", semconv.ROLE_SAGA)
    marks = {**plan, semconv.SAGA_ID: "8492", semconv.SAGA_NAME: "payment", semconv.AMOUNT: "50.00"}
    spans = [_span(0, 0, "payment", "internal", START, end, root, orchestrator, marks)]
    for number in range(attempts):
        step, at = steps[number % len(steps)], START + number * 10 * MILLISECOND
        mark = Mark("8492", "payment", "", semconv.ROLE_STEP, step, "", str(number // len(steps) or ""), 1)
        said = {semconv.SAGA_ID: "8492", semconv.SAGA_NAME: "payment", semconv.STEP_NAME: step}
        call, run = 2 * number + 1, 2 * number + 2
        spans.append(_span(call, 0, step, "client", at, at + 8 * MILLISECOND, mark, orchestrator, said))
        executor = others[number % len(others)]
        spans.append(_span(run, call, step, "server", at + MILLISECOND, at + 7 * MILLISECOND, mark, executor, said))
    beat = Heartbeat(end, 5.0, 1, frozenset(), complete=True, dropped=0, final=False)
    return Facts(SagaId("", "8492"), tuple(spans), (), tuple(Instance(each, START, end, beat) for each in others))


def _span(
    number: int, above: int, name: str, kind: str, start: int, end: int, mark: Mark, process: Process, said: object
) -> Span:
    ids = ("a" * 32, f"{number + 1:016x}", f"{above + 1:016x}" if number else "")
    return Span(*ids, name, kind, start, end, "unset", "", mark, process, dict(said))  # type: ignore[call-overload]


def _median(work: Callable[[], object], turns: int) -> float:
    taken = []
    for _ in range(turns):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return statistics.median(taken)


def main() -> str:
    """Medians of CPU time by the number of attempts."""
    gc.disable()
    rows = [_row(attempts, turns) for attempts, turns in SIZES.items()]
    gc.enable()
    return table(("attempts, each seen by its caller and its executor", "bound", "fold", "and diagnosed"), rows)


def _row(attempts: int, turns: int) -> Sequence[str]:
    known, now = facts(attempts), START + 3_600_000 * MILLISECOND
    context = Context(now)

    def fold_and_diagnose() -> None:
        for saga in rebuild(known, now):
            diagnose(saga, known.instances, context)

    fold, both = _median(lambda: rebuild(known, now), turns), _median(fold_and_diagnose, turns)
    return f"{attempts:,}", BOUNDS.get(attempts, ""), f"{fold * 1e3:,.3f} ms", f"{both * 1e3:,.3f} ms"
