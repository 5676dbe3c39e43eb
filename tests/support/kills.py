"""Kills a collector repeatedly while it is under load, and reads what became of the records that it acknowledged."""

import itertools
import random
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx

from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
from support.collector import RunningCollector, running_collector
from support.otlp import of_saga, span, traces

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SPANS_A_REQUEST = 7
SAGAS = 50


@dataclass
class SenderState:
    """What the senders know."""

    acknowledged: set[int] = field(default_factory=set)
    """Numbers of spans whose request was answered with success."""
    over: threading.Event = field(default_factory=threading.Event)
    addresses: Mapping[str, str] = field(default_factory=dict)
    numbers: itertools.count = field(default_factory=lambda: itertools.count(1))


@dataclass(frozen=True)
class Outcome:
    """What the database holds after the last kill."""

    acknowledged: set[int]
    stored: list[int]
    counted: int
    """Spans that the collector counted as stored."""
    kills: int


def kill_repeatedly(folder: Path, rounds: int, *, seed: int = 1) -> Outcome:
    """Kills a collector with SIGKILL `rounds` times while four clients send, each until its request is acknowledged."""
    state, chance = SenderState(), random.Random(seed)
    with running_collector(folder) as first:
        state.addresses = _addresses(first)
    senders = [threading.Thread(target=each, args=(state,)) for each in (_over_http, _over_grpc) * 2]
    for each in senders:
        each.start()
    try:
        for _ in range(rounds):
            with running_collector(folder, addresses=state.addresses) as collector:
                _wait_for_acknowledgements(state, collector)
                time.sleep(chance.uniform(0.0, 0.3))  # the kill falls at any instant
                collector.stop(signal.SIGKILL)
        with running_collector(folder, addresses=state.addresses):
            state.over.set()
            for each in senders:
                each.join()
    finally:
        state.over.set()
    return _outcome(state, folder / "sagascope.duckdb", rounds)


def _addresses(collector: RunningCollector) -> dict[str, str]:
    return {
        "otlp_http": collector.otlp_http.removeprefix("http://"),
        "otlp_grpc": collector.otlp_grpc,
        "api": collector.api.removeprefix("http://"),
    }


def _wait_for_acknowledgements(state: SenderState, collector: RunningCollector) -> None:
    target, deadline = len(state.acknowledged) + 200, time.monotonic() + 120
    while len(state.acknowledged) < target:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Nothing is acknowledged any more:\n{collector.logged()}")
        time.sleep(0.005)


def _next_request(state: SenderState) -> tuple[list[int], bytes]:
    numbers = list(itertools.islice(state.numbers, SPANS_A_REQUEST))
    request = traces(*(span(each, trace=each, attributes=of_saga(str(each % SAGAS))) for each in numbers))
    return numbers, request.SerializeToString()


def _over_http(state: SenderState) -> None:
    url, headers = f"http://{state.addresses['otlp_http']}/v1/traces", {"content-type": "application/x-protobuf"}
    with httpx.Client(trust_env=False, timeout=5, headers=headers) as client:
        while not state.over.is_set():
            numbers, content = _next_request(state)
            while not _posted(client, url, content):
                time.sleep(0.01)
            state.acknowledged.update(numbers)


def _posted(client: httpx.Client, url: str, content: bytes) -> bool:
    try:
        return client.post(url, content=content).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _over_grpc(state: SenderState) -> None:
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(state.addresses["otlp_grpc"], options=options) as channel:
        export = channel.unary_unary(EXPORT)
        while not state.over.is_set():
            numbers, content = _next_request(state)
            while not _exported(export, content):
                time.sleep(0.01)
            state.acknowledged.update(numbers)


def _exported(export: grpc.UnaryUnaryMultiCallable, content: bytes) -> bool:
    try:
        export(content, timeout=5)
    except grpc.RpcError:
        return False
    return True


def _outcome(state: SenderState, db: Path, kills: int) -> Outcome:
    store = Storage(str(db))
    facts = store.lookup.facts([SagaId("", str(number)) for number in range(SAGAS)])
    stored = [int(each.span_id, 16) for of_saga in facts.values() for each in of_saga.spans]
    counted = store.records.counters.stored
    store.close()
    return Outcome(state.acknowledged, stored, counted, kills)
