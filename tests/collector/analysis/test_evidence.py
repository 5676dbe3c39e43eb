"""What stands behind a verdict, and beside it."""

from dataclasses import replace
from typing import Any

import pytest

from sagascope_collector.analysis import Context, Judgement, judge, outages, rebuild
from sagascope_collector.analysis.completeness import SAMPLED
from sagascope_collector.analysis.context import Passed
from sagascope_collector.analysis.model import Confidence, Verdict
from sagascope_collector.records import Following, Process, SagaKey
from support.storied_facts import STARTED, Seen, seen
from support.telemetry import SECOND, tell

PLAN = 'plan="fraud.check, wallet.debit/wallet.refund, ledger.record/ledger.reverse, shipping.book"'


def at(seconds: float) -> int:
    return STARTED + round(seconds * SECOND)


def heard(story: str, processes: dict[str, Any] | None = None) -> Seen:
    return seen(tell(story, {"id": "8492", "name": "payment"}, processes or {}))


def judged(known: Seen, now: float, **context: Any) -> Judgement:
    (saga,) = rebuild(known.facts("8492"), at(now))
    return judge(saga, known.instances, Context(at(now), **context))


def verdict(known: Seen, now: float, **context: Any) -> Verdict:
    said = judged(known, now, **context).verdict
    assert said is not None
    return said


def texts(said: Verdict) -> str:
    return "\n".join(each.text for each in said.evidence)


FAILING = f"""
    orchestrator-1 0.. root {PLAN}
    fraud-1  0.2..0.3  run fraud.check
    wallet-1 0.5..0.6  run wallet.debit
    ledger-1 1..2      run ledger.record attempt=1 max=5 retry_in=2 error="Locked: first"
    ledger-1 4..5      run ledger.record attempt=2 max=5 retry_in=4 error="Locked: second"
    ledger-1 9..10     run ledger.record attempt=3 max=5 retry_in=8 error="Locked: third"
"""


def test_a_failing_step_is_foretold() -> None:
    said = verdict(heard(FAILING), 11)
    assert (
        "The next attempt is due at 11:06:58Z, the last attempt ends by 11:07:16Z, and then 1 step is compensated."
        in said.headline
    )
    assert "the last attempt ends by" in said.actions[1]
    assert "failed: first" in texts(said)
    assert "failed: third" in texts(said)
    assert "failed: second" not in texts(said)


def test_where_no_limit_was_said_no_end_is_foretold() -> None:
    assert "last attempt ends" not in verdict(heard(FAILING.replace(" max=5", "")), 11).headline


def test_the_whole_saga_s_timeout_may_end_it_sooner() -> None:
    story = FAILING.replace("0.. root", "0.. root saga_timeout=20")
    assert "the last attempt ends by 11:07:00Z" in verdict(heard(story), 11).headline
    assert "the last attempt ends by 11:07:00Z" in verdict(heard(story.replace(" max=5", "")), 11).headline


def test_one_failure_is_foretold_before_anybody_is_needed() -> None:
    first = "\n".join(FAILING.splitlines()[:5])
    said = judged(heard(first), 3)
    assert said.verdict is None
    assert (
        "attempt 1 of ledger.record failed at 11:06:42Z (first). The next attempt is due at 11:06:44Z" in said.headline
    )


HUNG = f"""
    orchestrator-1 0.. root {PLAN}
    fraud-1  0.2..0.3  run fraud.check
    wallet-1 0.5..0.6  run wallet.debit
    ledger-1 1..       run ledger.record timeout=5
    ledger-1 0..30     beats every=5
"""


@pytest.mark.parametrize(("saga_id", "when", "shown"), [("8499", 20, True), ("8499", 0.5, False), ("8492", 20, False)])
def test_another_saga_that_passed_is_evidence(saga_id: str, when: float, shown: bool) -> None:
    by = Passed(at(when), SagaKey("", "payment", saga_id, ""), Process(service="ledger"), "a" * 32, "b" * 16)
    said = verdict(heard(HUNG), 30, passed={("", "payment", "ledger.record"): by})
    assert (f"ledger.record succeeded in payment {saga_id}: it works for other transactions" in texts(said)) is shown


