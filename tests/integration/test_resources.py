#!/usr/bin/env python3
"""Limits, by what the kernel's files say: on creation and on update, taken back when one cannot be had, and refused when they
make no sense. The same cases run with cgroup v1, with v2 and with v2 under systemd ($BERTH_TEST_CGROUP_DRIVER forces a driver)."""
import os
import pathlib
import re
import subprocess
import sys

import cgroups
import fixture
import leaks
import rpc
from rpc import message
from suite import Skip, contains, equal, main, wait_for

MIB = 1 << 20
# Numbers of LinuxContainerResources' fields.
FIELDS = {"cpu_period": 1, "cpu_quota": 2, "cpu_shares": 3, "memory_limit_in_bytes": 4, "oom_score_adj": 5, "cpuset_cpus": 6,
          "cpuset_mems": 7, "hugepage_limits": 8, "unified": 9, "memory_swap_limit_in_bytes": 10}
# 512 and 256 shares as cpu.weight.
WEIGHT = {512: 59, 256: 35, 1024: 100} if cgroups.V2 else {512: 512, 256: 256, 1024: 1024}

POD_METHOD = "RuntimeService/UpdatePodSandboxResources"

make_fixture = fixture.make([fixture.BUSYBOX])


def encoded(**resources):
    fields = []
    for name, value in resources.items():
        values = [value] if not isinstance(value, dict) else [message((1, k), (2, v)) for k, v in value.items()]
        fields += [(FIELDS[name], v) for v in values]
    return message(*fields)


def update(f, container, **resources):
    return rpc.call(f.daemon.socket, "RuntimeService/UpdateContainerResources",
                    message((1, container.id), (2, encoded(**resources))))


def updated(f, container, **resources):
    equal(update(f, container, **resources), ("OK", ""))


def refused(f, container, code, field, **resources):
    got, words = update(f, container, **resources)
    equal(got, code, words)
    contains(words, field)


def reported(container):
    return container.status()["resources"]["linux"]


def sleeper(f, **resources):
    return f.pod.start(["/bin/sleep", "1000"], resources=resources)


# -- where processes are


def test_the_driver_is_reported(f):
    contains(f.crictl("runtime-config"), cgroups.driver(f.daemon.cgroup_driver).upper())


def test_places_of_shim_and_containers(f):
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    info = pod.inspect()["info"]
    shim = pathlib.Path(f"/proc/{info['pid']}/cgroup").read_text()
    own = pathlib.Path(f"/proc/{c.process()}/cgroup").read_text()
    if cgroups.driver(f.daemon.cgroup_driver) == "systemd":
        scope = f"{f.daemon.cgroup_parent}/berth-{pod.id}.scope"
        contains(shim, f":{scope}/shim\n")
        contains(own, f":{scope}/{c.id}\n")
    else:
        contains(shim, f":{f.daemon.cgroup_parent}/{pod.id}\n")
        contains(own, f":{f.daemon.cgroup_parent}/{c.id}\n")


def test_an_exec_is_in_its_containers_cgroup(f):
    c = sleeper(f)
    inside = f.crictl("exec", "-s", c.id, "cat", "/proc/self/cgroup")
    contains(inside, "::/\n" if cgroups.V2 else ":pids:/\n")


def test_a_parent_of_its_own(f):
    systemd = cgroups.driver(f.daemon.cgroup_driver) == "systemd"
    stem = f.daemon.parent_name.removesuffix(".slice")
    parent = f"{stem}-sub-pod7.slice" if systemd else f"{stem}/sub/pod7"
    path = f"/{stem}.slice/{stem}-sub.slice/{parent}" if systemd else parent
    f.cleanup(lambda: remove_parent(f, parent, path, systemd))
    c = f.run_pod(linux={"cgroup_parent": parent}).start(["/bin/sleep", "1000"])
    contains(pathlib.Path(f"/proc/{c.process()}/cgroup").read_text(), f":{path}/")


