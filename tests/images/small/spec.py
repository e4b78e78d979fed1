#!/usr/bin/env python3
"""spec.py TREES: the images of the small family, as mkoci.py's description, on stdout. TREES holds a directory a layer.

Their names and contents are what the CRI's conformance suite pulls; the registry in front of the names does not matter.
"""
import json
import os
import sys

ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
SHELL = {"Env": ENV, "Cmd": ["sh"]}
E2E = "e2e-test-images/"
CRI = "k8s-staging-cri-tools/"
# Layers whose files are not root's: [uid, gid].
OWNERS = {"volume-data": [999, 998]}


def webserver(name, port):
    return {"Env": ENV, "Cmd": [name, str(port), name, "-" * 48], "ExposedPorts": {f"{port}/tcp": {}},
            "StopSignal": "SIGQUIT"}


def pause(**more):
    return {"Env": ENV, "Entrypoint": ["/pause"], "User": "65535:65535", **more}


def volumes(*paths):
    return {**SHELL, "Volumes": {path: {} for path in paths}}


def image(layers, config, index=False):
    return {"layers": layers.split(), "config": config, "index": index}


IMAGES = {
    "pause:3.10.1": image("pause", pause(), index=True),
    "pause:3.9": image("pause", pause(Labels={"version": "3.9"}), index=True),
    E2E + "busybox:1.29-2": image("base", SHELL, index=True),
    E2E + "nginx:1.14-2": image("base nginx", webserver("nginx", 80), index=True),
    E2E + "httpd:2.4.39-4": image("base httpd", webserver("httpd", 80), index=True),
    E2E + "nonewprivs:1.3": image("base whoami", {"Env": ENV, "Entrypoint": ["/whoami"]}, index=True),
    CRI + "hostnet-nginx-amd64:latest": image("base nginx", webserver("nginx", 12003)),
    # Users: by number, by name, each with and without a group, and one with a further group in the image.
    CRI + "test-image-user-uid:latest": image("base", {**SHELL, "User": "1002"}),
    CRI + "test-image-user-username:latest": image("base", {**SHELL, "User": "www-data"}),
    CRI + "test-image-user-uid-group:latest": image("base", {**SHELL, "User": "1003:1004"}),
    CRI + "test-image-user-username-group:latest": image("base", {**SHELL, "User": "www-data:1004"}),
    CRI + "test-image-predefined-group:latest": image("base group", {**SHELL, "User": "1000"}),
    # Names: images that differ, and one image under three tags.
    CRI + "test-image-latest:latest": image("base mark-latest", SHELL),
    CRI + "test-image-digest:latest": image("base mark-digest", SHELL),
    CRI + "test-image-tag:test": image("base mark-tag", SHELL),
    CRI + "test-image-tag:all": image("base mark-all", SHELL),
    **{CRI + f"test-image-{n}:latest": image(f"base mark-{n}", SHELL) for n in "123"},
    **{CRI + f"test-image-tags:{n}": image("base mark-tags", SHELL) for n in "123"},
    # Files to be mounted as volumes, in one layer and in several.
    "berth/files:one": image("files", {}),
    "berth/files:many": image("files files-more whoami", {}),
    "berth/files:marked": image("files mark-files", {}),
    # Volumes that images declare: with content, through links, and where none may be.
    "berth/volumes:good": image("base volume-data volume-links", volumes("/data", "/to-lib/db", "/new/deep/")),
    **{f"berth/volumes:{name}": image("base volume-links mark-bad", volumes(path))
       for name, path in {"proc": "/proc", "sys": "/sys/fs", "dev": "/dev/shm", "root": "/", "dots": "/../../etc",
                          "file": "/etc/passwd", "to-proc": "/to-proc", "to-sys": "/to-sys"}.items()},
    # What the suite's benchmarks pull.
    **{f"docker/library/busybox:{tag}": image(f"base mark-{mark}", {**SHELL, "Labels": {"tag": tag}})
       for tag, mark in {"1": "one", "1-glibc": "glibc", "1.35.0-glibc": "glibc", "1-uclibc": "uclibc",
                         "1-musl": "musl"}.items()},
}


def main(trees):
    used = sorted({layer for each in IMAGES.values() for layer in each["layers"]})
    for layer in used:
        if layer.startswith("mark-"):  # a layer that only makes an image unlike the others
            os.makedirs(f"{trees}/{layer}", exist_ok=True)
            with open(f"{trees}/{layer}/{layer}", "w") as f:
                f.write(layer + "\n")
    json.dump({"layers": {layer: {"dir": f"{trees}/{layer}", "owner": OWNERS.get(layer, [0, 0])} for layer in used},
               "images": IMAGES, "epoch": 0}, sys.stdout, indent=1)


main(sys.argv[1])
