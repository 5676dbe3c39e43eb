"""What people see of sagas, at 80 columns."""

import io

import pytest
from inline_snapshot import snapshot
from rich.console import Console, RenderableType

from sagascope_collector.cli import render
from sagascope_collector.client import schemas
from support.stuck import NOW, SAGA, SUMMARY, at, attempt, step

HOSTILE = "\x1b[31mred\x1b[0m [bold]b[/bold] [link=http://x]y[/link] \u202egnp.exe\u202c \x9b2J\r\n:smile: \x00end"


def seen(renderable: RenderableType, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), markup=False, highlight=False, emoji=False, color_system=None)
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def test_a_stuck_saga_fits_on_one_screen() -> None:
    assert seen(render.saga(SAGA, NOW)) == snapshot("""\
payment 8492  running, needs attention: instance_lost
in production, started 2026-11-22 14:02:10 UTC, 12 min ago

Stuck in ledger.record: ledger-7f9c started it at 14:02:11Z and has not reported
since 14:02:14Z. EUR 50.00 was debited (wallet.debit); no refund was received.

Customer: The payment is not finished; EUR 50.00 was charged.

STEPS
✓ done         fraud.check        fraud   120 ms
✓ done         wallet.debit       wallet  380 ms
    ✗ attempt 1  at 14:02:10.200, wallet-7f9c, 100 ms
      ConnectError: connection refused
    ✓ attempt 2  at 14:02:10.500, wallet-7f9c, 80 ms
▶ in flight    ledger.record      ledger  12 min
· not started  shipping.book
· not started  notification.send

COMMITTED AND COMPENSATED
wallet.debit, 50.00 EUR: committed; wallet.refund compensates it
Amount at risk: 50.00 EUR committed.

EVIDENCE
14:02:11.000  ledger-7f9c started ledger.record (attempt 1)
14:02:14.000  Last heartbeat of ledger-7f9c; it announced the next within 1 s
Confidence: likely.

RECOMMENDED ACTIONS
1. Look up idempotency key pay-8492 in ledger: it shows whether ledger.record
   took effect for payment 8492.
2. If the key is absent, run ledger.record again with the same key pay-8492; if
   it is present, continue after it.

TIMELINE
14:02:10.010 to now, 12 min; idle periods are compressed
fraud.check              ██████
wallet.debit 1                      ▓▓▓▓▓▓✗
wallet.debit 2                                  ██████
ledger.record                                                ░░░░░░░░░░░░░░░░░▶
                         █ ok   ▓✗ error   ░▶ in flight

9 spans and 12 log records in 1 trace; times are UTC.\
""")


def test_a_compensated_saga_shows_what_was_compensated() -> None:
    undone = SAGA.model_copy(
        update={
            "status": "compensated",
            "attention": None,
            "verdict": None,
            "ended_at": at(3),
            "headline": "Compensated at 22 Nov 2026 14:02:13Z: the ledger refused it.",
            "headline_parts": [],
            "customer_line": "The payment was canceled; any charge of EUR 50.00 was refunded.",
            "customer_line_parts": [],
            "amount_at_risk": [],
            "steps": [
                step("wallet.debit", "wallet", "compensated", attempt(1, "wallet", 0.1, 0.2, "ok")),
                step("ledger.record", "ledger", "failed", attempt(1, "ledger", 0.3, 1.3, "error", "account closed")),
                step(
                    "wallet.refund", "wallet", "done", attempt(1, "wallet", 1.4, 2.9, "ok"), compensates="wallet.debit"
                ),
            ],
            "ledger": [
                SAGA.ledger[0].model_copy(update={"state": "compensated", "key": card}) for card in ("", "card-2")
            ],
            "anomalies": [schemas.Anomaly(code="clock_skew", text="wallet is 2 s behind", text_parts=[], step=None)],
        }
    )
    assert seen(render.saga(undone, NOW)) == snapshot("""\
payment 8492  compensated
in production, started 2026-11-22 14:02:10 UTC, 12 min ago

Compensated at 22 Nov 2026 14:02:13Z: the ledger refused it.

Customer: The payment was canceled; any charge of EUR 50.00 was refunded.

STEPS
↩ compensated  wallet.debit                             wallet  100 ms
✗ failed       ledger.record                            ledger     1 s
    ✗ attempt 1  at 14:02:10.300, ledger-7f9c, 1 s
      ConnectError: account closed
✓ done         wallet.refund, compensates wallet.debit  wallet   1.5 s

COMMITTED AND COMPENSATED
wallet.debit, 50.00 EUR: compensated
wallet.debit [card-2], 50.00 EUR: compensated

ANOMALIES
clock_skew: wallet is 2 s behind

TIMELINE
14:02:10.100 to 14:02:12.900, 2.8 s; idle periods are compressed
wallet.debit             █████████
ledger.record                             ▓▓▓▓▓▓▓▓▓▓▓▓▓✗
wallet.refund                                                   ██████████████
                         █ ok   ▓✗ error

9 spans and 12 log records in 1 trace; times are UTC.\
""")


