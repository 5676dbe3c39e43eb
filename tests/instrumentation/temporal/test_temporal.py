"""`sagascope.integrations.temporal` with a real server: what it reports of workflows, exactly once."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

temporalio = pytest.importorskip("temporalio", reason="temporalio is not installed")

from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle  # noqa: E402
from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: E402
from temporalio.service import RPCError, RPCStatusCode  # noqa: E402
from temporalio.worker import Replayer, Worker  # noqa: E402

import sagascope  # noqa: E402
from sagascope import Saga, Step, _errors, semconv  # noqa: E402
from sagascope.integrations.temporal import SagascopePlugin  # noqa: E402
from sagascope.testing import RecordedSaga, Recorder, record  # noqa: E402
from support import temporal_payments as stage  # noqa: E402
from support.clients import running  # noqa: E402
from support.receiver import Receiver, wait_for  # noqa: E402
from support.temporal_payments import QUEUE, Approval, Broken, Everything, Hurried, LongWait, Payment, Rounds, Trip  # noqa: E402

pytestmark = pytest.mark.xdist_group("temporal")

DEADLINE_SECONDS = 60.0


@asynccontextmanager
async def working(
    address: str, plugin: Any = None, client: Client | None = None, **options: Any
) -> AsyncIterator[Client]:
    """A client, and a worker that uses its plugin."""
    client = client or await Client.connect(address, plugins=[plugin or SagascopePlugin()])
    with ThreadPoolExecutor(4) as threads:
        kinds: dict[str, Any] = {"workflows": stage.WORKFLOWS, "activities": stage.ACTIVITIES}
        async with Worker(client, task_queue=QUEUE, activity_executor=threads, **kinds, **options):
            yield client


async def started(client: Client, workflow: Any, argument: Any, saga_id: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        workflow.run, argument, id=saga_id, task_queue=QUEUE, task_timeout=timedelta(seconds=2)
    )


def run(story: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(story, DEADLINE_SECONDS))


async def until(holds: Callable[[], object], otherwise: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():
            await asyncio.sleep(0.02)


def attempts(saga: RecordedSaga) -> list[tuple[str, str, int, str]]:
    return [(each.step, each.key, each.number, each.error or each.state) for each in saga.attempts]


def test_activity_is_a_step_with_attempts_and_planned_waits(temporal: str) -> None:
    async def story() -> str:
        async with working(temporal) as client:
            return str(await (await started(client, Payment, "flaky-1", "flaky-1")).result())

    with record() as recorder:
        assert run(story()) == "flaky-1"  # the activity's thread is inside the saga
    saga = recorder.saga("flaky-1", "Payment")
    saga.assert_completed()
    failed = ("charge", "", 1, "ConnectionError"), ("charge", "", 2, "ConnectionError")
    done = ("charge", "", 3, "ok"), ("fulfil", "", 1, "ok"), ("stock.take", "", 1, "ok")
    assert attempts(saga) == [*failed, *done]
    first, second, *_ = saga.attempts
    assert (first.span.attributes[semconv.STEP_RETRY_IN], second.span.attributes[semconv.STEP_RETRY_IN]) == (0.05, 0.1)
    assert first.span.attributes[semconv.STEP_MAX_ATTEMPTS] == 3
    assert first.span.attributes[semconv.STEP_TIMEOUT] == 30.0
    run_id = first.span.attributes[semconv.SAGA_RUN_ID]
    named = {f"temporal/{run_id}/activity/1/1": first, f"temporal/{run_id}/activity/1/2": second}
    assert [sha256(text.encode()).digest()[:8].hex() for text in named] == [
        f"{each.span.context.span_id:016x}" for each in named.values()
    ]
    assert first.span.context.trace_id.to_bytes(16, "big") == sha256(f"temporal/{run_id}".encode()).digest()[:16]


def test_decorator_declares_a_compensation(temporal: str) -> None:
    async def story() -> None:
        async with working(temporal) as client:
            with pytest.raises(WorkflowFailureError):
                await (await started(client, Payment, "refused-1", "refused-1")).result()

    with record() as recorder:
        run(story())
    saga = recorder.saga("refused-1")
    saga.assert_compensated()
    saga.assert_compensated_steps("charge")
    refused = next(each for each in saga.attempts if each.step == "fulfil")
    assert refused.span.attributes[semconv.STEP_MAX_ATTEMPTS] == 1  # it is not retried


def test_a_name_tells_the_compensation_of_a_committed_step(temporal: str) -> None:
    async def story() -> None:
        async with working(temporal) as client:
            with pytest.raises(WorkflowFailureError):
                await (await started(client, Trip, "trip-1", "trip-1")).result()

    with record() as recorder:
        run(story())
    saga = recorder.saga("trip-1")
    saga.assert_compensated()
    saga.assert_compensated_steps("book_hotel")


@pytest.mark.parametrize(("refunds", "outcome"), [(1, "failed"), (2, "compensated")])
def test_one_refund_compensates_one_of_two_charges(temporal: str, refunds: int, outcome: str) -> None:
    async def story() -> None:
        async with working(temporal) as client:
            with pytest.raises(WorkflowFailureError):
                await (await started(client, stage.Basket, refunds, f"basket-{refunds}")).result()

    with record() as recorder:
        run(story())
    assert recorder.saga(f"basket-{refunds}").outcome == outcome


@pytest.mark.parametrize("rule", [{"give_back": "charge"}, lambda name: "charge" if name == "give_back" else None])
def test_rule_declares_a_compensation(temporal: str, rule: Any) -> None:
    from sagascope.integrations.temporal._reporting import CompensationRules

    rules = CompensationRules(rule)
    assert rules.compensated_step("Payment", "give_back") == "charge"
    assert rules.compensated_step("Payment", "undo_fulfil") == "fulfil"
    assert rules.compensated_step("Payment", "fulfil") == ""
    Saga("Ordered", [Step("buy", compensation="sell")])
    assert rules.compensated_step("Ordered", "sell") == "buy"


async def ended(client: Client, id_: str) -> None:
    """Waits until a workflow, which may not have started, has ended."""
    while True:
        try:
            await client.get_workflow_handle(id_).result()
            return
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        await asyncio.sleep(0.05)


async def everything(client: Client, saga_id: str) -> None:
    handle = await started(client, Everything, saga_id, saga_id)
    await handle.signal(Everything.release)
    assert await handle.query(Everything.how_often) <= 1
    await ended(
        client, f"{saga_id}/child"
    )  # an update during a local activity may fail in a replay, in Temporal's core
    assert await handle.execute_update(Everything.hurry) <= 1
    await handle.signal(Everything.release)
    assert await handle.result() == 2


@pytest.mark.parametrize("kept", [0, 100])
def test_replays_report_nothing_twice(temporal: str, kept: int) -> None:
    saga_id = f"everything-{kept}"

    async def story() -> None:
        async with working(temporal, max_cached_workflows=kept) as client:
            await everything(client, saga_id)

    with record() as recorder:
        run(story())
    saga = recorder.saga(saga_id)
    saga.assert_completed()
    child = ("Payment", "", 1, "ok")
    assert sorted(attempts(saga)) == sorted([*(("charge", key, 1, "ok") for key in ("", "2", "3")), child])
    assert [span.name for span in saga.spans if span.name.startswith("signal")] == ["signal release"] * 2
    assert [span.name for span in saga.spans if span.name.startswith("update")] == ["update hurry"]
    assert len(saga.spans) == 1 + 4 + 2 + 1
    recorder.saga(f"{saga_id}/child").assert_completed()


def test_run_that_started_before_the_plugin_is_reported_from_its_next_task(temporal: str) -> None:
    async def story() -> None:
        plain = await Client.connect(temporal)
        handle = await started(plain, Everything, "late", "late")
        async with working(temporal, client=plain):
            await handle.signal(Everything.release)
            while await handle.query(Everything.how_often) < 1:
                await asyncio.sleep(0.05)
        before = len(recorder.spans)
        async with working(temporal):
            await handle.signal(Everything.release)
            await handle.result()
        assert before == 0

    with record() as recorder:
        run(story())
    saga = recorder.saga("late")
    saga.assert_completed()
    assert attempts(saga)[-1] == ("charge", "3", 1, "ok")  # counted from the start, which was not reported


def test_trace_of_the_service_continues_in_an_activity(temporal: str) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("service")

    async def story() -> None:
        interceptor = TracingInterceptor(tracer)
        client = await Client.connect(temporal, interceptors=[interceptor], plugins=[SagascopePlugin()])
        async with working(temporal, client=client):
            with tracer.start_as_current_span("request"):
                await (await started(client, Payment, "traced", "traced")).result()

    with record() as recorder:
        run(story())
    recorder.saga("traced").assert_committed_steps("charge", "fulfil", "stock.take")
    names = {span.name for span in spans.get_finished_spans()}
    assert {"request", "StartWorkflow:Payment", "RunActivity:charge", "RunActivity:fulfil"} <= names
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 1
    root = next(span for span in recorder.spans if span.name == "Payment")
    assert [link.context.trace_id for link in root.links] == [spans.get_finished_spans()[0].context.trace_id]


def test_code_of_the_guide_runs(temporal: str, receiver: Receiver, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "engines" / "temporal.md").read_text()
    code = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[0]
    file, log = tmp_path / "payments_by_the_guide.py", tmp_path / "log"
    file.write_text(code.replace("127.0.0.1:7233", temporal))
    with running("env", f"SAGASCOPE_ENDPOINT={receiver.endpoint}", sys.executable, file, log=log):
        wait_for(lambda: receiver.all_spans("fulfil", **{semconv.STEP_ATTEMPT: 2}), "the guide's workflow did not run")
    assert receiver.span("charge").attributes[semconv.SAGA_ID] == "8492"


def test_replay_reports_nothing(temporal: str) -> None:
    async def story() -> int:
        async with working(temporal) as client:
            await everything(client, "replayed")
            history = await client.get_workflow_handle("replayed").fetch_history()
        before = len(recorder.spans)
        await Replayer(workflows=stage.WORKFLOWS, plugins=[SagascopePlugin()]).replay_workflow(history)
        await Replayer(workflows=stage.WORKFLOWS).replay_workflow(history)  # and changes no command
        return before

    with record() as recorder:
        assert run(story()) == len(recorder.spans)


def test_continue_as_new_is_a_new_saga_run(temporal: str) -> None:
    async def story() -> None:
        async with working(temporal) as client:
            await (await started(client, Rounds, 2, "rounds")).result()

    with record() as recorder:
        run(story())
    runs = [each for each in recorder.sagas if each.id == "rounds"]
    assert [each.outcome for each in runs] == ["completed"] * 3
    assert [attempts(each) for each in runs] == [[("charge", "", 1, "ok")]] * 3
    assert [len(each.spans[0].links) for each in runs] == [0, 1, 1]


@pytest.mark.parametrize(("queue", "error"), [(QUEUE, "CancelledError"), (stage.ELSEWHERE, "ActivityError")])
def test_cancelled_activity_is_no_longer_in_flight(temporal: str, queue: str, error: str) -> None:
    saga_id = f"cancelled-{queue}"

    async def story() -> None:
        async with working(temporal) as client:
            handle = await started(client, LongWait, queue, saga_id)
            is_running = has_worker if queue == QUEUE else in_flight
            await until(lambda: is_running(recorder, saga_id), "the activity is not in flight")
            await handle.cancel()
            with pytest.raises(WorkflowFailureError):
                await handle.result()
            await until(lambda: not in_flight(recorder, saga_id), "it is still in flight")

    with record() as recorder:
        run(story())
    saga = recorder.saga(saga_id)
    saga.assert_failed()
    saga.assert_nothing_in_flight()
    assert [each.error for each in saga.attempts] == [error]


def in_flight(recorder: Recorder, saga_id: str) -> bool:
    found = [each for each in recorder.sagas if each.id == saga_id]
    return any(each.state == "in_flight" for saga in found for each in saga.attempts)


def has_worker(recorder: Recorder, saga_id: str) -> bool:
    spans = [span for span in recorder.spans if span.attributes.get(semconv.SAGA_ID) == saga_id]
    return any(semconv.TEMPORAL_SCHEDULED_AT in span.attributes for span in spans)


def test_activity_without_a_worker_times_out(temporal: str) -> None:
    async def story() -> None:
        async with working(temporal) as client:
            with pytest.raises(WorkflowFailureError):
                await (await started(client, Hurried, stage.UNPOLLED_QUEUE, "hurried")).result()

    with record() as recorder:
        run(story())
    assert attempts(recorder.saga("hurried")) == [("charge", "", 1, "ActivityNotStarted")]


def test_workflow_reports_activities_of_uninstrumented_workers(temporal: str) -> None:
    async def story() -> None:
        plugin = SagascopePlugin(uninstrumented_queues=[stage.ELSEWHERE])
        async with working(temporal, plugin) as client:
            plain = await Client.connect(temporal)
            async with Worker(plain, task_queue=stage.ELSEWHERE, activities=[stage.charge]):
                await (await started(client, Hurried, stage.ELSEWHERE, "elsewhere")).result()

    with record() as recorder:
        run(story())
    saga = recorder.saga("elsewhere")
    saga.assert_completed()
    assert attempts(saga) == [("charge", "", 1, "ok")]


def test_scheduled_activity_without_a_worker_is_in_flight(temporal: str) -> None:
    async def story() -> None:
        async with working(temporal) as client:
            handle = await started(client, LongWait, "unpolled", "untaken")
            await until(lambda: in_flight(recorder, "untaken"), "the activity is not scheduled")
            await handle.terminate()

    with record() as recorder:
        run(story())
    saga = recorder.saga("untaken")
    assert saga.outcome is None
    assert attempts(saga) == [("wait_for_ever", "", 1, "in_flight")]
    assert saga.attempts[0].span.attributes[semconv.MESSAGING_DESTINATION] == "unpolled"


def test_failing_workflow_task_does_not_end_the_workflow(temporal: str) -> None:
    def failed() -> list[Any]:
        return [span for span in recorder.spans if span.name == "workflow task of Broken"]

    async def story() -> None:
        async with working(temporal) as client:
            handle = await started(client, Broken, "broken", "broken")
            await until(failed, "the failure was not reported")
            assert recorder.saga("broken").outcome is None
            await handle.signal(Broken.release)
            await handle.result()

    with record() as recorder:
        run(story())
    recorder.saga("broken").assert_completed()


@pytest.mark.parametrize("kept", [0, 100])
def test_a_workflow_declares_what_it_waits_for_once(temporal: str, kept: int) -> None:
    saga_id = f"approval-{kept}"

    async def story() -> None:
        async with working(temporal, max_cached_workflows=kept) as client:
            handle = await started(client, Approval, saga_id, saga_id)
            await until(waits, "no wait was declared")
            await handle.signal(Approval.approve)
            await handle.result()
            history = await handle.fetch_history()
        await Replayer(workflows=stage.WORKFLOWS, plugins=[SagascopePlugin()]).replay_workflow(history)

    def waits() -> list[str]:
        return [body for body, attributes in recorder.logs if attributes.get(semconv.WAIT_FOR) == "approval"]

    with record() as recorder:
        run(story())
    recorder.saga(saga_id).assert_completed()
    assert waits() == ["the workflow waits for approval"]


def test_description_adds_amount_and_keys(temporal: str) -> None:
    def describe(kind: str, args: Any) -> Any:
        return {"amount": "50.00", "currency": "EUR", "keys": {"order_id": f"{kind}/{args[0]}"}}

    async def story() -> None:
        async with working(temporal, SagascopePlugin(describe=describe)) as client:
            await (await started(client, Payment, "described-1", "described-1")).result()

    with record() as recorder:
        run(story())
    saga = recorder.saga("described-1")
    root = next(span for span in saga.spans if span.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_SAGA)
    assert (root.attributes[semconv.AMOUNT], root.attributes[semconv.CURRENCY]) == ("50.00", "EUR")
    assert saga.keys == {"order_id": "Payment/described-1"}


class Failing(Recorder):
    """Fails at every call."""

    def start_span(self, *args: Any, **options: Any) -> Any:
        raise OSError("an internal failure")

    emit_span = start_span


def test_internal_failures_never_reach_the_workflow(temporal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(name: str) -> str:
        raise KeyError(name)

    async def story() -> str:
        async with working(temporal, SagascopePlugin(compensations=rule, describe=lambda kind, args: 1 / 0)) as client:
            return str(await (await started(client, Payment, "flaky-2", "flaky-2")).result())

    monkeypatch.setattr(_errors, "strict", False)
    with monkeypatch.context() as patched:
        patched.setattr(sagascope._runtime, "active", Failing())
        assert run(story()) == ""


def test_plugin_has_no_effect_before_configure(temporal: str) -> None:
    async def story() -> str:
        async with working(temporal) as client:
            return str(await (await started(client, Payment, "plain-3", "plain-3")).result())

    assert sagascope._runtime.active is None
    assert run(story()) == ""
