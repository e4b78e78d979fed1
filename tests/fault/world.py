"""What experiments with faults are made on: a daemon that follows a control file, a pod that nobody touches and whose log
must not have a gap, a pod that calls are made on, and what is there when all is well."""
import os
import pathlib
import re
import subprocess
import time


import leaks
from cri import NOTREADY, READY, RUNNING, Cri, PodConfig
from daemon import BIN, Daemon
from fixture import BUSYBOX, Registry
from points import Points
from rpc import message
from suite import wait_for

SMALL = "pause:3.9"  # the image that is pulled and removed
TICK = ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done"]
ID, HIERARCHY = re.compile("[0-9a-f]{64}"), re.compile("/sys/fs/cgroup/[^/]*(?=/)")
STAGES = ["", "pod", "created", "running", "stopped"]  # how far a pod with a container may be made
# Ends at once when it is asked to, and says when it can be asked.
POLITE = ["/bin/sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 100000 & wait"]


class FaultyDaemon(Daemon):
    """`points`: where its fail points are steered from; none without."""

    def __init__(self, with_points=True):
        super().__init__()
        # What is measured now and then would be passed now and then, whatever call is looked at.
        config = pathlib.Path(f"{self.files}/config.toml")
        config.write_text(config.read_text().replace("usage_interval = 1\n", "usage_interval = 3600\n"))
        self.points = Points(f"{self.files}/points") if with_points else None
        self.cri = Cri(self.socket)

    def spawn(self):
        """Starts it, and does not wait."""
        more = {"BERTH_FAULTS": self.points.path} if self.points else {}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BIN / "berthd", "--config", f"{self.files}/config.toml"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True, env={**os.environ, **more})

    def start(self):
        self.spawn()
        wait_for("the daemon serves", self._serves, 30, 0.01)

    def _serves(self):
        assert self.process.poll() is None, f"berthd ended with {self.process.returncode}: {self.log_tail()}"
        return self.serves()

    def serves(self):
        return os.path.exists(self.socket) and self.cri.call("Version", seconds=5).ok

    @property
    def dead(self):
        return self.process is None or self.process.poll() is not None


def alive(pid):
    try:
        return pid > 0 and pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def shortened(line):
    """For people: a cgroup is named once for all hierarchies, and ids are short."""
    return ID.sub(lambda found: found.group()[:8], HIERARCHY.sub("", line))


