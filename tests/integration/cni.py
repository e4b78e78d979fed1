"""A daemon in CNI mode: in a network namespace that stands for its host, with Debian's plugins (bridge, host-local, portmap) and
at the end of their chain one that does what a test says (cni_plugin.py)."""
import glob
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess

import daemon
import fixture
from suite import Skip, need_programs, wait_for

DEBIAN = "/usr/lib/cni"
# As in cni_plugin.py, which is a program.
FOREVER = "98765"
# What portmap and iptables make once and keep.
KEPT = ("-P ", "-N CNI-HOSTPORT", "-A PREROUTING", "-A OUTPUT", "-A POSTROUTING -m comment --comment \"CNI portfwd", "-A CNI-HOSTPORT-SETMARK",
        "-A CNI-HOSTPORT-MASQ")


class CniDaemon(daemon.Daemon):
    embedded = False
    # Seconds.
    plugin_timeout, patience = 3, 3

    def __init__(self, settings=None):
        if not os.path.exists(f"{DEBIAN}/portmap"):
            raise Skip("missing programs: the package containernetworking-plugins")
        need_programs("iptables", "iptables-save", "nsenter")
        self.host = f"berth-cni-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", self.host], check=True)
        self.in_host("ip", "link", "set", "lo", "up")
        super().__init__(settings)

    def in_host(self, *argv):
        return subprocess.run(["ip", "netns", "exec", self.host, *argv], check=True, capture_output=True, text=True).stdout

    def command(self):
        return ["nsenter", f"--net=/run/netns/{self.host}", *super().command()]

    def network_table(self):
        self.conf, self.bin, self.orders = (f"{self.files}/{d}" for d in ("net.d", "cni-bin", "orders"))
        for path in (self.conf, self.bin, self.orders):
            os.mkdir(path)
        self.install_plugin()
        self.write_chain()
        return (f'mode = "cni"\ncni_conf_dirs = ["{self.conf}"]\ncni_bin_dirs = ["{self.bin}", "{DEBIAN}"]\n'
                f'cni_cache_dir = "{self.root}/cni"\ncni_plugin_timeout = {self.plugin_timeout}\n'
                f"detach_patience = {self.patience}\n")

    # -- the configuration

    def install_plugin(self):
        shutil.copy(pathlib.Path(__file__).with_name("cni_plugin.py"), f"{self.bin}/fickle")

    def remove_plugin(self):
        os.unlink(f"{self.bin}/fickle")

    def write_chain(self, version="1.0.0", name="chain"):
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True,
                  "ipam": {"type": "host-local", "dataDir": f"{self.root}/ipam", "ranges": [[{"subnet": self.subnet}]]}}
        portmap = {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}
        self.write_config(version, name, [bridge, portmap, {"type": "fickle", "directory": self.orders}])

    def write_config(self, version, name, plugins):
        with open(f"{self.conf}/.new", "w", encoding="utf-8") as f:
            json.dump({"cniVersion": version, "name": name, "plugins": plugins}, f)
        os.rename(f"{self.conf}/.new", f"{self.conf}/10-chain.conflist")

    # -- the plugin

    def order(self, pod=None, **orders):
        """For the pod of that name, else for all pods that have no orders of their own."""
        path = f"{self.orders}/orders.{pod}" if pod else f"{self.orders}/orders"
        with open(f"{path}.new", "w", encoding="utf-8") as f:
            json.dump(orders, f)
        os.rename(f"{path}.new", path)

    def no_orders(self):
        for path in glob.glob(f"{self.orders}/orders*"):
            os.unlink(path)

    def calls(self, command=None, container=None):
        try:
            with open(f"{self.orders}/calls", encoding="utf-8") as f:
                calls = [json.loads(line) for line in f]
        except FileNotFoundError:
            return []
        return [c for c in calls if command in (None, c["command"]) and container in (None, c["container"])]

    def hanging(self):
        """The plugins of this daemon that hang, and what they started."""
        return [pid for pid in os.listdir("/proc") if pid.isdigit() and self._hangs(pid)]

    def _hangs(self, pid):
        try:
            argv = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        # CNI_PATH, which what they start inherits.
        return self.bin.encode() in environment and (FOREVER.encode() in argv or any(a.endswith(b"/fickle") for a in argv))

    # -- what may be left behind

    def world(self):
        """Everything of pods that plugins and the daemon make on the host; the bridge and what portmap makes once are no pod's."""
        found = [f"link {line.split()[1]}" for line in self.in_host("ip", "-o", "link").splitlines()]
        found = [line for line in found if "cni0" not in line and " lo" not in line]
        rules = self.in_host("iptables-save", "-t", "nat")
        found += [f"rule {line}" for line in rules.splitlines() if line[0] == "-" and not line.startswith(KEPT)]
        found += [f"chain {line}" for line in rules.splitlines() if line.startswith((":CNI-DN", ":CNI-")) and "HOSTPORT" not in line]
        ignored = ("lock", "last_reserved_ip.0", "")
        for top in (f"{self.root}/ipam/*/*", f"{self.root}/cni/berth/*", f"{self.root}/cni/berth/.*", f"{self.state}/netns/*", f"{self.state}/pods/*"):
            found += [f"file {path}" for path in glob.glob(top) if os.path.basename(path).strip(".") not in ignored]
        return sorted(found)

    def debts(self):
        db = sqlite3.connect(f"file:{self.root}/state.db?mode=ro", uri=True, timeout=5)
        try:
            return [row[0] for row in db.execute("SELECT id FROM records WHERE kind = 2")]
        finally:
            db.close()

    def clean(self, seconds=10):
        """Fails unless nothing of any pod is left, or soon is not."""
        wait_for(f"nothing is left behind: {self.world()}", lambda: not self.world() and not self.debts(), seconds)

    def _still_there(self):
        return super()._still_there() + self.world()

    def _force_out(self):
        super()._force_out()
        subprocess.run(["ip", "netns", "del", self.host], check=False)


class CniFixture(fixture.Fixture):
    new_daemon = CniDaemon

    def __init__(self):
        super().__init__([], [])
        self.begin()
        self.run_pod().remove()  # makes what is made once

    def begin(self):
        self.daemon.no_orders()
        super().begin()

    def end(self):
        super().end()
        assert not self.daemon.hanging(), "plugins, or what they started, are left"
        self.daemon.clean()
