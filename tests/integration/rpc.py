"""Calls that crictl would not make, by curl: gRPC is HTTP/2 with a length before each message."""
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