class TickerLog:
    """Reads on in the log of a container that runs TICK; every number must be there once."""

    def __init__(self, path):
        self.path, self.offset, self.next, self.rest = path, 0, 1, b""

    def problems(self):
        with open(self.path, "rb") as f:
            f.seek(self.offset)
            data = f.read()
        self.offset += len(data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            number = int(line.rpartition(b" ")[2])
            if number != self.next:
                yield f"its log goes from {self.next - 1} to {number}"
            self.next = number + 1

    def renamed(self, to):
        """What is still missing is in it, and then in a new one."""
        os.rename(self.path, to)
        self.path = to

    def reopened(self, path):
        """Problems of the end of the old file; goes on with the new one."""
        found = list(self.problems())
        self.path, self.offset, self.rest = path, 0, b""
        return found


class Subject:
    """A pod and at most one container in it, as far as they were made."""

    def __init__(self, world, name, host_port=0):
        self.world, self.name = world, name
        self.config = PodConfig(name, f"{world.daemon.files}/logs/{name}", host_port)
        self.container_name, self.command = f"c-{name}", POLITE
        self.pod_id = self.container_id = None
        self.shim_pid = self.pid = 0
        self.ticks = None

    # -- the calls that make it

    def run(self):
        answer = self.world.cri.run_pod(self.config)
        if answer.ok:
            self.pod_id = answer.text(1)
        return answer

    def create(self):
        answer = self.world.cri.create(self.pod_id, self.config, self.container_name, self.world.busybox, self.command)
        if answer.ok:
            self.container_id = answer.text(1)
        return answer

    def start(self):
        return self.world.cri.call("StartContainer", (1, self.container_id))

    def made(self, stage):
        """Itself, made as far as one of STAGES; a failure is an AssertionError."""
        steps = [self.run, self.create, self.start, self.stop_pod][:STAGES.index(stage)]
        for step in steps:
            answer = step()
            assert answer.ok, f"{step.__name__} of {self.name}: {answer}"
            if step == self.run:
                self.shim_pid = self.world.cri.shim_pid(self.pod_id)
            elif step == self.start:
                self.pid = self.world.cri.status(self.container_id).pid
                self.await_line()
        return self

    def stop_pod(self):
        return self.world.cri.call("StopPodSandbox", (1, self.pod_id))

    def await_line(self):
        wait_for(f"the first line of {self.container_name}", lambda: os.path.exists(self.log) and os.path.getsize(self.log) > 0, 10, 0.003)

    @property
    def log(self):
        return self.config.log(self.container_name)

    # -- what must hold of one that nobody touched

    def problems(self):
        pods, containers = self.world.cri.pods(), self.world.cri.containers()
        if pods.get(self.pod_id, ("", NOTREADY))[1] != READY:
            yield "it is not ready" if self.pod_id in pods else "it is not listed"
        if self.container_id not in containers:
            yield "its container is not listed"
            return
        status = self.world.cri.status(self.container_id)
        if status.state != RUNNING:
            yield f"its container is in state {status.state}, {status.reason} {status.exit_code} {status.message}"
        elif status.pid != self.pid or not alive(self.pid):
            yield f"its process was {self.pid} and is {status.pid}"
        if self.ticks:
            yield from self.ticks.problems()

    def removed(self):
        """By stop and remove, as the kubelet does it; what went wrong with them. Without a pod there is nothing to do."""
        if not self.pod_id:
            return
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            answer = self.world.cri.call(method, (1, self.pod_id))
            if not answer.ok:
                yield f"{method} afterwards: {answer}"
        if self.pod_id in self.world.cri.pods():
            yield "the removed pod is listed"


class World:
    def __init__(self, number=0, with_points=True):
        self.number, self._count, self.new_daemon = number, 0, False
        self.daemon = FaultyDaemon(with_points)
        self.registry = None
        try:
            self.registry = Registry(f"{self.daemon.files}/registry", [BUSYBOX, SMALL])
            self.busybox, self.small = self.registry.ref(BUSYBOX), self.registry.ref(SMALL)
            self.daemon.start()
            self.cri.must("PullImage", (1, message((1, self.busybox))))
            self.warm_up()
            self.bystander = self._ticking("bystander")
            self.standing = self._ticking("standing")
            self.rebase()
        except BaseException:
            self.close()
            raise

    @property
    def cri(self):
        return self.daemon.cri

    @property
    def points(self):
        return self.daemon.points

    def fresh(self, kind, host_port=0):
        self._count += 1
        return Subject(self, f"{kind}{self._count}", host_port)

    def host_port(self):
        """Of the pods that have one; each world its own."""
        return 20080 + self.number

    def _ticking(self, kind):
        subject = self.fresh(kind)
        subject.command = TICK
        subject.made("running")
        subject.ticks = TickerLog(subject.log)
        return subject

    def warm_up(self):
        """What the daemon makes once and keeps is there afterwards."""
        subject = self.fresh("warm", self.host_port()).made("running")
        self.cri.exec_sync(subject.container_id, "/bin/true")
        problems = list(subject.removed())
        assert not problems, problems
        for method in ("PullImage", "RemoveImage"):
            self.cri.must(method, (1, message((1, self.small))))

    def rebase(self):
        """What is there now is what has to be there."""
        self.base = leaks.snapshot(self.daemon)

    def renew(self):
        """After findings: all is made anew that may be damaged, so that the next experiment finds only its own."""
        if self.points:
            self.points.disarm()
        if self.daemon.dead or not self.daemon.serves():
            self.restart()
        for pod in self.cri.pods():
            for method in ("StopPodSandbox", "RemovePodSandbox"):
                self.cri.call(method, (1, pod))
        self.restart()  # which sweeps
        self.cri.must("PullImage", (1, message((1, self.busybox))))
        self.warm_up()
        self.bystander, self.standing = self._ticking("bystander"), self._ticking("standing")
        self.rebase()

    def renew_standing(self):
        """Removes the pod that calls are made on and makes another; what went wrong with that, and what is left of the old one."""
        old = self.standing
        yield from old.removed()
        end = time.monotonic() + 5
        while (left := [line for line in leaks.snapshot(self.daemon) if old.pod_id in line or old.container_id in line]) and time.monotonic() < end:
            time.sleep(0.05)
        yield from (f"left: {line}" for line in sorted({shortened(line) for line in left}))
        self.standing = self._ticking("standing")
        self.rebase()

    def restart(self):
        """A new daemon after the end, or instead, of the old one."""
        if not self.daemon.dead:
            self.daemon.kill()
        self.daemon.start()

    def leftovers(self, seconds=3):
        """What is there that was not, and what is not that was."""
        left = self._leftovers(seconds)
        if left and all("/images/trash/" in line for line in left):
            # What could not be removed from the trash is tried again with the next thing that comes there.
            for method in ("PullImage", "RemoveImage"):
                self.cri.must(method, (1, message((1, self.small))))
            left = self._leftovers(seconds)
        return left

    def _leftovers(self, seconds):
        end = time.monotonic() + seconds
        while True:
            now = leaks.snapshot(self.daemon)
            # Another daemon has other descriptors.
            new = sorted(line for line in now - self.base if not (self.new_daemon and line.startswith("descriptor")))
            # The daemon may close what it had open, and a link goes when the kernel gets to its network namespace.
            gone = sorted(line for line in self.base - now if not line.startswith(("descriptor", "link")))
            if not new and not gone or time.monotonic() > end:
                return list(dict.fromkeys([f"left: {shortened(line)}" for line in new] + [f"missing: {shortened(line)}" for line in gone]))
            time.sleep(0.05)

    def close(self):
        if self.daemon.process and not self.daemon.dead:
            try:
                for pod in self.cri.pods():
                    self.cri.call("RemovePodSandbox", (1, pod))
            except AssertionError:
                pass
        elif self.daemon.process:
            self.daemon.process = None
        if self.registry:
            self.registry.stop()
        return self.daemon.destroy()
