"""Each attention code is one record; what engines and participants report themselves; sentences in parts."""

from dataclasses import replace

import pytest

from sagascope import semconv
from sagascope_collector.analysis import Context, diagnose, diagnosis, rebuild
from sagascope_collector.analysis.diagnosis import Diagnosis
from sagascope_collector.analysis.model import Confidence
from sagascope_collector.analysis.wording import Text, Time, capitalized, phrase, sentences
from sagascope_collector.api.present import parts
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.records import SagaKey
from sagascope_dashboard.formatting import ATTENTION
from support.scenario import CASES, read
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

BASE = 'engine-1 0.. root as=root plan="wallet.debit, ledger.record"\nengine-1 1..2 run wallet.debit\n'
BEATS = "engine-1 0..99 beats\n"
REPORT = f"event={semconv.EVENT_WAITING} @{semconv.BLOCKED_CAUSE}"


def diagnosed(story: str, now: float = 20, **context: object) -> Diagnosis:
    facts = seen(emit(story, {"id": "8492", "name": "payment"})).facts("8492")
    moment = STARTED + round(now * SECOND)
    (saga,) = rebuild(facts, moment)
    return diagnose(saga, facts.instances, replace(Context(moment), **context))  # type: ignore[arg-type]


def test_each_code_has_one_rule_in_the_order_of_precedence() -> None:
    assert list(diagnosis.RULES) == list(AttentionCode)


def test_the_dashboard_shows_each_code_with_the_label_and_the_tone_of_its_record() -> None:
    assert {code: style.label for code, style in ATTENTION.items()} == {code: code.label for code in AttentionCode}
    assert ATTENTION["hung"] == ("Hung", "wait", "hourglass")


def test_only_a_reported_shutdown_makes_a_claim_from_absence_certain() -> None:
    absent = {code for code in AttentionCode if code.rests_on_absence}
    for path in CASES:
        for expected in read(path).expect:
            if expected.get("attention") in absent and expected.get("confidence") == "certain":
                assert "shut down" in str(expected.get("headline", "shut down")), path.stem


def test_a_workflow_that_its_engine_cannot_continue_is_blocked_since_the_first_report() -> None:
    story = f"""{BASE}{BEATS}
engine-1  3..  call ledger.record as=try
engine-1  5    log  "no worker polls the task queue ledger" in=try {REPORT}=no_worker
"""
    verdict = diagnosed(story).verdict
    assert verdict is not None
    assert (verdict.reason, verdict.step, verdict.since) == ("blocked", "ledger.record", STARTED + 5 * SECOND)
    assert verdict.confidence is Confidence.CERTAIN
    assert verdict.headline.startswith(
        "Blocked in ledger.record since 11:06:45Z: no worker polls the task queue ledger. wallet.debit is committed."
    )
    assert "engine-1 reports: no worker polls the task queue ledger" in [each.text for each in verdict.evidence]


def test_a_report_of_the_whole_saga_names_no_step() -> None:
    verdict = diagnosed(f'{BASE}{BEATS}engine-1 5 log "its task fails: KeyError" in=root {REPORT}=task_failing').verdict
    assert verdict is not None
    assert (verdict.reason, verdict.step) == ("blocked", None)
    assert verdict.headline.startswith("Blocked since 11:06:45Z: its task fails: KeyError.")


@pytest.mark.parametrize("error", ["Refused: no", "Timeout: slow"])
def test_a_report_about_a_failed_attempt_counts_if_it_was_made_after_the_failure(error: str) -> None:
    story = f"""{BASE}{BEATS}ledger-1 3..4 run ledger.record as=failed attempt=1 retry_in=60 error="{error}"
engine-1 {{}} log "the activity is paused" in=failed {REPORT}=paused
"""
    assert diagnosed(story.format(3.5)).verdict is None
    verdict = diagnosed(story.format(5)).verdict
    assert verdict is not None
    assert (verdict.reason, verdict.step, verdict.since) == ("blocked", "ledger.record", STARTED + 5 * SECOND)


def test_a_report_of_a_process_that_stopped_reporting_is_at_most_likely() -> None:
    story = f'{BASE}engine-1 0..6 beats every=1\nengine-1 5 log "paused" in=root {REPORT}=paused'
    verdict = diagnosed(story, 60).verdict
    assert verdict is not None
    assert (verdict.reason, verdict.confidence) == ("blocked", Confidence.LIKELY)


