"""What to do about a participant that is prepared and undecided: what the coordinator decided, which may be known."""

from collections.abc import Iterator

from sagascope import semconv
from sagascope_collector.analysis import values
from sagascope_collector.analysis.advice import Action, repeat, verify
from sagascope_collector.analysis.case import Case, Try
from sagascope_collector.analysis.model import AttemptState, Step, StepState
from sagascope_collector.analysis.wording import Text, joined, phrase
from sagascope_collector.analysis.words import clock, identified, listing, who

VERBS = {semconv.TYPE_COMMIT: "commit", semconv.TYPE_ROLLBACK: "roll back"}
PAST = {semconv.TYPE_COMMIT: "committed", semconv.TYPE_ROLLBACK: "rolled back"}
STATEMENTS = {semconv.TYPE_COMMIT: semconv.SETTLE_COMMIT, semconv.TYPE_ROLLBACK: semconv.SETTLE_ROLLBACK}


def actions(case: Case) -> Iterator[Action]:
    """Steps for a person; nothing is decided that another participant contradicts."""
    decided = [each for each in case.tries if each.step.type in VERBS and each.attempt.state is AttemptState.OK]
    ways = {each.step.type for each in decided}
    if len(ways) > 1:
        told = joined("; ", [_decision(case, each) for each in decided])
        yield verify("The participants differ: {}. Find out in the coordinator's log what was decided.", told)
        yield repeat("Only then decide the others, and correct by hand the participants that ended otherwise.")
        return
    if ways:
        (way,) = ways
        text = "Verify in the coordinator's log that it decided to {}, as {}."
        yield verify(text, VERBS[way], _decision(case, decided[0]))
        run = _run(case, way)
        yield repeat("Then have {} {}, too.{}", _participants(case), VERBS[way], f" {run}" if run else "")
        return
    yield from _of_coordinator(case)


def _of_coordinator(case: Case) -> Iterator[Action]:
    """No participant decided: only the coordinator may know."""
    root = case.root
    if root is None:
        coordinator, seen = "the coordinator", Text("Nothing was received from it")
    else:
        coordinator = who(root.process)
        seen = phrase("Its last record here is from {}", _clock(case, _last_record(case)))
    name = identified(case.saga)
    yield verify("Look up in the log of {} what it decided about {}. {}.", coordinator, name, seen)
    yield repeat("Have {} carry out what the coordinator decided.", _participants(case))
    if run := _run(case, semconv.TYPE_COMMIT):
        yield repeat("If it decided to commit: {}", run)
    if run := _run(case, semconv.TYPE_ROLLBACK):
        yield repeat("If it decided to roll back, or its log shows that it decided nothing: {}", run)


def _last_record(case: Case) -> int:
    """When the process that runs the saga last reported it, on the saga's clock."""
    root = case.root
    if root is None:
        return 0
    views = [view for each in case.tries for view in each.attempt.views if view.process == root.process]
    return max(case.at(root.process, each.end or each.start) for each in (root, *views))


def _participants(case: Case) -> Text:
    return listing([each.step.name for each in undecided(case)]) or Text("the undecided participants")


def undecided(case: Case) -> list[Try]:
    """Returns the latest votes of participants that are prepared, and of which no commit or rollback was received."""
    return [
        each
        for each in case.tries
        if each.step.type == semconv.TYPE_PREPARE
        and each.attempt.state is AttemptState.OK
        and each.attempt is each.step.attempts[-1]
        and not _is_decided(case, each.step)
    ]


def _is_decided(case: Case, prepared: Step) -> bool:
    """Returns whether a commit or rollback of this participant started and has not failed."""
    return any(
        step.type in VERBS
        and (step.name, step.key) == (prepared.name, prepared.key)
        and step.state is not StepState.FAILED
        for step in case.saga.steps
    )


def _run(case: Case, way: str) -> str:
    """The statements to run, where participants report them."""
    said = [(each, _statement(each, STATEMENTS[way])) for each in undecided(case)]
    return " ".join(f"Run in {each.step.service or each.step.name}: {text}" for each, text in said if text)


def _statement(each: Try, name: str) -> str | None:
    for view in each.attempt.views:
        if text := values.text(view.attributes.get(name)):
            return text
    return None


def _decision(case: Case, each: Try) -> Text:
    at = _clock(case, each.attempt.over or each.attempt.began)
    return phrase("{} {} at {}", each.step.name, PAST[each.step.type], at)


def _clock(case: Case, at: int) -> Text:
    return clock(at, case.watch.now)
