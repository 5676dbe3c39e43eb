"""Facts that no service would send, and that any could: for properties that must hold whatever comes."""

from random import Random
from typing import Any

from hypothesis import strategies as st

from sagascope import semconv
from sagascope_collector.records import Event, Facts, Heartbeat, Instance, Link, Log, Mark, Process, SagaId, Span
from support.telemetry import SECOND

START = 1_795_000_000 * SECOND
SERVICES = ("orchestrator", "wallet", "ledger")
STEPS = ("wallet.debit", "ledger.record", "wallet.refund", "")
TRACES = ("a" * 32, "b" * 32)
SPAN_IDS = tuple(f"{number:016x}" for number in range(1, 13))
ERRORS = ("", "", "ReadTimeout", "Refused", "ConnectError")

ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    semconv.PLAN: ([*STEPS[:2]], ["wallet.debit", "wallet.debit"], "no list", [1, None]),
    semconv.PLAN_COMPENSATIONS: (["wallet.refund"], ["", ""], 7),
    semconv.PLAN_AFTER: (["ledger.record", "wallet.debit"], ["", ""], None),
    semconv.PLAN_OPTIONAL: ([True, False], [True, True]),
    semconv.SAGA_OUTCOME: (*semconv.OUTCOMES, "maybe", 1),
    semconv.AMOUNT: ("50.00", 12, 0.1, "much", float("inf"), True),
    semconv.CURRENCY: ("EUR", "USD", 3),
    semconv.STEP_COMPENSATES: STEPS,
    semconv.STEP_TIMEOUT: (5.0, 0, -1, float("inf"), "5"),
    semconv.STEP_RETRY_IN: (5.0, 0, None),
    semconv.STEP_MAX_ATTEMPTS: (1, 3, 0, "3"),
    semconv.STEP_IDEMPOTENCY_KEY: ("k1", "k2", ""),
    semconv.WAIT_UNTIL: (START / SECOND + 50, 1e300, "later"),
    semconv.KEY_PREFIX + "order_id": ("ord-77", "ord-78", 5),
    "http.response.status_code": (200, 202, 404, 504),
}


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """How much there is can be shrunk; what it is comes from a seed, since that is many times faster."""
    pick = _Pick(draw(st.integers(0, 2**32)))
    spans = tuple(pick.span() for _ in range(draw(st.integers(0, 14))))
    logs = tuple(pick.log() for _ in range(draw(st.integers(0, 6))))
    known: dict[tuple[str, str], Instance] = {}
    for _ in range(draw(st.integers(0, 5))):
        instance = pick.instance()
        known.setdefault((instance.process.service, instance.process.identity), instance)
    return Facts(SagaId("", "8492"), spans, logs, tuple(known.values()))


class _Pick(Random):
    def span(self) -> Span:
        begun = START + self.randrange(60) * SECOND
        ended = 0 if self.randrange(5) == 0 else begun + self.randrange(20) * SECOND
        error = self.choice(ERRORS) if ended else ""
        failed = Event("exception", ended, {"exception.type": error, "exception.message": "said so"})
        return Span(
            trace_id=self.choice(TRACES),
            span_id=self.choice(SPAN_IDS),
            parent_id=self.choice(("", *SPAN_IDS)),
            name=self.choice(("work", "payment")),
            kind=self.choice(("internal", "client", "server", "producer", "consumer", "unspecified")),
            start=begun,
            end=ended,
            status="error" if error else "unset",
            status_message="",
            mark=self.mark(),
            process=self.process(),
            attributes=self.attributes(),
            events=(failed,) if error else (),
            links=self.choice(((), (), (Link("f" * 32, "e" * 16, {semconv.SAGA_ID: "8492"}),))),
        )

    def log(self) -> Log:
        at = START + self.randrange(60) * SECOND
        announces, said = self.random() < 0.5, self.attributes()
        if announces:
            said |= {semconv.SPAN_PARENT_ID: self.choice(("", *SPAN_IDS)), semconv.SPAN_KIND: "client"}
        return Log(
            at=at,
            observed_at=at + self.randrange(3) * SECOND,
            severity=9,
            severity_text="",
            body=self.choice(("note", None, {"a": 1})),
            event_name=semconv.EVENT_SPAN_START if announces else "",
            trace_id=self.choice(TRACES),
            span_id=self.choice(SPAN_IDS),
            mark=self.mark(),
            process=self.process(),
            attributes=said,
        )

    def instance(self) -> Instance:
        beat = self.heartbeat() if self.random() < 0.7 else None
        first = START + self.randrange(60) * SECOND
        last = max(first, START + self.randrange(60) * SECOND, beat.at if beat else 0)
        return Instance(self.process(), first, last, beat)

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(
            at=START + self.randrange(90) * SECOND,
            interval=self.choice((0.5, 5.0, 60.0)),
            sequence=self.randrange(3),
            open_spans=frozenset(self.sample(SPAN_IDS, self.randrange(4))),
            complete=self.random() < 0.5,
            dropped=0,
            final=self.random() < 0.15,
        )

    def mark(self) -> Mark:
        return Mark(
            id="8492",
            name=self.choice(("payment", "payment", "payment", "", "refund")),
            run=self.choice(("", "", "", "r1", "r2")),
            role=self.choice((semconv.ROLE_STEP, semconv.ROLE_STEP, semconv.ROLE_STEP, semconv.ROLE_SAGA, "")),
            step=self.choice(STEPS),
            type=self.choice(("", "", *semconv.STEP_TYPES, "nonsense")),
            key=self.choice(("", "", "item-1")),
            attempt=self.randrange(4),
        )

    def process(self) -> Process:
        service, number = self.choice(SERVICES), self.randrange(3)
        name = f"{service}-{number}"
        return Process("", service, f"1.{number}", name if number else "", name)

    def attributes(self) -> dict[str, Any]:
        names = self.sample(sorted(ATTRIBUTES), self.choice((0, 1, 2, 5)))
        return {name: self.choice(ATTRIBUTES[name]) for name in names}
