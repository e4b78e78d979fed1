"""A private berthd: its directories, its configuration, its processes, and everything needed to be rid of it."""
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile
import time

import cgroups
import leaks
from crictl import Crictl
from suite import Skip, need_programs, need_root, wait_for

TOP = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("BERTH_CACHE") or TOP / ".cache")
BIN = pathlib.Path(os.environ.get("BERTH_BIN") or TOP / "build/dev/bin")


def crictl_program():
    program = CACHE / "clients/crictl"
    if not program.exists():
        raise Skip(f"missing program: crictl (tests/clients/make builds it into {program.parent})")
    return str(program)


def free_subnet():
    """A /16 of 10.x.0.0 that no route of this host touches."""
    routes = subprocess.run(["ip", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=True).stdout
    start = secrets.randbelow(40)
    for i in range(40):
        octet = 210 - (start + i) % 40
        if f"10.{octet}." not in routes:
            return f"10.{octet}.0.0/16"
    raise Skip("no free /16 network in 10.171.0.0 to 10.210.0.0")


class Daemon:
    embedded = True

    def __init__(self, settings=None):
        """`settings`: a function from the daemon to further lines of its configuration, outside of any table."""
        need_root()
        need_programs("ip", "nft")
        for program in ("berthd", "berth-shim"):
            if not (BIN / program).exists():
                raise Skip(f"missing program: {BIN / program}")
        name = f"bi{secrets.token_hex(3)}"  # a pid may be another's in another namespace
        self.bridge, self.subnet = name, free_subnet()
        self.cgroup_driver = os.environ.get("BERTH_TEST_CGROUP_DRIVER") or "auto"
        # As the configuration spells it, and as a path beneath the cgroup trees.
        self.parent_name = f"{name}.slice" if cgroups.driver(self.cgroup_driver) == "systemd" else f"/{name}"
        self.cgroup_parent = f"/{self.parent_name.strip('/')}"
        client = crictl_program()
        # The image store wants a real file system, and /tmp may be memory; a socket wants a short path.
        self.root = tempfile.mkdtemp(prefix="berth-it.", dir="/var/tmp")
        self.state = tempfile.mkdtemp(prefix="bi.", dir="/run")
        self.files = tempfile.mkdtemp(prefix="berth-it-files.", dir="/var/tmp")
        self.socket = f"{self.state}/b.sock"
        self.log = f"{self.files}/berthd.log"
        self.process, self.programs, self.environment = None, BIN, {}
        self.crictl = Crictl(client, self.files, self.socket)
        self._write_config(settings(self) if settings else "")

    def _write_config(self, more):
        # Those of the image table stand in it, which is the last: TOML lets no table be opened twice.
        lines = more.splitlines()
        if not any(line.startswith("image.layers") for line in lines):
            lines.append(f'image.layers = "{os.environ.get("BERTH_TEST_LAYERS") or "auto"}"')
        image = "".join(line.removeprefix("image.") + "\n" for line in lines if line.startswith("image."))
        more = "\n".join(line for line in lines if not line.startswith("image."))
        with open(f"{self.files}/config.toml", "w", encoding="utf-8") as f:
            f.write(f'root = "{self.root}"\nstate = "{self.state}"\nsocket = "{self.socket}"\n'
                    f'cgroup_driver = "{self.cgroup_driver}"\ncgroup_parent = "{self.parent_name}"\nlog_level = "debug"\n{more}\n'
                    f"[network]\n{self.network_table()}"
                    f"[image]\nusage_interval = 1\n{image}")

    def network_table(self):
        return f'mode = "embedded"\nbridge = "{self.bridge}"\nsubnet = "{self.subnet}"\n'

    def command(self):
        return [self.programs / "berthd", "--config", f"{self.files}/config.toml"]

    def cgroup_of(self, pod):
        """The cgroup in which that pod's shim lives, as a path beneath the trees."""
        name = f"berth-{pod.id}.scope" if self.parent_name.endswith(".slice") else pod.id
        return f"{self.cgroup_parent}/{name}"

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True, env={**os.environ, **self.environment})
        wait_for(f"berthd serves {self.socket}; its log: {self.log_tail()}", self._serves, 30)

    def _serves(self):
        assert self.process.poll() is None, f"berthd ended with {self.process.returncode}: {self.log_tail()}"
        return self.crictl.call("version").status == 0

    def kill(self):
        """As a crash would: no chance to do anything."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self, seconds=20):
        """Its exit status after SIGTERM."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "killed: it did not end after SIGTERM"
        finally:
            self.process = None

    def log_tail(self, lines=25):
        try:
            return "\n".join(pathlib.Path(self.log).read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def destroy(self):
        """Removes everything by force; what should not have been there any more is returned."""
        left = []
        if self.process:
            status = self.stop()
            if status != 0:
                left.append(f"berthd ended with {status}")
        gone = time.monotonic() + 3
        while (still := self._still_there()) and time.monotonic() < gone:
            time.sleep(0.1)
        self._force_out()
        return left + still

    def _still_there(self):
        found = [line for line in leaks.snapshot(self) if line.startswith(("mount", "cgroup", "process", "file /run", "packet rule"))]
        if os.path.exists(f"/sys/class/net/{self.bridge}"):
            found.append(f"link {self.bridge}")
        return sorted(found)

    def _delete_table(self):
        """The nftables table whose rules name our bridge, and no other's."""
        tables = subprocess.run(["nft", "list", "tables", "ip"], capture_output=True, text=True, check=False).stdout
        for name in (line.split()[-1] for line in tables.splitlines()):
            rules = subprocess.run(["nft", "list", "table", "ip", name], capture_output=True, text=True, check=False).stdout
            if name.startswith("berth") and f'"{self.bridge}"' in rules:
                subprocess.run(["nft", "delete", "table", "ip", name], check=False)

    def _force_out(self):
        for pid, _ in leaks.processes_in(self.cgroup_parent):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.2)
        for line in sorted(leaks.snapshot(self), reverse=True):
            kind, _, rest = line.partition(" ")
            if kind == "mount":
                subprocess.run(["umount", "-l", rest], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)
        self._delete_table()
        if self.parent_name.endswith(".slice"):
            subprocess.run(["systemctl", "stop", self.parent_name], check=False, capture_output=True)
        for path in sorted(leaks.cgroup_dirs(self.cgroup_parent), key=len, reverse=True):
            try:
                os.rmdir(path)
            except OSError:
                pass
        for path in (self.root, self.state, self.files):
            if not any(m.startswith(f"mount {path}") for m in leaks.snapshot(self)):
                shutil.rmtree(path, ignore_errors=True)
