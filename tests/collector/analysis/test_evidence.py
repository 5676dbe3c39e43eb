"""Evidence of a verdict, and known gaps of telemetry beside it."""

from dataclasses import replace
from typing import Any

import pytest

from sagascope_collector.analysis import Context, Diagnosis, diagnose, outages, rebuild
from sagascope_collector.analysis.context import StepSuccess
from sagascope_collector.analysis.diagnosis import Verdict
from sagascope_collector.analysis.model import Confidence
from sagascope_collector.analysis.spans import is_sampled
from sagascope_collector.records import BridgeState, Process, SagaKey
from support.storied_facts import STARTED, Seen, seen
from support.telemetry import SECOND, emit

PLAN = 'plan="fraud.check, wallet.debit/wallet.refund, ledger.record/ledger.reverse, shipping.book"'


def at(seconds: float) -> int:
    return STARTED + round(seconds * SECOND)


def records(story: str, processes: dict[str, Any] | None = None) -> Seen:
    return seen(emit(story, {"id": "8492", "name": "payment"}, processes or {}))


def diagnosed(known: Seen, now: float, **context: Any) -> Diagnosis:
    (saga,) = rebuild(known.facts("8492"), at(now))
    return diagnose(saga, known.instances, Context(at(now), **context))


def verdict(known: Seen, now: float, **context: Any) -> Verdict:
    answer = diagnosed(known, now, **context).verdict
    assert answer is not None
    return answer


def texts(answer: Verdict) -> str:
    return "\n".join(each.text for each in answer.evidence)


FAILING = f"""
    orchestrator-1 0.. root {PLAN}
    fraud-1  0.2..0.3  run fraud.check
    wallet-1 0.5..0.6  run wallet.debit
    ledger-1 1..2      run ledger.record attempt=1 max=5 retry_in=2 error="Locked: first"
    ledger-1 4..5      run ledger.record attempt=2 max=5 retry_in=4 error="Locked: second"
    ledger-1 9..10     run ledger.record attempt=3 max=5 retry_in=8 error="Locked: third"
"""


def test_a_failing_step_has_a_forecast() -> None:
    answer = verdict(records(FAILING), 11)
    assert (
        "The next attempt is due at 11:06:58Z, the last attempt ends by 11:07:16Z, and then 1 step is compensated."
        in answer.headline
    )
    assert "the last attempt ends by" in answer.actions[1]
    assert "failed: first" in texts(answer)
    assert "failed: third" in texts(answer)
    assert "failed: second" not in texts(answer)


def test_behind_the_pivot_no_compensation_is_forecast() -> None:
    story = FAILING.replace("run wallet.debit", "run wallet.debit pivot=true")
    assert "the last attempt ends by 11:07:16Z. " in verdict(records(story), 11).headline


def test_without_a_limit_of_attempts_no_end_is_forecast() -> None:
    assert "last attempt ends" not in verdict(records(FAILING.replace(" max=5", "")), 11).headline


def test_the_whole_saga_s_timeout_may_end_it_sooner() -> None:
    story = FAILING.replace("0.. root", "0.. root saga_timeout=20")
    assert "the last attempt ends by 11:07:00Z" in verdict(records(story), 11).headline
    assert "the last attempt ends by 11:07:00Z" in verdict(records(story.replace(" max=5", "")), 11).headline


def test_one_failure_has_a_forecast_before_it_needs_attention() -> None:
    first = "\n".join(FAILING.splitlines()[:5])
    answer = diagnosed(records(first), 3)
    assert answer.verdict is None
    assert (
        "attempt 1 of ledger.record failed at 11:06:42Z (first). The next attempt is due at 11:06:44Z"
        in answer.headline
    )


HUNG = f"""
    orchestrator-1 0.. root {PLAN}
    fraud-1  0.2..0.3  run fraud.check
    wallet-1 0.5..0.6  run wallet.debit
    ledger-1 1..       run ledger.record timeout=5
    ledger-1 0..30     beats every=5
"""


@pytest.mark.parametrize(
    ("saga_id", "when", "shown"), [("8499", 20, True), ("8499", 0.5, False), ("8499", 1.9, False), ("8492", 20, False)]
)
def test_another_saga_that_passed_later_is_evidence(saga_id: str, when: float, shown: bool) -> None:
    """Up to a second after this one it is none: clocks may disagree."""
    by = StepSuccess(at(when), SagaKey("", "payment", saga_id, ""), Process(service="ledger"), "a" * 32, "b" * 16)
    answer = verdict(records(HUNG), 30, latest_successes={("", "payment", "ledger.record"): by})
    others = f"ledger.record was started in payment {saga_id} and succeeded: it works for other transactions"
    assert (others in texts(answer)) is shown


MISSING = f"""
    orchestrator-1 0.. root {PLAN}
    fraud-1  0.2..0.3  run fraud.check
    wallet-1 0.5..0.6  run wallet.debit under=lost
    wallet-1 0..2      beats every=1
    orchestrator-1 0..90 beats every=5
"""


def test_known_gaps_of_telemetry_are_evidence_beside_a_missing_step() -> None:
    known = records(MISSING)
    dropping = [
        replace(each, heartbeat=each.heartbeat and replace(each.heartbeat, dropped=7)) for each in known.instances
    ]
    sampled = [replace(span, trace_state="vendor=1,ot=th:8") for span in known.spans]
    answer = verdict(replace(known, spans=tuple(sampled), instances=tuple(dropping)), 90)
    assert "could not send 7 records" in texts(answer)
    assert "sends a sample of its traces" in texts(answer)
    assert "The parent span of wallet.debit in wallet-1 was not received" in texts(answer)
    assert "wallet-1 was last seen; it has not reported since" in texts(answer)
    assert answer.confidence is Confidence.POSSIBLE


