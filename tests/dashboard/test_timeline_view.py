from datetime import timedelta

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import epoch_ms
from sagascope_dashboard.viewmodels.saga import step_id
from sagascope_dashboard.viewmodels.timeline import (
    Timeline,
    adjust_clocks,
    clock_offsets,
    describe_offsets,
    idle_gaps,
    instances_by_name,
    timeline,
)
from sagascope_dashboard.viewmodels.timeline_bars import INITIAL_SPAN_BARS, MAX_ATTEMPT_BARS, MAX_SPAN_BARS, Bar
from support.wires import at, log, saga, span, tried


def bar(shown: Timeline, identity: str) -> Bar:
    return next(one for one in shown.bars if one.id == identity)


def process(name: str, *, alive: bool) -> schemas.Instance:
    return schemas.Instance(
        instance=name, version=None, last_seen=at(3), alive=alive, in_flight=1, heartbeats=True, dropped=0, bridge=None
    )


def test_lanes_are_services_in_the_order_of_their_first_work() -> None:
    shown = timeline(saga(tried("wallet.debit", 1, 2), tried("fraud.check", 0, 0.5), tried("wallet.refund", 3, 4)))
    assert [lane.name for lane in shown.lanes] == ["fraud", "wallet"]
    assert shown.lanes[1].note == "wallet-7f9c"


def test_bars_that_overlap_get_rows_of_their_own() -> None:
    shown = timeline(saga(tried("a.one", 0, 3), tried("a.two", 1, 2), tried("a.three", 2, 4), tried("a.four", 3, 5)))
    rows = {one.label: one.row for one in shown.bars}
    assert rows == {"a.one": 0, "a.two": 1, "a.three": 1, "a.four": 0}
    assert shown.lanes[0].rows == 2


def test_an_attempt_in_flight_has_no_end() -> None:
    shown = timeline(saga(tried("ledger.record", 0, None, "in_flight")))
    assert bar(shown, "ledger.record-1").end is None
    assert shown.end is None


def test_work_of_a_lost_process_shows_when_it_was_last_seen() -> None:
    stuck = saga(tried("ledger.record", 0, None, "in_flight"))
    gone = timeline(stuck, {"ledger-7f9c": process("ledger-7f9c", alive=False)})
    there = timeline(stuck, {"ledger-7f9c": process("ledger-7f9c", alive=True)})
    assert bar(gone, "ledger.record-1").last_seen == epoch_ms(at(3))
    assert bar(there, "ledger.record-1").last_seen is None
    assert bar(timeline(stuck), "ledger.record-1").last_seen is None


def test_the_phases_of_a_participant_name_themselves_and_it_is_prepared_between_them() -> None:
    prepare, commit = (
        schemas.Step(
            name="wallet", key="", type=kind, service="wallet", state="done", compensates=None, attempts=[tried_[2]]
        )
        for kind, tried_ in (("prepare", tried("wallet", 0, 1)), ("commit", tried("wallet", 5, 6, number=2)))
    )
    undecided = timeline(saga(steps=[prepare]))
    assert [(one.kind, one.label, one.start, one.end) for one in undecided.bars] == [
        ("action", "wallet: prepare", epoch_ms(at(0)), epoch_ms(at(1))),
        ("wait", "wallet is prepared and waits for a decision", epoch_ms(at(1)), None),
    ]
    decided = timeline(saga(steps=[prepare, commit]))
    assert {(one.label, one.end) for one in decided.bars} == {
        ("wallet: prepare", epoch_ms(at(1))),
        ("wallet is prepared and waits for a decision", epoch_ms(at(5))),
        ("wallet: commit", epoch_ms(at(6))),
    }


def test_the_wait_between_attempts_is_not_work() -> None:
    shown = timeline(saga(tried("a.b", 0, 1, "error", number=1), tried("a.b", 5, 6, number=2)))
    wait = next(one for one in shown.bars if one.kind == "wait")
    assert (wait.start, wait.end) == (epoch_ms(at(1)), epoch_ms(at(5)))


