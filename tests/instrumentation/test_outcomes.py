"""How sagas end, and how they continue in other code, tasks and processes."""

import pytest

import sagascope
from sagascope import Saga, Step
from support.receiver import Receiver, wait_for

payment = Saga(
    "payment",
    [
        Step("fraud.check"),
        Step("wallet.debit", compensation="wallet.refund"),
        Step("ledger.record", compensation="ledger.reverse"),
    ],
)


def run(*names: str, fails: bool = False) -> None:
    """Runs one saga with these steps; ``-`` before a name marks a compensation."""
    with payment.begin("1") as saga:
        for name in names:
            with saga.compensation(name[1:]) if name.startswith("-") else saga.step(name):
                pass
        if fails:
            raise LookupError("closed")


@pytest.mark.parametrize(
    ("steps", "fails", "outcome"),
    [
        (("fraud.check", "wallet.debit", "ledger.record"), False, "completed"),
        ((), False, "completed"),
        ((), True, "failed"),
        (("fraud.check",), True, "failed"),
        (("wallet.debit",), True, "failed"),
        (("wallet.debit", "-wallet.refund"), True, "compensated"),
        (("wallet.debit", "-wallet.refund"), False, "compensated"),
        (("wallet.debit", "ledger.record", "-ledger.reverse"), True, "failed"),
        (("wallet.debit", "ledger.record", "-ledger.reverse", "-wallet.refund"), True, "compensated"),
        (("wallet.debit", "-wallet.refund", "wallet.debit"), False, "completed"),
        (("wallet.debit", "-wallet.refund", "fraud.check"), False, "completed"),
    ],
)
def test_outcome_is_derived_from_the_steps(
    configured: Receiver, steps: tuple[str, ...], fails: bool, outcome: str
) -> None:
    try:
        run(*steps, fails=fails)
    except LookupError:
        assert fails
    assert configured.span("payment").attributes["saga.outcome"] == outcome


@pytest.mark.parametrize("outcome", ["completed", "compensated", "failed"])
def test_explicit_outcome_takes_precedence(configured: Receiver, outcome: str) -> None:
    with payment.begin("1") as saga:
        {"completed": saga.complete, "compensated": saga.compensated, "failed": saga.fail}[outcome]()
    assert configured.span("payment").attributes["saga.outcome"] == outcome


def test_caught_error_can_be_reported(configured: Receiver) -> None:
    with payment.begin("1") as saga:
        try:
            raise LookupError("closed")
        except LookupError as error:
            saga.fail(error)
    root = configured.span("payment")
    assert root.attributes["saga.outcome"] == "failed"
    assert root.exception["exception.message"] == "closed"
    assert root.raw.status.message == "LookupError: closed"


def test_compensation_applies_to_the_latest_committed_step_in_the_plan(configured: Receiver) -> None:
    trip = Saga("trip", [Step("car.book", compensation="cancel"), Step("hotel.book", compensation="cancel")])
    with trip.begin("1") as saga:
        for name in ("car.book", "hotel.book"):
            with saga.step(name):
                pass
        for _ in range(2):
            with saga.compensation("cancel"):
                pass
    spans = wait_for(lambda: len(found := configured.all_spans("cancel")) == 2 and found)
    assert [span.attributes["saga.step.compensates"] for span in spans] == ["hotel.book", "car.book"]
    assert configured.span("trip").attributes["saga.outcome"] == "compensated"


def test_open_saga_has_no_outcome_and_can_be_resumed(configured: Receiver) -> None:
    with payment.begin("8492", amount="50.00", open=True) as saga, saga.step("wallet.debit"):
        pass
    with payment.resume("8492", open=True) as saga, saga.step("ledger.record"):
        pass
    with payment.resume("8492") as saga, saga.step("fraud.check"):
        pass
    begun, resumed, last = wait_for(lambda: len(found := configured.all_spans("payment")) == 3 and found)
    assert begun.attributes["saga.plan"]
    assert begun.attributes["saga.amount"] == "50.00"
    for span in (begun, resumed):
        assert "saga.outcome" not in span.attributes
    assert not [span for span in (begun, resumed, last) if "saga.role" in span.attributes]
    assert last.attributes["saga.outcome"] == "completed"


def test_resumed_saga_can_fail(configured: Receiver) -> None:
    with pytest.raises(LookupError), payment.resume("8492") as saga, saga.step("ledger.record"):
        raise LookupError
    assert configured.span("payment").attributes["saga.outcome"] == "failed"


