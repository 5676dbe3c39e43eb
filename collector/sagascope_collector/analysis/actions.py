"""Recommended actions, by attention code, in the order in which a person should take them.

Work is repeated or reversed only with a key that was received, or after a check.
"""

import shlex
from collections.abc import Iterator, Sequence

from sagascope import semconv
from sagascope_collector.analysis import deadlines, messages, plans, progress_rules, two_phase, values
from sagascope_collector.analysis.case import Case, Finding, StepAttempt
from sagascope_collector.analysis.deadlines import consecutive_failures, is_retrier_lost
from sagascope_collector.analysis.headline import bracketed_error, subject_of
from sagascope_collector.analysis.ledger import StepEffect, is_for_good
from sagascope_collector.analysis.model import AttemptState, BlockReport, LedgerState, Phase, StepState
from sagascope_collector.analysis.order import called_after
from sagascope_collector.analysis.wording import (
    Action,
    Text,
    capitalized,
    money,
    phrase,
    process_label,
    sentences,
    shortened,
)


def instance_lost(case: Case, finding: Finding) -> list[Action]:
    """An executor, a retrying process or the process that runs the saga is lost."""
    subject = finding.subject
    if subject is not None and any(each.process is finding.process for each in case.saga.lost_workers):
        return [
            Action.verify("Verify that the worker has stopped: a worker all of whose slots are taken does not poll."),
            Action.inspect("Do not repeat {} by hand: its engine starts it again when it times out.", _step(finding)),
        ]
    if subject is not None and subject.attempt.state is AttemptState.IN_FLIGHT:
        return _check_then_repeat(case, finding, subject)
    lost = process_label(finding.process) if finding.process else "the process that runs it"
    text = "Verify that {} has stopped and that no other instance has taken over {}, and find out why it stopped."
    found = [Action.verify(text, lost, case.saga.label)]
    if case.unseen_after_rollback and not case.undecided:
        return [*found, *two_phase.of_unseen_participants(case)]
    if subject is not None and is_retrier_lost(case, finding):
        return [*found, *_check_then_repeat(case, finding, subject)]
    return [*found, *_continue_after(case, finding)]


def retrying(case: Case, finding: Finding) -> list[Action]:
    """A step keeps failing and is retried."""
    failures = consecutive_failures(subject_of(finding))
    error = shortened(failures[-1].attempt.error_text)
    why = f": {error}" if error else ""
    cause = Action.inspect("Fix what makes {} fail in {}{}.", _step(finding), _service(finding), why)
    coming = capitalized(deadlines.forecast_text(case, failures[-1])) or Text("It is still being retried")
    if any(each.attempt.state is AttemptState.UNKNOWN and not each.attempt.idempotency_key for each in failures):
        text = (
            "Verify in {} whether an attempt of {} took effect for {}: without a key, each retry may execute it again."
        )
        return [
            Action.verify(text, _service(finding), _step(finding), case.saga.label),
            cause,
            Action(cause.kind, sentences(coming)),
        ]
    return [cause, Action(cause.kind, sentences(coming, "Do not resubmit it in addition"))]


def hung(case: Case, finding: Finding) -> list[Action]:
    """An attempt exceeded its deadline, in a process that reports or in an unknown process."""
    if found := messages.actions(case, finding):
        return found
    subject = subject_of(finding)
    if (child := subject.attempt.child) is not None:
        return [
            Action.inspect("Open {} {}, for which it waits, and follow its actions.", child.name or "saga", child.id)
        ]
    if queue := messages.queue_of(subject.attempt):
        text = "Check that a worker receives from {}, and start one if none does; {} then continues by itself."
        return [Action.start(text, queue, case.saga.label)]
    process = process_label(subject.attempt.process)
    cause = Action.inspect("Check what {} waits for in {}: the attempt may still finish.", process, _step(finding))
    return [cause, *_check_then_repeat(case, finding, subject)]


def next_step_missing(case: Case, finding: Finding) -> list[Action]:
    """A step, a retry or a compensation did not start."""
    if found := messages.actions(case, finding):
        return found
    subject = finding.subject
    if case.unseen_after_rollback and not case.undecided:
        return list(two_phase.of_unseen_participants(case))
    if (
        subject is not None
        and subject.attempt.state is AttemptState.ERROR
        and is_for_good(subject.attempt, case.saga.status)
    ):
        process = process_label(finding.process or subject.attempt.views[0].process)
        text = "Check in {} why it neither compensated nor closed {} after the last attempt of {} failed."
        return [Action.inspect(text, process, case.saga.label, subject.step.name)]
    if subject is not None and subject.attempt.state is not AttemptState.OK:
        return [_find_what_followed(case, finding, subject), *_check_then_repeat(case, finding, subject)]
    return [_find_cause(case, finding), *_continue_after(case, finding)]


