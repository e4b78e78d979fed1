"""Calls that crictl would not make: gRPC is HTTP/2 with a length before each message. By curl, but for those that are to wait."""
import socket as sockets
import subprocess
import tempfile
import urllib.parse

CODES = ("OK Cancelled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted "
         "FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated").split()


def _varint(n):
    out = b""
    n &= (1 << 64) - 1
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(*fields):
    """Protobuf: (number, value) pairs, where a value is an int, a str, or bytes (a message made here)."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def fields(data):
    """(number, value) pairs of a message: ints and bytes."""
    def varint():
        nonlocal data
        n, shift = 0, 0
        while True:
            byte, data = data[0], data[1:]
            n, shift = n | (byte & 127) << shift, shift + 7
            if byte < 128:
                return n
    while data:
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            assert key & 7 == 2, f"a field of wire type {key & 7}"
            size = varint()
            yield key >> 3, data[:size]
            data = data[size:]


def _post(socket, method, path, answer):
    return subprocess.run(
        ["curl", "-sS", "--max-time", "30", "--http2-prior-knowledge", "--unix-socket", socket, "-H", "content-type: application/grpc",
         "-H", "te: trailers", "--data-binary", f"@{path}", "-D", "-", "-o", answer, f"http://localhost/{method}"],
        capture_output=True, text=True, check=False)


def answer(socket, method, request=b"", package="runtime.v1"):
    """(code, words, the answer's first message as a dict of its fields) of the package's Service/Method with the encoded request."""
    with tempfile.NamedTemporaryFile() as body, tempfile.NamedTemporaryFile() as out:
        body.write(b"\0" + len(request).to_bytes(4, "big") + request)
        body.flush()
        # A server may refuse a call, and close its stream, before it has read all of it; curl may then drop the answer.
        for _ in range(100):
            done = _post(socket, f"{package}.{method}", body.name, out.name)
            headers = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
            if "grpc-status" in headers:
                code, data = CODES[int(headers["grpc-status"])], out.read()
                found = dict(fields(data[5:5 + int.from_bytes(data[1:5], "big")])) if code == "OK" else {}
                return code, urllib.parse.unquote(headers.get("grpc-message", "")), found
            assert done.returncode == 92, f"no gRPC answer: {done.stdout}{done.stderr}"
    raise AssertionError(f"no gRPC answer in a hundred calls: {done.stderr}")


def call(socket, method, request=b"", package="runtime.v1"):
    """(code, words) of the same."""
    return answer(socket, method, request, package)[:2]


class Waiting:
    """A call on a connection of its own that is not waited for: without a process or thread, so that there can be hundreds."""

    def __init__(self, socket, method, request, package="runtime.v1"):
        def literal(text):
            return bytes([len(text)]) + text.encode()

        def frame(kind, flags, stream, data=b""):
            return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data
        # HPACK without a table: POST, http, :path, :authority, content-type, te.
        headers = (b"\x83\x86\x04" + literal(f"/{package}.{method}") + b"\x01" + literal("localhost") + b"\x0f\x10" + literal("application/grpc")
                   + b"\x00" + literal("te") + literal("trailers"))
        self._connection = sockets.socket(sockets.AF_UNIX)
        self._connection.connect(socket)
        self._connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 4, 1, headers)
                                 + frame(0, 1, 1, b"\0" + len(request).to_bytes(4, "big") + request))
        self._got = b""

    def wait(self, seconds):
        """Returns when the call was answered, in whichever way."""
        self._connection.settimeout(seconds)
        while not self._answered():
            data = self._connection.recv(1 << 16)
            assert data, "the connection was closed before the answer"
            self._got += data

    def _answered(self):
        """Whether there is a frame of the stream that ends it."""
        at, ended = 0, False
        while len(self._got) >= at + 9 and not ended:
            size, kind, flags = int.from_bytes(self._got[at:at + 3], "big"), self._got[at + 3], self._got[at + 4]
            ended = kind == 3 or (kind in (0, 1) and flags & 1 == 1)
            at += 9 + size
        return ended

    def close(self):
        self._connection.close()
