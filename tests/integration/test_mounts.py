#!/usr/bin/env python3
"""Volumes of every kind, as the CRI promises them: binds and what they carry, images, the volumes that images declare, and
what the runtime itself mounts. Mounts of the host are made beneath the case's own directory and end with the case."""
import os
import pathlib
import socket
import stat
import subprocess
import sys

import fixture
import rpc
from fixture import BUSYBOX, CONTAINER, NODE
from rpc import message
from suite import contains, equal, main, wait_for

FILES, FILES_ONE, FILES_MARKED, VOLUMES = "berth/files:many", "berth/files:one", "berth/files:marked", "berth/volumes:good"
BAD_VOLUMES = [f"berth/volumes:{name}" for name in ("proc", "sys", "dev", "root", "dots", "file", "to-proc", "to-sys")]
PRIVATE, FROM_HOST, BIDIRECTIONAL = 0, 1, 2
SLEEP = ["/bin/sleep", "1000"]
SHM_SIZE = "io.kubernetes.cri-o.ShmSize"
OWN_PIDS = message((2, message((3, message((2, CONTAINER))))))  # of LinuxContainerConfig
# AppArmor's default profile lets nobody mount, whatever the rights.
SYS_ADMIN = {"capabilities": {"add_capabilities": ["SYS_ADMIN"]}, "apparmor": {"profile_type": 1}}


def directory(f, name=None):
    """A fresh directory on the host."""
    path = pathlib.Path(f.daemon.files, name or f.fresh("volume"))
    path.mkdir(parents=True)
    return path


def host_mount(f, path, *options):
    """A tmpfs of the host, until the end of the case."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", *options, "case", path], check=True)
    f.cleanup(lambda: subprocess.run(["umount", "-R", "-l", path], check=False, capture_output=True))


def shared_mount(f):
    path = directory(f)
    host_mount(f, path)
    subprocess.run(["mount", "--make-shared", path], check=True)
    (path / "sub").mkdir()
    return path


def bind(host, container="/data", **more):
    return {"container_path": container, "host_path": str(host), **more}


def image_mount(f, image, container="/vol", **more):
    return {"container_path": container, "readonly": True, "image": {"image": f.registry.ref(image)}, **more}


def refuse(f, code, *parts, **more):
    before = f.crictl.json("ps", "-a", "--pod", f.pod.id)["containers"]
    f.pod.try_create(f.pod.container_config(SLEEP, **more)).refused(code, *parts)
    equal(len(f.crictl.json("ps", "-a", "--pod", f.pod.id)["containers"]), len(before), "containers")


def pull(f, image):
    f.crictl("pull", f.registry.ref(image))
    f.cleanup(f.crictl, "rmi", f.registry.ref(image))


def raw_create(f, *mounts, command=SLEEP):
    """By the wire, for fields that crictl does not know. Each mount is a list of message fields."""
    name = f.fresh("raw")
    f.cleanup(remove_named, f, name)
    config = message((1, message((1, name))), (2, message((1, f.busybox))), *((3, word) for word in command),
                     *((7, message(*m)) for m in mounts), (11, f"{name}.log"), (15, OWN_PIDS))
    sandbox = message((1, message((1, f.pod.config["metadata"]["name"]))))
    return name, rpc.call(f.daemon.socket, "RuntimeService/CreateContainer", message((1, f.pod.id), (2, config), (3, sandbox)))


def find_named(f, name):
    return [c["id"] for c in f.crictl.json("ps", "-a", "--name", f"^{name}$")["containers"]]


def remove_named(f, name):
    for container in find_named(f, name):
        f.crictl("rm", "-f", container)


def flags_of(f, container, path):
    """The options of the topmost mount at a path, as the container's kernel table has them."""
    out = f.crictl("exec", "-s", container, "/bin/cat", "/proc/self/mountinfo")
    return [line.split()[5] for line in out.splitlines() if len(line.split()) > 5 and line.split()[4] == path][-1].split(",")


# -- images as volumes


def test_image_volume(f):
    c = f.pod.start(SLEEP, mounts=[image_mount(f, FILES), image_mount(f, FILES_ONE, "/one")])
    equal(c.exec("/bin/cat", "/vol/top.txt", "/vol/dir/a", "/vol/dir/c", "/one/dir/deep/b"), "top\na\nc\nb\n")
    equal(c.exec("/vol/run"), "ran\n")
    equal(c.exec("/bin/stat", "-c", "%a %u", "/vol/dir", "/vol"), "711 0\n755 0\n")
    for path in ("/vol/new", "/one/new", "/vol/top.txt"):
        contains(f.crictl.call("exec", "-s", c.id, "/bin/touch", path).err, "Read-only file system")
    contains(flags_of(f, c.id, "/vol"), "ro")


