"""Runs all checks. Those of the OTLP ports are here: who listens, and whether a test span can be read back.

The test span is a completed saga of the reserved name `TEST_NAME`, in an environment of that name, so that filters for
other environments do not show it and it never needs attention.
"""

import os
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Final

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope import semconv
from sagascope_collector.client import Client, ClientError, NotFound
from sagascope_collector.doctor.checks import (
    LOG_ADVICE,
    CollectorStatus,
    Result,
    State,
    Target,
    check_api,
    check_clocks,
    check_database,
    check_disk,
    check_mapping,
    ok,
    problem,
    skipped,
)
from sagascope_collector.errors import CannotStart
from sagascope_collector.http_server.server import listen
from sagascope_collector.records import TEST_ENVIRONMENT
from sagascope_collector.settings import Address

TEST_NAME: Final = TEST_ENVIRONMENT
"""The reserved saga name, service name and environment of test spans."""

TEST_SPAN_NANOSECONDS: Final = 1_000_000

POLL_INTERVAL_SECONDS: Final = 0.1

MAX_ATTEMPTS: Final = 3
"""Broken connections after which a port is called that of another program."""

EXPORT_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

HEADERS: Final = {"content-type": "application/x-protobuf"}

UNAUTHENTICATED: Final = "the ingest token is missing or wrong"


class _NotAccepted(Exception):
    """The receiver did not accept a request; the text is the reason."""


class _HttpSender:
    """Sends requests over OTLP/HTTP. `is_receiver`: a receiver answers, even if it asks for a token."""

    protocol = "OTLP over HTTP"
    option = "--otlp-http"

    def __init__(self, target: Target) -> None:
        self.address = target.otlp_http
        self._target = target

    def send(self, request: ExportTraceServiceRequest) -> None:
        try:
            answer = self._post(request.SerializeToString())
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise _NotAccepted(str(error)) from error
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise _NotAccepted(UNAUTHENTICATED)
        if answer.status_code != httpx.codes.OK:
            raise _NotAccepted(f"the receiver answered HTTP {answer.status_code}")

    def is_receiver(self) -> bool:
        for _ in range(MAX_ATTEMPTS):
            try:
                answer = self._post(b"")
            except httpx.TimeoutException:
                return False
            except (httpx.HTTPError, ssl.SSLError):
                continue
            is_protobuf = answer.headers.get("content-type", "").startswith(HEADERS["content-type"])
            expected = {httpx.codes.OK, httpx.codes.UNAUTHORIZED, httpx.codes.SERVICE_UNAVAILABLE}
            return is_protobuf and answer.status_code in expected
        return False

    def _post(self, body: bytes) -> httpx.Response:
        target = self._target
        scheme = "https" if target.uses_tls else "http"
        verify = target.credentials.tls() if target.uses_tls else True
        with httpx.Client(verify=verify, trust_env=not target.is_local, timeout=target.timeout_seconds) as http:
            url, headers = f"{scheme}://{self.address}/v1/traces", HEADERS | target.ingest_headers
            return http.post(url, content=body, headers=headers)


class _GrpcSender:
    """Sends requests over OTLP/gRPC, as `_HttpSender` does over HTTP."""

    protocol = "OTLP over gRPC"
    option = "--otlp-grpc"

    def __init__(self, target: Target) -> None:
        self.address = target.otlp_grpc
        self._target = target

    def send(self, request: ExportTraceServiceRequest) -> None:
        try:
            self._export(request)
        except grpc.RpcError as error:
            is_unauthenticated = error.code() is grpc.StatusCode.UNAUTHENTICATED
            reason = UNAUTHENTICATED if is_unauthenticated else f"{error.code().name}: {error.details()}"
            raise _NotAccepted(reason) from error

    def is_receiver(self) -> bool:
        try:
            self._export(ExportTraceServiceRequest())
        except grpc.RpcError as error:
            return error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        return True

    def _export(self, request: ExportTraceServiceRequest) -> None:
        with self._channel() as channel:
            export = channel.unary_unary(
                EXPORT_METHOD,
                request_serializer=ExportTraceServiceRequest.SerializeToString,
                response_deserializer=ExportTraceServiceResponse.FromString,
            )
            metadata = tuple(self._target.ingest_headers.items())
            export(request, timeout=self._target.timeout_seconds, metadata=metadata)

    def _channel(self) -> grpc.Channel:
        credentials, options = self._target.credentials, [("grpc.enable_http_proxy", 0)]
        if not self._target.uses_tls:
            return grpc.insecure_channel(str(self.address), options=options)
        files = (credentials.ca_file, credentials.client_key, credentials.client_cert)
        roots, key, chain = (each.read_bytes() if each else None for each in files)
        return grpc.secure_channel(str(self.address), grpc.ssl_channel_credentials(roots, key, chain), options=options)


_Sender = _HttpSender | _GrpcSender


