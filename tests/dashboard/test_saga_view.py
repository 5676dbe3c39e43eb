from typing import Any

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.viewmodels.saga import MAX_ATTEMPTS_SHOWN, log_rows, saga_view, span_rows
from support.wires import at, log, saga, span, tried


def stuck(**changes: Any) -> schemas.Saga:
    return saga(
        tried("fraud.check", 0.01, 0.05),
        tried("wallet.debit", 0.1, 0.2),
        tried("ledger.record", 0.3, None, "in_flight"),
        attention="instance_lost",
        phase="forward",
        step="ledger.record",
        service="ledger",
        since=at(0.3),
        **changes,
    )


def stops(shown: schemas.Saga) -> dict[str, str]:
    return {stop.name: stop.style.label for stop in saga_view(shown).plan_steps}


def test_the_track_shows_done_current_and_what_remains() -> None:
    track = saga_view(stuck()).plan_steps
    assert [(stop.name, stop.style.label, stop.current, stop.reached) for stop in track] == [
        ("fraud.check", "Done", False, True),
        ("wallet.debit", "Done", False, True),
        ("ledger.record", "Instance lost", True, True),
        ("shipping.book", "Not started", False, False),
    ]


def test_a_compensated_step_names_its_compensation() -> None:
    shown = saga(
        tried("wallet.debit", 0.1, 0.2),
        tried("ledger.record", 0.3, 0.4, "error", error="period closed"),
        tried("wallet.refund", 0.5, 0.6, undoes="wallet.debit"),
        status="compensated",
        ended_at=at(0.7),
    )
    debit = next(stop for stop in saga_view(shown).plan_steps if stop.name == "wallet.debit")
    assert debit.compensation == "wallet.refund"
    assert debit.compensation_style is not None
    assert debit.compensation_style.label == "Done"
    assert stops(shown)["shipping.book"] == "Not reached"
    assert "wallet.refund" not in stops(shown)


def test_a_step_outside_the_plan_comes_after_it() -> None:
    assert list(stops(saga(tried("bonus.grant", 0, 1))))[-1] == "bonus.grant"


def test_without_a_plan_the_track_is_what_was_seen() -> None:
    shown = saga(tried("b", 1, 2), tried("a", 0, 1), plan={"source": "none", "steps": []})
    assert list(stops(shown)) == ["b", "a"]
    assert saga_view(shown).plan_source.startswith("no plan is known")


def test_every_attempt_is_listed_in_the_order_of_its_start() -> None:
    shown = saga_view(
        saga(
            tried("wallet.debit", 0, 1, "error", number=1, error="busy", stacktrace="File x\n  line 1"),
            tried("wallet.debit", 3, 4, number=2),
            tried("fraud.check", 2, 2.5),
        )
    )
    assert [(one.step, one.number, one.duration) for one in shown.attempts] == [
        ("wallet.debit", 1, "1 s"),
        ("fraud.check", 1, "500 ms"),
        ("wallet.debit", 2, "1 s"),
    ]
    assert (shown.attempts[0].error, shown.attempts[0].stacktrace) == ("Refused: busy", "File x\n  line 1")


def test_very_many_attempts_are_counted_and_not_all_listed() -> None:
    shown = saga_view(saga(*(tried("a.b", n, n + 0.5, number=n + 1) for n in range(MAX_ATTEMPTS_SHOWN + 3))))
    assert (len(shown.attempts), shown.attempts_total) == (MAX_ATTEMPTS_SHOWN, MAX_ATTEMPTS_SHOWN + 3)


@pytest.mark.parametrize(("status", "word"), [("running", "Committed"), ("completed", "Committed, as planned")])
def test_what_is_in_force_alarms_only_while_it_may_have_to_go(status: str, word: str) -> None:
    entry = {"step": "wallet.debit", "compensation": None, "state": "committed", "amount": "50.00", "currency": "EUR"}
    (line,) = saga_view(saga(status=status, ledger=[entry])).ledger
    assert (line.style.label, line.amount) == (word, "€50.00")


def test_a_verdict_keeps_its_proof_and_where_it_is() -> None:
    fact = {
        "text": "began",
        "text_parts": [{"text": "began"}],
        "at": at(0.3),
        "service": "ledger",
        "trace_id": None,
        "span_id": "s1",
    }
    verdict = {
        "reason": "instance_lost",
        "phase": "forward",
        "step": "ledger.record",
        "service": "ledger",
        "instance": None,
        "since": at(0.3),
        "headline": "",
        "headline_parts": [],
        "evidence": [fact],
        "actions": ["look"],
        "actions_parts": [[{"text": "look"}]],
        "confidence": "likely",
    }
    shown = saga_view(stuck(verdict=verdict)).verdict
    assert shown is not None
    assert (shown.confidence, shown.actions, shown.evidence[0].span) == ("likely", ("look",), "s1")


def test_other_runs_and_keys_are_links() -> None:
    shown = saga_view(saga(run="2", runs=["2", "1"], keys={"order": "A 1"}))
    assert [(run.name, run.current) for run in shown.runs] == [("2", True), ("1", False)]
    assert shown.keys == (("order", "A 1", "/transactions?q=A+1"),)


def test_tables_hold_text_only() -> None:
    (row,) = span_rows([span("a", 0, None, attributes={"k": ["\x1b", {"deep": None}]})])
    assert row["Took"] == "open"
    assert row["Attributes"] == '{"k": ["\\u001b", {"deep": null}]}'
    rows = log_rows([log(0, {"a": 1}), log(0, None, event_name="started")])
    assert [row["Text"] for row in rows] == ['{"a": 1}', "started"]
