#!/usr/bin/env python3
"""The streaming server itself: URLs, what is refused, and that no client can cost more than its own session."""
import random
import re
import socket
import struct
import sys
import time

import fixture
import leaks
import link
import pod_net
import spdy
import streams
import urls
import websocket
from streams import V4, V5
from suite import contains, equal, main, wait_for

SLEEP = ["/bin/sleep", "1000"]
MAX_PENDING = 40
URL_LIFETIME = 3


def settings(_daemon):
    return f"streaming.max_pending = {MAX_PENDING}\nstreaming.url_lifetime = {URL_LIFETIME}\nstreaming.creation_timeout = 3"


def echo_url(f, **more):
    return urls.exec_url(f, f.container.id, ["/bin/echo", "hello"], **more)


def http_status(url, method="GET", headers=(), data=b""):
    """(status, headers, text) of a request that is not upgraded."""
    sock = link.dial(url)
    with sock:
        sock.sendall(link.request(url, method, headers) + data)
        status, answer, rest = link.read_head(sock)
        return status, answer, rest + _rest(sock)


def _rest(sock):
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except OSError:
        pass
    return data


def refusal(call):
    """The HTTP status with which the upgrade is refused."""
    try:
        session = call()
    except link.Refused as e:
        return e.status
    session.link.close()
    raise AssertionError("was upgraded")


def still_serves(f):
    for over, protocol in (("spdy", V4), ("websocket", V5)):
        equal(urls.run(f, f.container, ["/bin/echo", "hello"], over=over, protocols=(protocol,)).wait(), (0, b"hello\n", b"", ""))


# -- URLs


def test_url_is_good_once(f):
    url = echo_url(f)
    equal(streams.Command(url).wait().out, b"hello\n")
    equal(refusal(lambda: streams.Command(url)), 404)
    equal(refusal(lambda: streams.Command(url, over="websocket")), 404)


def test_url_is_spent_by_two_at_once(f):
    for _ in range(20):
        url = echo_url(f)
        socks = [link.dial(url) for _ in range(4)]
        text = link.request(url, "POST", [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", V4)])
        for sock in socks:
            sock.sendall(text)
        got = sorted(link.read_head(sock)[0] for sock in socks)
        for sock in socks:
            sock.close()
        equal(got, [101, 404, 404, 404])


def test_url_expires(f):
    url = echo_url(f)
    time.sleep(URL_LIFETIME + 0.5)
    equal(refusal(lambda: streams.Command(url)), 404)


def test_url_of_another_kind(f):
    for name, url in (("exec", echo_url(f)), ("attach", urls.attach_url(f, f.container.id)), ("portforward", urls.forward_url(f, f.pod.id))):
        contains(url, f"/{name}/")
        for other in {"exec", "attach", "portforward"} - {name}:
            changed = url.replace(f"/{name}/", f"/{other}/")
            equal(refusal(lambda changed=changed: streams.Command(changed)), 404, changed)


def test_urls_that_nobody_gave_out(f):
    url = echo_url(f)
    token = url.rsplit("/", 1)[1]
    assert len(token) >= 22, "fewer than 128 bits"
    base = url.rsplit("/", 1)[0]
    for path in (f"{base}/", f"{base}/x", f"{base}/{'A' * len(token)}", f"{base}/{token[:-1]}", f"{base}/{token}x", f"{base}/{token}/", f"{base}/../exec/{token}"):
        equal(refusal(lambda path=path: streams.Command(path)), 404, path)
    equal(streams.Command(url).wait().out, b"hello\n", "the URL itself")


def test_tokens_differ_wholly(f):
    tokens = {echo_url(f).rsplit("/", 1)[1] for _ in range(10)}
    equal(len({t[:8] for t in tokens}), 10)
    equal(len({t[-8:] for t in tokens}), 10)


def test_too_many_urls_wait(f):
    time.sleep(URL_LIFETIME + 0.5)
    given = []
    try:
        for _ in range(MAX_PENDING + 1):
            given.append(echo_url(f))
    except urls.Refusal as e:
        equal(e.code, "ResourceExhausted")
    else:
        raise AssertionError(f"{len(given)} URLs wait")
    equal(len(given), MAX_PENDING)
    # One is used: there is room for one.
    equal(streams.Command(given[0]).wait().out, b"hello\n")
    streams.Command(echo_url(f)).wait()
    time.sleep(URL_LIFETIME + 0.5)
    still_serves(f)


def test_no_token_is_logged(f):
    used = [echo_url(f), urls.attach_url(f, f.container.id), urls.forward_url(f, f.pod.id), echo_url(f), echo_url(f)]
    streams.Command(used[0]).wait()
    streams.Command(used[1]).link.close()
    streams.Forward(used[2]).link.close()
    streams.Command(used[3], (V5,), "websocket").wait()
    refusal(lambda: streams.Command(used[0]))
    refusal(lambda: streams.Command(used[4] + "x"))
    http_status(used[4], "GET")
    time.sleep(0.2)
    with open(f.daemon.log, encoding="utf-8", errors="replace") as log:
        text = log.read()
    for url in used:
        assert url.rsplit("/", 1)[1] not in text, "a token is in the log"


# -- HTTP


def test_requests_that_are_no_upgrade(f):
    url = echo_url(f)
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", V4)]
    for method, headers, statuses in (("GET", [], (400, 404, 426)), ("POST", [], (400, 426)), ("POST", [("Upgrade", "h2c"), ("Connection", "Upgrade")], (400, 426)),
                                      ("DELETE", upgrade, (400, 405)), ("POST", [*upgrade[:2], ("X-Stream-Protocol-Version", "v9")], (403,))):
        status, _, _ = http_status(urls.exec_url(f, f.container.id, ["true"]), method, headers)
        assert status in statuses, f"{method} {headers}: HTTP {status}"
    equal(http_status(url.rsplit("/", 2)[0] + "/")[0], 404)
    still_serves(f)


def test_garbage_instead_of_http(f):
    url = echo_url(f)
    for text in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET\r\n\r\n", b"\0" * 5000, b"POST / HTTP/1.1\r\n" + b"A: b\r\n" * 100000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                 b"GET /" + b"a" * 1000000 + b" HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"\r\n" * 100000):
        with link.dial(url) as sock:
            try:
                sock.sendall(text)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server has seen enough
            answer = _rest(sock)
            assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:100]
    still_serves(f)


