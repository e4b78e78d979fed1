"""gRPC calls over a Unix socket: one connection and no process for each, a bound on each, and an answer for what a killed
server leaves. HTTP/2 as RFC 9113 and RFC 7541 have it, as far as a client needs them that allows no dynamic table."""
import dataclasses
import socket
import struct
import time
import urllib.parse

from rpc import CODES, fields

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
WINDOW = 1 << 30
# No dynamic table; an initial window that no answer fills.
OUR_SETTINGS = struct.pack(">HIHI", 1, 0, 4, WINDOW)
# Codes of our own: no answer came within the time, or the connection ended without one.
LATE, DEAD = "no answer", "connection ended"


@dataclasses.dataclass
class Answer:
    code: str
    words: str = ""
    message: bytes = b""

    @property
    def ok(self):
        return self.code == "OK"

    def all(self, number):
        """The values of a repeated field."""
        return [value for n, value in fields(self.message) if n == number]

    def text(self, number):
        values = self.all(number)
        return values[-1].decode() if values else ""

    def __str__(self):
        return f"{self.code}: {self.words}" if self.words else self.code


def _frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name, value):
    """A header without indexing, with a name of its own."""
    return b"\0" + b"".join(_prefixed(0, 7, len(s)) + s for s in (name.encode(), value.encode()))


def _prefixed(top, bits, number):
    limit = (1 << bits) - 1
    if number < limit:
        return bytes([top | number])
    out, number = bytes([top | limit]), number - limit
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


class _Headers:
    """Decodes a header block: of the static table only the status is known by index, which is all that gRPC sends so."""

    def __init__(self, block):
        self.block, self.at, self.found = block, 0, {}
        while self.at < len(block):
            first = block[self.at]
            if first & 0x80:
                self._number(7)
            elif first & 0xE0 == 0x20:
                self._number(5)
            else:
                index = self._number(6 if first & 0x40 else 4)
                name = self._string() if index == 0 else f"static {index}"
                self.found[name] = self._string()

    def _number(self, bits):
        limit = (1 << bits) - 1
        value, self.at = self.block[self.at] & limit, self.at + 1
        if value < limit:
            return value
        shift = 0
        while True:
            byte, self.at = self.block[self.at], self.at + 1
            value, shift = value + ((byte & 127) << shift), shift + 7
            if byte < 128:
                return value

    def _string(self):
        huffman = self.block[self.at] & 0x80
        size = self._number(7)
        data, self.at = self.block[self.at:self.at + size], self.at + size
        return "" if huffman else data.decode("utf-8", "replace")


class _Connection:
    def __init__(self, path, seconds):
        self.end, self.buffer = time.monotonic() + seconds, b""
        self.socket = socket.socket(socket.AF_UNIX)
        self._bound()
        self.socket.connect(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _bound(self):
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)

    def send(self, data):
        self._bound()
        self.socket.sendall(data)

    def _take(self, size):
        while len(self.buffer) < size:
            self._bound()
            more = self.socket.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            self.buffer += more
        out, self.buffer = self.buffer[:size], self.buffer[size:]
        return out

    def frame(self):
        """(kind, flags, payload)"""
        head = self._take(9)
        return head[3], head[4], self._take(int.from_bytes(head[:3], "big"))


def _request(method, package, request, seconds):
    headers = b"".join(_literal(n, v) for n, v in (
        (":method", "POST"), (":scheme", "http"), (":path", f"/{package}.{method}"), (":authority", "localhost"),
        ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", f"{int(seconds * 1000)}m")))
    body = b"\0" + struct.pack(">I", len(request)) + request
    assert len(body) <= 16384, "a request of more than one frame"
    return (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, OUR_SETTINGS) +
            _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW)) +
            _frame(HEADERS, END_HEADERS, 1, headers) + _frame(DATA, END_STREAM, 1, body))


def _answer(connection):
    data, headers, block = b"", {}, b""
    while True:
        kind, flags, payload = connection.frame()
        if kind == SETTINGS and not flags & ACK:
            connection.send(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            connection.send(_frame(PING, ACK, 0, payload))
        elif kind == DATA:
            data += payload
        elif kind in (HEADERS, CONTINUATION):
            block += payload
            if flags & END_HEADERS:
                headers.update(_Headers(block).found)
                block = b""
            if "grpc-status" in headers:
                return Answer(CODES[int(headers["grpc-status"])], urllib.parse.unquote(headers.get("grpc-message", "")),
                              data[5:5 + int.from_bytes(data[1:5], "big")])
        elif kind in (RST_STREAM, GOAWAY):
            raise ConnectionError("reset")


def call(path, method, request=b"", seconds=30.0, package="runtime.v1"):
    """The answer of the package's Service/Method to an encoded request; never an exception, never later than after `seconds`."""
    try:
        # The server is told of the time that the caller has, and gets a moment more to say that it is over.
        with _Connection(path, seconds + 2) as connection:
            connection.send(_request(method, package, request, seconds))
            return _answer(connection)
    except TimeoutError:
        return Answer(LATE, f"{method} was not answered within {seconds:g} s")
    except OSError as error:
        return Answer(DEAD, str(error))
