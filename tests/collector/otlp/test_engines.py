"""Engines that know nothing of Sagascope: their spans alone make sagas of what they did."""

from typing import Any

import httpx
import pytest

from sagascope import semconv
from support.engines import Story, saga, steps

SERVER, CLIENT = "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"


class Temporal(Story):
    """One run of a workflow, in the spelling of one SDK."""

    keys = ("temporalWorkflowID", "temporalRunID", "temporalActivityID")

    def ids(self, activity: str = "", run: bool = True) -> dict[str, str]:
        said = (f"order-{self.number}", "run-1" if run else "", activity)
        return {key: value for key, value in zip(self.keys, said, strict=True) if value}

    def begin(self) -> int:
        workflow = self.span(f"StartWorkflow:{self.name}", self.ids(run=False), 0, 0.01, kind=CLIENT, service="shop")
        self.span(f"RunWorkflow:{self.name}", self.ids(), 0.02, above=workflow, kind=SERVER)
        return workflow

    def call(self, workflow: int, name: str, at: float) -> int:
        return self.span(f"StartActivity:{name}", self.ids(), at, above=workflow, kind=CLIENT)

    def run(self, call: int, name: str, activity: str, at: float, lasts: float, error: str | None = None) -> int:
        of = self.ids(activity)
        return self.span(f"RunActivity:{name}", of, at, lasts, above=call, error=error, kind=SERVER, service="bank")

    def complete(self, workflow: int, at: float, failed: bool = False) -> None:
        events = [("exception", at, {"exception.type": "ApplicationError"})] if failed else []
        self.span(f"CompleteWorkflow:{self.name}", self.ids(), at, above=workflow, events=events)

    def told(self, http: httpx.Client, api: httpx.Client) -> Any:
        self.send(http)
        return saga(api, f"order-{self.number}", self.name)


class TypeScript(Temporal):
    keys = ("temporalWorkflowId", "run_id", "temporalActivityId")


class Java(Temporal):
    keys = ("workflowId", "runId", "activityId")


