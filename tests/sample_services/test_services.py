"""Each sample service, called over HTTP as the others call it."""

import signal
from collections.abc import Iterator
from decimal import Decimal

import pytest

from sagascope_samples.calls import Order
from support.samples import Samples, running_samples, wait_until

pytestmark = pytest.mark.xdist_group("samples")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    with running_samples(tmp_path_factory.mktemp("samples")) as running:
        yield running


def order(payment: str, amount: str = "50.00", customer: str = "Blue Kettle", currency: str = "EUR") -> Order:
    return Order(payment, f"ord-{payment}", customer, Decimal(amount), currency)


def test_payment_passes_every_service_once(samples: Samples) -> None:
    samples.pay(order("p1", "12.34"))
    samples.wait_for("p1", "completed")
    assert samples.rows("fraud", "SELECT cents FROM checks WHERE payment = 'p1'") == [(1234,)]
    assert samples.rows("wallet", "SELECT kind, cents FROM movements WHERE payment = 'p1'") == [("debit", -1234)]
    assert samples.rows("ledger", "SELECT kind, cents FROM entries WHERE payment = 'p1'") == [("record", 1234)]
    assert samples.rows("shipping", "SELECT state FROM bookings WHERE payment = 'p1'") == [("booked",)]
    assert len(samples.rows("notification", "SELECT text FROM messages WHERE payment = 'p1'")) == 1


def test_repeated_payment_is_executed_once(samples: Samples) -> None:
    samples.pay(order("p2"))
    samples.wait_for("p2", "completed")
    samples.pay(order("p2"))
    assert samples.state("p2") == "completed"
    assert len(samples.rows("wallet", "SELECT * FROM movements WHERE payment = 'p2'")) == 1


@pytest.mark.parametrize(
    ("service", "path", "table"),
    [("fraud", "/checks", "checks"), ("wallet", "/debits", "movements"), ("notification", "/messages", "messages")],
)
def test_repeated_key_returns_the_first_response(samples: Samples, service: str, path: str, table: str) -> None:
    wanted = order(f"again-{service}").write()
    first, second = (samples.post(service, path, wanted, f"key-{service}") for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert samples.rows(service, f"SELECT count(*) FROM {table} WHERE payment = 'again-{service}'") == [(1,)]


def test_refund_restores_the_balance(samples: Samples) -> None:
    wanted = order("p3", "19.99", customer="Tin Sparrow").write()
    before = samples.post("wallet", "/debits", order("p3a", "0.01", customer="Tin Sparrow").write(), "k3a").json()
    after = samples.post("wallet", "/debits", wanted, "k3").json()
    assert Decimal(before["balance"]) - Decimal(after["balance"]) == Decimal("19.99")
    for _ in range(2):
        assert samples.post("wallet", "/refunds", wanted, "k3r").json() == {"refunded": True}
    balance = samples.rows("wallet", "SELECT cents FROM accounts WHERE customer = 'Tin Sparrow'")
    assert balance == [(Decimal(before["balance"]) * 100,)]


def test_refund_without_a_debit_is_refused(samples: Samples) -> None:
    answer = samples.post("wallet", "/refunds", order("never").write(), "k4")
    assert answer.status_code == 422
    assert answer.json() == {"error": "Nothing was debited for payment never"}


def test_debit_above_the_balance_is_refused(samples: Samples) -> None:
    wanted = order("p5", "999999.00", customer="Stone Orchard")
    assert samples.post("wallet", "/debits", wanted.write(), "k5").status_code == 200
    answer = samples.post("wallet", "/debits", order("p5b", "999999.00", customer="Stone Orchard").write(), "k5b")
    assert answer.status_code == 422
    assert "holds less than 999999.00 EUR" in answer.json()["error"]
    assert samples.rows("wallet", "SELECT * FROM movements WHERE payment = 'p5b'") == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {**order("x").write(), "amount": "-1"},
        {**order("x").write(), "amount": "1.001"},
        {**order("x").write(), "amount": "NaN"},
        {**order("x").write(), "amount": 0.1},
        {**order("x").write(), "currency": "XYZ"},
        {**order("x").write(), "payment": ""},
    ],
)
def test_invalid_order_is_refused(samples: Samples, body: object) -> None:
    answer = samples.post("orchestrator", "/payments", body, "k")
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_request_without_a_key_is_refused(samples: Samples) -> None:
    assert samples.post("fraud", "/checks", order("x").write()).status_code == 422


def test_accepted_work_needs_a_callback_path(samples: Samples) -> None:
    assert samples.post("ledger", "/entries", order("x").write(), "k").status_code == 422


def test_unknown_payment_is_not_found(samples: Samples) -> None:
    assert samples.http.get(f"{samples.addresses['orchestrator'].url}/payments/none").status_code == 404


def test_unexpected_callback_is_ignored(samples: Samples) -> None:
    assert samples.post("orchestrator", "/call-backs/unknown", {"ended": "done"}).status_code == 204


