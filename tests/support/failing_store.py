"""A TCP proxy that can hang, close connections or, in front of an HTTP server, answer 500."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Literal

Mode = Literal["pass", "hang", "cut", "500"]

ANSWER = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Forwards connections to a port of this machine, until told otherwise."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._mode: Mode = "pass"
        self._open: set[asyncio.StreamWriter] = set()
        self._trigger: tuple[re.Pattern[bytes], Mode, bool] | None = None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def start(self) -> None:
        """Listens on a free port."""
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        """Closes everything."""
        self.set("pass")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def set(self, mode: Mode) -> None:
        """Changes what it does, also with the connections that are open."""
        self._mode = mode
        if mode != "hang":
            self._loop.call_soon_threadsafe(self._close_all)

    def set_after(self, pattern: bytes, mode: Mode, *, is_passed: bool) -> None:
        """Changes what it does when what a client sends from now on has a pattern; its end is passed on or not."""
        self._trigger = re.compile(pattern, re.DOTALL), mode, is_passed

    @property
    def is_waiting(self) -> bool:
        """Whether no client has sent the pattern of `set_after` yet."""
        return self._trigger is not None

    def _is_passed(self, sent: bytes) -> bool:
        if self._trigger is None or not self._trigger[0].search(sent):
            return True
        (_, mode, is_passed), self._trigger = self._trigger, None
        self.set(mode)
        return is_passed

    def _close_all(self) -> None:
        for each in self._open:
            each.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if self._mode == "500":
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ANSWER)
                await writer.drain()
            elif self._mode != "cut":
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
                self._open.add(back)
                await asyncio.gather(self._pipe(reader, back, self._is_passed), self._pipe(there, writer))
                self._open.discard(back)
        writer.close()
        self._open.discard(writer)

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_passed: Callable[[bytes], bool] = lambda _: True,
    ) -> None:
        sent = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                while self._mode == "hang":
                    await asyncio.sleep(0.05)
                sent = sent + data if self._trigger else b""
                if is_passed(sent):
                    writer.write(data)
                    await writer.drain()
        writer.close()


@contextlib.contextmanager
def running_proxy(target: int) -> Iterator[Proxy]:
    """A proxy that listens."""
    proxy = Proxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
