"""What the cases of one program share: a daemon, a registry with test images, and pods and containers made in one line."""
import itertools
import json
import os
import subprocess
import time

import leaks
from daemon import CACHE, TOP, Daemon
from suite import Skip, need_programs, need_root, wait_for

BUSYBOX = "e2e-test-images/busybox:1.29-2"
NGINX = "e2e-test-images/nginx:1.14-2"

# Modes of a namespace.
POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3


class Registry:
    """Debian's docker-registry on loopback, with some of the small test images."""

    def __init__(self, directory, images):
        need_programs("docker-registry", "skopeo", "curl", "setsid")
        self.layout = CACHE / "images/small/layout"
        if not self.layout.exists():
            raise Skip(f"missing images: {self.layout} (tests/images/small/make makes them)")
        self.directory, self.script = directory, TOP / "tests/images/registry"
        # Its output is taken from a file: the registry in the background would hold a pipe open.
        with open(f"{directory}.out", "w+", encoding="utf-8") as out:
            subprocess.run([self.script, "start", directory], check=True, stdout=out)
            out.seek(0)
            self.address = out.read().strip()
        for image in images:
            subprocess.run([self.script, "push", self.layout, self.ref(image)], check=True)

    def ref(self, image):
        return f"{self.address}/{image}"

    def stop(self):
        subprocess.run([self.script, "stop", self.directory], check=True)


def make(pulled, pushed=(), settings=None):
    """A function that makes the fixture: some images in the daemon's store and the registry, others only in the registry."""
    return lambda: Fixture(pulled, pushed, settings)


class Fixture:
    # What runs the daemon.
    new_daemon = Daemon

    def __init__(self, pulled, pushed, settings=None):
        need_root()
        self.daemon = self.new_daemon(settings) if settings else self.new_daemon()
        self.registry = None
        self._undo, self._before, self._count, self._pod, self._container = [], None, itertools.count(1), None, None
        try:
            self.registry = Registry(f"{self.daemon.files}/registry", [*pulled, *pushed])
            self.daemon.start()
            for image in pulled:
                self.crictl("pull", self.registry.ref(image))
                self._warm_up(image)
        except BaseException:
            self.close()
            raise

    @property
    def crictl(self):
        return self.daemon.crictl

    @property
    def busybox(self):
        return self.registry.ref(BUSYBOX)

    def _warm_up(self, image):
        """Makes what the daemon makes once and keeps: its bridge, its own cgroup, what an image's snapshots share."""
        self.begin()
        self.run_pod().create(["/pause"], image=self.registry.ref(image))
        for call, arguments in reversed(self._undo):
            call(*arguments)

    # -- around a case

    def begin(self):
        self._before, self._undo = leaks.snapshot(self.daemon), []

    def cleanup(self, call, *arguments):
        self._undo.append((call, arguments))

    def rebase(self):
        """What is there now counts as having been there before the case."""
        self._before = leaks.snapshot(self.daemon)

    def rebase_descriptors(self):
        """The daemon is another process than before: what it has open is compared from here on."""
        self._before = {line for line in self._before if not line.startswith("descriptor")}
        self._before |= {line for line in leaks.snapshot(self.daemon) if line.startswith("descriptor")}

    def nothing_left_but_descriptors(self):
        """For a daemon that is another process than before the case."""
        self.rebase_descriptors()
        self.nothing_left()

    def end(self):
        for call, arguments in reversed(self._undo):
            call(*arguments)
        self.nothing_left()

    def nothing_left(self):
        """Fails unless all is as before the case; what ends asynchronously gets some seconds."""
        end = time.monotonic() + 5
        while any(changed := self._changed()) and time.monotonic() < end:
            time.sleep(0.1)
        new, gone = changed
        assert not new and not gone, "left behind: " + "\n  ".join([""] + new) + "\nmissing: " + "\n  ".join([""] + gone)

    def _changed(self):
        """What is new since before the case, and what is gone. The daemon may close what it had opened, and a link of a pod that
        was removed before the case goes when the kernel gets to its network namespace: neither is a leak."""
        now = leaks.snapshot(self.daemon)
        return sorted(now - self._before), sorted(line for line in self._before - now if not line.startswith(("descriptor", "link")))

    @staticmethod
    def gone(removal):
        """Demands that a removal worked, or that there was nothing to remove: crictl asks for the status first."""
        assert removal.status == 0 or removal.code == "NotFound", str(removal)

    def diagnosis(self):
        return f"the daemon's last words:\n{self.daemon.log_tail()}"

    def close(self):
        if self.daemon.process:
            self.crictl.call("rmp", "-a", "-f")
        if self.registry:
            self.registry.stop()
            self.registry = None
        return self.daemon.destroy()

    def has_user_namespaces(self):
        return self.crictl.json("info")["runtimeHandlers"][0]["features"].get("user_namespaces", False)

    def need_user_namespaces(self):
        if not self.has_user_namespaces():
            raise Skip("berth has no user namespaces on this kernel: Status does not say user_namespaces")

    # -- pods and containers

    def write(self, name, value):
        path = f"{self.daemon.files}/{name}"
        with open(path, "w", encoding="utf-8") as f:
            json.dump(value, f)
        return path

    def fresh(self, kind):
        return f"{kind}{next(self._count)}"

    def pod_config(self, name=None, namespaces=None, linux=None, **more):
        """As the kubelet makes them: process ids are each container's own unless the case says otherwise."""
        linux = {"security_context": {"namespace_options": {"pid": CONTAINER, **(namespaces or {})}}, **(linux or {})}
        name = name or self.fresh("pod")
        return {"metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "attempt": 0},
                "log_directory": f"{self.daemon.files}/logs/{name}", "linux": linux, **more}

    def run_pod(self, config=None, keep=False, **more):
        """A pod that the end of the case removes."""
        pod = Pod(self, config or self.pod_config(**more))
        pod.id = self.crictl("runp", pod.path).strip()
        if not keep:
            self.cleanup(pod.remove)
        return pod

    @property
    def pod(self):
        """One pod for all cases that need nothing special; it does not count as left behind."""
        if not self._pod:
            assert not self._undo, "the shared pod comes first"
            self._pod = self.run_pod(keep=True)
            self.rebase()
        return self._pod

    @property
    def container(self):
        """One that sleeps, in the shared pod, for all cases that need nothing special; it goes with the pod."""
        if not self._container:
            pod = self.pod
            assert not self._undo, "the shared container comes first"
            self._container = pod.start(["/bin/sleep", "100000"])
            self._undo.clear()
            self.rebase()
        return self._container


