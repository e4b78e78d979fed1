#!/usr/bin/env python3
"""Attach: what a running container writes and reads, for several clients at the same time, whatever they do."""
import hashlib
import sys
import time

import fixture
import leaks
import streams
import urls
from streams import V3, V4, V4_BASE64, V5
from suite import contains, equal, main, wait_for

BOTH = (("spdy", V4), ("websocket", V5))
# Writes what it reads, with a word that tells the two apart, until it reads an end.
PARROT = ["/bin/sh", "-c", "while read -r line; do echo \"heard $line\"; done; echo no more"]
PIECES = 500  # of 64 KiB, more than all the buffers on the way hold


def after_a_line(script):
    """What writes nothing before somebody listens."""
    return ["/bin/sh", "-c", f"read -r line; {script}"]


def reading(f, command, **more):
    return f.pod.start(command, stdin=True, **more)


def listeners(f, c, count, **more):
    """Sessions of which the container knows: attaching is over when its reply has come."""
    return [urls.attach(f, c, over=over, protocols=(p,), stdin=True, **more) for over, p in (BOTH * count)[:count]]


def settle(*sessions):
    """The server has attached them: it says nothing about that, but it answers in order."""
    for session in sessions:
        session.link.quiet(0.3)


def logged(c, text):
    wait_for(f"{text!r} in the log", lambda: text in c.output())


def test_output_goes_to_everybody_and_into_the_log(f):
    c = reading(f, after_a_line("echo to out; echo to err >&2; exec sleep 1000"))
    sessions = listeners(f, c, 4)
    settle(*sessions)
    sessions[0].stdin.send(b"go\n")
    for session in sessions:
        session.expect("to out\n")
        session.expect("to err\n", channel=session.stderr)
        equal((session.stdout.take(), session.stderr.take()), (b"to out\n", b"to err\n"))
        session.link.close()
    wait_for("both lines are in the log", lambda: len(c.log_lines()) == 2)


def test_input_that_the_container_does_not_have(f):
    for over, protocol in BOTH:
        c = f.pod.start(["/bin/sh", "-c", "while sleep 1; do echo still here; done"])
        session = urls.attach(f, c, over=over, protocols=(protocol,), stdin=True)
        for _ in range(20):
            session.stdin.send(b"x" * 65536)
        session.expect("still here\n")
        session.link.close()


def test_input_from_several(f):
    c = reading(f, PARROT)
    first, second = listeners(f, c, 2)
    settle(first, second)
    first.stdin.send(b"one\n")
    second.expect("heard one\n")
    second.stdin.send(b"two\n")
    first.expect("heard one\nheard two\n")
    first.link.close()
    second.stdin.send(b"three\n")
    second.expect("heard three\n")
    logged(c, "heard three\n")


def test_input_goes_on_after_one_client_has_ended_its_own(f):
    c = reading(f, PARROT)
    first, second = urls.attach(f, c, stdin=True), urls.attach(f, c, stdin=True)
    settle(first, second)
    first.stdin.send(b"one\n")
    first.stdin.end()
    second.expect("heard one\n")
    settle(second)
    second.stdin.send(b"two\n")
    second.expect("heard two\n")
    third = urls.attach(f, c, stdin=True)
    settle(third)
    third.stdin.send(b"three\n")
    third.expect("heard three\n")
    equal(c.status()["state"], "CONTAINER_RUNNING")


def test_input_once(f):
    for over, protocol in BOTH:
        c = reading(f, PARROT, stdin_once=True)
        session = urls.attach(f, c, stdin=True, over=over, protocols=(protocol,))
        session.stdin.send(b"all of it\n")
        session.stdin.end()
        got = session.wait()
        equal((got.code, got.out), (0, b"heard all of it\nno more\n"))
        equal(c.wait()["exitCode"], 0)


def test_input_once_ends_when_the_client_is_gone(f):
    c = reading(f, PARROT, stdin_once=True)
    session = urls.attach(f, c, stdin=True)
    session.stdin.send(b"some of it\n")
    session.expect("heard some of it\n")
    session.link.abort()
    c.wait()
    logged(c, "no more\n")


