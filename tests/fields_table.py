#!/usr/bin/env python3
"""Checks docs/cri-fields.md: every field of the messages that say how a pod or a container is confined and limited, and of those
that run commands in it, has a row, and every test that a row names exists.

fields_table.py TOP: prints each breach as FILE:LINE: why, then "N passed, N failed" (rows); exit status 1 when one does.
"""
import os
import re
import sys

TABLE, PROTO = "docs/cri-fields.md", "proto/cri/v1/api.proto"
MESSAGES = ("PodSandboxConfig", "LinuxPodSandboxConfig", "LinuxSandboxSecurityContext", "NamespaceOption", "UserNamespace",
            "ContainerConfig", "LinuxContainerSecurityContext", "Capability", "SecurityProfile", "SELinuxOption",
            "LinuxContainerResources", "HugepageLimit", "Mount", "Device", "CDIDevice", "ExecSyncRequest", "ExecRequest",
            "AttachRequest")
# Another operating system's, or messages that only hold others which have rows of their own.
WITHOUT_ROW = {"PodSandboxConfig.windows", "PodSandboxConfig.linux", "ContainerConfig.windows", "ContainerConfig.linux",
               "ContainerConfig.mounts", "ContainerConfig.devices", "LinuxPodSandboxConfig.security_context",
               "LinuxSandboxSecurityContext.namespace_options", "LinuxContainerSecurityContext.capabilities",
               "LinuxContainerSecurityContext.namespace_options"}

FIELD = re.compile(r"^\s+(?:repeated\s+|optional\s+|map<\s*\w+\s*,\s*)?[\w.]+>?\s+(\w+)\s*=\s*\d+\s*(?:\[.*\])?;")
GOOGLE_TEST = re.compile(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", re.M)
PYTHON_TEST = re.compile(r"^def (test_\w+)\(", re.M)


def sources(top, ending):
    for folder, dirs, files in os.walk(top):
        dirs[:] = [d for d in dirs if d not in ("build", ".git", ".cache")]
        for name in files:
            if name.endswith(ending):
                with open(os.path.join(folder, name), encoding="utf-8") as f:
                    yield name, f.read()


def known_tests(top):
    """Names as the table spells them: "Suite.Case" and "test_file.py test_function"."""
    names = set()
    for _, text in sources(top, "_test.cc"):
        names |= {f"{suite}.{case}" for suite, case in GOOGLE_TEST.findall(text)}
    for file, text in sources(os.path.join(top, "tests"), ".py"):
        names |= {f"{file} {function}" for function in PYTHON_TEST.findall(text)}
    return names


def fields(top):
    """"Message.field" of the messages above."""
    found, message = set(), None
    with open(os.path.join(top, PROTO), encoding="utf-8") as f:
        for line in f:
            if start := re.match(r"^message (\w+) \{", line):
                message = start[1]
            elif line.startswith("}"):
                message = None
            elif message in MESSAGES and (field := FIELD.match(line)):
                found.add(f"{message}.{field[1]}")
    return found - WITHOUT_ROW


def rows(top):
    """(line number, the fields, the tests) of each row."""
    with open(os.path.join(top, TABLE), encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
            if len(cells) < 3 or cells[0] in ("field", "annotation", "key") or set(cells[0]) <= {"-", ":"}:
                continue
            names = [name.strip(" `") for name in cells[0].split(",")]
            yield number, names, [test.strip(" `") for test in cells[-1].split(",") if test.strip(" `")]


def main(top):
    tests, missing, good, bad = known_tests(top), fields(top), 0, []
    for number, names, named in rows(top):
        missing -= set(names)
        wrong = [t for t in named if t not in tests]
        if not named:
            bad.append(f"{TABLE}:{number}: {names[0]} names no test")
        elif wrong:
            bad.append(f"{TABLE}:{number}: {names[0]}: there is no test {', '.join(wrong)}")
        else:
            good += 1
    bad += [f"{TABLE}: no row for {name}" for name in sorted(missing)]
    for line in bad:
        print(line)
    print(f"{good} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
