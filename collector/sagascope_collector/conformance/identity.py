"""Who sends: the service, the process, the environment, the version of the names."""

from collections.abc import Iterator

from sagascope import semconv
from sagascope_collector.conformance.heard import Heard, Origin, Record
from sagascope_collector.conformance.report import Finding
from sagascope_collector.conformance.rule import Rule

SECTION = "Who sends"

OLD_ENVIRONMENT = "deployment.environment"
ENVIRONMENT = "deployment.environment.name"
SCHEMAS = semconv.SCHEMA_URL.rpartition("/")[0]


def _ours(heard: Heard) -> Iterator[Record]:
    """One record for each origin that sends something of sagas."""
    seen: set[tuple[str, str, str]] = set()
    for each in (*heard.marked, *heard.beats):
        key = (each.origin.process.service, each.origin.process.identity, each.origin.schema_url)
        if key not in seen:
            seen.add(key)
            yield each


def _decodable(heard: Heard) -> Iterator[Finding]:
    yield from (Finding("a request", reason) for reason in heard.refused)
    yield from (Finding(each.where) for each in heard.records)


def _service(heard: Heard) -> Iterator[Finding]:
    for each in _ours(heard):
        name = each.origin.resource.get("service.name")
        unknown = not isinstance(name, str) or not name or name.startswith("unknown_service")
        yield Finding(each.where, f"its resource says service.name = {name!r}" if unknown else "")


def _process(heard: Heard) -> Iterator[Finding]:
    for each in _ours(heard):
        is_told = each.origin.process.identity or each.origin.resource.get(semconv.PROCESS_ID) == ""
        yield Finding(each.where, "" if is_told else "nothing tells its process from others")


def _environment(heard: Heard) -> Iterator[Finding]:
    for each in _ours(heard):
        if (wrong := _wrong_environment(each.origin)) is not None:
            yield Finding(each.where, wrong)


def _wrong_environment(origin: Origin) -> str | None:
    if ENVIRONMENT in origin.resource:
        value = origin.resource[ENVIRONMENT]
        return "" if isinstance(value, str) else f"it is {value!r}, not a string"
    return f"it is said as {OLD_ENVIRONMENT}, which nobody reads" if OLD_ENVIRONMENT in origin.resource else None


def _schema(heard: Heard) -> Iterator[Finding]:
    for each in _ours(heard):
        if each.origin.schema_url.startswith(SCHEMAS):
            known = each.origin.schema_url == semconv.SCHEMA_URL
            yield Finding(each.where, "" if known else f"it is {each.origin.schema_url}")


RULES = (
    Rule(
        SECTION,
        "decodable",
        "Every request is OTLP, with trace ids of 16 bytes and span ids of 8.",
        "Send with an OpenTelemetry exporter, or hold your encoder against opentelemetry-proto.",
        _decodable,
    ),
    Rule(SECTION, "service.name", "Every resource names its service.", "Set service.name on the resource.", _service),
    Rule(
        SECTION,
        "process",
        "Every resource has sagascope.process.id, else service.instance.id, else host.name with process.pid.",
        "Set service.instance.id on the resource to something new for each process, such as a UUID.",
        _process,
    ),
    Rule(
        SECTION,
        ENVIRONMENT,
        "The environment, where there is one, is a string.",
        f"Set {ENVIRONMENT} on the resource.",
        _environment,
    ),
    Rule(
        SECTION,
        "schema_url",
        f"A scope that names a version of these names names {semconv.SCHEMA_URL}.",
        f"Set the tracer's and logger's schema_url to {semconv.SCHEMA_URL}.",
        _schema,
    ),
)
