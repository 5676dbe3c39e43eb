"""`sagascope.testing`, as tests of instrumented code use it."""

import subprocess
import sys
from contextlib import suppress

import pytest

import sagascope
from sagascope import RunningSaga, Saga, Step
from sagascope.testing import Recorder, record

payment = Saga(
    "payment",
    [Step("wallet.debit", compensation="wallet.refund"), Step("ledger.record", compensation="ledger.reverse")],
)


def pay(saga_id: str, *, in_reverse: bool = True) -> None:
    with payment.begin(saga_id, keys={"order": "A"}) as saga:
        for name in ("wallet.debit", "ledger.record"):
            with saga.step(name):
                pass
        compensations = ["ledger.reverse", "wallet.refund"]
        for name in compensations if in_reverse else reversed(compensations):
            with saga.compensation(name):
                pass


def test_ids_and_clock_are_fixed() -> None:
    seen = []
    for _ in range(2):
        with record() as recorder:
            pay("8492")
        saga = recorder.saga("8492")
        seen.append([(span.context.span_id, span.started_at, span.ended_at) for span in saga.spans])
    assert seen[0] == seen[1]
    saga.assert_compensated()
    saga.assert_committed_steps("wallet.debit", "ledger.record")
    saga.assert_compensated_steps("ledger.record", "wallet.debit")
    saga.assert_compensated_in_reverse()
    saga.assert_attempts("wallet.debit", 1)
    saga.assert_nothing_in_flight()
    assert (saga.id, saga.name, saga.keys) == ("8492", "payment", {"order": "A"})
    assert repr(saga) == (
        "payment 8492 (compensated): [wallet.debit #1 ok, ledger.record #1 ok, "
        "ledger.reverse of ledger.record #1 ok, wallet.refund of wallet.debit #1 ok]"
    )


def test_messages_of_failed_assertions() -> None:
    with record() as recorder:
        pay("8492", in_reverse=False)
    saga = recorder.saga()
    with pytest.raises(
        AssertionError, match=r"payment 8492 compensated \['wallet.debit', 'ledger.record'\]; the reverse"
    ):
        saga.assert_compensated_in_reverse()
    with pytest.raises(AssertionError, match="has the outcome compensated, not completed"):
        saga.assert_completed()
    with pytest.raises(AssertionError, match=r"has 1 attempts of wallet\.debit, not 2"):
        saga.assert_attempts("wallet.debit", 2)
    with pytest.raises(AssertionError, match="0 sagas have id 8493"):
        recorder.saga("8493")


def test_failures_open_attempts_and_batches_are_recorded() -> None:
    headers: dict[str, str] = {}

    def debit() -> RunningSaga:
        with suppress(TimeoutError), payment.begin("1") as saga, saga.step("wallet.debit"):
            sagascope.inject(headers)
            raise TimeoutError
        return saga

    with record() as recorder:
        saga = debit()
        with sagascope.batch("settle", [sagascope.extract(headers)]), sagascope.extract(headers) as incoming:
            assert incoming.saga_id == "1"
            with sagascope.step("wallet.debit"), pytest.raises(AssertionError, match="in flight"):
                recorder.saga("1").assert_nothing_in_flight()
            saga.wait_until(5, "a review")
    debit = recorder.saga("1").attempts[0]
    assert (debit.error, debit.state, debit.number) == ("TimeoutError", "error", 1)
    recorder.saga("1").assert_failed()
    assert recorder.logs[0][0] == "waits for a review"


@pytest.fixture
def sagas() -> "pytest.FixtureRequest":
    with record() as recorder:
        yield recorder  # type: ignore[misc]


def test_recorder_as_a_fixture(sagas: Recorder) -> None:
    with payment.begin("1"):
        pass
    sagas.saga("1").assert_completed()


def test_recorder_needs_no_sdk() -> None:
    script = (
        "import sys, sagascope.testing as t, sagascope as s\n"
        "with t.record() as r:\n"
        "    with s.Saga('p').begin('1') as saga, saga.step('a'): pass\n"
        "r.saga('1').assert_committed_steps('a')\n"
        "assert not [m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