def test_a_list_shows_attention_and_what_matched() -> None:
    calm = SUMMARY.model_copy(
        update={"id": "8493", "status": "completed", "attention": None, "headline": "Completed in 1.2 s.", "run": "r-2"}
    )
    assert seen(render.listing([SUMMARY, calm], NOW, ["id", "prefix"])) == snapshot("""\
payment 8492  running, needs attention: instance_lost
  Stuck in ledger.record: ledger-7f9c started it at 14:02:11Z and has not
  reported since 14:02:14Z. EUR 50.00 was debited (wallet.debit); no refund was
  received.
  in production, started 2026-11-22 14:02:10 UTC, 12 min ago

payment 8493  completed  (id prefix)
  Completed in 1.2 s.
  in production, run r-2, started 2026-11-22 14:02:10 UTC, 12 min ago\
""")


def test_an_empty_result_has_a_reason() -> None:
    results = [
        schemas.SearchResult(matches=[], reason="never_seen", words_since=None, unassigned=None, truncated=False),
        schemas.SearchResult(
            matches=[], reason="expired", words_since=SAGA.started_at, unassigned=None, truncated=False
        ),
        schemas.SearchResult(
            matches=[],
            reason="not_a_saga",
            words_since=None,
            unassigned=schemas.Unassigned(spans=12, attribute="app.order.id", rule="rules:\n- id: app.order.id\n"),
            truncated=False,
        ),
    ]
    told = [seen(render.nothing_found("#8492?", each)) for each in results]
    assert told == snapshot(
        [
            """\
Nothing found for '#8492?'.
No telemetry with this value was received.\
""",
            """\
Nothing found for '#8492?'.
It was received, and deleted at the end of its retention period.
Error messages and log lines were searched that were received since 2026-11-22
14:02:10 UTC.\
""",
            """\
Nothing found for '#8492?'.
Records with it were received, but they belong to no transaction.
12 spans have it in app.order.id. A rule of --mapping that takes them:
  rules:
  - id: app.order.id\
""",
        ]
    )


def test_telemetry_is_shown_and_never_interpreted() -> None:
    hostile = SAGA.model_copy(
        update={
            "id": HOSTILE,
            "name": HOSTILE,
            "run": HOSTILE,
            "environment": HOSTILE,
            "headline": HOSTILE,
            "customer_line": HOSTILE,
            "steps": [step(HOSTILE, HOSTILE, "failed", attempt(1, HOSTILE, 0, 1, "error", HOSTILE))],
            "ledger": [SAGA.ledger[0].model_copy(update={"step": HOSTILE, "currency": HOSTILE})],
            "anomalies": [schemas.Anomaly(code="clock_skew", text=HOSTILE, text_parts=[], step=None)],
            "verdict": SAGA.verdict and SAGA.verdict.model_copy(update={"actions": [HOSTILE]}),
        }
    )
    text = (
        seen(render.saga(hostile, NOW))
        + seen(render.listing([hostile], NOW))
        + seen(
            render.nothing_found(
                HOSTILE,
                schemas.SearchResult(matches=[], reason=None, words_since=None, unassigned=None, truncated=False),
            )
        )
    )
    assert {letter for letter in text if not letter.isprintable()} == {"\n"}
    assert "\\x1b[31mred" in text
    assert "[bold]b[/bold]" in text
    assert ":smile:" in text


def test_long_values_are_truncated_with_a_note() -> None:
    long = SAGA.model_copy(update={"headline": "x" * 1_000_000, "id": "9" * 100_000})
    text = seen(render.saga(long, NOW))
    assert len(text) < 10_000
    assert "(998,000 more characters)" in text.replace("\n", " ")


def test_no_line_is_wider_than_the_console() -> None:
    for width in (40, 80, 120):
        assert max(map(len, seen(render.saga(SAGA, NOW), width).splitlines())) <= width


def repeated(*errors: str) -> str:
    many = [attempt(number, "wallet", number, number + 0.5, "error", error) for number, error in enumerate(errors, 1)]
    return seen(render.saga(SAGA.model_copy(update={"steps": [step("wallet.debit", "wallet", "failed", *many)]}), NOW))


def test_a_thousand_attempts_are_drawn_by_their_first_and_last() -> None:
    text = repeated(*["refused"] * 1_000)
    assert "998 attempts omitted." in text
    assert "attempts 2 to 999: same error" in text
    assert text.count("attempt 1 ") == text.count("attempt 1000 ") == 1
    assert "attempt 2 " not in text
    assert text.count("\n") < 100


def test_attempts_that_differ_are_folded_only_where_they_are_many() -> None:
    text = repeated(*["busy"] * 6, "gone", "busy")
    assert "attempts 2 to 5: same error" in text
    assert text.count("✗ attempt") == 4
    assert "attempts" not in repeated(*["busy"] * 5)
    text = repeated(*(f"refused {number}" for number in range(40)))
    assert "attempts 4 to 37: different errors" in text
    assert text.count("✗ attempt") == 6


@pytest.mark.parametrize(
    ("currency", "certain", "possible", "text"),
    [
        ("EUR", "50.00", "0", "50.00 EUR committed"),
        ("", "50.00", "0", "50.00 committed"),
        ("EUR", "0", "20.00", "up to 20.00 EUR"),
        ("EUR", "50.00", "20.00", "50.00 EUR committed, up to 20.00 EUR more"),
    ],
)
def test_amount_at_risk_is_shown_with_its_currency_if_it_has_one(
    currency: str, certain: str, possible: str, text: str
) -> None:
    assert schemas.AmountAtRisk(currency=currency, certain=certain, possible=possible).text == text
