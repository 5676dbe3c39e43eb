"""A client of gRPC that can stop anywhere: HTTP/2 frames by hand, with flow control."""

import socket
import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_HEADERS, ACK = 4, 1
DEFAULT_WINDOW: Final = 65_535
PIECE: Final = 16_384


class Http2:
    """One connection."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.window = self.initial_window = DEFAULT_WINDOW
        self.windows: dict[int, int] = {}
        self.ended: set[int] = set()
        """Streams that the server has ended."""
        self.is_open = True
        self._received = b""
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))

    def begin(self, path: str, message_bytes: int) -> int:
        """Begin a call and announce a message; the stream."""
        stream = 1 + 2 * len(self.windows)
        fields = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": path.encode(),
            b":authority": b"x",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
        }
        block = b"".join(b"\x00" + literal(name) + literal(value) for name, value in fields.items())
        self.windows[stream] = self.initial_window
        self._send(frame(HEADERS, END_HEADERS, stream, block))
        self.send(stream, struct.pack(">BI", 0, message_bytes))
        return stream

    def send(self, stream: int, data: bytes) -> int:
        """Send as much as the windows allow now; the number of bytes."""
        sent = 0
        while stream not in self.ended and self.is_open:
            piece = data[sent : sent + min(PIECE, self.window, self.windows[stream])]
            if not piece:
                break
            self._send(frame(DATA, 0, stream, piece))
            self.window -= len(piece)
            self.windows[stream] -= len(piece)
            sent += len(piece)
        return sent

    def receive(self, seconds: float = 0.0) -> None:
        """Take what the server has sent."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            data = self.socket.recv(1_000_000)
        except TimeoutError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.is_open = False
        self._received += data
        while len(self._received) >= 9 and len(self._received) >= 9 + int.from_bytes(self._received[:3]):
            length, kind, flags = int.from_bytes(self._received[:3]), self._received[3], self._received[4]
            stream, payload = int.from_bytes(self._received[5:9]), self._received[9 : 9 + length]
            self._received = self._received[9 + length :]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream:
            self.windows[stream] += int.from_bytes(payload)
        elif kind == WINDOW_UPDATE:
            self.window += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self._send(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM or (kind in {DATA, HEADERS} and flags & 1):
            self.ended.add(stream)
        elif kind == GOAWAY:
            self.is_open = False

    def _settings(self, payload: bytes) -> None:
        for each in range(0, len(payload), 6):
            name, value = struct.unpack(">HI", payload[each : each + 6])
            if name == 4:
                change = value - self.initial_window
                self.initial_window = value
                self.windows = {stream: window + change for stream, window in self.windows.items()}
        self._send(frame(SETTINGS, ACK, 0, b""))

    def _send(self, data: bytes) -> None:
        self.socket.settimeout(30)
        try:
            self.socket.sendall(data)
        except OSError:
            self.is_open = False

    def close(self) -> None:
        self.socket.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def literal(text: bytes) -> bytes:
    assert len(text) < 127
    return bytes((len(text),)) + text
