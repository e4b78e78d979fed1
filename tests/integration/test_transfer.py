#!/usr/bin/env python3
"""Images out of the daemon and into it by other ways than a pull: push, save and load, with skopeo and umoci as judges of what
comes out, and as makers of what goes in. After each case the fixture compares what is on disk with what was before."""
import contextlib
import hashlib
import http.server
import io
import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import tarfile
import time

import fixture
import registries
from daemon import BIN
from fixture import BUSYBOX
from suite import Skip, contains, equal, main, need_programs, wait_for

USER, PASSWORD = "hedwig", "p4ss-W0rd-secret"


class TransferFixture(fixture.Fixture):
    def __init__(self):
        need_programs("skopeo", "umoci", "htpasswd")
        if not (BIN / "berth").exists():
            raise Skip(f"missing program: {BIN}/berth")
        super().__init__([BUSYBOX], [])
        layer = json.loads(self.crictl("inspecti", self.busybox))["info"]["layers"][0].partition(":")[2]
        self.archives_kept = os.path.exists(f"{self.daemon.root}/images/layers/{layer}/layer.erofs")

    def need_archives(self):
        if not self.archives_kept:
            raise Skip("layers are kept as directories on this kernel, without their archives")

    def berth(self, *arguments, **more):
        """A finished `berth`; fails unless it ends with `status`."""
        status = more.pop("status", 0)
        done = subprocess.run([BIN / "berth", "--socket", self.daemon.socket, *arguments], capture_output=True, check=False,
                              env=os.environ | more.pop("env", {}), timeout=120, **more)
        assert done.returncode == status, f"berth {arguments}: {done.returncode}, {done.stderr.decode()}"
        done.words = done.stderr.decode()
        return done

    def path(self, name):
        path = f"{self.daemon.files}/{self.fresh('transfer')}-{name}"
        self.cleanup(subprocess.run, ["rm", "-rf", path])
        return path

    def image_id(self):
        return json.loads(self.crictl("inspecti", self.busybox))["status"]["id"]

    def save(self, *images, format="oci"):
        path = self.path(f"{format}.tar")
        self.berth("save", "-o", path, "--format", format, *(images or [self.busybox]))
        return path

    def load(self, path):
        """[(id, names)]; they are removed at the end of the case."""
        loaded = json.loads(self.berth("load", "-i", path, "--output", "json").stdout)
        for image in loaded:
            if image["id"] != self.image_id():
                self.cleanup(self.crictl, "rmi", image["id"])
        return [(image["id"], image["names"]) for image in loaded]

    def without_busybox(self):
        """Until the end of the case it is not in the store."""
        self.crictl("rmi", self.busybox)
        self.cleanup(self.rebase)  # a new pull makes a new row
        self.cleanup(self.crictl, "pull", self.busybox)


def skopeo(*arguments):
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True, timeout=120).stdout


def other_registry(f, auth=None):
    registry = registries.DockerRegistry(f.path("registry"), auth=auth)
    f.cleanup(registry.stop)
    return registry


# ---- push

def test_push_needs_the_right_password(f):
    registry = other_registry(f, registries.password_file(f.path("htpasswd"), USER, PASSWORD))
    dest = f"{registry.address}/shop/web:1"
    failed = f.berth("push", f.busybox, dest, status=1)
    contains(failed.words, "not authenticated")
    failed = f.berth("push", f.busybox, dest, status=1, env={"BERTH_CREDS": f"{USER}:wrong-secret"})
    contains(failed.words, "not authenticated")
    assert "wrong-secret" not in failed.words and "wrong-secret" not in pathlib.Path(f.daemon.log).read_text()
    f.need_archives()
    pushed = f.berth("push", f.busybox, dest, "-u", USER, "--password-stdin", input=f"{PASSWORD}\n".encode())
    creds = ["--tls-verify=false", "--creds", f"{USER}:{PASSWORD}"]
    manifest = skopeo("inspect", "--raw", *creds, f"docker://{dest}")
    equal("sha256:" + hashlib.sha256(manifest).hexdigest(), pushed.stdout.decode().strip(), "the manifest's digest")
    equal(json.loads(manifest)["config"]["digest"], f.image_id(), "the image's id")
    assert PASSWORD not in pathlib.Path(f.daemon.log).read_text()


