"""Checks of the saga's context: what parent and child, caller and executor, span and log record must agree on."""

from collections.abc import Iterator
from typing import Final

from sagascope import semconv
from sagascope_collector.conformance.capture import Attributes, Capture, CapturedSpan, Record
from sagascope_collector.conformance.report import Finding, Section

STEP_ATTRIBUTES: Final = (semconv.STEP_NAME, semconv.STEP_KEY, semconv.STEP_ATTEMPT)
SAGA_ATTRIBUTES: Final = (semconv.SAGA_ID, semconv.SAGA_NAME, semconv.SAGA_RUN_ID)

CONTEXT: Final = Section("Context")


def _has_saga(attributes: Attributes) -> bool:
    return any(key.startswith("saga.") for key in attributes)


def _is_batch(record: Record) -> bool:
    """Returns whether the links of a span name the sagas that it processes."""
    return isinstance(record, CapturedSpan) and any(semconv.SAGA_ID in link for link in record.links)


@CONTEXT.check("context.id", "Every record of a saga has saga.id.", "Set saga.id with every other saga.* attribute.")
def _ids(capture: Capture) -> Iterator[Finding]:
    for each in capture.records:
        if _has_saga(each.attributes) and not _is_batch(each):
            yield Finding(each.where, "" if semconv.SAGA_ID in each.attributes else "it has saga.* but no saga.id")


@CONTEXT.check("context.name", "A record of each saga has saga.name.", "Set saga.name, the type of the saga.")
def _names(capture: Capture) -> Iterator[Finding]:
    records = list(capture.saga_records)
    named = {each.attributes[semconv.SAGA_ID] for each in records if semconv.SAGA_NAME in each.attributes}
    for saga_id, each in {str(each.attributes[semconv.SAGA_ID]): each for each in records}.items():
        yield Finding(each.where, "" if saga_id in named else f"no record of saga {saga_id} has saga.name")


@CONTEXT.check("context.root", "The span with saga.role = saga has no saga.step.name.", "Start a span for each step.")
def _roots(capture: Capture) -> Iterator[Finding]:
    for each in capture.spans:
        if each.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_SAGA:
            has_step = semconv.STEP_NAME in each.attributes
            yield Finding(each.where, "it is a root span and has saga.step.name" if has_step else "")


@CONTEXT.check(
    "context.attempt",
    "Every span with saga.role = step has saga.step.name, and saga.step.attempt from 1.",
    "Set both; without an attempt number a retry looks like a repetition.",
)
def _attempts(capture: Capture) -> Iterator[Finding]:
    for each in capture.attempts:
        if not _is_batch(each):
            missing = [key for key in (semconv.STEP_NAME, semconv.STEP_ATTEMPT) if key not in each.attributes]
            yield Finding(each.where, f"it has no {' and no '.join(missing)}" if missing else "")


@CONTEXT.check(
    "context.compensates",
    "Every compensation names the step that it compensates.",
    "Set saga.step.compensates; without it the committed amount is not known.",
)
def _compensations(capture: Capture) -> Iterator[Finding]:
    for each in capture.attempts:
        if each.attributes.get(semconv.STEP_TYPE) == semconv.TYPE_COMPENSATION:
            is_named = semconv.STEP_COMPENSATES in each.attributes
            yield Finding(each.where, "" if is_named else f"it has no {semconv.STEP_COMPENSATES}")


@CONTEXT.check("context.outcome", "The outcome is set at the end.", "Set saga.outcome before the span ends.")
def _outcomes(capture: Capture) -> Iterator[Finding]:
    for each in capture.spans:
        if semconv.SAGA_OUTCOME in each.attributes:
            yield Finding(each.where, "" if each.end else "it is open and has an outcome")


@CONTEXT.check(
    "context.children",
    "Every span below a saga's span has its id, name, run, and the step's name, key and attempt number.",
    "Set them in a span processor, from the context; W3C baggage carries them between services.",
)
def _children(capture: Capture) -> Iterator[Finding]:
    for span in capture.spans:
        parent = capture.parent(span)
        if parent is not None and semconv.SAGA_ID in parent.attributes:
            yield Finding(span.where, _difference(span, parent))


@CONTEXT.check(
    "context.logs",
    "Every log record in the context of a saga's span has the same attributes.",
    "Set them in a log record processor, from the context.",
)
def _logs(capture: Capture) -> Iterator[Finding]:
    for record in capture.logs:
        span = capture.enclosing_span(record)
        if span is not None and semconv.SAGA_ID in span.attributes and record.event_name != semconv.EVENT_HEARTBEAT:
            yield Finding(record.where, _difference(record, span))


def _difference(record: Record, parent: CapturedSpan) -> str:
    """Returns how the context of a record differs from its parent's, where it must not."""
    if semconv.SAGA_ID not in record.attributes:
        return f"it is below {parent.where} and has no saga.id"
    if record.attributes[semconv.SAGA_ID] != parent.attributes[semconv.SAGA_ID]:
        return ""
    starts_step = semconv.SAGA_ROLE in record.attributes
    keys = SAGA_ATTRIBUTES if starts_step else SAGA_ATTRIBUTES + STEP_ATTRIBUTES
    wrong = [key for key in keys if key in parent.attributes and record.attributes.get(key) != parent.attributes[key]]
    return f"it is below {parent.where}; missing or different: {', '.join(wrong)}" if wrong else ""


@CONTEXT.check(
    "context.links",
    "A link with saga.* has saga.id, and the link or its span has saga.step.name.",
    "Set saga.id, saga.role, saga.step.name and saga.step.attempt on each link of a batch.",
)
def _links(capture: Capture) -> Iterator[Finding]:
    for span in capture.spans:
        for link in span.links:
            if _has_saga(link):
                yield Finding(f"a link of {span.where}", _link_violation(span, link))


def _link_violation(span: CapturedSpan, link: Attributes) -> str:
    if semconv.SAGA_ID not in link:
        return "it has saga.* but no saga.id"
    is_named = semconv.STEP_NAME in link or semconv.STEP_NAME in span.attributes
    return "" if is_named else "neither the link nor its span has saga.step.name"


@CONTEXT.check(
    "context.views",
    "Caller and executor of an attempt have the same type, key and attempt number.",
    "Read saga.step.key and saga.step.attempt from baggage in the executor.",
)
def _views(capture: Capture) -> Iterator[Finding]:
    for span in capture.attempts:
        caller = _caller(capture, span)
        if caller is not None:
            keys = (semconv.STEP_TYPE, semconv.STEP_KEY, semconv.STEP_ATTEMPT)
            wrong = [key for key in keys if _with_default(span, key) != _with_default(caller, key)]
            yield Finding(
                span.where, f"it differs from its caller, {caller.where}: {', '.join(wrong)}" if wrong else ""
            )


def _with_default(span: CapturedSpan, key: str) -> object:
    default = {semconv.STEP_TYPE: semconv.TYPE_ACTION, semconv.STEP_KEY: ""}.get(key)
    return span.attributes.get(key, default)


def _caller(capture: Capture, span: CapturedSpan) -> CapturedSpan | None:
    """Returns the nearest attempt above, if it is another service's view of the same step."""
    seen: set[str] = set()
    above = capture.parent(span)
    while above is not None and above.span_id not in seen:
        seen.add(above.span_id)
        if above.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP:
            same = above.attributes.get(semconv.STEP_NAME) == span.attributes.get(semconv.STEP_NAME)
            return above if same and above.origin.process.service != span.origin.process.service else None
        above = capture.parent(above)
    return None
