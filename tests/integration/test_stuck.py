#!/usr/bin/env python3
"""Containers, shims and disks that do not let go: every stop ends within its bounds and says what is in the way, and nobody
else waits meanwhile."""
import glob
import os
import pathlib
import signal
import subprocess
import sys
import time

import cgroups
import fixture
import leaks
import rpc
from suite import Skip, contains, equal, main, need_programs, side_by_side, wait_for

# Rungs of docs/design/0039-stop-ladder.md.
KILL_WAIT, REPORT_WAIT, SHUTDOWN_WAIT = 10, 5, 10
# What the life of a pod that has nothing to do with it may take on a busy machine.
ELSEWHERE = 10


class Stuck(fixture.Fixture):
    """Whose disks are thawed and unmounted however the program ends."""

    def __init__(self):
        self.disks = []
        super().__init__([fixture.BUSYBOX], ())

    def close(self):
        for disk in self.disks:
            disk.thaw()
        if self.disks and self.daemon.process:
            self.crictl.call("rmp", "-a", "-f")
        for disk in self.disks:
            subprocess.run(["umount", "-l", disk.path], check=False)
        return super().close()


def timed(call, *arguments, **options):
    """The call's result, and how many seconds it took."""
    start = time.monotonic()
    result = call(*arguments, **options)
    return result, time.monotonic() - start


def within(seconds, limit, what):
    assert seconds <= limit, f"{what} took {seconds:.1f} s, more than {limit:g}"


def stop(c, grace=0):
    """Stops it, which must work within the grace, the time that killing may take, and some slack."""
    done, took = timed(c.crictl.call, "stop", "--timeout", grace, c.id)
    equal(done.status, 0, str(done))
    within(took, grace + KILL_WAIT, "the stop")
    return c.status()


def elsewhere(f):
    """Another pod's life, from its start to its end, while something is stuck."""
    def life():
        pod = f.run_pod()
        c = pod.start(["/bin/sleep", "1000"])
        equal(c.exec("echo", "hello"), "hello\n")
        f.crictl("stop", "--timeout", "0", c.id)
        c.remove()
        pod.remove()
    _, took = timed(life)
    within(took, ELSEWHERE, "another pod's life")


def freezers(pid):
    """The freezer's directory of that process's cgroup (v1)."""
    if cgroups.V2:
        raise Skip("a v1 freezer: this machine has cgroup v2")
    cgroups.need("freezer")
    return cgroups.path_of(pid, "freezer")


def shim_of(f, pod):
    [shim] = [pid for pid, name in leaks.processes_in(f.daemon.cgroup_of(pod)) if name.startswith("berth")]
    return shim


