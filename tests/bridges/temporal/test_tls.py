"""A Temporal server behind mTLS and an API key, with payments in several namespaces."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from support.certificates import make_certificates
from support.collector import running_collector
from support.following import bridging, headline_contains, once
from support.samples import wait_until
from support.temporal import running_temporal

pytestmark = pytest.mark.xdist_group("bridge-temporal")

KEY = "a-key-of-the-tests"
TIMEOUT_SECONDS = 20.0


class Gateway(grpc.GenericRpcHandler):
    """Forwards calls that carry the API key, unchanged."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.calls: Counter[str] = Counter()
        self.refused = 0

    def service(self, call: grpc.HandlerCallDetails) -> Any:
        if dict(call.invocation_metadata).get("authorization") != f"Bearer {KEY}":
            self.refused += 1
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "the key is wrong")
            )
        self.calls[call.method.rpartition("/")[2]] += 1
        forward = self._channel.unary_unary(call.method)

        def forwarded(request: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                answer: bytes = forward(request, timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            return answer

        return grpc.unary_unary_rpc_method_handler(forwarded)


@contextmanager
def running_gateway(address: str, certificates: Path) -> Iterator[tuple[str, Gateway]]:
    """Yields the address of a gateway that requires a client certificate of the same root, and the gateway."""
    gateway = Gateway(address)
    server = grpc.server(ThreadPoolExecutor(4), handlers=[gateway])
    chain = ((certificates / "server.key").read_bytes(), (certificates / "server.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([chain], (certificates / "ca.pem").read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}", gateway
    finally:
        server.stop(None).wait()


async def start_payment(address: str, namespace: str, payment: str) -> None:
    """Starts a payment without a worker."""
    client = await Client.connect(address, namespace=namespace)
    await client.start_workflow("Payment", payment, id=payment, task_queue="payments")


async def register(address: str, namespace: str) -> None:
    """Registers a namespace, and waits until it can be used."""
    client = await Client.connect(address)
    retention = Duration(seconds=int(timedelta(days=1).total_seconds()))
    request = RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=retention)
    await client.workflow_service.register_namespace(request)
    async with asyncio.timeout(60):
        while True:
            try:
                return await start_payment(address, namespace, f"in {namespace}")
            except RPCError:
                await asyncio.sleep(0.1)


def test_mtls_an_api_key_and_several_namespaces(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "wrong").write_text("another-key\n")
    mtls = ["--tls-roots", f"{tmp_path}/ca.pem", "--tls-cert", f"{tmp_path}/client.pem"]
    mtls += ["--tls-key", f"{tmp_path}/client.key"]
    key_and_namespaces = ["--api-key-file", f"{tmp_path}/key", "--namespace", "default", "--namespace", "refunds"]
    with (
        running_collector(tmp_path) as collector,
        running_temporal(tmp_path / "temporal.log") as address,
        running_gateway(address, certificates) as (front, gateway),
    ):
        asyncio.run(start_payment(address, "default", "in default"))
        asyncio.run(register(address, "refunds"))
        for refused, message in (
            ([*mtls, "--api-key-file", f"{tmp_path}/wrong"], "UNAUTHENTICATED, the key is wrong"),
            (["--tls-roots", f"{tmp_path}/ca.pem", *key_and_namespaces], "does not respond: UNAVAILABLE"),
            (key_and_namespaces, "does not respond: UNAVAILABLE"),
        ):
            with bridging(front, collector.api, tmp_path, *refused):
                wait_until(lambda message=message: message in log(tmp_path), f"{message} was not logged")
        assert gateway.refused
        assert not gateway.calls
        with bridging(front, collector.api, tmp_path, *mtls, "--namespace", "payroll", *key_and_namespaces):
            for namespace in ("default", "refunds"):
                once(
                    collector,
                    f"in {namespace}",
                    headline_contains("no worker polls the task queue payments for workflow tasks (since "),
                )
            wait_until(lambda: "namespace payroll, does not respond: NOT_FOUND" in log(tmp_path), "it was not logged")
        assert "another-key" not in log(tmp_path)
        assert KEY not in log(tmp_path)


def log(folder: Path) -> str:
    return (folder / "bridge.log").read_text()
