"""Debian's containerd in berth's place, to see what the same cuts leave of it."""
import os
import subprocess

from node import Node
from suite import need_programs
from tree import describe

CONFIG = """version = 2
root = "{root}/containerd"
state = "{state}/s"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
"""


class Containerd(Node):
    def command(self):
        need_programs("containerd", "ctr")
        with open(f"{self.state}/config.toml", "w", encoding="utf-8") as f:
            f.write(CONFIG.format(root=self.root, state=self.state, socket=self.socket))
        return ["containerd", "--config", f"{self.state}/config.toml"]

    def _ctr(self, *argv):
        done = subprocess.run(["ctr", "--address", self.socket, "--namespace", "k8s.io", *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ctr {' '.join(argv)}: {done.stderr.strip()}"

    def trees(self, references):
        out = {}
        for reference in references:
            directory = f"{self.state}/look"
            os.makedirs(directory, exist_ok=True)
            self._ctr("images", "mount", reference, directory)
            try:
                # A directory that a layer only implies gets the time at which it was unpacked.
                out[reference] = describe(directory, directory_times=False)
            finally:
                self._ctr("images", "unmount", "--rm", directory)
        return out

    def leftovers(self, of_nothing=False):
        """It collects its garbage in its own time, and says nothing of when."""
        return []
