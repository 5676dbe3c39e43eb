"""What belongs together says so: marks on everything below a saga, attempts, links, views of one attempt."""

from collections.abc import Callable, Iterator

from sagascope import semconv
from sagascope_collector.conformance.heard import Attributes, Heard, HeardSpan, Record
from sagascope_collector.conformance.report import Finding
from sagascope_collector.conformance.rule import Rule

SECTION = "Marks"

OF_STEP = (semconv.STEP_NAME, semconv.STEP_KEY, semconv.STEP_ATTEMPT)
OF_SAGA = (semconv.SAGA_ID, semconv.SAGA_NAME, semconv.SAGA_RUN_ID)


def _has_saga(attributes: Attributes) -> bool:
    return any(key.startswith("saga.") for key in attributes)


def _is_batch(record: Record) -> bool:
    """Whether its links name the sagas that it works on."""
    return isinstance(record, HeardSpan) and any(semconv.SAGA_ID in link for link in record.links)


def _ids(heard: Heard) -> Iterator[Finding]:
    for each in heard.records:
        if _has_saga(each.attributes) and not _is_batch(each):
            yield Finding(each.where, "" if semconv.SAGA_ID in each.attributes else "it has saga.* but no saga.id")


def _names(heard: Heard) -> Iterator[Finding]:
    named = {each.attributes[semconv.SAGA_ID] for each in heard.marked if semconv.SAGA_NAME in each.attributes}
    for saga_id, each in {str(each.attributes[semconv.SAGA_ID]): each for each in heard.marked}.items():
        yield Finding(each.where, "" if saga_id in named else f"nothing names the type of saga {saga_id}")


def _roots(heard: Heard) -> Iterator[Finding]:
    for each in heard.spans:
        if each.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_SAGA:
            named = semconv.STEP_NAME in each.attributes
            yield Finding(each.where, "a root span stands for the whole saga, and names no step" if named else "")


def _attempts(heard: Heard) -> Iterator[Finding]:
    for each in heard.attempts:
        if _is_batch(each):
            continue
        lacking = [key for key in (semconv.STEP_NAME, semconv.STEP_ATTEMPT) if key not in each.attributes]
        yield Finding(each.where, f"it has no {' and no '.join(lacking)}" if lacking else "")


def _undoing(heard: Heard) -> Iterator[Finding]:
    for each in heard.attempts:
        if each.attributes.get(semconv.STEP_TYPE) == semconv.TYPE_COMPENSATION:
            said = semconv.STEP_COMPENSATES in each.attributes
            yield Finding(each.where, "" if said else f"it does not say what it undoes: {semconv.STEP_COMPENSATES}")


def _outcomes(heard: Heard) -> Iterator[Finding]:
    for each in heard.spans:
        if semconv.SAGA_OUTCOME in each.attributes:
            yield Finding(each.where, "" if each.end else "it is open, and yet says how the saga ended")


def _below(heard: Heard) -> Iterator[Finding]:
    for span in heard.spans:
        above = heard.parent(span)
        if above is not None and semconv.SAGA_ID in above.attributes:
            yield Finding(span.where, _unlike(span, above))


def _logs(heard: Heard) -> Iterator[Finding]:
    for record in heard.logs:
        above = heard.under(record)
        if above is not None and semconv.SAGA_ID in above.attributes and record.event_name != semconv.EVENT_HEARTBEAT:
            yield Finding(record.where, _unlike(record, above))


def _unlike(record: Record, above: HeardSpan) -> str:
    """How a record differs from the span above it, where it may not."""
    if semconv.SAGA_ID not in record.attributes:
        return f"it is below {above.where} and has no saga.id"
    if record.attributes[semconv.SAGA_ID] != above.attributes[semconv.SAGA_ID]:
        return ""
    own_step = semconv.SAGA_ROLE in record.attributes
    keys = OF_SAGA if own_step else OF_SAGA + OF_STEP
    wrong = [key for key in keys if key in above.attributes and record.attributes.get(key) != above.attributes[key]]
    return f"it is below {above.where} and has another {', '.join(wrong)}, or none" if wrong else ""


def _links(heard: Heard) -> Iterator[Finding]:
    for span in heard.spans:
        for link in span.links:
            if _has_saga(link):
                yield Finding(f"a link of {span.where}", _wrong_link(span, link))


def _wrong_link(span: HeardSpan, link: Attributes) -> str:
    if semconv.SAGA_ID not in link:
        return "it has saga.* but no saga.id"
    named = semconv.STEP_NAME in link or semconv.STEP_NAME in span.attributes
    return "" if named else "neither it nor its span names the step"


def _views(heard: Heard) -> Iterator[Finding]:
    for span in heard.attempts:
        caller = _caller(heard, span)
        if caller is not None:
            keys = (semconv.STEP_TYPE, semconv.STEP_KEY, semconv.STEP_ATTEMPT)
            wrong = [key for key in keys if _said(span, key) != _said(caller, key)]
            yield Finding(span.where, f"its caller, {caller.where}, has another {', '.join(wrong)}" if wrong else "")


def _said(span: HeardSpan, key: str) -> object:
    default = {semconv.STEP_TYPE: semconv.TYPE_ACTION, semconv.STEP_KEY: ""}.get(key)
    return span.attributes.get(key, default)


def _caller(heard: Heard, span: HeardSpan) -> HeardSpan | None:
    """The attempt of another service above, for a step of the same name."""
    seen: set[str] = set()
    above = heard.parent(span)
    while above is not None and above.span_id not in seen:
        seen.add(above.span_id)
        if above.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP:
            same = above.attributes.get(semconv.STEP_NAME) == span.attributes.get(semconv.STEP_NAME)
            return above if same and above.origin.process.service != span.origin.process.service else None
        above = heard.parent(above)
    return None


def _rule(point: str, requirement: str, fix: str, look: Callable[[Heard], Iterator[Finding]]) -> Rule:
    return Rule(SECTION, point, requirement, fix, look)


RULES = (
    _rule("marks.id", "Everything of a saga has saga.id.", "Set saga.id wherever you set another saga.* name.", _ids),
    _rule("marks.name", "Something of each saga has saga.name.", "Set saga.name, the type of the saga.", _names),
    _rule("marks.root", "The span with saga.role = saga names no step.", "Give steps a span of their own.", _roots),
    _rule(
        "marks.attempt",
        "Every span with saga.role = step names its step and its number, from 1.",
        "Set saga.step.name and saga.step.attempt; without a number a retry cannot be told from a repetition.",
        _attempts,
    ),
    _rule(
        "marks.compensates",
        "Every compensation names the step that it undoes.",
        "Set saga.step.compensates; else what is still in force cannot be known.",
        _undoing,
    ),
    _rule("marks.outcome", "The outcome is said at the end.", "Set saga.outcome just before the span ends.", _outcomes),
    _rule(
        "marks.below",
        "Every span below one of a saga carries its id, name, run, and its step's name, key and number.",
        "Stamp them in a span processor, from the context; between services they travel in W3C baggage.",
        _below,
    ),
    _rule(
        "marks.logs",
        "Every log record below a span of a saga carries the same.",
        "Stamp them in a log record processor, from the context.",
        _logs,
    ),
    _rule(
        "marks.links",
        "A link with saga.* names the saga, and the link or its span the step.",
        "Set saga.id, saga.role, saga.step.name and saga.step.attempt on each link of a batch.",
        _links,
    ),
    _rule(
        "marks.views",
        "Caller and executor of an attempt have the same type, key and number.",
        "Let the executor take saga.step.key and saga.step.attempt from baggage.",
        _views,
    ),
)
