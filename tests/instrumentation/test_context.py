"""The saga that code runs in: it follows code through threads and tasks, and ends with its block for all of them."""

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from opentelemetry import propagate, trace

import sagascope
from sagascope import Saga, Step
from sagascope.testing import record
from support.receiver import Receiver, wait_for

payment = Saga("payment", ["fraud.check", "wallet.debit", "ledger.record"])


def test_background_task_continues_the_saga(configured: Receiver) -> None:
    headers: dict[str, str] = {}

    async def handle() -> "asyncio.Task[None]":
        with sagascope.extract(headers):
            return asyncio.create_task(record())

    async def record() -> None:
        await answered.wait()
        with sagascope.step("ledger.record"):
            pass

    async def main() -> None:
        with payment.begin("8492") as saga, saga.step("ledger.record"):
            sagascope.inject(headers)
        task = await handle()
        assert sagascope.current() is None
        answered.set()
        await task
        incoming = sagascope.extract(headers)
        with incoming:
            pass
        with incoming, sagascope.step("shipping.book"):
            pass

    answered = asyncio.Event()
    asyncio.run(main())
    caller, executor = wait_for(lambda: len(found := configured.all_spans("ledger.record")) == 2 and found)
    assert executor.parent_id == caller.span_id
    assert configured.span("shipping.book").attributes["saga.id"] == "8492"


def test_saga_can_be_used_from_a_thread_outside_it(configured: Receiver) -> None:
    with payment.begin("1") as saga:

        def work() -> None:
            with saga.step("wallet.debit"):
                pass

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    step, root = configured.span("wallet.debit"), configured.span("payment")
    assert (step.parent_id, step.trace_id) == (root.span_id, root.trace_id)


def test_overlapping_blocks_restore_the_context(configured: Receiver) -> None:
    with payment.begin("1") as saga:
        first, second = saga.step("wallet.debit"), saga.step("ledger.record")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        assert sagascope.current() is saga
        with saga.step("fraud.check"):
            pass
    assert sagascope.current() is None
    assert configured.span("fraud.check").parent_id == configured.span("payment").span_id


def test_consumer_of_an_unexhausted_generator_leaves_its_saga(configured: Receiver) -> None:
    @sagascope.step("audit.write")
    async def audit() -> None:
        assert sagascope.current() is None

    async def pay() -> AsyncIterator[str]:
        async with payment.begin("leak-1") as saga:
            with saga.step("wallet.debit"):
                pass
            yield "debited"

    async def main() -> None:
        async for _ in pay():
            break
        gc.collect()
        async with asyncio.timeout(10):
            while sagascope.current() is not None:  # the event loop closes the generator
                await asyncio.sleep(0)
        await audit()
        headers: dict[str, str] = {}
        propagate.inject(headers)
        assert not headers
        with payment.begin("2") as saga:
            assert sagascope.current() is saga
        assert sagascope.current() is None

    asyncio.run(main())
    wait_for(lambda: len(configured.all_spans("payment")) == 2)
    assert not configured.all_spans("audit.write")
    second = configured.span("payment", saga_id="2")
    assert not second.parent_id
    assert second.trace_id != configured.span("payment", saga_id="leak-1").trace_id


def test_generator_that_another_thread_closes_leaves_its_saga(configured: Receiver) -> None:
    def pay() -> Iterator[str]:
        with payment.begin("1") as saga, saga.step("wallet.debit"):
            yield "debiting"

    def consume() -> None:
        generator = pay()
        next(generator)
        thread = threading.Thread(target=generator.close)
        thread.start()
        thread.join()
        assert sagascope.current() is None
        with payment.begin("2"):
            pass

    contextvars.Context().run(consume)
    assert not configured.span("payment", saga_id="2").parent_id


@pytest.mark.parametrize(
    ("plan", "steps", "yields_inside", "outcome"),
    [
        (["wallet.debit"], ["wallet.debit"], False, "completed"),
        ([], ["wallet.debit"], False, "failed"),
        ([Step("fraud.check", optional=True)], [], False, "failed"),
        ([Step("wallet.debit"), Step("fraud.check", optional=True)], ["wallet.debit"], False, "completed"),
        (["wallet.debit", "ledger.record"], ["wallet.debit"], False, "failed"),
        (["wallet.debit"], ["wallet.debit"], True, "failed"),
        ([], ["wallet.debit"], True, "failed"),
    ],
    ids=[
        "all done",
        "no plan",
        "nothing required",
        "optional left",
        "one left",
        "inside a step",
        "inside a step without a plan",
    ],
)
def test_generator_left_early_is_no_failure_when_the_work_was_done(
    configured: Receiver, plan: list[Any], steps: list[str], yields_inside: bool, outcome: str
) -> None:
    def pay() -> Iterator[str]:
        with Saga("streamed", plan).begin("1") as saga:
            for name in steps:
                with saga.step(name):
                    if yields_inside:
                        yield name
            yield "done"

    for _ in pay():
        break
    root = configured.span("streamed")
    assert root.attributes["saga.outcome"] == outcome
    assert root.raw.status.code == (0 if outcome == "completed" else 2)


