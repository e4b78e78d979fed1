"""Cgroups as the machine has them: v1 trees or v2, and what their files say of one process's cgroup."""
import os
import pathlib

from suite import Skip

ROOT = "/sys/fs/cgroup"
V2 = os.path.exists(f"{ROOT}/cgroup.controllers")


def driver(configured="auto"):
    """The driver that a daemon so configured uses here."""
    if configured != "auto":
        return configured
    return "systemd" if V2 and os.path.isdir("/run/systemd/system") else "cgroupfs"


def path_of(pid, controller=None):
    """The directory of a process's cgroup in the tree of a v1 controller, or in the v2 tree."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if V2 and not controllers:
            return f"{ROOT}{path}"
        if not V2 and controller in controllers.split(","):
            return f"{ROOT}/{controller}{path}"
    raise Skip(f"no cgroup controller {controller}")


def need(*controllers):
    """Skips unless the machine limits with these."""
    if V2:
        there = pathlib.Path(f"{ROOT}/cgroup.controllers").read_text().split()
    else:
        there = [c for c in controllers if os.path.isdir(f"{ROOT}/{c}")]
    missing = [c for c in controllers if c not in there]
    if missing:
        raise Skip(f"no cgroup controller {', '.join(missing)}")


def has(path, name):
    return os.path.exists(f"{path}/{name}")


def value(pid, controller, v1_name, v2_name):
    """A file of the process's cgroup; None where the machine has no such file (swap may not be accounted)."""
    path, name = path_of(pid, controller), v2_name if V2 else v1_name
    return pathlib.Path(f"{path}/{name}").read_text().strip() if has(path, name) else None


# Each limit in the machine's spelling as the number that CRI has for it; -1 = unlimited.

def _number(text):
    if text is None:
        return None
    return -1 if text in ("max", "-1") or int(text) > 1 << 62 else int(text)


def memory(pid):
    return _number(value(pid, "memory", "memory.limit_in_bytes", "memory.max"))


def memory_and_swap(pid):
    if not V2:
        return _number(value(pid, "memory", "memory.memsw.limit_in_bytes", ""))
    swap = _number(value(pid, "memory", "", "memory.swap.max"))
    return swap if swap in (None, -1) else memory(pid) + swap


def quota(pid):
    text = value(pid, "cpu", "cpu.cfs_quota_us", "cpu.max")
    return _number(text.split()[0])


def period(pid):
    return int(value(pid, "cpu", "cpu.cfs_period_us", "cpu.max").split()[-1])


def weight(pid):
    """cpu.shares, or the cpu.weight that stands for them."""
    return int(value(pid, "cpu", "cpu.shares", "cpu.weight"))


def pids(pid):
    return _number(value(pid, "pids", "pids.max", "pids.max"))


def cpus(pid):
    return value(pid, "cpuset", "cpuset.cpus", "cpuset.cpus")