def never_closed(case: Case, finding: Finding) -> list[Action]:
    """Every step has ended, and the saga was not closed."""
    orchestrator = process_label(finding.process) if finding.process else "the service that runs it"
    why = Action.inspect("Check in {} why it did not close {}.", orchestrator, case.saga.label)
    return [why, *_verify_items(case), *_close(case, "have it close the saga")]


def _close(case: Case, how: str) -> list[Action]:
    """Closes a saga of which every step has ended, as far as telemetry shows."""
    outcome = "compensated" if case.is_compensating else "completed"
    is_right = "no step is left to compensate" if case.is_compensating else "each step took effect"
    checks = [*_verify_failed_compensations(case), *_verify_unfinished_steps(case), *_verify_unknown_steps(case)]
    if case.is_compensating:
        checks += [*_verify_kept_steps(case), *_verify_partial_compensations(case), *_verify_missing_records(case)]
    condition = f"Only if {is_right}," if checks or _verify_items(case) else "Then"
    return [*checks, Action.close("{} {} as {}; no step needs to run again.", condition, how, outcome)]


def _verify_kept_steps(case: Case) -> list[Action]:
    """Verifies committed steps without a known compensation: a plan that declares none does not exclude one."""
    text = "Verify whether {} of {} must be compensated: no compensation of this step is known."
    return [Action.verify(text, effect.label, case.saga.label) for effect in case.kept_effects]


def _verify_partial_compensations(case: Case) -> Iterator[Action]:
    """Verifies steps whose compensation reported a smaller amount than the step."""
    text = "Verify in {} that nothing more of {} is in effect: {} reported {} of {}."
    for effect, entry in case.effects:
        amount, compensated = entry.amount, entry.compensated_amount
        if amount is not None and compensated is not None and compensated < amount:
            service, by = process_label(effect.executed[0].process), effect.compensation or "its compensation"
            of = money(amount, entry.currency)
            yield Action.verify(text, service, effect.label, by, money(compensated, entry.currency), of)


def _verify_missing_records(case: Case) -> list[Action]:
    """Verifies steps that may be in effect without a record; none if no record is known to be missing."""
    names = list(dict.fromkeys(effect.name for effect, _ in case.effects if effect.compensation))
    if not (case.saga.lacks_records and names):
        return []
    text = "Verify that nothing else of {} is in effect, such as a further {}: records of it are missing."
    return [Action.verify(text, case.saga.label, " or ".join(names))]


def uncompensated(case: Case, finding: Finding) -> list[Action]:
    """A committed step has no compensation that succeeded."""
    if case.has_unread_steps:
        return _verify_unread_steps(case)
    service, (effect, entry) = _service(finding), case.effect_of(subject_of(finding)) or (None, None)
    if effect is None or entry is None:
        return _verify_unread_steps(case)
    step, compensation, key = effect.label, effect.compensation or "its compensation", _compensation_key(case, effect)
    if entry.state is LedgerState.COMPENSATION_UNKNOWN:
        what = f"{compensation} of {step}" if effect.key else compensation
        check = Action.verify("Verify in {} whether {} took effect for {}.", service, what, case.saga.label)
        return [check, _compensate("Only if it did not and can no longer take effect, run it", key)]
    since, item = " since" if effect.compensated else "", " for it" if effect.key else ""
    text = "Verify in {} whether {} is in effect for {}, and that {} has not been executed{}{}."
    check = Action.verify(text, service, step, case.saga.label, compensation, item, since)
    condition = f"{step} is in effect and was not compensated"
    if (pivot := case.saga.passed_pivot) is None:
        return [check, _compensate(f"Only if {condition}, run {compensation}{item}", key)]
    text = "Verify in {} whether {} took effect for {}: it is the pivot, after which only forward is possible."
    return [
        Action.verify(text, case.service_of(pivot.name) or "its service", pivot.label, case.saga.label),
        Action.repeat("If it did, compensate nothing: run the steps after it that did not take effect."),
        check,
        _compensate(f"Only if {pivot.label} did not take effect, and {condition}, run {compensation}{item}", key),
    ]


