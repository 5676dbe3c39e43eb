"""Transitions of rows between two polls, without a database."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from sagascope import semconv
from sagascope_collector.bridges import Telemetry
from sagascope_collector.bridges.tables.mapping import State, Table
from sagascope_collector.bridges.tables.rows import OpenRow, Row
from sagascope_collector.bridges.tables.transitions import TableTelemetry, Transition, has_started, transition
from sagascope_collector.durations import NANOSECONDS_PER_SECOND as SECOND

COLUMNS = {"id": "id", "state": "state", "step": "step"}


def table(rows: str = "sagas", **fields: Any) -> Table:
    return Table.model_validate({"table": "t", "rows": rows, "key": "id", "columns": COLUMNS, **fields})


def row(state: str, step: str = "", at: int = 1, **fields: Any) -> Row:
    return Row(id="1", state=State(state), step=step, changed=at * SECOND, **fields)


def attempts(found: Transition) -> list[tuple[str, int, str]]:
    """Returns (step, number, state) of each attempt."""
    return [
        (each.attempt.step, each.attempt.number, "open" if not each.end else "error" if each.failed else "ok")
        for each in found.attempts
    ]


def transitions(of: Table, *rows: Row) -> list[Transition]:
    """Returns the transitions of one row from state to state."""
    before: OpenRow | None = None
    found = []
    for each in rows:
        found.append(transition(of, before, each))
        before = found[-1].after
    return found


def test_the_next_step_ends_the_previous_one() -> None:
    first, second, last = transitions(table(), row("started", "a"), row("started", "b", 5), row("succeeded", "b", 7))
    assert attempts(first) == [("a", 1, "open")]
    assert attempts(second) == [("a", 1, "ok"), ("b", 1, "open")]
    assert attempts(last) == [("b", 1, "ok")]
    assert (last.start, last.end, last.outcome, last.after) == (1 * SECOND, 7 * SECOND, "completed", None)
    assert [each.end for each in second.attempts] == [5 * SECOND, 0]


def test_an_update_without_a_change_of_state_reports_nothing() -> None:
    assert attempts(transitions(table(), row("started", "a"), row("started", "a", 9))[1]) == []


@pytest.mark.parametrize("earlier", ["null", "5", "[1]", "[[1]]", "{"])
def test_earlier_steps_that_cannot_be_read_are_ignored(earlier: str) -> None:
    (found,) = transitions(table("steps"), row("succeeded", "undo_a", earlier=earlier))
    assert (attempts(found), found.attempts[0].attempt.compensates) == ([("undo_a", 1, "ok")], "")


def test_a_pending_saga_is_at_a_step_named_after_its_state() -> None:
    first, second = transitions(table(), row("pending", state_name="NEW"), row("started", "a", 2))
    assert (attempts(first), first.is_new) == ([("NEW", 1, "open")], True)
    assert attempts(second) == [("NEW", 1, "ok"), ("a", 1, "open")]


def test_states_are_steps_where_the_mapping_has_no_step() -> None:
    of = table(columns={**COLUMNS, "step": "state"})
    rows = [
        row("started", state_name="paying"),
        row("retrying", state_name="waits", at=2),
        row("started", state_name="paying", at=3),
    ]
    found = transitions(
        of, *rows, row("compensating", state_name="unwinding", at=4), row("compensated", state_name="gone", at=5)
    )
    assert [attempts(each) for each in found] == [
        [("paying", 1, "open")],
        [("paying", 1, "error")],
        [("paying", 2, "open")],
        [("paying", 2, "error"), ("unwinding", 1, "open")],
        [("unwinding", 1, "ok")],
    ]
    assert found[3].attempts[1].attempt.type == "compensation"
    assert (found[4].outcome, table(columns={"id": "id", "state": "state"}).columns.step) == ("compensated", None)


def test_a_step_that_is_reached_again_is_another_repetition() -> None:
    found = transitions(
        table(), row("started", "a"), row("started", "b", 2), row("started", "a", 3), row("succeeded", "a", 4)
    )
    again = [each.attempt for each in found[2].attempts if not each.end]
    assert [(each.step, each.number, each.repetition) for each in again] == [("a", 1, 2)]
    assert [each.attempt.repetition for each in found[3].attempts] == [2]


def test_a_pending_step_that_failed_before_it_was_first_read_waits_for_its_retry() -> None:
    of = table("steps")
    (failed,) = transitions(of, row("pending", "a", error="refused", retry_at=9 * SECOND))
    assert attempts(failed) == [("a", 1, "error")]
    (counted,) = transitions(of, row("pending", "a", attempt=2, retry_at=9 * SECOND))
    assert attempts(counted) == [("a", 1, "error"), ("a", 2, "error")]
    assert not has_started(of, row("pending", "a", attempt=1, retry_at=9 * SECOND))
    assert not has_started(of, row("pending", "a", error="refused"))


def test_a_step_that_is_pending_again_is_retried() -> None:
    found = transitions(table("steps"), row("started", "a"), row("pending", "a", 2), row("started", "a", 3))
    assert [attempts(each) for each in found] == [[("a", 1, "open")], [("a", 1, "error")], [("a", 2, "open")]]


@pytest.mark.parametrize("kind", ["sagas", "steps"])
def test_a_skipped_row_reports_nothing(kind: str) -> None:
    assert attempts(transitions(table(kind), row("skipped", "a"))[0]) == []


@pytest.mark.parametrize("counts", [None, "attempts", "failures"])
def test_each_retry_is_an_attempt(counts: str | None) -> None:
    """With a column that counts attempts, one that counts failures, and none."""
    said = {"attempts": (1, 1, 2, 2, 3), "failures": (0, 1, 1, 2, 2), None: (None,) * 5}[counts]
    states = ("started", "retrying", "started", "retrying", "started")
    rows = [row(state, "a", at, attempt=said[at]) for at, state in enumerate(states)]
    found = transitions(table(counts=counts or "attempts"), *rows, row("succeeded", "a", 6, attempt=said[4]))
    assert [attempts(each) for each in found] == [
        [("a", 1, "open")],
        [("a", 1, "error")],
        [("a", 2, "open")],
        [("a", 2, "error")],
        [("a", 3, "open")],
        [("a", 3, "ok")],
    ]


def test_unseen_attempts_are_reported_from_the_counter() -> None:
    (found,) = transitions(table(), row("started", "a", attempt=3, error="no"))
    assert attempts(found) == [("a", 1, "error"), ("a", 2, "error"), ("a", 3, "open")]
    assert [each.has_error for each in found.attempts] == [False, True, False]
    (many,) = transitions(table(), row("started", "a", attempt=1_000_000))
    assert len(many.attempts) == 10


def test_a_compensation_fails_the_current_step_and_completes_the_compensated_one() -> None:
    rows = row("started", "b"), row("compensating", "a", 2), row("compensated", "a", 3)
    started, compensating, compensated = transitions(table(), *rows)
    assert attempts(started) == [("b", 1, "open")]
    assert attempts(compensating) == [("a", 1, "ok"), ("b", 1, "error"), ("undo a", 1, "open")]
    assert (attempts(compensated), compensated.outcome) == ([("undo a", 1, "ok")], "compensated")


def test_the_mapping_names_compensations() -> None:
    of = table(compensates={"refund": "charge"})
    first, undo, end = transitions(
        of, row("started", "charge"), row("started", "refund", 2), row("succeeded", "refund", 3)
    )
    assert attempts(first) == [("charge", 1, "open")]
    assert attempts(undo) == [("charge", 1, "ok"), ("refund", 1, "open")]
    assert (attempts(end), end.outcome) == ([("refund", 1, "ok")], "compensated")


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("succeeded", "completed"),
        ("compensated", "compensated"),
        ("failed", "failed"),
        ("compensation_failed", "failed"),
    ],
)
def test_each_final_state_has_its_outcome(state: str, outcome: str) -> None:
    assert transitions(table(), row(state))[0].outcome == outcome


def test_a_failed_compensation_is_reported_although_the_row_names_no_step() -> None:
    (alone,) = transitions(table(), row("compensation_failed", state_name="compensation_failed"))
    assert attempts(alone) == [("compensation_failed", 1, "error")]
    assert alone.attempts[0].attempt.type == "compensation"
    _, known = transitions(table(), row("compensating", "a"), row("compensation_failed", at=2))
    assert attempts(known) == [("undo a", 1, "error")]


def test_a_row_of_a_step_reports_its_compensation() -> None:
    of, rows = table("steps"), [row("succeeded", "a"), row("compensating", "a", 2), row("compensated", "a", 3)]
    found = transitions(of, *rows)
    assert [attempts(each) for each in found] == [[("a", 1, "ok")], [("undo a", 1, "open")], [("undo a", 1, "ok")]]
    first = transition(of, None, rows[1], is_first=True)
    assert attempts(first) == [("a", 1, "ok"), ("undo a", 1, "open")]


def test_a_row_with_a_compensated_step_is_a_compensation() -> None:
    (found,) = transitions(table("steps"), row("failed", "refund", compensates="charge", attempt=2))
    assert attempts(found) == [("refund", 1, "error"), ("refund", 2, "error")]
    assert {each.attempt.type for each in found.attempts} == {"compensation"}


def test_a_closing_step_ends_its_saga() -> None:
    telemetry, of = Telemetry(), table("steps", closes={"ledger": "completed"})
    for step in ("wallet", "ledger"):
        (found,) = transitions(of, row("succeeded", step))
        TableTelemetry("shop", of, "").add(step, found, telemetry)
    assert [each.attributes.get(semconv.SAGA_OUTCOME) for each in telemetry.spans] == [None, "completed"]


ROWS = st.builds(
    lambda state, step, attempt: {"state": state, "step": step, "attempt": attempt, "state_name": state},
    st.sampled_from([each for each in State if each is not State.SKIPPED]),
    st.sampled_from(["", "a", "b", "refund"]),
    st.sampled_from([None, 0, 1, 2, 3]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROWS, max_size=12), st.sampled_from(["sagas", "steps"]), st.sampled_from(["succeeded", "failed"]))
def test_every_announced_attempt_ends_with_its_row(rows: list[dict[str, Any]], kind: str, end: str) -> None:
    of = table(kind, compensates={"refund": "a"})
    builder, telemetry, before = TableTelemetry("shop", of, ""), Telemetry(), None
    for at, said in enumerate([*rows, {"state": end, "step": "a"}], 1):
        found = transition(of, before, row(at=at, **said))
        builder.add('["1"]', found, telemetry)
        before = found.after
        if before is None:
            open_ = {each.span_id for each in telemetry.logs if each.event_name} - {
                each.span_id for each in telemetry.spans
            }
            assert not open_
    assert all(each.start <= (each.end or 0) for each in telemetry.spans)
