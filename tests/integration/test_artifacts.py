#!/usr/bin/env python3
"""OCI artifacts (KEP-4639): files in a registry that are no container image, mounted as image volumes."""
import gzip
import hashlib
import io
import os
import pathlib
import sys
import tarfile

import fixture
from fixture import BUSYBOX
from registry_api import OCI_INDEX, OCI_MANIFEST, Repository
from suite import contains, equal, main

EMPTY = "application/vnd.oci.empty.v1+json"
FILE, TAR = "application/octet-stream", "application/vnd.oci.image.layer.v1.tar+gzip"
TYPE = "application/vnd.example.model"
SLEEP = ["/bin/sleep", "1000"]


def titled(name):
    return {"annotations": {"org.opencontainers.image.title": name}}


def archive(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o640
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


def push(f, tag, layers, **more):
    """An artifact of (content, media type, title) layers; (its reference, its digest)."""
    repository = Repository(f.registry.address, "models/small")
    parts = [repository.put_blob(data, kind, **(titled(title) if title else {})) for data, kind, title in layers]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": TYPE, "config": repository.put_blob(b"{}", EMPTY),
                "layers": parts, **more}
    return f.registry.ref(f"models/small:{tag}"), repository.put_manifest(tag, manifest)


def model(f, tag="model"):
    big = bytes(range(256)) * 5000
    return push(f, tag, [(big, FILE, "model.bin"), (b"read me\n", "text/plain", "docs/deep/readme.txt"), (b"no title\n", FILE, "")])


def pulled(f, ref):
    f.crictl("pull", ref)
    f.cleanup(f.crictl, "rmi", ref)


def volume(ref, path="/vol", **more):
    return {"container_path": path, "readonly": True, "image": {"image": ref}, **more}


def layers_of(f):
    return set(os.listdir(f"{f.daemon.root}/images/layers"))


def test_pull_and_list(f):
    ref, digest = model(f)
    pulled(f, ref)
    image = f.crictl.json("images", ref)["images"][0]
    equal((image["id"], image["repoTags"]), (digest, [ref]))
    equal(image["repoDigests"], [f.registry.ref(f"models/small@{digest}")])
    assert int(image["size"]) > 256 * 5000, image["size"]
    equal(f.crictl.json("inspecti", digest)["info"]["artifactType"], TYPE)
    equal(f.crictl("pull", ref).split()[-1], digest)


def test_volume_of_files(f):
    ref, digest = model(f)
    pulled(f, ref)
    pod = f.run_pod()
    c = pod.start(SLEEP, mounts=[volume(ref), volume(ref, "/docs", image_sub_path="docs/deep")])
    equal(c.exec("/bin/cat", "/vol/docs/deep/readme.txt", "/docs/readme.txt"), "read me\nread me\n")
    equal(c.exec("/bin/sh", "-c", "cd /vol; ls | wc -l; cat %s" % hashlib.sha256(b"no title\n").hexdigest()).split(), ["3", "no", "title"])
    equal(c.exec("/bin/stat", "-c", "%a %u:%g %s", "/vol/model.bin"), "644 0:0 1280000\n")
    equal(c.exec("/bin/stat", "-c", "%a %u:%g", "/vol", "/vol/docs/deep"), "755 0:0\n755 0:0\n")
    contains(f.crictl.call("exec", "-s", c.id, "/bin/touch", "/vol/new").err, "Read-only file system")
    mount = next(m for m in c.status()["mounts"] if m["containerPath"] == "/vol")
    equal(mount["image"]["imageRef"], digest)


def test_sub_path_that_is_a_file(f):
    ref, _ = model(f)
    pulled(f, ref)
    pod = f.run_pod()
    config = pod.container_config(SLEEP, mounts=[volume(ref, image_sub_path="model.bin")])
    pod.try_create(config).refused("FailedPrecondition", "mounts.image_sub_path", "not a directory")


