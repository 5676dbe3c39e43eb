"""OTLP in: over gRPC and HTTP, protobuf and JSON."""

from sagascope_collector.otlp.decode import decode
from sagascope_collector.otlp.grpc import OtlpGrpc
from sagascope_collector.otlp.http import OtlpHttp

__all__ = ["OtlpGrpc", "OtlpHttp", "decode"]
