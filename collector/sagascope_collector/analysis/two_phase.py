"""Two-phase commits: participants in doubt, and mixed outcomes. The rules, the facts of headlines, and the actions.

No statement is given before every participant is known, and none against the decision of another participant.
"""

from collections.abc import Iterator

from sagascope import semconv
from sagascope_collector.analysis import deadlines, ledger, values
from sagascope_collector.analysis.case import Case, Finding, StepAttempt
from sagascope_collector.analysis.headline import end_text, subject_of
from sagascope_collector.analysis.model import TWO_PHASE_TYPES, AttemptState, Confidence, Phase, Step, StepState
from sagascope_collector.analysis.steps import DECISIONS, two_phase_commits, unseen_participants
from sagascope_collector.analysis.wording import Action, Text, joined, name_list, phrase, process_label
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.durations import NANOSECONDS_PER_SECOND

DECISION_VERBS = {semconv.TYPE_COMMIT: "commit", semconv.TYPE_ROLLBACK: "roll back"}
DECISION_PAST = {semconv.TYPE_COMMIT: "committed", semconv.TYPE_ROLLBACK: "rolled back"}
DECISION_STATEMENTS = {semconv.TYPE_COMMIT: semconv.SETTLE_COMMIT, semconv.TYPE_ROLLBACK: semconv.SETTLE_ROLLBACK}
POSTGRES_STATEMENTS = {semconv.TYPE_COMMIT: "COMMIT PREPARED", semconv.TYPE_ROLLBACK: "ROLLBACK PREPARED"}


def find_in_doubt(case: Case) -> Finding | None:
    """A participant is prepared, and no successful commit or rollback of it was received in time."""
    for each in sorted(case.undecided, key=lambda each: each.attempt.finished_at or 0, reverse=True):
        step, attempt = each
        if _is_decision_late(case, step):
            reported_at = case.reported_since(step.service, attempt.finished_at or 0)
            is_unknown = any(one.state is AttemptState.UNKNOWN for one in case.decisions(each))
            confidence = Confidence.LIKELY if reported_at and not is_unknown else Confidence.POSSIBLE
            return Finding.of_attempt(AttentionCode.IN_DOUBT, each, step.service, case.stopped_at, confidence)
    return None


def _is_decision_late(case: Case, prepared: Step) -> bool:
    """Whether the decision is late, and all votes were received or the missing votes are late."""
    votes = [each for each in case.step_attempts if each.step.type in TWO_PHASE_TYPES]
    for each in votes:
        missing = each.step.type == semconv.TYPE_PREPARE and each.attempt.state is AttemptState.IN_FLIGHT
        if missing and not deadlines.is_late(case, deadlines.of_attempt(case, each)):
            return False
    since = max((each.attempt.finished_at or 0 for each in votes), default=0)
    return deadlines.is_late(case, deadlines.of_next(case, prepared.name, since))


def find_mixed_outcome(case: Case) -> Finding | None:
    """One participant of a two-phase commit committed and another rolled back, or may have."""
    if not case.saga.mixed_outcomes:
        return _unproven_outcome(case)
    mixed = case.saga.mixed_outcomes[0]
    latest = max(
        (*mixed.committed, *mixed.rolled_back), key=lambda each: each.attempt.finished_at or each.attempt.called_at
    )
    step = latest.step
    return Finding(
        AttentionCode.MIXED_OUTCOME,
        Phase.FORWARD,
        step.name,
        case.service_of(step.name),
        latest.attempt.finished_at or latest.attempt.called_at,
        Confidence.CERTAIN,
        subject=StepAttempt(step, latest.attempt),
    )


def _unproven_outcome(case: Case) -> Finding | None:
    """A participant was decided late, probably by a person, and one that was not seen may have ended differently."""
    is_ended = ledger.has_ended(case.saga.status) and not case.undecided
    if not is_ended or not case.saga.may_have_other_participants or not _is_place_to_verify_known(case):
        return None
    votes = (each for each in case.step_attempts if each.step.type == semconv.TYPE_PREPARE)
    voted_at = max((each.attempt.finished_at or 0 for each in votes), default=0)
    for each in reversed(case.step_attempts):
        step, decided_at = each.step, each.attempt.finished_at
        if step.type not in DECISIONS or each.attempt.state is not AttemptState.OK or decided_at is None:
            continue
        due = deadlines.of_next(case, step.name, voted_at)
        if decided_at > due.start + round(due.seconds * NANOSECONDS_PER_SECOND):
            service = case.service_of(step.name)
            reason = AttentionCode.MIXED_OUTCOME
            return Finding(reason, Phase.FORWARD, step.name, service, decided_at, Confidence.POSSIBLE, subject=each)
    return None