def test_a_step_that_is_tried_again_and_again_waits_to_the_present() -> None:
    failed = [tried("a.b", n, n + 1, "error", number=n // 2 + 1) for n in (0, 2, 4)]
    shown = timeline(saga(*failed, attention="retrying", phase="forward", step="a.b", since=at(5)))
    assert [one.end for one in shown.bars if one.kind == "wait"][-1] is None


def critical(shown: Timeline) -> set[str]:
    return {one.id for one in shown.bars if one.critical}


def test_the_critical_path_leaves_out_what_others_did_not_wait_for() -> None:
    shown = timeline(
        saga(
            tried("a.first", 0, 1),
            tried("b.short", 1, 2),
            tried("c.long", 1, 4),
            tried("d.last", 4.1, 5, "error", number=1),
            tried("d.last", 6, 7, number=2),
        )
    )
    assert critical(shown) == {"a.first-1", "c.long-1", "d.last-1", "d.last-1-wait", "d.last-2"}


def test_the_critical_path_of_an_open_saga_ends_with_what_is_in_flight() -> None:
    shown = timeline(saga(tried("a.b", 0, 1), tried("b.c", 0.5, 9), tried("c.d", 1, None, "in_flight")))
    assert critical(shown) == {"a.b-1", "c.d-1"}


def test_a_fold_stands_for_its_attempts() -> None:
    many = [tried("a.b", n, n + 0.5, "error", number=n + 1, error="busy") for n in range(50)]
    shown = timeline(saga(*many))
    (folded,) = [one for one in shown.bars if one.folded]
    assert folded.folded == "attempts 2 to 49: same error"
    assert (folded.start, folded.end) == (epoch_ms(at(1)), epoch_ms(at(48.5)))
    assert [one.number for one in shown.bars if one.kind == "action"] == [1, 2, 50]
    (step,) = saga(*many).steps
    assert len([one for one in timeline(saga(*many), {}, {step_id(step)}).bars if one.kind == "action"]) == 50


def test_a_step_that_did_not_begin_has_a_place() -> None:
    missing = saga(
        tried("ledger.record", 0, 1), attention="next_step_missing", phase="forward", step="shipping.book", since=at(1)
    )
    shown = bar(timeline(missing), "missing")
    assert shown.label == "shipping.book has not started"
    assert shown.end is None


def test_a_compensation_is_paired_with_its_step() -> None:
    shown = timeline(
        saga(
            tried("wallet.debit", 0, 1, "error", number=1),
            tried("wallet.debit", 2, 3, number=2),
            tried("wallet.refund", 5, 6, compensates="wallet.debit"),
        )
    )
    assert bar(shown, "wallet.refund-1").compensates == "wallet.debit-2"
    assert bar(shown, "wallet.refund-1").kind == "compensation"


def test_the_sagas_own_span_and_the_participants_are_distinguished() -> None:
    spans = [span("root", 0, None), span("db", 1.1, 1.2, parent_id="a.b-1", service="a", name="INSERT", kind="client")]
    shown = timeline(saga(tried("a.b", 1, 2), spans=spans))
    assert (bar(shown, "root").kind, bar(shown, "db").kind) == ("saga", "span")


def test_a_span_that_never_ended_in_a_finished_saga_is_not_in_flight() -> None:
    shown = timeline(saga(tried("a.b", 1, 2), spans=[span("root", 0, None)], status="completed", ended_at=at(3)))
    assert bar(shown, "root").state == "unknown"
    assert shown.end == epoch_ms(at(3))


def test_very_many_spans_are_cut_and_counted() -> None:
    spans = [span(f"s{n}", n, n + 1, parent_id="x") for n in range(MAX_SPAN_BARS + 7)]
    whole = saga(spans=spans, spans_total=MAX_SPAN_BARS + 100)
    few, most = timeline(whole), timeline(whole, all_spans=True)
    assert (len(few.bars), few.left_out, few.has_all) == (
        INITIAL_SPAN_BARS,
        MAX_SPAN_BARS + 100 - INITIAL_SPAN_BARS,
        False,
    )
    assert (len(most.bars), most.left_out, most.has_all) == (MAX_SPAN_BARS, 100, True)


def test_of_very_many_attempts_the_most_informative_have_a_bar() -> None:
    steps = [tried(f"step.{n}", n, n + (2 if n == 7 else 0.5)) for n in range(MAX_ATTEMPT_BARS + 3)]
    steps[9] = tried("step.9", 9, 9.1, state="error")
    shown = timeline(saga(*steps))
    drawn = {each.label for each in shown.bars if each.kind == "action"}
    assert (len(drawn), shown.left_out) == (MAX_ATTEMPT_BARS, 3)
    assert {"step.7", "step.9"} <= drawn


def test_the_sagas_own_span_is_never_cut() -> None:
    spans = [span("root", 0, 0.1), *(span(f"s{n}", n, n + 1, parent_id="root") for n in range(INITIAL_SPAN_BARS + 7))]
    assert bar(timeline(saga(spans=spans)), "root").kind == "saga"


def test_log_lines_and_exceptions_are_marks_on_their_bar() -> None:
    event = {"name": "exception", "at": at(1.5), "attributes": {"exception.message": "boom"}}
    shown = timeline(
        saga(
            tried("a.b", 1, 2),
            spans=[span("a.b-1", 1, 2, events=[event])],
            logs=[
                log(1.2, "taken", span_id="a.b-1"),
                log(1.3, "no place"),
                log(1.4, "x", span_id="a.b-1", severity="ERROR2"),
            ],
        )
    )
    assert [(mark.level, mark.text) for mark in bar(shown, "a.b-1").marks] == [
        ("note", "taken"),
        ("error", "x"),
        ("error", "exception: boom"),
    ]


def test_the_longest_empty_stretch_is_squeezed() -> None:
    assert idle_gaps([0, 100, 200, 60_000, 60_100], 60_100) == ((200, 60_000),)


def test_one_squeeze_uncovers_the_next() -> None:
    event_times = [0, 100, 8_100, 8_200, 24_200, 24_300]
    assert idle_gaps(event_times, 24_300) == ((100, 8_100), (8_200, 24_200))


@pytest.mark.parametrize("event_times", [[0, 100, 300], [0, 1_900], [5], []])
def test_short_stretches_are_never_squeezed(event_times: list[float]) -> None:
    assert idle_gaps(event_times, 10_000) == ()


def test_the_time_to_the_present_may_be_squeezed() -> None:
    assert idle_gaps([0, 100], None) == ((100, None),)


def test_what_has_not_begun_is_named_while_the_saga_is_open() -> None:
    begun = [tried("fraud.check", 0, 1), tried("wallet.debit", 1, 2)]
    assert timeline(saga(*begun)).remaining == ("ledger.record", "shipping.book")
    assert timeline(saga(*begun, status="failed", ended_at=at(3))).remaining == ()


def test_a_saga_of_which_nothing_came_can_be_drawn() -> None:
    shown = timeline(saga())
    assert (shown.bars, shown.lanes, shown.start) == ((), (), epoch_ms(at(0)))


def test_processes_are_known_by_name() -> None:
    unnamed = schemas.Instance(
        instance=None, version=None, last_seen=at(0), alive=True, in_flight=0, heartbeats=False, dropped=0, bridge=None
    )
    services = schemas.Services(
        items=[schemas.Service(service="a", instances=[process("p", alive=True), unnamed], versions=[])],
        instances_total=2,
    )
    assert list(instances_by_name(services)) == ["p"]
    assert instances_by_name(None) == {}


HOUR = 3600.0


def skewed() -> schemas.Saga:
    """The ledger's clock is an hour ahead."""
    return saga(
        tried("fraud.check", 0, 1),
        tried("ledger.record", HOUR + 2, HOUR + 3),
        spans=[
            span("fraud.check-1", 0, 1, service="fraud", instance="fraud-7f9c"),
            span("ledger.record-1", HOUR + 2, HOUR + 3, service="ledger", instance="ledger-7f9c"),
            span("inner", HOUR + 2.2, HOUR + 2.8, service="ledger", instance="ledger-7f9c"),
        ],
        logs=[log(HOUR + 2.5, "posted", span_id="inner", service="ledger", instance="ledger-7f9c")],
        clocks=[schemas.Clock(service="ledger", instance="ledger-7f9c", seconds=-HOUR)],
    )


def test_a_clock_that_is_off_is_named() -> None:
    by = clock_offsets(skewed())
    assert by == {("ledger", "ledger-7f9c"): timedelta(hours=-1)}
    assert describe_offsets(by) == "the clock of ledger-7f9c is 1 h ahead"
    assert describe_offsets({}) == ""


def test_adjusted_everything_of_a_process_lies_where_its_attempts_do() -> None:
    whole = skewed()
    shown = timeline(adjust_clocks(whole, clock_offsets(whole)))
    (inner,) = [bar for bar in shown.bars if bar.id == "inner"]
    (record,) = [bar for bar in shown.bars if bar.id == "ledger.record-1"]
    assert (record.start, record.end) == (epoch_ms(at(2)), epoch_ms(at(3)))
    assert (inner.start, inner.end) == (epoch_ms(at(2.2)), epoch_ms(at(2.8)))
    assert [mark.at for mark in inner.marks] == [epoch_ms(at(2.5))]


def test_where_clocks_agree_nothing_is_changed() -> None:
    whole = saga(tried("a.b", 0, 1))
    assert clock_offsets(whole) == {}
    assert adjust_clocks(whole, {}) is whole


def test_each_further_trace_begins_somewhere() -> None:
    other = "f" * 32
    whole = saga(
        tried("a.b", 0, 1),
        spans=[span("x", 5, 6, trace_id=other), span("y", 4, 6, trace_id=other)],
        traces=[span("x", 0, 1).trace_id, other],
    )
    assert timeline(whole).traces == ((epoch_ms(at(4)), 2),)
