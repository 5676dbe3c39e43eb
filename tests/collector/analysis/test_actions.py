"""Actions do no harm: over every scenario and code, with and without idempotency keys.

An action that repeats or reverses work names a key that was received, or follows one that verifies what took effect.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sagascope import semconv
from sagascope_collector.analysis import Context, diagnosis, rebuild
from sagascope_collector.analysis.case import Case, Finding
from sagascope_collector.analysis.model import Saga
from sagascope_collector.analysis.wording import Action, ActionKind
from sagascope_collector.attention_codes import AttentionCode
from support.scenario import CASES, read
from support.storied_facts import STARTED, Seen, seen
from support.telemetry import SECOND, emit

WORK = re.compile(
    r"(?:^|[.;:,] |[Tt]hen |and )(?:run|resubmit|re-run|repeat|reverse|compensate|execute|deliver|retry)\b"
)
"""Words that ask for work to be run or reversed, at the start of a clause."""

KEYS = (None, "key-of-{}")


def with_keys(known: Seen, key: str | None) -> Seen:
    """The same telemetry, its attempts with this idempotency key, or with none."""

    def keyed(attributes: dict[str, object]) -> dict[str, object]:
        rest = {name: value for name, value in attributes.items() if name != semconv.STEP_IDEMPOTENCY_KEY}
        step = attributes.get(semconv.STEP_NAME)
        is_attempt = attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP
        return rest | ({semconv.STEP_IDEMPOTENCY_KEY: key.format(step)} if key and is_attempt else {})

    spans = tuple(replace(span, attributes=keyed(dict(span.attributes))) for span in known.spans)
    logs = tuple(replace(log, attributes=keyed(dict(log.attributes))) for log in known.logs)
    return replace(known, spans=spans, logs=logs)


def found(known: Seen, saga_id: str, now: float) -> list[tuple[Case, Finding, list[Action]]]:
    facts, moment = known.facts(saga_id), STARTED + round(now * SECOND)
    answers = []
    for saga in rebuild(facts, moment):
        case = Case(saga, facts.instances, Context(moment))
        finding = diagnosis.find_attention(case)
        if finding is not None:
            answers.append((case, finding, diagnosis.actions_of(case, finding)))
    return answers


def received_keys(saga: Saga) -> set[str]:
    return {each.idempotency_key for step in saga.steps for each in step.attempts if each.idempotency_key}


def check(case: Case, finding: Finding, actions: list[Action]) -> None:
    assert actions, finding.reason
    keys, verified = received_keys(case.saga), False
    for action in actions:
        about = (finding.reason.value, str(action.text))
        assert action.text.endswith("."), about
        assert "  " not in action.text, about
        assert "{" not in action.text, about
        if action.kind.changes_work:
            is_safe = action.key is not None and action.key in keys and action.key in action.text
            assert is_safe or verified, about
        elif action.kind is not ActionKind.VERIFY:
            assert not WORK.search(action.text), about
        verified = verified or action.kind is ActionKind.VERIFY


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_scenario_leads_to_an_unsafe_action(path: Path, key: str | None) -> None:
    case = read(path)
    known = with_keys(seen(case.delivered(), case.now), key)
    for now in (case.now, case.now + 60, case.now + 3_600):
        for each in found(known, case.saga["id"], now):
            check(*each)


BASE = 'boss-1 0.. root plan="wallet.debit/wallet.refund, ledger.record"\n'
WAITING = f"event={semconv.EVENT_WAITING} @{semconv.BLOCKED_CAUSE}="
BLOCKED = (
    f'{BASE}boss-1 0..99 beats\nboss-1 1.. call ledger.record as=try\nboss-1 5 log "{{text}}" in=try {WAITING}{{cause}}'
)
STORIES = {
    "no worker": BLOCKED.format(text="no worker polls the task queue ledger", cause="no_worker"),
    "paused": BLOCKED.format(text="paused by kim", cause="paused"),
    "own task fails": BLOCKED.format(text="KeyError: 'iban'", cause="task_failing"),
    "unpublished": BLOCKED.format(text="the broker refuses the message", cause="unpublished"),
    "mixed outcome": """
        boss-1   0..9   root plan="stock, wallet" outcome=completed
        stock-1  1..2   run  stock type=prepare
        wallet-1 1..2   run  wallet type=prepare
        stock-1  3..4   run  stock type=commit
        wallet-1 3..4   run  wallet type=rollback
    """,
    "retrier gone": """
        poller-1 0..4   beats every=1
        poller-1 0.1..1 run pay attempt=1 retry_in=2 error="503"
        poller-1 1..2   run pay attempt=2 retry_in=2 error="503"
        poller-1 2..3   run pay attempt=3 retry_in=2 error="503"
    """,
    "child": f"{BASE}boss-1 1.. call Shipping @{semconv.TEMPORAL_CHILD_ID}=ship-9 timeout=5\nboss-1 0..99 beats",
    "executor lost": f"{BASE}wallet-1 1.. run wallet.debit\nwallet-1 0..3 beats every=1\nboss-1 0..99 beats",
    "caller lost": f"{BASE}boss-1 1.. call wallet.debit\nboss-1 0..3 beats every=1",
    "orchestrator lost": f"{BASE}wallet-1 1..2 run wallet.debit\nboss-1 0..3 beats every=1",
    "refund unknown": """
        boss-1   0..9   root plan="wallet.debit/wallet.refund, ledger.record" outcome=compensated
        wallet-1 1..2   run  wallet.debit amount="20.00 EUR"
        boss-1   3..4   call ledger.record error="Refused: no"
        boss-1   5..6   call wallet.refund compensates=wallet.debit error="TimeoutError: no answer"
    """,
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", STORIES)
def test_each_kind_of_evidence_leads_to_a_safe_action(name: str, key: str | None) -> None:
    known = with_keys(seen(emit(STORIES[name], {"id": "8492", "name": "payment"}), 100), key)
    answers = found(known, "8492", 100)
    assert answers, name
    for each in answers:
        check(*each)


def test_every_attention_code_is_tried() -> None:
    tried = {each["attention"] for path in CASES for each in read(path).expect if "attention" in each}
    for story in STORIES.values():
        known = seen(emit(story, {"id": "8492", "name": "payment"}), 100)
        tried |= {finding.reason.value for _, finding, _ in found(known, "8492", 100)}
    assert tried >= {reason.value for reason in AttentionCode}


FIRST = {
    "no worker": (
        "Start a worker for it (no worker polls the task queue ledger); payment 8492 then continues by itself."
    ),
    "paused": "Find out who paused it, and why (paused by kim).",
    "own task fails": (
        "Fix the error that its own task reports (KeyError: 'iban'); check the deployment before 11:06:45Z."
    ),
    "unpublished": (
        "Fix the error of the outbox (the broker refuses the message); it then publishes the message by itself."
    ),
    "retrier gone": (
        "Verify that poller-1 has stopped and that no other instance has taken over payment 8492, and find out why it"
        " stopped."
    ),
    "refund unknown": "Verify in wallet whether wallet.refund took effect for payment 8492.",
}


@pytest.mark.parametrize(("name", "first"), FIRST.items())
def test_the_strongest_evidence_decides_what_comes_first(name: str, first: str) -> None:
    known = seen(emit(STORIES[name], {"id": "8492", "name": "payment"}), 100)
    ((_, _, actions),) = found(known, "8492", 100)
    assert actions[0].text == first


@pytest.mark.parametrize(
    ("executor", "condition"),
    [
        ("", "Only if it did not and can no longer take effect"),
        ("wallet-1 1..2 run wallet.debit in=try error=no", "Only if it did not take effect"),
    ],
)
def test_work_may_go_on_after_its_caller_gave_up(executor: str, condition: str) -> None:
    story = (
        f'{BASE}boss-1 0..99 beats\nboss-1 1..3 call wallet.debit as=try error="TimeoutError: no answer"\n{executor}'
    )
    ((_, _, actions),) = found(seen(emit(story, {"id": "8492", "name": "payment"}), 100), "8492", 100)
    assert condition in actions[-1].text


RECORD_LOST = """
    boss-1     0..  root plan="ledger.record/ledger.reverse, wallet.debit/wallet.refund, shipping.book"
    boss-1     0..99 beats
    ledger-1   0.1.. run ledger.record
    ledger-1   0..{until} beats every=0.5
    wallet-1   1..2 run wallet.debit
    shipping-1 3..4 run shipping.book error="Refused: no"
    wallet-1   5..6 run wallet.refund compensates=wallet.debit
