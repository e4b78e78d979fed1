#!/usr/bin/env python3
"""berthd as systemd runs it: deploy/systemd/berthd.service with a private daemon's program and configuration. Needs a
machine that was booted with systemd; ./dev e2e cgroup2 has one."""
import os
import pathlib
import subprocess
import sys

import leaks
from daemon import BIN, TOP, Daemon
from fixture import BUSYBOX, Fixture
from suite import Skip, contains, equal, main, wait_for


def systemctl(*arguments, check=True):
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=90, check=False)
    assert not check or done.returncode == 0, f"systemctl {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


class Service(Daemon):
    """The daemon is a unit of its own: started, stopped and restarted by systemctl."""

    def __init__(self):
        if not os.path.isdir("/run/systemd/system"):
            raise Skip("this machine was not booted with systemd (./dev e2e cgroup2 boots one that was)")
        super().__init__()
        self.unit = f"berthd-it-{os.getpid()}.service"
        self.unit_file = pathlib.Path("/run/systemd/system", self.unit)
        shipped = (TOP / "deploy/systemd/berthd.service").read_text(encoding="utf-8")
        command = f"ExecStart={BIN}/berthd --config {self.files}/config.toml"
        assert "ExecStart=/usr/bin/berthd\n" in shipped
        self.unit_file.write_text(shipped.replace("ExecStart=/usr/bin/berthd", command), encoding="utf-8")
        systemctl("daemon-reload")

    @property
    def pid(self):
        pid = int(systemctl("show", "-P", "MainPID", self.unit) or 0) if self.process else 0
        return pid or None

    def start(self):
        # Type=notify: when this returns, the daemon has said that it serves.
        systemctl("start", self.unit)
        self.process = self.unit
        equal(self.crictl.call("version").status, 0, f"the daemon answers as soon as systemd calls it started; {self.log_tail()}")

    def restart(self):
        systemctl("restart", self.unit)

    def stop(self, seconds=20):
        systemctl("stop", self.unit)
        self.process = None
        return int(systemctl("show", "-P", "ExecMainStatus", self.unit))

    def log_tail(self, lines=25):
        return subprocess.run(["journalctl", "-u", self.unit, "-n", str(lines), "--no-pager", "-o", "cat"], capture_output=True,
                              text=True, check=False).stdout

    def destroy(self):
        try:
            return super().destroy()
        finally:
            self.unit_file.unlink(missing_ok=True)
            systemctl("daemon-reload", check=False)


class ServiceFixture(Fixture):
    new_daemon = Service


def test_started(f):
    equal(systemctl("is-active", f.daemon.unit), "active")
    contains(pathlib.Path(f"/proc/{f.daemon.pid}/cgroup").read_text(encoding="utf-8"), f"/{f.daemon.unit}", "the daemon's cgroup")


def test_pod_outlives_restart(f):
    pod = f.run_pod()
    container = pod.start(["/bin/sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.2; done"])
    wait_for("the container writes", lambda: len(container.log_lines()) > 2)
    process, daemon, address = container.process(), f.daemon.pid, pod.ip()
    f.daemon.restart()
    assert f.daemon.pid != daemon, "the daemon is another process"
    equal(container.status()["state"], "CONTAINER_RUNNING")
    equal((container.process(), pod.ip()), (process, address), "process and address")
    seen = len(container.log_lines())
    wait_for("the container goes on writing", lambda: len(container.log_lines()) > seen + 2)
    numbers = [int(text) for _, _, text in container.log_lines()]
    equal(numbers, list(range(len(numbers))), "no line is lost or doubled")
    equal(container.exec("echo", "ok"), "ok\n")
    f.rebase_descriptors()


def test_pod_outlives_stop(f):
    container = f.run_pod().start(["/bin/sh", "-c", "sleep 1; exit 3"])
    f.daemon.stop()
    wait_for("the container ends without a daemon", lambda: not any(name == "sleep" for _, name in leaks.processes_in(f.daemon.cgroup_parent)))
    f.daemon.start()
    equal(container.wait()["exitCode"], 3)
    f.rebase_descriptors()


if __name__ == "__main__":
    main(sys.modules[__name__], lambda: ServiceFixture([BUSYBOX], []))
