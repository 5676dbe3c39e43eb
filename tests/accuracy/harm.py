"""Follows the actions of a verdict as a careful person would, who finds the truth wherever an action says to verify.

Tells what harm that does, and which statements about charges and refunds contradict the truth.
"""

import re
from collections.abc import Iterator, Sequence
from math import inf

from accuracy.shapes import Step
from accuracy.telemetry import key_of
from accuracy.world import Story
from sagascope_collector.analysis.model import LedgerEntry, LedgerState, Saga
from sagascope_collector.analysis.wording import Action, ActionKind

KNOWN_AFTER_SECONDS = 6.5
"""What happened so shortly before need not be known yet: a process that was lost is missed with its next heartbeat."""

NOTHING = re.compile(r"(?:^|; |, )nothing (?:was (?:charged|refunded|paid out)|of it took effect)")
RUNS = re.compile(r"(?:run|with|them, run) ((?:[a-z]+\.[a-z]+))(?: again)?")
STOPPED = re.compile(r"that ([a-z]+-\d) has stopped")
WORKS = re.compile(r"in ([a-z]+-\d) that it no longer works on")
CLOSES = re.compile(r"close the saga as (completed|compensated)")
CONTINUES_AFTER = re.compile(r"continue after ([a-z]+\.[a-z]+) with ([a-z]+\.[a-z]+)")


def harm(story: Story, at: float, actions: Sequence[Action]) -> str | None:
    """What following these actions at a moment would break; None: nothing."""
    is_verified, verified = False, ""
    for action in actions:
        if action.kind is ActionKind.VERIFY and _is_found_running(story, at, action):
            return None
        if action.kind is ActionKind.VERIFY:
            is_verified, verified = True, f"{verified} {action.text}"
        elif action.kind is ActionKind.CLOSE:
            if found := _closed_wrongly(story, at, action, verified):
                return found
        elif action.kind.changes_work:
            found = _changed_wrongly(story, at, action, verified if is_verified else None)
            if found:
                return f"{found}: {action.text}"
    return None


def _is_found_running(story: Story, at: float, action: Action) -> bool:
    """Whether a process that is said to have stopped turns out to run, or to go on: then nothing else is done."""
    if named := STOPPED.search(action.text):
        return any(each.name == named[1] and each.dies > at for each in story.processes)
    named = WORKS.search(action.text)
    is_alive = named is not None and any(each.name == named[1] and each.dies > at for each in story.processes)
    return is_alive and any(work.called > at or at < work.returned < inf for work in story.works)


def _closed_wrongly(story: Story, at: float, action: Action, verified: str) -> str | None:
    found = CLOSES.search(action.text)
    if found is None:
        return f"closes somehow: {action.text}"
    if found[1] == "completed":
        missing = [step.name for step in story.shape.steps if not step.is_optional and not story.executions(step, at)]
        missing = [name for name in missing if name not in verified]
        return f"closed as completed without {missing}" if missing else None
    left = [step.name for step in story.shape.steps if step.compensation and story.in_effect(step, at)]
    left = [name for name in left if name not in verified]
    return f"closed as compensated with {left} in effect" if left else None


def _changed_wrongly(story: Story, at: float, action: Action, verified: str | None) -> str | None:
    if action.key is None and verified is None:
        return "changes work without a key or a verification"
    names = RUNS.search(action.text)
    if action.key is not None:
        owners = {work.step.key for work in story.works if action.key == key_of(work)}
        if not owners:
            return "names a key that no attempt had"
        if not any(not item or f"({item})" in f"{verified} {action.text}" for item in owners):
            return "names the key of an item that no action names"
    if names is None:
        return None if verified is not None else "changes work of no known step"
    name = names[1]
    forward = [step for step in story.shape.steps if step.name == name]
    backward = [step for step in story.shape.steps if step.compensation == name]
    if forward:
        return _repeated_wrongly(story, at, action, forward, verified)
    if backward:
        return _reversed_wrongly(story, at, action, backward)
    return "names an unknown step"


