"""From the views of an attempt to what became of it. The executor's view outranks the caller's."""

from collections.abc import Mapping
from typing import NamedTuple

from sagascope_collector.records import Span
from sagascope_collector.sagas import failures
from sagascope_collector.sagas.details import details
from sagascope_collector.sagas.lineage import Lineage
from sagascope_collector.sagas.model import Attempt, AttemptState, Failure
from sagascope_collector.sagas.spans import ProcessKey, process_key
from sagascope_collector.sagas.views import Views


class Circumstances(NamedTuple):
    """What is needed, beside its views, to tell what became of an attempt."""

    lineage: Lineage
    gone: frozenset[str]
    """Ids of open spans that are over although their final span never came."""
    offsets: Mapping[ProcessKey, int]
    announced: Mapping[str, int]


def attempt(views: Views, about: Circumstances) -> Attempt:
    """One try of a step, from everything that tells of it."""
    spans, receiver = views.spans, views.receiver
    shown = spans[-1]
    state = _state(views, about)
    told = tuple(spans) if receiver is None else (*spans, receiver)
    return Attempt(
        views.number,
        shown.process if receiver is None else receiver.process,
        shown.trace_id,
        shown.span_id,
        shown.start,
        shown.end or None if state is not AttemptState.IN_FLIGHT else None,
        state,
        _error(told) if state is AttemptState.ERROR or state is AttemptState.UNKNOWN else None,
        *details(spans),
        views=told,
        offset=about.offsets.get(process_key(shown.process), 0) if about.offsets else 0,
        began=spans[0].start + (about.offsets.get(process_key(spans[0].process), 0) if about.offsets else 0),
        over=None if state is AttemptState.IN_FLIGHT else _over(told, about),
        gone=frozenset(each.span_id for each in told if each.span_id in about.gone) if about.gone else about.gone,
        is_executor_known=len(told) > 1 or state is AttemptState.OK or about.lineage.received_here(shown),
    )


def _state(views: Views, about: Circumstances) -> AttemptState:
    spans = views.spans
    executor = spans[-1]
    if len(spans) == 1 and not _is_executors(views, about.lineage):
        return _callers_state(executor, views.receiver, about)
    if executor.end:
        return AttemptState.ERROR if executor.status == "error" else AttemptState.OK
    if executor.span_id not in about.gone:
        return AttemptState.IN_FLIGHT
    return _callers_word(spans[:-1])


def _is_executors(views: Views, lineage: Lineage) -> bool:
    """Whether the only view is of the process that did the work."""
    span = views.spans[0]
    return span.status != "error" or (views.receiver is None and lineage.received_here(span))


def _callers_word(callers: list[Span]) -> AttemptState:
    """What the callers were told, where the executor's own word was lost."""
    for span in reversed(callers):
        if span.end and span.status != "error":
            return AttemptState.OK
        if span.end and not failures.leaves_open(span, failures.failure(span)):
            return AttemptState.ERROR
    return AttemptState.UNKNOWN


def _callers_state(caller: Span, receiver: Span | None, about: Circumstances) -> AttemptState:
    """The state of an attempt that failed for its caller, who may not know whether it was done."""
    if not failures.leaves_open(caller, failures.failure(caller)):
        return AttemptState.ERROR
    if receiver is None or receiver.span_id in about.gone:
        return AttemptState.UNKNOWN
    if not receiver.end:
        return AttemptState.IN_FLIGHT
    return AttemptState.ERROR if receiver.status == "error" or failures.refused(receiver) else AttemptState.OK


def _error(told: tuple[Span, ...]) -> Failure | None:
    return next((error for span in reversed(told) if (error := failures.failure(span))), None)


def _over(told: tuple[Span, ...], about: Circumstances) -> int:
    """The last word that it is over; where its final span was lost, the last sign that it had begun."""
    if not about.offsets and len(told) == 1 and told[0].end:
        return told[0].end
    ends = [span.end + about.offsets.get(process_key(span.process), 0) for span in told if span.end]
    return max(ends) if ends else max(about.announced.get(span.span_id, span.start) for span in told)
