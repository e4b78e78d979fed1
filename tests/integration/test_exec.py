#!/usr/bin/env python3
"""Exec over every protocol that a client may speak: what goes in, what comes out, how it ends."""
import hashlib
import os
import sys
import time

import fixture
import leaks
import urls
from streams import BASE64, V1, V2, V3, V4, V4_BASE64, V5
from suite import contains, equal, main, wait_for
from websocket import BINARY, PING, frame

SLEEP = ["/bin/sleep", "1000"]
SPDY = [("spdy", (p,)) for p in (V4, V3, V2, V1)] + [("spdy", ())]
WEB = [("websocket", (p,)) for p in (V5, V4, V4_BASE64, V1, BASE64)] + [("websocket", ())]
WITH_STATUS = [("spdy", (V4,)), ("websocket", (V5,)), ("websocket", (V4,)), ("websocket", (V4_BASE64,))]


def processes(f, name):
    return [pid for pid, comm in leaks.processes_in(f.daemon.cgroup_parent) if comm == name]


def none_left(f, name, seconds=15):
    wait_for(f"no process '{name}' is left", lambda: not processes(f, name), seconds)


def outcome(f, script, **more):
    return urls.sh(f, f.container, script, **more).wait()


def test_both_streams(f):
    for over, protocols in SPDY + WEB:
        got = outcome(f, "echo to out; echo to err >&2", over=over, protocols=protocols)
        equal((got.code, got.out, got.err), (0, b"to out\n", b"to err\n"), f"{over} {protocols}")


def test_server_takes_the_best_protocol(f):
    for over, offered, want in (("spdy", (V4, V3, V2, V1), V4), ("spdy", (V2, V1), V2), ("spdy", ("v9.channel.k8s.io", V3), V3),
                                ("websocket", ("v9.channel.k8s.io", V4), V4)):
        session = urls.sh(f, f.container, "exit 0", over=over, protocols=offered)
        equal(session.protocol, want, f"{over} {offered}")
        equal(session.wait().message, "")


