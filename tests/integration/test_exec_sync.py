#!/usr/bin/env python3
"""ExecSync where it is hard: much output, commands that do not end, children that outlive them."""
import re
import subprocess
import sys
import time

import fixture
import rpc
from fixture import BUSYBOX
from rpc import message
from suite import contains, equal, main, wait_for

LIMIT = (16 << 20) - 1024  # a message of a kubelet's may have 16 MiB


def exec_sync(f, container, script, timeout=0):
    """((code, words), the answer's fields) of a shell script."""
    request = message((1, container.id), (2, "/bin/sh"), (2, "-c"), (2, script), (3, timeout))
    code, words, fields = rpc.answer(f.daemon.socket, "RuntimeService/ExecSync", request)
    return (code, words), fields


def processes(container):
    return container.exec("/bin/ps")


def peak_memory(f):
    with open(f"/proc/{f.daemon.process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024


def sleeper(f):
    return f.pod.start(["/bin/sleep", "1000"])


def test_output_is_cut_to_what_a_kubelet_takes(f):
    c = sleeper(f)
    outcome, answer = exec_sync(f, c, "dd if=/dev/zero bs=65536 count=300 2>/dev/null; dd if=/dev/zero bs=65536 count=300 >&2 "
                                "2>/tmp/out; cat /tmp/out >/dev/null; echo late >/tmp/end; exit 3")
    equal(outcome, ("OK", ""))
    equal((len(answer[1]), len(answer[2]), answer[3]), (LIMIT // 2, LIMIT // 2, 3))
    equal(c.exec("/bin/cat", "/tmp/end"), "late\n", "the command was not held up")
    outcome, answer = exec_sync(f, c, "dd if=/dev/zero bs=65536 count=300 >&2 2>/dev/null; echo x")
    equal((outcome, len(answer[2]), answer[1]), (("OK", ""), LIMIT - 2, b"x\n"))
    outcome, answer = exec_sync(f, c, "dd if=/dev/zero bs=65536 count=300 2>/dev/null; echo x >&2")
    equal((outcome, len(answer[1]), answer[2]), (("OK", ""), LIMIT - 2, b"x\n"))


def test_endless_output_takes_no_more_memory_than_the_cut(f):
    c = sleeper(f)
    before = peak_memory(f)
    outcome, _ = exec_sync(f, c, "cat /dev/zero", timeout=2)
    equal(outcome[0], "DeadlineExceeded")
    grown = peak_memory(f) - before
    assert grown < 4 * LIMIT, f"{grown} bytes more"


def test_timeout_kills_what_the_command_started(f):
    c = sleeper(f)
    started = time.monotonic()
    # In its own session, orphaned, and as a daemon is: forked twice with a session in between.
    outcome, _ = exec_sync(f, c, "setsid sleep 771 & (sleep 772 &) ; (setsid sh -c 'sleep 773 & sleep 774' &) ; sleep 775", timeout=1)
    equal(outcome, ("DeadlineExceeded", "command timed out after 1s"))
    assert time.monotonic() - started < 10
    assert "sleep 77" not in processes(c), processes(c)


def test_a_caller_that_goes_away_ends_its_command(f):
    c = sleeper(f)
    with subprocess.Popen([f.crictl.program, "-c", f.crictl.config, "exec", "-s", c.id, "/bin/sleep", "881"]) as caller:
        wait_for("the command runs", lambda: "sleep 881" in processes(c))
        caller.kill()
    wait_for("it is killed", lambda: "sleep 881" not in processes(c))


def test_a_child_in_the_background_holds_nothing_up(f):
    c = sleeper(f)
    outcome, answer = exec_sync(f, c, "sleep 666 & echo started")
    equal((outcome, answer), (("OK", ""), {1: b"started\n"}))
    contains(processes(c), "sleep 666")


def test_a_child_that_floods_the_output_holds_nothing_up(f):
    c = sleeper(f)
    started = time.monotonic()
    outcome, answer = exec_sync(f, c, "yes flood & yes flood >&2 & sleep 1")
    equal(outcome, ("OK", ""))
    assert answer[1].startswith(b"flood\nflood\n") and answer[2].startswith(b"flood\nflood\n")
    assert time.monotonic() - started < 10
    # Nobody reads it any more.
    wait_for("the flood ends", lambda: "yes flood" not in processes(c))


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([BUSYBOX]))