def _check_port(sender: _Sender, target: Target, collector: CollectorStatus) -> Result:
    check, address = f"port {sender.protocol}", sender.address
    if not _accepts_connections(address, target.timeout_seconds):
        return _check_free_port(check, sender, target, collector)
    if sender.is_receiver():
        return ok(check, f"An {sender.protocol} receiver answers at {address}.")
    advice = (
        f"Stop that program, or choose another port with {sender.option}. "
        "If the receiver uses TLS, use https:// in --url, and otherwise http://."
    )
    return problem(check, f"The program that listens at {address} is not an {sender.protocol} receiver.", advice)


def _check_free_port(check: str, sender: _Sender, target: Target, collector: CollectorStatus) -> Result:
    address, option = sender.address, sender.option
    if not collector.is_unreachable:
        advice = f"Use the address that the collector printed when it started, with {option}."
        return problem(check, f"Nothing listens at {address}, but the collector's API answers.", advice)
    if not target.is_local:
        return skipped(check, f"Nothing listens at {address}.")
    try:
        listen(address, option).close()
    except CannotStart as error:
        return problem(check, str(error), f"Choose another address with {option}.")
    return ok(check, f"{address} is free.")


def _accepts_connections(address: Address, timeout_seconds: float) -> bool:
    try:
        with socket.create_connection(address, timeout=timeout_seconds):
            return True
    except OSError:
        return False


def _check_round_trip(sender: _Sender, target: Target, collector: CollectorStatus) -> Result:
    check = f"test span, {sender.protocol}"
    if collector.is_unreachable:
        return skipped(check, "No collector answers.")
    trace_id = os.urandom(16)
    try:
        sender.send(_test_request(trace_id))
    except _NotAccepted as error:
        is_unauthenticated = str(error) == UNAUTHENTICATED
        ingest_advice = "Name the token's file with --ingest-token-file, or set SAGASCOPE_INGEST_TOKEN."
        advice = ingest_advice if is_unauthenticated else LOG_ADVICE
        return problem(check, f"The test span was not accepted: {error}.", advice)
    if collector.status is None:
        return skipped(check, "The test span was accepted, but the API cannot be read: see the first result.")
    return _read_back(check, trace_id.hex(), target)


def _read_back(check: str, saga_id: str, target: Target) -> Result:
    started = time.monotonic()
    with Client(target.url, timeout=target.timeout_seconds, credentials=target.credentials) as client:
        while time.monotonic() - started < target.timeout_seconds:
            try:
                client.saga(TEST_NAME, saga_id, environment=TEST_NAME)
            except NotFound:
                time.sleep(POLL_INTERVAL_SECONDS)
            except ClientError as error:
                return problem(check, str(error), LOG_ADVICE)
            else:
                seconds = time.monotonic() - started
                return ok(check, f"The test span was read back after {seconds:.1f} s, as saga {TEST_NAME} {saga_id}.")
    text = f"The test span was accepted, but not found within {target.timeout_seconds:g} s."
    return problem(check, text, "Verify that --url and the OTLP ports belong to one collector, and check its lag.")


def _test_request(trace_id: bytes) -> ExportTraceServiceRequest:
    now = time.time_ns()
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource = {"service.name": TEST_NAME, "deployment.environment.name": TEST_NAME, "service.instance.id": TEST_NAME}
    resource_spans.resource.attributes.extend(_key_values(resource))
    scope_spans = resource_spans.scope_spans.add(schema_url=semconv.SCHEMA_URL)
    scope_spans.scope.name = TEST_NAME
    attributes = {
        semconv.SAGA_ID: trace_id.hex(),
        semconv.SAGA_NAME: TEST_NAME,
        semconv.SAGA_ROLE: semconv.ROLE_SAGA,
        semconv.SAGA_OUTCOME: semconv.OUTCOME_COMPLETED,
    }
    scope_spans.spans.add(
        trace_id=trace_id,
        span_id=os.urandom(8),
        name=TEST_NAME,
        start_time_unix_nano=now - TEST_SPAN_NANOSECONDS,
        end_time_unix_nano=now,
        attributes=_key_values(attributes),
    )
    return request


def _key_values(attributes: dict[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in attributes.items()]


def examine(target: Target) -> Iterator[Result]:
    """Runs all checks, in an order in which an earlier problem explains the later ones."""
    collector = check_api(target)
    yield collector.result
    if collector.status:
        yield check_mapping(collector.status)
    senders: tuple[_Sender, ...] = (_HttpSender(target), _GrpcSender(target))
    ports = [_check_port(sender, target, collector) for sender in senders]
    yield from ports
    if target.is_local:
        yield from check_disk(target)
        yield check_database(target, collector)
    yield from check_clocks(target, collector)
    for sender, port in zip(senders, ports, strict=True):
        if port.state is State.PROBLEM:
            yield skipped(f"test span, {sender.protocol}", "No receiver accepts it.")
        else:
            yield _check_round_trip(sender, target, collector)
