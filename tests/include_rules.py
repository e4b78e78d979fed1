#!/usr/bin/env python3
"""Checks from the #include lines that dependencies between folders point one way (ARCHITECTURE.md has the picture).

include_rules.py TOP: prints each include that breaks a rule as FILE:LINE: why, then "N passed, N failed" (files);
exit status 1 when one does. Tests (x_test.cc, tests/) may reach further: they are the ones that put things together.
"""
import os
import re
import sys

BASE = {"runtime/base"}
SYS = BASE | {"runtime/sys"}
PLANS = SYS | {"runtime/cgroup", "runtime/rootfs", "runtime/security", "runtime/container/step_timer.h"}
IMAGE = SYS | {"image/store.h"}

# What each folder may include besides itself and generated messages of its own level.
ALLOWED = {
    "runtime/base": set(),
    "runtime/sys": BASE,
    "runtime/cgroup": SYS,
    "runtime/rootfs": PLANS,
    "runtime/security": SYS,
    "runtime/container": PLANS,
    "runtime/shim": PLANS | {"runtime/container"},
    "runtime/client": SYS | {"runtime/shim"},
    "image/reference": SYS | {"image/content/digest.h", "image/store.h"},
    "image/content": SYS,
    "image/unpack": SYS | {"image/content", "image/erofs"},
    "image/erofs": SYS | {"image/content", "image/unpack"},
    "image/catalog": SYS | {"image/reference", "image/content", "image/store.h"},
    "image/snapshot": SYS | {"image/catalog", "image/unpack", "image/content", "image/store.h"},
    "image/registry": SYS | {"image/reference", "image/content", "image/store.h"},
    "image/trust": SYS | {"image/reference", "image/content", "image/store.h"},
    "image/pull": SYS | {"image"},
    "image/push": SYS | {"image"},
    "image/archive": SYS | {"image"},
    "image": SYS | {"image"},
    "cri/state": SYS,
    "cri/network": SYS,
    "cri/cdi": SYS,
    "cri/spec": PLANS | {"image/store.h", "cri/cdi"},
    "cri/streaming": SYS | {"cri/streaming/spdy"},
    "cri/streaming/spdy": BASE,
    "cri/pod": PLANS | {"runtime/client", "image/store.h", "cri/cdi", "cri/spec", "cri/state", "cri/network/network.h",
                        "cri/network/netns.h", "cri/streaming/backend.h"},
    "cri/service": PLANS | {"image/store.h", "cri/cdi", "cri/pod", "cri/spec", "cri/network/network.h",
                            "cri/streaming/server.h"},
    "cri/daemon": PLANS | {"runtime/client", "image/store.h", "cri"},
    "cri/doctor": PLANS | {"image/store.h", "cri/spec", "cri/state", "cri/pod/records.h", "cri/network/network.h",
                           "cri/network/survey.h", "cri/daemon/config.h", "cri/daemon/command_line.h", "cri/daemon/parts.h"},
    "cli": SYS | {"cli", "cri/streaming/spdy", "cri/doctor/doctor.h", "cri/daemon/command_line.h"},
}
# Messages: which folders may know which.
MESSAGES = {
    "cri/v1/": {"cri/service", "cli"},
    "berth/v1/": {"cri/service", "cli"},
    "state/v1/": {"cri/spec", "cri/pod", "cri/service", "cri/doctor"},
    "shim/v1/": {"runtime/cgroup", "runtime/rootfs", "runtime/security", "runtime/container", "runtime/shim",
                 "runtime/client", "cri/spec", "cri/pod"},
}
# Libraries that have no place in the static shim or anything that it is linked from.
NOT_IN_SHIM = ("grpc", "spdlog", "yaml-cpp", "sqlite3", "curl/", "thread>", "iostream>", "google/protobuf/descriptor")
SHIM_SIDE = ("runtime/base", "runtime/sys", "runtime/container", "runtime/shim")

INCLUDE = re.compile(r'^\s*#include\s+["<]([^">]+[">])')


def room(path):
    """The folder of the table that a file belongs to: the longest that matches."""
    folders = [f for f in ALLOWED if path.startswith(f + "/")]
    return max(folders, key=len, default=None)


def breach(folder, include):
    name = include[:-1]
    for prefix, users in MESSAGES.items():
        if name.startswith(prefix):
            ok = any(folder == u or folder.startswith(u + "/") for u in users)
            return None if ok else f"{folder} may not know the messages of {prefix}"
    if folder in SHIM_SIDE and any(include.startswith(lib) or lib in include for lib in NOT_IN_SHIM):
        return f"{folder} is linked into the shim, which is to be free of {name}"
    target = room(name)
    if target is None or target == folder or name.startswith(folder + "/"):
        return None
    allowed = ALLOWED[folder]
    if name in allowed or any(target == a or target.startswith(a + "/") for a in allowed):
        return None
    return f"{folder} may not include {name}"


def main(top):
    files, broken = 0, 0
    for base in ("runtime", "image", "cri", "cli"):
        for directory, _, names in os.walk(os.path.join(top, base)):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(directory, name), top)
                if not name.endswith((".h", ".cc")) or name.endswith("_test.cc") or "test" in name:
                    continue
                files += 1
                folder = room(path)
                found = []
                if folder is None:
                    found.append((1, "a folder that no rule speaks of"))
                else:
                    with open(os.path.join(top, path), encoding="utf-8") as source:
                        for number, line in enumerate(source, 1):
                            match = INCLUDE.match(line)
                            why = match and breach(folder, match.group(1))
                            if why:
                                found.append((number, why))
                for number, why in found:
                    print(f"{path}:{number}: {why}")
                broken += bool(found)
    print(f"{files - broken} passed, {broken} failed")
    return 1 if broken or not files else 0


sys.exit(main(sys.argv[1]))
