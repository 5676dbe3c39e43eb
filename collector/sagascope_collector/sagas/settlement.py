"""What to do about a participant that is prepared and undecided: as the others decided, or as the coordinator did."""

from collections.abc import Iterator

from sagascope import semconv
from sagascope_collector.sagas import values
from sagascope_collector.sagas.case import Case, Try
from sagascope_collector.sagas.model import AttemptState
from sagascope_collector.sagas.words import clock, listing, who

VERBS = {semconv.TYPE_COMMIT: "commit", semconv.TYPE_ROLLBACK: "roll back"}
PAST = {semconv.TYPE_COMMIT: "committed", semconv.TYPE_ROLLBACK: "rolled back"}
STATEMENTS = {semconv.TYPE_COMMIT: semconv.SETTLE_COMMIT, semconv.TYPE_ROLLBACK: semconv.SETTLE_ROLLBACK}


def actions(case: Case) -> Iterator[str]:
    """Steps for a person; nothing is decided that another participant contradicts."""
    decided = [each for each in case.tries if each.step.type in VERBS and each.attempt.state is AttemptState.OK]
    ways = {each.step.type for each in decided}
    if len(ways) > 1:
        told = "; ".join(_told(case, each) for each in decided)
        yield f"The participants do not agree: {told}. Set right by hand what must not be in force, before you decide."
        return
    if ways:
        (way,) = ways
        yield f"{_told(case, decided[0])}: have the others {VERBS[way]}, too. {_run(case, way)}".rstrip()
        return
    yield from _of_coordinator(case)


def _of_coordinator(case: Case) -> Iterator[str]:
    """No participant decided: only the coordinator may know."""
    root = case.root
    if root is None:
        whom, word = "the coordinator", "Nothing was received of it"
    else:
        whom = who(root.process)
        word = f"Its last word here is of {_clock(case, _last_word(case))}"
    name = f"{case.saga.key.name} {case.saga.key.id}"
    yield f"Look up in the log of {whom} what it decided about {name}, then have {_participants(case)} do that. {word}."
    if run := _run(case, semconv.TYPE_COMMIT):
        yield f"If it decided to commit: {run}"
    if run := _run(case, semconv.TYPE_ROLLBACK):
        yield f"If it decided to roll back, or is known to have decided nothing: {run}"


def _last_word(case: Case) -> int:
    """When the process that drives the saga last told of it, on the saga's clock."""
    root = case.root
    if root is None:
        return 0
    views = [view for each in case.tries for view in each.attempt.views if view.process == root.process]
    return max(case.at(root.process, each.end or each.start) for each in (root, *views))


def _participants(case: Case) -> str:
    return listing([each.step.name for each in undecided(case)])


def undecided(case: Case) -> list[Try]:
    """The participants that are prepared and were not decided."""
    decided = {each.step.name for each in case.tries if each.step.type in VERBS}
    return [
        each
        for each in case.tries
        if each.step.type == semconv.TYPE_PREPARE
        and each.attempt.state is AttemptState.OK
        and each.step.name not in decided
    ]


def _run(case: Case, way: str) -> str:
    """What a person would run, where participants say it."""
    said = [(each, _statement(each, STATEMENTS[way])) for each in undecided(case)]
    return " ".join(f"Run in {each.step.service or each.step.name}: {text}" for each, text in said if text)


def _statement(each: Try, name: str) -> str | None:
    for view in each.attempt.views:
        if text := values.text(view.attributes.get(name)):
            return text
    return None


def _told(case: Case, each: Try) -> str:
    return f"{each.step.name} {PAST[each.step.type]} at {_clock(case, each.attempt.over or each.attempt.began)}"


def _clock(case: Case, at: int) -> str:
    return clock(at, case.watch.now)
