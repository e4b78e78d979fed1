"""A client of the streaming protocols of Kubernetes: exec, attach and port-forward over SPDY and over WebSocket, in one thread.

Each session has `link` (link.Link): link.until(...) moves bytes until something has come. What a channel has brought is in its
`received`; see spdy.Stream and websocket.Channel, which look alike."""
import collections
import json

import spdy
import websocket
from link import upgrade

V1, V2, V3, V4, V5 = "channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io"
BASE64, V4_BASE64 = "base64.channel.k8s.io", "v4.base64.channel.k8s.io"
PORT_FORWARD, TUNNEL = "portforward.k8s.io", "SPDY/3.1+portforward.k8s.io"

Outcome = collections.namedtuple("Outcome", "code out err message")


def spdy_upgrade(url, protocols, tls=None, more=()):
    """(protocol that the server chose, spdy.Connection, Link)"""
    headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), *(("X-Stream-Protocol-Version", p) for p in protocols)]
    answer, link, rest = upgrade(url, "POST", [*headers, *more], tls)
    assert answer.get("upgrade", "").upper() == "SPDY/3.1", f"an upgrade to something else: {answer}"
    connection = spdy.Connection(link)
    connection.receive(rest)
    return answer.get("x-stream-protocol-version", ""), connection, link


class Command:
    """An exec, or an attachment. Opens the channels that the request has asked for; `stdin` and so on are None otherwise."""
    NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}

    def __init__(self, url, protocols=(V4,), over="spdy", stdin=False, stdout=True, stderr=True, tty=False, **more):
        # In the order in which Kubernetes' client opens them.
        wanted = ["error", *(["stdin"] if stdin else []), *(["stdout"] if stdout else []), *(["stderr"] if stderr and not tty else [])]
        self.stdin = self.stdout = self.stderr = self.resize = None
        if over == "spdy":
            self.protocol, self.connection, self.link = spdy_upgrade(url, protocols, **more)
            resize = ["resize"] if tty and self.protocol in (V3, V4) else []
            opened = {kind: self.connection.open({"streamtype": kind}) for kind in [*wanted, *resize]}
        else:
            self.socket = websocket.WebSocket(url, protocols, **more)
            self.protocol, self.link = self.socket.protocol, self.socket.link
            self.channels = websocket.Channels(self.socket)
            opened = {kind: self.channels.channel(self.NUMBERS[kind]) for kind in [*wanted, *(["resize"] if tty else [])]}
        self.opened = opened
        for kind, channel in opened.items():
            setattr(self, kind, channel)
        self.out = self.err = b""

    def size(self, width, height):
        # One document a line, as encoding/json writes them.
        self.resize.send(json.dumps({"Width": width, "Height": height}).encode() + b"\n")

    def expect(self, text, seconds=15.0, channel=None):
        """Waits for that on standard output, or on the channel."""
        channel = channel or self.stdout
        text = text if isinstance(text, bytes) else text.encode()
        self.link.until(f"{text!r}; there is {bytes(channel.received[-300:])!r}", lambda: text in channel.received, seconds)

    def ended(self):
        """Whether the server has told all that it will."""
        return all(self.opened[k].over for k in ("stdout", "stderr", "error") if k in self.opened)

    def wait(self, seconds=15.0):
        """The outcome, once the server has ended all of it. The connection is closed then."""
        self.link.until("the end of the session", self.ended, seconds)
        outcome = self.outcome()
        self.link.close()
        return outcome

    def outcome(self):
        """`code` is None when there is no exit code: for a failure `message` tells which."""
        told = self.error.received.decode()
        out, err = (bytes(c.received) if c else b"" for c in (self.stdout, self.stderr))
        if self.protocol not in (V4, V5, V4_BASE64):
            return Outcome(None if told else 0, out, err, told)
        if not told:
            return Outcome(None, out, err, "no status was sent")
        status = json.loads(told)
        message = status.get("message", "")
        if status.get("status") == "Success":
            return Outcome(0, out, err, message)
        causes = (status.get("details") or {}).get("causes") or []
        codes = [int(c["message"]) for c in causes if c.get("reason") == "ExitCode"]
        assert status["status"] == "Failure" and (codes != []) == (status.get("reason") == "NonZeroExitCode"), told
        return Outcome(codes[0] if codes else None, out, err, message)


class Forwarded:
    """One connection of a port-forward: `data` both ways, `error` with a text if it failed."""

    def __init__(self, link, data, error):
        self.link, self.data, self.error = link, data, error

    def expect(self, text, seconds=15.0):
        self.link.until(f"{text!r}; there is {bytes(self.data.received[-300:])!r}; {bytes(self.error.received)!r}",
                        lambda: text in self.data.received, seconds)

    def wait(self, seconds=15.0):
        """(bytes not taken yet, error text) when the server has ended both."""
        self.link.until("the end of a forwarded connection", lambda: self.data.over and self.error.over, seconds)
        return self.data.take(), self.error.take().decode()


class Forward:
    """Many connections to ports of a pod, over SPDY or over SPDY in a WebSocket."""

    def __init__(self, url, over="spdy", **more):
        self.requests = 0
        if over == "spdy":
            self.protocol, self.connection, self.link = spdy_upgrade(url, (PORT_FORWARD,), **more)
        else:
            socket = websocket.WebSocket(url, (TUNNEL,), **more)
            self.protocol, self.link = socket.protocol, socket.link
            tunnel = websocket.Tunnel(socket)
            self.connection = spdy.Connection(tunnel)
            tunnel.begin()

    def open(self, port):
        """As Kubernetes' client does: the error stream first, at once half-closed."""
        headers = {"port": str(port), "requestid": str(self.requests)}
        self.requests += 1
        error = self.connection.open({"streamtype": "error", **headers})
        error.end()
        data = self.connection.open({"streamtype": "data", **headers})
        return Forwarded(self.link, data, error)


class ChannelForward:
    """One connection to each port that the URL stands for, over WebSocket channels."""

    def __init__(self, url, count=1, protocol=V4, **more):
        self.socket = websocket.WebSocket(url, (protocol,), **more)
        self.protocol, self.link = self.socket.protocol, self.socket.link
        self.channels = websocket.Channels(self.socket)
        self.ports = []
        self.connections = [Forwarded(self.link, self.channels.channel(2 * i), self.channels.channel(2 * i + 1)) for i in range(count)]

    def begin(self):
        """Takes the port's number off each channel: two bytes, the lower one first."""
        for c in self.connections:
            both = (c.data, c.error)
            self.link.until("the numbers of the ports", lambda both=both: all(len(x.received) >= 2 for x in both))
            numbers = [int.from_bytes(x.received[:2], "little") for x in both]
            assert numbers[0] == numbers[1], numbers
            self.ports.append(numbers[0])
            for x in both:
                del x.received[:2]
        return self.connections