def compensation_failed(case: Case, finding: Finding) -> list[Action]:
    """A compensation failed and is not retried."""
    if case.has_unread_steps:
        return _verify_unread_steps(case)
    step, attempt = subject_of(finding)
    text = "Verify in {} whether {} took effect for {} in spite of the error{}."
    check = Action.verify(text, _service(finding), step.label, case.saga.label, bracketed_error(attempt))
    return [
        check,
        _compensate(f"Only if it did not take effect, fix the error and run {step.label}", attempt.idempotency_key),
    ]


def _verify_unread_steps(case: Case) -> list[Action]:
    closing = case.saga.closing
    table = values.text(closing.attributes.get(semconv.TABLE_NAME)) if closing is not None else None
    return [
        Action.verify(
            "Verify in the row of {} and in the services which steps of {} took effect.", table or "", case.saga.label
        ),
        Action.reverse("Only then compensate, or correct by hand, what is still in effect."),
    ]


def _compensate(text: str, key: str | None) -> Action:
    if key is None:
        return Action.reverse("{} once: no idempotency key for it was received.", text)
    return Action.reverse("{} with its idempotency key {}.", text, key, key=key)


def applied_twice(case: Case, finding: Finding) -> list[Action]:
    """Something was executed twice, or after its compensation."""
    second, first = subject_of(finding), finding.other
    service, step = _service(finding), second.step.label
    if first is not None and first.step.type != second.step.type:
        text = "Verify in {} whether {} is in effect for {}: it was executed after {}."
        check = Action.verify(text, service, step, case.saga.label, first.step.name)
        return [check, Action.reverse("Only if it is in effect and should not be, run {} for it.", first.step.name)]
    check = Action.verify(
        "Verify in {} whether both executions of {} took effect for {}.", service, step, case.saga.label
    )
    if finding.phase is Phase.COMPENSATION:
        return [check, Action.reverse("Only if both took effect, correct the surplus one by hand.")]
    effect, _ = case.effect_of(second) or (StepEffect(step, ""), None)
    if any(each.state is not AttemptState.ERROR for each in effect.compensation_attempts):
        count = "Verify in {} how many executions of {} took effect for {}, and how many of them {} has reversed."
        check = Action.verify(count, service, step, case.saga.label, effect.compensation or "its compensation")
        return [check, Action.reverse("Only if more are in effect than should be, reverse the surplus.")]
    return [check, Action.reverse("Only if both took effect, reverse exactly one of them.")]


def _unpause(case: Case, report: BlockReport) -> str:
    """Returns Temporal's command that resumes the paused activity, in brackets; ``""``: it is none of Temporal's."""
    ids = (report.trace_id, report.span_id)
    span = next((each for each in case.saga.spans if (each.trace_id, each.span_id) == ids), None)
    activity = span.attributes.get(semconv.TEMPORAL_ACTIVITY_ID) if span is not None else None
    if span is None or not activity:
        return ""
    options = {"workflow-id": case.saga.key.id, "activity-id": activity}
    options["namespace"] = span.resource.attributes.get(semconv.TEMPORAL_NAMESPACE, "default")
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return f" ({shlex.join(['temporal', 'activity', 'unpause', *words])})"


def blocked(case: Case, finding: Finding) -> list[Action]:
    """An engine or a sender reports what stops the saga."""
    report = case.saga.blocked[0]
    saga, reason = case.saga.label, shortened(report.text)
    match report.cause:
        case "no_worker":
            return [Action.start("Start a worker for it ({}); {} then continues by itself.", reason, saga)]
        case "paused":
            return [
                Action.inspect("Find out who paused it, and why ({}).", reason),
                Action.start("Then resume it in the engine{}; {} continues by itself.", _unpause(case, report), saga),
            ]
        case "task_failing":
            since = case.time_text(report.since)
            text = "Fix the error that its own task reports ({}); check the deployment before {}."
            return [
                Action.inspect(text, reason, since),
                Action.inspect("{} then continues by itself; do not start it again.", saga),
            ]
        case "unpublished":
            text = "Fix the error of the outbox ({}); it then publishes the message by itself."
            return [Action.inspect(text, reason), Action.inspect("Do not publish the message by hand in addition.")]
        case "dead_letter":
            where = f" from {report.queue}" if report.queue else ""
            cause = Action.inspect("Remove the cause ({}).", reason)
            return [cause, *messages.deliver_again(case, finding, where)]
    return [
        Action.inspect(
            "Remove what its engine reports as the obstacle ({}); {} then continues by itself.", reason, saga
        )
    ]


