"""The demo's supervisor with small real processes, its addresses and its folders."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sagascope_samples.demo import CannotStart
from sagascope_samples.demo.supervisor import (
    Address,
    Addresses,
    ProcessDied,
    ProcessNotReady,
    ProcessSpec,
    Supervisor,
    persistent_folder,
    temporary_folder,
)
from support.samples import wait_until

RESPONDS = "import sys, http.server as h; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
DIES = "print('the disk is full'); raise SystemExit(3)"


def spec(name: str, code: str, *words: str, ready_url: str = "http://127.0.0.1:9/") -> ProcessSpec:
    return ProcessSpec(name, [sys.executable, "-c", code, *words], {}, ready_url)


@pytest.fixture
def port() -> int:
    return Addresses.choose({}, free=True).api.port


@pytest.fixture
def used() -> Iterator[Address]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield Address("127.0.0.1", holder.getsockname()[1])


class Children:
    """The processes that this one has started since this object was created."""

    def __init__(self) -> None:
        self._before = self._all()

    def now(self) -> set[int]:
        return self._all() - self._before

    def _all(self) -> set[int]:
        return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture
def children() -> Children:
    return Children()


def test_process_is_ready_when_it_responds_and_stops_with_the_block(
    tmp_path: Path, children: Children, port: int
) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path) as supervisor:
            responding = spec("responding", RESPONDS, str(port), ready_url=f"http://127.0.0.1:{port}/")
            supervisor.start(responding)
            await supervisor.wait_ready(responding)
            assert len(children.now()) == 1
        assert not children.now()

    asyncio.run(run())


def test_error_names_the_process_that_died_and_its_log(tmp_path: Path) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path, stop_timeout=0.2) as supervisor:
            supervisor.start(spec("stubborn", STUBBORN))
            supervisor.start(spec("ledger", DIES))
            await supervisor.watch()

    with pytest.raises(ProcessDied, match=r"(?s)ledger died unexpectedly \(exit status 3\).*the disk is full"):
        asyncio.run(run())


def test_error_names_the_signal_of_a_killed_process(tmp_path: Path, children: Children) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path) as supervisor:
            supervisor.start(spec("wallet", STUBBORN))
            (pid,) = children.now()
            os.kill(pid, signal.SIGKILL)
            await supervisor.watch()

    with pytest.raises(ProcessDied, match=r"wallet died unexpectedly \(signal SIGKILL\)"):
        asyncio.run(run())


def test_waiting_ends_when_another_process_dies(tmp_path: Path) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path, stop_timeout=0.2) as supervisor:
            supervisor.start(spec("collector", DIES))
            waiting = spec("wallet", STUBBORN)
            supervisor.start(waiting)
            await supervisor.wait_ready(waiting)

    with pytest.raises(ProcessDied, match="collector died"):
        asyncio.run(run())


def test_process_that_never_responds_is_not_ready(tmp_path: Path) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path, stop_timeout=0.2, ready_timeout=0.3) as supervisor:
            unresponsive = spec("dashboard", STUBBORN)
            supervisor.start(unresponsive)
            await supervisor.wait_ready(unresponsive)

    with pytest.raises(ProcessNotReady, match=r"dashboard is not ready after 0\.3 s"):
        asyncio.run(run())


def test_process_that_does_not_stop_is_killed(tmp_path: Path, children: Children) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path, stop_timeout=0.2) as supervisor:
            supervisor.start(spec("stubborn", STUBBORN))
            while "up" not in supervisor.log_of("stubborn").read_text():
                await asyncio.sleep(0.01)
        assert not children.now()

    asyncio.run(run())


def test_deliberate_kill_is_no_error(tmp_path: Path, children: Children) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path, stop_timeout=0.2) as supervisor:
            supervisor.start(spec("ledger", STUBBORN))
            await supervisor.kill("ledger")
            supervisor.check()
            assert not children.now()

    asyncio.run(run())


def test_cancellation_leaves_no_process(tmp_path: Path, children: Children) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path, stop_timeout=0.2) as supervisor:
            supervisor.start(spec("stubborn", STUBBORN))
            asyncio.get_running_loop().call_later(0.1, lambda: task.cancel())
            task = asyncio.current_task() or pytest.fail("no task")
            await supervisor.watch()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert not children.now()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_processes_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
from pathlib import Path
from sagascope_samples.demo.supervisor import ProcessSpec, Supervisor

async def run():
    async with Supervisor(Path({str(tmp_path)!r})) as supervisor:
        supervisor.start(ProcessSpec("stubborn", [sys.executable, "-c", {STUBBORN!r}], {{}}, ""))
        await supervisor.watch()

asyncio.run(run())
"""
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        (child,) = wait_until(lambda: psutil.Process(parent.pid).children(), "the process was not started")
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the process is still running")


