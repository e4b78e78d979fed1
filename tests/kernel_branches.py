#!/usr/bin/env python3
"""Checks that each branch for an older kernel is run by a test.

kernel_branches.py TOP: a branch is a comment `FALLBACK(linux<X.Y)` in a source; its test is a comment
`FALLBACK(linux<X.Y) of PATH` in a file under test (x_test.cc, tests/). Prints each one without the other as FILE:LINE: why,
then "N passed, N failed" (branches); exit status 1 when one fails.
"""
import os
import re
import sys

BRANCH = re.compile(r"FALLBACK\(linux<([0-9.]+)\)(?: of ([\w./-]+))?")
OURS = ("cli", "cri", "image", "runtime", "tests")


def sources(top):
    for room in OURS:
        for folder, _, names in os.walk(os.path.join(top, room)):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(folder, name), top)
                if path.endswith((".cc", ".h", ".py")) and path != "tests/kernel_branches.py":
                    yield path


def main(top):
    branches, tests = {}, {}  # (file, version) -> FILE:LINE of the first
    for path in sources(top):
        is_test = path.startswith("tests/") or path.endswith("_test.cc")
        with open(os.path.join(top, path), encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                for version, of in BRANCH.findall(line):
                    where = f"{path}:{number}"
                    if is_test and of:
                        tests.setdefault((of, version), where)
                    elif not is_test:
                        branches.setdefault((path, version), where)
    failed = 0
    for key in sorted(branches.keys() - tests.keys()):
        print(f"{branches[key]}: no test says that it runs `FALLBACK(linux<{key[1]}) of {key[0]}`")
        failed += 1
    for key in sorted(tests.keys() - branches.keys()):
        print(f"{tests[key]}: {key[0]} has no `FALLBACK(linux<{key[1]})`")
        failed += 1
    print(f"{len(branches.keys() & tests.keys())} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
