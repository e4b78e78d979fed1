#!/usr/bin/env python3
"""Devices of a container, by path and by CDI name, and what annotations ask for: rlimits, block I/O and resctrl classes."""
import json
import os
import pathlib
import stat
import sys

import cgroups
import fixture
from fixture import BUSYBOX, CONTAINER, POD
from suite import Skip, contains, equal, main

SLEEP = ["/bin/sleep", "1000"]
DEVICES = ("/dev/fuse", "/dev/loop-control", "/dev/net/tun")


def settings(daemon):
    """CDI directories, block I/O classes, and a directory in the place of resctrl, which this test's machine need not have."""
    files = pathlib.Path(daemon.files)
    for name in ("cdi-low", "cdi-high", "resctrl/gold", "resctrl/empty"):
        (files / name).mkdir(parents=True)
    for tasks in ("resctrl/tasks", "resctrl/gold/tasks"):
        (files / tasks).touch()
    (files / "blockio.yaml").write_text("Classes:\n  slow:\n  - Weight: 80\n  - Devices: ['/dev/loop[0-1]', '/dev/loop0']\n"
                                        "    ThrottleReadBps: 10M\n    ThrottleWriteIOPS: 5k\n  missing:\n"
                                        "  - Devices: ['/dev/no-such-*']\n    ThrottleReadBps: 1M\n")
    return (f'cdi_spec_dirs = ["{files}/cdi-low", "{files}/cdi-high"]\nblockio_config_file = "{files}/blockio.yaml"\n'
            f'resctrl_root = "{files}/resctrl"\n')


def host_device():
    """(path, "MAJOR:MINOR" in hexadecimal, as stat's %t:%T, permission bits) of a device that no container has by itself."""
    for path in DEVICES:
        if os.path.exists(path):
            st = os.stat(path)
            return path, f"{os.major(st.st_rdev):x}:{os.minor(st.st_rdev):x}", oct(st.st_mode & 0o7777)[2:]
    raise Skip(f"none of {', '.join(DEVICES)} is on this machine")


def refuse(f, code, *parts, pod=None, **more):
    pod = pod or f.pod
    before = len(f.crictl.json("ps", "-a", "--pod", pod.id)["containers"])
    pod.try_create(pod.container_config(SLEEP, **more)).refused(code, *parts)
    equal(len(f.crictl.json("ps", "-a", "--pod", pod.id)["containers"]), before)


def opens(path):
    """A script that tells of reading and writing a device."""
    return f"(exec 3<{path}) 2>/dev/null && echo read; (exec 3>{path}) 2>/dev/null && echo write; true"


# -- by path


def test_device_with_its_numbers_and_mode(f):
    path, numbers, mode = host_device()
    devices = [{"host_path": path, "container_path": "/dev/mine", "permissions": "r"}]
    _, out = f.pod.sh(f"stat -c %t:%T:%a:%u:%g /dev/mine; {opens('/dev/mine')}", devices=devices)
    st = os.stat(path)
    equal(out.split(), [f"{numbers}:{mode}:{st.st_uid}:{st.st_gid}", "read"])
    _, out = f.pod.sh(opens("/dev/mine"), devices=[{**devices[0], "permissions": ""}])
    equal(out.split(), ["read", "write"], "no permissions are all")


def test_device_that_nobody_gave(f):
    """mknod is allowed, as everywhere; opening what it made is not."""
    path, numbers, _ = host_device()
    major, minor = (int(n, 16) for n in numbers.split(":"))
    _, out = f.pod.sh(f"ls {path} 2>/dev/null; mknod /tmp-node c {major} {minor} && echo made; {opens('/tmp-node')}")
    equal(out.split(), ["made"])


def test_node_of_the_host_cannot_be_changed(f):
    path, _, mode = host_device()
    _, out = f.pod.sh("chmod 777 /dev/mine 2>/dev/null || echo no; chown 5 /dev/mine 2>/dev/null || echo no",
                      devices=[{"host_path": path, "container_path": "/dev/mine", "permissions": "rwm"}])
    equal(out.split(), ["no", "no"])
    equal(oct(os.stat(path).st_mode & 0o7777)[2:], mode)