def test_last_handler_of_a_choreography_closes_the_saga(configured: Receiver) -> None:
    message: dict[str, str] = {}
    with payment.begin("8492", open=True):
        sagascope.inject(message)
    for name in ("wallet.debit", "ledger.record"):
        with sagascope.extract(message), sagascope.step(name):
            message = {}
            sagascope.inject(message)
    with sagascope.extract(message), sagascope.step("notification.send"):
        saga = sagascope.current()
        assert saga is not None
        assert (saga.id, saga.name) == ("8492", "payment")
        saga.complete()
    debit, record, last = (configured.span(name) for name in ("wallet.debit", "ledger.record", "notification.send"))
    assert last.attributes["saga.outcome"] == "completed"
    assert record.parent_id == debit.span_id
    assert last.parent_id == record.span_id
    assert {span.attributes["saga.step.attempt"] for span in (debit, record, last)} == {1}


def test_redelivered_message_is_a_new_attempt(configured: Receiver) -> None:
    message: dict[str, str] = {}
    with payment.begin("8492", open=True):
        sagascope.inject(message)
    for number in (1, 2):
        with sagascope.extract(message), sagascope.step("wallet.debit") as attempt:
            assert attempt.attempt == number


def test_saga_can_be_closed_outside_a_step(configured: Receiver) -> None:
    message: dict[str, str] = {}
    with payment.begin("8492", open=True):
        sagascope.inject(message)
    with sagascope.extract(message):
        saga = sagascope.current()
        assert saga is not None
        saga.fail()
    closing = configured.span("payment", saga_outcome="failed")
    assert closing.attributes == {"saga.id": "8492", "saga.name": "payment", "saga.outcome": "failed"}


def test_batch_has_a_link_to_each_saga(configured: Receiver) -> None:
    messages: list[dict[str, str]] = [{}, {}, {"no": "saga"}]
    for number in (0, 1):
        with payment.begin(str(number)) as saga, saga.step("ledger.record", key=f"k{number}", attempt=number + 1):
            sagascope.inject(messages[number])

    def settle() -> None:
        with sagascope.batch("ledger.record", [sagascope.extract(message) for message in messages]):
            wait_for(lambda: len(configured.events("sagascope.span.start")) == 2, "a start record for each saga")
            raise LookupError("closed")

    with pytest.raises(LookupError):
        settle()
    span = configured.span("ledger.record", saga_id=None)
    linked = [{pair.key: pair.value for pair in link.attributes} for link in span.raw.links]
    assert [link["saga.id"].string_value for link in linked] == ["0", "1"]
    assert [link["saga.step.key"].string_value for link in linked] == ["k0", "k1"]
    assert [link["saga.step.attempt"].int_value for link in linked] == [1, 2]
    assert span.raw.status.code == 2
    starts = configured.events("sagascope.span.start")
    assert [start.attributes["saga.id"] for start in starts] == ["0", "1"]
    assert {start.span_id for start in starts} == {span.span_id}


def test_batch_without_sagas_has_no_span(configured: Receiver) -> None:
    with sagascope.batch("ledger.record", [sagascope.extract({})]) as batch:
        assert batch.name == "ledger.record"
    with payment.begin("1"):
        pass
    configured.span("payment")
    assert not configured.all_spans("ledger.record")


def test_planned_wait_is_sent_at_once_and_with_the_span(configured: Receiver) -> None:
    with payment.begin("1") as saga, saga.step("fraud.check"):
        saga.wait_until(1_900_000_000, "a review")
        saga.add_keys(case="R-1")
        record = configured.log("waits for a review")
    step = configured.span("fraud.check")
    assert record.attributes["saga.id"] == "1"
    assert record.attributes["saga.step.name"] == "fraud.check"
    for attributes in (record.attributes, step.attributes):
        assert attributes["saga.wait.until"] == 1_900_000_000.0
        assert attributes["saga.wait.reason"] == "a review"
    assert step.attributes["saga.key.case"] == "R-1"


def test_step_inside_itself_is_one_attempt(configured: Receiver) -> None:
    @sagascope.step("wallet.debit")
    def debit() -> None:
        pass

    with payment.begin("1") as saga, saga.step("wallet.debit"):
        debit()
    configured.span("payment")
    assert len(configured.all_spans("wallet.debit")) == 1


def test_wait_for_an_event_is_sent_at_once_and_with_the_span(configured: Receiver) -> None:
    with payment.begin("1", run="r-2") as saga, saga.step("fraud.check"):
        saga.wait_for("approval", "above the limit")
        record = configured.log("waits for approval")
        assert saga.run_id == "r-2"
    for attributes in (record.attributes, configured.span("fraud.check").attributes):
        assert attributes["saga.wait.for"] == "approval"
        assert attributes["saga.wait.reason"] == "above the limit"
