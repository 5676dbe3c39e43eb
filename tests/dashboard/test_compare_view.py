import json
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.screens.compare import head
from sagascope_dashboard.viewmodels.compare import EDGE_BARS, MAX_ATTRIBUTES, MAX_ROWS, compare, typical_saga
from support.wires import at, saga, span, steps, tried


def finished(identity: str, seconds: float) -> schemas.Saga:
    return saga(id=identity, status="completed", ended_at=at(seconds))


def pair(this: list[Any], reference: list[Any], **changes: Any) -> Any:
    return compare(saga(id="8492", steps=steps(*this), **changes), saga(id="9000", steps=steps(*reference)), at(60))


def test_the_typical_one_took_the_middle_time_and_is_another() -> None:
    known = [finished("quick", 1), finished("slow", 60), finished("middle", 3), finished("8492", 2)]
    found = typical_saga(known, saga(id="8492", run=known[3].run))
    assert found
    assert found.id == "middle"
    assert typical_saga(known[3:], known[3]) is None
    assert typical_saga([], known[0]) is None


def test_differences_are_listed_step_by_step() -> None:
    told = pair(
        [
            tried("fraud.check", 0, 1),
            tried("wallet.debit", 1, 2, "error", number=1),
            tried("wallet.debit", 4, 9, number=2, service="purse"),
            tried("ledger.record", 9, None, "in_flight"),
        ],
        [
            tried("fraud.check", 0, 1),
            tried("wallet.debit", 1, 2),
            tried("ledger.record", 2, 3),
            tried("shipping.book", 3, 4),
        ],
    )
    assert told.summary == (
        "wallet.debit: 2 attempts (typical: 1)",
        "wallet.debit: took 8 s (typical: 1 s)",
        "ledger.record: in progress (typical: done)",
        "ledger.record: open for 51 s (typical: 1 s)",
        "shipping.book: not reached",
    )
    assert [row.name for row in told.rows] == ["fraud.check", "wallet.debit", "ledger.record", "shipping.book"]


def test_what_only_this_one_did_has_no_other_side() -> None:
    told = pair([tried("refund", 0, 1), tried("a", 2, 3)], [tried("a", 2, 3)])
    assert told.summary == ("refund: only here",)
    assert [(row.name, len(row.this), len(row.reference)) for row in told.rows] == [("refund", 1, 0), ("a", 1, 1)]


def test_each_phase_of_a_two_phase_commit_is_compared_with_the_same_phase() -> None:
    prepare, commit = steps(tried("wallet", 0, 1)), steps(tried("wallet", 2, 9))
    phases = [prepare[0].model_copy(update={"type": "prepare"}), commit[0].model_copy(update={"type": "commit"})]
    compared = compare(saga(id="8492", steps=phases), saga(id="9000", steps=phases[:1]), at(60))
    assert [(row.name, row.differences) for row in compared.rows] == [
        ("wallet: prepare", ()),
        ("wallet: commit", ("only here",)),
    ]


def test_both_are_aligned_at_their_starts() -> None:
    told = pair([tried("a", 5, 6), tried("b", 6, None, "in_flight")], [tried("a", 1, 2), tried("b", 2, 2.5)])
    first, second = told.rows
    assert [(bar.start, bar.end) for bar in (*first.this, *first.reference)] == [(5, 6), (1, 2)]
    (open_bar,) = second.this
    assert (open_bar.is_open, open_bar.style.label, open_bar.end) == (True, "In progress", 60)
    assert (told.length, told.reference_length) == (60, 2.5)


def test_a_step_that_takes_much_longer_is_marked_from_there_on() -> None:
    (slow,) = pair([tried("a", 1, 9)], [tried("a", 0, 2)]).rows
    assert slow.late_from == 3
    (alike,) = pair([tried("a", 1, 3.1)], [tried("a", 0, 2)]).rows
    assert alike.late_from is None


def test_of_very_many_attempts_the_first_and_the_last_are_shown() -> None:
    many = [tried("a", second, second + 0.5, "error", number=second + 1) for second in range(3 * EDGE_BARS)]
    (row,) = pair(many, [tried("a", 0, 1)]).rows
    assert [row.this[0].start, row.this[-1].start, len(row.this)] == [0, 3 * EDGE_BARS - 1, 2 * EDGE_BARS]


def test_of_very_many_steps_those_that_differ_are_shown() -> None:
    alike = [tried(f"s{number}", number, number + 0.5) for number in range(MAX_ROWS + 5)]
    told = pair([*alike, tried("last", 90, 91)], alike)
    assert (len(told.rows), told.rows_left_out, told.rows[-1].name) == (MAX_ROWS, 6, "last")


def test_little_longer_is_no_difference() -> None:
    assert pair([tried("a", 0, 1.9)], [tried("a", 0, 1)]).summary == ()
    assert pair([tried("a", 0, 0.3)], [tried("a", 0, 0.01)]).summary == ()


def test_attributes_that_differ_are_named_the_outermost_span_s_first() -> None:
    inner = span("2", 1, 2, parent_id="1", attributes={"region": "inner", "bank": "x"})
    told = compare(
        saga(
            spans=[
                inner,
                span(
                    "1",
                    0,
                    3,
                    attributes={"region": "eu", "same": 1, "list": [1], "saga.id": "7", "saga.step.name": "x"},
                ),
            ]
        ),
        saga(spans=[span("1", 0, 3, attributes={"region": "us", "same": 1, "\x1b": True})]),
        at(60),
    )
    assert list(told.attributes) == [
        ("\\x1b", "", "true"),
        ("bank", "x", ""),
        ("list", "[1]", ""),
        ("region", "eu", "us"),
    ]


def test_only_so_many_attributes_are_shown() -> None:
    many = {f"a{number}": number for number in range(MAX_ATTRIBUTES + 7)}
    told = compare(saga(spans=[span("1", 0, 3, attributes=many)]), saga(spans=[]), at(60))
    assert (len(told.attributes), told.left_out) == (MAX_ATTRIBUTES, 7)


def test_the_age_of_an_open_transaction_is_shown() -> None:
    told = compare(saga(id="8492", ended_at=None), finished("9000", 3), at(720))
    text = json.dumps(head(told, at(720)))
    assert '"open for 12 min"' in text
    assert '"took 3 s"' in text
