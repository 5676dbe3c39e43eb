import json
from typing import Any

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.components.answer_card import MAX_PLAN_STEPS, answer_card, attempts, ledger, plan
from sagascope_dashboard.export import markdown
from sagascope_dashboard.viewmodels.saga import MAX_ATTEMPTS_SHOWN, MAX_LEDGER_LINES, saga_view, step_id, step_label
from support.wires import at, plan_steps, saga, tried


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
        tried("wallet.refund", 0.5, 0.6, compensates="wallet.debit"),
        status="compensated",
        ended_at=at(0.7),
    )
    debit = next(stop for stop in saga_view(shown).plan_steps if stop.name == "wallet.debit")
    assert debit.compensation == "wallet.refund"
    assert debit.compensation_style is not None
    assert debit.compensation_style.label == "Done"
    assert stops(shown)["shipping.book"] == "Not reached"
    assert "wallet.refund" not in stops(shown)


def test_the_phases_of_a_participant_follow_one_another() -> None:
    phases = [("prepare", "wallet", 0), ("prepare", "ledger", 1), ("commit", "wallet", 3), ("rollback", "ledger", 2)]
    steps = [
        schemas.Step(
            name=name, key="", type=kind, service=name, state="done", compensates=None,
            attempts=[tried(name, start, start + 1)[2]],
        )
        for kind, name, start in phases
    ]  # fmt: skip
    rows = saga_view(saga(tried("fraud.check", 0.5, 0.6), steps=steps)).attempts
    assert [step_label(step) for step, _ in rows if step.name != "fraud.check"] == [
        "wallet: prepare",
        "wallet: commit",
        "ledger: prepare",
        "ledger: rollback",
    ]


def test_a_step_outside_the_plan_comes_after_it() -> None:
    assert list(stops(saga(tried("bonus.grant", 0, 1))))[-1] == "bonus.grant"


def test_without_a_plan_the_track_is_what_was_seen() -> None:
    shown = saga(tried("b", 1, 2), tried("a", 0, 1), plan={"source": "none", "steps": []})
    assert list(stops(shown)) == ["b", "a"]
    assert saga_view(shown).plan_source.startswith("no plan is known")


def places(*named: str, **after: list[str]) -> dict[str, tuple[int, int]]:
    plan = {"source": "declared", "steps": plan_steps(*((name, None) for name in named), **after)}
    return {step.name: (step.column, step.row) for step in saga_view(saga(plan=plan)).plan_steps}


def test_branches_of_a_plan_have_a_row_each() -> None:
    assert places("a", "b", "c") == {"a": (0, 0), "b": (1, 0), "c": (2, 0)}
    assert places("a", "b", "c", "d", "e", d=["a"], e=["c", "d"]) == {
        "a": (0, 0),
        "b": (1, 0),
        "c": (2, 0),
        "d": (1, 1),
        "e": (3, 0),
    }
    assert places("a", "b", "c", a=[], b=[], c=[]) == {"a": (0, 0), "b": (0, 1), "c": (0, 2)}


def test_a_plan_that_waits_for_itself_is_shown_all_the_same() -> None:
    assert list(places("a", "b", a=["b"], b=["a"])) == ["a", "b"]


def test_a_step_names_what_it_waits_for_only_where_there_are_branches() -> None:
    plan = {"source": "declared", "steps": plan_steps(("a", None), ("b", None), ("c", None), c=["a"])}
    assert [step.waits_for for step in saga_view(saga(plan=plan)).plan_steps] == [(), ("a",), ("a",)]
    assert {step.waits_for for step in saga_view(saga()).plan_steps} == {()}


def test_a_loop_shows_each_item_and_a_child_is_a_link() -> None:
    whole = saga(tried("room.book", 0, 1), tried("room.hold", 0, 1))
    first, hold = whole.steps
    child = schemas.SagaReference(name="", id="room 7")
    items = [
        first.model_copy(update={"key": "101"}),
        first.model_copy(
            update={
                "key": "102",
                "state": "failed",
                "attempts": [first.attempts[0].model_copy(update={"child": child})],
            }
        ),
    ]
    shown = saga_view(whole.model_copy(update={"steps": [*items, hold]})).plan_steps
    (book,) = (step for step in shown if step.name == "room.book")
    assert [(key, style.label) for key, style in book.repetitions] == [("101", "Done"), ("102", "Failed")]
    assert book.children == (("room 7", "/saga?id=room+7"),)
    assert next(step for step in shown if step.name == "room.hold").repetitions == ()