def test_exit_codes(f):
    for over, protocols in WITH_STATUS:
        for script, code in (("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9)):
            got = outcome(f, script, over=over, protocols=protocols)
            equal((got.code, got.out, got.err), (code, b"", b""), f"{script} over {over} {protocols}")
            if code:
                contains(got.message, str(code), f"the message of {script}")


def test_exit_code_in_words(f):
    for over, protocols in [("spdy", (p,)) for p in (V3, V2, V1)] + [("websocket", (V1,)), ("websocket", (BASE64,)), ("websocket", ())]:
        equal(outcome(f, "exit 0", over=over, protocols=protocols).message, "", f"{over} {protocols}")
        contains(outcome(f, "exit 37", over=over, protocols=protocols).message, "37", f"{over} {protocols}")


def test_program_is_not_there(f):
    for over, protocols in WITH_STATUS:
        got = urls.run(f, f.container, ["/no/such/program"], over=over, protocols=protocols).wait()
        equal(got.code, None)
        contains(got.message, "/no/such/program")
        contains(got.message.lower(), "no such file")


def test_program_is_none(f):
    got = urls.run(f, f.container, ["/etc/passwd"]).wait()
    equal(got.code, None)
    contains(got.message.lower(), "permission denied")


def test_input_ends(f):
    for over, protocol in (("spdy", V4), ("spdy", V3), ("spdy", V2), ("websocket", V5)):
        session = urls.run(f, f.container, ["cat"], stdin=True, over=over, protocols=(protocol,))
        session.stdin.send(b"first\n")
        session.expect("first\n")
        session.stdin.send(b"last, without a line's end")
        session.stdin.end()
        got = session.wait()
        equal((got.message, got.out, got.err), ("", b"first\nlast, without a line's end", b""), f"{over} {protocol}")


def test_input_without_an_end(f):
    for over, protocols in WEB:
        session = urls.run(f, f.container, ["head", "-c", "5"], stdin=True, over=over, protocols=protocols)
        session.stdin.send(b"12345")
        equal(session.wait().out, b"12345", f"{over} {protocols}")


def test_input_ends_at_once(f):
    """The end comes with the stream, before the command runs."""
    for _ in range(10):
        session = urls.run(f, f.container, ["wc", "-c"], stdin=True)
        session.stdin.end()
        equal(session.wait().out, b"0\n")


def test_much_in_both_directions(f):
    data = os.urandom(3 << 20)
    for over, protocols in SPDY + WEB:
        session = urls.run(f, f.container, ["head", "-c", str(len(data))], stdin=True, over=over, protocols=protocols)
        session.stdin.send(data)
        got = session.wait(60)
        equal(hashlib.sha256(got.out).hexdigest(), hashlib.sha256(data).hexdigest(), f"{over} {protocols}, {len(got.out)} bytes")


def test_full_pipe_at_the_end(f):
    """A command ends while its client reads nothing. How much of the output is in the pipe then, and not further on its way, depends
    on the machine: with these sizes it is little once and much another time."""
    for over, protocol in (("spdy", V4), ("websocket", V5)):
        for size in range(1 << 19, 12 << 20, 3 << 18):
            session = urls.run(f, f.container, ["head", "-c", str(size), "/dev/zero"], over=over, protocols=(protocol,))
            session.link.reading = False
            session.link.quiet(0.15)
            session.link.reading = True
            equal(len(session.wait(60).out), size, over)


def test_output_up_to_the_last_byte(f):
    """A command that ends at once after it wrote."""
    for i in range(20):
        got = outcome(f, f"head -c {60000 + i} /dev/zero; head -c {60000 + i} /dev/zero >&2; exit 4")
        equal((got.code, len(got.out), len(got.err)), (4, 60000 + i, 60000 + i))


def test_client_that_takes_its_time_and_pings(f):
    """As kubectl does behind `| less`: the command has ended, and most of what it wrote is with the server's kernel."""
    for over, protocol in (("spdy", V4), ("websocket", V5)):
        session = urls.sh(f, f.container, "head -c 1500000 /dev/zero; exit 8", over=over, protocols=(protocol,))
        session.link.reading = False
        for i in range(7):
            session.connection.ping(2 * i + 1) if over == "spdy" else session.socket.send(b"", PING)
            session.link.pump(0.5)
            time.sleep(0.5)
        session.link.reading = True
        got = session.wait()
        equal((got.code, len(got.out)), (8, 1500000))


def test_command_reads_its_own_output(f):
    """The server was to send what is not there any more: the session ends, and costs nothing else."""
    script = "dd if=/dev/zero bs=1M count=20 2>/dev/null & sleep 0.5; cat </proc/self/fd/1 >/dev/null & wait %1; sleep 100"
    session = urls.sh(f, f.container, script)
    session.link.reading = False
    time.sleep(2)
    session.link.reading = True
    wait_for("the end of the session", lambda: session.link.quiet(0.1) or session.link.ended)


def test_only_some_streams(f):
    equal(outcome(f, "echo out; echo err >&2; exit 2", stdout=False)[:3], (2, b"", b"err\n"))
    equal(outcome(f, "echo out; echo err >&2; exit 2", stderr=False)[:3], (2, b"out\n", b""))
    session = urls.sh(f, f.container, "read x; exit $x", stdin=True, stdout=False, stderr=False)
    session.stdin.send(b"5\n")
    equal(session.wait()[:3], (5, b"", b""))


def test_command_reads_on_after_its_output_has_ended(f):
    session = urls.sh(f, f.container, "exec >/dev/null 2>&1; cat >/tmp/read-on; exit 5", stdin=True)
    data = os.urandom(1 << 20)
    for i in range(4):
        session.stdin.send(data[i << 18:(i + 1) << 18])
        session.link.quiet(0.2)
    session.stdin.end()
    equal(session.wait().code, 5)
    contains(f.container.exec("sha256sum", "/tmp/read-on"), hashlib.sha256(data).hexdigest())


def test_command_does_not_read_its_input(f):
    session = urls.sh(f, f.container, "echo ready; exit 6", stdin=True)
    session.stdin.send(bytes(1 << 20))
    equal(session.wait()[:2], (6, b"ready\n"))


def test_background_child_does_not_hold_the_session(f):
    for over, protocol in (("spdy", V4), ("websocket", V5)):
        started = time.monotonic()
        got = outcome(f, "(trap '' PIPE; echo from the child; exec sleep 987) & echo done; exit 7", over=over, protocols=(protocol,))
        equal(got.code, 7)
        contains(got.out, b"done\n")
        assert time.monotonic() - started < 10, "it waited for the child"
        [child] = wait_for("the child runs", lambda: [p for p in processes(f, "sleep") if b"987" in open(f"/proc/{p}/cmdline", "rb").read()])
        os.kill(child, 9)


def test_terminal(f):
    for over, protocol in (("spdy", V4), ("spdy", V3), ("websocket", V5), ("websocket", V4), ("websocket", V4_BASE64)):
        session = urls.run(f, f.container, ["/bin/sh"], tty=True, stdin=True, over=over, protocols=(protocol,))
        session.stdin.send(b"test -t 0 && test -t 1 && test -t 2 && echo all-are-terminal''s; tty\n")
        session.expect("all-are-terminals\r\n/dev/pts/")
        session.stdin.send(b"echo to-err-''too >&2; exit 9\n")
        got = session.wait()
        contains(got.out, b"to-err-too\r\n")
        equal((got.err, got.message if protocol == V3 else got.code), (b"", got.message if protocol == V3 else 9), f"{over} {protocol}")


def test_terminal_has_the_size_that_the_client_tells(f):
    wait = "until [ \"$(stty size)\" = '%d %d' ]; do sleep 0.05; done; "
    for over, protocol in (("spdy", V4), ("spdy", V3), ("websocket", V5), ("websocket", V4), ("websocket", V4_BASE64)):
        script = "trap 'echo told' WINCH; " + wait % (40, 132) + "echo one; " + wait % (24, 80) + "echo two"
        session = urls.sh(f, f.container, script, tty=True, stdin=True, over=over, protocols=(protocol,))
        session.size(132, 40)
        session.expect("one\r\n")
        session.size(80, 24)
        session.expect("two\r\n")
        contains(session.wait().out, b"told\r\n")


def test_messages_that_come_in_one_piece(f):
    """What is consumed of the first does not cost the second."""
    for columns in range(100, 120):
        session = urls.sh(f, f.container, "read x; stty size; echo $x", tty=True, stdin=True, over="websocket", protocols=(V5,))
        size = b'\x04{"Width":%d,"Height":20}' % columns
        session.link.send(frame(BINARY, size) + frame(BINARY, b"\x00in one piece\n"))
        contains(session.wait().out, b"20 %d\r\nin one piece\r\n" % columns)


def test_sizes_that_are_none(f):
    session = urls.sh(f, f.container, "read x; stty size; read x", tty=True, stdin=True)
    for text in (b"{}\n", b"[]\n", b"null\n", b'{"Width": -1, "Height": "x"}\n', b'{"Width": 70000, "Height": 5}\n', b"no json\n"):
        session.resize.send(text)
    session.link.quiet(0.2)
    session.stdin.send(b"go\n")
    session.link.until("the command goes on", lambda: session.stdout.received.count(b"\n") >= 2 or session.ended())
    session.stdin.send(b"end\n")
    equal(session.wait().code, 0)


def test_terminal_at_the_end_of_input(f):
    session = urls.run(f, f.container, ["cat"], tty=True, stdin=True)
    session.stdin.send(b"line\n")
    session.expect("line\r\nline\r\n")
    session.stdin.end()
    equal(session.wait().code, 0)


def test_interrupt_character(f):
    session = urls.sh(f, f.container, "trap 'echo interrupted; exit 11' INT; echo ready; while :; do sleep 0.1; done", tty=True, stdin=True)
    session.expect("ready\r\n")
    session.stdin.send(b"\x03")
    got = session.wait()
    equal(got.code, 11)
    contains(got.out, b"interrupted\r\n")


def test_client_that_is_gone_hangs_the_command_up(f):
    for over, protocol in (("spdy", V4), ("websocket", V5)):
        for tty in (False, True):
            for leave in ("close", "abort"):
                mark = f"/tmp/hup-{over}-{tty}-{leave}"
                session = urls.sh(f, f.container, f"exec 2>/dev/null; trap 'echo x > {mark}; exit' HUP; echo ready; while :; do sleep 0.1; done",
                                  tty=tty, stdin=True, over=over, protocols=(protocol,))
                session.expect("ready")
                getattr(session.link, leave)()
                wait_for(f"the command was hung up: {mark}", lambda: f.container.exec("ls", "/tmp").find(mark[5:]) >= 0)


def test_what_ignores_the_hang_up_is_killed(f):
    session = urls.sh(f, f.container, "trap '' HUP; (trap '' HUP; exec sleep 1111) & echo ready; exec tail -f /dev/null", stdin=True)
    session.expect("ready")
    wait_for("the command runs", lambda: processes(f, "tail"))
    session.link.abort()
    none_left(f, "tail")


def test_command_that_nobody_listens_to(f):
    """The client reads nothing; the command ends, and the server does not keep the session for ever."""
    session = urls.sh(f, f.container, "head -c 50000000 /dev/zero; exec tail -f /dev/null")
    session.link.reading = False
    wait_for("the command runs", lambda: processes(f, "head") or processes(f, "tail"))
    session.link.abort()
    none_left(f, "tail")
    none_left(f, "head")


def test_runs_as_the_container_does(f):
    c = f.pod.start(SLEEP, security={"run_as_user": {"value": 1234}}, envs=[{"key": "A", "value": "of the container"}], working_dir="/tmp")
    equal(urls.sh(f, c, "id -u; echo $A; pwd; grep -c . /proc/self/cgroup >/dev/null; echo $#:$1", "an argument; $(of) its own").wait().out,
          b"1234\nof the container\n/tmp\n1:an argument; $(of) its own\n")


def test_many_at_the_same_time(f):
    sessions = [urls.sh(f, f.container, f"echo {i}; read x; echo $x; exit {i}", stdin=True, over=over, protocols=(protocol,))
                for i, (over, protocol) in enumerate([("spdy", V4), ("websocket", V5)] * 25)]
    for i, session in enumerate(sessions):
        session.expect(f"{i}\n")
    for i, session in enumerate(sessions):
        session.stdin.send(f"again {i}\n".encode())
    for i, session in reversed(list(enumerate(sessions))):
        equal(session.wait()[:2], (i, f"{i}\nagain {i}\n".encode()))


def test_refused_requests(f):
    nobody = "f" * 64
    ended, created = f.pod.start(["/bin/true"]), f.pod.create(SLEEP)
    ended.wait()
    live = f.container.id
    for code, part, changes in (("NotFound", nobody, {"container": nobody}), ("FailedPrecondition", "", {"container": ended.id}),
                                ("FailedPrecondition", "", {"container": created.id}), ("InvalidArgument", "cmd", {"argv": []}),
                                ("InvalidArgument", "", {"stdout": False, "stderr": False}), ("NotFound", "", {"container": ""})):
        urls.refused(code, part, call=urls.exec_url, **{"f": f, "container": live, "argv": ["true"], **changes})


def test_container_ends_while_a_command_runs(f):
    for over, protocol in (("spdy", V4), ("websocket", V5)):
        c = f.pod.start(SLEEP)
        session = urls.sh(f, c, "echo ready; exec sleep 1000", stdin=True, over=over, protocols=(protocol,))
        session.expect("ready\n")
        f.crictl("stop", "--timeout", "0", c.id)
        equal(session.wait()[:2], (137, b"ready\n"))


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