def test_archives_are_unpacked(f):
    ref, _ = push(f, "mixed", [(archive(one=b"first\n", two=b"old\n"), TAR, "layer.tar.gz"), (b"new\n", FILE, "two")])
    pulled(f, ref)
    c = f.run_pod().start(SLEEP, mounts=[volume(ref)])
    equal(c.exec("/bin/sh", "-c", "cd /vol; ls; cat one two; stat -c %a one"), "one\ntwo\nfirst\nnew\n640\n")


def test_artifact_in_an_index(f):
    ref, digest = model(f)
    repository = Repository(f.registry.address, "models/small")
    data, kind = repository.manifest(digest)
    outer = repository.put_manifest("index", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": kind, "digest": digest, "size": len(data), "artifactType": TYPE}]}, OCI_INDEX)
    ref = f.registry.ref("models/small:index")
    pulled(f, ref)
    image = f.crictl.json("images", ref)["images"][0]
    equal((image["id"], image["repoDigests"]), (digest, [f.registry.ref(f"models/small@{outer}")]))


def test_artifacts_with_one_config_are_two(f):
    refs = [push(f, f"n{i}", [(f"content {i}\n".encode(), FILE, "f")]) for i in range(2)]
    for ref, digest in refs:
        pulled(f, ref)
        equal(f.crictl.json("inspecti", ref)["status"]["id"], digest)
    c = f.run_pod().start(SLEEP, mounts=[volume(refs[0][0], "/a"), volume(refs[1][0], "/b")])
    equal(c.exec("/bin/cat", "/a/f", "/b/f"), "content 0\ncontent 1\n")


def test_no_container_is_made_of_one(f):
    ref, _ = model(f)
    pulled(f, ref)
    pod = f.run_pod()
    pod.try_create(pod.container_config(SLEEP, image=ref)).refused("FailedPrecondition", "image.image", "is an OCI artifact", TYPE)


def test_what_is_there_is_not_fetched_again(f):
    """Also under another tag, and after a restart."""
    ref, _ = model(f)
    again, _ = model(f, "again")
    pulled(f, ref)
    f.daemon.kill()
    f.daemon.start()
    f.rebase_descriptors()
    storage = pathlib.Path(f.registry.directory, "storage/docker/registry/v2/blobs/sha256")
    hidden = [(path, path.with_name("hidden")) for path in storage.glob("*/*/data") if path.stat().st_size > 100000]
    assert hidden, "the model's blob is nowhere"
    for path, away in hidden:
        path.rename(away)
    try:
        f.crictl("pull", ref)
        f.crictl("pull", again)
    finally:
        for path, away in hidden:
            away.rename(path)


def test_removal_frees_the_files(f):
    ref, _ = model(f)
    before = layers_of(f)
    f.crictl("pull", ref)
    c = f.run_pod().start(SLEEP, mounts=[volume(ref)])
    equal(len(layers_of(f) - before), 3)
    f.crictl("rmi", ref)
    equal(c.exec("/bin/cat", "/vol/docs/deep/readme.txt"), "read me\n")
    c.remove()
    equal(layers_of(f), before)


def test_hostile_titles(f):
    before = layers_of(f)
    for title, why in (("../../x", "is not a relative path"), ("/etc/passwd", "is not a relative path"), (".wh.x", "removal"),
                       ("a\nb", "control characters")):
        ref, _ = push(f, "hostile", [(b"x", FILE, title)])
        f.crictl.call("pull", ref).refused("InvalidArgument", "models/small:hostile", why)
    ref, _ = push(f, "twice", [(b"x", FILE, "f"), (b"y", FILE, "f")])
    f.crictl.call("pull", ref).refused("InvalidArgument", "layer title 'f' is that of two layers")
    ref, _ = push(f, "none", [])
    f.crictl.call("pull", ref).refused("InvalidArgument", "no layers")
    equal(layers_of(f), before)


main(sys.modules[__name__], fixture.make([BUSYBOX]))
