"""Order between two processes is claimed as exactly as the calls between them bound their clocks."""

from collections.abc import Mapping
from random import Random

import pytest

from sagascope_collector.analysis import (
    Baseline,
    Context,
    Saga,
    diagnose,
    learn_baseline,
    load_sample,
    rebuild,
    take_sample,
)
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

PLAN = "wallet.debit/wallet.refund, ledger.record/ledger.reverse, shipping.book"
WRONG = ("wallet.refund", "ledger.reverse")
RIGHT = ("ledger.reverse", "wallet.refund")
COMPENSATES = {"wallet.refund": "wallet.debit", "ledger.reverse": "ledger.record"}
KEY = ("", "payment")


def calls(steps: tuple[str, ...], *, traced: bool, chance: Random, begun: float = 0.0) -> str:
    """One step after the other within milliseconds, each by a call whose client and server spans may have come."""
    lines, at = [], begun + 0.01
    for number, step in enumerate(steps):
        service = f"{step.partition('.')[0]}-1"
        there, takes, back = (chance.uniform(0.0005, 0.003) for _ in range(3))
        compensates = f" compensates={COMPENSATES[step]}" if step in COMPENSATES else ""
        error = ' error="Refused: no"' if step == "shipping.book" else ""
        begun_at, ended_at = at + there, at + there + takes
        under = ""
        if traced:
            lines.append(f"boss-1 {at:.6f}..{ended_at + back:.6f} span http kind=client as=c{number}")
            lines.append(f"{service} {begun_at:.6f}..{ended_at:.6f} serve under=c{number} as=s{number}")
            under = f" under=s{number}"
        lines.append(f"{service} {begun_at:.6f}..{ended_at:.6f} run {step}{compensates}{error}{under}")
        at = ended_at + back + 0.001
    return "\n".join([f'boss-1 {begun}..{at + 0.01:.6f} root outcome=compensated plan="{PLAN}"', *lines])


def rebuilt(
    story: str, baseline: Baseline | None = None, skews: Mapping[str, float] | None = None, saga_id: str = "1"
) -> Saga:
    processes = {name: {"skew": skew} for name, skew in (skews or {}).items()}
    facts = seen(emit(story, {"id": saga_id, "name": "payment"}, processes)).facts(saga_id)
    (saga,) = rebuild(facts, STARTED + 60 * SECOND, {KEY: baseline} if baseline else {})
    return saga


def codes(saga: Saga) -> set[str]:
    return {each.code for each in saga.anomalies}


def whole(compensations: tuple[str, ...]) -> tuple[str, ...]:
    return ("wallet.debit", "ledger.record", "shipping.book", *compensations)


def test_a_wrong_order_within_milliseconds_is_reported_where_calls_bound_the_clocks() -> None:
    saga = rebuilt(calls(whole(WRONG), traced=True, chance=Random(1)))
    assert "compensation_order" in codes(saga)


def test_no_order_is_claimed_where_nothing_bounds_the_clocks() -> None:
    saga = rebuilt(calls(whole(WRONG), traced=False, chance=Random(1)))
    assert "compensation_order" not in codes(saga)


def test_it_is_reported_where_the_calls_of_finished_sagas_bound_them() -> None:
    chance = Random(2)
    finished = [rebuilt(calls(whole(RIGHT), traced=True, chance=chance), saga_id=str(n)) for n in range(30)]
    samples = [each for saga in finished if (each := take_sample(saga))]
    kept = [load_sample(each.dump()) for each in samples]
    assert [each.skew for each in kept] == [each.skew for each in samples]
    saga = rebuilt(calls(whole(WRONG), traced=False, chance=chance), learn_baseline(kept))
    assert "compensation_order" in codes(saga)


@pytest.mark.parametrize("ahead", [0.02, -0.02, 0.3, 5])
def test_it_is_reported_for_clocks_with_a_known_difference(ahead: float) -> None:
    chance, skews = Random(4), {"ledger-1": ahead}
    finished = [
        rebuilt(calls(whole(RIGHT), traced=True, chance=chance), skews=skews, saga_id=str(n)) for n in range(30)
    ]
    baseline = learn_baseline([each for saga in finished if (each := take_sample(saga))])
    assert "compensation_order" in codes(rebuilt(calls(whole(WRONG), traced=True, chance=chance), baseline, skews))


def test_old_skew_bounds_have_little_effect() -> None:
    chance = Random(3)
    finished = [rebuilt(calls(whole(RIGHT), traced=True, chance=chance), saga_id=str(n)) for n in range(30)]
    old = learn_baseline([each for saga in finished if (each := take_sample(saga))])
    later = calls(whole(WRONG), traced=False, chance=chance, begun=7_200)
    assert "compensation_order" not in codes(rebuilt(later, old))


@pytest.mark.parametrize("seed", range(40))
def test_a_right_order_is_never_reported_as_wrong_whatever_the_skew(seed: int) -> None:
    chance = Random(seed)
    largest = chance.choice([0.0005, 0.005, 0.2, 3])
    skews = {name: chance.uniform(-largest, largest) for name in ("wallet-1", "ledger-1", "shipping-1", "boss-1")}
    finished = [
        rebuilt(calls(whole(RIGHT), traced=True, chance=chance), skews=skews, saga_id=str(n)) for n in range(20)
    ]
    baseline = learn_baseline([each for saga in finished if (each := take_sample(saga))])
    for traced in (True, False):
        saga = rebuilt(calls(whole(RIGHT), traced=traced, chance=chance), baseline, skews)
        assert not codes(saga) & {"compensation_order", "out_of_order", "forward_after_compensation"}


@pytest.mark.parametrize(("now", "is_late"), [(400, False), (620, True)])
def test_the_timeout_of_a_saga_counts_from_its_start_by_a_right_clock(now: int, *, is_late: bool) -> None:
    """The heartbeats of the process that began it show that its clock is five minutes behind."""
    story = f"""
        shop-1   0..      root plan="wallet.debit, ledger.record" as=root saga_timeout=600
        shop-1   1..2     call wallet.debit as=c1
        wallet-1 1.1..1.9 serve wallet.debit under=c1 as=s1
        wallet-1 1.2..1.8 run  wallet.debit under=s1
        wallet-1 3        log  "waits for approval" in=s1 waits_for=approval
        shop-1   0..{now} beats every=5
        wallet-1 0..{now} beats every=5
    """
    told = emit(story, {"id": "1", "name": "payment"}, {"shop-1": {"skew": -300}})
    facts, at = seen(told, now).facts("1"), STARTED + now * SECOND
    (saga,) = rebuild(facts, at)
    assert (diagnose(saga, facts.instances, Context(at)).verdict is not None) == is_late