def remove_parent(f, parent, path, systemd):
    if systemd:
        subprocess.run(["systemctl", "stop", parent, f.daemon.parent_name.replace(".slice", "-sub.slice")], check=True)
        return
    for directory in sorted(leaks.cgroup_dirs(os.path.dirname(path)), key=len, reverse=True):
        os.rmdir(directory)


def test_malformed_parents(f):
    systemd = cgroups.driver(f.daemon.cgroup_driver) == "systemd"
    for parent in ("a--b.slice", "-a.slice", "a b.slice", "a/b.slice", "a.scope") if systemd else ("a/b", "/a/../b", "a.slice"):
        config = f.pod_config(linux={"cgroup_parent": parent})
        f.crictl.call("runp", fixture.Pod(f, config).path).refused("InvalidArgument", "linux.cgroup_parent")


# -- created with


def test_cpu_limits(f):
    cgroups.need("cpu")
    c = sleeper(f, cpu_quota=50000, cpu_period=200000, cpu_shares=512)
    pid = c.process()
    equal((cgroups.quota(pid), cgroups.period(pid), cgroups.weight(pid)), (50000, 200000, WEIGHT[512]))
    equal([reported(c)[k] for k in ("cpuQuota", "cpuPeriod", "cpuShares")], ["50000", "200000", "512"])