def _check_then_repeat(case: Case, finding: Finding, subject: StepAttempt) -> list[Action]:
    """Verifies whether the attempt took effect, then repeats it, with its key if one was received.

    Forward work is not repeated while the saga may be compensating, even if no compensation was received.
    """
    step, attempt = subject
    check, key = _check(case, finding, subject), attempt.idempotency_key
    is_forward = step.phase is Phase.FORWARD
    if is_forward and case.is_compensating:
        text = "If it took effect, find out whether it is to be compensated; do not run it again."
        return [check, Action.inspect(text)]
    saga = case.saga.label
    unless = phrase(", and {} is not being compensated", saga) if is_forward else Text()
    if key is not None:
        text = "If the key is absent{}, run {} again with the same key {}; if it is present, continue after {}."
        return [check, Action.repeat(text, unless, step.label, key, step.label, key=key)]
    is_over = attempt.state is not AttemptState.IN_FLIGHT and attempt.is_executor_known and attempt.views[-1].end
    again = "" if is_over else "and can no longer "  # a caller may give up while the executor goes on
    text = "Only if it did not {}take effect{}, run {} again; if it did, continue after it."
    return [check, Action.repeat(text, again, unless, step.label)]


def _check(case: Case, finding: Finding, subject: StepAttempt) -> Action:
    service, saga, key, name = _service(finding), case.saga.label, subject.attempt.idempotency_key, subject.step.label
    if key is not None:
        return Action.verify(
            "Look up idempotency key {} in {}: it shows whether {} took effect for {}.", key, service, name, saga
        )
    text = (
        "Verify in {} whether {} took effect for {}: without an idempotency key, running it again may execute it twice."
    )
    return Action.verify(text, service, name, saga)


def _verify_items(case: Case) -> list[Action]:
    """Verifies the items of a step that runs once per item.

    Plans do not state the number of items, so some may be missing.
    """
    repeated = {
        each.step.name: each.step for each in case.step_attempts if each.step.key and each.step.phase is case.phase
    }
    text = "Verify in {} for which items {} took effect: it runs once for each, and their number was not received."
    return [Action.verify(text, step.service or "its service", name) for name, step in repeated.items()]


def _verify_failed_compensations(case: Case) -> list[Action]:
    """Verifies a step that was not seen and whose compensation failed: the step may be in effect."""
    failed = [
        step
        for step in case.saga.steps
        if step.phase is Phase.COMPENSATION and step.state in (StepState.FAILED, StepState.UNKNOWN) and step.compensates
    ]
    text = "Verify in {} that {} is not in effect for {}: {} did not succeed, and what it compensates may not be known."
    return [
        Action.verify(text, step.service or "its service", step.compensates or "", case.saga.label, step.label)
        for step in failed
    ]


def _verify_unfinished_steps(case: Case) -> list[Action]:
    """Verifies the steps that must have run before others and were not seen, or whose outcome was not received."""
    missing = dict.fromkeys(case.unseen_steps, "no record of it was received")
    if not case.is_compensating:
        states = {step.name: step.state for step in case.saga.steps}
        unfinished = [step.name for step in plans.unfinished(case.saga.plan, case.saga.steps)]
        open_states = (StepState.IN_FLIGHT, StepState.UNKNOWN)
        missing |= {name: "its outcome was not received" for name in unfinished if states.get(name) in open_states}
    text = "Verify in {} whether {} is in effect for {}: {}, although later steps ran."
    return [
        Action.verify(text, case.service_of(step) or "its service", step, case.saga.label, what)
        for step, what in missing.items()
    ]


def _verify_unknown_steps(case: Case) -> list[Action]:
    """Verifies, while the saga is compensated, the steps whose outcome was not received."""
    unknown = [entry for entry in case.saga.ledger if case.is_compensating and entry.state is LedgerState.UNKNOWN]
    text = "Verify in {} whether {} is in effect for {}: its outcome was not received."
    return [
        Action.verify(text, case.service_of(entry.step) or "its service", entry.label, case.saga.label)
        for entry in unknown
    ]


def _continue_after(case: Case, finding: Finding) -> list[Action]:
    """Continues after the last step that succeeded. The next step, or another item, may have run without being seen."""
    return [*_verify_items(case), *_continue(case, finding)]