def test_push_twice_sends_nothing_the_second_time(f):
    f.need_archives()
    registry = other_registry(f)
    dest = f"{registry.address}/shop/web:1"
    for compression in ("gzip", "zstd"):
        first = f.berth("push", "--compression", compression, f.busybox, dest)
        contains(first.words, " sent")
        second = f.berth("push", "--compression", compression, f.busybox, dest)
        equal(second.stdout, first.stdout, "the digest")
        assert " sent" not in second.words and second.words.count("already there") >= 2, second.words


def test_push_within_a_registry_keeps_the_digest(f):
    original = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{f.busybox}")
    dest = f"{f.registry.address}/copies/busybox:2"
    out = json.loads(f.berth("push", f.busybox, dest, "--output", "json").stdout)
    equal((out["image"], out["name"]), (f.busybox, dest))
    # The test image is an index: what is pushed is the manifest in it that was pulled.
    contains([m["digest"] for m in json.loads(original)["manifests"]], out["digest"])
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{dest}")
    equal("sha256:" + hashlib.sha256(raw).hexdigest(), out["digest"])


def test_what_was_pushed_is_what_runs(f):
    """umoci unpacks skopeo's copy of it, and that is the container's root, file by file."""
    f.need_archives()
    registry = other_registry(f)
    dest = f"{registry.address}/shop/web:1"
    f.berth("push", f.busybox, dest)
    compare_with_container(f, "--src-tls-verify=false", f"docker://{dest}")


def test_push_says_what_is_wrong(f):
    contains(f.berth("push", "no.such/image:1", status=1).words, "not found")
    contains(f.berth("push", f.image_id(), status=1).words, "name a destination")
    contains(f.berth("push", f.busybox, f"x.example/y@{f.image_id()}", status=1).words, "has a digest")
    contains(f.berth("push", f.busybox, "127.0.0.1:1/x:1", status=1).words, "RegistryUnavailable")
    contains(f.berth("push", "--compression", "xz", f.busybox, status=2).words, "xz")


class StallingRegistry(http.server.BaseHTTPRequestHandler):
    """Takes the beginning of an upload, and then says nothing any more."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def do_HEAD(self):
        self.answer(404)

    def do_POST(self):
        self.answer(202, Location=f"{self.path.partition('?')[0]}one")

    def do_DELETE(self):
        self.server.seen.append("DELETE")
        self.answer(204)

    def do_PUT(self):
        self.server.seen.append(self.command)
        time.sleep(30)

    do_PATCH = do_PUT


def test_a_pusher_that_is_killed_ends_the_push(f):
    f.need_archives()
    server = registries.serve(StallingRegistry, seen=[])
    f.cleanup(server.shutdown)
    dest = f"127.0.0.1:{server.server_address[1]}/x:1"
    client = subprocess.Popen([BIN / "berth", "--socket", f.daemon.socket, "push", f.busybox, dest], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    wait_for("the upload began", lambda: "PUT" in server.seen or "PATCH" in server.seen)
    client.kill()
    client.wait()
    wait_for("the upload was ended at the registry", lambda: "DELETE" in server.seen, 10)


# ---- save

def tree(top, skipped):
    """What is beneath a directory: path to what it is, without the files of a container's own."""
    found = {}
    top += "/."
    device = os.stat(top).st_dev
    for base, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(base, name)
            relative = os.path.relpath(path, top)
            if relative.split("/")[0] in skipped or relative in skipped:
                continue
            info = os.lstat(path)
            what = [stat.filemode(info.st_mode), info.st_uid, info.st_gid]
            if stat.S_ISREG(info.st_mode):
                what += [info.st_size, info.st_nlink, int(info.st_mtime), hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()]
            elif stat.S_ISLNK(info.st_mode):
                what.append(os.readlink(path))
            found[relative] = what
        directories[:] = [d for d in directories if os.lstat(os.path.join(base, d)).st_dev == device]
    return found


