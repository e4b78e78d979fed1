#!/usr/bin/env python3
"""berth exec, attach and port-forward, as people use them: in pipes, in a terminal, with the daemon that serves them."""
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

import fixture
import pod_net
from daemon import BIN
from suite import contains, equal, main, wait_for

SLEEP = ["/bin/sleep", "1000"]
MEGABYTES = 100


def container(f):
    """One for all cases that need nothing special."""
    if not getattr(f, "shared", None):
        pod = f.pod
        f.shared = pod.start(SLEEP)
        f._undo.clear()  # it goes with the pod
        f.rebase()
    return f.shared


def command(f, *arguments):
    return [str(BIN / "berth"), "--socket", f.daemon.socket, *arguments]


def berth(f, *arguments, stdin=b"", seconds=60):
    """(exit code, stdout, stderr)"""
    done = subprocess.run(command(f, *arguments), input=stdin, capture_output=True, timeout=seconds, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


class Terminal:
    """The program in a terminal of its own, which is this session's to look at."""

    def __init__(self, f, *arguments, rows=30, columns=100):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.slave = os.dup(slave)
        self.before = termios.tcgetattr(slave)
        self.shown = b""

        def own_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # pylint: disable-next=subprocess-popen-preexec-fn
        self.process = subprocess.Popen(command(f, *arguments), stdin=slave, stdout=slave, stderr=slave, preexec_fn=own_terminal)
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys.encode())

    def await_text(self, text, seconds=15):
        """Until the terminal shows it; what was shown before does not count again."""
        end = time.monotonic() + seconds
        while text not in self.shown.decode(errors="replace"):
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} does not come; shown: {self.shown!r}"
            self.shown += os.read(self.master, 65536)
        self.shown = self.shown.decode(errors="replace").split(text, 1)[1].encode()

    def end(self, seconds=15):
        """The exit code; the terminal is as it was."""
        code = self.process.wait(seconds)
        equal(termios.tcgetattr(self.slave), self.before, "the terminal's modes")
        return code


def test_output_comes_apart_and_with_the_code(f):
    equal(berth(f, "exec", container(f).id, "sh", "-c", "printf 'a\\000b\\r\\n'; echo err >&2; exit 3"), (3, b"a\0b\r\n", "err\n"))
    equal(berth(f, "exec", container(f).id, "--", "true"), (0, b"", ""))
    equal(berth(f, "exec", container(f).id, "sh", "-c", "kill -TERM $$")[0], 128 + 15)


def test_without_the_daemons_socket_it_is_the_urls_host(f):
    elsewhere = f"{f.daemon.files}/elsewhere"
    os.mkdir(elsewhere)
    os.symlink(f.daemon.socket, f"{elsewhere}/b.sock")
    arguments = [str(BIN / "berth"), "--socket", f"{elsewhere}/b.sock", "exec", "-i", container(f).id, "cat"]
    equal(subprocess.run(arguments, input=b"over TCP", capture_output=True, timeout=30, check=True).stdout, b"over TCP")


