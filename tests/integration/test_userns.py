#!/usr/bin/env python3
"""Pods with a user namespace of their own (hostUsers: false): root inside is an id without rights on the host."""
import os
import pathlib
import subprocess
import sys

import fixture
from fixture import BUSYBOX, CONTAINER, NODE, POD
from suite import Skip, contains, equal, main, wait_for

HOST_ID, LENGTH = 300000, 65536
MAPPING = {"host_id": HOST_ID, "container_id": 0, "length": LENGTH}
# AppArmor's default profile lets nobody mount, whatever the rights.
SYS_ADMIN = {"capabilities": {"add_capabilities": ["SYS_ADMIN", "NET_ADMIN"]}, "apparmor": {"profile_type": 1}}


def userns(**changed):
    mapping = {**MAPPING, **changed}
    return {"userns_options": {"mode": POD, "uids": [mapping], "gids": [mapping]}}


def run(f, namespaces=None, linux=None, **more):
    f.need_user_namespaces()
    return f.run_pod(f.pod_config(namespaces={**userns(), **(namespaces or {})}, linux=linux, **more))


def volume(f, name, owner=HOST_ID, **more):
    """A host directory with one file `text` in it, and the mount of it at /volume."""
    path = pathlib.Path(f.daemon.files) / name
    path.mkdir()
    (path / "text").write_text("of the host\n", encoding="utf-8")
    for p in (path, path / "text"):
        os.chown(p, owner, owner)
    f.cleanup(subprocess.run, ["rm", "-rf", str(path)])
    return path, {"host_path": str(path), "container_path": "/volume", **more}


def mapped():
    return {"uidMappings": [MAPPING], "gidMappings": [MAPPING]}


def refused(f, answer, code, *words):
    assert answer.status != 0, "it was not refused"
    equal(answer.code, code, str(answer))
    for word in words:
        contains(str(answer), word)


def refused_pod(f, code, *words, **config):
    """A pod like this is refused, and nothing of it is left; the fixture looks."""
    path = f.write("bad.json", f.pod_config(**config))
    refused(f, f.crictl.call("runp", path), code, *words)


def refused_container(f, pod, code, *words, **config):
    refused(f, pod.try_create(pod.container_config(["/bin/true"], **config)), code, *words)