def test_pages_of_other_origins(f):
    """A browser sends where the page is from; its WebSocket goes anywhere."""
    for over, protocols in (("websocket", (V4,)), ("spdy", (V4,))):
        url = echo_url(f)
        own = re.match("https?://[^/]*", url).group()
        equal(streams.Command(url, protocols, over, more=[("Origin", own)]).wait().out, b"hello\n", over)
        for origin in ("http://evil.example", "null", "https://" + own.split("//")[1] + ".evil.example", own + "0", "http://localhost:1"):
            equal(refusal(lambda origin=origin: streams.Command(echo_url(f), protocols, over, more=[("Origin", origin)])), 403, f"{over} {origin}")


# -- clients that break the protocol, or do nothing


def spdy_session(f):
    return streams.spdy_upgrade(urls.exec_url(f, f.container.id, ["cat"], stdin=True), (V4,))[1:]


def ends(carrier, what, seconds=15):
    """The server ends the connection."""
    wait_for(f"the server ends the connection: {what}", lambda: carrier.pump(0.1) and carrier.ended, seconds)
    carrier.close()


BREACHES = {
    "a control frame of another version": lambda c: spdy.control(spdy.PING, struct.pack("!I", 1), version=2),
    "a header block that is no zlib": lambda c: spdy.control(spdy.SYN_STREAM, struct.pack("!IIH", 1, 0, 0) + b"x" * 40),
    "a control frame that is too long": lambda c: struct.pack("!HHI", 0x8003, spdy.SYN_STREAM, 0xffffff) + bytes(100000),
    "a header block that unfolds without an end": lambda c: spdy.control(spdy.SYN_STREAM, struct.pack("!IIH", 1, 0, 0) + c.compressor.raw(struct.pack("!II", 1, 1 << 24) + bytes(1 << 24))),
    "more headers than there are": lambda c: spdy.control(spdy.SYN_STREAM, struct.pack("!IIH", 1, 0, 0) + c.compressor.raw(struct.pack("!I", 1 << 30))),
    "a stream of the server's": lambda c: spdy.control(spdy.SYN_STREAM, struct.pack("!IIH", 2, 0, 0) + c.compressor.block([("streamtype", "error")])),
}


def test_breaches_of_spdy(f):
    for what, breach in BREACHES.items():
        connection, carrier = spdy_session(f)
        carrier.send(breach(connection))
        ends(carrier, what)
    still_serves(f)


def test_random_bytes_for_spdy(f):
    generator = random.Random(3)
    for _ in range(60):
        connection, carrier = spdy_session(f)
        if generator.random() < 0.5:
            connection.open({"streamtype": "error"})
        carrier.send(generator.randbytes(generator.randrange(1, 3000)))
        carrier.quiet(0.02)
        carrier.abort()
    still_serves(f)