def compare_with_container(f, *source):
    layout, bundle = f.path("layout"), f.path("bundle")
    skopeo("copy", *source, f"oci:{layout}:it")
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:it", bundle], check=True, capture_output=True)
    container = f.run_pod().start(["/bin/sleep", "1000"])
    skipped = {"dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "run", "etc"}
    ours, theirs = tree(f"/proc/{container.process()}/root", skipped), tree(f"{bundle}/rootfs", skipped)
    assert len(theirs) > 5, theirs
    equal({k: v for k, v in ours.items() if theirs.get(k) != v}, {}, "only in the container, or other there")
    equal(sorted(set(theirs) - set(ours)), [], "only in what was unpacked")


def test_saved_layout_is_read_by_skopeo_and_umoci(f):
    f.need_archives()
    path = f.save()
    inspected = json.loads(skopeo("inspect", f"oci-archive:{path}:{f.busybox}"))
    assert inspected["Layers"], inspected
    raw = json.loads(skopeo("inspect", "--raw", f"oci-archive:{path}"))
    equal(raw["config"]["digest"], f.image_id())
    compare_with_container(f, f"oci-archive:{path}")


def test_saved_docker_archive_is_read_by_skopeo_and_umoci(f):
    f.need_archives()
    path = f.save(format="docker")
    skopeo("inspect", f"docker-archive:{path}:{f.busybox}")
    raw = json.loads(skopeo("inspect", "--raw", f"docker-archive:{path}"))
    equal(raw["config"]["digest"], f.image_id())
    compare_with_container(f, f"docker-archive:{path}")


def test_save_is_the_same_every_time_and_goes_through_pipes(f):
    f.need_archives()
    path = f.save()
    piped = f.berth("save", "-o", "-", f.busybox).stdout
    equal(hashlib.sha256(piped).hexdigest(), hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest())
    with tarfile.open(path) as tar:
        names = [m.name for m in tar]
        equal(names, sorted(names))
        equal({m.mtime for m in tar}, {0})
    f.without_busybox()
    loaded = f.berth("load", input=piped)
    contains(loaded.stdout.decode(), f.busybox)
    equal(f.berth("save", "-o", "-", f.busybox).stdout, piped, "saved again after it was loaded")


def test_save_leaves_no_part_of_a_file(f):
    f.need_archives()
    directory = f.path("directory")
    os.mkdir(directory)
    contains(f.berth("save", "-o", f"{directory}/a.tar", "no.such/image:1", status=1).words, "no.such/image:1")
    equal(os.listdir(directory), [])
    done = subprocess.run(["script", "-qec", f"{BIN}/berth --socket {f.daemon.socket} save -o - {f.busybox}", "/dev/null"],
                          capture_output=True, check=False)
    contains(done.stdout.decode(errors="replace"), "terminal")
    f.save()
    # A file system that is full.
    os.mkdir(f"{directory}/small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", f"{directory}/small"], check=True)
    try:
        contains(f.berth("save", "-o", f"{directory}/small/a.tar", f.busybox, status=1).words, "No space left")
        equal(os.listdir(f"{directory}/small"), [])
    finally:
        subprocess.run(["umount", f"{directory}/small"], check=True)


def test_a_saver_that_is_killed_ends_the_save(f):
    f.need_archives()
    before = threads_in(f, "SaveImages")
    client = subprocess.Popen([BIN / "berth", "--socket", f.daemon.socket, "save", "-o", "-", *[f.busybox]], stdout=subprocess.PIPE)
    client.stdout.read(1000)
    client.kill()
    client.wait()
    client.stdout.close()
    wait_for("the daemon ended the call", lambda: threads_in(f, "SaveImages") > before)


def threads_in(f, call):
    """How many such calls have ended, by the log."""
    return sum(f" {call} " in line for line in pathlib.Path(f.daemon.log).read_text(errors="replace").splitlines())


# ---- load