@pytest.mark.parametrize(("first_seen", "shown"), [(30, False), (1, True)])
def test_a_lost_process_is_no_evidence_where_another_replaced_it(first_seen: float, shown: bool) -> None:
    known = records(MISSING)
    (lost,) = (each for each in known.instances if each.process.service == "wallet")
    process = replace(lost.process, identity="2", instance="wallet-2")
    other = replace(lost, process=process, heartbeat=None, first_seen=at(first_seen), last_seen=at(60))
    told = texts(verdict(replace(known, instances=(*known.instances, other)), 90))
    assert ("wallet-1 was last seen; it has not reported since" in told) is shown


@pytest.mark.parametrize(
    ("state", "part"),
    [("ot=th:8", True), ("ot=rv:1;th:c", True), ("a=1,ot=th:4;rv:2", True), ("ot=th:0", False), ("x=th:8", False)],
)
def test_a_sampling_threshold_is_read_from_the_trace_state(state: str, part: bool) -> None:
    assert is_sampled(state) is part


ALL = ("orchestrator", "fraud", "wallet", "ledger", "shipping", "notification")


def beating(*silent: str, final: str = "") -> Seen:
    lines = [f"{name}-1 0..{10 if name in silent else 60} beats every=2 {final}" for name in ALL]
    return records("orchestrator-1 1.. root\nledger-1 2.. run ledger.record timeout=500\n" + "\n".join(lines))


def test_silence_of_most_services_at_once_is_one_outage() -> None:
    known = beating(*ALL[1:])
    lost = outages(known.instances, Context(at(60)))
    assert lost == {"": at(10)}
    assert outages(known.instances, Context(at(14))) == {}
    answer = verdict(known, 60, telemetry_lost=lost)
    assert (answer.reason, answer.confidence) == ("instance_lost", Confidence.POSSIBLE)
    assert "Most services stopped reporting at once" in texts(answer)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_two_services_that_are_killed_at_once_are_two_lost_services(number: int) -> None:
    known = beating(*ALL[1:3]).instances
    some = [each for each in known if each.process.service in ALL[: number + 1]]
    killed = {ALL[1], ALL[2]}
    assert {each.process.service for each in some} >= killed
    assert outages(some, Context(at(60))) == {}


def test_a_service_that_reports_without_heartbeats_is_reporting() -> None:
    known = beating(*ALL[1:4]).instances
    silent = [each for each in known if each.process.service in ALL[1:3]]
    alive = next(each for each in known if each.process.service == ALL[0])
    assert outages(silent, Context(at(60))) == {"": at(10)}
    assert outages([*silent, replace(alive, heartbeat=None, last_seen=at(50))], Context(at(60))) == {}


@pytest.mark.parametrize("silent", [ALL[:1], ALL[:3], ()])
def test_silence_of_a_few_is_their_own(silent: tuple[str, ...]) -> None:
    assert outages(beating(*silent).instances, Context(at(60))) == {}


def test_a_shutdown_is_no_outage_and_an_old_outage_no_evidence() -> None:
    assert outages(beating(*ALL, final="final=true").instances, Context(at(60))) == {}
    assert outages(beating(*ALL).instances, Context(at(60))) == {"": at(10)}
    assert outages(beating(*ALL).instances, Context(at(100_000))) == {}
    assert outages(beating(*ALL).instances, Context(at(60), ingest_outages=((at(10), at(59)),))) == {}


def test_a_reporting_bridge_does_not_hide_an_outage() -> None:
    known = beating(*ALL[:3]).instances
    bridge = next(each for each in known if each.process.service == ALL[5])
    assert bridge.heartbeat is not None
    answer = replace(bridge.heartbeat, bridge=BridgeState("sql", 0.0, 0))
    others = [each for each in known if each.process.service in ALL[:5]]
    assert outages([*others, bridge], Context(at(60))) == {}
    assert outages([*others, replace(bridge, heartbeat=answer)], Context(at(60))) == {"": at(10)}


def test_times_of_evidence_are_corrected_where_clocks_contradict() -> None:
    story = f"""
        orchestrator-1 0..    root {PLAN}
        orchestrator-1 1..    call ledger.record timeout=5
        ledger-1       1.1..  serve ledger.record
        ledger-1       1.2..  run ledger.record timeout=5
        ledger-1       0..60  beats every=5
        orchestrator-1 0..60  beats every=5
    """
    answer = verdict(records(story, {"ledger-1": {"skew": -3600}}), 60)
    began = [each.at for each in answer.evidence if "started ledger.record" in each.text]
    assert [abs(each - at(1.1)) < SECOND for each in began] == [True]


def test_an_unknown_compensation_is_part_of_the_evidence() -> None:
    story = f"""
        orchestrator-1 0..9 root {PLAN} outcome=failed
        wallet-1 1..2 run wallet.debit
        ledger-1 3..4 run ledger.record error="Refused: closed"
        orchestrator-1 5..6 call wallet.refund compensates=wallet.debit error="TimeoutError: no answer"
    """
    found = texts(verdict(records(story), 60))
    assert "wallet.refund (attempt 1) ended with an unknown outcome: no answer" in found
    assert "ledger.record (attempt 1) failed: closed" in found
