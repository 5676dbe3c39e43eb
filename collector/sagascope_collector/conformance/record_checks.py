"""Checks of records: the resource that sends them, their attributes, the plan on root spans, and their context.

The context is what parent and child, caller and executor, span and log record must agree on.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, Final

from sagascope import semconv
from sagascope_collector.conformance.capture import Attributes, Capture, CapturedSpan, Origin, Record
from sagascope_collector.conformance.report import Finding, Section
from sagascope_collector.records import ENVIRONMENT

DEPRECATED_ENVIRONMENT: Final = "deployment.environment"
SCHEMA_URL_PREFIX: Final = semconv.SCHEMA_URL.rpartition("/")[0]

PLAN_LISTS: Final = (semconv.PLAN_COMPENSATIONS, semconv.PLAN_TIMEOUTS, semconv.PLAN_AFTER, semconv.PLAN_OPTIONAL)
"""Attributes whose lists have one value for each step of the plan."""

ISO_4217_CODES: Final = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD
CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD
KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR
NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN
SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XAG
XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWG ZWL
"""

CURRENCIES: Final = frozenset(ISO_4217_CODES.split())

RESOURCE: Final = Section("Resource")
ATTRIBUTES: Final = Section("Attributes")
PLAN: Final = Section("Plan")
CONTEXT: Final = Section("Context")


def _one_record_per_origin(capture: Capture) -> Iterator[Record]:
    """Yields one record for each process and schema URL that sends saga telemetry."""
    seen: set[tuple[str, str, str]] = set()
    for each in (*capture.saga_records, *capture.heartbeats):
        key = (each.origin.process.service, each.origin.process.identity, each.origin.schema_url)
        if key not in seen:
            seen.add(key)
            yield each


@RESOURCE.check(
    "decodable",
    "Every request is OTLP, with trace ids of 16 bytes and span ids of 8 bytes.",
    "Send with an OpenTelemetry exporter, or compare your encoder with opentelemetry-proto.",
)
def _decodable(capture: Capture) -> Iterator[Finding]:
    yield from (Finding("a request", reason) for reason in capture.rejected)
    yield from (Finding(each.where) for each in capture.records)


@RESOURCE.check("service.name", "Every resource names its service.", "Set service.name on the resource.")
def _service(capture: Capture) -> Iterator[Finding]:
    for each in _one_record_per_origin(capture):
        name = each.origin.resource.get("service.name")
        is_unknown = not isinstance(name, str) or not name or name.startswith("unknown_service")
        yield Finding(each.where, f"the resource has service.name = {name!r}" if is_unknown else "")


@RESOURCE.check(
    "process",
    "Every resource has sagascope.process.id, else service.instance.id, else host.name with process.pid.",
    "Set service.instance.id on the resource to a value that is unique to the process, such as a UUID.",
)
def _process(capture: Capture) -> Iterator[Finding]:
    for each in _one_record_per_origin(capture):
        is_identified = each.origin.process.identity or each.origin.resource.get(semconv.PROCESS_ID) == ""
        yield Finding(each.where, "" if is_identified else "the resource does not identify the process")


@RESOURCE.check(ENVIRONMENT, "The environment, if set, is a string.", f"Set {ENVIRONMENT} on the resource.")
def _environment(capture: Capture) -> Iterator[Finding]:
    for each in _one_record_per_origin(capture):
        if (violation := _environment_violation(each.origin)) is not None:
            yield Finding(each.where, violation)


def _environment_violation(origin: Origin) -> str | None:
    """Returns the violation, ``""`` if the environment complies, None if there is none."""
    if ENVIRONMENT in origin.resource:
        value = origin.resource[ENVIRONMENT]
        return "" if isinstance(value, str) else f"it is {value!r}, not a string"
    if DEPRECATED_ENVIRONMENT in origin.resource:
        return f"it is set as {DEPRECATED_ENVIRONMENT}, which is deprecated and not read"
    return None


@RESOURCE.check(
    "schema_url",
    f"A scope whose schema URL is a version of this contract has {semconv.SCHEMA_URL}.",
    f"Set the tracer's and logger's schema_url to {semconv.SCHEMA_URL}.",
)
def _schema(capture: Capture) -> Iterator[Finding]:
    for each in _one_record_per_origin(capture):
        if each.origin.schema_url.startswith(SCHEMA_URL_PREFIX):
            is_known = each.origin.schema_url == semconv.SCHEMA_URL
            yield Finding(each.where, "" if is_known else f"it is {each.origin.schema_url}")


