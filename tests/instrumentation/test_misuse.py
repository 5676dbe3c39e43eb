"""What cannot have been meant is reported at the line of the caller, once, and never raised unless tests ask for it."""

import inspect
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import sagascope
from sagascope import Saga, SagascopeWarning, Step
from support.receiver import Receiver

payment = Saga("payment", [Step("wallet.debit", compensation="wallet.refund"), Step("ledger.record")])


numbers = count()


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def open_and_close(saga: Any) -> None:
    with saga:
        pass


def undeclared_step() -> None:
    with payment.begin("1") as saga, saga.step("wallet.credit"):
        pass


def undeclared_step_by_name() -> None:
    with payment.begin("2"), sagascope.step("wallet.credit"):
        pass


def begun_twice() -> None:
    open_and_close(payment.begin("3"))
    with payment.begin("3"):
        pass


def amount_of_a_step() -> None:
    with payment.begin("4") as saga, saga.step("wallet.debit", amount="fifty"):
        pass


def step_with(**options: Any) -> Callable[[], None]:
    def run() -> None:
        with (
            suppress(ConnectionError),
            payment.begin(f"options-{next(numbers)}") as saga,
            saga.step("wallet.debit", **options),
        ):
            raise ConnectionError("an error, so that the planned retry is recorded")

    return run


def configured_again() -> None:
    sagascope.configure("wallet", endpoint="http://127.0.0.1:9")


def returns_a_coroutine() -> None:
    async def work() -> None: ...

    coroutine = work()
    try:
        with payment.begin("9"):
            sagascope.step("wallet.debit")(lambda: coroutine)()
    finally:
        coroutine.close()


MISUSES: dict[str, Callable[[], Any]] = {
    "has no id": lambda: payment.begin(""),
    "A saga payment has no id": lambda: payment.begin(None),  # type: ignore[arg-type]
    "it cannot be found": lambda: payment.begin(Unprintable()),  # type: ignore[arg-type]
    "its steps belong to no saga": lambda: payment.resume(""),
    "The amount is not a number": lambda: payment.begin("5", amount="fifty"),
    "amount is not a number, and is left out": lambda: payment.begin("6", amount=float("nan")),
    "code of three letters": lambda: payment.begin("7", amount=5, currency="euros"),
    "wallet.credit is not a step of the plan of payment": undeclared_step,
    "a plan has every step of its saga": undeclared_step_by_name,
    "payment.begin() was called again": begun_twice,
    "amount is not a number": amount_of_a_step,
    "A step has no option amuont": step_with(amuont="50.00"),
    "option timeout of a step has an invalid value": step_with(timeout="soon"),
    "option retry_in of a step has an invalid value": step_with(retry_in="later"),
    "option attempt of a step has an invalid value": step_with(attempt="second"),
    "option idempotency_key of a step has an invalid value": step_with(idempotency_key=Unprintable()),
    "The keys are not a mapping": lambda: payment.begin("8", keys=["A-17"]),  # type: ignore[arg-type]
    "A saga payment is not entered": lambda: payment.resume("10").complete(),
    "is not entered, so nothing is reported": lambda: payment.begin("11").step("wallet.debit").__enter__(),
    "wallet.debit returned a coroutine": returns_a_coroutine,
    "configured again with other settings": configured_again,
}


@pytest.mark.parametrize("message", MISUSES)
def test_misuse_is_reported_at_the_line_of_the_caller(message: str, configured: Receiver) -> None:
    with warnings.catch_warnings(record=True, action="always") as reported:
        MISUSES[message]()
    (warning,) = reported
    assert warning.category is SagascopeWarning
    assert message in str(warning.message)
    assert Path(warning.filename) == Path(__file__)
    lines, first = inspect.getsourcelines(sys.modules[__name__])
    assert first <= warning.lineno <= len(lines)


@pytest.mark.parametrize("message", MISUSES)
def test_tests_can_make_misuse_an_error(message: str, configured: Receiver) -> None:
    with warnings.catch_warnings(action="error"), pytest.raises(SagascopeWarning):
        MISUSES[message]()


def test_misuse_is_shown_once_for_each_line_and_raises_nothing(receiver: Receiver) -> None:
    script = f"""
        import sagascope

        sagascope.configure("wallet", endpoint={receiver.endpoint!r})
        sagascope.configure("wallet", endpoint={receiver.endpoint!r})
        payment = sagascope.Saga("payment", ["wallet.debit"])
        for number in range(3):
            with payment.begin(f"saga-{{number}}", amount="fifty") as saga:
                with saga.step("wallet.credit"):
                    pass
        sagascope.shutdown()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("The amount is not a number") == 1
    assert done.stderr.count("wallet.credit is not a step") == 1
    assert "configured again" not in done.stderr
    assert len(receiver.all_spans("wallet.credit")) == 3


@pytest.mark.filterwarnings("ignore::sagascope.SagascopeWarning")
def test_telemetry_is_complete_in_spite_of_misuse(configured: Receiver) -> None:
    with payment.begin("8492", amount="fifty", currency="EUR", keys={"order_id": Unprintable()}) as saga:
        with saga.step("wallet.debit", amount="50.00", currency="EUR"):
            pass
        with saga.step("wallet.credit", keys={"order_id": Unprintable()}):
            pass
    root = configured.span("payment")
    assert root.attributes["saga.outcome"] == "completed"
    assert root.attributes["saga.key.order_id"] == "(not available)"
    assert "saga.amount" not in root.attributes
    assert configured.span("wallet.debit").attributes["saga.amount"] == "50.00"
    assert configured.span("wallet.credit").attributes["saga.id"] == "8492"


@pytest.mark.filterwarnings("ignore::sagascope.SagascopeWarning")
def test_step_with_invalid_options_is_sent_without_them(configured: Receiver) -> None:
    step_with(timeout="soon", retry_in="later", attempt="second", resources=5, keys=5, amuont="50.00", pivot=True)()
    step = configured.span("wallet.debit")
    assert step.raw.status.code == 2
    names = {name for name in step.attributes if name.startswith("saga.step.")}
    assert names == {"saga.step.name", "saga.step.type", "saga.step.attempt", "saga.step.pivot"}
    assert step.attributes["saga.step.attempt"] == 1


def test_options_that_are_none_are_not_given_and_keys_are_texts(configured: Receiver) -> None:
    for number in range(2):
        step_with(resources="A-1", timeout=None, idempotency_key=None, retry_in=None, attempt=None, key=number)()
    assert sagascope.flush(60)
    steps = configured.all_spans("wallet.debit")
    assert [step.attributes["saga.step.key"] for step in steps] == ["0", "1"]
    assert [step.attributes["saga.step.resources"] for step in steps] == [["A-1"]] * 2
    assert not any("saga.step.idempotency_key" in step.attributes for step in steps)


def test_declared_names_and_a_run_of_its_own_are_no_misuse(configured: Receiver) -> None:
    for run in ("1", "2"):
        with payment.begin("8493", run=run, amount="1e2", currency="eur") as saga:
            with saga.step("wallet.debit"):
                pass
            with saga.compensation("wallet.refund"):
                pass
    with payment.begin("8494", open=True) as saga, saga.step("wallet.debit"):
        pass
    with payment.resume("8494") as saga, saga.step("ledger.record"):
        pass
    with Saga("unplanned").begin("8495") as saga, saga.step("anything"):
        pass
    assert sagascope.flush(20)
    assert len(configured.all_spans("wallet.debit")) == 3