@pytest.mark.parametrize(("compensated", "outcome"), [(["B"], "failed"), (["B", "A"], "compensated")])
def test_generator_left_early_while_it_compensates_is_not_completed(
    configured: Receiver, compensated: list[str], outcome: str
) -> None:
    def pay() -> Iterator[str]:
        plan = [Step("A", compensation="cancel A"), Step("B", compensation="cancel B")]
        with Saga("streamed", plan).begin("1") as saga:
            for name in ("A", "B"):
                with saga.step(name):
                    pass
            for name in compensated:
                with saga.compensation(f"cancel {name}"):
                    pass
            yield "given up"

    for _ in pay():
        break
    assert configured.span("streamed").attributes["saga.outcome"] == outcome


@pytest.mark.parametrize("opened", ["saga", "step", "batch"])
def test_thread_pool_that_outlives_its_block_attaches_to_nothing_that_ended(configured: Receiver, opened: str) -> None:
    def later() -> tuple[bool, bool]:
        with sagascope.step("ledger.record"):
            current = trace.get_current_span().get_span_context()
        return sagascope.current() is None, current.is_valid

    headers: dict[str, str] = {}
    with payment.begin("0", open=True):
        sagascope.inject(headers)
    with ThreadPoolExecutor(1) as pool:
        if opened == "batch":
            with sagascope.batch("ledger.settle", [sagascope.extract(headers)]):
                copied = contextvars.copy_context()
        else:
            with payment.begin("1") as saga, saga.step("wallet.debit") if opened == "step" else nullcontext():
                copied = contextvars.copy_context()
        assert pool.submit(copied.run, later).result() == (True, False)
    sagascope.flush(30)
    assert not configured.all_spans("ledger.record")


def test_task_that_outlives_its_saga_leaves_it(configured: Receiver) -> None:
    async def later(ended: asyncio.Event) -> None:
        await ended.wait()
        assert sagascope.current() is None
        with sagascope.step("ledger.record"):
            pass

    async def main() -> None:
        ended = asyncio.Event()
        with payment.begin("1") as saga, saga.step("wallet.debit"):
            task = asyncio.create_task(later(ended))
        ended.set()
        await task

    asyncio.run(main())
    configured.span("payment")
    assert not configured.all_spans("ledger.record")


def test_task_that_outlives_its_step_stays_in_the_saga(configured: Receiver) -> None:
    async def later(ended: asyncio.Event) -> None:
        await ended.wait()
        with sagascope.step("ledger.record"):
            pass

    async def main() -> None:
        ended = asyncio.Event()
        with payment.begin("1") as saga:
            with saga.step("wallet.debit"):
                task = asyncio.create_task(later(ended))
            ended.set()
            await task
            assert sagascope.current() is saga

    asyncio.run(main())
    record = configured.span("ledger.record")
    assert record.attributes["saga.id"] == "1"
    assert record.parent_id == configured.span("payment").span_id  # not the step, which had ended


def test_task_that_outlives_the_block_of_an_open_saga_stays_in_it(configured: Receiver) -> None:
    async def later(left: asyncio.Event) -> None:
        await left.wait()
        with sagascope.step("ledger.record"):
            pass

    async def main() -> None:
        left = asyncio.Event()
        with payment.begin("1", open=True):
            task = asyncio.create_task(later(left))
        assert sagascope.current() is None
        left.set()
        await task

    asyncio.run(main())
    assert configured.span("ledger.record").attributes["saga.id"] == "1"


def test_step_that_a_saga_opens_after_its_end_is_sent(configured: Receiver) -> None:
    with payment.begin("1") as saga:
        pass
    with saga.step("wallet.debit"):
        assert sagascope.current() is saga
    assert sagascope.current() is None
    assert configured.span("wallet.debit").attributes["saga.id"] == "1"


def test_current_saga_of_a_caller_has_its_steps_in_another_thread() -> None:
    with record() as recorder:
        with Saga("order", ["ledger.record"]).begin("1"):
            headers: dict[str, str] = {}
            sagascope.inject(headers)
        with sagascope.extract(headers):
            saga = sagascope.current()
        assert saga is not None

        def work() -> None:
            with saga.step("ledger.record"):
                pass

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    (attempt,) = recorder.saga("1").attempts
    assert attempt.span.parent_id == next(span for span in recorder.spans if span.name == "order").context.span_id