def test_payment_refused_in_its_first_step_has_no_effect(samples: Samples) -> None:
    samples.pay(order("p6", "5000.01"))
    samples.wait_for("p6", "compensated")
    for service, table in (("fraud", "checks"), ("wallet", "movements"), ("ledger", "entries")):
        assert samples.rows(service, f"SELECT * FROM {table} WHERE payment = 'p6'") == []


def test_payment_refused_half_way_is_compensated(samples: Samples) -> None:
    samples.plant("shipping", "p7", "shipping.book", "refuse", "The carrier does not go there")
    samples.pay(order("p7"))
    samples.wait_for("p7", "compensated")
    kinds = "SELECT kind, cents FROM entries WHERE payment = 'p7' ORDER BY number"
    assert samples.rows("ledger", kinds) == [("record", 5000), ("reverse", -5000)]
    assert samples.rows("wallet", "SELECT sum(cents) FROM movements WHERE payment = 'p7'") == [(0,)]
    assert samples.rows("shipping", "SELECT * FROM bookings WHERE payment = 'p7'") == []


def test_payment_refused_in_its_last_step_is_compensated_in_reverse(samples: Samples) -> None:
    samples.plant("notification", "p8", "notification.send", "refuse")
    samples.pay(order("p8"))
    samples.wait_for("p8", "compensated")
    assert samples.rows("shipping", "SELECT state FROM bookings WHERE payment = 'p8'") == [("cancelled",)]
    assert samples.rows("ledger", "SELECT sum(cents) FROM entries WHERE payment = 'p8'") == [(0,)]
    assert samples.rows("wallet", "SELECT sum(cents) FROM movements WHERE payment = 'p8'") == [(0,)]


def test_failed_compensation_is_recorded(samples: Samples) -> None:
    samples.plant("ledger", "p9", "ledger.record", "refuse")
    samples.plant("wallet", "p9", "wallet.refund", "refuse", "The account is closed")
    samples.pay(order("p9"))
    samples.wait_for("p9", "failed")
    detail = samples.rows("orchestrator", "SELECT detail FROM payments WHERE id = 'p9'")
    assert detail == [("wallet.debit could not be compensated: The account is closed",)]


@pytest.mark.parametrize(
    ("service", "step"),
    [("wallet", "wallet.debit"), ("ledger", "ledger.record"), ("notification", "notification.send")],
)
def test_unavailable_steps_are_retried_until_they_succeed(samples: Samples, service: str, step: str) -> None:
    payment = f"later-{service}"
    samples.plant(service, payment, step, "fail", "Not now")
    samples.pay(order(payment))
    retrying = "wallet" if service == "wallet" else "orchestrator"
    wait_until(lambda: samples.log_of(retrying).count("Not now") >= 2, "it was not retried")
    assert samples.state(payment) == "accepted"
    samples.repair(service, payment, step)
    samples.wait_for(payment, "completed")


def test_unknown_fault_is_refused(samples: Samples) -> None:
    answer = samples.http.put(f"{samples.addresses['wallet'].url}/faults/x/wallet.debit", json={"kind": "explode"})
    assert answer.status_code == 422
    assert answer.json() == {"error": "A fault needs one of the kinds stall, fail, refuse, slow, and a message."}


def test_stalling_fault_affects_its_payment_only(samples: Samples) -> None:
    samples.plant("shipping", "p10", "shipping.book", "stall")
    samples.pay(order("p10"))
    samples.pay(order("p11"))
    samples.wait_for("p11", "completed")
    wait_until(lambda: "Asking the carrier for payment p10" in samples.log_of("shipping"), "the carrier was not called")
    assert samples.state("p10") == "accepted"


def test_unavailable_service_is_called_until_it_returns(samples: Samples) -> None:
    samples.stop("notification", signal.SIGKILL)
    samples.pay(order("p12"))
    wait_until(
        lambda: samples.rows("shipping", "SELECT * FROM bookings WHERE payment = 'p12'"), "shipping has no booking"
    )
    samples.start("notification")
    samples.wait_ready("notification")
    samples.wait_for("p12", "completed")


def test_restarted_service_returns_its_first_response(samples: Samples) -> None:
    wanted = order("p13").write()
    first = samples.post("notification", "/messages", wanted, "k13").json()
    samples.stop("notification", signal.SIGKILL)
    samples.start("notification")
    samples.wait_ready("notification")
    assert samples.post("notification", "/messages", wanted, "k13").json() == first


def test_sigterm_stops_a_service_in_order(samples: Samples) -> None:
    samples.plant("shipping", "p14", "shipping.book", "stall")
    samples.pay(order("p14"))
    wait_until(lambda: "carrier for payment p14" in samples.log_of("shipping"), "the carrier was not called")
    assert samples.stop("shipping") == 0
    samples.start("shipping")
    samples.wait_ready("shipping")
