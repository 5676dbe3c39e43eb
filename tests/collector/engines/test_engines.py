"""Spans of engines without `saga.*` attributes become sagas, steps and attempts."""

from typing import Any

import httpx
import pytest

from sagascope import semconv
from support.engines import Story, saga, steps

SERVER, CLIENT = "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"


class Temporal(Story):
    """One run of a workflow, with the attribute keys of one SDK."""

    keys = ("temporalWorkflowID", "temporalRunID", "temporalActivityID")

    def ids(self, activity: str = "", run: bool = True) -> dict[str, str]:
        attributes = (f"order-{self.number}", "run-1" if run else "", activity)
        return {key: value for key, value in zip(self.keys, attributes, strict=True) if value}

    def start(self) -> int:
        workflow = self.span(f"StartWorkflow:{self.name}", self.ids(run=False), 0, 0.01, kind=CLIENT, service="shop")
        self.span(f"RunWorkflow:{self.name}", self.ids(), 0.02, parent=workflow, kind=SERVER)
        return workflow

    def schedule(self, workflow: int, name: str, at: float) -> int:
        return self.span(f"StartActivity:{name}", self.ids(), at, parent=workflow, kind=CLIENT)

    def run(self, scheduled: int, name: str, activity: str, at: float, lasts: float, error: str | None = None) -> int:
        of = self.ids(activity)
        return self.span(
            f"RunActivity:{name}", of, at, lasts, parent=scheduled, error=error, kind=SERVER, service="bank"
        )

    def complete(self, workflow: int, at: float, failed: bool = False) -> None:
        events = [("exception", at, {"exception.type": "ApplicationError"})] if failed else []
        self.span(f"CompleteWorkflow:{self.name}", self.ids(), at, parent=workflow, events=events)

    def shown(self, http: httpx.Client, api: httpx.Client) -> Any:
        self.send(http)
        return saga(api, f"order-{self.number}", self.name)


class TypeScript(Temporal):
    keys = ("temporalWorkflowId", "run_id", "temporalActivityId")


class Java(Temporal):
    keys = ("workflowId", "runId", "activityId")


