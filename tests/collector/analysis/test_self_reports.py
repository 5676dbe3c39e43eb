"""Reports of an engine or a sender count until they are withdrawn or superseded."""

import random
from dataclasses import replace

import pytest

from sagascope import semconv
from sagascope_collector.analysis import rebuild
from sagascope_collector.analysis.model import BlockReport, Saga
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

SAGA = {"id": "8492", "name": "payment"}
BASE = """
engine-1  0..   root as=root plan="wallet.debit, ledger.record"
engine-1  1..2  run  wallet.debit
"""
NO_WORKER = f"event={semconv.EVENT_WAITING} @{semconv.BLOCKED_CAUSE}=no_worker"
FAILING = f"event={semconv.EVENT_WAITING} @{semconv.BLOCKED_CAUSE}=task_failing"
WITHDRAWN = f"event={semconv.EVENT_WAITING}"


def rebuilt(story: str) -> Saga:
    facts = seen(emit(story, SAGA)).facts("8492")
    (saga,) = rebuild(facts, STARTED + 100 * SECOND)
    shuffled = random.Random(story).sample(facts.logs * 2, len(facts.logs) * 2)
    assert rebuild(replace(facts, logs=tuple(shuffled)), STARTED + 100 * SECOND) == [saga]
    return saga


def blocked(story: str) -> list[tuple[str, str | None, float]]:
    return [(each.cause, each.step, (each.since - STARTED) / SECOND) for each in rebuilt(story).blocked]


def test_a_report_about_the_root_is_about_the_whole_saga() -> None:
    story = f'{BASE}engine-1 5 log "the workflow\'s own task fails: KeyError" in=root {FAILING}'
    (report,) = rebuilt(story).blocked
    assert isinstance(report, BlockReport)
    assert (report.cause, report.step, report.process.instance) == ("task_failing", None, "engine-1")
    assert report.text == "the workflow's own task fails: KeyError"


def test_a_report_about_an_attempt_names_its_step_and_counts_from_the_first_report() -> None:
    story = f"""{BASE}
engine-1  3..  call ledger.record as=try
engine-1  5    log  "no worker polls the task queue ledger" in=try {NO_WORKER}
engine-1  60   log  "no worker polls the task queue ledger since 5 s" in=try {NO_WORKER}
"""
    assert blocked(story) == [("no_worker", "ledger.record", 5)]


@pytest.mark.parametrize(
    "later",
    [
        f"engine-1 9 log in=try {WITHDRAWN}",
        f'engine-1 9 log "waits for a timer" in=try {WITHDRAWN}',
        "engine-1 9..  call ledger.record attempt=2",
        "engine-1 3..9 call ledger.record shares=try",
        "engine-1 0..9 root shares=root outcome=failed",
    ],
    ids=["withdrawn", "a wait that is meant", "tried again", "ended", "the saga ended"],
)
def test_a_report_that_was_superseded_has_no_effect(later: str) -> None:
    story = f'{BASE}\nengine-1 3.. call ledger.record as=try\nengine-1 5 log "no worker" in=try {NO_WORKER}\n{later}'
    assert blocked(story) == []


def test_another_cause_begins_anew() -> None:
    story = f"""{BASE}
engine-1  5   log "no worker polls" in=root {NO_WORKER}
engine-1  40  log "its own task fails" in=root {FAILING}
"""
    assert blocked(story) == [("task_failing", None, 40)]


def test_what_blocks_the_whole_saga_comes_before_what_blocks_a_step() -> None:
    story = f"""{BASE}
engine-1  3..  call ledger.record as=try
engine-1  5    log  "no worker polls" in=try {NO_WORKER}
engine-1  8    log  "its own task fails" in=root {FAILING}
"""
    assert blocked(story) == [("task_failing", None, 8), ("no_worker", "ledger.record", 5)]


def test_participants_of_a_mixed_outcome_are_listed_by_their_decision() -> None:
    story = """
coord-1  0..9   root plan="stock, wallet" outcome=completed
stock-1  1..2   run  stock type=prepare
wallet-1 1..2   run  wallet type=prepare
stock-1  3..4   run  stock type=commit
wallet-1 3..4   run  wallet type=rollback
"""
    (mixed,) = rebuilt(story).mixed_outcomes
    assert [each.step.name for each in mixed.committed] == ["stock"]
    assert [each.step.name for each in mixed.rolled_back] == ["wallet"]


@pytest.mark.parametrize(
    "decisions",
    [
        "stock-1 3..4 run stock type=commit\nwallet-1 3..4 run wallet type=commit",
        "stock-1 3..4 run stock type=rollback\nwallet-1 3..4 run wallet type=rollback",
        "stock-1 3..4 run stock type=commit",
        'stock-1 3..4 run stock type=commit\nwallet-1 3..4 run wallet type=rollback error="Refused: no"',
        """
stock-1  3..4   run  stock type=rollback
wallet-1 3..4   run  wallet type=rollback
stock-1  5..6   run  stock type=prepare attempt=2
wallet-1 5..6   run  wallet type=prepare attempt=2
stock-1  7..8   run  stock type=commit attempt=2
wallet-1 7..8   run  wallet type=commit attempt=2
""",
        """
stock-1  3..4   run  stock type=commit
wallet-1 3..4   run  wallet type=commit
stock-1  5..6   run  stock type=prepare key=second
wallet-1 5..6   run  wallet type=prepare key=second
stock-1  7..8   run  stock type=rollback key=second
wallet-1 7..8   run  wallet type=rollback key=second
""",
    ],
    ids=["committed", "rolled back", "one is undecided", "a rollback that failed", "tried again", "two of them"],
)
def test_participants_that_agree_have_no_mixed_outcome(decisions: str) -> None:
    story = f"""
coord-1  0..9   root plan="stock, wallet" outcome=completed
stock-1  1..2   run  stock type=prepare
wallet-1 1..2   run  wallet type=prepare
{decisions}
"""
    assert rebuilt(story).mixed_outcomes == ()


def test_of_two_attempts_the_second_may_end_mixed() -> None:
    story = """
coord-1  0..   root plan="stock, wallet"
stock-1  1..2   run  stock type=prepare
wallet-1 1..2   run  wallet type=prepare
stock-1  3..4   run  stock type=rollback
wallet-1 3..4   run  wallet type=rollback
stock-1  5..6   run  stock type=prepare attempt=2
wallet-1 5..6   run  wallet type=prepare attempt=2
wallet-1 7..8   run  wallet type=commit attempt=2
stock-1  9..10  run  stock type=rollback attempt=2
"""
    (mixed,) = rebuilt(story).mixed_outcomes
    assert [each.attempt.number for each in (*mixed.committed, *mixed.rolled_back)] == [2, 2]


def test_a_parent_names_its_child_and_a_child_its_parent() -> None:
    story = f"""
engine-1  0..   root plan="Shipping" @{semconv.TEMPORAL_PARENT_ID}=order-7
engine-1  1..   call Shipping @{semconv.TEMPORAL_CHILD_ID}=ship-9
"""
    saga = rebuilt(story)
    assert saga.parent is not None
    assert saga.parent.id == "order-7"
    ((attempt,),) = [step.attempts for step in saga.steps]
    assert attempt.child is not None
    assert (attempt.child.name, attempt.child.id) == ("Shipping", "ship-9")


def test_a_run_that_continued_names_the_new_one() -> None:
    saga = rebuilt(f'engine-1 0..5 root outcome=completed @{semconv.TEMPORAL_NEW_RUN}=run-b plan="a"')
    assert saga.continued_as is not None
    assert saga.continued_as.run == "run-b"
