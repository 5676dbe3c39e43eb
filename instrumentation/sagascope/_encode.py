"""Turns spans and log records into OTLP requests, in our own threads: what leaves the process is decided here."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv._incubating.attributes import service_attributes

from sagascope import _redaction, semconv
from sagascope._instance import Renamed
from sagascope._redaction import Redact

_INSTANCE = service_attributes.SERVICE_INSTANCE_ID


class Encoder:
    """Makes requests that name this process, and hold nothing that must not leave it."""

    def __init__(self, process_id: str, redact: Redact | None = None, renamed: Renamed | None = None) -> None:
        """`renamed`: in a forked child, the name of the parent's instance and of its own."""
        self._renamed = renamed
        self._process = KeyValue(key=semconv.PROCESS_ID, value=AnyValue(string_value=process_id))
        self._redact = redact

    def spans(self, batch: Sequence[ReadableSpan]) -> bytes:
        """An ExportTraceServiceRequest."""
        request = encode_spans(batch)
        if self._redact is not None:
            _redaction.spans(self._redact, request)
        self._name_process(request.resource_spans)
        return bytes(request.SerializeToString())

    def logs(self, batch: Sequence[ReadableLogRecord]) -> bytes:
        """An ExportLogsServiceRequest."""
        request = encode_logs(batch)
        if self._redact is not None:
            _redaction.logs(self._redact, request)
        self._name_process(request.resource_logs)
        return bytes(request.SerializeToString())

    def _name_process(self, parts: Any) -> None:
        for part in parts:
            if self._renamed is not None:
                for pair in part.resource.attributes:
                    if pair.key == _INSTANCE and pair.value.string_value == self._renamed.before:
                        pair.value.string_value = self._renamed.now
            if all(pair.key != semconv.PROCESS_ID for pair in part.resource.attributes):
                part.resource.attributes.append(self._process)