def _is_place_to_verify_known(case: Case) -> bool:
    """Whether a declared plan or a bridge names a participant that was not seen; other sagas may have had more."""
    if case.saga.plan.source == "declared":
        return any(step.state is StepState.NOT_SEEN for step in case.saga.steps)
    return any(unseen_participants(case.saga.steps))


def in_doubt_fact(case: Case, finding: Finding) -> Text:
    """The fact of `in_doubt`."""
    prepared = case.undecided
    if gone := [each for each in prepared if case.decision_unknown_since(each)]:
        text = "In doubt: {} was prepared until {}; whether it committed or rolled back is not known"
        return phrase(
            text,
            name_list([_participant(each) for each in gone]),
            case.time_text(case.decision_unknown_since(gone[0]) or 0),
        )
    have = "has" if len(prepared) == 1 else "have"
    text = "In doubt: {} {} been prepared since {}, and no successful commit or rollback was received"
    names = name_list([_participant(each) for each in prepared])
    return phrase(text, names, have, end_text(case, subject_of(finding).attempt))


def _participant(prepared: StepAttempt) -> str:
    """Returns a participant's service, with its step where that has another name."""
    service, step = process_label(prepared.attempt.process), prepared.step.name
    return service if service == step else f"{service} ({step})"


def mixed_outcome_fact(case: Case, finding: Finding) -> Text:
    """The fact of `mixed_outcome`."""
    if not case.saga.mixed_outcomes:
        each = subject_of(finding)
        verb, other = (
            ("committed", "rolled back") if each.step.type == semconv.TYPE_COMMIT else ("rolled back", "committed")
        )
        text = "{} {} at {}, long after it was prepared; whether {} took part, and {}, is not known"
        return phrase(text, each.step.name, verb, end_text(case, each.attempt), case.unseen_participants, other)
    mixed = case.saga.mixed_outcomes[0]
    sides = [
        phrase("{} {} at {}", each.step.name, verb, end_text(case, each.attempt))
        for verb, side in (("committed", mixed.committed), ("rolled back", mixed.rolled_back))
        for each in side
    ]
    return phrase("The participants of one two-phase commit ended differently: {}", name_list(sides))


def in_doubt_actions(case: Case, finding: Finding) -> list[Action]:
    """A participant is prepared and undecided."""
    del finding
    return list(_decide(case))


def mixed_outcome_actions(case: Case, finding: Finding) -> list[Action]:
    """Participants of one two-phase commit ended differently."""
    del finding
    if not case.saga.mixed_outcomes:
        unseen = case.unseen_participants
        return [
            Action.inspect(
                "Look up in the coordinator's log which participants {} had, and what it decided.", case.saga.label
            ),
            Action.verify("Verify in {} whether it took part, and how it ended: nothing was received from it.", unseen),
            Action.reverse(
                "Only if it ended differently, correct by hand the participants that ended otherwise than decided."
            ),
        ]
    mixed = case.saga.mixed_outcomes[0]
    names = list(dict.fromkeys(each.step.name for each in (*mixed.committed, *mixed.rolled_back)))
    text = "Verify in each participant ({}) whether {} is in effect, and in the coordinator's log what was decided."
    return [
        Action.verify(text, ", ".join(names), case.saga.label),
        Action.reverse("Only then correct by hand the participants that ended otherwise than decided."),
    ]


def of_unseen_participants(case: Case) -> Iterator[Action]:
    """Actions where one participant rolled back, and nothing was received of others that the plan names."""
    unseen = name_list(case.unseen_after_rollback)
    text = "Verify in {} whether it took part, and committed or rolled back: nothing was received from it."
    yield Action.verify(text, unseen)
    rolled_back = [each for each in case.step_attempts if each.step.type == semconv.TYPE_ROLLBACK]
    text = "Only if one committed, correct by hand what ended otherwise than the coordinator decided: {}."
    yield Action.reverse(text, joined("; ", [_decision(case, each) for each in rolled_back]))