def test_image_volume_status(f):
    """The reference is the image's id, which is also what PullImage returned."""
    c = f.pod.create(SLEEP, mounts=[image_mount(f, FILES, image_sub_path="dir")])
    mount = next(m for m in c.status()["mounts"] if m["containerPath"] == "/vol")
    image = f.crictl.json("inspecti", f.registry.ref(FILES))["status"]["id"]
    equal((mount["image"]["image"], mount["image"]["imageRef"]), (f.registry.ref(FILES), image))
    equal((mount["hostPath"], mount["readonly"], mount["imageSubPath"]), ("", True, "dir"))


def test_image_volume_sub_paths(f):
    mounts = [image_mount(f, FILES, f"/v{i}", image_sub_path=path) for i, path in enumerate(("dir", "dir/deep/", "./up", "abs"))]
    _, out = f.pod.sh("ls /v0 /v1 /v2 /v3; touch /v1/x 2>/dev/null || echo refused", mounts=mounts)
    equal(out.split(), ["/v0:", "a", "c", "deep", "/v1:", "b", "/v2:", "a", "c", "deep", "/v3:", "b", "refused"])


def test_image_volume_bad_sub_paths(f):
    for path, code, words in (("none", "NotFound", "does not exist"), ("dir/none/x", "NotFound", "does not exist"),
                              ("out", "NotFound", "does not exist"), ("top.txt", "FailedPrecondition", "not a directory"),
                              ("loop", "FailedPrecondition", "symlink")):
        config = f.pod.container_config(SLEEP, mounts=[image_mount(f, FILES, image_sub_path=path)])
        refused = f.pod.try_create(config).refused(code, "mounts.image_sub_path", words, path)
        assert refused.message.startswith("ImageVolumeMountFailed"), refused.message
    for path in ("/dir", "..", "dir/../../etc"):
        refuse(f, "InvalidArgument", "mounts.image_sub_path", path, mounts=[image_mount(f, FILES, image_sub_path=path)])


def test_image_volume_bad_requests(f):
    volume = image_mount(f, FILES)
    refuse(f, "InvalidArgument", "mounts.host_path", "/etc", mounts=[{**volume, "host_path": "/etc"}])
    refuse(f, "InvalidArgument", "mounts.readonly", "/vol", mounts=[{**volume, "readonly": False}])
    refuse(f, "InvalidArgument", "mounts.propagation", "/vol", mounts=[{**volume, "propagation": FROM_HOST}])
    refuse(f, "InvalidArgument", "mounts.image_sub_path", mounts=[bind("/tmp", image_sub_path="x")])
    refuse(f, "NotFound", "mounts.image", "no/such:1", mounts=[{**volume, "image": {"image": f.registry.ref("no/such:1")}}])


def test_image_volumes_of_many_containers(f):
    mounts = [image_mount(f, FILES, f"/v{i}", image_sub_path="dir" if i % 2 else "") for i in range(4)]
    containers = [f.pod.start(SLEEP, mounts=mounts) for _ in range(3)]
    for c in containers:
        equal(c.exec("/bin/cat", "/v0/dir/a", "/v1/a", "/v2/dir/a", "/v3/a"), "a\na\na\na\n")
    containers[0].remove()
    equal(containers[1].exec("/bin/cat", "/v0/dir/a"), "a\n")


def test_image_volume_outlives_its_image(f):
    """Removed, and the daemon started anew: the container keeps its files, and its removal frees them."""
    image = f.registry.ref(FILES_ONE)
    c = f.pod.start(SLEEP, mounts=[image_mount(f, FILES_ONE)])
    f.crictl("rmi", image)
    f.daemon.kill()
    f.daemon.start()
    equal(f.crictl.json("images", image)["images"], [])
    layers = os.listdir(f"{f.daemon.root}/images/layers")
    equal(c.exec("/bin/cat", "/vol/dir/deep/b"), "b\n")
    assert c.status()["mounts"][0]["image"]["imageRef"].startswith("sha256:")
    f.crictl("pull", image)
    equal(sorted(os.listdir(f"{f.daemon.root}/images/layers")), sorted(layers), "layers after the pull")


