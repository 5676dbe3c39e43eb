"""The demo's supervisor, with small real processes in the place of the parts."""

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
from sagascope_samples.demo.addresses import Address, Addresses
from sagascope_samples.demo.folder import kept_folder, passing_folder
from sagascope_samples.demo.supervisor import Part, PartDied, PartNotReady, Supervisor
from support.samples import wait_until

ANSWERS = "import sys, http.server as h; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
DIES = "print('the disk is full'); raise SystemExit(3)"


def part(name: str, code: str, *words: str, ready: str = "http://127.0.0.1:9/") -> Part:
    return Part(name, [sys.executable, "-c", code, *words], {}, ready)


@pytest.fixture
def port() -> int:
    return Addresses.choose({}, free=True).api.port


@pytest.fixture
def taken() -> Iterator[Address]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield Address("127.0.0.1", holder.getsockname()[1])


class Children:
    """Processes that this one has started since it was asked first."""

    def __init__(self) -> None:
        self._before = self._all()

    def now(self) -> set[int]:
        return self._all() - self._before

    def _all(self) -> set[int]:
        return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture
def children() -> Children:
    return Children()


def test_a_part_is_ready_when_it_answers_and_gone_when_the_block_ends(
    tmp_path: Path, children: Children, port: int
) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path) as supervisor:
            answering = part("answering", ANSWERS, str(port), ready=f"http://127.0.0.1:{port}/")
            supervisor.start(answering)
            await supervisor.ready(answering)
            assert len(children.now()) == 1
        assert not children.now()

    asyncio.run(scene())


def test_a_part_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path, grace=0.2) as supervisor:
            supervisor.start(part("stubborn", STUBBORN))
            supervisor.start(part("ledger", DIES))
            await supervisor.watch()

    with pytest.raises(PartDied, match=r"(?s)ledger died unexpectedly \(exit status 3\).*the disk is full"):
        asyncio.run(scene())


def test_a_part_that_is_killed_is_named_with_the_signal(tmp_path: Path, children: Children) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path) as supervisor:
            supervisor.start(part("wallet", STUBBORN))
            (pid,) = children.now()
            os.kill(pid, signal.SIGKILL)
            await supervisor.watch()

    with pytest.raises(PartDied, match=r"wallet died unexpectedly \(signal SIGKILL\)"):
        asyncio.run(scene())


def test_waiting_for_a_part_ends_when_another_dies(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path, grace=0.2) as supervisor:
            supervisor.start(part("collector", DIES))
            waited_for = part("wallet", STUBBORN)
            supervisor.start(waited_for)
            await supervisor.ready(waited_for)

    with pytest.raises(PartDied, match="collector died"):
        asyncio.run(scene())


def test_a_part_that_never_answers_is_given_up(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path, grace=0.2, patience=0.3) as supervisor:
            silent = part("dashboard", STUBBORN)
            supervisor.start(silent)
            await supervisor.ready(silent)

    with pytest.raises(PartNotReady, match=r"dashboard is not ready after 0\.3 s"):
        asyncio.run(scene())


def test_a_part_that_does_not_stop_is_killed(tmp_path: Path, children: Children) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path, grace=0.2) as supervisor:
            supervisor.start(part("stubborn", STUBBORN))
            while "up" not in supervisor.log_of("stubborn").read_text():
                await asyncio.sleep(0.01)
        assert not children.now()

    asyncio.run(scene())


def test_a_part_that_the_story_kills_is_not_missed(tmp_path: Path, children: Children) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path, grace=0.2) as supervisor:
            supervisor.start(part("ledger", STUBBORN))
            await supervisor.kill("ledger")
            supervisor.check()
            assert not children.now()

    asyncio.run(scene())


def test_being_cancelled_leaves_no_process(tmp_path: Path, children: Children) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path, grace=0.2) as supervisor:
            supervisor.start(part("stubborn", STUBBORN))
            asyncio.get_running_loop().call_later(0.1, lambda: task.cancel())
            task = asyncio.current_task() or pytest.fail("no task")
            await supervisor.watch()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scene())
    assert not children.now()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_parts_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
from pathlib import Path
from sagascope_samples.demo.supervisor import Part, Supervisor

