#!/usr/bin/env python3
"""The machine was restarted: processes, mounts, namespaces and cgroups are gone, and the records speak of them still. With /run
as it should be, empty; and with one that outlived the boot, as where it is no memory."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import uuid

import fixture
import leaks
from suite import contains, equal, main, need_programs, need_root, wait_for

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def own_mounts():
    """Goes on in a mount namespace of its own, where a file can lie over the kernel's boot id: the daemon is started there, and all
    that it mounts is seen there."""
    if "BERTH_REBOOT_INSIDE" not in os.environ and os.geteuid() == 0:
        need_programs("unshare")
        os.environ["BERTH_REBOOT_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--", sys.executable, *sys.argv])


def kill_all(daemon):
    for pid, _ in leaks.processes_in(daemon.cgroup_parent):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def no_cgroups(daemon):
    """Whether they are gone; the kernel takes some time after the last process."""
    for path in sorted(leaks.cgroup_dirs(daemon.cgroup_parent), key=len, reverse=True):
        try:
            os.rmdir(path)
        except OSError:
            pass
    return not any(leaks.cgroup_dirs(daemon.cgroup_parent))


def power_off(daemon):
    """Leaves what is on disk."""
    daemon.kill()
    kill_all(daemon)
    wait_for("all processes end", lambda: not list(leaks.processes_in(daemon.cgroup_parent)))
    mounts = sorted((line.split()[1] for line in leaks.snapshot(daemon) if line.startswith("mount")), reverse=True)
    for path in mounts:
        subprocess.run(["umount", "-l", path], check=True)
    subprocess.run(["ip", "link", "delete", daemon.bridge], check=False, capture_output=True)
    daemon._delete_table()
    wait_for("no cgroup is left", lambda: no_cgroups(daemon))


def boot(f, keep_run):
    """Another boot of the same machine. `keep_run`: what was in /run is there still."""
    if not keep_run:
        for name in os.listdir(f.daemon.state):
            path = f"{f.daemon.state}/{name}"
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    new = pathlib.Path(f.daemon.files, "boot_id")
    new.write_text(f"{uuid.uuid4()}\n")
    subprocess.run(["mount", "--bind", str(new), BOOT_ID], check=True)
    f.daemon.start()
    f.rebase_descriptors()


class Machine(fixture.Fixture):
    """Some pods as a node has them; what they leave is compared with what was there before them."""

    def populate(self):
        web, other = self.run_pod(labels={"a": "b"}), self.run_pod()
        containers = {"runs": web.start(["/bin/sleep", "100000"]), "waits": web.create(["/bin/sleep", "100000"]),
                      "ended": web.start(["/bin/sh", "-c", "exit 5"]), "other": other.start(["/bin/sleep", "100000"]),
                      "late": other.start(["/bin/sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 41"])}
        containers["ended"].wait()
        return (web, other), containers


def expect_restarted(container):
    status = container.status()
    equal((status["state"], status["exitCode"], status["reason"]), ("CONTAINER_EXITED", 255, "Unknown"), container.config["metadata"]["name"])
    contains(status["message"], "the machine was restarted while it ran")
    assert int(status["finishedAt"][:4] > "2000"), status


def restart(f, keep_run):
    (web, other), containers = f.populate()
    before = containers["ended"].status()
    root_of_late = f"/proc/{containers['late'].process()}/root"
    # The last thing that happens before the power goes, and the daemon does not hear of it any more.
    f.daemon.kill()
    pathlib.Path(root_of_late, "go").touch()
    record = f"{f.daemon.state}/pods/{other.id}/{containers['late'].id}.exit"
    wait_for("the shim records the exit", lambda: os.path.exists(record))
    f.daemon.start()
    power_off(f.daemon)
    boot(f, keep_run)

    pods = {p["id"]: p for p in f.crictl.json("pods")["items"]}
    equal({p["state"] for p in pods.values()}, {"SANDBOX_NOTREADY"})
    equal(set(pods), {web.id, other.id})
    equal(pods[web.id]["labels"], {"a": "b"})
    for name in ("runs", "waits", "other"):
        expect_restarted(containers[name])
    equal(containers["ended"].status(), before)
    equal(containers["late"].status()["exitCode"], 41)

    # As the kubelet goes on: a new sandbox in the place of each, and then the old ones are removed.
    equal(f.crictl.call("exec", "-s", containers["runs"].id, "/bin/true").status != 0, True)
    web.config["metadata"]["attempt"] = 1
    again = f.run_pod(web.config)
    equal(again.sh("echo up; exit 3"), (3, "up\n"))
    assert again.ip(), again.inspect()
    for pod in (web, other):
        f.crictl("stopp", pod.id)
        f.crictl("stopp", pod.id)
    for container in containers.values():
        f.crictl("rm", container.id)
    for pod in (web, other, again):
        f.crictl("rmp", "-f", pod.id)
    f.nothing_left()


def test_restarted_with_an_empty_run(f):
    restart(f, keep_run=False)


def test_restarted_with_a_run_that_stayed(f):
    restart(f, keep_run=True)


def test_restarted_twice(f):
    """What the first boot found is not told anew by the second."""
    (web, other), containers = f.populate()
    power_off(f.daemon)
    boot(f, False)
    first = {name: c.status() for name, c in containers.items()}
    equal(first["runs"]["exitCode"], 255)
    power_off(f.daemon)
    boot(f, True)
    equal({name: c.status() for name, c in containers.items()}, first)
    for pod in (web, other):
        f.crictl("rmp", "-f", pod.id)
    f.nothing_left()


def test_restarted_and_the_records_are_lost(f):
    """Nobody will ask for the removal of what is only in a /run that stayed, and on the disk."""
    f.populate()
    power_off(f.daemon)
    for part in ("", "-wal", "-shm"):
        pathlib.Path(f"{f.daemon.root}/state.db{part}").unlink(missing_ok=True)
    boot(f, True)
    equal(f.crictl.json("pods")["items"], [])
    f.nothing_left()


if __name__ == "__main__":
    own_mounts()
    main(sys.modules[__name__], lambda: Machine([fixture.BUSYBOX]))