def test_breaches_of_websocket(f):
    frame = websocket.frame
    for what, data in {"an unmasked frame": frame(2, b"\0x", masked=False), "reserved bits": frame(2, b"\0x", reserved=4), "an unknown kind": frame(5, b""),
                       "a control frame that is too long": frame(9, bytes(126)), "a control frame in parts": frame(9, b"", fin=False),
                       "a part of nothing": frame(0, b"x"), "a message within another": frame(2, b"\0", fin=False) + frame(2, b"\0")}.items():
        session = urls.run(f, f.container, ["cat"], stdin=True, over="websocket", protocols=(V5,))
        session.link.send(data)
        ends(session.link, what)
    still_serves(f)


def test_channels_that_are_not_there(f):
    """Unknown channels are not worth a session."""
    session = urls.run(f, f.container, ["cat"], stdin=True, over="websocket", protocols=(V5,))
    for message in (b"", b"\x01to standard output", b"\x03", b"\x09", b"\xfe"):
        session.socket.send(message)
    session.stdin.send(b"goes on")
    session.stdin.end()
    got = session.wait()
    assert got.out == b"goes on" or session.socket.closed[0] != websocket.NORMAL, got


def test_client_that_opens_no_streams(f):
    connection, carrier = spdy_session(f)
    connection.open({"streamtype": "error"})
    ends(carrier, "the streams do not come")


def test_client_that_opens_other_streams(f):
    for headers in ({"streamtype": "stderr2"}, {}, {"streamtype": ""}, {"streamtype": "error", "port": "1"}):
        connection, carrier = spdy_session(f)
        for _ in range(4):
            connection.open(headers)
        ends(carrier, f"{headers}")
    still_serves(f)


def test_client_that_says_nothing(f):
    """Connections that bring no request do not stay."""
    url = echo_url(f)
    socks = [link.dial(url) for _ in range(50)]
    for sock in socks[::2]:
        sock.sendall(b"POST /exec/")
    still_serves(f)
    for sock in socks:
        sock.settimeout(40)
        assert _rest(sock)[:9] in (b"", b"HTTP/1.1 ")
        sock.close()


# -- what a session may cost


def memory(pid):
    """Proportional set size in KiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M).group(1))


def test_floods_that_nobody_reads(f):
    """Each of these sessions has more to say than fits anywhere; the daemon keeps little of it, and serves others."""
    process, pod = f.container.process(), f.pod
    talker = pod.start(["/bin/sh", "-c", "while :; do head -c 1000000 /dev/zero | tr '\\0' x; echo; sleep 0.1; done"], log_path="flood.log")
    listener = pod_net.listen(process)
    port = listener.getsockname()[1]
    still_serves(f)
    before = memory(f.daemon.pid)
    silent = []
    for over, protocol in (("spdy", V4), ("websocket", V5)) * 10:
        session = urls.run(f, f.container, ["/bin/cat", "/dev/zero"], over=over, protocols=(protocol,))
        silent.append(session)
        silent.append(urls.attach(f, talker, over=over, protocols=(protocol,)))
    peers = []
    for over in ("spdy", "tunnel") * 5:
        session = streams.Forward(urls.forward_url(f, pod.id), over)
        session.open(port).link.quiet(0.1)
        peer = pod_net.accept(listener)
        peer.setblocking(False)
        silent.append(session)
        peers.append(peer)
    for session in silent:
        session.link.reading = False
    end, most = time.monotonic() + 10, 0
    while time.monotonic() < end:
        for peer in peers:
            try:
                peer.send(bytes(1 << 20))
            except BlockingIOError:
                pass
        most = max(most, memory(f.daemon.pid) - before)
        still_serves(f)
    print(f"{len(silent)} sessions that nobody reads: {most} KiB more than before")
    assert most < len(silent) * 1024, f"{len(silent)} sessions cost {most} KiB"
    for session in silent:
        session.link.abort()
    for peer in peers:
        peer.close()
    listener.close()
    wait_for("the commands end", lambda: not [1 for _, name in leaks.processes_in(f.daemon.cgroup_parent) if name == "cat"])


def test_input_that_nobody_takes(f):
    """Clients send without an end to commands that do not read."""
    before = memory(f.daemon.pid)
    sessions = [urls.run(f, f.container, SLEEP, stdin=True, over=over, protocols=(protocol,)) for over, protocol in (("spdy", V4), ("websocket", V5)) * 8]
    for session in sessions:
        session.stdin.send(bytes(20 << 20))
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for session in sessions:
            session.link.pump(0.01)
    most = memory(f.daemon.pid) - before
    print(f"{len(sessions)} sessions whose input nobody takes: {most} KiB more than before")
    assert most < len(sessions) * 2048, f"{len(sessions)} sessions cost {most} KiB"
    assert all(s.link.unsent for s in sessions), "20 MiB were taken from a client for nobody"
    still_serves(f)
    for session in sessions:
        session.link.abort()


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX], settings=settings))
