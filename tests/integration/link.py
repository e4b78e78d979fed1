"""A client's connection to a streaming server: HTTP up to the upgrade, then bytes that one thread pumps both ways."""
import select
import socket
import ssl
import struct
import time
import urllib.parse


class Refused(Exception):
    """The server answered the upgrade with another status."""

    def __init__(self, status, headers, body):
        super().__init__(f"HTTP {status}: {body!r}")
        self.status, self.headers, self.body = status, headers, body


class Link:
    """Nothing here blocks for longer than it is told: what cannot be sent waits in `unsent`, and what comes goes to `on_bytes`.
    While `reading` is false, what comes stays in the kernel."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock, self.unsent, self.reading = sock, bytearray(), True
        self.on_bytes = lambda data: None
        self.ended = False   # by the server, in whatever way
        self.failure = None  # the way, if it was an error
        self.closed = False  # by us

    def send(self, data):
        self.unsent += data
        self._flush()

    def pump(self, seconds=0.0):
        """Moves what can be moved within that time; whether anything was."""
        if self.closed or self.ended:
            return False
        pending = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() and self.reading
        readable, writable, _ = select.select([self.sock] if self.reading else [], [self.sock] if self.unsent else [], [],
                                              0 if pending else seconds)
        if writable:
            self._flush()
        return self._receive() if readable or pending else bool(writable)

    def until(self, what, condition, seconds=15.0):
        """Pumps until the condition is true; its value. Fails when the time is over or the server has ended the connection."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert not self.ended, f"the server ended the connection ({self.failure or 'end of file'}) before: {what}"
            left = end - time.monotonic()
            assert left > 0, f"not within {seconds:g} s: {what}"
            self.pump(min(left, 0.5))
        return value

    def quiet(self, seconds):
        """Pumps for that time, whatever comes."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self.ended:
            self.pump(left)

    def close(self):
        if not self.closed:
            self.closed = True
            self.sock.close()

    def abort(self):
        """Ends it as a client's crash does: with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _flush(self):
        try:
            while self.unsent and not self.ended:
                del self.unsent[:self.sock.send(self.unsent[:262144])]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as e:
            # What the server sent before it went away is still to be read.
            self.unsent.clear()
            self.failure = e

    def _receive(self):
        try:
            data = self.sock.recv(262144)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as e:
            self.ended, self.failure = True, e
            return True
        if data:
            self.on_bytes(data)
        else:
            self.ended = True
        return True


def dial(url, tls=None, timeout=15):
    """A connected socket. `tls`: an ssl.SSLContext for https."""
    parts = urllib.parse.urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "https":
        sock = (tls or ssl.create_default_context()).wrap_socket(sock, server_hostname=parts.hostname)
    return sock


def read_head(sock):
    """(status, headers with names in lower case, what came after them) of an HTTP answer."""
    text = b""
    while b"\r\n\r\n" not in text:
        more = sock.recv(65536)
        assert more, f"the connection ended within the HTTP answer {text!r}"
        text += more
    head, _, rest = text.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, rest


def _body(sock, headers, rest):
    wanted = int(headers.get("content-length", 1 << 30))
    try:
        while len(rest) < wanted and (more := sock.recv(65536)):
            rest += more
    except OSError:
        pass
    return rest.decode("utf-8", "replace")


def request(url, method, headers):
    """The text of a request for that URL; `headers` are pairs."""
    parts = urllib.parse.urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin1")


def upgrade(url, method, headers, tls=None):
    """(headers of the answer, Link, bytes that came behind them); Refused when the server does not switch protocols."""
    sock = dial(url, tls)
    try:
        sock.sendall(request(url, method, headers))
        status, answer, rest = read_head(sock)
        if status != 101:
            raise Refused(status, answer, _body(sock, answer, rest))
    except BaseException:
        sock.close()
        raise
    return answer, Link(sock), rest
