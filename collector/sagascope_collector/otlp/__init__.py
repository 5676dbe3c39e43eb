"""OTLP in: over gRPC and HTTP, protobuf and JSON."""

from sagascope_collector.otlp.decode import decode as decode
from sagascope_collector.otlp.grpc import OtlpGrpc as OtlpGrpc
from sagascope_collector.otlp.http import OtlpHttp as OtlpHttp