def test_removal_frees_the_files_of_an_image_volume(f):
    layers = f"{f.daemon.root}/images/layers"
    f.crictl("pull", f.registry.ref(FILES_MARKED))
    with_image = set(os.listdir(layers))
    c = f.pod.start(SLEEP, mounts=[image_mount(f, FILES_MARKED)])
    f.crictl("rmi", f.registry.ref(FILES_MARKED))
    equal(c.exec("/bin/cat", "/vol/mark-files"), "mark-files\n")
    equal(set(os.listdir(layers)), with_image)
    c.remove()
    equal(len(with_image - set(os.listdir(layers))), 1, "layers that went with the container")


# -- volumes that images declare


def test_declared_volumes_begin_with_the_images_content(f):
    look = "cat /data/text; stat -c '%a %u:%g' /data /data/text; readlink /data/link; stat -c %h /data/text; ls -A /new/deep /var/lib/db | wc -l"
    c = f.pod.start(SLEEP, image=f.registry.ref(VOLUMES), security={"readonly_rootfs": True})
    equal(c.exec("/bin/sh", "-c", look), "from the image\n750 999:998\n600 999:998\n/etc/passwd\n2\n3\n")
    script = "for d in /data /new/deep /to-lib/db; do echo mine >$d/made || exit 1; done; touch /x 2>/dev/null || echo refused"
    equal(c.exec("/bin/sh", "-c", script), "refused\n")
    other = f.pod.start(SLEEP, image=f.registry.ref(VOLUMES))
    equal(other.exec("/bin/sh", "-c", "ls /data; cat /data/sub/hard"), "link\nsub\ntext\nfrom the image\n")


def test_declared_volumes_count_and_go(f):
    c = f.pod.start(SLEEP, image=f.registry.ref(VOLUMES))
    def used():
        return int(f.crictl.json("stats", "-a", "--id", c.id)["stats"][0]["writableLayer"]["usedBytes"]["value"])
    before = used()
    c.exec("/bin/dd", "if=/dev/zero", "of=/data/big", "bs=1M", "count=4")
    wait_for(f"4 MiB more than {before}", lambda: used() >= before + (4 << 20))
    assert list(pathlib.Path(f.daemon.root).glob(f"images/snapshots/{c.id}/volumes/*/big"))
    c.remove()
    assert not list(pathlib.Path(f.daemon.root).glob("images/snapshots/*/volumes/*/big"))


def test_request_wins_over_declared_volumes(f):
    """At the path, above it, and through the image's symlinks: the data is to be where the user put it."""
    hosts = [directory(f) for _ in range(3)]
    mounts = [bind(hosts[0], "/data"), bind(hosts[1], "/new"), bind(hosts[2], "/var/lib")]
    _, out = f.pod.sh("ls -A /data; touch /data/a; mkdir -p /new/deep /var/lib/db; touch /new/deep/b /to-lib/db/c",
                      image=f.registry.ref(VOLUMES), mounts=mounts)
    equal(out, "")
    for path in (hosts[0] / "a", hosts[1] / "deep/b", hosts[2] / "db/c"):
        assert path.exists(), path


def test_declared_volumes_where_none_may_be(f):
    """CVE-2019-16884 and CVE-2022-23648: an image cannot cover procfs, and copies nothing of the host."""
    for image in BAD_VOLUMES:
        pull(f, image)
    for name, where in (("proc", "/proc"), ("sys", "/sys/fs"), ("dev", "/dev/shm"), ("root", "'/'"), ("to-proc", "/proc"),
                        ("to-sys", "/sys"), ("file", "/etc/passwd")):
        refuse(f, "FailedPrecondition", "image.image", where, image=f.registry.ref(f"berth/volumes:{name}"))
    _, out = f.pod.sh("ls /etc; cat /etc/passwd | wc -l; echo x >/etc/made && echo writable", image=f.registry.ref("berth/volumes:dots"),
                      security={"readonly_rootfs": True})
    equal(out.split(), ["group", "hostname", "hosts", "passwd", "resolv.conf", "shadow", "4", "writable"])


