"""A disk that takes nothing: senders are told to come back, nothing acknowledged is lost, and it goes on by itself."""

import os
import signal
from contextlib import closing
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from sagascope_collector.storage import Storage
from support.collector import RunningCollector, running_collector
from support.disks import FaultyDisk, fill, make_read_only, small_disk
from support.load import EXPORT
from support.otlp import of_saga, span, traces
from support.payments import soon

pytestmark = pytest.mark.slow

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def request(number: int) -> bytes:
    """A span of its own saga, with as much noise that no compression makes it small."""
    noise = os.urandom(2_000).hex()
    return traces(span(number, trace=number, attributes=of_saga(str(number)) | {"noise": noise})).SerializeToString()


def send(collector: RunningCollector, number: int) -> httpx.Response:
    return httpx.post(
        f"{collector.otlp_http}/v1/traces", content=request(number), headers=PROTOBUF, timeout=30, trust_env=False
    )


def unready(collector: RunningCollector) -> str:
    answer = httpx.get(f"{collector.api}/readyz", trust_env=False, timeout=60)
    return "" if answer.is_success else answer.json()["detail"]


def is_known(collector: RunningCollector, number: int) -> bool:
    asked = {"name": "payment", "id": str(number)}
    return httpx.get(f"{collector.api}/api/v1/saga", params=asked, trust_env=False, timeout=60).is_success


def test_a_full_disk_is_reported_and_survived(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk, running_collector(tmp_path, db=disk / "s.duckdb", own_python=True) as collector:
        acknowledged = [number for number in range(1, 50) if send(collector, number).is_success]
        assert len(acknowledged) == 49
        filler = fill(disk)
        refused = soon(lambda: next((each for each in [send(collector, 50)] if not each.is_success), None))
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert int(refused.headers["Retry-After"]) >= 1
        said = Status.FromString(refused.content)
        assert "No space left" in said.message
        assert "No space left" in soon(lambda: unready(collector), seconds=30)
        assert httpx.get(f"{collector.api}/healthz", trust_env=False, timeout=60).is_success
        assert is_known(collector, 1)

        memory = psutil.Process(collector.process.pid)
        before = memory.memory_info().rss
        assert not any(send(collector, number).is_success for number in range(60, 90))
        assert memory.memory_info().rss < before + 64 * 2**20

        with grpc.insecure_channel(collector.otlp_grpc) as channel, pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary(EXPORT)(request(51), timeout=30)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(failed.value.trailing_metadata())["grpc-status-details-bin"]
        (info,) = Status.FromString(details).details
        assert info.Is(RetryInfo.DESCRIPTOR)

        filler.unlink()
        soon(lambda: send(collector, 50).is_success, seconds=30)
        soon(lambda: not unready(collector), seconds=30)
        assert all(is_known(collector, number) for number in [*acknowledged, 50])
        collector.stop(signal.SIGKILL)
        with running_collector(tmp_path, db=disk / "s.duckdb") as again:
            assert all(is_known(again, number) for number in [*acknowledged, 50])
            counted = httpx.get(f"{again.api}/api/v1/status", trust_env=False, timeout=60).json()
            assert counted["stored"] == len(acknowledged) + 1


def test_a_disk_that_becomes_read_only_is_reported_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with closing(FaultyDisk(tmp_path)) as disk:
        with running_collector(tmp_path, db=disk.path / "s.duckdb", own_python=True) as collector:
            acknowledged = [number for number in range(1, 30) if send(collector, number).is_success]
            disk.fail()
            refused = [send(collector, number) for number in range(40, 45)]
            assert {each.status_code for each in refused} == {httpx.codes.SERVICE_UNAVAILABLE}
            assert "Read-only file system" in Status.FromString(refused[0].content).message
            assert "Read-only file system" in soon(lambda: unready(collector), seconds=30)
            assert httpx.get(f"{collector.api}/healthz", trust_env=False, timeout=60).is_success
            assert is_known(collector, 1)
            collector.stop(signal.SIGKILL)
        disk.repair()
        with running_collector(tmp_path, db=disk.path / "s.duckdb", own_python=True) as again:
            assert len(acknowledged) == 29
            soon(lambda: all(is_known(again, number) for number in acknowledged), seconds=30)
            assert send(again, 40).is_success


def test_a_read_only_directory_is_reported_at_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        make_read_only(disk)
        with pytest.raises(RuntimeError) as failed, running_collector(tmp_path, db=disk / "s.duckdb"):
            pass
        assert "status 2" in str(failed.value)
        assert str(disk) in str(failed.value)
        assert "Traceback" not in str(failed.value)


def test_a_clock_that_was_set_back_makes_no_ingest_outage(tmp_path: Path) -> None:
    path = str(tmp_path / "s.duckdb")
    Storage(path, clock=lambda: 10_000).close()
    earlier = Storage(path, clock=lambda: 5_000)
    earlier.outages.record_alive(5_000)
    assert all(start < end for start, end in earlier.outages.since(0))
    earlier.close()
