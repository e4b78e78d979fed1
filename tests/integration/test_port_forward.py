#!/usr/bin/env python3
"""Port-forward into pods: many connections on one session, each with its own ends and errors, over every protocol."""
import contextlib
import hashlib
import os
import select
import socket
import sys

import fixture
import pod_net
import urls
from fixture import NODE
from streams import V4, V4_BASE64, ChannelForward, Forward
from suite import contains, equal, main

SLEEP = ["/bin/sleep", "1000"]
STREAMS = ("spdy", "tunnel")


@contextlib.contextmanager
def listener(f, address="127.0.0.1", **more):
    with pod_net.listen(f.container.process(), address, **more) as sock:
        yield sock, sock.getsockname()[1]


@contextlib.contextmanager
def echo(f, address="127.0.0.1"):
    server = pod_net.Echo(pod_net.listen(f.container.process(), address))
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def forward(f, over="spdy", pod=None):
    session = Forward(urls.forward_url(f, (pod or f.pod).id), over)
    try:
        yield session
    finally:
        session.link.close()


def test_there_and_back(f):
    with echo(f) as server:
        for over in STREAMS:
            with forward(f, over) as session:
                c = session.open(server.port)
                c.data.send(b"there and back")
                c.expect(b"there and back")
                c.data.end()
                equal(c.wait(), (b"there and back", ""), over)


def test_many_connections_on_one_session(f):
    with echo(f) as server:
        for over in STREAMS:
            with forward(f, over) as session:
                parts = [os.urandom(50000 + i) for i in range(60)]
                connections = [session.open(server.port) for _ in parts]
                for c, part in zip(connections, parts):
                    c.data.send(part)
                for c, part in reversed(list(zip(connections, parts))):
                    c.link.until("what was sent comes back", lambda c=c, part=part: len(c.data.received) >= len(part))
                    c.data.end()
                for c, part in zip(connections, parts):
                    equal(c.wait(), (part, ""), over)


def test_one_connection_after_the_other(f):
    """More than may be open at once."""
    with echo(f) as server, forward(f) as session:
        for i in range(1200):
            c = session.open(server.port)
            c.data.send(b"%d" % i)
            c.data.end()
            equal(c.wait(), (b"%d" % i, ""))
            session.connection.streams.clear()
    equal(server.served, 1200)


def test_client_sends_no_more_and_still_reads(f):
    with listener(f) as (sock, port):
        for over in STREAMS:
            with forward(f, over) as session:
                c = session.open(port)
                c.data.send(b"question")
                c.data.end()
                with pod_net.accept(sock) as peer:
                    equal(pod_net.read_all(peer), b"question")
                    session.link.quiet(1.5)  # longer than others wait for the second direction
                    assert not c.data.ended, "the other direction was ended too"
                    peer.sendall(b"answer " * 50000)
                equal(c.wait(), (b"answer " * 50000, ""), over)


def test_pod_sends_no_more_and_still_reads(f):
    with listener(f) as (sock, port):
        for over in STREAMS:
            with forward(f, over) as session:
                c = session.open(port)
                with pod_net.accept(sock) as peer:
                    peer.sendall(b"greeting")
                    peer.shutdown(socket.SHUT_WR)
                    c.link.until("the end of the greeting", lambda: c.data.ended)
                    equal(c.data.take(), b"greeting")
                    session.link.quiet(1.5)
                    c.data.send(b"farewell " * 50000)
                    c.data.end()
                    session.link.until("all is sent", lambda: not session.link.unsent)
                    equal(pod_net.read_all(peer), b"farewell " * 50000, over)
                equal(c.wait(), (b"", ""), over)


def test_what_was_sent_before_the_end_arrives(f):
    with listener(f) as (sock, port), forward(f) as session:
        for i in range(10):
            c = session.open(port)
            with pod_net.accept(sock) as peer:
                peer.sendall(bytes(100000 + i))
            c.link.until("the end of the data", lambda c=c: c.data.ended)
            c.data.end()
            equal((len(c.data.received), c.wait()[1]), (100000 + i, ""))


def test_much_in_both_directions(f):
    data = os.urandom(8 << 20)
    with echo(f) as server:
        for over in STREAMS:
            with forward(f, over) as session:
                c = session.open(server.port)
                c.data.send(data)
                c.data.end()
                got, error = c.wait(60)
                equal((len(got), hashlib.sha256(got).digest(), error), (len(data), hashlib.sha256(data).digest(), ""), over)


