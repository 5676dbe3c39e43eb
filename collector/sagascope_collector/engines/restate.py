"""Restate: the server's ``invocation-attempt TARGET`` and ``invocation-end TARGET``, and the SDKs' ``ctx.run``."""

from collections.abc import Sequence
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields, in_order
from sagascope_collector.records import Mark, Span

INVOCATION_ID: Final = "restate.invocation.id"
TARGET: Final = "restate.invocation.target"
SERVICE, METHOD = "rpc.service", "rpc.method"
RUN_NAME: Final = "restate.run.name"
RESULT: Final = "restate.invocation.result"
ATTEMPT: Final = "invocation-attempt "
END: Final = "invocation-end "

NAME: Final = "restate"


def mark(record: RecordFields) -> Mark | None:
    """Returns the saga of a record: the invocation. Its attempts belong to a step named after the handler."""
    invocation = record.first(INVOCATION_ID)
    if not invocation:
        return None
    handler = _handler(record)
    if record.first(RUN_NAME) and record.name:
        return Mark(id=invocation, name=handler, role=NAME, step=record.first(RUN_NAME))
    if record.name.startswith(ATTEMPT):
        return Mark(id=invocation, name=handler, role=NAME, step=handler)
    return Mark(id=invocation, name=handler, role=NAME if record.name.startswith(END) else "")


def _handler(record: RecordFields) -> str:
    """Returns ``Service/handler``, without the key of a virtual object, which would make each object its own type."""
    service, method = record.first(SERVICE), record.first(METHOD)
    if service and method:
        return f"{service}/{method}"
    parts = record.first(TARGET).split("/")
    return f"{parts[0]}/{parts[-1]}" if len(parts) > 1 else parts[0]


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one invocation. An attempt that was suspended and resumed is participant work."""
    ordered = in_order(spans)
    attempts = [span for span in ordered if span.name.startswith(ATTEMPT)]
    suspended = [span for span in attempts[:-1] if span.has_succeeded]
    ends = [span for span in ordered if not span.mark.step]
    executed = [span for span in ordered if span.mark.step and not any(span is each for each in suspended)]
    return EngineSpans(
        [
            *map(engine.participant, suspended),
            *(engine.with_outcome(engine.participant(span), _outcome(span)) for span in ends),
            *engine.with_compensations(engine.numbered_attempts(executed)),
        ]
    )


def _outcome(end: Span) -> str:
    return semconv.OUTCOME_FAILED if end.attributes.get(RESULT) == "failure" else engine.outcome_by_status(end)


ENGINE: Final = Engine(
    name=NAME,
    keys=(INVOCATION_ID, TARGET, SERVICE, METHOD, RUN_NAME),
    prefilter_terms=(INVOCATION_ID,),
    mark=mark,
    interpret=interpret,
)