def test_device_by_symlink(f):
    path, numbers, _ = host_device()
    link = f"{f.daemon.files}/link-to-device"
    os.symlink(path, link)
    f.cleanup(os.unlink, link)
    equal(f.pod.sh("stat -c %t:%T /dev/mine", devices=[{"host_path": link, "container_path": "/dev/mine", "permissions": "rwm"}])[1],
          numbers + "\n")


def test_directory_of_devices(f):
    """The pseudo devices of a directory of our own making, also in a directory beneath; other files stay behind."""
    top = pathlib.Path(f.daemon.files, "devices")
    (top / "sub").mkdir(parents=True)
    for name, minor in (("one", 5), ("sub/two", 7)):
        os.mknod(top / name, 0o640 | stat.S_IFCHR, os.makedev(1, minor))
    (top / "file").touch()
    _, out = f.pod.sh("cd /dev/all && find . -type c -exec stat -c %n:%t:%T:%a {} \\; | sort; ls | sort",
                      devices=[{"host_path": str(top), "container_path": "/dev/all", "permissions": "rwm"}])
    equal(out.split(), ["./one:1:5:640", "./sub/two:1:7:640", "one", "sub"])


def test_container_path_defaults_to_the_hosts(f):
    path, numbers, _ = host_device()
    equal(f.pod.sh(f"stat -c %t:%T {path}", devices=[{"host_path": path, "permissions": "rwm"}])[1], numbers + "\n")


def test_the_same_device_twice(f):
    path, numbers, _ = host_device()
    one = {"host_path": path, "container_path": "/dev/mine", "permissions": "r"}
    _, out = f.pod.sh(f"stat -c %t:%T /dev/mine; {opens('/dev/mine')}", devices=[one, {**one, "permissions": "w"}, one])
    equal(out.split(), [numbers, "read", "write"])
    refuse(f, "InvalidArgument", "devices.container_path", "/dev/mine",
           devices=[one, {"host_path": "/dev/zero", "container_path": "/dev/mine", "permissions": "r"}])
    refuse(f, "InvalidArgument", "devices.container_path", "/dev/null", devices=[{**one, "container_path": "/dev/null"}])


def test_devices_that_are_none(f):
    for device, code, words in (({"host_path": "/etc/passwd"}, "InvalidArgument", "devices.host_path: '/etc/passwd' is not a device"),
                                ({"host_path": "/dev/no-such"}, "NotFound", "devices.host_path"),
                                ({"host_path": "dev/zero"}, "InvalidArgument", "devices.host_path"),
                                ({"host_path": ""}, "InvalidArgument", "devices.host_path"),
                                ({"host_path": "/dev/zero", "permissions": "rwx"}, "InvalidArgument", "devices.permissions: 'rwx'"),
                                ({"host_path": "/dev/zero", "container_path": "x"}, "InvalidArgument", "devices.container_path"),
                                ({"host_path": "/dev/zero", "container_path": "/a/../b"}, "InvalidArgument", "devices.container_path")):
        refuse(f, code, words, devices=[{"container_path": "/dev/x", "permissions": "rwm", **device}])


def test_privileged_has_all_devices(f):
    pod = f.run_pod(linux={"security_context": {"namespace_options": {"pid": CONTAINER}, "privileged": True}})
    path, numbers, _ = host_device()
    _, out = pod.sh(f"stat -c %t:%T {path}; {opens(path)}", security={"privileged": True})
    equal(out.split(), [numbers, "read", "write"])
    _, out = pod.sh("find /dev -type c -o -type b", security={"privileged": True})
    here = {os.path.join(top, n) for top, _, names in os.walk("/dev") for n in names
            if not top.startswith(("/dev/pts", "/dev/shm")) and stat.S_IFMT(os.lstat(os.path.join(top, n)).st_mode) in (stat.S_IFCHR, stat.S_IFBLK)}
    equal(here - set(out.split()) - {"/dev/console", "/dev/ptmx"}, set(), "not in the container")


