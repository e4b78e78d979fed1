#!/usr/bin/env python3
"""Images from every side: the berth command line and crictl agree, what is used is never lost, figures are what is on disk
and asking for them costs nothing, and a daemon that is killed amid pulls leaves a sound store."""
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import fixture
import rpc
from daemon import BIN, TOP
from rpc import message
from suite import contains, equal, main, need_programs, wait_for

HTTPD = "e2e-test-images/httpd:2.4.39-4"
FILES = [f"berth/files:{tag}" for tag in ("one", "many", "marked")]
BLOCK = 4096
LAYER_MB, LAYERS = 24, 4


class Berth:
    """The command line against the fixture's daemon."""

    def __init__(self, f):
        self.daemon = f.daemon

    def call(self, *argv, data=None):
        return subprocess.run([BIN / "berth", "--socket", self.daemon.socket, *map(str, argv)], capture_output=True, text=True,
                              timeout=120, check=False, input=data, **({} if data else {"stdin": subprocess.DEVNULL}))

    def __call__(self, *argv):
        done = self.call(*argv)
        assert done.returncode == 0, f"berth {argv}: {done}"
        return done.stdout

    def json(self, *argv):
        return json.loads(self(*argv, "-o", "json"))


def berth(f):
    return Berth(f)


def images_of(f):
    return {i["id"]: i for i in f.crictl.json("images")["images"]}


def du(path):
    """Blocks of all files and directories, files with several names once."""
    seen, total = set(), 0
    for directory, _, files in os.walk(path):
        for name in [directory, *(os.path.join(directory, x) for x in files)]:
            stat = os.lstat(name)
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_blocks * 512
    return total


def store(f, sub=""):
    return os.path.join(f.daemon.root, "images", sub)


def remove(f, *references):
    for reference in references:
        f.crictl.call("rmi", reference)


def make_big_image(f):
    """An image of several layers that do not compress, so that a pull takes a while; its reference."""
    where = pathlib.Path(f.daemon.files, "big")
    reference = f.registry.ref("berth/big:1")
    if where.exists():
        return reference
    spec = {"layers": {}, "images": {"berth/big:1": {"layers": [], "config": {"Cmd": ["/x"]}}}, "epoch": 0, "compress": "none"}
    for i in range(LAYERS):
        tree = where / f"tree{i}"
        tree.mkdir(parents=True)
        (tree / f"data{i}").write_bytes(os.urandom(LAYER_MB << 20))
        spec["layers"][f"l{i}"] = {"dir": str(tree)}
        spec["images"]["berth/big:1"]["layers"].append(f"l{i}")
    (where / "spec.json").write_text(json.dumps(spec))
    subprocess.run([sys.executable, TOP / "tests/images/mkoci.py", where / "spec.json", where / "layout"], check=True, capture_output=True)
    subprocess.run([f.registry.script, "push", where / "layout", reference], check=True, capture_output=True)
    return reference


def test_info(f):
    info = berth(f).json("info")
    equal((info["rootDir"], info["stateDir"], info["networkMode"]), (f.daemon.root, f.daemon.state, "embedded"))
    assert info["kernel"] == os.uname().release and info["cgroupVersion"] in ("v1", "v2"), info
    assert re.fullmatch(r"([0-9a-f]{40}(-dirty)?)?", info["commit"]), info


def test_the_command_line_and_crictl_agree(f):
    reference = f.registry.ref(HTTPD)
    done = berth(f).call("pull", reference)
    f.cleanup(remove, f, reference)
    equal(done.returncode, 0, done)
    lines = done.stderr.splitlines()
    equal(lines[0], f"pulling {reference}")
    assert len(lines) >= 2 and all(re.fullmatch(r"[0-9a-f]{12}: (done|already there), [0-9.]+[kM]?B", x) for x in lines[1:]), lines
    image_id = done.stdout.strip()
    by_crictl = images_of(f)
    contains(by_crictl, image_id)
    ours = {i["id"]: i for i in berth(f).json("images")}
    equal(set(ours), set(by_crictl))
    for key, image in ours.items():
        equal((sorted(image["tags"]), sorted(image["digests"]), image["size"]),
              (sorted(by_crictl[key]["repoTags"]), sorted(by_crictl[key]["repoDigests"]), int(by_crictl[key]["size"])))
    again = berth(f).call("pull", reference)
    equal(again.stdout.strip(), image_id)
    assert all("already there" in x for x in again.stderr.splitlines()[1:]), again.stderr
    contains(pathlib.Path(f.daemon.log).read_text(), f"pulled {reference} as {image_id} in ")


