#!/usr/bin/env python3
"""Somebody sets the machine's clock, by an hour forward or back, while the daemon waits: everything lasts as long as it was meant
to. The clock of the daemon alone is shifted (tests/fault/clock.cc, which says what that proves)."""
import os
import struct
import subprocess
import sys
import time

import fixture
import pod_net
import urls
from daemon import BIN, Daemon
from lying_registry import LyingRegistry
from streams import V4, V5, Forward
from suite import Skip, contains, equal, main, side_by_side, wait_for

HOUR = 3600
SHIFTS = (HOUR, -HOUR)
URL_LIFETIME = 5
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done"]


class ShiftedDaemon(Daemon):
    def __init__(self, settings=None):
        super().__init__(settings)
        library = BIN / "clock.so"
        if not library.exists():
            raise Skip(f"missing library: {library}")
        self.shift_file = f"{self.files}/clock"
        self.shift(0)
        self.environment = {"LD_PRELOAD": str(library), "BERTH_CLOCK": self.shift_file}

    def shift(self, seconds):
        """Returns when the daemon has noticed: absl looks at the clock every two seconds, and counts cycles in between."""
        # In place: the daemon has mapped it.
        fd = os.open(self.shift_file, os.O_RDWR | os.O_CREAT)
        changed = os.pread(fd, 8, 0) != struct.pack("=q", seconds)
        os.pwrite(fd, struct.pack("=q", seconds), 0)
        os.close(fd)
        end = time.monotonic() + 2.5
        while changed and self.process and time.monotonic() < end:
            self.crictl("version")
            time.sleep(0.2)


class ClockFixture(fixture.Fixture):
    new_daemon = ShiftedDaemon

    def end(self):
        self.daemon.shift(0)
        super().end()


def settings(daemon):
    return (f'streaming.url_lifetime = {URL_LIFETIME}\nstreaming.idle_timeout = 30\nimage.hosts_dirs = ["{daemon.files}/certs.d"]\n'
            "image.progress_timeout = 2")


def lasts(seconds, call, at_most=15):
    """What the call returns, which has to take at least so long, and no more than that much longer."""
    begin = time.monotonic()
    value = call()
    took = time.monotonic() - begin
    assert seconds <= took < seconds + at_most, f"took {took:.1f} s, want {seconds} s: {value}"
    return value


# -- while the clock is another than the machine's

def library_shifts_the_clock(f, shift):
    """Else the others would show nothing."""
    pod = f.run_pod()
    [created] = [int(p["createdAt"]) / 1e9 for p in f.crictl.json("pods")["items"] if p["id"] == pod.id]
    assert abs(created - time.time() - shift) < 60, (created, shift)


def pod_lives(f):
    pod = f.run_pod()
    equal(pod.sh("echo hello; exit 3"), (3, "hello\n"))
    pod.remove()


def stop_takes_its_grace(f, c):
    equal(lasts(4, lambda: f.crictl.call("stop", "--timeout", "4", c.id)).status, 0)
    equal(c.status()["exitCode"], 137)


def exec_sync_ends_in_time(f):
    late = lasts(1, lambda: f.crictl.call("exec", "-s", "--timeout", "1", f.container.id, "/bin/sleep", "40"))
    assert late.status != 0, str(late)


def exec_sync_ends_no_earlier(f):
    done = lasts(1.5, lambda: f.crictl.call("exec", "-s", "--timeout", "20", f.container.id, "/bin/sh", "-c", "sleep 1.5; echo done"))
    contains(done.out, "done")


def stubborn(f):
    c = f.pod.start(STUBBORN)
    wait_for("its trap is set", lambda: c.output() == "ready\n")
    return c


def test_another_clock(f):
    assert f.container
    for shift in SHIFTS:
        f.daemon.shift(shift)
        c = stubborn(f)
        side_by_side(library=lambda shift=shift: library_shifts_the_clock(f, shift), pod=lambda: pod_lives(f),
                     stop=lambda c=c: stop_takes_its_grace(f, c), late=lambda: exec_sync_ends_in_time(f),
                     done=lambda: exec_sync_ends_no_earlier(f))


# -- while it is set

