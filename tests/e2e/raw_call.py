"""A gRPC call put together by hand, for messages that no client would send.

A client library compresses what it is given, so a message that inflates to
1 GiB costs it that much; this sends 1 MB of gzip that was made once. Only what
a call needs of HTTP/2 (RFC 9113) is here: one stream, plain header literals.
"""

import dataclasses
import re
import select
import socket
import struct
import time

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 0x1, 0x4
_TRUE_BINARY_METADATA = 0xFE03  # gRPC's own: binary metadata need not be base64
_FRAME_BYTES = 16_384


@dataclasses.dataclass
class Answer:
    code: int  # as in grpc.StatusCode
    trailers: bytes  # as they came; literals are in plain sight


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    assert len(name) < 127 and len(value) < 127
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class _Connection:
    def __init__(self, address: str, timeout: float):
        host, port = address.rsplit(":", 1)
        self._deadline = time.monotonic() + timeout
        self._socket = socket.create_connection((host, int(port)), timeout=timeout)
        self._read = b""
        self._first_window = self._window = self._stream_window = 65_535
        self._headers = b""
        self.ended = False
        # No table of headers: then each is a literal, which is all we can read.
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _TRUE_BINARY_METADATA, 1)
        self._socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def request(self, method: str, authority: str, headers: dict[str, str]) -> None:
        block = b"".join(
            _literal(name.encode(), value.encode())
            for name, value in {
                ":method": "POST",
                ":scheme": "http",
                ":path": method,
                ":authority": authority,
                "te": "trailers",
                "content-type": "application/grpc",
                **headers,
            }.items()
        )
        self._socket.sendall(_frame(_HEADERS, _END_HEADERS, 1, block))

    def send(self, payload: bytes) -> None:
        """As fast as the server's windows allow, until it has answered."""
        sent = 0
        while sent < len(payload) and not self.ended:
            size = min(len(payload) - sent, self._window, self._stream_window, _FRAME_BYTES)
            if size > 0:
                flags = _END_STREAM if sent + size == len(payload) else 0
                self._socket.sendall(_frame(_DATA, flags, 1, payload[sent : sent + size]))
                sent += size
                self._window -= size
                self._stream_window -= size
            self.receive(wait=size <= 0)

    def receive(self, wait: bool) -> None:
        """Reads what there is; waits for something if told to."""
        left = self._deadline - time.monotonic()
        assert left > 0, "the server does not answer"
        if not select.select([self._socket], [], [], left if wait else 0)[0]:
            return
        more = self._socket.recv(1 << 16)
        assert more, f"the server closed the connection; headers so far: {self._headers!r}"
        self._read += more
        while len(self._read) >= 9:
            length = int.from_bytes(self._read[:3], "big")
            if len(self._read) < 9 + length:
                return
            kind, flags, stream = struct.unpack(">BBI", self._read[3:9])
            payload, self._read = self._read[9 : 9 + length], self._read[9 + length :]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == _INITIAL_WINDOW_SIZE:
                    self._stream_window += value - self._first_window
                    self._first_window = value
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            (more,) = struct.unpack(">I", payload)
            if stream == 0:
                self._window += more
            else:
                self._stream_window += more
        elif kind == _HEADERS:
            self._headers += payload
            self.ended = self.ended or bool(flags & _END_STREAM)
        elif kind == _RST_STREAM:
            self.ended = True
        else:
            assert kind != _GOAWAY, payload

    def answer(self) -> Answer:
        while not self.ended:
            self.receive(wait=True)
        found = re.search(rb"grpc-status[\x01\x02](\d{1,2})", self._headers)
        assert found, self._headers
        return Answer(int(found.group(1)), self._headers)


def call(address: str, method: str, message: bytes, *, timeout: float = 60) -> Answer:
    """Sends one message, flagged as compressed, half-closes, and waits for the end.

    `method` is "/weir.v1.QueryService/QueryWindow".
    """
    with _Connection(address, timeout) as connection:
        connection.request(method, address, {"grpc-encoding": "gzip"})
        connection.send(b"\1" + struct.pack(">I", len(message)) + message)
        return connection.answer()