def test_declared_volumes_ignored(f):
    with open(f"{f.daemon.files}/config.toml", "a", encoding="utf-8") as config:
        config.write('volumes = "ignore"\n')  # of [image], the last table
    equal(f.daemon.stop(), 0)
    f.daemon.start()
    try:
        _, out = f.pod.sh("cat /data/text; touch /data/x 2>/dev/null || echo refused; grep -c ' /data ' /proc/mounts",
                          image=f.registry.ref(VOLUMES), security={"readonly_rootfs": True})
        equal(out, "from the image\nrefused\n0\n")
    finally:
        path = pathlib.Path(f.daemon.files, "config.toml")
        path.write_text(path.read_text(encoding="utf-8").replace('"ignore"', '"copy"'), encoding="utf-8")
        equal(f.daemon.stop(), 0)
        f.daemon.start()


# -- options and read-only


def test_mount_options(f):
    volume = directory(f)
    script = volume / "run"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    fields = [(1, "/data"), (2, str(volume)), (11, "noexec"), (11, "nodev"), (11, "nosuid"), (11, "noexec")]
    image = [(1, "/vol"), (3, 1), (9, message((1, f.registry.ref(FILES)))), (11, "nosuid")]
    plain = [(1, "/plain"), (2, str(volume))]
    name, answer = raw_create(f, fields, image, plain)
    equal(answer, ("OK", ""))
    (container,) = find_named(f, name)
    f.crictl("start", container)
    contains(f.crictl.call("exec", "-s", container, "/data/run").err, "ermission denied")
    equal(f.crictl("exec", "-s", container, "/plain/run").strip(), "ran")
    equal(f.crictl("exec", "-s", container, "/bin/sh", "-c", "echo fine >/data/new; cat /data/new").strip(), "fine")
    equal({"noexec", "nodev", "nosuid"} - set(flags_of(f, container, "/data")), set())
    equal({"noexec", "nodev", "nosuid"} & set(flags_of(f, container, "/vol")), {"nosuid"})
    equal({"noexec", "nodev", "nosuid"} & set(flags_of(f, container, "/plain")), set())


def test_mount_options_unknown(f):
    for option in ("ro", "exec", "NOEXEC", "", "noexec,nodev", "uid=0"):
        _, (code, words) = raw_create(f, [(1, "/data"), (2, "/tmp"), (11, "nodev"), (11, option)])
        equal(code, "InvalidArgument", words)
        contains(words, "mounts.mount_options")


def test_mount_options_are_advertised(f):
    features = f.crictl.json("info")
    handlers = features["runtimeHandlers"]
    assert all(h["features"]["recursive_read_only_mounts"] for h in handlers), handlers


def nested(f):
    """A directory of the host with a mount in it."""
    path = directory(f)
    host_mount(f, path / "sub")
    return path


def test_readonly_is_of_the_top_mount(f):
    _, out = f.pod.sh("touch /data/x 2>/dev/null || echo top; touch /data/sub/x 2>/dev/null && echo writable",
                      mounts=[bind(nested(f), readonly=True)])
    equal(out, "top\nwritable\n")


def test_recursive_read_only(f):
    path = nested(f)
    _, out = f.pod.sh("touch /data/x 2>/dev/null || echo top; touch /data/sub/x 2>/dev/null || echo sub",
                      mounts=[bind(path, readonly=True, recursive_read_only=True)])
    equal(out, "top\nsub\n")
    (path / "sub/of-the-host").touch()


def test_recursive_read_only_rules(f):
    volume = directory(f)
    refuse(f, "InvalidArgument", "mounts.recursive_read_only", "readonly", mounts=[bind(volume, recursive_read_only=True)])
    for propagation in (FROM_HOST, BIDIRECTIONAL):
        refuse(f, "InvalidArgument", "mounts.recursive_read_only", "private",
               mounts=[bind(volume, readonly=True, recursive_read_only=True, propagation=propagation)])


# -- propagation


def sees(container, path):
    return container.exec("/bin/sh", "-c", f"test -e {path} && echo yes || echo no") == "yes\n"


def propagation(f, mode):
    """(the host's mount is seen in the container, the container's on the host) for mounts made after the start."""
    path = shared_mount(f)
    (path / "sub2").mkdir()
    c = f.pod.start(SLEEP, security=SYS_ADMIN, mounts=[bind(path, propagation=mode)])
    host_mount(f, path / "sub")
    (path / "sub/mark").touch()
    inwards = sees(c, "/data/sub/mark")
    c.exec("/bin/sh", "-c", "mount -t tmpfs x /data/sub2 && touch /data/sub2/mark")
    outwards = (path / "sub2/mark").exists()
    c.exec("/bin/umount", "/data/sub2")
    assert not (path / "sub2/mark").exists()
    subprocess.run(["umount", path / "sub"], check=True)
    assert not sees(c, "/data/sub/mark") or mode == PRIVATE
    return inwards, outwards


