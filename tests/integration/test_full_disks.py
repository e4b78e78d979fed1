#!/usr/bin/env python3
"""Disks without a single free block: under /var/lib/berth, and the memory that /run is made of. What runs goes on, can be looked
at, stopped and removed, and no exit code is lost; what is new is refused with a reason; and once there is room again all is
as if nothing had happened."""
import errno
import os
import pathlib
import signal
import subprocess
import sys

import fixture
import leaks
from daemon import Daemon
from suite import contains, equal, main, need_programs, wait_for

TRAPS = "trap 'exit 41' TERM; echo ready; while true; do sleep 0.05; done"
RUN_BYTES = 4 << 20


class SmallDaemon(Daemon):
    """One whose two directories are small file systems of their own."""

    def __init__(self, settings=None):
        super().__init__(settings)
        need_programs("mkfs.ext4", "mount")
        self.disk = f"{self.files}/disk"
        with open(self.disk, "wb") as f:
            f.truncate(256 << 20)
        subprocess.run(["mkfs.ext4", "-q", self.disk], check=True)
        subprocess.run(["mount", "-o", "loop", self.disk, self.root], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={RUN_BYTES}", "tmpfs", self.state], check=True)

    def _still_there(self):
        return [line for line in super()._still_there() if line not in (f"mount {self.root}", f"mount {self.state}")]


class Disks(fixture.Fixture):
    new_daemon = SmallDaemon

    def fill(self, directory):
        """To the last block, root's as well."""
        fd = os.open(f"{directory}/filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for size in (1 << 20, 4096, 1):
                while True:
                    os.write(fd, bytes(size))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
        # Smaller and smaller pieces, until nothing fits.
        for size in (65536, 4096, 512):
            try:
                while True:
                    os.write(fd, bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
        os.close(fd)
        self.cleanup(self.free, directory)

    @staticmethod
    def free(directory):
        pathlib.Path(directory, "filler").unlink(missing_ok=True)


def busy_pod(f):
    """A pod with containers of each kind; the log of `traps` says when it is ready."""
    pod = f.run_pod()
    made = {"sleeps": pod.start(["/bin/sleep", "100000"]), "traps": pod.start(["/bin/sh", "-c", TRAPS]),
            "ends": pod.start(["/bin/sh", "-c", "sleep 3; exit 42"]), "waits": pod.create(["/bin/true"])}
    wait_for("the trap is set", lambda: made["traps"].output() == "ready\n")
    return pod, made


def expect_refused(result, *parts):
    result.refused("ResourceExhausted", "No space left on device" if not parts else "", *parts)


def look(f, pod, made):
    """What asks changes nothing, and needs no room."""
    equal(made["sleeps"].status()["state"], "CONTAINER_RUNNING")
    equal(pod.inspect()["status"]["state"], "SANDBOX_READY")
    assert len(f.crictl.json("ps", "-a")["containers"]) >= len(made)
    equal(made["sleeps"].exec("/bin/echo", "here"), "here\n")
    f.crictl("stats", "--id", made["sleeps"].id)
    f.crictl("images")


def stop(f, made):
    equal(made["ends"].wait()["exitCode"], 42)
    f.crictl("stop", "--timeout", "10", made["traps"].id)
    equal(made["traps"].status()["exitCode"], 41)
    f.crictl("stop", "--timeout", "0", made["sleeps"].id)
    equal(made["sleeps"].status()["exitCode"], 137)


def codes(made):
    return {name: (c.status()["state"], c.status()["exitCode"]) for name, c in made.items()}


def restart(f):
    f.daemon.kill()
    f.daemon.start()
    f.rebase_descriptors()


def test_full_root(f):
    pod, made = busy_pod(f)
    f.fill(f.daemon.root)
    look(f, pod, made)
    with_pod = leaks.snapshot(f.daemon)
    new = f.pod_config()
    f.crictl.call("runp", f.write("new.json", new)).refused("ResourceExhausted", f.daemon.root)
    config = pod.container_config(["/bin/true"])
    pod.try_create(config).refused("ResourceExhausted", f.daemon.root)
    wait_for("the refused calls leave nothing", lambda: {l for l in leaks.snapshot(f.daemon) - with_pod if not l.startswith("descriptor")} == set(), 5)
    stop(f, made)
    before = codes(made)
    restart(f)  # on the full disk
    equal(codes(made), before)
    f.crictl("start", made["waits"].id)
    equal(made["waits"].wait()["exitCode"], 0)
    f.crictl("rm", made["traps"].id)
    f.free(f.daemon.root)
    again = pod.try_create(config)
    equal(again.status, 0, str(again))
    f.crictl("start", again.out.strip())
    second = f.run_pod(new)
    equal(second.sh("echo fine"), (0, "fine\n"))


def test_pods_are_removed_from_a_full_root(f):
    pod, made = busy_pod(f)
    f.fill(f.daemon.root)
    f.crictl("stopp", pod.id)
    f.crictl("rmp", "-f", pod.id)
    equal(f.crictl.json("pods")["items"], [])
    equal(f.crictl.json("ps", "-a")["containers"], [])
    restart(f)
    equal(f.crictl.json("pods")["items"], [])


def test_full_run(f):
    pod, made = busy_pod(f)
    f.fill(f.daemon.state)
    look(f, pod, made)
    with_pod = leaks.snapshot(f.daemon)
    f.crictl.call("runp", f.write("new.json", f.pod_config())).refused("ResourceExhausted")
    pod.try_create(pod.container_config(["/bin/true"])).refused("ResourceExhausted", "exit record")
    wait_for("the refused calls leave nothing", lambda: {l for l in leaks.snapshot(f.daemon) - with_pod if not l.startswith("descriptor")} == set(), 5)
    stop(f, made)
    before = codes(made)
    restart(f)
    equal(codes(made), before)
    f.crictl("rmp", "-f", pod.id)


def test_exits_survive_a_full_run_and_both_their_witnesses(f):
    """With the daemon dead and the shim killed, the record in /run is all that there is; and /run is full."""
    pod = f.run_pod()
    ends = pod.start(["/bin/sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 43"])
    sleeps = pod.start(["/bin/sleep", "100000"])
    root, inits, group = f"/proc/{ends.process()}/root", {ends.process(), sleeps.process()}, f.daemon.cgroup_of(pod)
    f.fill(f.daemon.state)
    f.daemon.kill()
    pathlib.Path(root, "go").touch()
    wait_for("the shim records the exit", lambda: os.path.exists(f"{f.daemon.state}/pods/{pod.id}/{ends.id}.exit"))
    [shim] = [p for p, name in leaks.processes_in(group) if p not in inits and name.startswith("berth")]
    os.kill(shim, signal.SIGKILL)
    f.daemon.start()
    f.rebase_descriptors()
    equal(ends.status()["exitCode"], 43)
    equal(sleeps.status()["state"], "CONTAINER_EXITED")
    pod.remove()


def test_logs_on_a_full_disk(f):
    """The container is not held up, and its log says what is missing."""
    config = f.pod_config()
    config["log_directory"] = f"{f.daemon.root}/logs"
    pod = f.run_pod(config)
    c = pod.start(["/bin/sh", "-c", "i=0; while [ ! -e /end ]; do i=$((i+1)); echo tick $i $(head -c 2000 /dev/zero | tr '\\0' x); done; echo last; exit 44"])
    wait_for("it logs", lambda: len(c.log_lines()) > 3)
    root = f"/proc/{c.process()}/root"
    f.fill(f.daemon.root)
    look(f, pod, {"sleeps": c})
    f.free(f.daemon.root)
    wait_for("the log goes on", lambda: any("bytes of output were lost: No space left" in text for _, _, text in c.log_lines()))
    pathlib.Path(root, "end").touch()
    equal(c.wait()["exitCode"], 44)
    wait_for("the last line", lambda: c.log_lines()[-1][2] == "last")
    pod.remove()
    subprocess.run(["rm", "-r", config["log_directory"]], check=True)


if __name__ == "__main__":
    main(sys.modules[__name__], lambda: Disks([fixture.BUSYBOX]))