# -- by CDI name


def spec(f, name, devices, directory="cdi-low", version="1.0.0", **more):
    """Writes a spec file of vendor.com/card that the end of the case removes."""
    path = pathlib.Path(f.daemon.files, directory, name)
    document = {"cdiVersion": version, "kind": "vendor.com/card",
                "devices": [{"name": n, "containerEdits": edits} for n, edits in devices.items()], **more}
    path.write_text(json.dumps(document))  # which is YAML, too
    f.cleanup(lambda: path.unlink(missing_ok=True))
    return str(path)


def named(*devices):
    return [{"name": f"vendor.com/card={d}"} for d in devices]


def test_cdi_edits(f):
    path, numbers, mode = host_device()
    library = pathlib.Path(f.daemon.files, "library.so")
    library.write_text("from the host")
    spec(f, "card.json", {"0": {"env": ["CARD=0", "A=cdi"], "deviceNodes": [{"path": "/dev/card0", "hostPath": path, "permissions": "r"}],
                                "mounts": [{"hostPath": str(library), "containerPath": "/usr/lib/library.so", "options": ["ro", "rbind", "rprivate"]}],
                                "additionalGids": [4444]},
                          "1": {"env": ["CARD1=1"]}},
         containerEdits={"env": ["VENDOR=yes"], "additionalGids": [5555]})
    c = f.pod.start(SLEEP, CDI_devices=named("0", "1", "0"), envs=[{"key": "A", "value": "request"}])
    look = f"stat -c %t:%T:%a /dev/card0; {opens('/dev/card0')}; cat /usr/lib/library.so; echo; id -G; touch /usr/lib/library.so 2>/dev/null || echo ro"
    equal(c.exec("/bin/sh", "-c", look).split("\n")[:5], [f"{numbers}:{mode}", "read", "from the host", "0 4444 5555", "ro"])
    env = dict(line.split("=", 1) for line in c.exec("/bin/env").splitlines())
    equal((env["CARD"], env["CARD1"], env["VENDOR"], env["A"]), ("0", "1", "yes", "cdi"))
    equal(c.status()["user"]["linux"]["supplementalGroups"], ["0", "5555", "4444"])


def test_cdi_in_a_user_namespace(f):
    """What a device adds does not take the container out of the pod's user namespace."""
    f.need_user_namespaces()
    mapping = {"host_id": 300000, "container_id": 0, "length": 65536}
    path, numbers, _ = host_device()
    spec(f, "card.json", {"0": {"env": ["CARD=0"], "deviceNodes": [{"path": "/dev/card0", "hostPath": path}]}})
    pod = f.run_pod(namespaces={"userns_options": {"mode": POD, "uids": [mapping], "gids": [mapping]}})
    code, out = pod.sh("cat /proc/self/uid_map; echo $CARD; stat -c %t:%T /dev/card0", CDI_devices=named("0"))
    equal((code, out.split()), (0, ["0", "300000", "65536", "0", numbers]))


def test_cdi_by_annotation(f):
    spec(f, "card.yaml", {"a": {"env": ["A=1"]}, "b": {"env": ["B=1"]}, "c": {"env": ["C=1"]}})
    _, out = f.pod.sh("env", CDI_devices=named("a"), annotations={"cdi.k8s.io/one": "vendor.com/card=a,vendor.com/card=b", "cdi.k8s.io/two": "vendor.com/card=c"})
    for line in ("A=1", "B=1", "C=1"):
        contains(out.splitlines(), line)
    refuse(f, "InvalidArgument", "cdi.k8s.io/one", annotations={"cdi.k8s.io/one": "card"})