def test_propagation_private(f):
    equal(propagation(f, PRIVATE), (False, False))


def test_propagation_from_the_host(f):
    equal(propagation(f, FROM_HOST), (True, False))


def test_propagation_both_ways(f):
    equal(propagation(f, BIDIRECTIONAL), (True, True))


def test_propagation_needs_a_fitting_source(f):
    path = directory(f)
    host_mount(f, path)
    subprocess.run(["mount", "--make-private", path], check=True)
    for mode in (FROM_HOST, BIDIRECTIONAL):
        refuse(f, "FailedPrecondition", "mounts.propagation", str(path), mounts=[bind(path, propagation=mode)])
    shared = shared_mount(f)
    slave = directory(f)
    subprocess.run(["mount", "--bind", shared, slave], check=True)
    f.cleanup(lambda: subprocess.run(["umount", "-l", slave], check=False))
    subprocess.run(["mount", "--make-slave", slave], check=True)
    refuse(f, "FailedPrecondition", "mounts.propagation", str(slave), mounts=[bind(slave, propagation=BIDIRECTIONAL)])
    f.pod.create(SLEEP, mounts=[bind(slave, propagation=FROM_HOST)])


def test_propagation_that_is_none(f):
    _, (code, words) = raw_create(f, [(1, "/data"), (2, "/tmp"), (5, 7)])
    equal((code, "mounts.propagation" in words), ("InvalidArgument", True), words)