def test_listener_of_ipv6_alone(f):
    with echo(f, "::1") as server:
        for over in STREAMS:
            with forward(f, over) as session:
                c = session.open(server.port)
                c.data.send(b"over six")
                c.data.end()
                equal(c.wait(), (b"over six", ""), over)


def test_listener_of_every_address(f):
    for address in ("0.0.0.0", "::"):
        with echo(f, address) as server, forward(f) as session:
            c = session.open(server.port)
            c.data.send(address.encode())
            c.data.end()
            equal(c.wait(), (address.encode(), ""))


def test_refused_port_and_the_session_goes_on(f):
    with listener(f) as (sock, port):
        pass
    for over in STREAMS:
        with forward(f, over) as session, echo(f) as server:
            good = session.open(server.port)
            good.data.send(b"one ")
            good.expect(b"one ")
            bad = session.open(port)
            bad.link.until("the error", lambda: bad.error.over)
            contains(bad.error.take().decode(), str(port))
            bad.link.until("the end of the data", lambda: bad.data.over)
            good.data.send(b"two")
            good.data.end()
            equal(good.wait(), (b"one two", ""), over)
            late = session.open(server.port)
            late.data.send(b"three")
            late.data.end()
            equal(late.wait(), (b"three", ""), over)


def test_pod_resets_the_connection(f):
    with listener(f) as (sock, port), forward(f) as session:
        c = session.open(port)
        peer = pod_net.accept(sock)
        c.data.send(b"x")
        pod_net.read_exactly(peer, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        c.wait()
        again = session.open(port)
        with pod_net.accept(sock) as peer:
            again.data.send(b"y")
            equal(pod_net.read_exactly(peer, 1), b"y")


def ended(peer):
    """Whether the other side of a socket is gone."""
    try:
        return peer.recv(65536) == b""
    except ConnectionResetError:
        return True


def test_client_gives_one_connection_up(f):
    with listener(f) as (sock, port), forward(f) as session:
        first, second = session.open(port), session.open(port)
        peers = {}
        for c, name in ((first, b"1"), (second, b"2")):
            c.data.send(name)
        for _ in range(2):
            peer = pod_net.accept(sock)
            peers[pod_net.read_exactly(peer, 1)] = peer
        first.data.give_up()
        assert ended(peers[b"1"])
        peers[b"2"].sendall(b"still here")
        second.expect(b"still here")
        for peer in peers.values():
            peer.close()


def test_client_is_gone(f):
    with listener(f) as (sock, port):
        for over in STREAMS:
            for leave in ("close", "abort"):
                with forward(f, over) as session:
                    session.open(port).data.send(b"x")
                    with pod_net.accept(sock) as peer:
                        pod_net.read_exactly(peer, 1)
                        getattr(session.link, leave)()
                        assert ended(peer), f"{over} {leave}"


def test_neither_side_reads(f):
    """What is sent is held back, and the other connections of the session are not."""
    with listener(f) as (sock, port), echo(f) as server, forward(f) as session:
        c = session.open(port)
        with pod_net.accept(sock) as peer:
            peer.setblocking(False)
            sent = 0
            while select.select([], [peer], [], 1)[1] and sent < 200 << 20:
                sent += peer.send(bytes(1 << 20))
            assert sent < 100 << 20, "nobody holds the pod back"
            session.link.quiet(2)
            c.link.until("all that was sent", lambda: c.data.total == sent)
            other = session.open(server.port)
            other.data.send(b"goes on")
            other.expect(b"goes on")


def test_pod_that_does_not_read(f):
    with listener(f) as (sock, port), forward(f) as session, forward(f) as second, echo(f) as server:
        c = session.open(port)
        with pod_net.accept(sock) as peer:
            c.data.send(bytes(64 << 20))
            session.link.quiet(2)
            assert session.link.unsent, "64 MiB were taken that nobody reads"
            other = second.open(server.port)
            other.data.send(b"goes on")
            other.expect(b"goes on")
            got = 0
            while got < 64 << 20:
                session.link.pump(0)
                if select.select([peer], [], [], 0.1)[0]:
                    got += len(peer.recv(1 << 20))
        session.link.close()


def test_pod_of_the_hosts_network(f):
    pod = f.run_pod(namespaces={"network": NODE})
    server = pod_net.Echo(pod_net.listen(os.getpid()))
    f.cleanup(server.close)
    with forward(f, pod=pod) as session:
        c = session.open(server.port)
        c.data.send(b"on the host")
        c.data.end()
        equal(c.wait(), (b"on the host", ""))


def test_host_is_not_in_reach(f):
    """127.0.0.1 is the pod's."""
    server = pod_net.Echo(pod_net.listen(os.getpid()))
    f.cleanup(server.close)
    with forward(f) as session:
        c = session.open(server.port)
        contains(c.wait()[1], str(server.port))
    equal(server.served, 0)


def test_channels_of_a_websocket(f):
    with echo(f) as first, echo(f) as second:
        for protocol in (V4, V4_BASE64):
            session = ChannelForward(urls.forward_url(f, f.pod.id, first.port, second.port), 2, protocol)
            connections = session.begin()
            equal(session.ports, [first.port, second.port])
            data = os.urandom(300000)
            for i, c in enumerate(connections):
                c.data.send(b"%d" % i + data)
            for i, c in enumerate(connections):
                c.link.until("what was sent comes back", lambda c=c: len(c.data.received) > len(data))
                equal(c.data.take(), b"%d" % i + data, f"channel {i} of {protocol}")
                equal(c.error.take(), b"")
            session.link.close()


def test_channel_of_a_refused_port(f):
    with echo(f) as server, listener(f) as (sock, port):
        sock.close()
        session = ChannelForward(urls.forward_url(f, f.pod.id, port, server.port), 2)
        bad, good = session.begin()
        bad.link.until("the error", lambda: bad.error.received)
        contains(bad.error.take().decode(), str(port))
        good.data.send(b"goes on")
        good.expect(b"goes on")
        session.link.close()


def test_streams_that_make_no_connection(f):
    """Each is refused by itself, and the session goes on."""
    with echo(f) as server, forward(f) as session:
        port = str(server.port)
        for headers in ({"streamtype": "data", "requestid": "a"}, {"port": port, "requestid": "b"}, {"streamtype": "other", "port": port},
                        {"streamtype": "data", "port": "0"}, {"streamtype": "data", "port": "65536"}, {"streamtype": "data", "port": "-1"},
                        {"streamtype": "data", "port": "12x"}, {"streamtype": "data", "port": ""}, {}):
            stream = session.connection.open(headers)
            session.link.until(f"{headers} is refused", lambda stream=stream: stream.reset is not None)
        c = session.open(server.port)
        c.data.send(b"goes on")
        c.expect(b"goes on")


def test_streams_without_request_numbers(f):
    """As clients before Kubernetes 1.1 open them: the error stream, and right after it the data stream."""
    with echo(f) as server, forward(f) as session:
        for text in (b"first", b"second"):
            error = session.connection.open({"streamtype": "error", "port": str(server.port)})
            data = session.connection.open({"streamtype": "data", "port": str(server.port)})
            data.send(text)
            data.end()
            session.link.until("the end", lambda data=data: data.over)
            equal((data.take(), error.take()), (text, b""))


def test_data_stream_comes_first(f):
    with echo(f) as server, forward(f) as session:
        data = session.connection.open({"streamtype": "data", "port": str(server.port), "requestid": "7"})
        data.send(b"early")
        session.link.quiet(0.2)
        equal(data.take(), b"")
        session.connection.open({"streamtype": "error", "port": str(server.port), "requestid": "7"}, fin=True)
        session.link.until("what was sent comes back", lambda: data.received == b"early")


def test_ping(f):
    with forward(f) as session:
        session.connection.ping(3)
        session.link.until("the answer", lambda: session.connection.pongs == [3])


def test_refused_requests(f):
    nobody = "f" * 64
    stopped = f.run_pod()
    f.crictl("stopp", stopped.id)
    for code, part, pod, ports in (("NotFound", nobody, nobody, ()), ("FailedPrecondition", "", stopped.id, ()), ("NotFound", "", "", ()),
                                   ("InvalidArgument", "port", f.pod.id, (70000,)), ("InvalidArgument", "port", f.pod.id, (0,))):
        urls.refused(code, part, call=lambda pod=pod, ports=ports: urls.forward_url(f, pod, *ports))


def test_pod_stops_meanwhile(f):
    pod = f.run_pod()
    c = pod.start(SLEEP)
    sock = pod_net.listen(c.process())
    port = sock.getsockname()[1]
    with forward(f, pod=pod) as session:
        first = session.open(port)
        with pod_net.accept(sock) as peer:
            first.data.send(b"x")
            pod_net.read_exactly(peer, 1)
            sock.close()
            f.crictl("stopp", pod.id)
            second = session.open(port)
            told = second.wait()[1]
            assert told, "a connection into a pod that was stopped"


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
