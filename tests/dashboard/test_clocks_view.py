from datetime import timedelta

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import milliseconds
from sagascope_dashboard.viewmodels.timeline import adjusted, describe, offsets, timeline
from support.wires import at, log, saga, span, tried

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
    by = offsets(skewed())
    assert by == {("ledger", "ledger-7f9c"): timedelta(hours=-1)}
    assert describe(by) == "the clock of ledger-7f9c is 1 h ahead"
    assert describe({}) == ""


def test_adjusted_everything_of_a_process_lies_where_its_attempts_do() -> None:
    whole = skewed()
    shown = timeline(adjusted(whole, offsets(whole)))
    (inner,) = [bar for bar in shown.bars if bar.id == "inner"]
    (record,) = [bar for bar in shown.bars if bar.id == "ledger.record-1"]
    assert (record.start, record.end) == (milliseconds(at(2)), milliseconds(at(3)))
    assert (inner.start, inner.end) == (milliseconds(at(2.2)), milliseconds(at(2.8)))
    assert [mark.at for mark in inner.marks] == [milliseconds(at(2.5))]


def test_where_clocks_agree_nothing_is_changed() -> None:
    whole = saga(tried("a.b", 0, 1))
    assert offsets(whole) == {}
    assert adjusted(whole, {}) is whole


def test_each_further_trace_begins_somewhere() -> None:
    other = "f" * 32
    whole = saga(
        tried("a.b", 0, 1),
        spans=[span("x", 5, 6, trace_id=other), span("y", 4, 6, trace_id=other)],
        traces=[span("x", 0, 1).trace_id, other],
    )
    assert timeline(whole).traces == ((milliseconds(at(4)), 2),)
