#!/usr/bin/env python3
"""Sessions that are cut at any point leave nothing behind: no descriptor, no thread, no process."""
import os
import random
import sys

import fixture
import leaks
import pod_net
import streams
import urls
from streams import V4, V5
from suite import equal, main, wait_for

SLEEP = ["/bin/sleep", "1000"]
SESSIONS = 1000


def settings(_daemon):
    return "streaming.creation_timeout = 3"


def still_serves(f):
    for over, protocol in (("spdy", V4), ("websocket", V5)):
        equal(urls.run(f, f.container, ["/bin/echo", "hello"], over=over, protocols=(protocol,)).wait(), (0, b"hello\n", b"", ""))


class Cut(Exception):
    pass


class Counter:
    """Cuts a session when it has moved so many times."""

    def __init__(self, generator):
        self.left = generator.randrange(0, 9)

    def step(self, carrier):
        if carrier:
            carrier.quiet(0.004)
        self.left -= 1
        if self.left < 0:
            raise Cut


def cut_command(generator, make, counter):
    tty = generator.random() < 0.3
    url = make(tty)
    if generator.random() < 0.05:
        return None  # never used
    over, protocol = generator.choice((("spdy", V4), ("websocket", V5), ("websocket", V4)))
    if over == "spdy" and generator.random() < 0.3:
        _, connection, carrier = streams.spdy_upgrade(url, (protocol,))
        for kind in ("error", "stdin", "stdout"):
            if generator.random() < 0.4:
                return carrier
            connection.open({"streamtype": kind})
        return carrier
    session = streams.Command(url, (protocol,), over, tty=tty, stdin=True)
    try:
        counter.step(session.link)
        session.stdin.send(b"line\n" * generator.randrange(1, 3000))
        counter.step(session.link)
        if tty:
            session.size(generator.randrange(1, 200), 24)
        counter.step(session.link)
        if over == "spdy" or protocol == V5:
            session.stdin.end()
        counter.step(session.link)
        session.link.reading = False
        counter.step(None)
    except Cut:
        pass
    return session.link


def cut_forward(f, port, generator, counter):
    url = urls.forward_url(f, f.pod.id, port)
    if generator.random() < 0.3:
        session = streams.ChannelForward(url)
        carrier, opened = session.link, session.connections
        carrier.quiet(0.01)
    else:
        session = streams.Forward(url, generator.choice(("spdy", "tunnel")))
        carrier, opened = session.link, [session.open(port) for _ in range(generator.randrange(0, 5))]
    try:
        counter.step(carrier)
        for c in opened:
            c.data.send(bytes(generator.randrange(1, 200000)))
            counter.step(carrier)
    except Cut:
        pass
    return carrier


def held(pid):
    return (len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))


def test_thousand_sessions_cut_anywhere(f):
    generator = random.Random(5)
    process = f.container.process()
    attached = [f.pod.start(["/bin/sh", "-c", "while read -r l; do echo \"$l\"; done; exec sleep 1000"], stdin=True, tty=tty) for tty in (False, True)]
    echo = pod_net.Echo(pod_net.listen(process))
    still_serves(f)
    commands = (["/bin/cat"], ["/bin/cat", "/dev/zero"], ["/bin/sh", "-c", "cat & cat; sleep 1"], ["/bin/true"], SLEEP, ["/no/such"])

    def daemon_holds():
        return held(f.daemon.pid)

    def pods_hold():
        """Processes in the pods' cgroups, and descriptors of the shims among them."""
        found = sorted(leaks.processes_in(f.daemon.cgroup_parent))
        return [(pid, name, len(os.listdir(f"/proc/{pid}/fd")) if "shim" in name else 0) for pid, name in found]
    before, pods = daemon_holds(), pods_hold()
    open_at_once = []
    for i in range(SESSIONS):
        kind = generator.random()
        counter = Counter(generator)
        if kind < 0.45:
            argv = generator.choice(commands)
            carrier = cut_command(generator, lambda tty, argv=argv: urls.exec_url(f, f.container.id, argv, tty=tty, stdin=True), counter)
        elif kind < 0.7:
            carrier = cut_command(generator, lambda tty: urls.attach_url(f, attached[tty].id, tty=tty, stdin=True), counter)
        else:
            carrier = cut_forward(f, echo.port, generator, counter)
        if carrier:
            open_at_once.append(carrier)
        while len(open_at_once) > 20 or (open_at_once and i == SESSIONS - 1):
            getattr(open_at_once.pop(generator.randrange(len(open_at_once))), generator.choice(("close", "abort")))()
        if i % 250 == 249:
            still_serves(f)
    # Whoever was hung up and did not end is killed after ten seconds.
    wait_for(f"the pods hold what they held: {pods}", lambda: pods_hold() == pods or print_changes(pods, pods_hold()), 25, 1)
    wait_for(f"the daemon holds {before} descriptors and threads again", lambda: daemon_holds()[0] <= before[0], 15, 0.5)
    threads = daemon_holds()[1]
    assert threads <= before[1] + 8, f"{threads} threads, {before[1]} before"
    equal(f.container.status()["state"], "CONTAINER_RUNNING")
    echo.close()
    still_serves(f)


def print_changes(before, now):
    print("in the pods:", sorted(set(now) - set(before)), "gone:", sorted(set(before) - set(now)), flush=True)


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX], settings=settings))