def _continue(case: Case, finding: Finding) -> list[Action]:
    wanted = progress_rules.awaited(case)
    if wanted is not None and wanted.is_close:
        return _close(case, "close the saga")
    last, step = case.last, finding.step
    after = f"after {last.step.name}" if last is not None and last.attempt.state is AttemptState.OK else ""
    if step is None or (last is not None and step == last.step.name):
        what = f"which steps took effect for {case.saga.label} {after}".rstrip()
        return [
            Action.verify("Verify in its services {}: telemetry of them may be missing.", what),
            Action.repeat("Then continue {}, with the first step that did not take effect.", after or case.saga.label),
        ]
    service = case.service_of(step) or f"the service that runs {step}"
    going = f"continue {after} with" if after else "continue with"
    effect = _effect_to_compensate(case, step)
    entry = next((each for each in case.saga.ledger if each.compensation == step), None)
    if effect is not None or entry is not None:
        compensated = effect.label if effect is not None else entry.step if entry is not None else ""
        key, item = (_compensation_key(case, effect), " for it" if effect.key else "") if effect else (None, "")
        text = "Verify in {} whether {} is in effect for {}, and that {} has not been executed{}."
        check = Action.verify(text, service, compensated, case.saga.label, step, item)
        text = "Only if {} is in effect, {} {}{}{}."
        return [check, Action.repeat(text, compensated, going, step, item, _with_key(key), key=key)]
    attempts = case.unsuccessful(step)
    items, key = {each.step.label for each in attempts}, _open_key(attempts)
    wanted_item = items.pop() if len(items) == 1 else step
    seen = "success" if attempts else "record"
    text = "Verify in {} whether {} took effect for {}: no {} of it was received, but telemetry may be missing."
    return [
        Action.verify(text, service, wanted_item, case.saga.label, seen),
        Action.repeat(
            "Only if it did not and can no longer take effect, and {} is not being compensated, {} {}{}; "
            "if it did, continue after it.",
            case.saga.label,
            going,
            wanted_item,
            _with_key(key),
            key=key,
        ),
    ]


def _effect_to_compensate(case: Case, compensation: str) -> StepEffect | None:
    """The effect that this compensation is to reverse: that of the failing attempt, else the next one."""
    failing, due = case.failing, case.next_compensation
    if failing is not None and failing.step.name == compensation:
        reversed_by = (
            effect
            for effect in case.step_effects
            if any(one is failing.attempt for one in effect.compensation_attempts)
        )
        return next(reversed_by, None)
    return due if case.is_compensating and due is not None and due.compensation == compensation else None


def _find_what_followed(case: Case, finding: Finding, subject: StepAttempt) -> Action:
    """Checks for a retry or a compensation that started without being seen; if there is one, nothing is repeated."""
    views = subject.attempt.views
    process = finding.process or (views[0].process if views else subject.attempt.process)
    text = "Verify in {} that neither a retry of {} nor a compensation for {} started, and find out why not."
    return Action.verify(text, process_label(process), subject.step.name, case.saga.label)


def _find_cause(case: Case, finding: Finding) -> Action:
    step = _step(finding)
    is_last = case.last is not None and case.last.attempt.state is AttemptState.OK and step == case.last.step.name
    if finding.process is not None:
        what = f"{step} did not {'succeed' if case.unsuccessful(step) else 'start'}"
        text = "Verify in {} that it no longer works on {}, and find out why {}."
        what = f"nothing followed {step}" if is_last else what
        return Action.verify(text, process_label(finding.process), case.saga.label, what)
    if is_last:
        return Action.inspect("Find out which service should have continued after {}, and why it did not.", step)
    if finding.service:
        return Action.inspect(
            "Check in {} whether it was requested to run {}, and in its caller why not.", finding.service, step
        )
    return Action.inspect("Find out which service should have requested {}, and why it did not.", step)


def _compensation_key(case: Case, effect: StepEffect) -> str | None:
    """The idempotency key of the compensation of one item, of an attempt since the item was last committed.

    With the key of another item, or of an earlier compensation, the service would compensate nothing.
    """
    attempts = case.compensations_of(effect)
    if effect.compensated and effect.committed:
        attempts = [each for each in attempts if called_after(each.attempt, effect.committed[-1])]
    used = {
        each.attempt.idempotency_key
        for each in case.step_attempts
        if each.step.name == effect.compensation and each.attempt.state is AttemptState.OK
    }
    return _open_key([each for each in attempts if each.attempt.idempotency_key not in used])


def _open_key(attempts: Sequence[StepAttempt]) -> str | None:
    """The latest idempotency key of these attempts; None if they carry none, or belong to several items."""
    keyed = [each for each in attempts if each.attempt.idempotency_key]
    return keyed[-1].attempt.idempotency_key if len({each.step.key for each in keyed}) == 1 else None


def _with_key(key: str | None) -> Text:
    return phrase(", with idempotency key {}", key) if key else Text()


def _step(finding: Finding) -> str:
    return finding.step or "the step"


def _service(finding: Finding) -> str:
    return finding.service or "the service that runs it"