def test_cpuset(f):
    cgroups.need("cpuset")
    pid = sleeper(f, cpuset_cpus="0", cpuset_mems="0").process()
    equal(cgroups.cpus(pid), "0")
    equal(re.search(r"Cpus_allowed_list:\s*(\S+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1), "0")


def test_memory_without_swap(f):
    cgroups.need("memory")
    pid = sleeper(f, memory_limit_in_bytes=64 * MIB).process()
    equal(cgroups.memory(pid), 64 * MIB)
    assert cgroups.memory_and_swap(pid) in (None, 64 * MIB)


def test_memory_with_swap(f):
    cgroups.need("memory")
    pid = sleeper(f, memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=96 * MIB).process()
    equal(cgroups.memory(pid), 64 * MIB)
    assert cgroups.memory_and_swap(pid) in (None, 96 * MIB)


def test_out_of_memory(f):
    cgroups.need("memory")
    c = f.pod.start(["/bin/sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=100M count=1"], resources={"memory_limit_in_bytes": 16 * MIB})
    status = c.wait()
    equal((status["reason"], status["exitCode"]), ("OOMKilled", 137))


def test_killed_is_not_out_of_memory(f):
    c = sleeper(f)
    f.crictl("stop", "--timeout", "0", c.id)
    equal((c.status()["reason"], c.status()["exitCode"]), ("Error", 137))


def test_unlimited_pids_by_default(f):
    cgroups.need("pids")
    equal(cgroups.pids(sleeper(f).process()), -1)


def test_unified(f):
    if not cgroups.V2:
        config = f.pod.container_config(["/pause"], resources={"unified": {"pids.max": "50"}})
        f.pod.try_create(config).refused("FailedPrecondition", "unified", "cgroup v1")
        return
    cgroups.need("pids")
    pid = sleeper(f, unified={"pids.max": "50"}).process()
    equal(cgroups.pids(pid), 50)


def test_unified_is_written_last(f):
    if not cgroups.V2:
        raise Skip("this machine has cgroup v1")
    cgroups.need("memory")
    pid = sleeper(f, memory_limit_in_bytes=64 * MIB, unified={"memory.max": str(48 * MIB), "memory.oom.group": "1"}).process()
    equal((cgroups.memory(pid), cgroups.value(pid, "memory", "", "memory.oom.group")), (48 * MIB, "1"))


def hugepage_size(pid):
    """A page size that the container's cgroup can be limited in, or None."""
    names = os.listdir(cgroups.path_of(pid)) if cgroups.V2 else os.listdir("/sys/fs/cgroup/hugetlb") if os.path.isdir("/sys/fs/cgroup/hugetlb") else []
    return next((n.split(".")[1] for n in names if re.fullmatch(r"hugetlb\.\d+[KMG]B\.(max|limit_in_bytes)", n)), None)


def test_hugepages(f):
    c = sleeper(f, hugepage_limits=[{"page_size": "2MB", "limit": 0}])
    size = hugepage_size(c.process())
    if not size:
        config = f.pod.container_config(["/pause"], resources={"hugepage_limits": [{"page_size": "2MB", "limit": 4 * MIB}]})
        f.pod.try_create(config).refused("FailedPrecondition", "hugepage_limits")
        raise Skip("no cgroup controller hugetlb: only the refusal was seen")
    config = f.pod.container_config(["/pause"], resources={"hugepage_limits": [{"page_size": "3MB", "limit": 0}]})
    f.pod.try_create(config).refused("FailedPrecondition", "hugepage_limits", "3MB")
    c = sleeper(f, hugepage_limits=[{"page_size": size, "limit": 0}])
    read = lambda: cgroups.value(c.process(), "hugetlb", f"hugetlb.{size}.limit_in_bytes", f"hugetlb.{size}.max")
    equal(read(), "0")
    updated(f, c, hugepage_limits=message((1, size), (2, 1 << 30)))
    equal(read(), str(1 << 30))
    equal([h["limit"] for h in reported(c)["hugepageLimits"]], [str(1 << 30)])


# -- refused, with nothing left behind (the fixture looks)


BAD = [("cpu_shares", -1, "cpu_shares"), ("cpu_quota", 10, "cpu_quota"), ("cpu_period", 5, "cpu_period"),
       ("memory_limit_in_bytes", -7, "memory_limit_in_bytes"), ("memory_swap_limit_in_bytes", 5 * MIB, "memory_swap_limit_in_bytes"),
       ("oom_score_adj", 1001, "oom_score_adj"), ("oom_score_adj", -1001, "oom_score_adj"), ("cpuset_cpus", "0;1", "cpuset_cpus"),
       ("cpuset_mems", "x", "cpuset_mems")]


def test_bad_values_at_creation(f):
    for name, value, field in BAD:
        f.pod.try_create(f.pod.container_config(["/pause"], resources={name: value})).refused("InvalidArgument", field)
    resources = {"hugepage_limits": [{"page_size": "2M/../B", "limit": 1}]}
    f.pod.try_create(f.pod.container_config(["/pause"], resources=resources)).refused("InvalidArgument", "hugepage_limits")


def test_bad_values_on_update(f):
    c = sleeper(f)
    for name, value, field in BAD:
        refused(f, c, "InvalidArgument", field, **{name: value})


def test_processors_that_are_not_there(f):
    cgroups.need("cpuset")
    config = f.pod.container_config(["/pause"], resources={"cpuset_cpus": "4000"})
    f.pod.try_create(config).refused("InvalidArgument", "cpuset_cpus")


def test_unified_keys(f):
    if not cgroups.V2:
        raise Skip("this machine has cgroup v1")
    for key in ("../memory.max", "cgroup.procs", "memory", "memory.max/x"):
        config = f.pod.container_config(["/pause"], resources={"unified": {key: "1"}})
        f.pod.try_create(config).refused("InvalidArgument", "unified")
    config = f.pod.container_config(["/pause"], resources={"unified": {"nosuch.max": "1"}})
    f.pod.try_create(config).refused("FailedPrecondition", "unified nosuch.max")


# -- updates


def test_update_while_created_and_running(f):
    cgroups.need("cpu", "memory")
    c = f.pod.create(["/bin/sleep", "1000"])
    updated(f, c, cpu_shares=512, memory_limit_in_bytes=64 * MIB)
    f.crictl("start", c.id)
    pid = c.process()
    equal((cgroups.weight(pid), cgroups.memory(pid)), (WEIGHT[512], 64 * MIB))
    updated(f, c, cpu_shares=256, memory_limit_in_bytes=32 * MIB)
    equal((cgroups.weight(pid), cgroups.memory(pid)), (WEIGHT[256], 32 * MIB))
    equal((reported(c)["cpuShares"], reported(c)["memoryLimitInBytes"]), ("256", str(32 * MIB)))
    assert cgroups.memory_and_swap(pid) in (None, 32 * MIB)


def test_update_up_and_down(f):
    cgroups.need("cpu", "memory")
    c = sleeper(f, memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=64 * MIB, cpu_quota=20000, cpu_period=50000)
    pid = c.process()
    for memory, swap, quota, period in ((256, 300, 400000, 100000), (32, 40, 10000, 10000), (128, 128, 100000, 1000000), (-1, -1, -1, 100000)):
        unit = MIB if memory > 0 else 1
        updated(f, c, memory_limit_in_bytes=memory * unit, memory_swap_limit_in_bytes=swap * unit, cpu_quota=quota, cpu_period=period)
        equal((cgroups.memory(pid), cgroups.quota(pid), cgroups.period(pid)), (memory * unit, quota, period))
        assert cgroups.memory_and_swap(pid) in (None, swap * unit)


def test_update_of_one_half(f):
    """Quota and period are one file to v2, memory and swap depend on each other: the half that is not given stays."""
    cgroups.need("cpu", "memory")
    c = sleeper(f, cpu_quota=20000, cpu_period=50000, memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=96 * MIB)
    pid = c.process()
    updated(f, c, cpu_quota=30000)
    updated(f, c, cpu_period=60000)
    updated(f, c, memory_limit_in_bytes=80 * MIB)
    equal((cgroups.quota(pid), cgroups.period(pid), cgroups.memory(pid)), (30000, 60000, 80 * MIB))
    assert cgroups.memory_and_swap(pid) in (None, 96 * MIB)
    refused(f, c, "InvalidArgument", "memory_swap_limit_in_bytes", memory_limit_in_bytes=128 * MIB)


def test_a_failed_update_changes_nothing(f):
    cgroups.need("cpu", "cpuset", "memory")
    c = sleeper(f, oom_score_adj=300)  # without limits: what was unlimited is unlimited again
    pid = c.process()
    look = lambda: (cgroups.weight(pid), cgroups.quota(pid), cgroups.period(pid), cgroups.memory(pid), cgroups.memory_and_swap(pid),
                    cgroups.cpus(pid), score(pid), reported(c))
    before = look()
    refused(f, c, "InvalidArgument", "cpuset_cpus", cpu_shares=512, cpu_quota=50000, cpu_period=20000, cpuset_cpus="4000",
            oom_score_adj=400)
    equal(look(), before)
    refused(f, c, "FailedPrecondition", "hugepage_limits", cpu_shares=512, memory_limit_in_bytes=64 * MIB, oom_score_adj=400,
            hugepage_limits=message((1, "3MB"), (2, 4 * MIB)))
    equal(look(), before)


def test_less_memory_than_is_used(f):
    cgroups.need("memory")
    c = f.pod.start(["/bin/sh", "-c", "dd if=/dev/zero of=/dev/shm/full bs=1M count=24 2>/dev/null; echo full; sleep 1000"],
                    resources={"memory_limit_in_bytes": 64 * MIB})
    wait_for("24 MiB are in use", lambda: c.output() == "full\n")
    refused(f, c, "FailedPrecondition", "memory_limit_in_bytes", memory_limit_in_bytes=8 * MIB)
    equal((cgroups.memory(c.process()), reported(c)["memoryLimitInBytes"]), (64 * MIB, str(64 * MIB)))
    equal(c.status()["state"], "CONTAINER_RUNNING")
    f.crictl("exec", "-s", c.id, "rm", "/dev/shm/full")


def test_update_of_unified(f):
    if not cgroups.V2:
        c = sleeper(f)
        refused(f, c, "FailedPrecondition", "unified", unified={"pids.max": "60"})
        return
    cgroups.need("pids")
    c = sleeper(f, unified={"pids.max": "50"})
    updated(f, c, unified={"pids.max": "60"})
    equal((cgroups.pids(c.process()), reported(c)["unified"]), (60, {"pids.max": "60"}))


def test_update_of_an_exited_container(f):
    c = f.pod.start(["/bin/true"])
    c.wait()
    refused(f, c, "FailedPrecondition", "has exited", cpu_shares=512)
    equal(update_of_nobody(f), "NotFound")


def update_of_nobody(f):
    return rpc.call(f.daemon.socket, "RuntimeService/UpdateContainerResources", message((1, "f" * 64), (2, encoded(cpu_shares=512))))[0]


# -- the score of the OOM killer


def score(pid):
    return pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text().strip()


def test_oom_score(f):
    equal(score(sleeper(f, oom_score_adj=500).process()), "500")


def test_oom_score_of_all_processes_is_updated(f):
    script = "sleep 1000 & (echo 700 > /proc/self/oom_score_adj; exec sleep 1001) & sleep 0.2; echo up; wait"
    c = f.pod.start(["/bin/sh", "-c", script], resources={"oom_score_adj": 500})
    wait_for("the script is up", lambda: c.output() == "up\n")
    directory = cgroups.path_of(c.process(), "pids")
    scores = lambda: sorted(score(pid) for pid in pathlib.Path(f"{directory}/cgroup.procs").read_text().split())
    wait_for("three processes", lambda: scores() == ["500", "500", "700"])
    updated(f, c, oom_score_adj=600)
    equal((scores(), reported(c)["oomScoreAdj"]), (["600", "600", "700"], "600"))
    equal(f.crictl("exec", "-s", c.id, "cat", "/proc/self/oom_score_adj").strip(), "600")


# -- resources of pods


def test_resources_of_a_pod(f):
    equal(rpc.call(f.daemon.socket, POD_METHOD, message((1, "f" * 64)))[0], "NotFound")
    pod = f.run_pod(linux={"resources": {"cpu_shares": 100}, "overhead": {"memory_limit_in_bytes": 7}})
    info = lambda: pod.inspect()["info"]
    equal((info()["resources"]["cpuShares"], info()["overhead"]["memoryLimitInBytes"]), (100, 7))
    equal(rpc.call(f.daemon.socket, POD_METHOD, message((1, pod.id), (3, encoded(cpu_shares=200)))), ("OK", ""))
    equal((info()["resources"]["cpuShares"], info()["overhead"]["memoryLimitInBytes"]), (200, 7))
    equal(rpc.call(f.daemon.socket, POD_METHOD, message((1, pod.id), (2, encoded(memory_limit_in_bytes=9)))), ("OK", ""))


def test_all_of_it_after_a_restart_of_the_daemon(f):
    """The last case: a new daemon has not opened yet all that the former one had."""
    cgroups.need("cpu")
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"], resources={"cpu_shares": 512})
    updated(f, c, cpu_shares=256)
    equal(rpc.call(f.daemon.socket, POD_METHOD, message((1, pod.id), (3, encoded(cpu_shares=200)))), ("OK", ""))
    f.daemon.kill()
    f.daemon.start()
    equal((reported(c)["cpuShares"], pod.inspect()["info"]["resources"]["cpuShares"]), ("256", 200))
    updated(f, c, cpu_shares=1024)
    equal(cgroups.weight(c.process()), WEIGHT[1024])
    f.crictl("exec", "-s", c.id, "true")
    pod.create(["/pause"])


if __name__ == "__main__":
    main(sys.modules[__name__], make_fixture)