def test_a_temporal_refund_after_a_failure_compensates_without_a_declaration(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.start()
    story.run(story.schedule(workflow, "charge", 0.03), "charge", "1", 0.1, 0.2)
    story.run(story.schedule(workflow, "fulfil", 0.4), "fulfil", "2", 0.5, 0.2, error="ApplicationError: out of stock")
    story.run(story.schedule(workflow, "refund", 0.8), "refund", "3", 0.9, 0.1)
    story.complete(workflow, 1.1, failed=True)
    shown = story.shown(http, api)
    assert [(each["name"], each["type"], each["state"]) for each in shown["steps"]] == [
        ("charge", "action", "compensated"),
        ("fulfil", "action", "failed"),
        ("refund", "compensation", "done"),
    ]
    assert (shown["attention"], shown["anomalies"]) == (None, [])


def test_two_temporal_refunds_compensate_two_charges(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story = Temporal(number)
    workflow = story.start()
    for position, name in enumerate(["charge", "charge", "fulfil", "refund", "refund"], 1):
        error = "ApplicationError: out of stock" if name == "fulfil" else None
        scheduled = story.schedule(workflow, name, position - 0.5)
        story.run(scheduled, name, str(position), position, 0.2, error=error)
    story.complete(workflow, 6, failed=True)
    shown = story.shown(http, api)
    assert [(each["name"], each["key"], each["type"], each["state"]) for each in shown["steps"]] == [
        ("charge", "", "action", "compensated"),
        ("charge", "2", "action", "compensated"),
        ("fulfil", "", "action", "failed"),
        ("refund", "", "compensation", "done"),
        ("refund", "2", "compensation", "done"),
    ]


@pytest.mark.parametrize("sdk", [Temporal, TypeScript, Java])
def test_a_temporal_workflow_is_a_saga_and_an_activity_with_its_attempts_a_step(
    sdk: type[Temporal], http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = sdk(number)
    workflow = story.start()
    charge = story.schedule(workflow, "charge", 0.03)
    story.run(charge, "charge", "1", 0.1, 0.2, error="ApplicationError: declined")
    story.run(charge, "charge", "1", 1.4, 0.2)
    for activity, at in (("2", 2.0), ("3", 2.5)):
        story.run(story.schedule(workflow, "reserve", at), "reserve", activity, at + 0.1, 0.1)
    story.complete(workflow, 3.0)
    shown = story.shown(http, api)
    assert (shown["status"], shown["run"], shown["anomalies"]) == ("completed", "run-1", [])
    assert steps(shown) == [
        ("charge", "action", "done", ["error", "ok"]),
        ("reserve", "action", "done", ["ok"]),
        ("reserve#2", "action", "done", ["ok"]),
    ]
    assert {each["service"] for each in shown["steps"]} == {"bank"}
    assert shown["spans_total"] == len(story.spans)


def test_a_request_without_an_executor_names_its_destination(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Story(number)
    of = {semconv.SAGA_ID: f"order-{number}", semconv.SAGA_NAME: story.name}
    root = story.span(story.name, {**of, semconv.SAGA_ROLE: semconv.ROLE_SAGA}, 0, None)
    step = {semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_NAME: "ship", semconv.STEP_ATTEMPT: 1}
    called = {**of, **step, semconv.MESSAGING_DESTINATION: "night-shift"}
    story.span("ship", called, 1, None, parent=root, kind="SPAN_KIND_PRODUCER", service="shop")
    story.send(http)
    shown = saga(api, f"order-{number}", story.name, lambda shown: shown["attention"] == "hung")
    assert "shop requested it on night-shift at" in shown["headline"]
    assert "and no executor started it by" in shown["headline"]
    assert any(
        each["text"] == "shop requested ship (attempt 1) on night-shift" for each in shown["verdict"]["evidence"]
    )
    assert "receives from night-shift" in shown["verdict"]["actions"][0]


def test_an_activity_without_a_successful_attempt_is_outstanding(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.start()
    story.run(story.schedule(workflow, "reserve", 0.1), "reserve", "1", 0.2, 0.1)
    charge = story.schedule(workflow, "charge", 0.4)
    story.run(charge, "charge", "2", 0.5, 0.5, error="ApplicationError: 503")
    shown = story.shown(http, api)
    assert steps(shown)[1:] == [("charge", "action", "in_flight", ["error", "in_flight"])]
    assert (shown["status"], shown["attention"], shown["step"]) == ("running", "hung", "charge")
    assert shown["verdict"]["confidence"] == "possible"


def test_an_activity_that_no_worker_started_is_outstanding(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story = Temporal(number)
    story.schedule(story.start(), "charge", 0.4)
    shown = story.shown(http, api)
    assert steps(shown) == [("charge", "action", "in_flight", ["in_flight"])]
    assert shown["attention"] == "hung"


def test_a_failed_workflow_is_failed_and_its_last_activity_unknown(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.start()
    charge = story.schedule(workflow, "charge", 0.1)
    story.run(charge, "charge", "1", 0.2, 0.1, error="ApplicationError: declined")
    story.schedule(workflow, "notify", 0.5)
    story.complete(workflow, 0.6, failed=True)
    shown = story.shown(http, api)
    assert shown["status"] == "failed"
    assert steps(shown) == [("charge", "action", "failed", ["error"]), ("notify", "action", "unknown", ["unknown"])]


def test_a_failed_activity_is_final_once_another_activity_follows(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.start()
    charge = story.schedule(workflow, "charge", 0.1)
    story.run(charge, "charge", "1", 0.2, 0.1, error="ApplicationError: declined")
    release = story.schedule(workflow, "release", 0.4)
    story.run(release, "release", "2", 0.5, 0.1)
    shown = story.shown(http, api)
    assert [each[2] for each in steps(shown)] == ["failed", "done"]


def test_a_run_span_with_a_duration_ends_its_workflow(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story = Temporal(number)
    workflow = story.span(f"StartWorkflow:{story.name}", story.ids(run=False), 0, 0.01, kind=CLIENT)
    run = story.span(f"RunWorkflow:{story.name}", story.ids(), 0.1, 2.0, parent=workflow, kind=SERVER, error="declined")
    story.span("StartActivity:charge", story.ids(), 0.2, 1.5, parent=run)
    shown = story.shown(http, api)
    assert (shown["status"], shown["error"]) == ("failed", None)
    assert steps(shown) == [("charge", "action", "done", ["ok"])]


def test_an_attribute_names_the_activity_that_is_compensated(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    workflow = story.start()
    story.run(story.schedule(workflow, "charge", 0.1), "charge", "1", 0.2, 0.1)
    scheduled = story.schedule(workflow, "refund", 0.5)
    compensation = {"saga.step.compensates": "charge", "saga.amount": "50.00", "saga.currency": "EUR"}
    story.span(
        "RunActivity:refund", story.ids("2") | compensation, 0.6, 0.1, parent=scheduled, kind=SERVER, service="bank"
    )
    shown = story.shown(http, api)
    assert shown["status"] == "compensating"
    assert steps(shown)[1] == ("refund", "compensation", "done", ["ok"])
    assert [(each["step"], each["state"]) for each in shown["ledger"]] == [("charge", "compensated")]


class Dbos(Story):
    keys = ("operationUUID", "operationType")

    def of(self, kind: str = "") -> dict[str, str]:
        return {key: each for key, each in zip(self.keys, (f"wf-{self.number}", kind), strict=True) if each}

    def execution(self, trace: int, at: float, lasts: float) -> int:
        return self.span(self.name, self.of("workflow"), at, lasts, trace=trace)

    def step(self, name: str, at: float, lasts: float, above: int, trace: int = 0, **more: Any) -> None:
        self.span(name, self.of("step"), at, lasts, parent=above, trace=trace, **more)


class DbosNewNames(Dbos):
    keys = ("dbos.operation.workflow_id", "dbos.operation.type")


@pytest.mark.parametrize("names", [Dbos, DbosNewNames])
def test_steps_that_a_dbos_recovery_repeats_are_not_further_executions(
    names: type[Dbos], http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = names(number)
    missing_parent = 7777
    for at in (0.0, 0.2):
        story.step("reserve", at, 0.1, missing_parent)
    again = story.execution(1, 10, 2)
    for at in (10.1, 10.2):
        story.step("reserve", at, 0.001, again, trace=1)
    retried = [("Step attempt 0 failed", 10.5, {"error": "no route to bank"})]
    story.step("charge", 10.4, 0.5, again, trace=1, events=retried)
    story.span("DBOS.sleep", story.of(), 11, 0.1, parent=again, trace=1)
    story.send(http)
    shown = saga(api, f"wf-{number}", story.name, lambda shown: shown["status"] == "completed")
    assert steps(shown) == [
        ("reserve", "action", "done", ["ok"]),
        ("reserve#2", "action", "done", ["ok"]),
        ("charge", "action", "done", ["error", "ok"]),
    ]
    assert shown["attention"] is None
    assert shown["steps"][2]["attempts"][0]["error"]["message"] == "no route to bank"
    assert len(shown["traces"]) == 2


def has_ended(shown: Any) -> bool:
    return shown["ended_at"] is not None


def assert_refunded(shown: Any) -> None:
    compensated = [(each["name"], each["type"], each["state"]) for each in shown["steps"] if "/" not in each["name"]]
    assert compensated == [
        ("charge_card", "action", "compensated"),
        ("ship", "action", "failed"),
        ("refund_charge_card", "compensation", "done"),
    ]
    assert shown["attention"] is None
    assert {each["code"] for each in shown["anomalies"]} <= {"missing_span"}
    assert shown["customer_line"].endswith("failed; everything that was done was reversed.")


def test_a_dbos_step_that_is_named_after_another_compensates_it(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Dbos(number)
    workflow = story.span(story.name, story.of("workflow"), 0, 2, error="out of stock")
    story.step("charge_card", 0.1, 0.1, workflow)
    story.step("ship", 0.5, 0.1, workflow, error="out of stock")
    story.step("refund_charge_card", 1, 0.1, workflow)
    story.send(http)
    assert_refunded(saga(api, f"wf-{number}", story.name, has_ended))


def test_a_dbos_refund_that_a_recovery_repeats_is_one(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story = Dbos(number)
    missing_parent = 7777
    for name, at, error in (("charge_card", 0.1, None), ("ship", 0.5, "out of stock"), ("refund_charge_card", 1, None)):
        story.step(name, at, 0.1, missing_parent, error=error)
    again = story.span(story.name, story.of("workflow"), 10, 2, trace=1, error="out of stock")
    for name, at in (("charge_card", 10.1), ("refund_charge_card", 10.3)):
        story.step(name, at, 0.001, again, trace=1)
    story.send(http)
    assert_refunded(saga(api, f"wf-{number}", story.name, has_ended))


def test_a_dapr_activity_that_is_named_after_another_compensates_it(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story, of = Story(number), {"durabletask.task.instance_id": f"dapr-{number}"}
    root = story.span(f"orchestration||{story.name}", of, 0, 3, kind=SERVER, error="out of stock")
    activities = (("charge_card", 0.1, None), ("ship", 0.5, "out of stock"), ("refund_charge_card", 1, None))
    for task, (name, at, error) in enumerate(activities):
        called = of | {"durabletask.task.name": name, "durabletask.task.task_id": task}
        story.span(f"activity||{name}", called, at, 0.1, parent=root, kind=SERVER, error=error)
    story.send(http)
    assert_refunded(saga(api, f"dapr-{number}", story.name, has_ended))


def test_a_restate_run_that_is_named_after_another_compensates_it(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    target = f"Cart{number}/k7/pay"
    story, of = Story(number), {"restate.invocation.id": f"inv_{number}", "restate.invocation.target": target}
    attempt = story.span(f"invocation-attempt {target}", of, 0, 2, error="out of stock")
    for name, at, error in (("charge_card", 0.1, None), ("ship", 0.5, "out of stock"), ("refund_charge_card", 1, None)):
        story.span(f"run ({name})", of | {"restate.run.name": name}, at, 0.1, parent=attempt, error=error)
    story.span(f"invocation-end {target}", of | {"restate.invocation.result": "failure"}, 0, 2.1)
    story.send(http)
    assert_refunded(saga(api, f"inv_{number}", f"Cart{number}/pay", has_ended))


def test_a_restate_invocation_ends_with_its_result(http: httpx.Client, api: httpx.Client, number: int) -> None:
    target = f"Cart{number}/k7/pay"
    story, of = Story(number), {"restate.invocation.id": f"inv_{number}", "restate.invocation.target": target}
    story.span(f"invocation-attempt {target}", of, 0, 0.1, error="503")
    suspended = story.span(f"invocation-attempt {target}", of, 1, 0.1)
    story.span("run (charge)", of | {"restate.run.name": "charge"}, 1, 0.05, parent=suspended)
    story.span(f"invocation-attempt {target}", of, 2, 0.1)
    story.span(f"invocation-end {target}", of | {"restate.invocation.result": "success"}, 0, 2.1)
    story.send(http)
    shown = saga(api, f"inv_{number}", f"Cart{number}/pay")
    assert (shown["status"], shown["attention"]) == ("completed", None)
    assert steps(shown) == [
        (f"Cart{number}/pay", "action", "done", ["error", "ok"]),
        ("charge", "action", "done", ["ok"]),
    ]


@pytest.mark.parametrize("separator", ["||", ":"])
def test_a_dapr_workflow_is_a_saga(separator: str, http: httpx.Client, api: httpx.Client, number: int) -> None:
    story, of = Story(number), {"durabletask.task.instance_id": f"dapr-{number}"}
    created = story.span(f"create_orchestration{separator}{story.name}", of, 0, 0.1, kind=CLIENT)
    root = story.span(f"orchestration{separator}{story.name}{separator}v1", of, 0.1, 3, parent=created, kind=SERVER)
    task = of | {"durabletask.task.name": "charge", "durabletask.task.task_id": 1}
    scheduled = story.span(f"activity{separator}charge", task, 0.2, 1, parent=root, kind=CLIENT)
    story.span(f"activity{separator}charge", task, 0.2, 1, parent=scheduled, kind=SERVER)
    story.send(http)
    shown = saga(api, f"dapr-{number}", story.name, lambda shown: shown["status"] == "completed")
    assert steps(shown) == [("charge", "action", "done", ["ok"])]


def test_a_masstransit_state_machine_completes_with_its_final_state(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story, prefix = Story(number), "messaging.masstransit."
    states = [("Initial", "Placed"), ("Placed", "Final")]
    for at, (begin, end) in enumerate(states):
        attributes = {
            "saga_id": f"mt-{number}",
            "begin_state": begin,
            "end_state": end,
            "consumer_type": f"Shop.{story.name}",
            "message_types": f"urn:message:Shop.Contracts:Order{end}",
        }
        of = {prefix + key: value for key, value in attributes.items()} | {"messaging.message.conversation_id": "c-1"}
        story.span("order-state process", of, at, 0.1, kind="SPAN_KIND_CONSUMER", scope="MassTransit")
    story.send(http)
    shown = saga(api, f"mt-{number}", story.name, lambda shown: shown["status"] == "completed")
    assert [each[0] for each in steps(shown)] == ["OrderPlaced", "OrderFinal"]


def test_a_conversation_id_makes_a_saga_only_with_masstransit(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Story(number)
    story.span("orders process", {"messaging.message.conversation_id": f"talk-{number}"}, 0, 0.1)
    story.send(http)
    assert api.get("/api/v1/search", params={"q": f"talk-{number}"}).json()["reason"] == "not_a_saga"


def test_an_nservicebus_handler_is_a_step(http: httpx.Client, api: httpx.Client, number: int) -> None:
    handler = "nservicebus.handler."
    story = Story(number)
    of = {f"{handler}saga_id": f"nsb-{number}", f"{handler}handler_type": f"Shop.Sales.{story.name}"}
    for at in (0, 1):
        story.span(story.name, of, at, 0.1)
    story.send(http)
    shown = saga(api, f"nsb-{number}", story.name, lambda shown: len(shown["steps"]) == 2)
    assert (shown["status"], shown["attention"]) == ("running", None)


@pytest.mark.parametrize(("state", "status"), [("SUCCESS", "completed"), ("FAILURE", "failed"), ("RETRY", "running")])
def test_a_celery_task_is_a_saga_with_one_step(
    state: str, status: str, http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story, of = Story(number), {"messaging.conversation_id": f"task-{number}", "celery.task_name": f"shop.ship{number}"}
    called = story.span("apply_async/shop.ship", of, 0, 0.1, kind="SPAN_KIND_PRODUCER", service="shop")
    run = {"parent": called, "kind": "SPAN_KIND_CONSUMER"}
    story.span("run/shop.ship", of | {"celery.state": "RETRY"}, 1, 0.1, **run)
    error = "boom" if state == "FAILURE" else None
    story.span("run/shop.ship", of | {"celery.state": state}, 3, 0.1, error=error, **run)
    story.send(http)
    shown = saga(api, f"task-{number}", f"shop.ship{number}", lambda shown: shown["status"] == status)
    ((name, _, _, states),) = steps(shown)
    assert (name, states) == (f"shop.ship{number}", ["error", "ok" if state == "SUCCESS" else "error"])


def test_sagaz_spans_get_their_roles_from_their_names(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story, of = Story(number), {"saga.id": f"sagaz-{number}", "saga.name": f"order{number}"}
    root = story.span(f"saga.execute.order{number}", of | {"saga.status": "rolled_back"}, 0, 3, error="rolled_back")
    for kind, at in (("action", 0.1), ("compensation", 1)):
        step = of | {"saga.step.name": "reserve", "saga.step.type": kind}
        story.span(f"saga.step.{kind}.reserve", step, at, 0.1, parent=root)
    story.send(http)
    shown = saga(api, f"sagaz-{number}", f"order{number}", lambda shown: shown["status"] == "compensated")
    assert [each[:3] for each in steps(shown)] == [
        ("reserve", "action", "compensated"),
        ("reserve", "compensation", "done"),
    ]
    assert [(each["step"], each["state"]) for each in shown["ledger"]] == [("reserve", "compensated")]


def test_saga_attributes_take_precedence_over_those_of_an_engine(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Temporal(number)
    own = {"saga.id": f"own-{number}", "saga.name": story.name, "saga.role": "step", "saga.step.name": "book"}
    story.span("RunActivity:charge", story.ids("1") | own, 0, 0.1)
    story.send(http)
    shown = saga(api, f"own-{number}", story.name)
    assert steps(shown) == [("book", "action", "done", ["ok"])]
    assert api.get("/api/v1/search", params={"q": f"order-{number}"}).json()["reason"] == "never_seen"


def test_meaningless_attribute_values_are_accepted(http: httpx.Client, number: int) -> None:
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
