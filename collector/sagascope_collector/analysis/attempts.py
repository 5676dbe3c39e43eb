"""From the views of an attempt to what became of it. The executor's view outranks the caller's."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.analysis import failures, values
from sagascope_collector.analysis.causes import Causes
from sagascope_collector.analysis.details import details
from sagascope_collector.analysis.lineage import Lineage
from sagascope_collector.analysis.logged import LoggedStep
from sagascope_collector.analysis.model import Attempt, AttemptState, Failure
from sagascope_collector.analysis.skew import Skew
from sagascope_collector.analysis.spans import ProcessKey, process_key
from sagascope_collector.analysis.views import Views
from sagascope_collector.records import SagaKey, Span


class Circumstances(NamedTuple):
    """What is needed, beside its views, to tell what became of an attempt."""

    lineage: Lineage
    gone: frozenset[str]
    """Ids of open spans that are over although their final span never came."""
    offsets: Mapping[ProcessKey, int]
    announced: Mapping[str, int]
    unaccepted: frozenset[str] = frozenset()
    """Ids of spans whose outcome their engine did not accept."""
    causes: Causes | None = None
    skew: Skew | None = None
    logged: Mapping[int, LoggedStep] = MappingProxyType({})
    """Steps that only log records tell of, by `id` of the span that stands for each."""
    continued: bool = False
    """Whether the run ended so that it continues as a new one."""


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
        _error(told, about) if state is AttemptState.ERROR or state is AttemptState.UNKNOWN else None,
        *details(spans),
        views=told,
        offset=about.offsets.get(process_key(shown.process), 0) if about.offsets else 0,
        began=spans[0].start + (about.offsets.get(process_key(spans[0].process), 0) if about.offsets else 0),
        over=None if state is AttemptState.IN_FLIGHT else _over(told, about),
        gone=frozenset(each.span_id for each in told if each.span_id in about.gone) if about.gone else about.gone,
        is_executor_known=len(told) > 1 or state is AttemptState.OK or about.lineage.received_here(shown),
        skew=about.skew,
        logged_until=_logged_until(shown, about),
        child=_child(shown),
    )


def _logged_until(span: Span, about: Circumstances) -> int:
    logged = about.logged.get(id(span)) if about.logged else None
    return logged.last_at + about.offsets.get(process_key(span.process), 0) if logged is not None else 0


def _child(span: Span) -> SagaKey | None:
    """The saga that does the work of an attempt; a child workflow's type is its step's name."""
    child = values.text(span.attributes.get(semconv.TEMPORAL_CHILD_ID))
    return SagaKey(span.process.environment, span.mark.step, child, "") if child else None


def _state(views: Views, about: Circumstances) -> AttemptState:
    spans = views.spans
    executor = spans[-1]
    if (logged := about.logged.get(id(executor))) is not None:
        return AttemptState.UNKNOWN if logged.is_over else AttemptState.IN_FLIGHT
    if executor.span_id in about.unaccepted:
        return AttemptState.UNKNOWN
    if len(spans) == 1 and not _is_executors(views, about.lineage):
        return _callers_state(executor, views.receiver, about)
    if executor.kind == "client" and views.received and all(each.status == "error" for each in views.received):
        return _failed_state(views.received[-1])
    if executor.end:
        return _failed_state(executor) if executor.status == "error" else AttemptState.OK
    if executor.span_id not in about.gone:
        return AttemptState.IN_FLIGHT
    return _callers_word(spans[:-1])


def _failed_state(executor: Span) -> AttemptState:
    """What an error of the span that did the work means."""
    return AttemptState.UNKNOWN if failures.was_interrupted(failures.failure(executor)) else AttemptState.ERROR


def _is_executors(views: Views, lineage: Lineage) -> bool:
    """Whether the only view is of the process that did the work."""
    span = views.spans[0]
    return span.status != "error" or (views.receiver is None and lineage.received_here(span))


def _callers_word(callers: list[Span]) -> AttemptState:
    """What the callers were told, where the executor's own word was lost."""
    for span in reversed(callers):
        if span.end and span.status != "error":
            return AttemptState.OK
        error = failures.failure(span)
        if span.end and not (failures.leaves_open(span, error) or failures.was_interrupted(error)):
            return AttemptState.ERROR
    return AttemptState.UNKNOWN


def _callers_state(caller: Span, receiver: Span | None, about: Circumstances) -> AttemptState:
    """The state of an attempt that failed for its caller, who may not know whether it was done."""
    error = failures.failure(caller)
    if not (failures.leaves_open(caller, error) or failures.was_interrupted(error)):
        return AttemptState.ERROR
    if receiver is None or receiver.span_id in about.gone:
        return AttemptState.UNKNOWN
    if not receiver.end:
        return AttemptState.IN_FLIGHT
    return AttemptState.ERROR if receiver.status == "error" or failures.refused(receiver) else AttemptState.OK


def _error(told: tuple[Span, ...], about: Circumstances) -> Failure | None:
    """The executor's own error: of its span, else of what lies below it; else its caller's view of it."""
    own = failures.failure(told[-1])
    if own is None and about.causes is not None:
        own = about.causes.below(told[-1])
    return own or next((error for span in reversed(told) if (error := failures.failure(span))), None)


def _over(told: tuple[Span, ...], about: Circumstances) -> int:
    """The last word that it is over; where its final span was lost, the last sign that it had begun."""
    if not about.offsets and len(told) == 1 and told[0].end:
        return told[0].end
    if until := _logged_until(told[-1], about):
        return until
    ends = [span.end + about.offsets.get(process_key(span.process), 0) for span in told if span.end]
    return max(ends) if ends else max(about.announced.get(span.span_id, span.start) for span in told)
