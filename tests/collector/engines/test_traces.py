"""Rules with ``scope: trace``: plain OpenTelemetry becomes sagas, tested through the ports of real collectors."""

import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagascope_collector.engines import read_mapping
from sagascope_collector.errors import BadRules
from support import preloaded
from support.collector import RunningCollector, running_collector
from support.engines import Story, saga, steps as steps_of
from support.otlp import SECOND, log, logs, resource, span_id, trace_id
from support.samples import wait_until

MAPPING = """\
rules:
  - scope: trace
    when: {has: [app.order.id]}
    id: app.order.id
    name: {constant: checkout}
    amount: app.order.amount
    currency: {constant: EUR}
    keys: {customer: app.user.id}
    compensates: {Refund: Charge}
  - scope: trace
    when: {has: [app.claim.id]}
    id: app.claim.id
    name: {constant: claim}
    timeout: 2h
    keys: {policy: app.policy}
    outcome:
      completed: {span: '^ClaimPaid$'}
      failed: {equals: {claim.state: rejected}}
    steps:
      - when: {span: '^pay '}
        step: {span: '^pay (\\S+)'}
        amount: paid.amount
        currency: paid.currency
        idempotency_key: paid.token
        step_timeout: 90s
      - when: {span: '^reverse '}
        step: {span: '^(reverse \\S+)'}
        compensates: reverses
"""

SERVER, CLIENT, CONSUMER, PRODUCER = "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_CONSUMER", "SPAN_KIND_PRODUCER"
PROTOBUF = {"Content-Type": "application/x-protobuf"}

_NUMBERS = itertools.count(5000)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    folder = tmp_path_factory.mktemp("traces")
    (folder / "mapping.yaml").write_text(MAPPING)
    with running_collector(folder, "--mapping", str(folder / "mapping.yaml")) as running:
        yield running