"""


def test_a_step_of_which_no_end_was_received_is_compensated_before_its_saga_is_closed() -> None:
    known = seen(emit(RECORD_LOST.format(until=0.5), {"id": "8492", "name": "payment"}), 100)
    ((_, finding, actions),) = found(known, "8492", 100)
    assert (finding.reason, finding.step) == (AttentionCode.NEXT_STEP_MISSING, "ledger.reverse")
    assert any("ledger.record is in effect" in each.text for each in actions if each.kind is ActionKind.VERIFY)
    assert not any(each.kind is ActionKind.CLOSE for each in actions)


def test_a_step_that_its_process_lists_as_open_is_not_compensated() -> None:
    known = seen(emit(RECORD_LOST.format(until=99), {"id": "8492", "name": "payment"}), 100)
    ((case, finding, _),) = found(known, "8492", 100)
    assert (finding.reason, finding.step) == (AttentionCode.HUNG, "ledger.record")
    assert case.next_compensation is None


def test_another_item_that_is_in_flight_is_not_compensated() -> None:
    story = """
        boss-1  0..  root plan="reserve/release, pay"
        boss-1  0..60 beats
        stock-1 1..2 run reserve key=i1
        stock-1 1..  run reserve key=i2
        stock-1 0..60 beats
        bank-1  3..4 run pay key=i1 error="Refused: no"
        stock-1 5..6 run release compensates=reserve key=i1
    """
    known = seen(emit(story, {"id": "8492", "name": "payment"}), 60)
    ((case, finding, _),) = found(known, "8492", 60)
    assert (finding.reason, finding.step) == (AttentionCode.HUNG, "reserve")
    assert case.next_compensation is None


def test_a_step_with_an_unknown_outcome_is_verified_before_its_saga_is_closed() -> None:
    story = """
        boss-1   0..  root plan="wallet.debit/wallet.refund, ledger.record"
        boss-1   0..99 beats
        wallet-1 1..2 run  wallet.debit
        boss-1   3..4 call ledger.record error="TimeoutError: no answer"
        wallet-1 5..6 run  wallet.refund compensates=wallet.debit
    """
    known = seen(emit(story, {"id": "8492", "name": "payment"}), 100)
    ((_, finding, actions),) = found(known, "8492", 100)
    assert finding.reason is AttentionCode.NEVER_CLOSED
    assert any("whether ledger.record is in effect" in each.text for each in actions)
    assert "Only if no step is left to compensate" in actions[-1].text
