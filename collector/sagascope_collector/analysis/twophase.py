"""Two-phase commits of which one participant committed and another rolled back."""

from collections.abc import Iterable, Iterator

from sagascope import semconv
from sagascope_collector.analysis.model import AttemptState, MixedOutcome, Participant, Step

DECISIONS = (semconv.TYPE_COMMIT, semconv.TYPE_ROLLBACK)


def mixed_outcomes(steps: Iterable[Step]) -> tuple[MixedOutcome, ...]:
    """Every two-phase commit that ended mixed, in the order in which they began.

    Commits with different keys are different ones; of one key the next begins with a vote after a decision.
    """
    by_key: dict[str, list[Participant]] = {}
    for step in steps:
        if step.type in (semconv.TYPE_PREPARE, *DECISIONS):
            by_key.setdefault(step.key, []).extend(Participant(step, attempt) for attempt in step.attempts)
    found = (_mixed(one) for _, parts in sorted(by_key.items()) for one in _divided(parts))
    return tuple(each for each in found if each)


def _divided(parts: list[Participant]) -> Iterator[list[Participant]]:
    """The participants of each two-phase commit among those of one key."""
    current: list[Participant] = []
    decided: set[str] = set()
    for each in sorted(parts, key=lambda part: (part.attempt.began, part.attempt.span_id)):
        if each.step.type in DECISIONS:
            decided.add(each.step.name)
        elif each.step.name in decided:  # it votes again, so that this is the next one
            yield current
            current, decided = [], set()
        current.append(each)
    yield current


def _mixed(parts: Iterable[Participant]) -> MixedOutcome | None:
    done = [each for each in parts if each.attempt.state is AttemptState.OK]
    committed = tuple(each for each in done if each.step.type == semconv.TYPE_COMMIT)
    rolled_back = tuple(each for each in done if each.step.type == semconv.TYPE_ROLLBACK)
    names = {each.step.name for each in committed} | {each.step.name for each in rolled_back}
    return MixedOutcome(committed, rolled_back) if committed and rolled_back and len(names) > 1 else None
