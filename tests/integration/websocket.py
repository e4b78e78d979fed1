"""WebSocket (RFC 6455), the client's side, and the channels that Kubernetes puts into it."""
import base64
import hashlib
import os
import struct

from link import upgrade

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL = 1000


def _mask(data, key):
    if key == b"\0\0\0\0" or not data:
        return bytes(data)
    long = (key * (len(data) // 4 + 1))[:len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(long, "big")).to_bytes(len(data), "big")


def frame(opcode, data, fin=True, key=None, masked=True, reserved=0):
    """One frame; `key` and what follows are there to break the rules."""
    first, size, bit = (0x80 if fin else 0) | reserved << 4 | opcode, len(data), 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + bytes(data)
    key = key if key is not None else os.urandom(4)
    return head + key + _mask(data, key)


class WebSocket:
    """Answers pings and the server's close by itself. `on_message` gets (opcode, bytes) of each whole message."""

    def __init__(self, url, protocols, tls=None, more=()):
        key = base64.b64encode(os.urandom(16)).decode()
        headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key)]
        if protocols:
            headers.append(("Sec-WebSocket-Protocol", ", ".join(protocols)))
        answer, self.link, rest = upgrade(url, "GET", [*headers, *more], tls)
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        assert answer.get("sec-websocket-accept") == accept, f"an answer to another handshake: {answer}"
        self.protocol = answer.get("sec-websocket-protocol", "")
        self.on_message, self.closed, self.pongs = lambda opcode, data: None, None, []
        self._in, self._parts, self._opcode = bytearray(rest), bytearray(), None
        self.link.on_bytes = self._receive

    def begin(self, on_message):
        """What came with the handshake is delivered now."""
        self.on_message = on_message
        self._receive(b"")

    def send(self, data, opcode=BINARY, **more):
        self.link.send(frame(opcode, data, **more))

    def close(self, code=NORMAL):
        self.send(struct.pack("!H", code), CLOSE)

    def _receive(self, data):
        self._in += data
        while len(self._in) >= 2:
            assert not self._in[1] & 0x80, "a masked frame of the server's"
            size, at = self._in[1] & 0x7f, 2
            if size > 125:
                width = 2 if size == 126 else 8
                if len(self._in) < at + width:
                    return
                size, at = int.from_bytes(self._in[at:at + width], "big"), at + width
            if len(self._in) < at + size:
                return
            first, body = self._in[0], bytes(self._in[at:at + size])
            del self._in[:at + size]
            self._frame(first & 0x0f, body, first & 0x80)

    def _frame(self, opcode, body, fin):
        assert self.closed is None, f"a frame of kind {opcode} behind the close"
        if opcode == PING:
            self.send(body, PONG)
        elif opcode == PONG:
            self.pongs.append(body)
        elif opcode == CLOSE:
            self.closed = (int.from_bytes(body[:2], "big") if body else 1005, body[2:].decode())
            self.link.send(frame(CLOSE, body[:2]))
        else:
            assert (opcode == CONTINUATION) == (self._opcode is not None), f"a frame of kind {opcode} within a message"
            self._opcode = self._opcode if opcode == CONTINUATION else opcode
            self._parts += body
            if fin:
                opcode, message, self._opcode, self._parts = self._opcode, bytes(self._parts), None, bytearray()
                self.on_message(opcode, message)


class Channel:
    """One of a connection's channels. Only the connection ends one of the server's."""

    def __init__(self, channels, number):
        self.channels, self.number = channels, number
        self.received, self.total, self.keep = bytearray(), 0, True
        self.reset = None

    def send(self, data, frame=32768):
        for i in range(0, len(data), frame):
            self.channels.send(self.number, data[i:i + frame])

    def end(self):
        self.channels.end(self.number)

    @property
    def ended(self):
        return self.channels.over

    over = ended

    def take(self):
        data = bytes(self.received)
        self.received.clear()
        return data


class Channels:
    """A byte in front of each message says whose it is; in base64 protocols it is a digit, and messages are text."""

    def __init__(self, socket):
        self.socket, self.base64 = socket, "base64" in socket.protocol
        self.by_number, self.unknown = {}, []
        socket.begin(self._message)

    @property
    def over(self):
        return self.socket.closed is not None or self.socket.link.ended

    def channel(self, number):
        return self.by_number.setdefault(number, Channel(self, number))

    def send(self, number, data):
        if self.base64:
            self.socket.send(b"%d" % number + base64.b64encode(data), TEXT)
        else:
            self.socket.send(bytes([number]) + data)

    def end(self, number):
        assert self.socket.protocol == "v5.channel.k8s.io", f"no signal for an end in '{self.socket.protocol}'"
        self.socket.send(bytes([255, number]))

    def _message(self, opcode, message):
        assert opcode == (TEXT if self.base64 else BINARY), f"a message of kind {opcode} in '{self.socket.protocol}'"
        number = message[0] - (ord("0") if self.base64 else 0)
        data = base64.b64decode(message[1:], validate=True) if self.base64 else message[1:]
        channel = self.channel(number)
        channel.total += len(data)
        if channel.keep:
            channel.received += data


class Tunnel:
    """A WebSocket as a carrier of bytes: each message is a piece of the stream."""

    def __init__(self, socket):
        self.socket, self.on_bytes = socket, lambda data: None

    def begin(self):
        self.socket.begin(self._message)

    def send(self, data):
        self.socket.send(data)

    def _message(self, opcode, message):
        assert opcode == BINARY, f"a message of kind {opcode} in a tunnel"
        self.on_bytes(message)
