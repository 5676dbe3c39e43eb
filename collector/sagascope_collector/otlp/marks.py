"""The saga, step and attempt that a record names, and the process that a resource names. Pure."""

from dataclasses import replace
from typing import Final

from sagascope import semconv
from sagascope_collector.records import Attributes, Mark, Process, as_text, count
from sagascope_collector.storage import schema

ENVIRONMENT: Final = "deployment.environment.name"
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
HOST_NAME: Final = "host.name"
PROCESS_PID: Final = "process.pid"

MARK_KEYS: Final = frozenset(schema.MARK_KEYS)
"""The attributes that `mark` reads."""

UNMARKED: Final = Mark()


def mark(attributes: Attributes) -> Mark:
    """Reads the ``saga.*`` attributes; without a usable ``saga.id`` a record belongs to no saga."""
    return mark_without_id(attributes) if as_text(attributes.get(semconv.SAGA_ID)) else UNMARKED


def mark_without_id(attributes: Attributes) -> Mark:
    """Reads the ``saga.*`` attributes, also of a record whose id is in another attribute."""
    return Mark(
        id=as_text(attributes.get(semconv.SAGA_ID)),
        name=as_text(attributes.get(semconv.SAGA_NAME)),
        run=as_text(attributes.get(semconv.SAGA_RUN_ID)),
        role=as_text(attributes.get(semconv.SAGA_ROLE)),
        step=as_text(attributes.get(semconv.STEP_NAME)),
        type=as_text(attributes.get(semconv.STEP_TYPE)),
        key=as_text(attributes.get(semconv.STEP_KEY)),
        attempt=count(attributes.get(semconv.STEP_ATTEMPT)),
    )


def mark_of_link(link: Attributes, own: Mark) -> Mark:
    """Reads a link that makes its span an attempt of another saga; what it leaves out is the span's own."""
    other = mark(link)
    if not other.id:
        return UNMARKED
    step = other.step or own.step
    return replace(
        other,
        role=other.role or (semconv.ROLE_STEP if step else ""),
        step=step,
        type=other.type or own.type,
        attempt=other.attempt or own.attempt,
    )


def process(resource: Attributes) -> Process:
    """Returns the process that a resource describes."""
    instance = as_text(resource.get(SERVICE_INSTANCE_ID))
    host, pid = as_text(resource.get(HOST_NAME)), as_text(resource.get(PROCESS_PID))
    host_and_pid = f"{host}:{pid}" if host and pid else ""
    identity = as_text(resource.get(semconv.PROCESS_ID)) or instance or host_and_pid
    return Process(
        environment=as_text(resource.get(ENVIRONMENT)),
        service=as_text(resource.get(SERVICE_NAME)),
        version=as_text(resource.get(SERVICE_VERSION)),
        identity=identity,
        instance=instance or host_and_pid or identity,
    )