def background(f, *argv):
    return subprocess.Popen(f.crictl.argv(*argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# -- containers that do not want to end

def test_ignores_sigterm(f):
    c = f.pod.start(["/bin/sh", "-c", "trap '' TERM INT HUP; echo ready; while true; do sleep 0.2; done"])
    wait_for("it is ready", lambda: c.output() == "ready\n")
    status, took = timed(stop, c, 1)
    equal(status["exitCode"], 137)
    assert took >= 1, f"killed before its grace was over: {took:.1f} s"


def test_stopped_by_a_signal(f):
    """SIGSTOP keeps SIGTERM from being handled, not SIGKILL from killing."""
    c = f.pod.start(["/bin/sh", "-c", "trap 'exit 7' TERM; while true; do sleep 0.2; done"])
    os.kill(c.process(), signal.SIGSTOP)
    equal(stop(c, 1)["exitCode"], 137)


def test_zombies_and_orphans(f):
    """A first process that never reaps, its children's children, and one that left its session."""
    script = "(sleep 0.01 & sleep 0.01 & exec sleep 1000) & (setsid sleep 1001 &) ; echo ready; exec tail -f /dev/null"
    for pid_mode in (fixture.CONTAINER, fixture.POD, fixture.NODE):
        pod = f.run_pod(namespaces={"pid": pid_mode})
        c = pod.start(["/bin/sh", "-c", script])
        wait_for("it is ready", lambda: c.output() == "ready\n")
        group = pathlib.Path(f"/proc/{c.process()}/cgroup").read_text().splitlines()[0].split(":")[2]
        equal(stop(c)["exitCode"], 137, f"pid mode {pid_mode}")
        wait_for("nothing is left in its cgroup", lambda: not list(leaks.processes_in(group)))


# A shell that cannot fork ends, which makes room for another's child; the first one only waits, and reaps.
BOMB = "bomb() { while true; do (bomb) & (sleep 0.2); done; }; sleep 1000 & bomb 2>/dev/null & wait"


def bombs(f, pid_mode):
    """A pod and its container, in which as many processes as it may have make new ones all the time."""
    cgroups.need("pids")
    pod = f.run_pod(namespaces={"pid": pid_mode})
    c = pod.create(["/bin/sh", "-c", BOMB])
    # Before it starts, since the test's machine is to survive.
    path = cgroups.path_of(c.process(), "pids")
    pathlib.Path(f"{path}/pids.max").write_text("300")
    f.crictl("start", c.id)
    wait_for("the bomb has gone off", lambda: int(pathlib.Path(f"{path}/pids.current").read_text()) >= 295, 60)
    return pod, c


def test_fork_bomb_is_stopped(f):
    _, c = bombs(f, fixture.CONTAINER)
    equal(stop(c, 0)["exitCode"], 137)


def test_fork_bomb_goes_with_its_pod(f):
    pod, c = bombs(f, fixture.POD)
    elsewhere(f)
    done, took = timed(f.crictl.call, "stopp", pod.id)
    equal(done.status, 0, str(done))
    within(took, KILL_WAIT + SHUTDOWN_WAIT, "the pod's stop")
    equal(c.status()["exitCode"], 137)


def test_fork_bomb_of_an_exec(f):
    """The tree of an exec that is out of time is killed however it grows, and the shim does other things meanwhile."""
    cgroups.need("pids")
    pod = f.run_pod()
    c = pod.start(["/bin/sh", "-c", "sleep 1000 & wait"])  # one that reaps what the exec leaves to it
    path = cgroups.path_of(c.process(), "pids")
    pathlib.Path(f"{path}/pids.max").write_text("200")
    done = background(f, "exec", "-s", "--timeout", "4", c.id, "/bin/sh", "-c", BOMB)
    wait_for("the bomb has gone off", lambda: int(pathlib.Path(f"{path}/pids.current").read_text()) >= 195, 60)
    _, error = done.communicate(timeout=60)
    contains(error, "DeadlineExceeded")
    wait_for("only the container is left", lambda: int(pathlib.Path(f"{path}/pids.current").read_text()) == 2, 30)
    equal(c.exec("echo", "alive"), "alive\n")
    equal(stop(c)["exitCode"], 137)


# -- frozen

def test_frozen_by_somebody(f):
    c = f.pod.start(["/bin/sleep", "1000"])
    pathlib.Path(freezers(c.process()), "freezer.state").write_text("FROZEN")
    equal(stop(c, 1)["exitCode"], 137)


def nested(f, frozen):
    """A container with a cgroup beneath its own, in which a process lives that is in no other way its own."""
    pod = f.run_pod(namespaces={"pid": fixture.NODE})
    c = pod.start(["/bin/sh", "-c", "setsid sleep 1002 & echo $!; exec sleep 1000"])
    wait_for("it says whom it started", lambda: c.output())
    child, inner = int(c.output()), freezers(c.process()) + "/inner"
    os.mkdir(inner)
    pathlib.Path(inner, "cgroup.procs").write_text(str(child))
    if frozen:
        pathlib.Path(inner, "freezer.state").write_text("FROZEN")
    return pod, c, child


def test_process_in_a_cgroup_beneath(f):
    for frozen in (False, True):
        _, c, child = nested(f, frozen)
        equal(stop(c)["exitCode"], 137)
        wait_for("the process beneath is gone", lambda: not os.path.exists(f"/proc/{child}"))
        f.crictl("rm", c.id)


def test_process_in_a_cgroup_beneath_goes_with_the_first(f):
    """The container ends by itself, and its shim has to find what it leaves."""
    _, c, child = nested(f, False)
    os.kill(c.process(), signal.SIGTERM)
    c.wait()
    wait_for("the process beneath is gone", lambda: not os.path.exists(f"/proc/{child}"))


def test_pod_whose_cgroups_are_frozen(f):
    """Container and shim."""
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    for pid in (c.process(), shim_of(f, pod)):
        pathlib.Path(freezers(pid), "freezer.state").write_text("FROZEN")
    elsewhere(f)
    done, took = timed(f.crictl.call, "stopp", pod.id)
    equal(done.status, 0, str(done))
    within(took, KILL_WAIT + REPORT_WAIT + SHUTDOWN_WAIT, "the pod's stop")


def test_frozen_from_above(f):
    """What is not ours is not thawed, but named."""
    c = f.pod.start(["/bin/sleep", "1000"])
    above = os.path.dirname(freezers(c.process()))
    pathlib.Path(above, "freezer.state").write_text("FROZEN")
    try:
        done, took = timed(f.crictl.call, "stop", "--timeout", "0", c.id)
    finally:
        pathlib.Path(above, "freezer.state").write_text("THAWED")
    done.refused("DeadlineExceeded", c.id, "a cgroup above it is frozen")
    within(took, KILL_WAIT + REPORT_WAIT, "the stop")
    equal(c.wait()["exitCode"], 137)


def test_frozen_by_version_2(f):
    if not cgroups.V2:
        raise Skip("cgroup.freeze and cgroup.kill: this machine has cgroup v1; runtime/cgroup's V2KillTest tries them here")
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    for pid in (c.process(), shim_of(f, pod)):
        pathlib.Path(cgroups.path_of(pid, ""), "cgroup.freeze").write_text("1")
    equal(stop(c)["exitCode"], 137)
    equal(f.crictl.call("stopp", pod.id).status, 0)


# -- uninterruptible

class FrozenDisk:
    """A file system on which whoever writes hangs in state D, until it is thawed."""

    def __init__(self, f):
        need_programs("mkfs.ext4", "fsfreeze", "losetup")
        self.f, self.image, self.path = f, f"{f.daemon.files}/disk.img", f"{f.daemon.files}/disk"
        self.frozen = False
        with open(self.image, "wb") as image:
            image.truncate(64 << 20)
        os.makedirs(self.path)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)
        f.disks.append(self)
        f.cleanup(self.remove)

    def freeze(self):
        self.f.cleanup(self.thaw)  # before anything else is undone
        subprocess.run(["fsfreeze", "-f", self.path], check=True)
        self.frozen = True

    def thaw(self):
        if self.frozen:
            subprocess.run(["fsfreeze", "-u", self.path], check=True)
            self.frozen = False

    def remove(self):
        self.thaw()
        wait_for("the disk is not in use any more",
                 lambda: subprocess.run(["umount", self.path], check=False, capture_output=True).returncode == 0)
        os.unlink(self.image)
        os.rmdir(self.path)
        self.f.disks.remove(self)


def writer(pod, disk, name):
    """A container that waits for /go and then writes to the disk."""
    return pod.start(["/bin/sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exec dd if=/dev/zero of=/disk/" + name],
                     mounts=[{"container_path": "/disk", "host_path": disk.path}])


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def hang(c):
    pid = c.process()
    pathlib.Path(f"/proc/{pid}/root/go").touch()
    wait_for("it hangs in an uninterruptible sleep", lambda: state_of(pid) == "D")
    return pid


def stuck_in(f, disk):
    """A pod whose one container is going to write to the disk, while its other one sleeps."""
    pod = f.run_pod()
    return pod, writer(pod, disk, pod.config["metadata"]["name"]), pod.start(["/bin/sleep", "1000"])


def container_stop_is_refused(f, stuck, other, pid):
    # Nobody waits for it: not the containers of its pod, not other pods, not who asks for its state.
    call = background(f, "stop", "--timeout", "0", stuck.id)
    removal = background(f, "rm", "-f", stuck.id)
    started = time.monotonic()
    equal(other.exec("echo", "here"), "here\n")
    equal(stuck.status()["state"], "CONTAINER_RUNNING")
    equal(stop(other)["exitCode"], 137)
    f.crictl("rm", other.id)
    elsewhere(f)
    for refused in (call, removal):
        _, error = refused.communicate(timeout=60)
        within(time.monotonic() - started, KILL_WAIT + REPORT_WAIT, "the stop")
        for part in ("DeadlineExceeded", stuck.id, f"process {pid} (dd) in state D (uninterruptible)"):
            contains(error, part)


def pod_stop_is_refused(f, pod, stuck, other, pid):
    done, took = timed(f.crictl.call, "stopp", pod.id)
    done.refused("DeadlineExceeded", stuck.id, f"process {pid} (dd) in state D")
    within(took, KILL_WAIT + REPORT_WAIT, "the pod's stop")
    equal(other.status()["state"], "CONTAINER_EXITED")
    equal(pod.inspect()["status"]["state"], "SANDBOX_NOTREADY")
    elsewhere(f)


def test_uninterruptible(f):
    """A container that is stopped, and a pod that is."""
    disk = FrozenDisk(f)
    (_, stuck, other), (pod, stuck_too, other_too) = stuck_in(f, disk), stuck_in(f, disk)
    disk.freeze()
    pid, pid_too = hang(stuck), hang(stuck_too)
    side_by_side(container=lambda: container_stop_is_refused(f, stuck, other, pid),
                 pod=lambda: pod_stop_is_refused(f, pod, stuck_too, other_too, pid_too))
    # A new daemon finds both as they are.
    f.daemon.kill()
    f.daemon.start()
    f.rebase_descriptors()
    f.crictl.call("rmp", "-f", pod.id).refused("DeadlineExceeded", f"process {pid_too} (dd) in state D")
    equal(stuck.status()["state"], "CONTAINER_RUNNING")
    disk.thaw()
    equal(stuck.wait()["exitCode"], 137)
    f.crictl("rm", stuck.id)
    wait_for("the process is gone", lambda: not os.path.exists(f"/proc/{pid_too}"))
    equal(f.crictl.call("stopp", pod.id).status, 0)
    f.crictl("rmp", pod.id)


def test_shim_of_an_uninterruptible_container_is_killed(f):
    disk = FrozenDisk(f)
    pod, stuck, _ = stuck_in(f, disk)
    disk.freeze()
    pid = hang(stuck)
    os.kill(shim_of(f, pod), signal.SIGKILL)
    wait_for("the pod is not ready", lambda: pod.inspect()["status"]["state"] == "SANDBOX_NOTREADY")
    f.crictl.call("stopp", pod.id).refused("DeadlineExceeded", f"process {pid} (dd) in state D")
    disk.thaw()
    wait_for("the process is gone", lambda: not os.path.exists(f"/proc/{pid}"))
    equal(f.crictl.call("stopp", pod.id).status, 0)
    assert stuck.status()["exitCode"] != 0


def test_log_on_a_disk_that_hangs(f):
    """The shim itself hangs then."""
    disk, config = FrozenDisk(f), f.pod_config()
    config["log_directory"] = disk.path + "/logs"
    pod = f.run_pod(config)
    c = pod.start(["/bin/sh", "-c", "while true; do echo line; sleep 0.01; done"])
    shim = shim_of(f, pod)
    disk.freeze()
    wait_for("the shim hangs in an uninterruptible sleep", lambda: state_of(shim) == "D")
    elsewhere(f)
    done, took = timed(f.crictl.call, "stopp", pod.id)
    done.refused("DeadlineExceeded", c.id, f"its shim has not reported its end: process {shim} (berth-shim) in state D")
    within(took, KILL_WAIT + REPORT_WAIT + SHUTDOWN_WAIT, "the pod's stop")
    disk.thaw()
    wait_for("the shim is gone", lambda: not os.path.exists(f"/proc/{shim}"))
    wait_for("the pod can be stopped", lambda: f.crictl.call("stopp", pod.id).status == 0)
    equal(c.status()["state"], "CONTAINER_EXITED")


# -- shims that hang

def silent(f):
    """A pod whose shim says nothing any more, with a container."""
    pod = f.run_pod()
    c = pod.start(["/bin/sh", "-c", "trap 'echo asked; exit 0' TERM; echo ready; while true; do sleep 0.1; done"])
    wait_for("it is ready", lambda: c.output() == "ready\n")
    shim = shim_of(f, pod)
    os.kill(shim, signal.SIGSTOP)
    return pod, c, shim


def silent_shim_container_stop(f):
    """The container gets its signal and its grace from the daemon; then the shim, which does not report, is ended."""
    pod, c, shim = silent(f)
    first = c.process()
    done, took = timed(f.crictl.call, "stop", "--timeout", "20", c.id)
    equal(done.status, 0, str(done))
    within(took, REPORT_WAIT + KILL_WAIT, "the stop")
    for pid in (first, shim):
        wait_for("it is gone, and reaped by whom its parent's death left it to", lambda pid=pid: not os.path.exists(f"/proc/{pid}"))
    equal(pod.inspect()["status"]["state"], "SANDBOX_NOTREADY")
    equal(f.crictl.call("stopp", pod.id).status, 0)


def silent_shim_pod_end(f, *verb):
    pod, _, shim = silent(f)
    done, took = timed(f.crictl.call, *verb, pod.id)
    equal(done.status, 0, str(done))
    within(took, REPORT_WAIT + KILL_WAIT + SHUTDOWN_WAIT, verb[0])
    wait_for("the shim is gone, and reaped", lambda: not os.path.exists(f"/proc/{shim}"))


def test_silent_shims(f):
    def meanwhile():
        for _ in range(5):
            elsewhere(f)
    side_by_side(stop=lambda: silent_shim_container_stop(f), stopp=lambda: silent_shim_pod_end(f, "stopp"),
                 rmp=lambda: silent_shim_pod_end(f, "rmp", "-f"), meanwhile=meanwhile)


# -- the calls

def test_shorter_grace_counts(f):
    c = f.pod.start(["/bin/sh", "-c", "trap 'echo asked' TERM; echo ready; while true; do sleep 0.1; done"])
    wait_for("it is ready", lambda: c.output() == "ready\n")
    first = background(f, "stop", "--timeout", "1000", c.id)
    wait_for("it is asked", lambda: "asked" in c.output())
    second = background(f, "stop", "--timeout", "2", c.id)
    for call in (second, first):
        _, error = call.communicate(timeout=30)
        equal(call.returncode, 0, error)
    equal(c.status()["exitCode"], 137)
    equal(c.output().count("asked"), 1, "stop signals")


def test_zero_kills_at_once(f):
    c = f.pod.start(["/bin/sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"])
    first = background(f, "stop", "--timeout", "1000", c.id)
    time.sleep(0.3)
    _, took = timed(stop, c, 0)
    within(took, 5, "the second stop")
    first.communicate(timeout=30)
    equal(first.returncode, 0)


def test_caller_that_went_away(f):
    c = f.pod.start(["/bin/sh", "-c", "trap 'echo asked' TERM; echo ready; while true; do sleep 0.1; done"])
    wait_for("it is ready", lambda: c.output() == "ready\n")
    call = background(f, "stop", "--timeout", "2", c.id)
    wait_for("it is asked", lambda: "asked" in c.output())
    call.kill()
    call.communicate()
    equal(c.wait(10)["exitCode"], 137)


def test_too_many_stops_of_one_container(f):
    """A client that asks again and again does not use up the daemon's threads."""
    c = f.pod.start(["/bin/sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"])
    calls = [background(f, "stop", "--timeout", "1000", c.id) for _ in range(10)]
    refused = wait_for("two are refused", lambda: len(done := [p for p in calls if p.poll() is not None]) == 2 and done, 60)
    for call in refused:
        contains(call.communicate()[1], "8 calls that stop or remove")
    elsewhere(f)
    for call in calls:
        if call not in refused:
            call.kill()
            call.communicate()
    # Those whose callers went away are still at work: the container is removed with its pod's shim.
    for first in glob.glob(f"/proc/{c.process()}"):
        os.kill(int(os.path.basename(first)), signal.SIGKILL)
    equal(c.wait()["exitCode"], 137)


def threads(f):
    return len(os.listdir(f"/proc/{f.daemon.pid}/task"))


def test_long_graces_of_many(f):
    """More stops than there are threads for other calls, all with half an hour of grace."""
    # In a new daemon: one that has had stops keeps threads for the next ones.
    f.daemon.kill()
    f.daemon.start()
    f.rebase_descriptors()
    pod = f.run_pod()
    held = [pod.start(["/bin/sh", "-c", "trap '' TERM; while true; do sleep 60; done"]) for _ in range(34)]
    before, calls = threads(f), []
    try:
        for c in 8 * held:
            calls.append(rpc.Waiting(f.daemon.socket, "RuntimeService/StopContainer", rpc.message((1, c.id), (2, 1800))))
        wait_for("all wait", lambda: threads(f) >= before + len(calls) - 8, 20)
        elsewhere(f)
        done, took = timed(f.crictl.call, "stopp", pod.id)
        equal(done.status, 0, str(done))
        within(took, KILL_WAIT + SHUTDOWN_WAIT, "the pod's stop")
        for call in calls:
            call.wait(10)
    finally:
        for call in calls:
            call.close()



if __name__ == "__main__":
    main(sys.modules[__name__], Stuck)
