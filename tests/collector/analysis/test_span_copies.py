"""Of several copies of one span the most detailed counts, whichever arrived first."""

from dataclasses import replace
from itertools import permutations

from sagascope import semconv
from sagascope_collector.analysis.spans import join_records
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


def test_the_executing_process_outranks_one_that_reports_its_work() -> None:
    woven = join_records([CALLED], [ANNOUNCED])
    assert woven.spans[TRACE, SPAN].process == WORKER
    assert woven.announced == {(TRACE, SPAN): 3}


def test_an_ended_copy_outranks_all_and_the_executors_outranks_another() -> None:
    for assembled in permutations([CALLED, ENDED, SEEN_TO_END]):
        woven = join_records(assembled, [ANNOUNCED])
        assert woven.spans[TRACE, SPAN] == ENDED
        assert woven.announced == {}
    for assembled in permutations([CALLED, SEEN_TO_END]):
        assert join_records(assembled, [ANNOUNCED]).spans[TRACE, SPAN] == SEEN_TO_END


def test_what_a_service_sends_with_two_exporters_is_one_span() -> None:
    """Sagascope's copy names the process by its own id, the other one by the id of OpenTelemetry's SDK."""
    exported = replace(ENDED, process=replace(WORKER, identity="sdk-1"))
    for copies in permutations([ENDED, exported]):
        assert len(join_records(copies, []).spans) == 1
    for other in (replace(exported, start=3), replace(exported, attributes={"number": 2})):
        assert len(join_records([ENDED, other], []).spans) == 2