class Sessions:
    """One of each kind, and both protocols, which go on."""

    def __init__(self, f):
        self.server = pod_net.Echo(pod_net.listen(f.container.process()))
        self.forward = Forward(urls.forward_url(f, f.pod.id))
        c = f.pod.start(["/bin/sh", "-c", "while read -r line; do echo \"heard $line\"; done"], stdin=True)
        self.pairs = [(urls.run(f, f.container, ["/bin/cat"], over=over, protocols=(p,), stdin=True),
                       urls.attach(f, c, over=over, protocols=(p,), stdin=True)) for over, p in (("spdy", V4), ("websocket", V5))]
        self.round = 0

    def go_on(self):
        self.round += 1
        for execed, attached in self.pairs:
            execed.stdin.send(b"round %d\n" % self.round)
            execed.expect(f"round {self.round}\n")
            attached.stdin.send(b"round %d\n" % self.round)
            attached.expect(f"heard round {self.round}\n")
        forwarded = self.forward.open(self.server.port)
        forwarded.data.send(b"there and back")
        forwarded.expect(b"there and back")
        forwarded.data.end()

    def close(self):
        for execed, attached in self.pairs:
            execed.link.close()
            attached.link.close()
        self.forward.link.close()
        self.server.close()


def url_lives_as_long_as_it_should(url, end):
    """One that nobody used."""
    time.sleep(max(0, end - time.monotonic()))
    try:
        urls.streams.Command(url)
    except Exception as refused:
        contains(str(refused), "404", "the answer to a URL that is too old")
    else:
        raise AssertionError(f"a URL of {URL_LIFETIME + 1} s was taken")


def stalled_pull_is_left(call):
    out, _ = call.communicate(timeout=80)
    contains(out, "no progress for 2s")


def pull_ends(call):
    out, _ = call.communicate(timeout=40)
    equal(call.returncode, 0, out)


def stop_ends(c, call, begin):
    equal(call.wait(30), 0)
    took = time.monotonic() - begin
    assert 4 <= took < 20, f"took {took:.1f} s"
    equal(c.status()["exitCode"], 137)


def used(f, c):
    [stats] = f.crictl.json("stats", "--id", c.id)["stats"]
    return int(stats["writableLayer"]["usedBytes"]["value"])


def usage_is_measured_again(f, c):
    time.sleep(2)  # the meter is in its next pause
    c.exec("/bin/touch", "/go")
    wait_for("the figure grows", lambda: used(f, c) >= 5 << 20, 30)


def background(f, *argv):
    return subprocess.Popen(f.crictl.argv(*argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_set_while_they_wait(f):
    sessions = Sessions(f)
    for shift in SHIFTS:
        writer = f.pod.start(["/bin/sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/large bs=1M count=5 2>/dev/null; sleep 1000"])
        wait_for("a first figure", lambda writer=writer: used(f, writer) < 1 << 20)
        c = stubborn(f)
        with LyingRegistry() as lying:
            stalled = background(f, "pull", f"{lying.address}/loris:1")
            begin = time.monotonic()
            stop = background(f, "stop", "--timeout", "4", c.id)
            kept, late = (urls.exec_url(f, f.container.id, ["/bin/true"]) for _ in range(2))
            end = time.monotonic() + URL_LIFETIME + 1
            f.daemon.shift(shift)
            urls.streams.Command(kept).wait()
            side_by_side(sessions=sessions.go_on, url=lambda: url_lives_as_long_as_it_should(late, end),
                         stalled=lambda: stalled_pull_is_left(stalled), stop=lambda: stop_ends(c, stop, begin),
                         usage=lambda: usage_is_measured_again(f, writer))
            # Not beside the other one, which has the same layers.
            going = background(f, "pull", f"{lying.address}/cut-once:1")
            f.daemon.shift(0)
            pull_ends(going)
            f.crictl("rmi", f"{lying.address}/cut-once:1")
    sessions.close()


def test_times_are_in_their_order(f):
    """Those of what was made before the clock was set back, too."""
    f.daemon.shift(HOUR)
    pod = f.run_pod()
    c = pod.create(["/bin/true"])
    f.daemon.shift(0)
    f.crictl("start", c.id)
    status = c.wait()
    assert status["createdAt"] <= status["startedAt"] <= status["finishedAt"], status
    f.crictl("stopp", pod.id)
    config = {**pod.config, "metadata": {**pod.config["metadata"], "attempt": 1}}
    again = f.run_pod(config)
    created = {p["id"]: int(p["createdAt"]) for p in f.crictl.json("pods")["items"]}
    assert created[again.id] > created[pod.id], created


if __name__ == "__main__":
    main(sys.modules[__name__], lambda: ClockFixture([fixture.BUSYBOX], [], settings=settings))