def test_cdi_node_of_its_own(f):
    """With an owner, a mode or numbers of the file's own the container gets a node that is nobody else's."""
    _, numbers, _ = host_device()
    major, minor = (int(n, 16) for n in numbers.split(":"))
    spec(f, "card.json", {"0": {"deviceNodes": [
        {"path": "/dev/owned", "hostPath": "/dev/zero", "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/opt/card", "type": "c", "major": major, "minor": minor, "permissions": "rw"}]}})
    _, out = f.pod.sh(f"stat -c %t:%T:%a:%u:%g /dev/owned /opt/card; head -c 3 /dev/owned | wc -c; {opens('/opt/card')}; chmod 600 /dev/owned && echo mine",
                      CDI_devices=named("0"))
    equal(out.split(), ["1:5:640:7:8", f"{numbers}:666:0:0", "3", "read", "write", "mine"])
    equal(oct(os.stat("/dev/zero").st_mode & 0o777), "0o666", "of the host's")
    # What says nothing of its owner belongs to the process.
    spec(f, "plain.json", {"plain": {"deviceNodes": [{"path": "/dev/plain", "hostPath": "/dev/zero"}]}})
    _, out = f.pod.sh("stat -c %u:%g /dev/plain", CDI_devices=named("plain"), security={"run_as_user": {"value": 33}, "run_as_group": {"value": 44}})
    equal(out, "33:44\n")


def test_cdi_changes_are_seen(f):
    refuse(f, "NotFound", "CDI_devices", "vendor.com/card=x", CDI_devices=named("x"))
    spec(f, "card.json", {"x": {"env": ["N=1"]}})
    equal(f.pod.sh("echo $N", CDI_devices=named("x"))[1], "1\n")
    spec(f, "card.json", {"x": {"env": ["N=2"]}})
    equal(f.pod.sh("echo $N", CDI_devices=named("x"))[1], "2\n")
    spec(f, "card.json", {"x": {"env": ["N=3"]}}, directory="cdi-high")
    equal(f.pod.sh("echo $N", CDI_devices=named("x"))[1], "3\n")


def test_cdi_broken_file(f):
    good = spec(f, "good.json", {"x": {"env": ["N=1"]}})
    broken = pathlib.Path(f.daemon.files, "cdi-low", "broken.yaml")
    broken.write_text("cdiVersion: [\n")
    f.cleanup(broken.unlink)
    equal(f.pod.sh("echo $N", CDI_devices=named("x"))[1], "1\n")
    contains(pathlib.Path(f.daemon.log).read_text(), str(broken))
    cdi = json.loads(f.crictl("info"))["cdi"]
    cdi = json.loads(cdi) if isinstance(cdi, str) else cdi
    equal(cdi["devices"], {"vendor.com/card=x": good})
    contains(cdi["errors"], str(broken))


def test_cdi_what_cannot_be_done(f):
    path = spec(f, "card.json", {"hook": {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]},
                                 "node": {"deviceNodes": [{"path": "/dev/no-such"}]},
                                 "mount": {"mounts": [{"hostPath": f"{f.daemon.files}/no-such", "containerPath": "/x"}]},
                                 "tmpfs": {"mounts": [{"hostPath": "tmpfs", "containerPath": "/x", "type": "tmpfs"}]},
                                 "null": {"deviceNodes": [{"path": "/dev/null", "hostPath": "/dev/zero"}]}})
    for device, code, words in (("hook", "Unimplemented", (path, "hooks")), ("node", "NotFound", ("/dev/no-such",)),
                                ("mount", "NotFound", ("no-such",)), ("tmpfs", "Unimplemented", ("tmpfs",)), ("null", "InvalidArgument", ("/dev/null",))):
        refuse(f, code, "CDI_devices", *words, CDI_devices=named(device))
    refuse(f, "InvalidArgument", "CDI_devices", "card0", CDI_devices=[{"name": "card0"}])
    assert not os.path.exists(f"{f.daemon.files}/no-such"), "the source of a device's mount was made"


# -- rlimits


def limits(text):
    rows = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()[1:]}
    return {"nofile": rows["Max open files"], "core": rows["Max core file size"], "stack": rows["Max stack size"], "nproc": rows["Max processes"]}


