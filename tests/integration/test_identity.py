#!/usr/bin/env python3
"""Who a container's processes are and what they may do, its sysctls, and what the configuration decides about devices."""
import os
import pathlib
import sys

import fixture
from fixture import BUSYBOX, CONTAINER, NODE
from suite import contains, equal, main, wait_for

SLEEP = ["/bin/sleep", "1000"]
SETUID = "e2e-test-images/nonewprivs:1.3"
GROUPS_IMAGE = "k8s-staging-cri-tools/test-image-predefined-group:latest"
NET_ADMIN, NET_RAW, NET_BIND_SERVICE, CHOWN, SYS_TIME = 12, 13, 10, 0, 25


def settings(_daemon):
    return ('device_ownership_from_security_context = true\nprivileged_without_host_devices = true\n'
            'default_rlimits = "core=0,nofile=2048:4096"\n')


def bits(*numbers):
    return sum(1 << n for n in numbers)


def facts(status):
    """The sets of a process as numbers, and other fields as text."""
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {k: int(v, 16) if k.startswith("Cap") else v.strip() for k, v in lines.items()}


def process(f, security, **more):
    """Of a program that is no shell, which would change its sets, and of an exec beside it; both are alike."""
    c = f.pod.start(SLEEP, security=security, **more)
    own, execed = facts(pathlib.Path(f"/proc/{c.process()}/status").read_text()), facts(c.exec("/bin/cat", "/proc/self/status"))
    for key in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"):
        equal(execed[key], own[key], f"{key} of the exec")
    c.remove()
    return own


def refuse(f, code, *parts, pod=None, **more):
    pod = pod or f.pod
    pod.try_create(pod.container_config(SLEEP, **more)).refused(code, *parts)


def refuse_pod(f, code, *parts, linux):
    f.crictl.call("runp", f.write("refused.json", f.pod_config(linux=linux))).refused(code, *parts)


def sandbox(**security):
    return {"security_context": {"namespace_options": {"pid": CONTAINER}, **security}}


# -- capabilities


def test_lists_of_capabilities(f):
    """ALL of either list first, then what is added by name, then what is dropped by name, however they are written."""
    def effective(add, drop):
        return process(f, {"capabilities": {"add_capabilities": add, "drop_capabilities": drop}})["CapEff"]
    equal(effective(["NET_ADMIN", "CHOWN"], ["ALL"]), bits(NET_ADMIN, CHOWN))
    equal(effective(["cap_net_admin", "CHOWN"], ["chown", "all"]), bits(NET_ADMIN))
    everything = effective(["ALL"], ["SYS_TIME", "CAP_NET_RAW"])
    equal(everything & bits(SYS_TIME, NET_RAW, NET_ADMIN, CHOWN), bits(NET_ADMIN, CHOWN))
    equal(effective(["ALL"], ["ALL"]), 0)


def test_inheritable_is_empty(f):
    """CVE-2022-24769 and its kin, of the container and of its execs."""
    for security in ({}, {"capabilities": {"add_capabilities": ["ALL"]}}, {"run_as_user": {"value": 33}}):
        of = process(f, security)
        equal((of["CapInh"], of["CapAmb"]), (0, 0), str(security))


def test_ambient_capabilities_of_an_ordinary_user(f):
    """They arrive in the program without a file that has them, also with no_new_privs; nothing else does."""
    for no_new_privs in (False, True):
        of = process(f, {"run_as_user": {"value": 33}, "no_new_privs": no_new_privs,
                         "capabilities": {"drop_capabilities": ["ALL"], "add_ambient_capabilities": ["NET_BIND_SERVICE"]}})
        for which in ("CapAmb", "CapEff", "CapPrm", "CapInh", "CapBnd"):
            equal(of[which], bits(NET_BIND_SERVICE), which)
        equal(of["NoNewPrivs"], str(int(no_new_privs)))
    equal(process(f, {"run_as_user": {"value": 33}, "capabilities": {"add_capabilities": ["NET_ADMIN"]}})["CapEff"], 0)


def test_no_new_privs_and_a_setuid_program(f):
    image = f.registry.ref(SETUID)
    for no_new_privs, want in ((False, "0"), (True, "1000")):
        c = f.pod.start(None, image=image, security={"run_as_user": {"value": 1000}, "no_new_privs": no_new_privs})
        c.wait()
        contains(c.output(), f"Effective uid: {want}")


def test_privileged_has_everything_but_devices(f):
    """With privileged_without_host_devices: all capabilities, and only the devices that are asked for."""
    pod = f.run_pod(linux=sandbox(privileged=True))
    _, out = pod.sh("mkdir /m && mount -t tmpfs x /m && echo mounted; ls /dev/kmsg /dev/fuse /dev/loop-control 2>/dev/null; "
                    "mknod /kmsg c 1 11; (exec 3</kmsg) 2>/dev/null && echo opened; true", security={"privileged": True})
    equal(out.split(), ["mounted"])
    if os.path.exists("/dev/fuse"):
        _, out = pod.sh("(exec 3</dev/fuse) && echo opened", security={"privileged": True}, devices=[{"host_path": "/dev/fuse", "permissions": "rw"}])
        equal(out.split(), ["opened"])