@pytest.mark.parametrize("root", ["0..9", "0.."])
def test_a_mixed_outcome_needs_attention_also_after_the_end(root: str) -> None:
    verdict = diagnosed(f"""
        coord-1  {root}   root plan="stock, wallet" outcome=completed
        stock-1  1..2   run  stock type=prepare
        wallet-1 1..2   run  wallet type=prepare
        stock-1  3..4   run  stock type=commit
        wallet-1 3..5   run  wallet type=rollback
    """).verdict
    assert verdict is not None
    assert (verdict.reason, verdict.step, verdict.confidence) == ("mixed_outcome", "wallet", Confidence.CERTAIN)
    assert verdict.headline.startswith(
        "The participants of one two-phase commit ended differently: "
        "stock committed at 11:06:44Z and wallet rolled back at 11:06:45Z."
    )


def test_a_participant_whose_decision_its_database_does_not_report_is_to_be_verified() -> None:
    verdict = diagnosed(
        f"""
        stock-1  1..2   run  stock  type=prepare as=one @{semconv.SETTLE_COMMIT}=CommitIt
        wallet-1 1..2   run  wallet type=prepare as=two @{semconv.SETTLE_COMMIT}=CommitIt
        wallet-1 5      log  "gone" in=two event={semconv.EVENT_PREPARED_FORGOTTEN}
    """,
        now=60,
    ).verdict
    assert verdict is not None
    assert verdict.reason == "in_doubt"
    assert verdict.headline.startswith(
        "In doubt: wallet-1 (wallet) was prepared until 11:06:45Z; whether it committed or rolled back is not known."
    )
    assert "Verify in wallet whether it committed or rolled back: it is no longer prepared." in verdict.actions
    assert "CommitIt" not in str(verdict.actions)


PARENT = f"""
engine-1  0..   root plan="Shipping"
engine-1  1..   call Shipping @{semconv.TEMPORAL_CHILD_ID}=ship-9
engine-1  0..9999 beats every=60
"""


def test_a_parent_waits_for_its_child_as_long_as_that_needs_no_attention() -> None:
    assert diagnosed(PARENT, 5_000).verdict is None


def test_a_parent_is_late_when_its_child_is_and_names_it() -> None:
    stuck = {("", "ship-9")}
    verdict = diagnosed(PARENT, 60, stuck=stuck).verdict
    assert verdict is not None
    assert (verdict.reason, verdict.step) == ("hung", "Shipping")
    assert "Stuck in Shipping: it waits for Shipping ship-9, which needs attention itself." in verdict.headline
    assert "ship-9" in verdict.actions[0]


def test_a_run_that_continued_as_another_names_it() -> None:
    facts = seen(emit('boss-1 0..3 root plan="a" outcome=completed\nboss-1 1..2 run a', {"id": "8492"})).facts("8492")
    (saga,) = rebuild(facts, STARTED + 60 * SECOND)
    continued = replace(saga, continued_as=SagaKey("", "payment", "8492", "run-2"))
    answered = diagnose(continued, facts.instances, Context(STARTED + 60 * SECOND))
    assert answered.headline.endswith("by continuing as run-2.") or answered.headline.endswith(
        "by continuing as run run-2."
    )
    assert "continues as a new run" in answered.customer_line


def test_a_sentence_keeps_its_times_apart() -> None:
    at = Text(Time(STARTED, "11:06:40Z"))
    text = capitalized(sentences(phrase("{} started it at {}", "ledger-1", at), "Nothing else", ""))
    assert text == "Ledger-1 started it at 11:06:40Z. Nothing else."
    assert text.parts == ("Ledger-1 started it at ", Time(STARTED, "11:06:40Z"), ". Nothing else.")
    assert [each.model_dump(mode="json") for each in parts(text)] == [
        {"text": "Ledger-1 started it at "},
        {"time": "2026-11-18T11:06:40.000000Z"},
        {"text": ". Nothing else."},
    ]


def test_a_value_that_looks_like_a_template_or_a_time_stays_text() -> None:
    assert phrase("{} failed", "{} at 14:02:11Z").parts == ("{} at 14:02:11Z failed",)
    with pytest.raises(ValueError, match="room for"):
        phrase("{} and {}", "one")


def test_the_parts_of_every_sentence_are_the_sentence() -> None:
    for path in CASES[::7]:
        case = read(path)
        moment = STARTED + round(case.now * SECOND)
        facts = seen(case.delivered(), case.now).facts(case.saga["id"])
        for saga in rebuild(facts, moment):
            answered = diagnose(saga, facts.instances, Context(moment))
            verdict = answered.verdict
            texts = [answered.headline, answered.customer_line]
            texts += [*verdict.actions, *(each.text for each in verdict.evidence)] if verdict else []
            for text in texts:
                assert "".join(part.text if isinstance(part, Time) else part for part in text.parts) == text