def test_output_comes_as_it_is_written(f):
    script = "echo one; read -r line; echo two $line"
    with subprocess.Popen(command(f, "exec", "-i", container(f).id, "sh", "-c", script), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        equal(process.stdout.readline(), b"one\n")
        process.stdin.write(b"go\n")
        process.stdin.flush()
        equal(process.stdout.read(), b"two go\n")
        equal(process.wait(15), 0)


def test_program_that_is_not_there_or_is_none(f):
    code, _, err = berth(f, "exec", container(f).id, "/no/such/program")
    equal(code, 127)
    contains(err, "/no/such/program")
    equal(berth(f, "exec", container(f).id, "no-such-program")[0], 127)
    equal(berth(f, "exec", container(f).id, "/etc/passwd")[0], 126)


def test_much_goes_there_and_back(f):
    size, sent, got = MEGABYTES << 20, hashlib.sha256(), hashlib.sha256()
    with subprocess.Popen(command(f, "exec", "-i", container(f).id, "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        def feed():
            block = os.urandom(1 << 20)
            for i in range(MEGABYTES):
                piece = block[i * 7:] + block[:i * 7]
                sent.update(piece)
                process.stdin.write(piece)
            process.stdin.close()
        feeder = threading.Thread(target=feed)
        feeder.start()
        received = 0
        while piece := process.stdout.read(1 << 20):
            got.update(piece)
            received += len(piece)
        feeder.join()
        equal(process.wait(15), 0)
    equal(received, size)
    equal(got.hexdigest(), sent.hexdigest())


def test_last_bytes_of_a_command_that_ends_are_there(f):
    script = "head -c 5000000 /dev/zero | tr '\\0' x; echo end"
    for _ in range(5):
        code, out, _ = berth(f, "exec", container(f).id, "sh", "-c", script)
        equal((code, len(out), out[-4:]), (0, 5000004, b"end\n"))


def test_end_of_the_input_and_none(f):
    equal(berth(f, "exec", "-i", container(f).id, "cat", stdin=b"hi\n")[:2], (0, b"hi\n"))
    equal(berth(f, "exec", "-i", container(f).id, "wc", "-c")[:2], (0, b"0\n"))
    equal(berth(f, "exec", container(f).id, "cat", stdin=b"not for it")[:2], (0, b""))
    # A command that ends before its input does.
    equal(berth(f, "exec", "-i", container(f).id, "head", "-c", "2", stdin=b"x" * 10_000_000)[:2], (0, b"xx"))


def test_reader_that_leaves(f):
    with subprocess.Popen(command(f, "exec", container(f).id, "yes"), stdout=subprocess.PIPE) as process:
        equal(process.stdout.read(4), b"y\ny\n")
        process.stdout.close()
        equal(process.wait(15), 128 + signal.SIGPIPE)


def test_limit(f):
    code, out, err = berth(f, "exec", "--limit", "1s", container(f).id, "sh", "-c", "echo before; sleep 100")
    equal((code, out), (1, b""))
    contains(err, "timed out")
    equal(berth(f, "exec", "--limit", "20s", container(f).id, "echo", "done"), (0, b"done\n", ""))


def test_terminal(f):
    with Terminal(f, "exec", "-it", container(f).id, "sh") as t:
        t.type("stty size; tty\r")
        t.await_text("30 100")
        t.await_text("/dev/pts/")
        t.resize(50, 132)
        t.type("stty size\r")
        t.await_text("50 132")
        t.type("sleep 1000\r")
        t.await_text("sleep 1000")
        time.sleep(0.3)
        t.type("\x03")
        t.type("echo code $?\r")
        t.await_text("code 130")
        t.type("\x04")
        equal(t.end(), 0)


def test_terminal_ends_with_the_commands_code(f):
    with Terminal(f, "exec", "-it", container(f).id, "sh", "-c", "read -r word; exit $word") as t:
        t.type("7\r")
        equal(t.end(), 7)


def test_signal_hangs_the_command_up(f):
    with Terminal(f, "exec", "-it", container(f).id, "sh", "-c", "echo ready; exec sleep 4321") as t:
        t.await_text("ready")
        t.process.terminate()
        equal(t.end(), 128 + 15)
    wait_for("the command is gone", lambda: "sleep 4321" not in container(f).exec("ps", "-o", "args"))


def test_daemon_that_is_killed(f):
    c = f.pod.start(SLEEP)
    with Terminal(f, "exec", "-it", c.id, "sh") as t:
        t.type("echo up\r")
        t.await_text("\nup")
        f.daemon.kill()
        equal(t.end(), 1)
        t.await_text("ended the connection")
    f.daemon.start()
    f.rebase_descriptors()


def test_attach_to_a_terminal_and_leave_it(f):
    c = f.pod.start(["/bin/sh"], stdin=True, tty=True)
    with Terminal(f, "attach", c.id) as t:
        t.await_text("leaves it running")
        t.type("stty size; echo here\r")
        t.await_text("30 100")
        t.await_text("here")
        t.type("\x10\x11")
        equal(t.end(), 0)
    equal(c.status()["state"], "CONTAINER_RUNNING")
    with Terminal(f, "attach", "--detach-keys", "", c.id) as t:
        t.type("exit 5\r")
        equal(t.end(), 5)


def test_attach_to_pipes(f):
    c = f.pod.start(["/bin/sh", "-c", "while read -r line; do echo heard $line; echo err >&2; done; exit 4"], stdin=True, stdin_once=True)
    equal(berth(f, "attach", c.id, stdin=b"one\ntwo\n"), (4, b"heard one\nheard two\n", "err\nerr\n"))
    c = f.pod.start(["/bin/sh", "-c", "sleep 2; echo late; exit 6"])
    equal(berth(f, "attach", "--no-stdin", c.id)[:2], (6, b"late\n"))
    code, _, err = berth(f, "attach", c.id)
    equal(code, 1)
    contains(err, "not running")


@contextlib.contextmanager
def forward(f, *arguments):
    """The process, and what it listens on."""
    process = subprocess.Popen(command(f, "-o", "json", "port-forward", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        text = b""
        while not re.search(rb"^\]", text, re.M):
            line = process.stdout.readline()
            assert line, process.stderr.read().decode()
            text += line
        yield process, json.loads(text)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@contextlib.contextmanager
def echo(f):
    server = pod_net.Echo(pod_net.listen(container(f).process()))
    try:
        yield server
    finally:
        server.close()


def dial(listener):
    return socket.create_connection((listener["address"], listener["port"]), 15)


def test_forwarded_ends_go_both_ways(f):
    with echo(f) as server, forward(f, f.pod.id, f":{server.port}") as (_, listeners):
        equal([x["address"] for x in listeners], ["127.0.0.1", "::1"])
        equal({x["remotePort"] for x in listeners}, {server.port})
        for listener in listeners:
            data = os.urandom(3_000_000)
            with dial(listener) as sock:
                feeder = threading.Thread(target=lambda s=sock, d=data: (s.sendall(d), s.shutdown(socket.SHUT_WR)))
                feeder.start()
                equal(pod_net.read_all(sock) == data, True, f"the echo over {listener['address']}")
                feeder.join()


def test_many_connections_and_one_that_is_cut(f):
    with echo(f) as server, forward(f, f.pod.id, f"127.0.0.1:0:{server.port}") as (_, listeners):
        cut = dial(listeners[0])
        cut.sendall(b"x")
        equal(cut.recv(1), b"x")
        socks = [dial(listeners[0]) for _ in range(50)]
        cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        cut.close()
        for i, sock in enumerate(socks):
            sock.sendall(f"number {i}".encode())
        for i, sock in enumerate(socks):
            sock.shutdown(socket.SHUT_WR)
            equal(pod_net.read_all(sock), f"number {i}".encode())
            sock.close()


def test_port_that_nobody_listens_on(f):
    with forward(f, f.pod.id, ":9") as (process, listeners):
        with dial(listeners[0]) as sock:
            try:
                equal(sock.recv(1), b"not even an end")
            except ConnectionResetError:
                pass
        contains(process.stderr.readline().decode(), "-> 9: ")
        equal(process.poll(), None)
        process.send_signal(signal.SIGINT)
        equal(process.wait(15), 130)


def test_forwarding_survives_the_daemon(f):
    with echo(f) as server, forward(f, f.pod.id, f":{server.port}") as (process, listeners):
        with dial(listeners[0]) as sock:
            sock.sendall(b"x")
            equal(sock.recv(1), b"x")
            f.daemon.kill()
            try:
                equal(sock.recv(1), b"not even an end")
            except ConnectionResetError:
                pass
        f.daemon.start()
        f.rebase_descriptors()
        with dial(listeners[0]) as sock:
            sock.sendall(b"again")
            equal(pod_net.read_exactly(sock, 5), b"again")
        equal(process.poll(), None)


def test_uploads_that_wait_hold_up_none_that_is_served(f):
    size, count, served = 16 << 20, 8, []
    with contextlib.closing(pod_net.listen(container(f).process())) as listener:

        def serve_one_after_the_other():
            for _ in range(count):
                sock, _ = listener.accept()
                with sock:
                    served.append(sum(len(block) for block in iter(lambda: sock.recv(1 << 20), b"")))

        def upload():
            with dial(listeners[0]) as sock:
                sock.settimeout(60)
                sock.sendall(bytes(size))
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)

        with forward(f, f.pod.id, f":{listener.getsockname()[1]}") as (_, listeners):
            threads = [threading.Thread(target=t, daemon=True) for t in [serve_one_after_the_other] + [upload] * count]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
    equal(served, [size] * count)


def test_forwarding_ends_with_the_pod(f):
    pod = f.run_pod()
    with forward(f, pod.id, ":80") as (process, listeners):
        f.crictl("stopp", pod.id)
        with contextlib.suppress(OSError), dial(listeners[0]) as sock:
            sock.recv(1)
        equal(process.wait(15), 1)
        contains(process.stderr.read().decode(), "the pod was stopped")
    code, _, err = berth(f, "port-forward", pod.id, ":80")
    equal(code, 1)
    contains(err, "port-forward")


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