def test_what_skopeo_made_is_the_same_image(f):
    want = f.image_id()
    layout = f"oci:{f.registry.layout}:{BUSYBOX}"
    for kind in ("oci-archive", "docker-archive"):
        path = f.path(f"{kind}.tar")
        skopeo("copy", layout, f"{kind}:{path}:{f.busybox}")
        f.without_busybox()
        equal(f.load(path), [(want, [f.busybox])], kind)
        code, out = f.run_pod().sh("echo it runs")
        equal((code, out), (0, "it runs\n"), kind)
        compressed = f.path(f"{kind}.tar.gz")
        subprocess.run(f"gzip < {path} > {compressed}", shell=True, check=True)
        equal(f.load(compressed), [(want, [f.busybox])], f"{kind}, compressed")


def tar_of(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def archive_of(f):
    """The members of what skopeo makes of the image, which a case may change."""
    path = f.path("good.tar")
    skopeo("copy", f"oci:{f.registry.layout}:{BUSYBOX}", f"oci-archive:{path}:spoilt/image:1")
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


def test_bad_archives_say_what_is_wrong_and_leave_nothing(f):
    members = archive_of(f)
    index = json.loads(members["index.json"])
    manifest_name = "blobs/sha256/" + index["manifests"][0]["digest"].partition(":")[2]
    layer = json.loads(members[manifest_name])["layers"][0]["digest"].partition(":")[2]
    layer_name = f"blobs/sha256/{layer}"
    without = {k: v for k, v in members.items() if k != layer_name}
    changed = members[layer_name][:-1] + bytes([members[layer_name][-1] ^ 1])
    whole = tar_of(members.items())
    f.without_busybox()
    for what, data, words in (
            ("nothing", b"", "empty"),
            ("no archive", b"x" * 5000, "checksum"),
            ("another archive", tar_of([("hello", b"hello")]), "neither an OCI layout"),
            ("half of it", whole[:len(whole) // 2], "ends in the middle"),
            ("climbing", tar_of([*members.items(), ("../../etc/passwd", b"x")]), "'..'"),
            ("two indexes", tar_of([*members.items(), ("./index.json", b"{}")]), "there twice"),
            ("no layer", tar_of(without.items()), layer),
            ("a short layer", tar_of([*without.items(), (layer_name, b"short")]), "instead of"),
            ("another layer", tar_of([*without.items(), (layer_name, changed)]), layer),
            ("a changed manifest", tar_of({**members, manifest_name: members[manifest_name].replace(b"{", b" {", 1)[:-1]}.items()),
             "digest is"),
            ("bzip2", b"BZh91AY&SY" + b"x" * 100, "bzip2")):
        words_said = f.berth("load", input=data, status=1).words
        contains(words_said, words, what)
        equal([line for line in f.berth("images", "--output", "json").stdout.decode().split('"') if "spoilt" in line], [], what)
    equal(os.listdir(f"{f.daemon.root}/images/staging"), [])


def test_a_loader_that_is_killed_leaves_nothing(f):
    whole = tar_of(archive_of(f).items())
    before = threads_in(f, "LoadImages")
    client = subprocess.Popen([BIN / "berth", "--socket", f.daemon.socket, "load"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    client.stdin.write(whole[:len(whole) // 2])
    client.stdin.flush()
    time.sleep(0.3)
    client.kill()
    client.wait()
    with contextlib.suppress(BrokenPipeError):
        client.stdin.close()
    wait_for("the daemon ended the call", lambda: threads_in(f, "LoadImages") > before)


def test_an_interrupted_save_removes_its_file(f):
    f.need_archives()
    directory = f.path("directory")
    os.mkdir(directory)
    # The daemon is stopped so that the call lasts.
    os.kill(f.daemon.pid, signal.SIGSTOP)
    try:
        client = subprocess.Popen([BIN / "berth", "--socket", f.daemon.socket, "save", "-o", f"{directory}/a.tar", f.busybox],
                                  stderr=subprocess.DEVNULL)
        wait_for("the file is begun", lambda: os.listdir(directory))
        client.send_signal(signal.SIGTERM)
        equal(client.wait(20) != 0, True, "a failure")
    finally:
        os.kill(f.daemon.pid, signal.SIGCONT)
    equal(os.listdir(directory), [])


if __name__ == "__main__":
    main(sys.modules[__name__], TransferFixture)
