"""What it means that a row says something else. Without a database."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagascope import semconv
from sagascope_collector.bridges import Facts
from sagascope_collector.bridges.tables.facts import Whose
from sagascope_collector.bridges.tables.mapping import Table
from sagascope_collector.bridges.tables.moves import Move, move
from sagascope_collector.bridges.tables.place import Open
from sagascope_collector.bridges.tables.rows import Row
from sagascope_collector.bridges.tables.states import State

S = 1_000_000_000
COLUMNS = {"id": "id", "state": "state", "step": "step"}


def table(holds: str = "sagas", **said: Any) -> Table:
    return Table.model_validate({"table": "t", "holds": holds, "key": "id", "columns": COLUMNS, **said})


def row(state: str, step: str = "", at: int = 1, **said: Any) -> Row:
    return Row(id="1", state=State(state), step=step, changed=at * S, **said)


def told(found: Move) -> list[tuple[str, int, str]]:
    """(step, number, what became of it) of each attempt."""
    return [
        (each.attempt.step, each.attempt.number, "open" if not each.end else "error" if each.failed else "ok")
        for each in found.attempts
    ]


def walk(of: Table, *rows: Row) -> list[Move]:
    """The moves of one row from word to word."""
    before: Open | None = None
    moves = []
    for each in rows:
        moves.append(move(of, before, each))
        before = moves[-1].after
    return moves


def test_a_row_that_moves_on_has_done_what_it_was_at() -> None:
    first, second, last = walk(table(), row("started", "a"), row("started", "b", 5), row("succeeded", "b", 7))
    assert told(first) == [("a", 1, "open")]
    assert told(second) == [("a", 1, "ok"), ("b", 1, "open")]
    assert told(last) == [("b", 1, "ok")]
    assert (last.since, last.end, last.outcome, last.after) == (1 * S, 7 * S, "completed", None)
    assert [each.end for each in second.attempts] == [5 * S, 0]


def test_a_row_that_is_touched_tells_nothing() -> None:
    assert told(walk(table(), row("started", "a"), row("started", "a", 9))[1]) == []


def test_a_saga_that_waits_to_begin_is_at_its_state() -> None:
    first, second = walk(table(), row("pending", word="NEW"), row("started", "a", 2))
    assert (told(first), first.is_new) == ([("NEW", 1, "open")], True)
    assert told(second) == [("NEW", 1, "ok"), ("a", 1, "open")]


def test_where_no_step_is_named_states_are_steps() -> None:
    of = table(columns={**COLUMNS, "step": "state"})
    rows = [row("started", word="paying"), row("retrying", word="waits", at=2), row("started", word="paying", at=3)]
    moves = walk(of, *rows, row("compensating", word="unwinding", at=4), row("compensated", word="gone", at=5))
    assert [told(each) for each in moves] == [
        [("paying", 1, "open")],
        [("paying", 1, "error")],
        [("paying", 2, "open")],
        [("paying", 2, "error"), ("unwinding", 1, "open")],
        [("unwinding", 1, "ok")],
    ]
    assert moves[3].attempts[1].attempt.type == "compensation"
    assert (moves[4].outcome, table(columns={"id": "id", "state": "state"}).columns.step) == ("compensated", None)


def test_a_step_that_is_come_back_to_is_another_repetition() -> None:
    moves = walk(table(), row("started", "a"), row("started", "b", 2), row("started", "a", 3), row("succeeded", "a", 4))
    again = [each.attempt for each in moves[2].attempts if not each.end]
    assert [(each.step, each.number, each.repetition) for each in again] == [("a", 1, 2)]
    assert [each.attempt.repetition for each in moves[3].attempts] == [2]


def test_a_step_that_waits_again_is_tried_again() -> None:
    moves = walk(table("steps"), row("started", "a"), row("pending", "a", 2), row("started", "a", 3))
    assert [told(each) for each in moves] == [[("a", 1, "open")], [("a", 1, "error")], [("a", 2, "open")]]


@pytest.mark.parametrize("holds", ["sagas", "steps"])
def test_what_is_skipped_ends_without_a_word(holds: str) -> None:
    assert told(walk(table(holds), row("skipped", "a"))[0]) == []


@pytest.mark.parametrize("counts", [None, "attempts", "failures"])
def test_each_try_is_an_attempt_of_its_own(counts: str | None) -> None:
    """With a column that counts tries, one that counts failures, and none."""
    said = {"attempts": (1, 1, 2, 2, 3), "failures": (0, 1, 1, 2, 2), None: (None,) * 5}[counts]
    states = ("started", "retrying", "started", "retrying", "started")
    rows = [row(state, "a", at, attempt=said[at]) for at, state in enumerate(states)]
    moves = walk(table(counts=counts or "attempts"), *rows, row("succeeded", "a", 6, attempt=said[4]))
    assert [told(each) for each in moves] == [
        [("a", 1, "open")],
        [("a", 1, "error")],
        [("a", 2, "open")],
        [("a", 2, "error")],
        [("a", 3, "open")],
        [("a", 3, "ok")],
    ]


def test_attempts_that_nobody_saw_are_those_that_the_row_counts() -> None:
    (found,) = walk(table(), row("started", "a", attempt=3, error="no"))
    assert told(found) == [("a", 1, "error"), ("a", 2, "error"), ("a", 3, "open")]
    assert [each.error for each in found.attempts] == [False, True, False]
    (many,) = walk(table(), row("started", "a", attempt=1_000_000))
    assert len(many.attempts) == 10


def test_what_fails_before_an_undo_has_failed_and_what_is_undone_was_done() -> None:
    rows = row("started", "b"), row("compensating", "a", 2), row("compensated", "a", 3)
    begun, undoing, undone = walk(table(), *rows)
    assert told(begun) == [("b", 1, "open")]
    assert told(undoing) == [("a", 1, "ok"), ("b", 1, "error"), ("undo a", 1, "open")]
    assert (told(undone), undone.outcome) == ([("undo a", 1, "ok")], "compensated")


def test_undos_have_their_own_names_where_the_mapping_knows_them() -> None:
    of = table(undoes={"refund": "charge"})
    first, undo, end = walk(of, row("started", "charge"), row("started", "refund", 2), row("succeeded", "refund", 3))
    assert told(first) == [("charge", 1, "open")]
    assert told(undo) == [("charge", 1, "ok"), ("refund", 1, "open")]
    assert (told(end), end.outcome) == ([("refund", 1, "ok")], "compensated")


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("succeeded", "completed"),
        ("compensated", "compensated"),
        ("failed", "failed"),
        ("compensation_failed", "failed"),
    ],
)
def test_each_end_has_its_outcome(state: str, outcome: str) -> None:
    assert walk(table(), row(state))[0].outcome == outcome


def test_a_row_of_one_step_tells_its_undo_too() -> None:
    of, rows = table("steps"), [row("succeeded", "a"), row("compensating", "a", 2), row("compensated", "a", 3)]
    moves = walk(of, *rows)
    assert [told(each) for each in moves] == [[("a", 1, "ok")], [("undo a", 1, "open")], [("undo a", 1, "ok")]]
    first = move(of, None, rows[1], is_first=True)
    assert told(first) == [("a", 1, "ok"), ("undo a", 1, "open")]


def test_a_row_that_says_what_it_undoes_is_a_compensation() -> None:
    (found,) = walk(table("steps"), row("failed", "refund", compensates="charge", attempt=2))
    assert told(found) == [("refund", 1, "error"), ("refund", 2, "error")]
    assert {each.attempt.type for each in found.attempts} == {"compensation"}


def test_a_step_can_end_its_saga_where_no_row_stands_for_it() -> None:
    facts, of = Facts(), table("steps")
    for step in ("wallet", "ledger"):
        (found,) = walk(of, row("succeeded", step))
        Whose("shop", "t", "", is_of_sagas=False, closes={"ledger": "completed"}).tell(step, found, facts)
    assert [each.attributes.get(semconv.SAGA_OUTCOME) for each in facts.spans] == [None, "completed"]


ROWS = st.builds(
    lambda state, step, attempt: {"state": state, "step": step, "attempt": attempt, "word": state},
    st.sampled_from([each for each in State if each is not State.SKIPPED]),
    st.sampled_from(["", "a", "b", "refund"]),
    st.sampled_from([None, 0, 1, 2, 3]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROWS, max_size=12), st.sampled_from(["sagas", "steps"]), st.sampled_from(["succeeded", "failed"]))
def test_whatever_a_row_does_nothing_that_was_announced_stays_open(
    rows: list[dict[str, Any]], holds: str, end: str
) -> None:
    of = table(holds, undoes={"refund": "a"})
    whose, facts, before = Whose("shop", "t", "", is_of_sagas=holds == "sagas", closes={}), Facts(), None
    for at, said in enumerate([*rows, {"state": end, "step": "a"}], 1):
        found = move(of, before, row(at=at, **said))
        whose.tell('["1"]', found, facts)
        before = found.after
        if before is None:
            open_ = {each.span_id for each in facts.logs} - {each.span_id for each in facts.spans}
            assert not open_
    assert all(each.start <= (each.end or 0) for each in facts.spans)