Predicate = Callable[[Any], bool]


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_nonempty_string(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_positive_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_seconds(value: Any) -> bool:
    """Returns whether it is a double from 0; an int is accepted because JavaScript's SDK sends whole doubles so."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def is_bool(value: Any) -> bool:
    """Returns whether it is a bool."""
    return isinstance(value, bool)


def _list_of(predicate: Predicate) -> Predicate:
    return lambda value: isinstance(value, list) and all(map(predicate, value))


def _one_of(*values: str) -> Predicate:
    return lambda value: isinstance(value, str) and value in values


def _is_amount(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    try:
        return Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


TYPES: Final[dict[str, tuple[str, Predicate]]] = {
    semconv.SAGA_ID: ("a string that is not empty", _is_nonempty_string),
    semconv.SAGA_NAME: ("a string that is not empty", _is_nonempty_string),
    semconv.SAGA_RUN_ID: ("a string", _is_string),
    semconv.SAGA_ROLE: ("saga or step", _one_of(semconv.ROLE_SAGA, semconv.ROLE_STEP)),
    semconv.STEP_NAME: ("a string that is not empty", _is_nonempty_string),
    semconv.STEP_TYPE: (f"one of {', '.join(semconv.STEP_TYPES)}", _one_of(*semconv.STEP_TYPES)),
    semconv.STEP_COMPENSATES: ("the name of a step", _is_nonempty_string),
    semconv.STEP_ATTEMPT: ("an int from 1", _is_positive_int),
    semconv.STEP_MAX_ATTEMPTS: ("an int from 1", _is_positive_int),
    semconv.STEP_RETRY_IN: ("a double, in seconds", is_seconds),
    semconv.STEP_TIMEOUT: ("a double, in seconds", is_seconds),
    semconv.STEP_PIVOT: ("a bool", is_bool),
    semconv.STEP_IDEMPOTENCY_KEY: ("a string", _is_string),
    semconv.STEP_KEY: ("a string", _is_string),
    semconv.STEP_RESOURCES: ("a list of strings", _list_of(_is_string)),
    semconv.WAIT_UNTIL: ("a double, in Unix seconds", is_seconds),
    semconv.WAIT_REASON: ("a string", _is_string),
    semconv.WAIT_FOR: ("the name of an event, or empty where it came", _is_string),
    semconv.PLAN: ("a list of strings", _list_of(_is_nonempty_string)),
    semconv.PLAN_COMPENSATIONS: ("a list of strings", _list_of(_is_string)),
    semconv.PLAN_TIMEOUTS: ("a list of doubles, in seconds", _list_of(is_seconds)),
    semconv.PLAN_AFTER: ("a list of strings", _list_of(_is_string)),
    semconv.PLAN_OPTIONAL: ("a list of bools", _list_of(is_bool)),
    semconv.SAGA_TIMEOUT: ("a double, in seconds", is_seconds),
    semconv.SAGA_OUTCOME: (f"one of {', '.join(semconv.OUTCOMES)}", _one_of(*semconv.OUTCOMES)),
    semconv.AMOUNT: ("a decimal string, such as 50.00", _is_amount),
    semconv.CURRENCY: ("an ISO 4217 code, such as EUR", _one_of(*CURRENCIES)),
}
"""The type of each attribute, for readers and as a predicate."""


def _attribute_sets(capture: Capture) -> Iterator[tuple[str, Attributes]]:
    """Yields the attributes of every record and of every span link."""
    for record in capture.records:
        yield record.where, record.attributes
    for span in capture.spans:
        for link in span.links:
            yield f"a link of {span.where}", link


def _typed(key: str, predicate: Predicate) -> Callable[[Capture], Iterator[Finding]]:
    def find(capture: Capture) -> Iterator[Finding]:
        for where, attributes in _attribute_sets(capture):
            if key in attributes:
                value = attributes[key]
                yield Finding(where, "" if predicate(value) else f"it is {with_type(value)}")

    return find


def with_type(value: Any) -> str:
    """Formats a value and its type for a reader."""
    return f"{repr(value)[:80]}, of type {type(value).__name__}"


for _key, (_kind, _predicate) in TYPES.items():
    ATTRIBUTES.check(_key, f"{_key} is {_kind}.", f"Set {_key} to {_kind}.")(_typed(_key, _predicate))


@ATTRIBUTES.check("saga.key.*", "Business keys are strings.", "Set each saga.key.<name> to a string.")
def _business_keys(capture: Capture) -> Iterator[Finding]:
    for where, attributes in _attribute_sets(capture):
        for key, value in attributes.items():
            if key.startswith(semconv.KEY_PREFIX):
                yield Finding(where, "" if isinstance(value, str) else f"{key} is {with_type(value)}")


@ATTRIBUTES.check(
    "names",
    "Every attribute that starts with saga. is in the contract.",
    "Rename the attribute, or use a prefix of your own.",
)
def _known_names(capture: Capture) -> Iterator[Finding]:
    for where, attributes in _attribute_sets(capture):
        for key in attributes:
            if key.startswith("saga.") and not key.startswith(semconv.KEY_PREFIX):
                yield Finding(where, "" if key in TYPES else f"{key} is not in the contract{_suggestion(key)}")


def _suggestion(key: str) -> str:
    similar = get_close_matches(key, TYPES, 1)
    return f"; did you mean {similar[0]}?" if similar else ""


def _spans_with_plan(capture: Capture) -> Iterator[CapturedSpan]:
    return (each for each in capture.spans if any(key in each.attributes for key in (semconv.PLAN, *PLAN_LISTS)))


@PLAN.check(
    "plan.lengths",
    "The lists beside saga.plan have the same length.",
    'Set one value for each step: "" without a compensation, 0.0 without a timeout.',
)
def _plan_lengths(capture: Capture) -> Iterator[Finding]:
    for span in _spans_with_plan(capture):
        steps = span.attributes.get(semconv.PLAN)
        length = len(steps) if isinstance(steps, list) else 0
        lists = ((key, span.attributes[key]) for key in PLAN_LISTS if key in span.attributes)
        wrong = [key for key, value in lists if not isinstance(value, list) or len(value) != length]
        yield Finding(span.where, f"the plan has {length} steps; other lengths: {', '.join(wrong)}" if wrong else "")


@PLAN.check(
    "plan.place",
    "The plan is on the root span: saga.role = saga.",
    "Move the plan to the root span, and set saga.role = saga on that span.",
)
def _plan_role(capture: Capture) -> Iterator[Finding]:
    for span in _spans_with_plan(capture):
        role = span.attributes.get(semconv.SAGA_ROLE)
        yield Finding(span.where, "" if role == semconv.ROLE_SAGA else f"its saga.role is {role!r}")


@PLAN.check(
    "plan.names",
    "The plan names each step once, and saga.plan.after names steps of the plan.",
    "Name each step once; set saga.step.key on repetitions of a step.",
)
def _plan_names(capture: Capture) -> Iterator[Finding]:
    for span in _spans_with_plan(capture):
        steps = span.attributes.get(semconv.PLAN)
        planned = [each for each in steps if isinstance(each, str)] if isinstance(steps, list) else []
        repeated = sorted({each for each in planned if planned.count(each) > 1})
        unknown = sorted(_predecessors(span) - set(planned))
        violations = [f"{each} is repeated" for each in repeated] + [f"{each} is not in the plan" for each in unknown]
        yield Finding(span.where, "; ".join(violations))


def _predecessors(span: CapturedSpan) -> set[str]:
    """Returns the steps that ``saga.plan.after`` names."""
    after = span.attributes.get(semconv.PLAN_AFTER)
    texts = [each for each in after if isinstance(each, str)] if isinstance(after, list) else []
    return {name.strip() for text in texts for name in text.split(",") if name.strip()}


STEP_ATTRIBUTES: Final = (semconv.STEP_NAME, semconv.STEP_KEY, semconv.STEP_ATTEMPT)
SAGA_ATTRIBUTES: Final = (semconv.SAGA_ID, semconv.SAGA_NAME, semconv.SAGA_RUN_ID)


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