def test_every_attempt_is_listed_in_the_order_of_its_start() -> None:
    shown = saga_view(
        saga(
            tried("wallet.debit", 0, 1, "error", number=1, error="busy", stacktrace="File x\n  line 1"),
            tried("wallet.debit", 3, 4, number=2),
            tried("fraud.check", 2, 2.5),
        )
    )
    rows = json.loads(json.dumps(attempts(shown)))[2][3][2:]
    assert [(row[3][2][2], row[4][2], row[6][2]) for row in rows] == [
        ("wallet.debit", "1", "1 s"),
        ("fraud.check", "1", "500 ms"),
        ("wallet.debit", "2", "1 s"),
    ]
    assert '"Refused: busy"' in json.dumps(rows[0])
    assert '"File x\\n  line 1"' in json.dumps(rows[0])


def test_very_many_attempts_are_counted_and_not_all_listed() -> None:
    whole = saga(*(tried("a.b", n, n + 0.5, number=n + 1) for n in range(MAX_ATTEMPTS_SHOWN + 3)))
    shown = saga_view(whole, unfolded=[step_id(whole.steps[0])])
    assert (len(shown.attempts), shown.rows_total) == (MAX_ATTEMPTS_SHOWN, MAX_ATTEMPTS_SHOWN + 3)
    assert [getattr(each, "text", "") for _, each in saga_view(whole).attempts] == [
        "",
        "attempts 2 to 1002: same outcome",
        "",
    ]


def test_of_a_very_long_ledger_what_may_have_to_be_compensated_comes_first() -> None:
    entry = {"step": "a", "key": "", "compensation": None, "state": "not_seen", "amount": None, "currency": None}
    committed = entry | {"step": "z", "state": "committed"}
    shown = saga_view(saga(ledger=[*[entry] * (MAX_LEDGER_LINES + 2), committed]))
    assert (shown.ledger[0].step, len(shown.ledger)) == ("z", MAX_LEDGER_LINES)
    assert f"The first {MAX_LEDGER_LINES} of 503." in json.dumps(ledger(shown))
    assert "- and 3 more" in markdown(shown, "")


@pytest.mark.parametrize(
    ("stuck_at", "first", "last"), [(None, 1, 500), (100, 1, 500), (1_000, 750, 1_249), (1_999, 1_501, 2_000)]
)
def test_of_a_very_long_plan_the_steps_around_the_current_one_are_listed(
    stuck_at: int | None, first: int, last: int
) -> None:
    planned = {"source": "declared", "steps": plan_steps(*((f"s{number}", None) for number in range(1, 2_001)))}
    stuck_in = {} if stuck_at is None else {"step": f"s{stuck_at}", "attention": "hung"}
    view = saga_view(saga(plan=planned, **stuck_in))
    text = json.dumps(plan(view, MAX_PLAN_STEPS))
    assert f"Steps {first:,} to {last:,} of 2,000" in text
    assert text.count('"plan-step ') == MAX_PLAN_STEPS
    assert [f'"s{number}"' in text for number in (first - 1, first, last, last + 1)] == [False, True, True, False]
    assert '"data-column": 1,' in text
    assert json.dumps(plan(view)).count('"plan-step ') == 2_000, "a saved page has no filter"


def test_the_ledger_tells_the_items_of_a_step_apart() -> None:
    entry = {"step": "pick", "key": "", "compensation": None, "state": "committed", "amount": None, "currency": None}
    view = saga_view(saga(ledger=[entry | {"key": "item-1"}, entry | {"key": "item-2", "state": "compensated"}]))
    text = json.dumps(ledger(view))
    assert '"pick [item-1]"' in text
    assert '"pick [item-2]"' in text
    assert "pick \\[item-2\\]: compensated" in markdown(view, "")


@pytest.mark.parametrize(("status", "word"), [("running", "Committed"), ("completed", "Committed, as planned")])
def test_what_is_in_force_alarms_only_while_it_may_have_to_go(status: str, word: str) -> None:
    entry = {
        "step": "wallet.debit",
        "key": "",
        "compensation": None,
        "state": "committed",
        "amount": "50.00",
        "currency": "EUR",
    }
    view = saga_view(saga(status=status, ledger=[entry]))
    text = json.dumps(ledger(view), ensure_ascii=False)
    assert f'"{word}"' in text
    assert '"€50.00"' in text


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
    text = json.dumps(answer_card(saga_view(stuck(verdict=verdict))))
    assert all(f'"{part}"' in text for part in ("likely", "look", "began"))
    assert '"data-jump": "s1"' in text


def test_other_runs_and_keys_are_links() -> None:
    text = json.dumps(answer_card(saga_view(saga(run="2", runs=["2", "1"], keys={"order": "A 1"}))))
    assert '"run ", ["b", {}, "2"]' in text
    assert '"run ", ["a", {"href": "/saga?name=payment&id=8492&run=1"}, "1"]' in text
    assert '"order ", ["a", {"href": "/transactions?q=A+1"}, "A 1"]' in text