def _repeated_wrongly(story: Story, at: float, action: Action, steps: list[Step], verified: str | None) -> str | None:
    done = [step for step in steps if story.executions(step, at)]
    is_conditional = "nly if it did not" in action.text
    if len(done) == len(steps) and (is_conditional or story.shape.has_keys):
        return None  # found to have taken effect, or recognized by its key
    if done and len(done) == len(steps):
        return "executes a step twice"
    coming = [step for step in steps if step not in done and story.executions(step, inf)]
    if coming and not story.shape.has_keys and "can no longer" not in action.text:
        return "executes a step that is about to take effect"
    has_turned = any(work.called <= at and work.kind == "compensation" for work in story.works)
    if has_turned and "is not being compensated" in action.text:
        return None
    if has_turned and not _names_compensation(story, verified):
        return "continues a saga that is being compensated"
    needed = [story.shape.steps[place] for place in steps[0].after]
    missing = [
        step.name
        for step in _required(story, needed)
        if not story.executions(step, at) and step.name not in (verified or "")
    ]
    return f"continues without {missing}" if missing and CONTINUES_AFTER.search(action.text) else None


def _required(story: Story, needed: list[Step]) -> Iterator[Step]:
    for step in needed:
        if step.is_optional:
            yield from _required(story, [story.shape.steps[place] for place in step.after])
        else:
            yield step
            yield from (other for other in story.shape.steps if other.name == step.name and other is not step)


def _names_compensation(story: Story, verified: str | None) -> bool:
    return "compensat" in (verified or "") or any(
        step.compensation and step.compensation in (verified or "") for step in story.shape.steps
    )


def _reversed_wrongly(story: Story, at: float, action: Action, steps: list[Step]) -> str | None:
    if "is in effect" in action.text or "both took effect" in action.text:
        return None  # what is reversed was found to be in effect
    compensations = [step for step in steps if story.compensations(step, at)]
    if len(compensations) == len(steps) and ("nly if it did not" in action.text or story.shape.has_keys):
        return None
    if not any(story.executions(step, at) for step in steps):
        return "reverses what never took effect"
    return None


def untrue(story: Story, at: float, saga: Saga, line: str) -> Iterator[tuple[str, str]]:
    """(``customer`` or ``ledger``, what contradicts the truth)."""
    settled = at - KNOWN_AFTER_SECONDS
    money = [step for step in story.shape.steps if step.compensation or step.amount]
    if NOTHING.search(line) and any(story.in_effect(step, settled) and story.in_effect(step, at) for step in money):
        yield "customer", line
    if "was refunded" in line or "everything that was done was reversed" in line:
        assembled = {entry.step for entry in saga.ledger if entry.state is LedgerState.COMPENSATED}
        if any(
            story.in_effect(step, settled) and story.in_effect(step, at)
            for step in money
            if step.name in assembled and not step.key
        ):
            yield "customer", line
    for name in dict.fromkeys(entry.step for entry in saga.ledger):
        steps = [step for step in story.shape.steps if step.name == name]
        entries = [entry for entry in saga.ledger if entry.step == name]
        if (
            steps
            and len(steps) == len(entries) == 1
            and (found := _entry_untrue(story, at, settled, steps[0], entries[0]))
        ):
            yield "ledger", f"{name} {entries[0].state.value}: {found}"


def _entry_untrue(story: Story, at: float, settled: float, step: Step, entry: LedgerEntry) -> str | None:
    executed = story.executions(step, at)
    match entry.state:
        case LedgerState.COMMITTED | LedgerState.NOT_COMPENSABLE:
            return None if executed else "never took effect"
        case LedgerState.COMPENSATION_FAILED:
            return (
                "was compensated" if story.compensations(step, settled) else None if executed else "never took effect"
            )
        case LedgerState.COMPENSATED:
            return "is in effect" if story.in_effect(step, settled) and story.in_effect(step, at) else None
        case LedgerState.NOT_DONE:
            return "is in effect" if story.in_effect(step, settled) and story.in_effect(step, at) else None
    return None
