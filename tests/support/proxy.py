"""A wire between two processes that can be cut, mended, and told to swallow what it should carry."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

CHUNK = 65536


class Proxy:
    """Carries TCP connections to a URL's address, from a port of its own."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname
        assert parts.port
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._swallowed: set[bytes] = set()
        self._unanswered: set[bytes] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def swallow(self, text: str) -> None:
        """From now on a request that holds this text goes nowhere, and is never answered."""
        self._swallowed.add(text.encode())

    def lose_answer(self, text: str) -> None:
        """From now on a request that holds this text arrives, but its connection ends instead of the answer."""
        self._unanswered.add(text.encode())

    def cut(self) -> None:
        """End every connection, and each new one at once."""
        with self._lock:
            self._is_cut = True
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Carry again."""
        self._is_cut = False
        self._unanswered.clear()

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._target, timeout=10) as far:
            far.settimeout(None)
            with self._lock:
                if self._is_cut:
                    return
                self._open |= {near, far}
            try:
                self._pump(near, far)
            finally:
                with self._lock:
                    self._open -= {near, far}

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            asked = b""
            while True:
                for key, _ in ready.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(CHUNK)
                    is_lost = key.fileobj is far and any(text in asked for text in self._unanswered)
                    if not data or is_lost:
                        return
                    asked = (asked + data)[-CHUNK:] if key.fileobj is near else b""
                    if not any(text in asked for text in self._swallowed):
                        key.data.sendall(data)


@contextlib.contextmanager
def proxy_to(target: str) -> Iterator[Proxy]:
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