def _decide(case: Case) -> Iterator[Action]:
    """Actions that decide a prepared participant, never against the decision of another participant."""
    votes = [id(each.attempt) for each in case.undecided]
    commits = [one for one in two_phase_commits(case.saga.steps) if any(id(each.attempt) in votes for each in one)]
    decided = [
        StepAttempt(*each)
        for each in (commits[0] if len(commits) == 1 else ())  # one commit tells nothing about another
        if each.step.type in DECISIONS and each.attempt.state is AttemptState.OK
    ]
    decided_types = {each.step.type for each in decided}
    if len(decided_types) > 1:
        decisions = joined("; ", [_decision(case, each) for each in decided])
        yield Action.verify(
            "The participants differ: {}. Find out in the coordinator's log what was decided.", decisions
        )
        yield Action.repeat("Only then decide the others, and correct by hand the participants that ended otherwise.")
        return
    if decided_types:
        (type_,) = decided_types
        text = "Verify in the coordinator's log that it decided to {}, as {}."
        yield Action.verify(text, DECISION_VERBS[type_], _decision(case, decided[0]))
        yield from _verify_unseen(case)
        run = _run(case, type_)
        yield Action.repeat(
            "Then have {} {}, too.{}", _participants(case), DECISION_VERBS[type_], f" {run}" if run else ""
        )
        return
    yield from _of_coordinator(case)


def _of_coordinator(case: Case) -> Iterator[Action]:
    """Actions for a commit of which no participant received a decision: only the coordinator may know it."""
    root = case.root
    if root is None:
        coordinator, seen = "the coordinator", Text("Nothing was received from it")
    else:
        coordinator = process_label(root.process)
        seen = phrase("Its last record here is from {}", case.time_text(_last_record(case)))
    name = case.saga.label
    yield Action.verify("Look up in the log of {} what it decided about {}. {}.", coordinator, name, seen)
    verifications = list(_verify_unseen(case))
    if verifications:
        yield from verifications
        text = "Only then have {} carry out what the coordinator decided, and never the opposite of what others did."
        yield Action.repeat(text, _participants(case))
        return
    yield Action.repeat("Have {} carry out what the coordinator decided.", _participants(case))
    if run := _run(case, semconv.TYPE_COMMIT):
        yield Action.repeat("If it decided to commit: {}", run)
    if run := _run(case, semconv.TYPE_ROLLBACK):
        yield Action.repeat("If it decided to roll back, or its log shows that it decided nothing: {}", run)


def _verify_unseen(case: Case) -> Iterator[Action]:
    """Actions for participants whose decision is not known. Until they are verified, no statement is given."""
    for each in case.undecided:
        if case.decision_unknown_since(each):
            text = "Verify in {} whether it committed or rolled back: it is no longer prepared."
            yield Action.verify(text, each.step.name)
    if case.unseen_participants:
        text = "Verify in {} whether it took part, and committed or rolled back: nothing was received from it."
        yield Action.verify(text, case.unseen_participants)


def _last_record(case: Case) -> int:
    """The time of the last report by the process that runs the saga, on the saga's clock."""
    root = case.root
    if root is None:
        return 0
    views = [view for each in case.step_attempts for view in each.attempt.views if view.process == root.process]
    return max(case.at(root.process, each.end or each.start) for each in (root, *views))


def _participants(case: Case) -> Text:
    return name_list([each.step.name for each in case.undecided]) or Text("the undecided participants")


def _run(case: Case, type_: str) -> str:
    """The statements to run, if participants report them; none before every participant is known."""
    if case.unseen_participants or any(case.decision_unknown_since(each) for each in case.undecided):
        return ""
    statements = [(each, _statement(each, type_)) for each in case.undecided]
    return " ".join(f"Run in {each.step.service or each.step.name}: {text}" for each, text in statements if text)


def _statement(each: StepAttempt, type_: str) -> str | None:
    for view in each.attempt.views:
        if text := values.text(view.attributes.get(DECISION_STATEMENTS[type_])):
            return text
        if gid := values.text(view.attributes.get(semconv.PREPARED_GID)):
            quoted = gid.replace("'", "''")
            return f"{POSTGRES_STATEMENTS[type_]} '{quoted}';"
    return None


def _decision(case: Case, each: StepAttempt) -> Text:
    at = case.time_text(each.attempt.finished_at or each.attempt.called_at)
    return phrase("{} {} at {}", each.step.name, DECISION_PAST[each.step.type], at)
