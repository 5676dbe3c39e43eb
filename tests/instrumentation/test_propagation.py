"""What is propagated between services, to which hosts, and from which senders it is trusted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from opentelemetry import baggage, context, propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator

import sagascope
from sagascope import Saga
from sagascope._propagation import MAX_BAGGAGE_BYTES
from sagascope._propagator import allowed_hosts, host_of, is_private
from support.receiver import Receiver

payment = Saga("payment")


@contextmanager
def configured_with(receiver: Receiver, **options: Any) -> Iterator[None]:
    sagascope.configure("wallet", endpoint=receiver.endpoint, **options)
    try:
        yield
    finally:
        sagascope.shutdown()


def members(header: str) -> dict[str, str]:
    return dict(member.split("=", 1) for member in header.split(",") if member)  # type: ignore[misc]


def test_baggage_members(configured: Receiver) -> None:
    headers: dict[str, str] = {}
    with (
        payment.begin("8492/7 €", run="r 1", amount="50.00", keys={"order": "secret"}) as saga,
        saga.step("wallet.debit", key="a,b", idempotency_key="secret"),
    ):
        sagascope.inject(headers)
    assert set(headers) == {"traceparent", "baggage"}
    assert members(headers["baggage"]) == {
        "saga.id": "8492%2F7%20%E2%82%AC",
        "saga.name": "payment",
        "saga.run.id": "r%201",
        "saga.step.name": "wallet.debit",
        "saga.step.key": "a%2Cb",
        "saga.step.attempt": "1",
    }


def test_inject_outside_a_saga_adds_nothing(configured: Receiver) -> None:
    headers = {"baggage": "tenant=x"}
    sagascope.inject(headers)
    assert headers == {"baggage": "tenant=x"}


@given(
    saga_id=st.text(min_size=1, max_size=40),
    name=st.text(max_size=20),
    key=st.text(max_size=20),
    attempt=st.integers(1, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_baggage_round_trip(saga_id: str, name: str, key: str, attempt: int) -> None:
    from opentelemetry.trace import INVALID_SPAN_CONTEXT

    from sagascope._context import SagaContext, SagaIdentity
    from sagascope._propagation import merge_baggage, parse_baggage, remote_saga_context

    identity = SagaIdentity(saga_id, name)
    sent = SagaContext(identity, INVALID_SPAN_CONTEXT, step="s", key=key, attempt=attempt)
    header = merge_baggage("other=1;p=2", sent)
    assert header.startswith("other=1;p=2,")
    assert header.isascii()
    received = remote_saga_context(parse_baggage(header), INVALID_SPAN_CONTEXT)
    assert received is not None
    assert received.attributes == sent.attributes


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",,,",
        "saga.id",
        "saga.id=",
        "=x",
        "saga.name=payment",
        "saga.id=%",
        "saga.id=%ff%fe",
        "saga.id=1,saga.step.attempt=many",
        "saga.id=1,saga.step.attempt=-1",
        "saga.id=1,saga.step.attempt=99999999999999999999",
        "saga.id=1;prop=2;prop",
        "\x00",
        pytest.param("saga.id=" + "x" * 100_000, id="too long"),
    ],
)
def test_unreadable_headers_are_ignored(configured: Receiver, header: str) -> None:
    with sagascope.extract({"baggage": header, "traceparent": "nonsense"}), sagascope.step("wallet.debit") as step:
        assert step.attempt in {0, 1}


@pytest.mark.parametrize("carrier", [None, 7, "text", [("a",)], {"baggage": None}, [(None, None)]])
def test_invalid_carriers_are_ignored(configured: Receiver, carrier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagascope._errors.strict", False)
    with sagascope.extract(carrier) as incoming:
        assert incoming.saga_id is None
    with payment.begin("1"):
        sagascope.inject(carrier)


def test_kafka_headers_and_grpc_metadata_are_lists_of_pairs(configured: Receiver) -> None:
    kafka: list[tuple[str, bytes]] = [("content-type", b"json"), ("baggage", b"tenant=x")]
    grpc: list[tuple[str, str]] = []
    with payment.begin("8492"):
        sagascope.inject(kafka)
        sagascope.inject(grpc)
    assert dict(kafka)["content-type"] == b"json"
    assert dict(kafka)["baggage"].startswith(b"tenant=x,saga.id=8492")
    assert dict(grpc)["baggage"].startswith("saga.id=8492")
    for carrier in (kafka, grpc, {"HTTP_BAGGAGE": dict(grpc)["baggage"]}, [(b"Baggage", b"saga.id=8492")]):
        assert sagascope.extract(carrier).saga_id == "8492"


def test_header_names_are_case_insensitive(configured: Receiver) -> None:
    headers = {"Baggage": "saga.id=old,tenant=x", "Traceparent": "old"}
    with payment.begin("8492"):
        sagascope.inject(headers)
    assert set(headers) == {"Baggage", "Traceparent"}
    assert headers["Baggage"] == "tenant=x,saga.id=8492,saga.name=payment"
    assert headers["Traceparent"] != "old"


def test_full_baggage_header_is_unchanged(configured: Receiver) -> None:
    full = "t=" + "x" * (MAX_BAGGAGE_BYTES - 10)
    headers = {"baggage": full}
    with payment.begin("8492"):
        sagascope.inject(headers)
    assert headers["baggage"] == full


def test_untrusted_headers_are_ignored(receiver: Receiver) -> None:
    incoming = {"baggage": "saga.id=8492,tenant=x"}
    with configured_with(receiver, trust_incoming=False):
        assert sagascope.extract(incoming).saga_id is None
        found = propagate.extract(incoming)
        token = context.attach(found)
        assert sagascope.current() is None
        assert dict(baggage.get_all()) == {"tenant": "x"}
        context.detach(token)
    with configured_with(receiver, trust_incoming=lambda headers: headers.get("x-internal") == "yes"):
        assert sagascope.extract(incoming).saga_id is None
        assert sagascope.extract({**incoming, "x-internal": "yes"}).saga_id == "8492"


def test_opentelemetry_propagation_includes_the_saga(configured: Receiver) -> None:
    headers: dict[str, str] = {}
    token = context.attach(baggage.set_baggage("tenant", "x"))
    with payment.begin("84 92") as saga, saga.step("wallet.debit"):
        propagate.inject(headers)
    context.detach(token)
    assert (
        headers["baggage"]
        == "tenant=x,saga.id=84%2092,saga.name=payment,saga.step.name=wallet.debit,saga.step.attempt=1"
    )
    found = propagate.extract(headers)
    assert dict(baggage.get_all(found)) == {"tenant": "x"}
    token = context.attach(found)
    with sagascope.step("wallet.debit", attempt=None) as step:
        assert (step.attempt, sagascope.current().id) == (1, "84 92")  # type: ignore[union-attr]
    context.detach(token)


def test_other_propagators_do_not_send_the_saga(configured: Receiver) -> None:
    leaked: dict[str, str] = {}
    with sagascope.extract({"baggage": "saga.id=1,tenant=x"}), payment.begin("2"):
        W3CBaggagePropagator().inject(leaked)
    assert "saga" not in leaked.get("baggage", "")


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("192.168.0.7", True),
        ("100.64.3.2", True),
        ("::1", True),
        ("[fd00::1]", True),
        ("localhost", True),
        ("wallet", True),
        ("wallet.svc.cluster.local", True),
        ("wallet.payments.svc", True),
        ("ledger.internal", True),
        ("nas.home.arpa", True),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("api.stripe.com", False),
        ("example.org.", False),
        ("wallet.example.co.uk", False),
        ("", False),
    ],
)
def test_private_hosts(host: str, private: bool) -> None:
    assert is_private(host) is private


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://user:pw@Api.Stripe.com:443/v1?x=1", "api.stripe.com"),
        ("wallet:8080", "wallet"),
        ("[::1]:80", "::1"),
        ("http://[::1", ""),
        ("", ""),
    ],
)
def test_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host


def test_hosts_are_allowed_by_pattern_network_or_function() -> None:
    allows = allowed_hosts(["*.partner.example", "203.0.113.0/24", "private"])
    allowed = ("api.partner.example", "203.0.113.9", "wallet", "127.0.0.1")
    assert [host for host in (*allowed, "api.stripe.com", "203.0.114.1") if allows(host)] == list(allowed)
    assert not allowed_hosts(["api.partner.example"])("wallet")
    assert allowed_hosts("*")("api.stripe.com")
    assert allowed_hosts(lambda host: host == "x")("x")


def test_inject_with_a_destination(receiver: Receiver) -> None:
    with configured_with(receiver, propagate_to=["*.partner.example"]), payment.begin("8492"):
        for to, is_allowed in (("https://api.partner.example/x", True), ("http://wallet/x", False)):
            headers: dict[str, str] = {}
            sagascope.inject(headers, to=to)
            assert ("baggage" in headers) is is_allowed
            assert "traceparent" in headers