def test_privileged_needs_a_privileged_pod(f):
    refuse(f, "InvalidArgument", "security_context.privileged", security={"privileged": True})


# -- users and groups


def test_groups_are_reported(f):
    def user(security, **more):
        c = f.pod.start(SLEEP, security=security, **more)
        kernel = facts(pathlib.Path(f"/proc/{c.process()}/status").read_text())["Groups"].split()
        told = c.status()["user"]["linux"]
        equal(sorted(told["supplementalGroups"]), sorted(kernel), "the kernel's and the reported groups")
        c.remove()
        return told["uid"], told["gid"], sorted(told["supplementalGroups"], key=int)
    image, groups = f.registry.ref(GROUPS_IMAGE), {"run_as_user": {"value": 1000}, "supplemental_groups": [1234, 1234]}
    merged = user(groups, image=image)
    contains(merged[2], "50000")
    contains(merged[2], "1234")
    strict = user({**groups, "supplemental_groups_policy": 1}, image=image)
    equal(strict[:2], merged[:2])
    equal(strict[2], sorted({strict[1], "1234"}, key=int))
    equal(user({"run_as_user": {"value": 7}, "run_as_group": {"value": 8}}), ("7", "8", ["8"]))


def test_ids_out_of_range(f):
    for security, field in (({"run_as_user": {"value": -1}}, "run_as_user"), ({"run_as_user": {"value": 1 << 31}}, "run_as_user"),
                            ({"run_as_user": {"value": 1}, "run_as_group": {"value": 1 << 32}}, "run_as_group"),
                            ({"supplemental_groups": [-1]}, "supplemental_groups"), ({"supplemental_groups": [1 << 31]}, "supplemental_groups"),
                            ({"run_as_group": {"value": 5}}, "run_as_group"), ({"supplemental_groups_policy": 7}, "supplemental_groups_policy"),
                            ({"run_as_username": "no-such"}, "run_as_username"), ({"run_as_username": "4294967296"}, "run_as_username"),
                            ({"run_as_user": {"value": 1}, "run_as_username": "nobody"}, "run_as_username")):
        refuse(f, "InvalidArgument", field, security=security)


def test_home_is_the_users(f):
    for security, want in (({}, "/root"), ({"run_as_user": {"value": 33}}, "/var/www"), ({"run_as_user": {"value": 4711}}, "/")):
        equal(f.pod.sh("echo $HOME", security=security)[1], want + "\n")
    equal(f.pod.sh("echo $HOME", envs=[{"key": "HOME", "value": "/mine"}], security={"run_as_user": {"value": 33}})[1], "/mine\n")
    c = f.pod.start(SLEEP, security={"run_as_user": {"value": 33}})
    equal(c.exec("/bin/sh", "-c", "echo $HOME"), "/var/www\n")


def test_security_of_a_sandbox_is_checked(f):
    for security, field in (({"run_as_group": {"value": 5}}, "run_as_group"), ({"run_as_user": {"value": -1}}, "run_as_user"),
                            ({"run_as_user": {"value": 1}, "run_as_group": {"value": 1 << 31}}, "run_as_group"),
                            ({"supplemental_groups": [-7]}, "supplemental_groups"), ({"supplemental_groups_policy": 9}, "supplemental_groups_policy"),
                            ({"seccomp": {"profile_type": 0, "localhost_ref": "/x.json"}}, "seccomp.localhost_ref"),
                            ({"seccomp": {"profile_type": 2, "localhost_ref": "x.json"}}, "seccomp.localhost_ref"),
                            ({"seccomp_profile_path": "none"}, "seccomp_profile_path")):
        refuse_pod(f, "InvalidArgument", "linux.security_context", field, linux=sandbox(**security))
    pod = f.run_pod(linux=sandbox(run_as_user={"value": 5}, run_as_group={"value": 6}, supplemental_groups=[7], readonly_rootfs=True,
                                  seccomp={"profile_type": 0}))
    equal(pod.sh("id -u; touch /x && echo fine")[1].split(), ["0", "fine"], "a container is not what its sandbox is")


def test_stop_signals(f):
    """By the number in CRI's enumeration, which is by the alphabet; reported as what StopContainer sends."""
    for number, name in ((0, "SIGTERM"), (5, "SIGCHLD"), (11, "SIGPOLL"), (13, "SIGKILL"), (35, "SIGRTMIN"),
                         (38, "SIGRTMINPLUS3"), (50, "SIGRTMINPLUS15"), (51, "SIGRTMAXMINUS14"), (65, "SIGRTMAX")):
        c = f.pod.create(SLEEP, stop_signal=number)
        equal(c.status()["stopSignal"], name, str(number))
        c.remove()
    refuse(f, "InvalidArgument", "stop_signal", stop_signal=66)
    c = f.pod.start(["/bin/sh", "-c", "trap 'exit 9' 37; echo ready; while true; do sleep 0.05; done"], stop_signal=38)
    wait_for("the trap is set", lambda: c.output() == "ready\n")
    f.crictl("stop", "--timeout", "20", c.id)
    equal(c.status()["exitCode"], 9, "of what catches SIGRTMIN+3")