@pytest.mark.parametrize("sdk", [Temporal, TypeScript, Java])
def test_a_workflow_of_temporal_is_a_saga_and_an_activity_with_its_tries_a_step(
    sdk: type[Temporal], http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = sdk(number)
    workflow = story.begin()
    charge = story.call(workflow, "charge", 0.03)
    story.run(charge, "charge", "1", 0.1, 0.2, error="ApplicationError: declined")
    story.run(charge, "charge", "1", 1.4, 0.2)
    for activity, at in (("2", 2.0), ("3", 2.5)):
        story.run(story.call(workflow, "reserve", at), "reserve", activity, at + 0.1, 0.1)
    story.complete(workflow, 3.0)
    told = story.told(http, api)
    assert (told["status"], told["run"], told["anomalies"]) == ("completed", "run-1", [])
    assert steps(told) == [
        ("charge", "action", "done", ["error", "ok"]),
        ("reserve", "action", "done", ["ok"]),
        ("reserve#2", "action", "done", ["ok"]),
    ]
    assert {each["service"] for each in told["steps"]} == {"bank"}
    assert told["spans_total"] == len(story.spans)


def test_a_call_without_an_executor_says_where_it_waits(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story = Story(number)
    of = {semconv.SAGA_ID: f"order-{number}", semconv.SAGA_NAME: story.name}
    root = story.span(story.name, {**of, semconv.SAGA_ROLE: semconv.ROLE_SAGA}, 0, None)
    step = {semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_NAME: "ship", semconv.STEP_ATTEMPT: 1}
    called = {**of, **step, semconv.MESSAGING_DESTINATION: "night-shift"}
    story.span("ship", called, 1, None, above=root, kind="SPAN_KIND_PRODUCER", service="shop")
    story.send(http)
    told = saga(api, f"order-{number}", story.name, lambda told: told["attention"] == "hung")
    assert "shop requested it on night-shift at" in told["headline"]
    assert "and no executor started it by" in told["headline"]
    assert any(each["text"] == "shop requested ship (attempt 1) on night-shift" for each in told["verdict"]["evidence"])
    assert "receives from night-shift" in told["verdict"]["actions"][0]


def test_an_activity_without_a_successful_try_is_outstanding(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.begin()
    story.run(story.call(workflow, "reserve", 0.1), "reserve", "1", 0.2, 0.1)
    charge = story.call(workflow, "charge", 0.4)
    story.run(charge, "charge", "2", 0.5, 0.5, error="ApplicationError: 503")
    told = story.told(http, api)
    assert steps(told)[1:] == [("charge", "action", "in_flight", ["error", "in_flight"])]
    assert (told["status"], told["attention"], told["step"]) == ("running", "hung", "charge")
    assert told["verdict"]["confidence"] == "possible"


def test_an_activity_that_no_worker_took_is_outstanding(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story = Temporal(number)
    story.call(story.begin(), "charge", 0.4)
    told = story.told(http, api)
    assert steps(told) == [("charge", "action", "in_flight", ["in_flight"])]
    assert told["attention"] == "hung"


def test_a_workflow_that_failed_says_so_and_its_last_activity_is_over(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.begin()
    charge = story.call(workflow, "charge", 0.1)
    story.run(charge, "charge", "1", 0.2, 0.1, error="ApplicationError: declined")
    story.call(workflow, "notify", 0.5)
    story.complete(workflow, 0.6, failed=True)
    told = story.told(http, api)
    assert told["status"] == "failed"
    assert steps(told) == [("charge", "action", "failed", ["error"]), ("notify", "action", "unknown", ["unknown"])]


def test_an_activity_that_was_given_up_is_over_once_another_follows(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.begin()
    charge = story.call(workflow, "charge", 0.1)
    story.run(charge, "charge", "1", 0.2, 0.1, error="ApplicationError: declined")
    release = story.call(workflow, "release", 0.4)
    story.run(release, "release", "2", 0.5, 0.1)
    told = story.told(http, api)
    assert [each[2] for each in steps(told)] == ["failed", "done"]


def test_sdks_that_hold_the_workflows_span_end_it_with_the_workflow(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.span(f"StartWorkflow:{story.name}", story.ids(run=False), 0, 0.01, kind=CLIENT)
    run = story.span(f"RunWorkflow:{story.name}", story.ids(), 0.1, 2.0, above=workflow, kind=SERVER, error="declined")
    story.span("StartActivity:charge", story.ids(), 0.2, 1.5, above=run)
    told = story.told(http, api)
    assert (told["status"], told["error"]) == ("failed", None)
    assert steps(told) == [("charge", "action", "done", ["ok"])]


def test_which_activity_undoes_another_is_said_by_its_attributes(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.begin()
    story.run(story.call(workflow, "charge", 0.1), "charge", "1", 0.2, 0.1)
    call = story.call(workflow, "refund", 0.5)
    undoing = {"saga.step.compensates": "charge", "saga.amount": "50.00", "saga.currency": "EUR"}
    story.span("RunActivity:refund", story.ids("2") | undoing, 0.6, 0.1, above=call, kind=SERVER, service="bank")
    told = story.told(http, api)
    assert told["status"] == "compensating"
    assert steps(told)[1] == ("refund", "compensation", "done", ["ok"])
    assert [(each["step"], each["state"]) for each in told["ledger"]] == [("charge", "compensated")]


class Dbos(Story):
    keys = ("operationUUID", "operationType")

    def of(self, kind: str = "") -> dict[str, str]:
        return {key: each for key, each in zip(self.keys, (f"wf-{self.number}", kind), strict=True) if each}

    def execution(self, trace: int, at: float, lasts: float) -> int:
        return self.span(self.name, self.of("workflow"), at, lasts, trace=trace)

    def step(self, name: str, at: float, lasts: float, above: int, trace: int = 0, **more: Any) -> None:
        self.span(name, self.of("step"), at, lasts, above=above, trace=trace, **more)


class DbosNewNames(Dbos):
    keys = ("dbos.operation.workflow_id", "dbos.operation.type")


@pytest.mark.parametrize("names", [Dbos, DbosNewNames])
def test_what_a_recovery_of_dbos_tells_again_was_not_done_again(
    names: type[Dbos], http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = names(number)
    never_came = 7777
    for at in (0.0, 0.2):
        story.step("reserve", at, 0.1, never_came)
    again = story.execution(1, 10, 2)
    for at in (10.1, 10.2):
        story.step("reserve", at, 0.001, again, trace=1)
    retried = [("Step attempt 0 failed", 10.5, {"error": "no route to bank"})]
    story.step("charge", 10.4, 0.5, again, trace=1, events=retried)
    story.span("DBOS.sleep", story.of(), 11, 0.1, above=again, trace=1)
    story.send(http)
    told = saga(api, f"wf-{number}", story.name, lambda told: told["status"] == "completed")
    assert steps(told) == [
        ("reserve", "action", "done", ["ok"]),
        ("reserve#2", "action", "done", ["ok"]),
        ("charge", "action", "done", ["error", "ok"]),
    ]
    assert told["attention"] is None
    assert told["steps"][2]["attempts"][0]["error"]["message"] == "no route to bank"
    assert len(told["traces"]) == 2


def test_an_invocation_of_restate_ends_with_its_result(http: httpx.Client, api: httpx.Client, number: int) -> None:
    target = f"Cart{number}/k7/pay"
    story, of = Story(number), {"restate.invocation.id": f"inv_{number}", "restate.invocation.target": target}
    story.span(f"invocation-attempt {target}", of, 0, 0.1, error="503")
    suspended = story.span(f"invocation-attempt {target}", of, 1, 0.1)
    story.span("run (charge)", of | {"restate.run.name": "charge"}, 1, 0.05, above=suspended)
    story.span(f"invocation-attempt {target}", of, 2, 0.1)
    story.span(f"invocation-end {target}", of | {"restate.invocation.result": "success"}, 0, 2.1)
    story.send(http)
    told = saga(api, f"inv_{number}", f"Cart{number}/pay")
    assert (told["status"], told["attention"]) == ("completed", None)
    assert steps(told) == [
        (f"Cart{number}/pay", "action", "done", ["error", "ok"]),
        ("charge", "action", "done", ["ok"]),
    ]


@pytest.mark.parametrize("bar", ["||", ":"])
def test_a_workflow_of_dapr_is_a_saga(bar: str, http: httpx.Client, api: httpx.Client, number: int) -> None:
    story, of = Story(number), {"durabletask.task.instance_id": f"dapr-{number}"}
    created = story.span(f"create_orchestration{bar}{story.name}", of, 0, 0.1, kind=CLIENT)
    root = story.span(f"orchestration{bar}{story.name}{bar}v1", of, 0.1, 3, above=created, kind=SERVER)
    task = of | {"durabletask.task.name": "charge", "durabletask.task.task_id": 1}
    scheduled = story.span(f"activity{bar}charge", task, 0.2, 1, above=root, kind=CLIENT)
    story.span(f"activity{bar}charge", task, 0.2, 1, above=scheduled, kind=SERVER)
    story.send(http)
    told = saga(api, f"dapr-{number}", story.name, lambda told: told["status"] == "completed")
    assert steps(told) == [("charge", "action", "done", ["ok"])]


def test_a_state_machine_of_masstransit_is_a_saga_until_its_final_state(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story, prefix = Story(number), "messaging.masstransit."
    states = [("Initial", "Placed"), ("Placed", "Final")]
    for at, (begin, end) in enumerate(states):
        said = {
            "saga_id": f"mt-{number}",
            "begin_state": begin,
            "end_state": end,
            "consumer_type": f"Shop.{story.name}",
            "message_types": f"urn:message:Shop.Contracts:Order{end}",
        }
        of = {prefix + key: value for key, value in said.items()} | {"messaging.message.conversation_id": "c-1"}
        story.span("order-state process", of, at, 0.1, kind="SPAN_KIND_CONSUMER", scope="MassTransit")
    story.send(http)
    told = saga(api, f"mt-{number}", story.name, lambda told: told["status"] == "completed")
    assert [each[0] for each in steps(told)] == ["OrderPlaced", "OrderFinal"]


def test_other_messages_of_a_conversation_are_no_saga_where_masstransit_did_not_say_so(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Story(number)
    story.span("orders process", {"messaging.message.conversation_id": f"talk-{number}"}, 0, 0.1)
    story.send(http)
    assert api.get("/api/v1/search", params={"q": f"talk-{number}"}).json()["reason"] == "never_seen"


def test_a_handler_of_nservicebus_is_a_step(http: httpx.Client, api: httpx.Client, number: int) -> None:
    handler = "nservicebus.handler."
    story = Story(number)
    of = {f"{handler}saga_id": f"nsb-{number}", f"{handler}handler_type": f"Shop.Sales.{story.name}"}
    for at in (0, 1):
        story.span(story.name, of, at, 0.1)
    story.send(http)
    told = saga(api, f"nsb-{number}", story.name, lambda told: len(told["steps"]) == 2)
    assert (told["status"], told["attention"]) == ("running", None)


@pytest.mark.parametrize(("state", "status"), [("SUCCESS", "completed"), ("FAILURE", "failed"), ("RETRY", "running")])
def test_a_task_of_celery_is_a_saga_of_one_step(
    state: str, status: str, http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story, of = Story(number), {"messaging.conversation_id": f"task-{number}", "celery.task_name": f"shop.ship{number}"}
    called = story.span("apply_async/shop.ship", of, 0, 0.1, kind="SPAN_KIND_PRODUCER", service="shop")
    run = {"above": called, "kind": "SPAN_KIND_CONSUMER"}
    story.span("run/shop.ship", of | {"celery.state": "RETRY"}, 1, 0.1, **run)
    error = "boom" if state == "FAILURE" else None
    story.span("run/shop.ship", of | {"celery.state": state}, 3, 0.1, error=error, **run)
    story.send(http)
    told = saga(api, f"task-{number}", f"shop.ship{number}", lambda told: told["status"] == status)
    ((name, _, _, states),) = steps(told)
    assert (name, states) == (f"shop.ship{number}", ["error", "ok" if state == "SUCCESS" else "error"])


def test_sagaz_says_all_but_the_roles(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story, of = Story(number), {"saga.id": f"sagaz-{number}", "saga.name": f"order{number}"}
    root = story.span(f"saga.execute.order{number}", of | {"saga.status": "rolled_back"}, 0, 3, error="rolled_back")
    for kind, at in (("action", 0.1), ("compensation", 1)):
        step = of | {"saga.step.name": "reserve", "saga.step.type": kind}
        story.span(f"saga.step.{kind}.reserve", step, at, 0.1, above=root)
    story.send(http)
    told = saga(api, f"sagaz-{number}", f"order{number}", lambda told: told["status"] == "compensated")
    assert [each[:3] for each in steps(told)] == [
        ("reserve", "action", "compensated"),
        ("reserve", "compensation", "done"),
    ]
    assert [(each["step"], each["state"]) for each in told["ledger"]] == [("reserve", "compensated")]


def test_saga_attributes_go_before_those_of_an_engine(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story = Temporal(number)
    own = {"saga.id": f"own-{number}", "saga.name": story.name, "saga.role": "step", "saga.step.name": "book"}
    story.span("RunActivity:charge", story.ids("1") | own, 0, 0.1)
    story.send(http)
    told = saga(api, f"own-{number}", story.name)
    assert steps(told) == [("book", "action", "done", ["ok"])]
    assert api.get("/api/v1/search", params={"q": f"order-{number}"}).json()["reason"] == "never_seen"


def test_attributes_of_an_engine_that_mean_nothing_harm_nothing(http: httpx.Client, number: int) -> None:
    story = Story(number)
    keys = [*Temporal.keys, *Java.keys, *Dbos.keys, "restate.invocation.id", "durabletask.task.instance_id"]
    keys += ["messaging.masstransit.saga_id", "messaging.masstransit.message_types", "messaging.conversation_id"]
    names = [
        "RunActivity:",
        "StartWorkflow",
        "activity||",
        "invocation-attempt ",
        " process",
        "run/",
        "saga.step.x",
        "",
    ]
    for value in ("", "\x00", "x" * 5000, 7, -1, 2.5, True, None, b"\xff", [], ["a", 1], {"a": {"b": []}}):
        for name in names:
            story.span(name, dict.fromkeys(keys, value), 0)
    story.send(http)
