"""A step's data leaves the process only on request, and redacted values never do."""

import logging
import re
from decimal import Decimal
from typing import Any

import pytest

import sagascope
from sagascope import Saga
from support.receiver import Receiver

payment = Saga("payment")
CARD = "4111111111111111"


def test_arguments_are_captured_only_on_request(configured: Receiver) -> None:
    class Wallet:
        @sagascope.step("wallet.debit", capture=("account", "amount"))
        def debit(self, account: str, card: str, amount: Decimal = Decimal("1.50")) -> str:
            return card

        @sagascope.step("wallet.check")
        async def check(self, account: str) -> str:
            return account

    with payment.begin("1") as saga:
        assert Wallet().debit("A-1", card=CARD) == CARD
        with saga.step("ledger.record", capture={"lines": 2, "draft": False}):
            pass
    debit, record = configured.span("wallet.debit"), configured.span("ledger.record")
    captured = {key: value for key, value in debit.attributes.items() if key.startswith("sagascope.")}
    assert captured == {"sagascope.capture.account": "A-1", "sagascope.capture.amount": "1.50"}
    assert record.attributes["sagascope.capture.lines"] == 2
    assert record.attributes["sagascope.capture.draft"] is False
    assert CARD.encode() not in b"".join(body for _, _, body in configured.requests)


def test_capturing_an_unknown_argument_is_an_error() -> None:
    with pytest.raises(TypeError, match="has no argument named amont"):

        @sagascope.step("wallet.debit", capture=["amont"])
        def debit(amount: int) -> None: ...


def test_generator_cannot_be_a_step() -> None:
    with pytest.raises(TypeError, match="open the step inside it"):

        @sagascope.step("wallet.debit")
        def debit() -> Any:
            yield


def masked(key: str, value: Any) -> Any:
    if key == "saga.key.secret":
        return None
    return re.sub(r"\d{16}", "****", value) if isinstance(value, str) else value


def test_redacted_values_are_not_sent(receiver: Receiver) -> None:
    sagascope.configure("wallet", endpoint=receiver.endpoint, redact=masked, announce_after=0.01)
    headers: dict[str, str] = {}

    def debit() -> None:
        with (
            payment.begin(f"p-{CARD}", run=CARD, keys={"secret": CARD, "card": CARD}) as saga,
            saga.step("wallet.debit", key=CARD, idempotency_key=CARD, capture={"card": CARD}) as step,
        ):
            step.set_attribute("card", [CARD])
            sagascope.inject(headers)
            logging.getLogger("wallet").error("debiting %s", CARD, exc_info=ValueError(CARD))
            saga.wait_until(0, CARD)
            receiver.event("sagascope.span.start", lambda got: "saga.step.name" in got.attributes)
            raise ValueError(CARD)

    with pytest.raises(ValueError, match=CARD):
        debit()
    step, root = receiver.span("wallet.debit"), receiver.span("payment")
    receiver.log("debiting ****")
    sagascope.shutdown()
    assert CARD not in str(headers)
    assert "saga.id=p-%2A%2A%2A%2A" in headers["baggage"]
    assert CARD.encode() not in b"".join(body for _, _, body in receiver.requests)
    assert step.attributes["saga.id"] == root.attributes["saga.id"] == "p-****"
    assert step.attributes["saga.step.key"] == "****"
    assert step.exception["exception.message"] == "****"
    assert "saga.key.secret" not in root.attributes
    assert root.attributes["saga.key.card"] == "****"


def test_failing_redact_sends_no_value(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(key: str, value: Any) -> Any:
        raise LookupError(key)

    monkeypatch.setattr("sagascope._errors.strict", False)
    sagascope.configure("wallet", endpoint=receiver.endpoint, redact=broken)
    with payment.begin(CARD, keys={"card": CARD}):
        pass
    root = receiver.span("payment")
    sagascope.shutdown()
    assert root.attributes["saga.key.card"] == "[could not be redacted]"
    assert root.attributes["saga.name"] == "payment"
    assert CARD.encode() not in b"".join(body for _, _, body in receiver.requests)


def test_maximum_value_length(receiver: Receiver) -> None:
    sagascope.configure("wallet", endpoint=receiver.endpoint, max_value_length=5)
    with payment.begin("1", keys={"long": "1234567"}):
        pass
    assert receiver.span("payment").attributes["saga.key.long"] == "12345… (cut, 7 characters)"
    sagascope.shutdown()


def test_log_level_and_log_rate(receiver: Receiver) -> None:
    log = logging.getLogger("wallet.rate")
    sagascope.configure("wallet", endpoint=receiver.endpoint, log_level="ERROR", log_rate=2)
    with payment.begin("1"):
        log.warning("not this")
        for number in range(50):
            log.error("%d", number)
        log.error("last")
    receiver.span("payment")
    dropped = sagascope.stats().dropped
    sagascope.shutdown()
    bodies = [entry.raw.body.string_value for entry in receiver.logs if not entry.name]
    assert "not this" not in bodies
    assert 2 <= len(bodies) <= 4
    assert dropped == 51 - len(bodies)
    with payment.begin("1"):
        pass


def test_log_level_none_does_not_change_logging(receiver: Receiver) -> None:
    original = logging.Logger.callHandlers
    sagascope.configure("wallet", endpoint=receiver.endpoint, log_level=None)
    assert logging.Logger.callHandlers is original
    sagascope.shutdown()
