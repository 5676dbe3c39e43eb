"""Payment 8492 as the API reports it: stuck in the ledger, whose instance is lost."""

from datetime import UTC, datetime, timedelta

from sagascope_collector.client import schemas

START = datetime(2026, 11, 22, 14, 2, 10, tzinfo=UTC)
NOW = START + timedelta(minutes=12, seconds=5)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def parts(text: str) -> list[schemas.TextPart | schemas.TimePart]:
    return [schemas.TextPart(text=text)]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def attempt(number: int, service: str, start: float, end: float | None, state: str, error: str = "") -> schemas.Attempt:
    return schemas.Attempt.model_validate(
        {
            "number": number,
            "service": service,
            "instance": f"{service}-7f9c",
            "trace_id": TRACE,
            "span_id": f"{number:016x}",
            "started_at": at(start),
            "ended_at": None if end is None else at(end),
            "state": state,
            "error": {"type": "ConnectError", "message": error, "stacktrace": None} if error else None,
            "idempotency_key": None,
            "child": None,
        }
    )


def step(
    name: str, service: str | None, state: str, *attempts: schemas.Attempt, compensates: str | None = None
) -> schemas.Step:
    return schemas.Step.model_validate(
        {
            "name": name,
            "key": "",
            "type": "compensation" if compensates else "action",
            "service": service,
            "state": state,
            "compensates": compensates,
            "attempts": list(attempts),
        }
    )


def evidence(text: str, seconds: float) -> schemas.Evidence:
    return schemas.Evidence(
        text=text, text_parts=parts(text), at=at(seconds), service="ledger", trace_id=TRACE, span_id=None
    )


HEADLINE = (
    "Stuck in ledger.record: ledger-7f9c started it at 14:02:11Z and has not reported since 14:02:14Z. "
    "EUR 50.00 was debited (wallet.debit); no refund was received."
)
CUSTOMER_LINE = "The payment is not finished; EUR 50.00 was charged."
ACTIONS = [
    "Look up idempotency key pay-8492 in ledger: it shows whether ledger.record took effect for payment 8492.",
    "If the key is absent, run ledger.record again with the same key pay-8492; if it is present, continue after it.",
]


SUMMARY = schemas.SagaSummary(
    id="8492",
    name="payment",
    run="",
    environment="production",
    status="running",
    attention="instance_lost",
    phase="forward",
    step="ledger.record",
    service="ledger",
    since=at(1),
    started_at=START,
    updated_at=at(4),
    ended_at=None,
    attempts=1,
    error=None,
    amount_at_risk=[schemas.AmountAtRisk(currency="EUR", certain="50.00", possible="0.00")],
    keys={"order_id": "ord-77"},
    headline=HEADLINE,
    headline_parts=parts(HEADLINE),
    customer_line=CUSTOMER_LINE,
    customer_line_parts=parts(CUSTOMER_LINE),
)

VERDICT = schemas.Verdict(
    reason="instance_lost",
    phase="forward",
    step="ledger.record",
    service="ledger",
    instance="ledger-7f9c",
    since=at(1),
    headline=HEADLINE,
    headline_parts=parts(HEADLINE),
    evidence=[
        evidence("ledger-7f9c started ledger.record (attempt 1)", 1),
        evidence("Last heartbeat of ledger-7f9c; it announced the next within 1 s", 4),
    ],
    actions=ACTIONS,
    actions_parts=[parts(each) for each in ACTIONS],
    confidence="likely",
)

SAGA = schemas.Saga(
    **SUMMARY.model_dump(),
    verdict=VERDICT,
    plan=schemas.Plan(source="declared", steps=[]),
    steps=[
        step("fraud.check", "fraud", "done", attempt(1, "fraud", 0.01, 0.13, "ok")),
        step(
            "wallet.debit",
            "wallet",
            "done",
            attempt(1, "wallet", 0.2, 0.3, "error", "connection refused"),
            attempt(2, "wallet", 0.5, 0.58, "ok"),
        ),
        step("ledger.record", "ledger", "in_flight", attempt(1, "ledger", 1, None, "in_flight")),
        step("shipping.book", None, "not_started"),
        step("notification.send", None, "not_started"),
    ],
    ledger=[
        schemas.LedgerEntry(
            step="wallet.debit", key="", compensation="wallet.refund", state="committed", amount="50.00", currency="EUR"
        )
    ],
    runs=[""],
    traces=[TRACE],
    anomalies=[],
    clocks=[],
    spans=[],
    spans_total=9,
    logs=[],
    logs_total=12,
    shrunk=False,
)