def test_restarted_process_appends_to_its_log(tmp_path: Path) -> None:
    async def run() -> None:
        async with Supervisor(tmp_path, stop_timeout=0.2) as supervisor:
            for _ in range(2):
                supervisor.start(spec("ledger", STUBBORN))
                while not supervisor.log_of("ledger").read_text().endswith("up\n"):
                    await asyncio.sleep(0.01)
                await supervisor.kill("ledger")

    asyncio.run(run())
    assert (tmp_path / "ledger.log").read_text().startswith("up\n")


@pytest.mark.parametrize("text", ["", "4319", "host", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1"])
def test_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        Address.parse(text)


def test_addresses_round_trip() -> None:
    assert [str(Address.parse(text)) for text in ("127.0.0.1:80", ":0", "[::1]:80")] == [
        "127.0.0.1:80",
        "127.0.0.1:0",
        "[::1]:80",
    ]
    assert Address.parse("0.0.0.0:80").url == "http://127.0.0.1:80"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("api", "is in use, so the collector's API cannot listen there. Choose another address with --api HOST:PORT"),
        (
            "dashboard",
            "is in use, so the dashboard cannot listen there. Choose another address with --dashboard HOST:PORT",
        ),
        (
            "services",
            "is in use, so one of the six sample services cannot listen there. Choose another address with --services",
        ),
    ],
)
def test_used_port_is_named_with_its_option(used: Address, name: str, message: str) -> None:
    with pytest.raises(CannotStart) as refusal:
        Addresses.choose({name: used}, free=True)
    assert f"{used} {message}" in str(refusal.value)


def test_all_used_ports_are_named(used: Address) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder, pytest.raises(CannotStart) as refusal:
        Addresses.choose({"api": used, "otlp_http": Address("127.0.0.1", holder.getsockname()[1])}, free=True)
    assert len(str(refusal.value).splitlines()) == 2


def test_address_of_another_machine_is_not_called_used() -> None:
    with pytest.raises(CannotStart, match=r"192\.0\.2\.1:4319 cannot be used \(.+\), so the collector's API"):
        Addresses.choose({"api": Address("192.0.2.1", 4319)}, free=True)


def test_a_row_of_ports_that_ends_above_the_highest_is_refused() -> None:
    with pytest.raises(CannotStart, match=r"127\.0\.0\.1:65536 cannot be used \(the highest port is 65535\)"):
        Addresses.choose({"services": Address("127.0.0.1", 65_534)}, free=True)


def test_address_requested_twice_is_refused(port: int) -> None:
    address = Address("127.0.0.1", port)
    with pytest.raises(CannotStart, match=r"requested twice(?s:.*)requested twice"):
        Addresses.choose({"api": address, "dashboard": address}, free=True)


def test_free_ports_are_different() -> None:
    chosen = Addresses.choose({}, free=True)
    ports = [chosen.otlp_grpc.port, chosen.otlp_http.port, chosen.api.port, chosen.dashboard.port]
    ports += [address.port for address in chosen.services.values()]
    assert len(set(ports)) == 10
    assert 0 not in ports


def test_services_get_consecutive_ports() -> None:
    start = Addresses.choose({}, free=True).api.port
    row = Addresses.choose({"services": Address("127.0.0.1", start)}, free=True).services
    assert [address.port for address in row.values()] == list(range(start, start + 6))


def test_folder_keeps_files_that_no_run_created(tmp_path: Path) -> None:
    for name in ("ledger.log", "ledger.sqlite-wal", "sagascope.duckdb", "mine.txt"):
        (tmp_path / name).write_text("old")
    with persistent_folder(tmp_path) as folder:
        assert {path.name for path in folder.iterdir()} == {"mine.txt", "lock"}


def test_folder_is_used_by_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        persistent_folder(tmp_path),
        pytest.raises(CannotStart, match="Another demo uses"),
        persistent_folder(tmp_path),
    ):
        pass
    with persistent_folder(tmp_path):
        pass


def test_temporary_folder_is_kept_if_the_run_fails() -> None:
    with temporary_folder() as gone:
        pass
    assert not gone.exists()
    with pytest.raises(RuntimeError), temporary_folder() as kept:
        raise RuntimeError
    assert kept.is_dir()
    kept.rmdir()