# -- what the configuration decides


def test_device_ownership(f):
    if not os.path.exists("/dev/fuse"):
        return
    before = os.stat("/dev/fuse")
    devices = [{"host_path": "/dev/fuse", "container_path": "/dev/mine", "permissions": "rw"}]
    security = {"run_as_user": {"value": 33}, "run_as_group": {"value": 44}, "capabilities": {"drop_capabilities": ["ALL"]}}
    _, out = f.pod.sh("stat -c %u:%g:%a /dev/mine; (exec 3</dev/mine) && echo opened; chmod 600 /dev/mine && echo own", devices=devices, security=security)
    equal(out.split(), [f"33:44:{before.st_mode & 0o777:o}", "opened", "own"])
    _, out = f.pod.sh("stat -c %u:%g /dev/mine", devices=devices)
    equal(out, f"{before.st_uid}:{before.st_gid}\n", "of a container that says nothing of its user")
    after = os.stat("/dev/fuse")
    equal((after.st_uid, after.st_gid, after.st_mode), (before.st_uid, before.st_gid, before.st_mode))


def test_default_rlimits(f):
    equal(f.pod.sh("ulimit -c; ulimit -n; ulimit -Hn")[1].split(), ["0", "2048", "4096"])
    equal(f.pod.sh("ulimit -c; ulimit -n", annotations={"berth.dev/rlimits": "nofile=99"})[1].split(), ["0", "99"])


# -- sysctls

PORTS, PING = "net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range"


def read_sysctls(pod):
    _, out = pod.sh(f"cd /proc/sys; cat {PORTS} {PING}")
    return [" ".join(line.split()) for line in out.splitlines()]


def test_unprivileged_ports_and_ping(f):
    equal(read_sysctls(f.pod), ["0", "0 2147483647"])
    equal(read_sysctls(f.run_pod(linux={**sandbox(), "sysctls": {PORTS: "80", "net.ipv4.ping_group_range": "5 6"}})), ["80", "5 6"])
    host = [" ".join(pathlib.Path("/proc/sys", p).read_text().split()) for p in (PORTS, PING)]
    equal(read_sysctls(f.run_pod(namespaces={"network": NODE})), host, "with the host's network")


def test_sysctls_in_both_forms(f):
    pod = f.run_pod(linux={**sandbox(), "sysctls": {"net/core/somaxconn": "77", "kernel.shmmni": "99", "kernel.sem": "32000 1024000000 500 32000", "fs.mqueue.msg_max": "20"}})
    equal(pod.sh("cd /proc/sys; cat net/core/somaxconn kernel/shmmni fs/mqueue/msg_max")[1].split(), ["77", "99", "20"])


def test_sysctls_that_are_refused(f):
    """CVE-2022-0811, CVE-2022-0532: neither a key nor a value carries another one, and the host's are out of reach."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    attack = "1+kernel.core_pattern=|/bin/evil"
    for sysctls, words in (({"kernel.shm_rmid_forced": attack}, "kernel.shm_rmid_forced"), ({f"kernel.shm_rmid_forced={attack}": "1"}, "not the name of a sysctl"),
                           ({"kernel.core_pattern": "x"}, "kernel.core_pattern is not namespaced"), ({"kernel/panic": "1"}, "kernel/panic"),
                           ({"net.ipv4.ip_forward": "1\n"}, "net.ipv4.ip_forward"), ({"net.ipv4.ip_forward": "1\t1"}, "control characters"),
                           ({"net.ipv4.ip_forward": ""}, "is empty"), ({"net.no.such": "1"}, "'net.no.such' is unknown"), ({"net.ipv4.ip_forward": "many"}, "net.ipv4.ip_forward"),
                           ({"net.core.somaxconn": "1", "net/core/somaxconn": "2"}, "given twice")):
        refuse_pod(f, "InvalidArgument", words, linux={**sandbox(), "sysctls": sysctls})
    for key, mode in (("net.core.somaxconn", "network"), ("kernel.sem", "ipc"), ("fs/mqueue/msg_max", "ipc")):
        refuse_pod(f, "InvalidArgument", key, "host",
                   linux={"sysctls": {key: "1"}, "security_context": {"namespace_options": {"pid": CONTAINER, mode: NODE}}})
    equal(pathlib.Path("/proc/sys/kernel/core_pattern").read_text(), pattern)


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([BUSYBOX, SETUID, GROUPS_IMAGE], settings=settings))
