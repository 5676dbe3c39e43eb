"""Restate: the server's ``invocation-attempt TARGET`` and ``invocation-end TARGET``, the SDKs' spans of ``ctx.run``."""

from collections.abc import Sequence
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import telling
from sagascope_collector.engines.engine import Engine, Seen, Told, in_order
from sagascope_collector.records import Mark, Span

INVOCATION_ID: Final = "restate.invocation.id"
TARGET: Final = "restate.invocation.target"
SERVICE, METHOD = "rpc.service", "rpc.method"
RUN_NAME: Final = "restate.run.name"
RESULT: Final = "restate.invocation.result"
ATTEMPT: Final = "invocation-attempt "
END: Final = "invocation-end "

NAME: Final = "restate"


def mark(seen: Seen) -> Mark | None:
    """Where a record belongs: the invocation is the saga; its own tries are those of a step called as the handler."""
    invocation = seen.said(INVOCATION_ID)
    if not invocation:
        return None
    handler = _handler(seen)
    if seen.said(RUN_NAME) and seen.name:
        return Mark(id=invocation, name=handler, role=NAME, step=seen.said(RUN_NAME))
    if seen.name.startswith(ATTEMPT):
        return Mark(id=invocation, name=handler, role=NAME, step=handler)
    return Mark(id=invocation, name=handler, role=NAME if seen.name.startswith(END) else "")


def _handler(seen: Seen) -> str:
    """``Service/handler``; a virtual object's key, which stands between them in the target, would be another name."""
    service, method = seen.said(SERVICE), seen.said(METHOD)
    if service and method:
        return f"{service}/{method}"
    parts = seen.said(TARGET).split("/")
    return f"{parts[0]}/{parts[-1]}" if len(parts) > 1 else parts[0]


def tell(spans: Sequence[Span]) -> Told:
    """What the spans of one invocation mean."""
    ordered = in_order(spans)
    attempts = [span for span in ordered if span.name.startswith(ATTEMPT)]
    suspended = [span for span in attempts[:-1] if span.end and span.status != "error"]
    ends = [span for span in ordered if not span.mark.step]
    tries = [span for span in ordered if span.mark.step and not any(span is each for each in suspended)]
    return Told(
        [
            *map(telling.part, suspended),
            *(telling.with_outcome(telling.part(span), _outcome(span)) for span in ends),
            *telling.tries(tries),
        ]
    )


def _outcome(end: Span) -> str:
    return semconv.OUTCOME_FAILED if end.attributes.get(RESULT) == "failure" else telling.ended(end)


ENGINE: Final = Engine(
    name=NAME,
    keys=(INVOCATION_ID, TARGET, SERVICE, METHOD, RUN_NAME),
    needles=(INVOCATION_ID,),
    mark=mark,
    tell=tell,
)
