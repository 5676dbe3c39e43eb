"""Reexecutions of tenacity are the attempts of a step."""

import asyncio

import pytest

import sagascope
from sagascope import Saga
from sagascope.testing import record

tenacity = pytest.importorskip("tenacity", reason="tenacity is not installed")
integration = pytest.importorskip("sagascope.integrations.tenacity")

payment = Saga("payment")


def recorded_attempts(recorder: object) -> list[tuple[object, ...]]:
    return [
        (
            attempt.number,
            attempt.state,
            attempt.span.attributes.get("saga.step.max_attempts"),
            attempt.span.attributes.get("saga.step.retry_in"),
        )
        for attempt in recorder.saga("1").attempts  # type: ignore[attr-defined]
    ]


def test_attempts_have_a_number_and_a_planned_wait() -> None:
    slept: list[float] = []
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(100),
        wait=tenacity.wait_random(1, 1000),
        sleep=slept.append,
    )
    with record() as recorder, payment.begin("1") as saga:
        executions = 0
        for attempt in integration.attempts("wallet.debit", retrying, idempotency_key="k"):
            with attempt:
                executions += 1
                if executions < 3:
                    raise TimeoutError
        assert saga.id == "1"
    assert recorded_attempts(recorder) == [(1, "error", 3, slept[0]), (2, "error", 3, slept[1]), (3, "ok", 3, None)]
    assert recorder.saga("1").attempts[0].span.attributes["saga.step.idempotency_key"] == "k"


def test_last_failure_has_no_planned_wait() -> None:
    retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_fixed(7), sleep=lambda _: None)

    def pay() -> None:
        with payment.begin("1") as saga:
            for attempt in integration.attempts("wallet.debit", retrying, saga=saga):
                with attempt:
                    raise TimeoutError

    with record() as recorder, pytest.raises(tenacity.RetryError):
        pay()
    assert recorded_attempts(recorder) == [(1, "error", 2, 7.0), (2, "error", 2, None)]
    recorder.saga("1").assert_failed()


def test_error_that_is_not_retried_has_no_planned_wait() -> None:
    retrying = tenacity.Retrying(retry=tenacity.retry_if_exception_type(TimeoutError), reraise=True)

    def pay() -> None:
        with payment.begin("1"):
            for attempt in integration.attempts("wallet.debit", retrying):
                with attempt:
                    raise KeyError

    with record() as recorder, pytest.raises(KeyError):
        pay()
    assert recorded_attempts(recorder) == [(1, "error", None, None)]


def test_result_that_is_retried_is_a_failed_attempt() -> None:
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda result: result is None), wait=tenacity.wait_fixed(7), sleep=lambda _: None
    )
    with record() as recorder, payment.begin("1"):
        results = iter((None, None, "settled"))
        for attempt in integration.attempts("wallet.debit", retrying):
            with attempt:
                result = next(results)
            assert sagascope.current() is not None
            attempt.retry_state.set_result(result)
    assert recorded_attempts(recorder) == [(1, "error", None, 7.0), (2, "error", None, 7.0), (3, "ok", None, None)]
    recorder.saga("1").assert_completed()


def test_attempt_ends_with_its_loop_although_its_result_may_be_retried() -> None:
    def pay() -> None:
        with payment.begin("1"):
            for attempt in integration.attempts("wallet.debit", retrying):
                with attempt:
                    return

    retrying = tenacity.Retrying(retry=tenacity.retry_if_result(bool) | tenacity.retry_if_exception_type())
    with record() as recorder:
        pay()
    assert recorded_attempts(recorder) == [(1, "ok", None, None)]
    root, attempt = recorder.spans
    assert attempt.ended_at is not None
    assert root.ended_at is not None
    assert attempt.ended_at < root.ended_at


def test_asynchronous_retries() -> None:
    retrying = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_fixed(0))

    async def pay() -> None:
        async with payment.begin("1"):
            async for attempt in integration.attempts("wallet.debit", retrying):
                with attempt as step:
                    if step.attempt == 1:
                        raise TimeoutError

    with record() as recorder:
        asyncio.run(pay())
    assert recorded_attempts(recorder) == [(1, "error", 2, 0.0), (2, "ok", 2, None)]


def test_wrong_kind_of_loop_is_refused() -> None:
    with pytest.raises(TypeError, match="async for"):
        iter(integration.attempts("wallet.debit", tenacity.AsyncRetrying())).__next__()
