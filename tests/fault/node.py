"""berthd on a given root directory: started, called, and asked for the trees of its images."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import leaks
import rpc
from crictl import Crictl
from daemon import BIN, crictl_program
from suite import wait_for
from tree import describe

NODE = 2  # mode of a namespace: the host's


class Failed(Exception):
    """A call was answered with an error."""


class Node:
    def __init__(self, root, settings="", environment=None):
        self.root, self.settings, self.environment = root, settings, environment or {}
        self.state = tempfile.mkdtemp(prefix="bf.", dir="/run")
        self.name = os.path.basename(self.state)
        self.socket, self.log = f"{self.state}/b.sock", f"{self.state}/log"
        self.crictl = Crictl(crictl_program(), self.state, self.socket)
        self.process = None

    def command(self):
        with open(f"{self.state}/config.toml", "w", encoding="utf-8") as f:
            f.write(f'root = "{self.root}"\nstate = "{self.state}/s"\nsocket = "{self.socket}"\n'
                    f'cgroup_driver = "cgroupfs"\ncgroup_parent = "/{self.name}"\n{self.settings}\n[network]\nmode = "embedded"\n')
        return [BIN / "berthd", "--config", f"{self.state}/config.toml"]

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            env={**os.environ, **self.environment})
        wait_for(f"a daemon on {self.root}", self._serves, 30)
        return self

    def _serves(self):
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}: {self.log_tail()}"
        return os.path.exists(self.socket) and self.crictl.call("version").status == 0

    def log_tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return "\n".join(f.read().splitlines()[-15:])

    # -- calls

    def _call(self, method, request, package="runtime.v1"):
        code, words = rpc.call(self.socket, method, request, package)
        if code != "OK":
            raise Failed(f"{method}: {code}: {words}")

    def pull(self, reference):
        self._call("ImageService/PullImage", rpc.message((1, rpc.message((1, reference)))))

    def remove(self, reference):
        self._call("ImageService/RemoveImage", rpc.message((1, rpc.message((1, reference)))))

    def has_admin(self):
        """Whether it gives tags and prunes, which CRI does not know."""
        return rpc.call(self.socket, "Admin/Info", package="berth.v1")[0] == "OK"

    def tag(self, image, name):
        self._call("Admin/TagImage", rpc.message((1, image), (2, name)), "berth.v1")

    def prune(self):
        self._call("Admin/PruneImages", b"", "berth.v1")

    def images(self):
        """Id -> its tags."""
        return {i["id"]: set(i["repoTags"]) for i in self.crictl.json("images")["images"]}

    def trees(self, references):
        """Reference -> what the image's files are, as a container sees them that has the images as volumes."""
        if not references:
            return {}
        pod = {"metadata": {"name": "look", "namespace": "default", "uid": "look", "attempt": 0}, "log_directory": f"{self.state}/logs",
               "linux": {"security_context": {"namespace_options": {"network": NODE}}}}
        mounts = [{"container_path": f"/volume{i}", "readonly": True, "image": {"image": r}} for i, r in enumerate(references)]
        container = {"metadata": {"name": "look", "attempt": 0}, "image": {"image": references[0]}, "command": ["/none"],
                     "log_path": "log", "mounts": mounts, "linux": pod["linux"]}
        pod_id = self.crictl("runp", self._write("pod", pod)).strip()
        try:
            made = self.crictl("create", "--no-pull", pod_id, self._write("container", container), self._write("pod", pod)).strip()
            root = f"/proc/{self.crictl.json('inspect', made)['info']['pid']}/root"
            return {r: describe(f"{root}/volume{i}") for i, r in enumerate(references)}
        finally:
            self.crictl("rmp", "-f", pod_id)

    def _write(self, name, value):
        path = f"{self.state}/{name}.json"
        with open(path, "w", encoding="utf-8") as f:
            json.dump(value, f)
        return path

    # -- what is kept on the disk

    def leftovers(self, of_nothing=False):
        """What nobody will ever use again; `of_nothing`: no image is left, so there must be no layers either."""
        watched = ["staging", "trash"] + (["layers", "content", "fixups"] if of_nothing else [])
        found = []
        for name in watched:
            directory = f"{self.root}/images/{name}"
            found += [f"{name}/{entry}" for entry in (os.listdir(directory) if os.path.isdir(directory) else [])]
        return found

    # -- the end

    def stop(self):
        """Ends it, and all that it started, by force where it must be."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        self._clear_cgroup()
        shutil.rmtree(self.state, ignore_errors=True)

    def _clear_cgroup(self):
        for _ in range(20):
            for pid, _ in leaks.processes_in(f"/{self.name}"):
                os.kill(pid, signal.SIGKILL)
            for path in sorted(leaks.cgroup_dirs(f"/{self.name}"), key=len, reverse=True):
                try:
                    os.rmdir(path)
                except OSError:
                    pass
            if not any(leaks.cgroup_dirs(f"/{self.name}")):
                return
            time.sleep(0.1)
