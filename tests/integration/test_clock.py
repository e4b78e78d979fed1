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
from suite import Skip, contains, equal, main, wait_for

HOUR = 3600
SHIFTS = (HOUR, -HOUR)
URL_LIFETIME = 3
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


def timed(call):
    """(seconds, what it returned)"""
    begin = time.monotonic()
    value = call()
    return time.monotonic() - begin, value


def lasts(seconds, call, at_most=15):
    """What the call returns, which has to take at least so long, and no more than that much longer."""
    took, value = timed(call)
    assert seconds <= took < seconds + at_most, f"took {took:.1f} s, want {seconds} s: {value}"
    return value


def test_the_library_shifts_the_clock(f):
    """Else the others would show nothing."""
    for shift in SHIFTS:
        f.daemon.shift(shift)
        pod = f.run_pod()
        [created] = [int(p["createdAt"]) / 1e9 for p in f.crictl.json("pods")["items"] if p["id"] == pod.id]
        assert abs(created - time.time() - shift) < 60, (created, shift)


def test_pods_and_containers_under_another_clock(f):
    for shift in SHIFTS:
        f.daemon.shift(shift)
        pod = f.run_pod()
        equal(pod.sh("echo hello; exit 3"), (3, "hello\n"), str(shift))
        pod.remove()


def test_stop_gives_the_time_that_it_was_asked_for(f):
    for before, during in ((HOUR, HOUR), (0, -HOUR), (-HOUR, -HOUR)):
        f.daemon.shift(before)
        c = f.pod.start(STUBBORN)
        wait_for("its trap is set", lambda c=c: c.output() == "ready\n")
        call = subprocess.Popen(f.crictl.argv("stop", "--timeout", "4", c.id), stdout=subprocess.DEVNULL)
        begin = time.monotonic()
        time.sleep(0.5)
        f.daemon.shift(during)
        equal(call.wait(30), 0)
        took = time.monotonic() - begin
        assert 4 <= took < 20, f"took {took:.1f} s with the clock at {before}, then {during}"
        equal(c.status()["exitCode"], 137)


def test_exec_sync_ends_in_time_and_no_earlier(f):
    for shift in SHIFTS:
        f.daemon.shift(shift)
        late = lasts(1, lambda: f.crictl.call("exec", "-s", "--timeout", "1", f.container.id, "/bin/sleep", "40"))
        assert late.status != 0, str(late)
        done = lasts(1.5, lambda: f.crictl.call("exec", "-s", "--timeout", "20", f.container.id, "/bin/sh", "-c", "sleep 1.5; echo done"))
        contains(done.out, "done")


def test_sessions_go_on(f):
    server = pod_net.Echo(pod_net.listen(f.container.process()))
    forward = Forward(urls.forward_url(f, f.pod.id))
    c = f.pod.start(["/bin/sh", "-c", "while read -r line; do echo \"heard $line\"; done"], stdin=True)
    sessions = [(urls.run(f, f.container, ["/bin/cat"], over=over, protocols=(p,), stdin=True), urls.attach(f, c, over=over, protocols=(p,), stdin=True))
                for over, p in (("spdy", V4), ("websocket", V5))]
    for i, shift in enumerate((0, HOUR, -HOUR, 0)):
        f.daemon.shift(shift)
        time.sleep(1)
        for execed, attached in sessions:
            execed.stdin.send(b"round %d\n" % i)
            execed.expect(f"round {i}\n")
            attached.stdin.send(b"round %d\n" % i)
            attached.expect(f"heard round {i}\n")
        forwarded = forward.open(server.port)
        forwarded.data.send(b"there and back")
        forwarded.expect(b"there and back")
        forwarded.data.end()
    for execed, attached in sessions:
        execed.link.close()
        attached.link.close()
    forward.link.close()
    server.close()


def test_urls_live_as_long_as_they_should(f):
    for shift in SHIFTS:
        f.daemon.shift(0)
        kept, late = (urls.exec_url(f, f.container.id, ["/bin/true"]) for _ in range(2))
        f.daemon.shift(shift)
        urls.streams.Command(kept).wait()
        time.sleep(URL_LIFETIME + 1)
        try:
            urls.streams.Command(late)
        except Exception as refused:
            contains(str(refused), "404", "the answer to a URL that is too old")
        else:
            raise AssertionError(f"a URL of {URL_LIFETIME + 1} s was taken, the clock at {shift}")


def test_usage_is_measured_again(f):
    c = f.pod.start(["/bin/sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/large bs=1M count=5 2>/dev/null; sleep 1000"])

    def used():
        [stats] = f.crictl.json("stats", "--id", c.id)["stats"]
        return int(stats["writableLayer"]["usedBytes"]["value"])
    wait_for("a first figure", lambda: used() < 1 << 20)
    f.daemon.shift(HOUR)
    time.sleep(2)  # the meter is in its next pause
    c.exec("/bin/touch", "/go")
    wait_for("the figure grows", lambda: used() >= 5 << 20, 30)


def test_a_server_that_stalls_is_left_in_time(f):
    for before, during in ((HOUR, HOUR), (0, -HOUR)):
        with LyingRegistry() as lying:
            f.daemon.shift(before)
            call = subprocess.Popen(f.crictl.argv("pull", f"{lying.address}/loris:1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(1)
            f.daemon.shift(during)
            out, _ = call.communicate(timeout=80)
            contains(out, "no progress for 2s", f"the clock at {before}, then {during}")


def test_pulls_go_on(f):
    for shift in SHIFTS:
        f.daemon.shift(0)
        with LyingRegistry() as lying:
            call = subprocess.Popen(f.crictl.argv("pull", f"{lying.address}/cut-once:1"), stdout=subprocess.DEVNULL)
            f.daemon.shift(shift)
            equal(call.wait(40), 0)
            f.crictl("rmi", f"{lying.address}/cut-once:1")


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