def test_nothing_leaks_to_the_host(f):
    """A container whose root is shared mounts what it likes; the host sees only what is beneath the shared volume."""
    before = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    path = shared_mount(f)
    with_volume = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    c = f.pod.start(SLEEP, security=SYS_ADMIN, mounts=[bind(path, propagation=BIDIRECTIONAL)])
    c.exec("/bin/sh", "-c", "mkdir /mnt && mount -t tmpfs x /mnt && mount -t tmpfs y /tmp")
    equal(pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8"), with_volume)
    assert before != with_volume


def test_the_runtimes_mounts_stay_off_the_host(f):
    """A directory of the host at /etc, shared: neither the pod's files nor masks are mounted into it."""
    path = shared_mount(f)
    (path / "hosts").write_text("of the host\n")
    (path / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    before = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    c = f.pod.start(SLEEP, mounts=[bind(path, "/etc", propagation=BIDIRECTIONAL)])
    equal(c.exec("/bin/cat", "/etc/hosts"), "of the host\n")
    equal(pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8"), before)
    equal(sorted(os.listdir(path)), ["hosts", "passwd", "sub"])
    refuse(f, "InvalidArgument", "masked_paths", "/etc/hosts", security={"masked_paths": ["/etc/hosts"]},
           mounts=[bind(path, "/etc", propagation=BIDIRECTIONAL)])


# -- where volumes go, and where they come from


def test_order_is_by_depth(f):
    top, below = directory(f), directory(f)
    (top / "b/c").mkdir(parents=True)
    (below / "mark").touch()
    _, out = f.pod.sh("ls /a/b/c; ls -d /a/b", mounts=[bind(below, "/a/b/c"), bind(top, "/a/")])
    equal(out, "mark\n/a/b\n")


def test_later_of_two_at_one_path_is_on_top(f):
    one, two = directory(f), directory(f)
    (two / "two").touch()
    equal(f.pod.sh("ls /a", mounts=[bind(one, "/a"), bind(two, "//a/.")]), (0, "two\n"))


def test_mounts_in_place_of_the_runtimes(f):
    run, shm, dev, cgroup, hosts = (directory(f) for _ in range(5))
    for path in (run, shm, cgroup):
        (path / "mine").touch()
    (hosts / "hosts").write_text("1.2.3.4 own\n")
    mounts = [bind(run, "/run"), bind(shm, "/dev/shm"), bind(cgroup, "/sys/fs/cgroup"), bind(hosts / "hosts", "/etc/hosts")]
    _, out = f.pod.sh("ls /run /dev/shm /sys/fs/cgroup; cat /etc/hosts; echo >/dev/null && echo null", mounts=mounts)
    equal(out.split(), ["/dev/shm:", "mine", "/run:", "mine", "/sys/fs/cgroup:", "mine", "1.2.3.4", "own", "null"])
    (dev / "only").touch()
    equal(f.pod.sh("ls /dev", mounts=[bind(dev, "/dev")]), (0, "only\n"))
    equal(os.listdir(dev), ["only"])


def test_target_that_is_a_symlink(f):
    """It is followed inside the root, wherever it points; nothing of the host is made or covered."""
    volume = directory(f)
    (volume / "mark").touch()
    outside = pathlib.Path(f.daemon.files, "must-not-be-made")
    image = {"image": f.registry.ref(VOLUMES)}
    equal(f.pod.sh("ls /var/lib/x", mounts=[bind(volume, "/to-lib/x")], **image), (0, "mark\n"))
    equal(f.pod.sh(f"ls {outside}", mounts=[bind(volume, str(outside))]), (0, "mark\n"))
    assert not outside.exists()
    refuse(f, "FailedPrecondition", "/to-proc", mounts=[bind(volume, "/to-proc/self")], **image)


def test_target_that_cannot_be(f):
    volume = directory(f)
    for path in ("", "rel", "/", "//.", "/a/../..", "/proc/self/x", "/" + "a" * 4095):
        code = "InvalidArgument" if not path.startswith("/proc") else "FailedPrecondition"
        refuse(f, code, "/proc/self/x" if path.startswith("/proc") else "mounts.container_path", mounts=[bind(volume, path)])
    refuse(f, "FailedPrecondition", "/etc/passwd", mounts=[bind(volume, "/etc/passwd")])
    (volume / "file").touch()
    refuse(f, "FailedPrecondition", "/etc", mounts=[bind(volume / "file", "/etc")])


def test_sources_of_every_kind(f):
    top = directory(f)
    (top / "dir").mkdir()
    (top / "dir/mark").touch()
    (top / "file").write_text("text\n")
    (top / "link").symlink_to("dir")
    os.mkfifo(top / "fifo")
    os.mknod(top / "node", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(top / "socket"))
        mounts = [bind(top / name, f"/v/{name}") for name in ("dir", "file", "link", "fifo", "node", "socket")]
        _, out = f.pod.sh("ls /v/link; cat /v/file; cd /v; for n in *; do stat -c '%n %F' $n; done", mounts=mounts)
    equal(out, "mark\ntext\ndir directory\nfifo fifo\nfile regular empty file\nlink directory\nnode character special file\n"
               "socket socket\n".replace("regular empty file", "regular file"))


def test_missing_source_is_made_and_kept(f):
    path = pathlib.Path(f.daemon.files, "missing/one")
    f.pod.create(SLEEP, mounts=[bind(path)])
    equal(stat.S_IMODE(path.stat().st_mode), 0o755)


def test_missing_source_of_a_failed_creation_goes(f):
    top = directory(f)
    (top / "was-there").mkdir()
    mounts = [bind(top / "new/deep"), bind(top / "was-there", "/w"), bind(top, "/etc/passwd")]
    refuse(f, "FailedPrecondition", "/etc/passwd", mounts=mounts)
    equal(os.listdir(top), ["was-there"])


def test_source_that_cannot_be(f):
    top = directory(f)
    (top / "file").touch()
    (top / "dangling").symlink_to("nowhere")
    (top / "loop").symlink_to("loop")
    for name in ("file/x", "dangling", "loop"):
        refuse(f, "FailedPrecondition", "mounts.host_path", name, mounts=[bind(top / name)])
    for path in ("", "rel/path"):
        refuse(f, "InvalidArgument", "mounts.host_path", mounts=[bind(path)])


def test_many_mounts(f):
    volume = directory(f)
    (volume / "mark").touch()
    _, out = f.pod.sh("ls /m/*/mark | wc -l", mounts=[bind(volume, f"/m/{i}") for i in range(150)])
    equal(out, "150\n")


def test_volume_above_the_daemons_own_directories(f):
    """A node agent with the state directory mounted keeps no pod from being removed, and nothing of it."""
    other = f.run_pod()
    c = f.pod.start(SLEEP, mounts=[bind(f.daemon.state, "/state", readonly=True)])
    contains(c.exec("/bin/cat", "/proc/self/mountinfo"), f"/state/pods/{other.id}/shm")
    other.remove()
    assert other.id not in c.exec("/bin/cat", "/proc/self/mountinfo")


# -- a read-only root, and what the runtime mounts


def test_readonly_root_leaves_volumes_writable(f):
    volume = directory(f)
    script = "for p in /x /etc/hosts /etc/hostname /etc/resolv.conf; do (echo >>$p) 2>/dev/null || echo $p; done;" \
             "for p in /dev/shm /data/new/deep /data2; do touch $p/x && echo $p; done"
    _, out = f.pod.sh(script, security={"readonly_rootfs": True}, mounts=[bind(volume, "/data/new/deep"), bind(volume, "/data2")])
    equal(out.split(), ["/x", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm", "/data/new/deep", "/data2"])


def shm_of(pod):
    return pod.sh("df -k /dev/shm | awk 'END { print $(NF-4) }'; stat -c %a /dev/shm; grep ' /dev/shm ' /proc/mounts")[1]


def test_size_of_shared_memory(f):
    for size, kib in (("128Mi", 131072), ("1M", 976), ("8192", 8)):
        out = shm_of(f.run_pod(annotations={SHM_SIZE: size})).split()
        equal(out[:2], [str(kib) if size != "1M" else "980", "1777"])
    out = shm_of(f.pod)
    equal(out.split()[:2], ["65536", "1777"])
    for option in ("noexec", "nosuid", "nodev"):
        contains(out, option)


def test_bad_size_of_shared_memory(f):
    for size in ("", "0", "-1Mi", "lots", "1Mi,mode=0", "99999999999Ti"):
        config = f.write("refused.json", f.pod_config(annotations={SHM_SIZE: size}))
        f.crictl.call("runp", config).refused("InvalidArgument", SHM_SIZE)
    config = f.write("refused.json", f.pod_config(annotations={SHM_SIZE: "1Mi"}, namespaces={"ipc": NODE}))
    f.crictl.call("runp", config).refused("InvalidArgument", SHM_SIZE)


def test_files_of_the_sandbox_on_the_hosts_network(f):
    pod = f.run_pod(namespaces={"network": NODE})
    _, out = pod.sh("cat /etc/hosts; echo --; cat /etc/resolv.conf; echo --; cat /etc/hostname")
    hosts, resolv, hostname = out.split("--\n")
    equal(hosts, pathlib.Path("/etc/hosts").read_text(encoding="utf-8"))
    equal(resolv, pathlib.Path("/etc/resolv.conf").read_text(encoding="utf-8"))
    equal(hostname.strip(), socket.gethostname())


# -- masked and read-only paths


def test_masked_paths_of_every_kind(f):
    volume = directory(f)
    (volume / "secret").write_text("secret\n")
    (volume / "dir").mkdir()
    (volume / "dir/file").touch()
    masked = ["/data/secret", "/data/dir", "/to-lib", "/no/such", "/etc/shadow/x"]
    script = "cat /data/secret; ls -A /data/dir /var/lib; touch /data/dir/x 2>/dev/null || echo dir; cat /etc/passwd | wc -l"
    _, out = f.pod.sh(script, image=f.registry.ref(VOLUMES), mounts=[bind(volume), bind(volume, "/var/lib/db")],
                      security={"masked_paths": masked})
    equal(out, "/data/dir:\n\n/var/lib:\ndir\n4\n")
    equal((volume / "secret").read_text(encoding="utf-8"), "secret\n")


def test_readonly_paths_of_every_kind(f):
    volume = directory(f)
    (volume / "file").touch()
    (volume / "dir").mkdir()
    script = "for p in /data/file /data/dir/x /var/lib/x /data/other /etc/passwd; do (echo >>$p) 2>/dev/null && echo $p; done"
    _, out = f.pod.sh(script, image=f.registry.ref(VOLUMES), mounts=[bind(volume)],
                      security={"readonly_paths": ["/data/file", "/data/dir", "/to-lib", "/no/such"]})
    equal(out.split(), ["/data/other", "/etc/passwd"])
    (volume / "dir/of-the-host").touch()


def make_fixture():
    f = fixture.make([BUSYBOX, FILES, FILES_ONE, VOLUMES], [*BAD_VOLUMES, FILES_MARKED])()
    f.begin()
    assert f.pod.id  # first of all, since most cases clean up after it
    return f


main(sys.modules[__name__], make_fixture)
