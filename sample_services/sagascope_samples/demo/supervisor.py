"""Starts the parts as processes of their own, notices when one dies, and leaves none behind."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

import httpx

GRACE: Final = 5.0
"""Seconds that a part is given to stop by itself."""

PATIENCE: Final = 60.0
"""Seconds that a part is given to be ready."""

LOOK: Final = 0.1
"""Seconds between two looks at the processes."""

TAIL: Final = 20
"""Lines of a dead part's log that are shown."""


class PartDied(Exception):
    """A part ended that should not have. The text names it and has the end of its log."""


class PartNotReady(Exception):
    """A part runs but does not answer in time."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the demo."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: str
    """The URL that answers 200 once it is."""


class Supervisor:
    """Owns the processes: a context manager that leaves none behind, however it is left.

    Should this process itself be killed, the system kills the parts with it (on Linux).
    """

    def __init__(self, folder: Path, *, grace: float = GRACE, patience: float = PATIENCE) -> None:
        self._folder = folder
        self._grace = grace
        self._patience = patience
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def start(self, part: Part) -> None:
        """Start a part; what it prints goes to ``<name>.log``, behind what is there."""
        with self.log_of(part.name).open("ab") as log:
            self._running[part.name] = subprocess.Popen(
                part.command,
                env={**os.environ, **part.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )

    async def ready(self, part: Part) -> None:
        """Wait until a part answers.

        Raises:
            PartDied: it, or another part, ended instead.
            PartNotReady: it did not answer in time.
        """
        deadline = asyncio.get_running_loop().time() + self._patience
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            while asyncio.get_running_loop().time() < deadline:
                self.check()
                if await _answers(http, part.ready):
                    return
                await asyncio.sleep(LOOK)
        raise PartNotReady(f"{part.name} is not ready after {self._patience:g} s.\n{self._tail(part.name)}")

    async def kill(self, name: str) -> None:
        """Kill a part with SIGKILL, and wait until it is gone; it is not missed."""
        process = self._running.pop(name)
        process.kill()
        await asyncio.to_thread(process.wait)

    def check(self) -> None:
        """Look at every part once.

        Raises:
            PartDied: one has ended.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise PartDied(f"{name} died unexpectedly ({_how(process.returncode)}).\n{self._tail(name)}")

    async def watch(self) -> NoReturn:
        """Look at the parts until one dies, then raise `PartDied`."""
        while True:
            self.check()
            await asyncio.sleep(LOOK)

    async def stop(self) -> None:
        """Stop all parts: ask, wait, then kill. Returns when none is left.

        The part that was started first, the collector, is asked when the others are gone, so that it hears them out.
        """
        names = list(self._running)
        try:
            for wave in (names[1:], names[:1]):
                self._signal(wave, signal.SIGTERM)
                await self._gone(wave)
        finally:
            self._signal(names, signal.SIGKILL)
            for process in self._running.values():
                process.wait()
            self._running.clear()

    def log_of(self, name: str) -> Path:
        """The file with what a part printed."""
        return self._folder / f"{name}.log"

    async def _gone(self, names: Sequence[str]) -> None:
        """Return when these have ended, or have been given enough time to."""
        deadline = asyncio.get_running_loop().time() + self._grace
        while any(self._running[name].poll() is None for name in names):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(LOOK / 4)

    def _signal(self, names: Sequence[str], number: signal.Signals) -> None:
        """Send a signal to parts and whatever they started: each leads a group of its own."""
        for name in names:
            process = self._running[name]
            if process.poll() is None:
                os.killpg(process.pid, number)

    def _tail(self, name: str) -> str:
        log = self.log_of(name)
        lines = log.read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines or ["(nothing)"])])


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx.TransportError:
        return False


def _how(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _die_with_parent() -> Callable[[], None] | None:
    """What a new process calls so that the system kills it when this one is gone; None where there is no such call."""
    if sys.platform != "linux":
        return None
    set_death_signal = ctypes.CDLL(None, use_errno=True).prctl
    here = os.getpid()

    def call() -> None:
        set_death_signal(1, signal.SIGKILL)
        if os.getppid() != here:
            os.kill(os.getpid(), signal.SIGKILL)

    return call
