"""Anomalies of what was done: twice, in another order, after the end, without a plan for it."""

from collections.abc import Iterator
from itertools import pairwise

from sagascope import semconv
from sagascope_collector.analysis import course
from sagascope_collector.analysis.chronicle import Chronicle
from sagascope_collector.analysis.model import Anomaly, Attempt, AttemptState, Status, Step
from sagascope_collector.analysis.order import began_after, ended_before
from sagascope_collector.analysis.words import listing, who


def duplicate_execution(saga: Chronicle) -> Iterator[Anomaly]:
    """A success after a success of one step, same key; also where a key made the second harmless."""
    for step in saga.steps:
        if step.type in (semconv.TYPE_ACTION, semconv.TYPE_COMMIT) and len(step.attempts) > 1:
            yield from _repeated(saga, step, "duplicate_execution")


def compensated_twice(saga: Chronicle) -> Iterator[Anomaly]:
    """A success after a success of one compensation."""
    for step in saga.steps:
        if step.type in (semconv.TYPE_COMPENSATION, semconv.TYPE_ROLLBACK) and len(step.attempts) > 1:
            yield from _repeated(saga, step, "compensated_twice")


def _repeated(saga: Chronicle, step: Step, code: str) -> Iterator[Anomaly]:
    done = [each for each in step.attempts if each.state is AttemptState.OK]
    if len(done) > 1:
        told = listing([f"at {saga.at(each.ended_at or each.started_at)} in {who(each.process)}" for each in done[:5]])
        yield Anomaly(code, f"{_named(step)} succeeded {len(done)} times: {told}", step.name)


def compensation_order(saga: Chronicle) -> Iterator[Anomaly]:
    """A step was compensated before one that was executed after it."""
    undone = [each for each in saga.books if each.undone and each.done]
    for earlier, later in pairwise(undone):
        first, second = earlier.undone[0], later.undone[0]
        if ended_before(earlier.done[-1], later.done[0]) and ended_before(first, second):
            when = f"{earlier.name} was compensated at {saga.at(first.over or 0)}"
            text = f"{when}, before {later.name}, which was executed after it"
            yield Anomaly("compensation_order", text, earlier.name)


def compensated_without_action(saga: Chronicle) -> Iterator[Anomaly]:
    """A compensation of a step that was not executed, as far as telemetry shows."""
    undos = [step for step in saga.steps if step.type == semconv.TYPE_COMPENSATION and step.compensates]
    if not undos:
        return
    done = {each.name for each in saga.books if any(one.state is not AttemptState.ERROR for one in each.does)}
    for step in undos:
        if step.compensates not in done:
            when = f"{step.name} started at {saga.at(step.attempts[0].started_at)}"
            text = f"{when}; no execution of {step.compensates} was received"
            yield Anomaly("compensated_without_action", text, step.name)


def forward_after_compensation(saga: Chronicle) -> Iterator[Anomaly]:
    """An action that started after the first compensation."""
    drive_at = saga.drives[0] if saga.drives else 0
    undoing = [
        attempt
        for step in saga.steps
        if step.type == semconv.TYPE_COMPENSATION
        for attempt in step.attempts
        if attempt.began >= drive_at
    ]
    if not undoing:
        return
    first = min(undoing, key=lambda each: each.began)
    for step in saga.steps:
        late = [each for each in step.attempts if step.type == semconv.TYPE_ACTION and began_after(each, first)]
        if late:
            when = f"at {saga.at(late[0].started_at)}, after compensation had started at {saga.at(first.started_at)}"
            yield Anomaly("forward_after_compensation", f"{_named(step)} started {when}", step.name)


def out_of_order(saga: Chronicle) -> Iterator[Anomaly]:
    """A step that began before one that the declared plan puts first; what is learned may yet be learned otherwise."""
    if saga.plan.source != "declared":
        return
    first: dict[str, Attempt] = {}
    for step in saga.steps:
        if step.attempts and course.is_forward(step):
            first.setdefault(step.name, step.attempts[0])
    befores = course.prerequisites(saga.plan)
    for name, attempt in first.items():
        for before in befores.get(name, ()):
            if before in first and began_after(first[before], attempt):
                at, earlier = saga.at(attempt.started_at), saga.at(first[before].started_at)
                when = f"{name} started at {at}, {before} at {earlier}"
                yield Anomaly("out_of_order", f"{when}; the plan puts {before} first", name)


def unexpected_step(saga: Chronicle) -> Iterator[Anomaly]:
    """A step that the declared plan does not have."""
    if saga.plan.source != "declared":
        return
    planned = {step.name for step in saga.plan.steps}
    undoes = {step.compensation for step in saga.plan.steps if step.compensation}
    seen: set[str] = set()
    for step in saga.steps:
        known = planned | undoes if step.type == semconv.TYPE_COMPENSATION else planned
        is_known = step.name in known or (step.type == semconv.TYPE_COMPENSATION and not saga.plan.undo_known)
        if step.attempts and not is_known and step.name not in seen:
            seen.add(step.name)
            when = f"started at {saga.at(step.attempts[0].started_at)} in {who(step.attempts[0].process)}"
            yield Anomaly("unexpected_step", f"{step.name} {when} and is not in the plan", step.name)


def skipped_step(saga: Chronicle) -> Iterator[Anomaly]:
    """A planned step, not optional, without which the saga was completed."""
    if saga.status is not Status.COMPLETED or saga.plan.source != "declared":
        return
    done = {each.name for each in saga.books if any(one.state is not AttemptState.ERROR for one in each.does)}
    for step in saga.plan.steps:
        if step.name not in done and not step.optional:
            yield Anomaly("skipped_step", f"The saga was completed without {step.name}", step.name)


def progress_after_end(saga: Chronicle) -> Iterator[Anomaly]:
    """An attempt that started, or succeeded, after the saga's end."""
    if saga.closing is None:
        return
    end = saga.closing.end
    for step in saga.steps:
        late = [each for each in step.attempts if each.began > end + AFTER_END or _succeeded_after(each, end)]
        if late:
            verb = "started" if late[0].began > end + AFTER_END else "succeeded"
            at = late[0].started_at if verb == "started" else late[0].ended_at or 0
            text = f"{_named(step)} {verb} at {saga.at(at)}, after the saga had ended at {saga.at(end)}"
            yield Anomaly("progress_after_end", text, step.name)


def _succeeded_after(attempt: Attempt, end: int) -> bool:
    ended = (attempt.ended_at or 0) + attempt.offset
    return attempt.state is AttemptState.OK and ended > end + AFTER_END


AFTER_END = 1_000_000_000
"""Nanoseconds after a saga's end that the last words of others may come without meaning that it went on."""


def version_straddle(saga: Chronicle) -> Iterator[Anomaly]:
    """Two versions of one service in one saga."""
    versions: dict[str, dict[str, int]] = {}
    seen: set[int] = set()
    for span in saga.spans:
        process = span.process
        if process.version and process.service and id(process) not in seen:
            seen.add(id(process))
            versions.setdefault(process.service, {}).setdefault(process.version, span.start)
    for service, first in sorted(versions.items()):
        if len(first) > 1:
            told = listing([f"{version} from {saga.at(at)}" for version, at in first.items()])
            yield Anomaly("version_straddle", f"{service} worked on it in versions {told}", None)


def _named(step: Step) -> str:
    return f"{step.name} ({step.key})" if step.key else step.name