def test_progress_as_json(f):
    reference = make_big_image(f)
    done = berth(f).call("pull", "--progress", "json", "-o", "json", reference)
    f.cleanup(remove, f, reference)
    equal(done.returncode, 0, done.stderr[-2000:])
    updates = [json.loads(line) for line in done.stderr.splitlines()]
    equal([updates[0]["phase"], updates[-1]["phase"]], ["resolving", "done"])
    contains(images_of(f), json.loads(done.stdout)["id"])
    order = ["resolving", "downloading", "unpacking", "done"]
    places = [order.index(u["phase"]) for u in updates]
    equal(places, sorted(places), "phases")
    equal({len(u["layers"]) for u in updates if u["layers"]}, {LAYERS})
    for i in range(LAYERS):
        totals = {u["layers"][i]["total"] for u in updates if u["layers"]}
        equal(len(totals), 1, "sizes of a layer")
        assert totals.pop() > LAYER_MB << 20


def test_a_caller_who_hangs_up_ends_the_pull(f):
    reference = make_big_image(f)
    process = subprocess.Popen([BIN / "berth", "--socket", f.daemon.socket, "pull", "--progress", "json", reference],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if '"downloading"' in line:
            break
    process.kill()
    process.wait()
    wait_for("nothing is staged any more", lambda: not os.listdir(store(f, "staging")))
    equal(f.crictl.json("images", reference)["images"], [])


def test_unknown_things_are_refused(f):
    for argv, words in ((("tag", "nothing:1", "x:1"), "not found: "), (("tag", f.busybox, "X:1"), "invalid argument: name: "),
                        (("tag", f.busybox, "x@sha256:" + "0" * 64), "invalid argument: name: "),
                        (("pull", f.registry.ref("berth/none:1")), "not found: "), (("pull", "UPPER"), "invalid argument: "),
                        (("rmi", "nothing:1"), "no image 'nothing:1'")):
        done = berth(f).call(*argv)
        equal(done.returncode, 1, argv)
        contains(done.stderr, words)


def test_fields_are_named_when_they_are_wrong(f):
    def refused(package, method, request, words):
        equal(rpc.call(f.daemon.socket, method, request, package), ("InvalidArgument", words), method)
    refused("berth.v1", "Admin/TagImage", message((2, "x:1")), "image: is empty")
    refused("berth.v1", "Admin/TagImage", message((1, f.busybox)), "name: is empty")
    refused("berth.v1", "Admin/PullWithProgress", message(), "image: is empty")
    refused("berth.v1", "Admin/PullWithProgress", message((1, f.busybox), (2, "kata")), "runtime_handler: 'kata' is not known")
    refused("runtime.v1", "ImageService/PullImage", message((1, message((1, f.busybox), (19, "kata")))), "image: runtime_handler: 'kata' is not known")
    equal(rpc.call(f.daemon.socket, "ImageService/PullImage", message((1, message((1, f.busybox), (19, "berth")))))[0], "OK")


def test_tag_and_rmi(f):
    reference = f.registry.ref(HTTPD)
    image_id = berth(f)("pull", "-q", reference).strip()
    f.cleanup(remove, f, reference)
    equal(berth(f)("tag", reference, "web:stable").strip(), "docker.io/library/web:stable")
    equal(sorted(f.crictl.json("inspecti", "web:stable")["status"]["repoTags"]), sorted([reference, "docker.io/library/web:stable"]))
    equal(berth(f)("tag", f.busybox, "web:stable").strip(), "docker.io/library/web:stable")
    equal(f.crictl.json("inspecti", image_id)["status"]["repoTags"], [reference])
    equal(berth(f)("tag", image_id[7:19], "web:stable").strip(), "docker.io/library/web:stable")
    equal(f.crictl.json("inspecti", f.busybox)["status"]["repoTags"], [f.busybox])
    equal(berth(f)("rmi", "web:stable").strip(), "web:stable")
    assert image_id not in images_of(f), "all references go together"


def test_images_that_run_are_not_removed(f):
    c = f.run_pod().start(["/bin/sleep", "1000"])
    done = berth(f).call("rmi", f.busybox)
    equal(done.returncode, 1)
    contains(done.stderr, f"container {c.config['metadata']['name']} ({c.id[:12]}) runs it")
    pruned = berth(f).json("prune")
    assert all(f.busybox not in i["names"] for i in pruned["images"]), pruned
    contains({t for i in images_of(f).values() for t in i["repoTags"]}, f.busybox)


def test_df_is_what_is_on_disk(f):
    for reference in FILES:
        berth(f)("pull", "-q", f.registry.ref(reference))
        f.cleanup(remove, f, f.registry.ref(reference))
    c = f.run_pod().start(["/bin/sh", "-c", "dd if=/dev/zero of=/x bs=1M count=3 2>/dev/null; exec sleep 1000"])
    df = wait_for("3 MB are measured", lambda: (d := berth(f).json("df")) and
                  any(s["containerId"] == c.id and s["bytes"] >= 3 << 20 for s in d["writableLayers"]) and d, 30)
    layers, content = du(store(f, "layers")), du(store(f, "content"))
    sum_of_layers = sum(layer["bytes"] for layer in df["layers"])
    # A layer's own directories and record are of some blocks that its figure leaves out.
    assert 0 <= layers - sum_of_layers <= (len(df["layers"]) * 4 + 2) * BLOCK, (layers, sum_of_layers)
    assert 0 <= content - df["contentBytes"] <= 4 * BLOCK, (content, df["contentBytes"])
    equal(len(df["layers"]), len(os.listdir(store(f, "layers"))))
    [snapshot] = [s for s in df["writableLayers"] if s["containerId"] == c.id]
    assert abs(du(store(f, f"snapshots/{c.id}/upper")) - snapshot["bytes"]) <= 2 * BLOCK, snapshot
    used = int(f.crictl.json("imagefsinfo")["status"]["imageFilesystems"][0]["usedBytes"]["value"])
    equal(used, sum_of_layers + df["contentBytes"])
    equal({i["id"] for i in df["images"]}, set(images_of(f)))
    for image in df["images"]:
        equal(image["containers"] > 0, f.busybox in image["names"], "containers of an image")
        assert image["ownBytes"] <= image["bytes"], image
    stats = f.crictl.json("stats", "-a", "--id", c.id)["stats"][0]["writableLayer"]
    assert int(stats["usedBytes"]["value"]) >= 3 << 20, stats
    table = berth(f)("df", "-o", "wide")
    contains(table, "Writable layers  ")
    contains(table, c.config["metadata"]["name"])


def test_prune_gives_back_what_df_says(f):
    references = [f.registry.ref(x) for x in FILES]
    for reference in references:
        berth(f)("pull", "-q", reference)
        f.cleanup(remove, f, reference)
    c = f.run_pod().start(["/bin/sleep", "1000"])
    plan, df = berth(f).json("prune", "--dry-run"), berth(f).json("df")
    equal(plan["bytes"], df["reclaimableBytes"])
    before = int(f.crictl.json("imagefsinfo")["status"]["imageFilesystems"][0]["usedBytes"]["value"])
    done = berth(f).json("prune", "--yes")
    equal({i["id"] for i in done["images"]}, {i["id"] for i in plan["images"]})
    equal(set(references) - {n for i in done["images"] for n in i["names"]}, set())
    after = berth(f).json("df")
    equal([after["reclaimableBytes"], [i["names"][0] for i in after["images"]]], [0, [f.busybox]])
    used = int(f.crictl.json("imagefsinfo")["status"]["imageFilesystems"][0]["usedBytes"]["value"])
    equal(before - used, done["bytes"] + df["contentBytes"] - after["contentBytes"])
    equal(c.exec("/bin/echo", "alive"), "alive\n")


def test_usage_touches_no_disk(f):
    need_programs("strace")
    f.run_pod().start(["/bin/sleep", "1000"])
    f.crictl("imagefsinfo")
    trace = f"{f.daemon.files}/strace"
    tracer = subprocess.Popen(["strace", "-f", "-y", "-qq", "-e", "trace=%file,getdents64,fstat", "-o", trace, "-p", str(f.daemon.pid)],
                              stderr=subprocess.PIPE, text=True)
    try:
        wait_for("strace attaches", lambda: "TracerPid:\t0\n" not in pathlib.Path(f"/proc/{f.daemon.pid}/status").read_text())
        time.sleep(0.5)
        for _ in range(20):
            f.crictl("imagefsinfo")
            f.crictl("stats")
    finally:
        tracer.terminate()
        tracer.wait()
    names = {tid.name: (tid / "comm").read_text().strip() for tid in pathlib.Path(f"/proc/{f.daemon.pid}/task").iterdir()}
    touched = [line for line in pathlib.Path(trace).read_text(errors="replace").splitlines() if store(f) in line]
    assert touched, "the meter is traced too, and at work"
    others = [line for line in touched if names.get(line.split()[0]) != "berth-meter"]
    equal(others, [], "calls that touch the store outside of the meter's thread")


def test_nothing_in_use_is_lost(f):
    """Pulls, removals and prunes at once, beside containers of one image."""
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    references, stop, failures = [f.registry.ref(x) for x in [HTTPD, *FILES]], threading.Event(), []

    def again(*argv):
        while not stop.is_set():
            done = berth(f).call(*argv)
            if done.returncode != 0 and "Cancelled" not in done.stderr:
                failures.append((argv, done.stderr))
                return

    threads = [threading.Thread(target=again, args=("pull", "-q", r)) for r in references]
    threads += [threading.Thread(target=again, args=("prune", "--yes")), threading.Thread(target=again, args=("rmi", "-f", references[0]))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            equal(c.exec("/bin/sh", "-c", "echo whole"), "whole\n")
            contains({t for i in images_of(f).values() for t in i["repoTags"]}, f.busybox)
            pod.create(["/bin/sleep", "1"]).remove()
            time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    equal(failures, [])
    berth(f)("prune", "--yes")
    consistent(f)
    equal({t for i in images_of(f).values() for t in i["repoTags"]}, {f.busybox})


def consistent(f):
    """Every image is whole, and nothing is there that no image has."""
    df = berth(f).json("df")
    equal({layer["diffId"].split(":")[1] for layer in df["layers"]}, set(os.listdir(store(f, "layers"))))
    assert all(layer["images"] > 0 for layer in df["layers"]), df["layers"]
    equal({i["id"] for i in df["images"]}, set(images_of(f)))
    wait_for("nothing is staged", lambda: not os.listdir(store(f, "staging")))


def test_killed_amid_pulls(f):
    reference = make_big_image(f)
    f.cleanup(remove, f, reference, f.registry.ref(HTTPD))
    for pause in (0, 0.1, 0.3):
        pulls = [subprocess.Popen([BIN / "berth", "--socket", f.daemon.socket, "pull", "-q", r], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                 for r in (reference, f.registry.ref(HTTPD))]
        wait_for("layers are on their way", lambda: os.listdir(store(f, "staging")), pause=0.005)
        time.sleep(pause)
        f.daemon.kill()
        codes = [pull.wait() for pull in pulls]
        assert pause > 0 or codes[0] == 1, "the large pull was not cut off"
        f.daemon.start()
        consistent(f)
        for image in images_of(f).values():
            equal(berth(f).call("pull", "-q", image["repoTags"][0]).returncode, 0)
        remove(f, reference, f.registry.ref(HTTPD))
    f.rebase_descriptors()


def test_heals_itself_at_start(f):
    reference = f.registry.ref(HTTPD)
    berth(f)("pull", "-q", reference)
    f.cleanup(remove, f, reference)
    layers = f.crictl.json("inspecti", reference)["info"]["layers"]
    f.daemon.kill()
    subprocess.run(["rm", "-rf", store(f, f"layers/{layers[-1].split(':')[1]}")], check=True)
    f.daemon.start()
    equal(f.crictl.json("images", reference)["images"], [])
    contains(f.daemon.log_tail(60), "is dropped, to be pulled again: layer ")
    consistent(f)
    berth(f)("pull", "-q", reference)
    consistent(f)
    f.rebase_descriptors()


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX], [HTTPD, *FILES]))