async def scene():
    async with Supervisor(Path({str(tmp_path)!r})) as supervisor:
        supervisor.start(Part("stubborn", [sys.executable, "-c", {STUBBORN!r}], {{}}, ""))
        await supervisor.watch()

asyncio.run(scene())
"""
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        (child,) = wait_until(lambda: psutil.Process(parent.pid).children(), "the part was not started")
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the part lives on")


def test_a_log_goes_on_where_it_was_when_a_part_is_started_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path, grace=0.2) as supervisor:
            for _ in range(2):
                supervisor.start(part("ledger", STUBBORN))
                while not supervisor.log_of("ledger").read_text().endswith("up\n"):
                    await asyncio.sleep(0.01)
                await supervisor.kill("ledger")

    asyncio.run(scene())
    assert (tmp_path / "ledger.log").read_text().startswith("up\n")


@pytest.mark.parametrize("text", ["", "4319", "host", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        Address.parse(text)


def test_addresses_are_read_as_they_are_written() -> None:
    assert [str(Address.parse(text)) for text in ("127.0.0.1:80", ":0", "[::1]:80")] == [
        "127.0.0.1:80",
        "127.0.0.1:0",
        "[::1]:80",
    ]
    assert Address.parse("0.0.0.0:80").url == "http://127.0.0.1:80"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("api", "is taken, and the collector's API was to listen there; --api HOST:PORT moves it"),
        ("dashboard", "is taken, and the dashboard was to listen there; --dashboard HOST:PORT moves it"),
        ("services", "is taken, and one of the six sample services was to listen there; --services HOST:PORT"),
    ],
)
def test_a_port_that_is_taken_is_named_with_the_option_that_moves_it(taken: Address, name: str, told: str) -> None:
    with pytest.raises(CannotStart) as refusal:
        Addresses.choose({name: taken}, free=True)
    assert f"{taken} {told}" in str(refusal.value)


def test_every_port_that_is_taken_is_named(taken: Address) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder, pytest.raises(CannotStart) as refusal:
        Addresses.choose({"api": taken, "otlp_http": Address("127.0.0.1", holder.getsockname()[1])}, free=True)
    assert len(str(refusal.value).splitlines()) == 2


def test_an_address_that_is_not_of_this_machine_is_not_called_taken() -> None:
    with pytest.raises(CannotStart, match=r"192\.0\.2\.1:4319 cannot be used \(.+\), and the collector's API"):
        Addresses.choose({"api": Address("192.0.2.1", 4319)}, free=True)


def test_one_address_for_two_parts_is_refused(port: int) -> None:
    here = Address("127.0.0.1", port)
    with pytest.raises(CannotStart, match=r"asked for twice(?s:.*)asked for twice"):
        Addresses.choose({"api": here, "dashboard": here}, free=True)


def test_free_ports_are_all_different() -> None:
    chosen = Addresses.choose({}, free=True)
    ports = [chosen.otlp_grpc.port, chosen.otlp_http.port, chosen.api.port, chosen.dashboard.port]
    ports += [address.port for address in chosen.services.values()]
    assert len(set(ports)) == 10
    assert 0 not in ports


def test_services_get_ports_in_a_row() -> None:
    start = Addresses.choose({}, free=True).api.port
    row = Addresses.choose({"services": Address("127.0.0.1", start)}, free=True).services
    assert [address.port for address in row.values()] == list(range(start, start + 6))


def test_a_folder_is_cleared_of_the_last_run_and_of_nothing_else(tmp_path: Path) -> None:
    for name in ("ledger.log", "ledger.sqlite-wal", "sagascope.duckdb", "mine.txt"):
        (tmp_path / name).write_text("old")
    with kept_folder(tmp_path) as folder:
        assert {path.name for path in folder.iterdir()} == {"mine.txt", "lock"}


def test_a_folder_is_used_by_one_run_at_a_time(tmp_path: Path) -> None:
    with kept_folder(tmp_path), pytest.raises(CannotStart, match="Another demo runs in"), kept_folder(tmp_path):
        pass
    with kept_folder(tmp_path):
        pass


def test_a_passing_folder_stays_if_the_run_fails() -> None:
    with passing_folder() as gone:
        pass
    assert not gone.exists()
    with pytest.raises(RuntimeError), passing_folder() as kept:
        raise RuntimeError
    assert kept.is_dir()
    kept.rmdir()
