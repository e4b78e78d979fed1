#!/usr/bin/env python3
"""The streaming server with TLS, and with the limit of its sessions."""
import os
import ssl
import subprocess
import sys

import fixture
import link
import pod_net
import streams
import urls
from streams import V4, V5
from suite import contains, equal, main, need_programs, wait_for

MAX_SESSIONS = 20


def certificate(directory, name, signer=None):
    """A key and a certificate for loopback, signed by itself or by another one made here."""
    key, cert = f"{directory}/{name}.key", f"{directory}/{name}.pem"
    sign = ["-CA", f"{directory}/{signer}.pem", "-CAkey", f"{directory}/{signer}.key"] if signer else []
    # Put in place whole: the server may read it at any time.
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key + ".new", "-out", cert + ".new", *sign], check=True, capture_output=True)
    os.rename(key + ".new", key)
    os.rename(cert + ".new", cert)


def settings(daemon):
    need_programs("openssl")
    certificate(daemon.files, "server")
    certificate(daemon.files, "clients")
    certificate(daemon.files, "client", "clients")
    certificate(daemon.files, "stranger")
    at = daemon.files
    return (f'streaming.tls_cert = "{at}/server.pem"\nstreaming.tls_key = "{at}/server.key"\nstreaming.tls_client_ca = "{at}/clients.pem"\n'
            f"streaming.max_sessions = {MAX_SESSIONS}")


def tls(f, client="client"):
    context = ssl.create_default_context(cafile=f"{f.daemon.files}/server.pem")
    if client:
        context.load_cert_chain(f"{f.daemon.files}/{client}.pem", f"{f.daemon.files}/{client}.key")
    return context


def command(f, argv, over="spdy", protocol=V4, context=None, **wanted):
    url = urls.exec_url(f, f.container.id, argv, **wanted)
    contains(url, "https://")
    session = streams.Command(url, (protocol,), over, tls=context or tls(f), **wanted)
    f.cleanup(session.link.close)
    return session


def test_exec(f):
    data = os.urandom(2 << 20)
    for over, protocol in (("spdy", V4), ("websocket", V5)):
        session = command(f, ["/bin/cat"], over, protocol, stdin=True)
        session.stdin.send(data)
        session.stdin.end()
        got = session.wait(60)
        equal((got.code, got.out == data), (0, True), over)


def test_attach_and_port_forward(f):
    c = f.pod.start(["/bin/sh", "-c", "read -r x; echo \"heard $x\"; exit 4"], stdin=True)
    session = streams.Command(urls.attach_url(f, c.id, stdin=True), stdin=True, tls=tls(f))
    session.stdin.send(b"it\n")
    equal(session.wait().out, b"heard it\n")
    echo = pod_net.Echo(pod_net.listen(f.container.process()))
    for over in ("spdy", "tunnel"):
        session = streams.Forward(urls.forward_url(f, f.pod.id), over, tls=tls(f))
        one = session.open(echo.port)
        one.data.send(b"x" * 1000000)
        one.data.end()
        equal((len(one.wait()[0]), over), (1000000, over))
        session.link.close()
    echo.close()


def test_client_without_a_certificate_of_ours(f):
    for client in (None, "stranger"):
        try:
            command(f, ["/bin/true"], context=tls(f, client))
        except (ssl.SSLError, ConnectionError, AssertionError):
            continue
        raise AssertionError(f"a session for the client '{client}'")


def test_http_without_tls(f):
    url = urls.exec_url(f, f.container.id, ["/bin/true"]).replace("https:", "http:")
    try:
        streams.Command(url)
    except (AssertionError, ConnectionError, link.Refused):
        return
    raise AssertionError("a session without TLS")


def test_certificate_that_is_replaced(f):
    old = tls(f)
    certificate(f.daemon.files, "server")

    def serves():
        try:
            return command(f, ["/bin/echo", "hello"]).wait().out == b"hello\n"
        except ssl.SSLError:
            return False
    wait_for("the new certificate is served", serves)
    try:
        command(f, ["/bin/true"], context=old)
    except ssl.SSLError:
        return
    raise AssertionError("the old certificate is still served")


def test_more_sessions_than_there_may_be(f):
    sessions = [command(f, ["/bin/cat"], stdin=True) for _ in range(MAX_SESSIONS)]
    for _ in range(3):
        try:
            command(f, ["/bin/true"])
        except link.Refused as e:
            equal(e.status, 503)
        else:
            raise AssertionError("one more session")
    sessions.pop().link.close()
    wait_for("there is room for one", lambda: try_echo(f))
    for session in sessions:
        session.stdin.send(b"still here")
        session.expect("still here")


def try_echo(f):
    try:
        return command(f, ["/bin/echo", "hello"]).wait().out == b"hello\n"
    except link.Refused:
        return False


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX], settings=settings))