def test_output_before_the_end(f):
    """A container that ends at once after it wrote."""
    for i in range(12):
        over, protocol = BOTH[i % 2]
        c = reading(f, after_a_line(f"head -c {70000 + i} /dev/zero; echo last >&2; exit 3"))
        session = urls.attach(f, c, stdin=True, over=over, protocols=(protocol,))
        settle(session)
        session.stdin.send(b"go\n")
        got = session.wait()
        equal((len(got.out), got.err), (70000 + i, b"last\n"))
        equal(c.wait()["exitCode"], 3)


def test_terminal(f):
    for over, protocol in (("spdy", V4), ("spdy", V3), ("websocket", V5), ("websocket", V4_BASE64)):
        c = f.pod.start(["/bin/sh"], stdin=True, tty=True)
        session = urls.attach(f, c, tty=True, stdin=True, over=over, protocols=(protocol,))
        session.size(132, 40)
        session.stdin.send(b"until [ \"$(stty size)\" = '40 132' ]; do sleep 0.1; done; echo the-size-''is-there\n")
        session.expect("the-size-is-there\r\n")
        second = urls.attach(f, c, tty=True, stdin=True, over=over, protocols=(protocol,))
        settle(second)
        second.stdin.send(b"echo to-''both\n")
        session.expect("to-both\r\n")
        second.expect("to-both\r\n")
        second.link.abort()
        session.stdin.send(b"exit 5\n")
        session.wait()
        equal(c.wait()["exitCode"], 5)


def test_terminal_outlives_its_clients(f):
    c = f.pod.start(["/bin/sh", "-c", "trap 'echo hung up; exit 1' HUP; while read -r l; do echo \"heard $l\"; done"], stdin=True, tty=True)
    for text in ("one", "two", "three"):
        session = urls.attach(f, c, tty=True, stdin=True)
        session.stdin.send(f"{text}\n".encode())
        session.expect(f"heard {text}\r\n")
        session.link.abort()
    equal(c.status()["state"], "CONTAINER_RUNNING")
    assert "hung up" not in c.output(), c.output()


def test_terminal_is_the_containers_choice(f):
    """A client that asks for another kind than the container has."""
    plain, terminal = f.pod.start(["/bin/sleep", "1000"]), f.pod.start(["/bin/sleep", "1000"], tty=True)
    for c, tty in ((plain, True), (terminal, False)):
        try:
            session = urls.attach(f, c, tty=tty)
        except urls.Refusal as e:
            assert e.code in ("InvalidArgument", "FailedPrecondition"), e
        else:
            settle(session)
            session.link.close()


def test_slow_client_is_dropped_and_the_others_get_everything(f):
    flood = f"i=0; while [ $i -lt {PIECES} ]; do head -c 65535 /dev/zero | tr '\\0' x; echo; i=$((i+1)); sleep 0.01; done; echo the end; exec sleep 1000"
    c = reading(f, after_a_line(flood))
    slow, reader, web = urls.attach(f, c), urls.attach(f, c, stdin=True), urls.attach(f, c, over="websocket", protocols=(V5,))
    settle(slow, reader, web)
    slow.link.reading = False
    reader.stdin.send(b"go\n")
    end = time.monotonic() + 90
    # In turns, so that neither of them is slow.
    while not all(s.stdout.received.endswith(b"the end\n") for s in (reader, web)):
        assert time.monotonic() < end and not reader.link.ended and not web.link.ended, [s.stdout.total for s in (reader, web)]
        reader.link.pump(0.01)
        web.link.pump(0.01)
    want = hashlib.sha256((b"x" * 65535 + b"\n") * PIECES + b"the end\n").hexdigest()
    for session in (reader, web):
        equal(hashlib.sha256(session.stdout.received).hexdigest(), want, f"{session.stdout.total} bytes")
    wait_for("all is in the log", lambda: c.log_lines()[-1:] == [("stdout", "F", "the end")])
    slow.link.reading = True
    # It gets what was on the way, and is told then.
    slow.link.until("the slow client's session is over", slow.ended, 30)
    assert slow.stdout.total < PIECES << 16, f"{slow.stdout.total} bytes were kept for a client that did not read"
    told = slow.outcome()
    assert told.code is None and told.message, f"the slow client was not told: {told}"
    equal(c.status()["state"], "CONTAINER_RUNNING")


