"""Sends to a collector's OTLP ports, as an exporter would."""

import ssl
from collections.abc import Iterator
from typing import Final, Protocol

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from sagascope_collector.doctor.patient import Patient
from sagascope_collector.settings import Address

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

HEADERS: Final = {"content-type": "application/x-protobuf"}

NO_ENTRY: Final = "the ingest token is missing or wrong"


class NotTaken(Exception):
    """What was sent was not taken; the text says why."""


class Sender(Protocol):
    """One of the two ways."""

    name: str
    option: str
    address: Address

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Send it.

        Raises:
            NotTaken: it was refused, or nobody answered.
        """
        ...

    def recognises(self) -> bool:
        """Whether a receiver of OTLP answers there."""
        ...


def both(patient: Patient) -> Iterator[Sender]:
    """HTTP, then gRPC."""
    yield HttpSender(patient)
    yield GrpcSender(patient)


class HttpSender:
    """OTLP over HTTP."""

    name: str = "OTLP over HTTP"
    option: str = "--otlp-http"

    def __init__(self, patient: Patient) -> None:
        self.address: Address = patient.otlp_http
        self._patient = patient

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Send it."""
        try:
            answer = self._post(request.SerializeToString())
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise NotTaken(str(error)) from error
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise NotTaken(NO_ENTRY)
        if answer.status_code != httpx.codes.OK:
            raise NotTaken(f"it was answered with HTTP {answer.status_code}")

    def recognises(self) -> bool:
        """Whether an empty request is answered as OTLP says, or a token is asked for."""
        try:
            answer = self._post(b"")
        except (httpx.HTTPError, ssl.SSLError):
            return False
        spoken = answer.headers.get("content-type", "").startswith(HEADERS["content-type"])
        return spoken and answer.status_code in {httpx.codes.OK, httpx.codes.UNAUTHORIZED, 503}

    def _post(self, body: bytes) -> httpx.Response:
        patient = self._patient
        scheme = "https" if patient.is_tls else "http"
        verify = patient.credentials.tls() if patient.is_tls else True
        with httpx.Client(verify=verify, trust_env=not patient.is_here, timeout=patient.wait) as http:
            url, headers = f"{scheme}://{self.address}/v1/traces", HEADERS | patient.ingest_headers
            return http.post(url, content=body, headers=headers)


class GrpcSender:
    """OTLP over gRPC."""

    name: str = "OTLP over gRPC"
    option: str = "--otlp-grpc"

    def __init__(self, patient: Patient) -> None:
        self.address: Address = patient.otlp_grpc
        self._patient = patient

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Send it."""
        try:
            self._call(request)
        except grpc.RpcError as error:
            wrong = error.code() is grpc.StatusCode.UNAUTHENTICATED
            raise NotTaken(NO_ENTRY if wrong else f"{error.code().name}: {error.details()}") from error

    def recognises(self) -> bool:
        """Whether an empty request is answered as OTLP says, or a token is asked for."""
        try:
            self._call(ExportTraceServiceRequest())
        except grpc.RpcError as error:
            ours = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
            return error.code() in ours
        return True

    def _call(self, request: ExportTraceServiceRequest) -> None:
        with self._channel() as channel:
            export = channel.unary_unary(
                EXPORT,
                request_serializer=ExportTraceServiceRequest.SerializeToString,
                response_deserializer=ExportTraceServiceResponse.FromString,
            )
            export(request, timeout=self._patient.wait, metadata=tuple(self._patient.ingest_headers.items()))

    def _channel(self) -> grpc.Channel:
        credentials, options = self._patient.credentials, [("grpc.enable_http_proxy", 0)]
        if not self._patient.is_tls:
            return grpc.insecure_channel(str(self.address), options=options)
        files = (credentials.ca_file, credentials.client_key, credentials.client_cert)
        roots, key, chain = (each.read_bytes() if each else None for each in files)
        return grpc.secure_channel(str(self.address), grpc.ssl_channel_credentials(roots, key, chain), options=options)
