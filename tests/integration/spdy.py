"""SPDY/3.1 as Kubernetes' clients use it: streams with headers, no priorities, no push, and no flow control."""
import struct
import zlib

# What both sides' header compressors know beforehand (SPDY/3 draft, 2.6.10.1): words with their lengths, then plain text.
_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|"
    "authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|content-location|"
    "content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|"
    "if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|proxy-authenticate|proxy-authorization|range|"
    "referer|retry-after|server|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|www-authenticate|method|get|"
    "status|200 OK|version|HTTP/1.1|url|public|set-cookie|keep-alive|origin").split("|")
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public"
    "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.")
DICTIONARY = b"".join(struct.pack("!I", len(w)) + w.encode() for w in _WORDS) + _TEXT.encode()
assert zlib.adler32(DICTIONARY) == 0xe3c6a7c2

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
CANCEL = 5


def control(kind, body, flags=0, version=3):
    return struct.pack("!HHI", 0x8000 | version, kind, flags << 24 | len(body)) + body


def data_frame(number, data, flags=0):
    return struct.pack("!II", number, flags << 24 | len(data)) + data


class Compressor:
    """Of one direction's header blocks; each builds on those before it."""

    def __init__(self):
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def block(self, headers):
        plain = struct.pack("!I", len(headers))
        for name, value in headers:
            for text in (name.lower().encode(), value.encode()):
                plain += struct.pack("!I", len(text)) + text
        return self.raw(plain)

    def raw(self, plain):
        return self._zlib.compress(plain) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


def _parse(plain):
    def text():
        nonlocal plain
        size = int.from_bytes(plain[:4], "big")
        found, plain = plain[4:4 + size], plain[4 + size:]
        assert len(found) == size, "a header block that ends within a string"
        return found.decode()
    count, plain = int.from_bytes(plain[:4], "big"), plain[4:]
    headers = {text(): text() for _ in range(count)}
    assert not plain, "bytes behind a header block"
    return headers


class Stream:
    """One that we opened. `received` is what came and was not taken out yet."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.received, self.total = bytearray(), 0
        self.reply = None    # the headers of the server's answer
        self.ended = False   # the server sends no more
        self.reset = None    # the status with which the server gave it up
        self.keep = True     # false: what comes is counted only

    def send(self, data, frame=32768):
        """As data frames of the size that Kubernetes' clients have."""
        for i in range(0, len(data), frame):
            self.connection.send(data_frame(self.number, data[i:i + frame]))

    def end(self):
        self.connection.send(data_frame(self.number, b"", FIN))

    def give_up(self, status=CANCEL):
        self.connection.send(control(RST_STREAM, struct.pack("!II", self.number, status)))

    @property
    def over(self):
        return self.ended or self.reset is not None

    def take(self):
        data = bytes(self.received)
        self.received.clear()
        return data


class Connection:
    """The client's side over a carrier: something with send() and on_bytes."""

    def __init__(self, carrier):
        self.carrier, carrier.on_bytes = carrier, self.receive
        self.compressor, self._inflater = Compressor(), zlib.decompressobj(zdict=DICTIONARY)
        self.streams, self.next, self._in = {}, 1, bytearray()
        self.pongs, self.goaway, self.window_updates = [], None, 0

    def send(self, frame):
        self.carrier.send(frame)

    def open(self, headers, fin=False):
        number, self.next = self.next, self.next + 2
        stream = self.streams[number] = Stream(self, number)
        block = self.compressor.block(list(headers.items()))
        self.send(control(SYN_STREAM, struct.pack("!IIH", number, 0, 0) + block, FIN if fin else 0))
        return stream

    def ping(self, number):
        self.send(control(PING, struct.pack("!I", number)))

    def receive(self, data):
        self._in += data
        while len(self._in) >= 8:
            size = int.from_bytes(self._in[5:8], "big")
            if len(self._in) < 8 + size:
                return
            head, body = bytes(self._in[:8]), bytes(self._in[8:8 + size])
            del self._in[:8 + size]
            if head[0] & 0x80:
                self._control(head, body)
            else:
                self._data(int.from_bytes(head[:4], "big"), body, head[4] & FIN)

    def _data(self, number, body, fin):
        stream = self.streams[number]
        assert not stream.ended, f"stream {number}: data after its end"
        assert stream.reply is not None, f"stream {number}: data before the reply"
        stream.total += len(body)
        if stream.keep:
            stream.received += body
        stream.ended = bool(fin)

    def _control(self, head, body):
        version, kind = struct.unpack("!HH", head[:4])
        assert version == 0x8003, f"a control frame of version {version & 0x7fff}"
        if kind == SYN_REPLY:
            stream = self.streams[int.from_bytes(body[:4], "big")]
            stream.reply = _parse(self._inflater.decompress(body[4:]))
            stream.ended = bool(head[4] & FIN)
        elif kind == HEADERS:
            self.streams[int.from_bytes(body[:4], "big")].reply.update(_parse(self._inflater.decompress(body[4:])))
        elif kind == RST_STREAM:
            number, status = struct.unpack("!II", body)
            if number in self.streams:
                self.streams[number].reset = status
        elif kind == PING:
            number = int.from_bytes(body, "big")
            if number % 2:
                self.pongs.append(number)
            else:
                self.send(control(PING, body))
        elif kind == GOAWAY:
            self.goaway = struct.unpack("!II", body)
        elif kind == WINDOW_UPDATE:
            self.window_updates += 1
        else:
            assert kind == SETTINGS, f"a control frame of kind {kind}"