def test_client_that_does_not_read_holds_nobody_up(f):
    """The container writes far more than any buffer holds while its only client sleeps."""
    c = reading(f, after_a_line("head -c 30000000 /dev/zero; exit 4"))
    session = urls.attach(f, c, stdin=True)
    session.stdin.send(b"go\n")
    session.link.reading = False
    equal(c.wait(30)["exitCode"], 4)


def test_input_that_nobody_reads(f):
    """The client sends without an end; the container reads nothing, and its output still comes."""
    c = reading(f, ["/bin/sh", "-c", "while sleep 0.2; do echo alive; done"])
    sender, other = urls.attach(f, c, stdin=True), urls.attach(f, c, stdin=True)
    sender.stdin.send(bytes(4 << 20))
    for session in (sender, other):
        session.expect("alive\nalive\n")
    sender.link.abort()
    other.stdout.take()
    other.expect("alive\nalive\n")


def test_daemon_is_killed_and_starts_again(f):
    c, terminal = reading(f, PARROT), f.pod.start(["/bin/sh"], stdin=True, tty=True)
    before, screen = urls.attach(f, c, stdin=True), urls.attach(f, terminal, stdin=True, tty=True)
    before.stdin.send(b"before\n")
    before.expect("heard before\n")
    screen.stdin.send(b"echo be''fore\n")
    screen.expect("before\r\n")
    f.daemon.kill()
    for session in (before, screen):
        wait_for("the client sees the end", lambda session=session: session.link.pump(0.1) or session.link.ended)
        session.link.close()
    f.daemon.start()
    f.rebase_descriptors()
    after, screen = urls.attach(f, c, stdin=True), urls.attach(f, terminal, stdin=True, tty=True)
    settle(after)
    after.stdin.send(b"after\n")
    after.expect("heard after\n")
    screen.size(90, 30)
    screen.stdin.send(b"until [ \"$(stty size)\" = '30 90' ]; do sleep 0.1; done; echo af''ter; exit 6\n")
    screen.expect("after\r\n")
    screen.wait()
    equal(terminal.wait()["exitCode"], 6)
    equal(urls.sh(f, c, "echo exec; exit 8").wait()[:2], (8, b"exec\n"))
    equal(c.output(), "heard before\nheard after\n")


def test_exec_goes_down_with_the_daemon(f):
    """Nobody would take its output any more. One without a terminal writes nothing and would never learn of it."""
    c = reading(f, PARROT)
    session = urls.sh(f, c, "echo ready; exec tail -f /dev/null", stdin=True)
    session.expect("ready\n")
    f.daemon.kill()
    session.link.until("the client sees the end", lambda: session.link.ended or session.link.failure)
    session.link.close()
    f.daemon.start()
    f.rebase_descriptors()
    equal(c.status()["state"], "CONTAINER_RUNNING")
    wait_for("the exec is gone", lambda: all(name != "tail" for _, name in leaks.processes_in(f.daemon.cgroup_parent)))


def test_refused_requests(f):
    nobody = "f" * 64
    ended, created, live = f.pod.start(["/bin/true"]), f.pod.create(["/bin/sleep", "1000"]), f.pod.start(["/bin/sleep", "1000"])
    ended.wait()
    for code, part, changes in (("NotFound", nobody, {"container": nobody}), ("FailedPrecondition", "", {"container": ended.id}),
                                ("FailedPrecondition", "", {"container": created.id}),
                                ("InvalidArgument", "", {"stdout": False, "stderr": False}), ("NotFound", "", {"container": ""})):
        urls.refused(code, part, call=urls.attach_url, **{"f": f, "container": live.id, **changes})


def test_container_ends_before_the_client_comes(f):
    c = f.pod.start(["/bin/sleep", "1000"])
    url = urls.attach_url(f, c.id)
    f.crictl("stop", "--timeout", "0", c.id)
    got = streams.Command(url).wait()
    assert got.code is None and got.message, f"attached to a container that is not there: {got}"


def test_container_without_input(f):
    """What the client types is for nobody."""
    c = f.pod.start(["/bin/sh", "-c", "read -r x; echo \"read <$x>\"; while sleep 0.2; do echo alive; done"])
    try:
        session = urls.attach(f, c, stdin=True)
    except urls.Refusal as e:
        equal(e.code, "FailedPrecondition")
        return
    session.stdin.send(b"typed\n")
    session.expect("alive\nalive\n")
    contains(c.output(), "read <>\n")
    session.link.close()


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