def namespace_of(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


# -- who one is


def test_ids(f):
    pod = run(f)
    code, out = pod.sh("cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; stat -c '%u:%g' / /etc/passwd /etc/hosts /etc/hostname "
                       "/etc/resolv.conf /dev/shm /dev/mqueue /proc/1/status; echo x > /dev/stdout")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    equal((code, lines), (0, [f"0 {HOST_ID} {LENGTH}"] * 2 + ["0", "0"] + ["0:0"] * 8 + ["x"]))
    equal(pod.inspect()["status"]["linux"]["namespaces"]["options"]["usernsOptions"],
          {"mode": "POD", "uids": [{"hostId": HOST_ID, "containerId": 0, "length": LENGTH}],
           "gids": [{"hostId": HOST_ID, "containerId": 0, "length": LENGTH}]})


def test_seen_from_the_host(f):
    pod = run(f)
    c = pod.start(["/bin/sleep", "1000"])
    pid = c.process()
    equal(os.stat(f"/proc/{pid}").st_uid, HOST_ID)
    shim = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split("PPid:\t")[1].split()[0]
    for kind in ("user", "pid", "mnt"):
        assert namespace_of(pid, kind) != namespace_of("self", kind), kind
    equal(namespace_of(shim, "user"), namespace_of("self", "user"), "the shim's")
    for kind in ("net", "ipc", "uts"):
        equal(namespace_of(pid, kind), namespace_of(shim, kind))
    two = pod.start(["/bin/sleep", "1000"])
    equal(namespace_of(pid, "user"), namespace_of(two.process(), "user"))
    assert namespace_of(pid, "user") != namespace_of(run(f).start(["/bin/sleep", "1000"]).process(), "user"), "pods share one"


def test_users(f):
    pod = run(f)
    security = {"run_as_user": {"value": 1000}, "run_as_group": {"value": 2000}, "supplemental_groups": [3000]}
    _, out = pod.sh("id -u; id -g; id -G; touch /tmp/mine; stat -c '%u:%g' /tmp/mine; echo x > /dev/stdout", security=security)
    equal(out, "1000\n2000\n2000 3000\n1000:2000\nx\n")
    status = pod.start(["/bin/sleep", "1000"], security=security)
    equal(status.status()["user"]["linux"]["uid"], "1000")
    equal(os.stat(f"/proc/{status.process()}").st_uid, HOST_ID + 1000)


# -- files


def test_root_file_system(f):
    """What the image brought is root's inside; what the container writes is nobody's outside."""
    other, pod = f.pod, run(f)
    c = pod.start(["/bin/sh", "-c", "echo new > /new; echo more >> /etc/passwd; mkdir /dir; chown 33:44 /dir; rm /bin/ls; "
                   "stat -c '%n %u:%g' /new /etc/passwd /dir; sleep 1000"])
    wait_for("it writes", lambda: "/dir 33:44" in c.output(), 10)
    equal(c.output("stdout"), "/new 0:0\n/etc/passwd 0:0\n/dir 33:44\n")
    upper = next(pathlib.Path(f.daemon.root).glob(f"**/snapshots/{c.id}/upper"))
    owners = {name: (os.stat(upper / name).st_uid, os.stat(upper / name).st_gid) for name in ("", "new", "etc/passwd", "dir")}
    equal(owners, {"": (HOST_ID, HOST_ID), "new": (HOST_ID, HOST_ID), "etc/passwd": (HOST_ID, HOST_ID), "dir": (HOST_ID + 33, HOST_ID + 44)})
    # The layers are as they were: a pod on the host's ids has the same image.
    equal(other.sh("stat -c '%u:%g' /etc/passwd; ls -d /bin")[1], "0:0\n/bin\n")


def test_volumes(f):
    """Mapped: files of root are root's inside, and what is written belongs to root. Not mapped: to nobody."""
    pod = run(f)
    path, mount = volume(f, "mapped", owner=0, **mapped())
    code, out = pod.sh("stat -c '%u:%g' /volume /volume/text; echo x > /volume/new; chown 5:6 /volume/text", mounts=[mount])
    equal((code, out), (0, "0:0\n0:0\n"))
    equal([(os.stat(path / n).st_uid, os.stat(path / n).st_gid) for n in ("new", "text")], [(0, 0), (5, 6)])
    path, mount = volume(f, "plain", owner=0)
    code, out = pod.sh("stat -c %u /volume/text; echo x >> /volume/text || echo refused; touch /volume/x || echo refused", mounts=[mount])
    equal(out, "65534\nrefused\nrefused\n")
    path, mount = volume(f, "given")
    code, out = pod.sh("stat -c %u /volume/text; echo x >> /volume/text", mounts=[mount])
    equal((code, out), (0, "0\n"))


def test_volume_that_is_a_file(f):
    path, mount = volume(f, "dir", owner=0)
    mount = {"host_path": f"{path}/text", "container_path": "/file", **mapped()}
    equal(run(f).sh("cat /file; stat -c %u /file; echo x >> /file", mounts=[mount]), (0, "of the host\n0\n"))


def test_image_volume(f):
    """Seen as root's inside, whether the mount says the pod's mappings or none."""
    pod = run(f)
    mount = {"container_path": "/image", "image": {"image": f.busybox}, "readonly": True}
    for mappings in ({}, mapped()):
        code, out = pod.sh("stat -c '%u:%g' /image /image/etc/passwd; touch /image/x || echo kept", mounts=[{**mount, **mappings}])
        equal((code, out), (0, "0:0\n0:0\nkept\n"))
    other = [{**MAPPING, "host_id": 1}]
    refused_container(f, pod, "InvalidArgument", "mounts.uidMappings", mounts=[{**mount, "uidMappings": other, "gidMappings": other}])


def test_mappings_without_a_user_namespace(f):
    """A mount's mappings of its own, in a pod that has the host's ids."""
    other = [{"host_id": 7000, "container_id": 0, "length": 10}, {"host_id": 100, "container_id": 50, "length": 1}]
    pod = f.pod
    _, mount = volume(f, "own", owner=50, uidMappings=other, gidMappings=other)
    code, out = pod.sh("stat -c '%u:%g' /volume", mounts=[mount])
    equal((code, out), (0, "100:100\n"))


def test_read_only_volume_stays(f):
    """An attack: root inside, who may mount, makes it writable."""
    pod = run(f)
    path, mount = volume(f, "ro", owner=0, readonly=True, **mapped())
    _, out = pod.sh("mount -o remount,rw,bind /volume && echo remounted; echo x > /volume/x || echo kept; mkdir /m; "
                    "mount --bind /volume /m && mount -o remount,rw,bind /m && echo remounted; echo x > /m/x && rm /m/x || echo kept", mounts=[mount],
                    security=SYS_ADMIN)
    equal(out, "kept\nkept\n")
    equal(os.listdir(path), ["text"])


def test_volume_of_a_file_system_that_maps_no_ids(f):
    pod = run(f)
    mount = {"host_path": "/proc/sys", "container_path": "/volume", **mapped()}
    refused_container(f, pod, "FailedPrecondition", "mounts.uidMappings", "/proc/sys", mounts=[mount])


# -- rights


def test_capabilities_count_inside_only(f):
    pod = run(f)
    code, out = pod.sh("ip link add br9 type bridge && ip addr add 10.99.0.1/24 dev br9 && echo bridge; mkdir /m; mount -t tmpfs none /m && echo mounted; "
                       "mount -t proc proc /m && echo proc; echo 1 > /proc/sys/net/ipv4/ip_forward && echo forward; hostname other && hostname",
                       security={**SYS_ADMIN, "masked_paths": [], "readonly_paths": []})
    equal(out, "bridge\nmounted\nproc\nforward\nother\n")


def test_nothing_of_the_host_is_writable(f):
    pod = run(f, linux={"security_context": {"privileged": True, "namespace_options": {"pid": CONTAINER, **userns()}}})
    before = pathlib.Path("/proc/sys/kernel/panic").read_text(encoding="utf-8")
    # Where the host lets everybody read its log, so does this.
    log = "/dev/kmsg" if pathlib.Path("/proc/sys/kernel/dmesg_restrict").read_text(encoding="utf-8") == "1\n" else ""
    _, out = pod.sh("for file in /proc/sys/kernel/panic /proc/sys/vm/swappiness /proc/sysrq-trigger /sys/kernel/profiling /sys/kernel/mm/ksm/run; do "
                    "echo 1 2>/dev/null > $file && echo written $file; done; mknod /n c 1 3 && echo node; cat /proc/kcore > /dev/null && echo kcore; "
                    f"for d in /dev/sd* /dev/vd* /dev/mem {log}; do dd if=$d of=/dev/null count=1 2>/dev/null && echo read $d; done; "
                    "find /sys/fs/cgroup -writable -type f | head -3; true",
                    security={"privileged": True})
    equal(out, "")
    equal(pathlib.Path("/proc/sys/kernel/panic").read_text(encoding="utf-8"), before)


def test_privileged(f):
    """All rights over the pod's own namespaces; the gate is the same."""
    refused_container(f, run(f), "InvalidArgument", "privileged", security={"privileged": True})
    pod = run(f, linux={"security_context": {"privileged": True, "namespace_options": {"pid": CONTAINER, **userns()}}})
    equal(pod.sh("mkdir /m && mount -t tmpfs none /m && ip link set lo down && echo done", security={"privileged": True})[1], "done\n")


def test_devices(f):
    device = {"host_path": "/dev/zero", "container_path": "/dev/mine", "permissions": "rw"}
    equal(run(f).sh("head -c 3 /dev/mine | wc -c; echo x > /dev/null; head -c 2 /dev/urandom | wc -c", devices=[device])[1], "3\n2\n")


def test_terminal(f):
    c = run(f).start(["/bin/sh", "-c", "stat -c '%u:%g' /dev/console; tty"], tty=True)
    equal(c.wait()["exitCode"], 0)
    contains(c.output(), "0:5")


def test_masked_and_readonly_paths(f):
    security = {"masked_paths": ["/proc/kcore", "/proc/timer_list", "/sys/firmware"], "readonly_paths": ["/proc/sys", "/proc/bus"]}
    _, out = run(f).sh("cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l; echo 1 > /proc/sys/net/ipv4/ip_forward || echo kept", security=security)
    equal(out, "0\n0\nkept\n")


def test_seccomp(f):
    _, out = run(f).sh("grep ^Seccomp: /proc/self/status", security={"seccomp": {"profile_type": 0}})
    equal(out, "Seccomp:\t2\n")


def test_sysctls(f):
    pod = run(f, linux={"sysctls": {"net.ipv4.ip_local_port_range": "1024 1100", "kernel.shm_rmid_forced": "1"},
                        "security_context": {"namespace_options": {"pid": CONTAINER, **userns()}}})
    equal(pod.sh("cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced")[1], "1024\t1100\n1\n")


# -- other namespaces


def test_network(f):
    pod = run(f)
    c = pod.start(["/bin/sleep", "1000"])
    gateway = c.exec("/bin/sh", "-c", "ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'")
    contains(c.exec("/bin/ping", "-c", "1", "-W", "5", gateway), "1 packets received")
    contains(c.exec("/bin/ping", "-c", "1", "-W", "5", "127.0.0.1"), "1 packets received")
    subprocess.run(["ping", "-c", "1", "-W", "5", pod.ip()], check=True, capture_output=True)


def test_network_of_the_host(f):
    pod = run(f, namespaces={"network": NODE})
    c = pod.start(["/bin/sleep", "1000"])
    equal(namespace_of(c.process(), "net"), namespace_of("self", "net"))
    assert namespace_of(c.process(), "user") != namespace_of("self", "user")
    out = c.exec("/bin/sh", "-c", "ls /sys/class/net; id -u; touch /sys/x || echo kept; ip link set lo mtu 1234 || echo refused")
    equal(set(os.listdir("/sys/class/net")) - set(out.split()), set())
    assert "kept" in out and "refused" in out, out
    flags = [line.split()[5] for line in c.exec("/bin/cat", "/proc/self/mountinfo").splitlines() if line.split()[4] == "/sys"]
    contains(flags[0].split(","), "ro")


def test_pids_shared_in_the_pod(f):
    pod = run(f, namespaces={"pid": POD})
    one, two = pod.start(["/bin/sleep", "1000"]), pod.start(["/bin/sleep", "1000"])
    equal(namespace_of(one.process(), "pid"), namespace_of(two.process(), "pid"))
    out = two.exec("/bin/sh", "-c", "cat /proc/1/comm; pidof sleep | wc -w; ls /proc/1/root/ 2> /dev/null || echo hidden")
    equal(out, "berth-init\n2\nhidden\n")


def test_pids_of_a_target(f):
    pod = run(f)
    one = pod.start(["/bin/sleep", "1000"])
    two = pod.start(["/bin/sleep", "1000"], security={"namespace_options": {**userns(), "pid": 3, "target_id": one.id}})
    equal(namespace_of(one.process(), "pid"), namespace_of(two.process(), "pid"))
    equal(two.exec("/bin/sh", "-c", "cat /proc/1/comm"), "sleep\n")


def test_shared_memory(f):
    pod = run(f)
    one, two = pod.start(["/bin/sleep", "1000"]), pod.start(["/bin/sleep", "1000"])
    one.exec("/bin/sh", "-c", "echo shared > /dev/shm/x")
    equal(two.exec("/bin/sh", "-c", "cat /dev/shm/x; stat -c %u /dev/shm/x"), "shared\n0\n")


# -- exec and survival


def test_exec(f):
    c = run(f).start(["/bin/sleep", "1000"], security={"run_as_user": {"value": 1000}})
    equal(c.exec("/bin/sh", "-c", "id -u; touch /tmp/x; stat -c %u /tmp/x; echo again > /dev/stdout; tr -s ' ' < /proc/self/uid_map"),
          f"1000\n1000\nagain\n 0 {HOST_ID} {LENGTH}\n")


def test_daemon_killed(f):
    pod = run(f)
    c = pod.start(["/bin/sleep", "1000"])
    f.daemon.kill()
    f.daemon.start()
    equal(c.exec("/bin/id", "-u"), "0\n")
    equal(pod.sh("cat /proc/self/uid_map | tr -s ' '; touch /x; stat -c %u /x"), (0, f" 0 {HOST_ID} {LENGTH}\n0\n"))
    f.crictl("stop", c.id)
    f.crictl("rm", c.id)


# -- what is refused


def test_bad_mappings(f):
    for changed, word in (({"length": 0}, "length"), ({"host_id": 4294967000}, "host_id"), ({"container_id": 1}, "container_id")):
        refused_pod(f, "InvalidArgument", "userns_options", word, namespaces=userns(**changed))
    two = {"userns_options": {"mode": POD, "uids": [MAPPING, MAPPING], "gids": [MAPPING]}}
    refused_pod(f, "InvalidArgument", "userns_options", namespaces=two)
    differ = {"userns_options": {"mode": POD, "uids": [MAPPING], "gids": [{**MAPPING, "host_id": 1}]}}
    refused_pod(f, "InvalidArgument", "userns_options", namespaces=differ)
    refused_pod(f, "InvalidArgument", "userns_options", namespaces={"userns_options": {"mode": POD}})
    refused_pod(f, "InvalidArgument", "userns_options", namespaces={"userns_options": {"mode": CONTAINER}})
    refused_pod(f, "InvalidArgument", "userns_options",
                namespaces={"userns_options": {"mode": NODE, "uids": [MAPPING], "gids": [MAPPING]}})


def test_namespaces_of_the_host(f):
    refused_pod(f, "InvalidArgument", "namespace_options.pid", namespaces={**userns(), "pid": NODE})
    refused_pod(f, "InvalidArgument", "namespace_options.ipc", namespaces={**userns(), "ipc": NODE})


def test_container_that_differs(f):
    other, pod = f.pod, run(f)
    for options in ({"pid": CONTAINER}, {"pid": CONTAINER, **userns(host_id=400000)}):
        refused_container(f, pod, "InvalidArgument", "userns_options", security={"namespace_options": options})
    refused_container(f, other, "InvalidArgument", "userns_options", security={"namespace_options": {"pid": CONTAINER, **userns()}})


def test_users_that_are_not_mapped(f):
    pod = run(f)
    refused_container(f, pod, "InvalidArgument", "run_as_user", security={"run_as_user": {"value": LENGTH}})
    refused_container(f, pod, "InvalidArgument", "run_as_group",
                      security={"run_as_user": {"value": 1}, "run_as_group": {"value": LENGTH}})
    refused_container(f, pod, "InvalidArgument", "supplemental_groups", security={"supplemental_groups": [LENGTH]})


def test_small_mapping(f):
    """One id only: the group of terminals is not mapped."""
    f.need_user_namespaces()
    pod = f.run_pod(f.pod_config(namespaces=userns(length=1)))
    c = pod.start(["/bin/sh", "-c", "id -u; tty"], tty=True)
    equal(c.wait()["exitCode"], 0)


def test_bad_mount_mappings(f):
    pod = run(f)
    _, mount = volume(f, "bad")
    refused_container(f, pod, "InvalidArgument", "mounts.gidMappings", mounts=[{**mount, "uidMappings": [MAPPING]}])
    refused_container(f, pod, "InvalidArgument", "mounts.uidMappings", mounts=[{**mount, "gidMappings": [MAPPING]}])
    empty = [{**MAPPING, "length": 0}]
    refused_container(f, pod, "InvalidArgument", "mounts.uidMappings", mounts=[{**mount, "uidMappings": empty, "gidMappings": [MAPPING]}])
    twice = [MAPPING, MAPPING]
    refused_container(f, pod, "InvalidArgument", "mounts.uidMappings", mounts=[{**mount, "uidMappings": twice, "gidMappings": twice}])
    refused_container(f, pod, "InvalidArgument", "mounts.propagation", mounts=[{**mount, "propagation": 2}])


def test_refused_where_impossible(f):
    if f.has_user_namespaces():
        raise Skip("this kernel has all that user namespaces take")
    refused_pod(f, "FailedPrecondition", "userns_options", "not on this machine", namespaces=userns())


def test_status_says_so(f):
    f.need_user_namespaces()
    status = f.crictl.json("info")
    handlers = {h.get("name", ""): h["features"] for h in status["runtimeHandlers"]}
    equal([handlers[name].get("user_namespaces") for name in ("", "berth")], [True, True])
    equal(status["features"]["user_namespaces_host_network"], True)


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([BUSYBOX]))