MISSING = f"""
    orchestrator-1 0.. root {PLAN}
    fraud-1  0.2..0.3  run fraud.check
    wallet-1 0.5..0.6  run wallet.debit under=lost
    wallet-1 0..2      beats every=1
    orchestrator-1 0..90 beats every=5
"""


def test_what_is_known_to_lack_stands_beside_what_is_missed() -> None:
    known = heard(MISSING)
    dropping = [
        replace(each, heartbeat=each.heartbeat and replace(each.heartbeat, dropped=7)) for each in known.instances
    ]
    sampled = [replace(span, trace_state="vendor=1,ot=th:8") for span in known.spans]
    said = verdict(replace(known, spans=tuple(sampled), instances=tuple(dropping)), 90)
    assert "could not send 7 records" in texts(said)
    assert "sends a sample of its traces" in texts(said)
    assert "The parent span of wallet.debit in wallet-1 was not received" in texts(said)
    assert "wallet-1 was last seen; it has not reported since" in texts(said)
    assert said.confidence is Confidence.LIKELY


@pytest.mark.parametrize(
    ("state", "part"),
    [("ot=th:8", True), ("ot=rv:1;th:c", True), ("a=1,ot=th:4;rv:2", True), ("ot=th:0", False), ("x=th:8", False)],
)
def test_a_sampling_threshold_is_read_from_the_trace_state(state: str, part: bool) -> None:
    assert bool(SAMPLED.search(state)) is part


ALL = ("orchestrator", "fraud", "wallet", "ledger", "shipping", "notification")


def beating(*silent: str, final: str = "") -> Seen:
    lines = [f"{name}-1 0..{10 if name in silent else 60} beats every=2 {final}" for name in ALL]
    return heard("orchestrator-1 1.. root\nledger-1 2.. run ledger.record timeout=500\n" + "\n".join(lines))


def test_silence_of_most_services_at_once_is_one_outage() -> None:
    known = beating(*ALL[1:])
    lost = outages(known.instances, Context(at(60)))
    assert lost == {"": at(10)}
    assert outages(known.instances, Context(at(14))) == {}
    said = verdict(known, 60, telemetry_lost=lost)
    assert (said.reason, said.confidence) == ("instance_lost", Confidence.POSSIBLE)
    assert "Most services stopped reporting at once" in texts(said)


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


def test_a_farewell_is_no_outage_and_a_silence_of_long_ago_no_news() -> None:
    assert outages(beating(*ALL, final="final=true").instances, Context(at(60))) == {}
    assert outages(beating(*ALL).instances, Context(at(60))) == {"": at(10)}
    assert outages(beating(*ALL).instances, Context(at(100_000))) == {}
    assert outages(beating(*ALL).instances, Context(at(60), deaf=((at(10), at(59)),))) == {}


def test_a_bridge_that_goes_on_makes_silence_no_rarer() -> None:
    known = beating(*ALL[:3]).instances
    bridge = next(each for each in known if each.process.service == ALL[5])
    assert bridge.heartbeat is not None
    said = replace(bridge.heartbeat, following=Following("sql", 0.0, 0))
    others = [each for each in known if each.process.service in ALL[:5]]
    assert outages([*others, bridge], Context(at(60))) == {}
    assert outages([*others, replace(bridge, heartbeat=said)], Context(at(60))) == {"": at(10)}


def test_times_of_evidence_are_corrected_where_clocks_contradict() -> None:
    story = f"""
        orchestrator-1 0..    root {PLAN}
        orchestrator-1 1..    call ledger.record timeout=5
        ledger-1       1.1..  serve ledger.record
        ledger-1       1.2..  run ledger.record timeout=5
        ledger-1       0..60  beats every=5
        orchestrator-1 0..60  beats every=5
    """
    said = verdict(heard(story, {"ledger-1": {"skew": -3600}}), 60)
    began = [each.at for each in said.evidence if "started ledger.record" in each.text]
    assert [abs(each - at(1.1)) < SECOND for each in began] == [True]
