#!/usr/bin/env python3
"""mkoci.py SPEC.json LAYOUT: packs directories into an OCI image layout, the same input into the same bytes.

SPEC holds
  layers   NAME -> {dir, over?, owner?}: the tree to pack; with `over`, only what differs from that other tree, and what
           is gone from it as whiteouts; with `owner` ([uid, gid]) everything belongs to it, else to whom the files do
  images   REF -> {layers: [NAME...], config, index?}: `config` is the image configuration's own "config" object; with
           `index` the image stands in an index beside one for another platform, as published images do
  epoch    no file is younger than this (seconds), and images were created then
  compress gzip (default), zstd or none
Prints one line an image: its digest and its reference, which is also its tag in the layout.

Names go in sorted order, files that are one inode become hard links, setuid bits and file capabilities are kept.
"""
import concurrent.futures
import datetime
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile

COMPRESSORS = {  # name -> (command, media type suffix)
    "gzip": (["gzip", "-n", "-6"], "+gzip"),
    "zstd": (["zstd", "-q", "-9", "-T1"], "+zstd"),
    "none": (["cat"], ""),
}
MEDIA = "application/vnd.oci.image."
XATTRS = ("security.capability",)


class Layout:
    """An OCI layout being written. Blobs appear under their digest when they are complete."""

    def __init__(self, path):
        self.path = path
        os.makedirs(f"{path}/blobs/sha256", exist_ok=True)

    def adopt(self, temporary, digest, media_type):
        """Moves a finished file in place and describes it."""
        size = os.path.getsize(temporary)
        os.rename(temporary, f"{self.path}/blobs/sha256/{digest}")
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": size}

    def add_json(self, value, media_type):
        data = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        temporary = f"{self.path}/{digest}.part"
        with open(temporary, "wb") as f:
            f.write(data)
        return self.adopt(temporary, digest, media_type)

    def finish(self, manifests):
        index = {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": manifests}
        with open(f"{self.path}/index.json", "w") as f:
            json.dump(index, f, indent=1)
        with open(f"{self.path}/oci-layout", "w") as f:
            json.dump({"imageLayoutVersion": "1.0.0"}, f)


class HashingWriter:
    """A file object that only hashes and passes on."""

    def __init__(self, sink):
        self.sink, self.sha = sink, hashlib.sha256()

    def write(self, data):
        self.sha.update(data)
        return self.sink.write(data)


def entries(root):
    """Relative names of everything below root, parents first, in one order on every machine."""
    for base, dirs, files in os.walk(root):
        dirs.sort()
        for name in sorted(dirs + files):
            yield os.path.relpath(os.path.join(base, name), root)


def same_content(a, b):
    with open(a, "rb") as fa, open(b, "rb") as fb:
        while True:
            x, y = fa.read(1 << 20), fb.read(1 << 20)
            if x != y:
                return False
            if not x:
                return True


def differs(path, lower):
    """Whether an entry is not what the lower tree has there. Times alone are no difference."""
    if not os.path.lexists(lower):
        return True
    a, b = os.lstat(path), os.lstat(lower)
    if (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) != (b.st_mode, b.st_uid, b.st_gid, b.st_rdev):
        return True
    if stat.S_ISLNK(a.st_mode):
        return os.readlink(path) != os.readlink(lower)
    return stat.S_ISREG(a.st_mode) and (a.st_size != b.st_size or not same_content(path, lower))


def is_real_directory(path):
    return os.path.isdir(path) and not os.path.islink(path)


def removed(root, over):
    """The topmost entries of `over` that root lacks, where their directory is still one."""
    gone = set()
    for name in entries(over):
        parent = os.path.dirname(name)
        if parent in gone or not is_real_directory(f"{root}/{parent}"):
            gone.add(name)
        elif not os.path.lexists(f"{root}/{name}"):
            gone.add(name)
            yield name


def selected(root, over):
    """(name, is_whiteout) of what belongs into a layer, sorted; a change brings the directories above it along."""
    if not over:
        return [(name, False) for name in entries(root)]
    chosen = {name: False for name in entries(root) if differs(f"{root}/{name}", f"{over}/{name}")}
    for name in removed(root, over):
        chosen[os.path.join(os.path.dirname(name), ".wh." + os.path.basename(name))] = True
    for name in list(chosen):
        while name := os.path.dirname(name):
            chosen.setdefault(name, False)
    return sorted(chosen.items(), key=lambda item: item[0].split("/"))


def header(tar, root, name, whiteout, owner, epoch):
    if whiteout:
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = 0o644, epoch
        return info
    path = f"{root}/{name}"
    info = tar.gettarinfo(path, name)
    if info is None:
        return None  # a socket
    info.uname = info.gname = ""
    info.mtime = min(int(info.mtime), epoch)
    if owner:
        info.uid, info.gid = owner
    if info.isreg() or info.islnk():
        for attribute in XATTRS:
            try:
                value = os.getxattr(path, attribute, follow_symlinks=False)
            except OSError:
                continue
            info.pax_headers["SCHILY.xattr." + attribute] = value.decode("utf-8", "surrogateescape")
    return info


def write_tar(sink, layer, epoch):
    root, owner = layer["dir"], layer.get("owner")
    inodes = {}
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:
        for name, whiteout in selected(root, layer.get("over")):
            info = header(tar, root, name, whiteout, owner, epoch)
            if info is None:
                continue
            if whiteout or not (info.isreg() or info.islnk()):
                tar.addfile(info)
                continue
            # tarfile has its own idea of hard links; ours counts only names inside this layer.
            path = f"{root}/{name}"
            status = os.lstat(path)
            first = inodes.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
                tar.addfile(info)
            else:
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", status.st_size
                with open(path, "rb") as f:
                    tar.addfile(info, f)


def pack(layout, name, layer, epoch, compress):
    """Streams one layer through its hashes and its compressor. Returns (diffID, descriptor)."""
    command, suffix = COMPRESSORS[compress]
    temporary = f"{layout.path}/layer-{name}.part"
    with open(temporary, "wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out)
        writer = HashingWriter(child.stdin)
        write_tar(writer, layer, epoch)
        child.stdin.close()
        if child.wait() != 0:
            raise RuntimeError(f"layer {name}: {command[0]} failed")
    with open(temporary, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    return "sha256:" + writer.sha.hexdigest(), layout.adopt(temporary, digest, MEDIA + "layer.v1.tar" + suffix)


def add_image(layout, ref, image, layers, created):
    """Writes an image's configuration, manifest and index. Returns the descriptor for the layout's index."""

    def manifest(architecture):
        platform = {"architecture": architecture, "os": "linux"}
        config = layout.add_json({
            **platform, "created": created, "config": image.get("config", {}),
            "rootfs": {"type": "layers", "diff_ids": [layers[name][0] for name in image["layers"]]},
            "history": [{"created": created, "created_by": "layer " + name} for name in image["layers"]],
        }, MEDIA + "config.v1+json")
        document = {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json", "config": config,
                    "layers": [layers[name][1] for name in image["layers"]]}
        return {**layout.add_json(document, document["mediaType"]), "platform": platform}

    top = manifest("amd64")
    if image.get("index"):
        document = {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": [manifest("arm64"), top]}
        top = layout.add_json(document, document["mediaType"])
    top["annotations"] = {"org.opencontainers.image.ref.name": ref}
    return top


def main(spec_path, out):
    with open(spec_path) as f:
        spec = json.load(f)
    epoch = spec.get("epoch", 0)
    created = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    unfinished = out + ".part"
    shutil.rmtree(unfinished, ignore_errors=True)
    layout = Layout(unfinished)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {name: pool.submit(pack, layout, name, layer, epoch, spec.get("compress", "gzip"))
                for name, layer in spec["layers"].items()}
        layers = {name: job.result() for name, job in jobs.items()}
    manifests = [add_image(layout, ref, image, layers, created) for ref, image in spec["images"].items()]
    layout.finish(manifests)
    shutil.rmtree(out, ignore_errors=True)
    os.rename(unfinished, out)
    for descriptor in manifests:
        print(descriptor["digest"], descriptor["annotations"]["org.opencontainers.image.ref.name"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