def test_rlimits(f):
    config = f.pod_config(annotations={"berth.dev/rlimits": "nofile=100:200,core=0", "berth.dev/rlimits.web": "stack=65536:131072"})
    pod = f.run_pod(config)
    c = pod.start(SLEEP, name="web", annotations={"berth.dev/rlimits": "nofile=128:512"})
    want = {"nofile": ["128", "512"], "core": ["0", "0"], "stack": ["65536", "131072"]}
    for seen in (pathlib.Path(f"/proc/{c.process()}/limits").read_text(), c.exec("/bin/cat", "/proc/self/limits")):
        equal({k: v for k, v in limits(seen).items() if k in want}, want)
    other = pod.start(SLEEP, name="other")
    equal(limits(other.exec("/bin/cat", "/proc/self/limits"))["nofile"], ["100", "200"])


def test_rlimits_that_are_none(f):
    for value in ("nofile", "nofile=5:4", "files=1", "nofile=1,nofile=2", "nofile=-1"):
        refuse(f, "InvalidArgument", "berth.dev/rlimits", annotations={"berth.dev/rlimits": value})
    most = int(pathlib.Path("/proc/sys/fs/nr_open").read_text())
    refuse(f, "FailedPrecondition", "berth.dev/rlimits", "nofile", annotations={"berth.dev/rlimits": f"nofile=1:{most + 1}"})


# -- block I/O and resctrl


def throttled(c):
    """The limits of the container's cgroup for 7:0, in v2's words; empty without."""
    cgroups.need("io" if cgroups.V2 else "blkio")
    path = pathlib.Path(cgroups.path_of(c.process(), "blkio"))
    if cgroups.V2:
        words = [w for line in (path / "io.max").read_text().splitlines() if line.startswith("7:0 ") for w in line.split()[1:]]
        return {name: value for name, value in (w.split("=") for w in words) if value != "max"}
    files = {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}
    lines = {name: (path / f"blkio.throttle.{file}_device").read_text().splitlines() for name, file in files.items()}
    return {name: line.split()[1] for name, of in lines.items() for line in of if line.startswith("7:0 ")}


def test_blockio_class(f):
    if not os.path.exists("/dev/loop0"):
        raise Skip("no /dev/loop0")
    plain = f.pod
    pod = f.run_pod(f.pod_config(annotations={"blockio.resources.beta.kubernetes.io/container.web": "slow", "blockio.resources.beta.kubernetes.io/pod": "missing"}))
    equal(throttled(pod.start(SLEEP, name="web")), {"rbps": "10000000", "wiops": "5000"})
    equal(throttled(pod.start(SLEEP, name="other")), {})
    equal(throttled(plain.start(SLEEP, annotations={"io.kubernetes.cri.blockio-class": "slow"})), {"rbps": "10000000", "wiops": "5000"})
    refuse(f, "InvalidArgument", "io.kubernetes.cri.blockio-class", "no class 'fast'", annotations={"io.kubernetes.cri.blockio-class": "fast"})


def test_rdt_class(f):
    """The process writes itself into the class's tasks file; in this stand-in for resctrl the 0 that it writes stays to be seen."""
    tasks = pathlib.Path(f.daemon.files, "resctrl/gold/tasks")
    pod = f.run_pod(f.pod_config(annotations={"rdt.resources.beta.kubernetes.io/pod": "gold"}))
    c = pod.start(SLEEP)
    equal(tasks.read_text(), "0")
    c.exec("/bin/true")
    equal(tasks.read_text(), "00")
    equal(c.exec("/bin/ls", "/proc/1/fd").split(), ["0", "1", "2"], "descriptors")
    equal(pod.start(["/bin/true"], annotations={"io.kubernetes.cri.rdt-class": "/"}).wait()["exitCode"], 0)
    equal(pathlib.Path(f.daemon.files, "resctrl/tasks").read_text(), "0")


def test_rdt_class_that_is_none(f):
    for name, code in (("silver", "FailedPrecondition"), ("empty", "FailedPrecondition"), ("../x", "InvalidArgument"), ("..", "InvalidArgument")):
        refuse(f, code, "io.kubernetes.cri.rdt-class", name, annotations={"io.kubernetes.cri.rdt-class": name})


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([BUSYBOX], settings=settings))
