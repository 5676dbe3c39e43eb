"""Sends a test span and finds it again.

It belongs to a completed saga of the reserved name `NAME`, in an environment of that name: no filter for an
environment of yours shows it, and it needs nobody.
"""

import os
import time
from collections.abc import Container, Iterator
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope import semconv
from sagascope_collector.client import Client, ClientError, NotFound
from sagascope_collector.doctor import senders
from sagascope_collector.doctor.api import Answered
from sagascope_collector.doctor.patient import Patient
from sagascope_collector.doctor.result import Result, ok, problem, skipped

NAME: Final = "sagascope.doctor"
"""Reserved: the name, service and environment of what this sends."""

LOOK_EVERY: Final = 0.1


def look(patient: Patient, collector: Answered, shut: Container[str]) -> Iterator[Result]:
    """Send over each way but those that are `shut`, and look for it through the API."""
    for sender in senders.both(patient):
        if sender.name in shut:
            yield skipped(f"test span, {sender.name}", "There is no receiver to take it.")
        else:
            yield _look(sender, patient, collector)


def _look(sender: senders.Sender, patient: Patient, collector: Answered) -> Result:
    check = f"test span, {sender.name}"
    if collector.is_absent:
        return skipped(check, "No collector answers.")
    trace_id = os.urandom(16)
    saga_id = trace_id.hex()
    try:
        sender.send(_request(trace_id, saga_id))
    except senders.NotTaken as error:
        wrong = str(error) == senders.NO_ENTRY
        advice = "Name its file with --ingest-token-file, or set SAGASCOPE_INGEST_TOKEN." if wrong else "See its log."
        return problem(check, f"The test span was not taken: {error}.", advice)
    if collector.status is None:
        return skipped(check, "The test span was taken, and cannot be looked for: see the first line.")
    return _found(check, saga_id, patient)


def _found(check: str, saga_id: str, patient: Patient) -> Result:
    began = time.monotonic()
    with Client(patient.url, timeout=patient.wait, credentials=patient.credentials) as client:
        while time.monotonic() - began < patient.wait:
            try:
                client.saga(NAME, saga_id, environment=NAME)
            except NotFound:
                time.sleep(LOOK_EVERY)
            except ClientError as error:
                return problem(check, str(error), "See the collector's log.")
            else:
                took = time.monotonic() - began
                return ok(check, f"The test span was found again after {took:.1f} s, as saga {NAME} {saga_id}.")
    text = f"The test span was taken, and not found within {patient.wait:g} s."
    return problem(check, text, "Look whether --url and the OTLP ports are of one collector, and at its lag.")


def _request(trace_id: bytes, saga_id: str) -> ExportTraceServiceRequest:
    now = time.time_ns()
    request = ExportTraceServiceRequest()
    part = request.resource_spans.add()
    resource = {"service.name": NAME, "deployment.environment.name": NAME, "service.instance.id": NAME}
    part.resource.attributes.extend(_attributes(resource))
    scope = part.scope_spans.add(schema_url=semconv.SCHEMA_URL)
    scope.scope.name = NAME
    said = {
        semconv.SAGA_ID: saga_id,
        semconv.SAGA_NAME: NAME,
        semconv.SAGA_ROLE: semconv.ROLE_SAGA,
        semconv.SAGA_OUTCOME: semconv.OUTCOME_COMPLETED,
    }
    scope.spans.add(
        trace_id=trace_id,
        span_id=os.urandom(8),
        name=NAME,
        start_time_unix_nano=now - 1_000_000,
        end_time_unix_nano=now,
        attributes=_attributes(said),
    )
    return request


def _attributes(said: dict[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in said.items()]