@pytest.fixture(scope="module")
def http(collector: RunningCollector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=collector.otlp_http, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def api(collector: RunningCollector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def story() -> Story:
    return Story(next(_NUMBERS))


def call(
    story: Story,
    name: str,
    parent: int,
    at: float,
    of: Mapping[str, Any] | None = None,
    error: str | None = None,
    client_error: str | None = None,
) -> int:
    """Adds a call from the service checkout to another one; returns the number of the server's span."""
    attributes = of or {}
    client = story.span(name, {}, at, 1, parent=parent, kind=CLIENT, service="checkout", error=error or client_error)
    return story.span(name, attributes, at + 0.1, 0.8, parent=client, kind=SERVER, service=name.lower(), error=error)


def steps(shown: Any) -> list[tuple[str, str, str, list[str]]]:
    """Returns the steps that were attempted; the plan that was learned from other sagas may have more."""
    return [each for each in steps_of(shown) if each[-1]]


@pytest.mark.parametrize("identified", ["root", "last"])
def test_one_identified_span_gives_its_saga_to_the_whole_trace(
    http: httpx.Client, api: httpx.Client, story: Story, identified: str
) -> None:
    order = f"order-{identified}"
    of = {"app.order.id": order, "app.order.amount": 59.9, "app.user.id": "u-7"}
    root = story.span("PlaceOrder", of if identified == "root" else {}, 0, 9, kind=SERVER, service="checkout")
    call(story, "Charge", root, 1)
    ship = call(story, "Ship", root, 3, of if identified == "last" else None)
    story.send(http)
    line = log("packed", at=story.begun + 4 * SECOND, trace_id=trace_id(story.number * 10), span_id=span_id(ship))
    http.post("/v1/logs", content=logs(line, of=resource("ship")).SerializeToString(), headers=PROTOBUF)
    shown = saga(api, order, "checkout", lambda shown: shown["logs_total"] == 1 and len(shown["spans"]) == 5)
    assert (shown["status"], shown["attention"], shown["anomalies"]) == ("completed", None, [])
    assert steps(shown) == [("Charge", "action", "done", ["ok"]), ("Ship", "action", "done", ["ok"])]
    assert [each["service"] for each in shown["steps"] if each["attempts"]] == ["charge", "ship"]
    assert shown["keys"] == {"customer": "u-7"}
    added = next(each["attributes"] for each in shown["spans"] if "app.order.id" in each["attributes"])
    assert added["saga.key.customer"] == "u-7"
    assert "saga.key.customer" in added["sagascope.mapped"]
    assert [each["body"] for each in shown["logs"]] == ["packed"]


def test_a_trace_whose_span_with_the_id_comes_in_the_first_request_takes_what_comes_later(
    http: httpx.Client, api: httpx.Client, story: Story
) -> None:
    root = story.span("PlaceOrder", {}, 0, 9, kind=SERVER, service="checkout")
    call(story, "Charge", root, 1)
    call(story, "Ship", root, 3, {"app.order.id": "order-first"}, error="no carrier")
    story.spans.sort(key=lambda each: bool(each[2].attributes))
    last = story.spans.pop()
    before, story.spans = story.spans, [last]
    story.send(http)
    saga(api, "order-first", "checkout")
    story.spans = before
    story.send(http)
    shown = saga(api, "order-first", "checkout", lambda shown: len(shown["spans"]) == 5)
    assert shown["status"] == "failed"
    assert steps(shown) == [("Charge", "action", "done", ["ok"]), ("Ship", "action", "failed", ["error"])]
    assert "no carrier" in shown["headline"]


def test_a_step_that_was_retried_and_one_that_was_repeated(http: httpx.Client, api: httpx.Client, story: Story) -> None:
    root = story.span("PlaceOrder", {"app.order.id": "order-retry"}, 0, 20, kind=SERVER, service="checkout")
    unreachable = story.span("Charge", {}, 1, 1, parent=root, kind=CLIENT, service="checkout", error="refused")
    call(story, "Charge", root, 3, error="503")
    call(story, "Charge", root, 5)
    call(story, "GetRate", root, 7)
    call(story, "GetRate", root, 9)
    story.send(http)
    shown = saga(api, "order-retry", "checkout", lambda shown: len(shown["spans"]) == 10)
    assert (shown["status"], shown["attention"], shown["anomalies"]) == ("completed", None, [])
    assert steps(shown) == [
        ("Charge", "action", "done", ["error", "error", "ok"]),
        ("GetRate", "action", "done", ["ok"]),
        ("GetRate#2", "action", "done", ["ok"]),
    ]
    assert int(shown["steps"][0]["attempts"][0]["span_id"], 16) == unreachable


def test_when_a_step_without_a_status_failed(http: httpx.Client, api: httpx.Client, story: Story) -> None:
    root = story.span("PlaceOrder", {"app.order.id": "order-unset"}, 0, 30, kind=SERVER, service="checkout")
    call(story, "Declined", root, 1, {"http.response.status_code": 402}, client_error="402")
    swallowed = call(story, "Swallowed", root, 3)
    story.span("cache", {}, 3.2, 0.1, parent=swallowed, service="swallowed", error="no cache")
    fell_back = call(story, "FellBack", root, 5, client_error="cut off")
    story.span("first", {}, 5.2, 0.1, parent=fell_back, service="fellback", error="broken")
    story.span("second", {}, 5.4, 0.1, parent=fell_back, service="fellback")
    broke = call(story, "Broke", root, 7, client_error="broken")
    story.span("insert", {}, 7.2, 0.1, parent=broke, service="broke", error="disk full")
    call(story, "Last", root, 9)
    story.send(http)
    shown = saga(api, "order-unset", "checkout", lambda shown: len(shown["spans"]) == 15)
    states = {name: state for name, _, state, _ in steps(shown)}
    assert states == {"Declined": "failed", "Swallowed": "done", "FellBack": "done", "Broke": "failed", "Last": "done"}
    assert shown["status"] == "completed"  # the last step succeeded, and the root did not fail


@pytest.mark.shows("opentelemetry", "compensated", "compensated")
def test_a_compensation_named_by_the_rule(http: httpx.Client, api: httpx.Client, story: Story) -> None:
    of = {"app.order.id": "order-refund", "app.order.amount": 12.5}
    root = story.span("PlaceOrder", of, 0, 20, kind=SERVER, service="checkout")
    call(story, "Charge", root, 1)
    call(story, "Ship", root, 3, error="no carrier")
    call(story, "Refund", root, 5)
    story.send(http)
    shown = saga(api, "order-refund", "checkout", lambda shown: len(shown["spans"]) == 7)
    assert shown["status"] == "compensated"
    assert steps(shown)[0] == ("Charge", "action", "compensated", ["ok"])
    assert steps(shown)[-1] == ("Refund", "compensation", "done", ["ok"])


def test_the_amount_of_a_failed_saga_is_what_may_be_at_risk(
    http: httpx.Client, api: httpx.Client, story: Story
) -> None:
    of = {"app.order.id": "order-amount", "app.order.amount": 12.5}
    root = story.span("PlaceOrder", of, 0, 20, kind=SERVER, service="checkout", error="gave up")
    call(story, "Charge", root, 1, of)
    call(story, "Ship", root, 3, of, error="no carrier")
    story.send(http)
    shown = saga(api, "order-amount", "checkout", lambda shown: len(shown["spans"]) == 5)
    assert shown["amount_at_risk"] == [{"currency": "EUR", "certain": "0.0", "possible": "12.5"}]
    assert {each["amount"] for each in shown["ledger"]} == {None}  # no rule says which step moved it


def test_two_orders_in_one_trace_have_what_is_below_them(http: httpx.Client, api: httpx.Client, story: Story) -> None:
    root = story.span("batch", {}, 0, 20, service="checkout")
    for number, at in ((1, 1), (2, 3)):
        of = {"app.order.id": f"order-batch-{number}"}
        one = story.span("Handle", of, at, 1.5, parent=root, kind=CONSUMER, service="checkout")
        call(story, f"Charge{number}", one, at + 0.1)
    story.send(http)
    shown = saga(api, "order-batch-2", "checkout", lambda shown: len(shown["spans"]) == 3)
    assert {name for name, *_ in steps(shown)} == {"Handle", "Charge2"}
    saga(api, "order-batch-1", "checkout", lambda shown: "batch" in {each["name"] for each in shown["spans"]})


def test_spans_with_saga_attributes_keep_their_own_saga(http: httpx.Client, api: httpx.Client, story: Story) -> None:
    root = story.span("PlaceOrder", {"app.order.id": "order-own"}, 0, 9, kind=SERVER, service="checkout")
    own = {"saga.id": "own-1", "saga.name": "own", "saga.role": "step", "saga.step.name": "book"}
    story.span("book", own, 1, 1, parent=root, service="booking")
    story.span("confirm", {}, 3, 1, parent=root, kind=SERVER, service="mail")
    story.send(http)
    shown = saga(api, "order-own", "checkout", lambda shown: len(shown["spans"]) == 2)
    assert [name for name, *_ in steps(shown)] == ["confirm"]
    assert [name for name, *_ in steps(saga(api, "own-1", "own"))] == ["book"]


def test_rules_describe_steps_and_the_end(http: httpx.Client, api: httpx.Client, story: Story) -> None:
    root = story.span("claim", {"app.claim.id": "claim-1", "app.policy": "p-1"}, 0, 1, kind=SERVER, service="claims")
    paid = {"paid.amount": "80.10", "paid.currency": "EUR", "paid.token": "t-1"}
    story.span("pay doctor", paid, 2, 1, parent=root, service="bank")
    story.span("audit", {}, 2, 1, parent=root, kind=SERVER, service="audit")
    story.span("pay clinic", paid, 4, 1, parent=root, service="bank", error="closed")
    story.span("reverse doctor", {"reverses": "doctor"}, 6, 1, parent=root, service="bank", error="too late")
    rejected = story.span("decide", {"claim.state": "rejected"}, 8, 1, parent=root, service="claims")
    story.send(http)
    shown = saga(api, "claim-1", "claim", lambda shown: len(shown["spans"]) == 6)
    assert rejected
    assert (shown["status"], shown["keys"]) == ("failed", {"policy": "p-1"})
    assert shown["attention"] == "compensation_failed"
    assert shown["amount_at_risk"] == [{"currency": "EUR", "certain": "80.10", "possible": "0.00"}]
    assert [each[:3] for each in steps(shown)] == [
        ("doctor", "action", "done"),
        ("clinic", "action", "failed"),
        ("reverse doctor", "compensation", "failed"),
    ]


def test_a_saga_without_its_outcome_goes_on_after_its_first_span(
    http: httpx.Client, api: httpx.Client, story: Story
) -> None:
    root = story.span("claim", {"app.claim.id": "claim-2"}, 0, 1, kind=SERVER, service="claims")
    story.span("pay doctor", {}, 2, 1, parent=root, service="bank")
    story.send(http)
    shown = saga(api, "claim-2", "claim", lambda shown: len(shown["spans"]) == 2)
    assert shown["status"] == "running"
    story.spans.clear()
    story.span("ClaimPaid", {}, 9, 1, trace=1, service="claims")
    story.spans[0][2].attributes.add(key="app.claim.id").value.string_value = "claim-2"
    story.send(http)
    assert saga(api, "claim-2", "claim", lambda shown: shown["status"] == "completed")["ended_at"]


def test_a_request_that_is_sent_again_is_stored_once(http: httpx.Client, api: httpx.Client, story: Story) -> None:
    of = {"app.order.id": "order-again", "app.order.amount": 1.5}
    root = story.span("PlaceOrder", of, 0, 9, kind=SERVER, service="checkout")
    call(story, "Charge", root, 1)
    story.send(http)
    saga(api, "order-again", "checkout", lambda shown: len(shown["spans"]) == 3)
    before = api.get("/api/v1/status").json()
    story.send(http)
    after = api.get("/api/v1/status").json()
    assert (after["stored"] - before["stored"], after["duplicate"] - before["duplicate"]) == (0, 3)


STORED = """\
rules:
  - scope: trace
    when: {has: [app.order.id]}
    id: app.order.id
    name: {constant: NAME}
  - when: {has: [job.id]}
    id: job.id
    name: {constant: NAME}
    step: {span: '(.*)'}
"""


@contextmanager
def started(folder: Path, rules: str | None) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Starts a collector on the folder's database; yields clients of its OTLP port and of its API."""
    options = []
    if rules is not None:
        (folder / "mapping.yaml").write_text(rules)
        options = ["--mapping", str(folder / "mapping.yaml")]
    with (
        running_collector(folder, *options) as collector,
        httpx.Client(base_url=collector.otlp_http, trust_env=False, timeout=60) as http,
        httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as api,
    ):
        yield http, api


def listed(api: httpx.Client) -> list[tuple[str, str]]:
    """Returns the name and id of each saga in the list, which follows the stored records."""
    return sorted((each["name"], each["id"]) for each in api.get("/api/v1/sagas").json()["items"])


def test_what_was_stored_before_the_rules_is_mapped_at_the_next_start(tmp_path: Path, story: Story) -> None:
    root = story.span("PlaceOrder", {"app.order.id": "o-1"}, 0, 9, kind=SERVER, service="checkout")
    call(story, "Charge", root, 1)
    story.span("index", {"job.id": "j-1"}, 1, 1, trace=1, service="jobs")
    with started(tmp_path, None) as (http, api):
        story.send(http)
        found = api.get("/api/v1/search", params={"q": "o-1"}).json()
        assert (found["reason"], found["unassigned"]["attribute"]) == ("not_a_saga", "app.order.id")
        assert "scope: trace" in found["unassigned"]["rule"]
    with started(tmp_path, STORED.replace("NAME", "first")) as (_, api):
        assert len(saga(api, "o-1", "first", lambda shown: len(shown["spans"]) == 3)["steps"]) == 1
        assert saga(api, "j-1", "first")["steps"][0]["name"] == "index"
        stored = api.get("/api/v1/status").json()["stored"]
    with started(tmp_path, STORED.replace("NAME", "second")) as (http, api):
        saga(api, "o-1", "second", lambda shown: len(shown["spans"]) == 3)
        saga(api, "j-1", "second")
        for name in ("o-1", "j-1"):
            assert api.get("/api/v1/saga", params={"id": name, "name": "first"}).status_code == 404
        wait_until(lambda: listed(api) == [("second", "j-1"), ("second", "o-1")], f"listed: {listed(api)}")
        story.send(http)
        status = api.get("/api/v1/status").json()
        assert (status["stored"], status["duplicate"]) == (stored, 4)
    with started(tmp_path, None) as (_, api):  # without rules, everything stays as it is
        assert saga(api, "o-1", "second")["status"] == "completed"


BY_NAME = """\
rules:
  - scope: trace
    when: {has: [app.order.id]}
    id: app.order.id
    name: {constant: order}
    compensates: {PayBack: Charge}
  - when: {engine: dbos}
    compensates: {pay_back: charge}
"""


def test_a_compensation_that_was_stored_before_its_rule_counts_after_a_remapping(tmp_path: Path, story: Story) -> None:
    """A whole trace, and the spans of an engine whose names do not tell it either."""
    root = story.span("PlaceOrder", {"app.order.id": "o-3"}, 0, 9, kind=SERVER, service="checkout", error="gave up")
    for at, name in enumerate(("Charge", "Ship", "PayBack"), 1):
        call(story, name, root, at, error="no carrier" if name == "Ship" else None)
    of = {"operationUUID": "w-3"}
    workflow = story.span(
        "checkout", of | {"operationType": "workflow"}, 0, 9, trace=1, service="shop", error="gave up"
    )
    for at, name in enumerate(("charge", "ship", "pay_back"), 1):
        error = "no carrier" if name == "ship" else None
        attributes = of | {"operationType": "step"}
        story.span(name, attributes, at, 0.5, trace=1, parent=workflow, service="shop", error=error)
    rules = BY_NAME.split("    compensates")[0]

    def compensated(api: httpx.Client, id_: str, name: str) -> dict[str, str]:
        shown = saga(api, id_, name, lambda shown: len(shown["steps"]) >= 3)
        return {line["step"]: line["state"] for line in shown["ledger"]}

    with started(tmp_path, rules) as (http, api):
        story.send(http)
        assert compensated(api, "o-3", "order")["Charge"] == "committed"
        assert compensated(api, "w-3", "checkout")["charge"] == "committed"
        (tmp_path / "mapping.yaml").write_text(BY_NAME)
        done = preloaded.run("sagascope_collector", "remap", "--url", str(api.base_url))
        assert done.returncode == 0, done.stderr
        for id_, name, step in (("o-3", "order", "Charge"), ("w-3", "checkout", "charge")):
            wait_until(
                lambda id_=id_, name=name, step=step: compensated(api, id_, name)[step] == "compensated",
                f"{step} of {id_} was never compensated: {saga(api, id_, name)}",
            )


def test_the_file_is_read_again_while_the_collector_runs(tmp_path: Path, story: Story) -> None:
    root = story.span("PlaceOrder", {"app.order.id": "o-2"}, 0, 9, kind=SERVER, service="checkout")
    call(story, "Charge", root, 1)
    story.span("index", {"job.id": "j-2"}, 1, 1, trace=1, service="jobs")

    def remap(api: httpx.Client, *options: str) -> subprocess.CompletedProcess[str]:
        return preloaded.run("sagascope_collector", "remap", "--url", str(api.base_url), *options)

    with started(tmp_path, "rules: []") as (http, api):
        story.send(http)
        done = remap(api)
        assert done.stdout == "The mapping file has no rules: stored records stay as they are.\n", done.stderr
        (tmp_path / "mapping.yaml").write_text(STORED.replace("NAME", "third"))
        done = remap(api)
        assert (done.returncode, done.stdout) == (0, "All stored records are mapped by the rules of the file.\n")
        saga(api, "o-2", "third", lambda shown: len(shown["spans"]) == 3)
        saga(api, "j-2", "third")
        later = Story(next(_NUMBERS))
        later.span("index", {"job.id": "j-3"}, 0, 1, service="jobs")
        later.send(http)
        saga(api, "j-3", "third")
        (tmp_path / "mapping.yaml").write_text("rules: [{step: a}]")
        refused = remap(api)
        assert refused.returncode == 2
        assert "id is missing" in refused.stderr
        saga(api, "j-3", "third")  # the rules from before still hold
        done = remap(api, "--json")
        assert done.returncode == 2
    with started(tmp_path, None) as (_, api):
        assert "--mapping FILE" in remap(api).stderr
        assert api.get("/api/v1/remap").json() == {"has_rules": False, "is_running": False, "mapped": 5, "records": 5}


def test_rules_are_suggested_for_what_belongs_to_no_transaction(tmp_path: Path) -> None:
    with started(tmp_path, None) as (http, api):

        def suggest(*options: str) -> subprocess.CompletedProcess[str]:
            return preloaded.run("sagascope_collector", "mapping", "suggest", "--url", str(api.base_url), *options)

        none = suggest()
        assert (none.returncode, none.stdout) == (1, "0 of the newest 0 spans belong to no transaction.\n"), none.stderr
        for order in range(1, 7):
            story = Story(next(_NUMBERS))
            of = {"app.order.id": f"ord-{order}", "request.id": f"r{order}", "http.route": "/v1/orders"}
            every = {"app.build": "b17", "user.id": f"u{order % 2}", "server.port": 8080}
            root = story.span("PlaceOrder", of | every, 0, 9, kind=SERVER, service="checkout")
            call(story, "Charge", root, 1, {"app.order.id": f"ord-{order}"} | every)
            call(story, "Ship", root, 3, {"shipment_id": order} | every)
            story.send(http)
        status = api.get("/api/v1/status").json()
        assert (status["recent_spans"], status["recent_unassigned"]) == (30, 30)
        items = api.get("/api/v1/suggestions").json()["items"]
        found = {each["attribute"]: each for each in items}
        assert [each["attribute"] for each in items][:2] == ["app.order.id", "shipment_id"]
        assert not {"server.port", "http.route"} & set(found)
        assert [found[key]["is_likely"] for key in ("app.order.id", "request.id", "user.id")] == [True, False, False]
        first = items[0]
        assert [first[key] for key in ("values", "services", "traces", "joined", "example")] == [6, 2, 6, 6, "ord-1"]
        shown = suggest()
        assert shown.returncode == 0
        assert (
            "# app.order.id: 6 values on 2 services in 6 traces, such as ord-1\nrules:\n- scope: trace" in shown.stdout
        )
        assert json.loads(suggest("--json").stdout)["items"] == items
        health = preloaded.run(
            "sagascope_collector", "doctor", "--url", str(api.base_url), "--db", str(tmp_path / "sagascope.duckdb")
        )
        assert "30 of the newest 30 spans belong to no transaction." in health.stdout
        assert "sagascope mapping suggest" in health.stdout
    with started(tmp_path, first["rule"]) as (_, api):
        assert saga(api, "ord-6", "order", lambda shown: len(shown["spans"]) == 5)["status"] == "completed"
        while (status := api.get("/api/v1/status").json())["recent_unassigned"]:
            assert status["recent_spans"] >= 30
        assert api.get("/api/v1/suggestions").json()["items"] == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{scope: trace}", "id is missing"),
        ("{scope: trace, id: a, when: {engine: dbos}}", "scope: trace is for spans of no engine"),
        ("{scope: trace, id: a, step: b}", "list the steps in steps"),
        ("{id: a, steps: [{step: b}]}", "steps needs scope: trace"),
        ("{id: a, timeout: soon}", "'soon' is not a duration"),
        ("{id: a, outcome: {done: {span: x}}}", "outcome"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(tmp_path: Path, rule: str, message: str) -> None:
    (tmp_path / "mapping.yaml").write_text(f"rules:\n  - {rule}\n")
    with pytest.raises(BadRules, match=message):
        read_mapping(tmp_path / "mapping.yaml")
