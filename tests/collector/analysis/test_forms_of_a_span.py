"""Of the forms in which one span came, the one that knows most is taken, whatever came first."""

from dataclasses import replace
from itertools import permutations

from sagascope import semconv
from sagascope_collector.analysis.spans import weave
from sagascope_collector.records import Log, Mark, Process, Span

TRACE, SPAN = "a" * 32, "b" * 16
MARK = Mark(id="8492", name="payment", role=semconv.ROLE_STEP, step="fulfil", attempt=1)
ENGINE, WORKER = Process(service="payments"), Process(service="warehouse", identity="w-1")

CALLED = Span(
    trace_id=TRACE,
    span_id=SPAN,
    parent_id="",
    name="fulfil",
    kind="producer",
    start=1,
    end=0,
    status="unset",
    status_message="",
    mark=MARK,
    process=ENGINE,
    attributes={f"said.{number}": number for number in range(20)},
)
ENDED = replace(CALLED, kind="consumer", start=2, end=9, process=WORKER, attributes={})
SEEN_TO_END = replace(CALLED, end=10)
ANNOUNCED = Log(
    trace_id=TRACE,
    span_id=SPAN,
    at=2,
    observed_at=3,
    received_at=3,
    severity=9,
    severity_text="INFO",
    body=None,
    event_name=semconv.EVENT_SPAN_START,
    mark=MARK,
    process=WORKER,
    attributes={semconv.SPAN_NAME: "fulfil", semconv.SPAN_KIND: "consumer"},
)


def test_a_process_that_has_the_work_goes_before_who_tells_of_it() -> None:
    woven = weave([CALLED], [ANNOUNCED])
    assert woven.spans[TRACE, SPAN].process == WORKER
    assert woven.announced == {(TRACE, SPAN): 3}


def test_how_it_ended_goes_before_all_and_the_workers_word_before_anothers() -> None:
    for told in permutations([CALLED, ENDED, SEEN_TO_END]):
        woven = weave(told, [ANNOUNCED])
        assert woven.spans[TRACE, SPAN] == ENDED
        assert woven.announced == {}
    for told in permutations([CALLED, SEEN_TO_END]):
        assert weave(told, [ANNOUNCED]).spans[TRACE, SPAN] == SEEN_TO_END