class Pod:
    def __init__(self, fixture, config):
        self.fixture, self.config, self.id = fixture, config, None
        self.crictl = fixture.crictl
        self.path = fixture.write(f"{config['metadata']['name']}.json", config)

    def remove(self):
        self.fixture.gone(self.crictl.call("rmp", "-f", self.id))

    def inspect(self):
        return self.crictl.json("inspectp", self.id)

    def ip(self):
        return self.inspect()["status"]["network"]["ip"]

    def container_config(self, command, security=None, resources=None, **more):
        name = more.pop("name", None) or self.fixture.fresh("ctr")
        security = {"namespace_options": self.config["linux"]["security_context"]["namespace_options"], **(security or {})}
        linux = {"security_context": security}
        if resources is not None:
            linux["resources"] = resources
        config = {"metadata": {"name": name, "attempt": 0}, "image": {"image": more.pop("image", self.fixture.busybox)},
                  "log_path": f"{name}.log", "linux": linux}
        if command:
            config["command"] = command
        return {**config, **more}

    def try_create(self, config):
        return self.crictl.call("create", "--no-pull", self.id, self.fixture.write(f"{self.fixture.fresh('c')}.json", config), self.path)

    def create(self, command=None, **more):
        """A created container that the end of the case removes."""
        config = self.container_config(command, **more)
        made = self.try_create(config)
        assert made.status == 0, str(made)
        container = Container(self, config, made.out.strip())
        self.fixture.cleanup(container.remove)
        return container

    def start(self, command=None, **more):
        container = self.create(command, **more)
        self.crictl("start", container.id)
        return container

    def sh(self, script, **more):
        """Runs a shell script in a container of its own to its end; (exit code, standard output)."""
        container = self.start(["/bin/sh", "-c", script], **more)
        status = container.wait()
        return status["exitCode"], container.output("stdout")


class Container:
    def __init__(self, pod, config, container_id):
        self.pod, self.config, self.id, self.crictl = pod, config, container_id, pod.crictl
        self.log = os.path.join(pod.config["log_directory"], config["log_path"])

    def remove(self):
        self.pod.fixture.gone(self.crictl.call("rm", "-f", self.id))

    def inspect(self):
        return self.crictl.json("inspect", self.id)

    def status(self):
        return self.inspect()["status"]

    def process(self):
        """The container's init process, as the host numbers it."""
        return self.inspect()["info"]["pid"]

    def wait(self, seconds=20):
        """Its status when it has exited."""
        def exited():
            status = self.status()
            return status if status["state"] == "CONTAINER_EXITED" else None
        return wait_for(f"container {self.config['metadata']['name']} exits", exited, seconds)

    def log_lines(self):
        """(stream, tag, text) of each line of the log."""
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return [tuple(line.rstrip("\n").split(" ", 3)[1:]) for line in f]
        except FileNotFoundError:
            return []

    def output(self, stream=None):
        """What it wrote, the lines put together again."""
        return "".join(text + ("" if tag == "P" else "\n") for s, tag, text in self.log_lines() if stream in (None, s))

    def exec(self, *command):
        """The command's standard output; crictl ends it, and the empty standard error, with a line of its own."""
        return self.crictl("exec", "-s", self.id, *command).removesuffix("\n\n")
