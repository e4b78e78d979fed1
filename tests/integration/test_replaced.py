#!/usr/bin/env python3
"""The daemon's and the shim's files are replaced on disk while pods run, as a package's upgrade does it, or as an accident does."""
import errno
import os
import pathlib
import shutil
import subprocess
import sys

import fixture
import urls
from daemon import BIN, Daemon
from suite import contains, equal, main, wait_for

GARBAGE = b"this is no program\n" * 1000


class CopiedDaemon(Daemon):
    """Its programs are copies of its own."""

    def __init__(self, settings=None):
        super().__init__(settings)
        self.programs = pathlib.Path(self.files, "bin")
        self.programs.mkdir()
        self.put_back()

    def put_back(self):
        """As a package manager does: a new file with the old name."""
        for name in ("berthd", "berth-shim"):
            shutil.copy(BIN / name, self.programs / f"{name}.new")
            os.rename(self.programs / f"{name}.new", self.programs / name)


class ReplacedFixture(fixture.Fixture):
    new_daemon = CopiedDaemon


class Story:
    container = None


S = Story()


def still_works(f):
    c = S.container
    equal(c.exec("/bin/echo", "hello"), "hello\n")
    equal(urls.run(f, c, ["/bin/echo", "hello"]).wait().out, b"hello\n")
    before = len(c.log_lines())
    wait_for("the log grows", lambda: len(c.log_lines()) > before + 3)
    equal(c.pod.sh("echo new; exit 3"), (3, "new\n"))
    equal(f.run_pod().sh("echo new; exit 4"), (4, "new\n"))


def test_a_shim_that_is_overwritten_where_it_is(f):
    pod = f.run_pod()
    S.container = pod.start(["/bin/sh", "-c", "while true; do echo tick; sleep 0.1; done"])
    S.undo, f._undo = f._undo, []  # kept for the end of the story
    f.rebase()
    (f.daemon.programs / "berth-shim").write_bytes(GARBAGE)
    still_works(f)


def test_a_daemon_that_is_replaced(f):
    try:
        (f.daemon.programs / "berthd").write_bytes(GARBAGE)
    except OSError as e:
        equal(e.errno, errno.ETXTBSY, "the kernel's answer to writing into a program that runs")
    (f.daemon.programs / "new").write_bytes(GARBAGE)
    os.rename(f.daemon.programs / "new", f.daemon.programs / "berthd")
    still_works(f)


def test_a_daemon_that_finds_no_shim_says_so(f):
    f.daemon.put_back()
    (f.daemon.programs / "berth-shim").write_bytes(GARBAGE)
    f.daemon.kill()
    done = subprocess.run([f.daemon.programs / "berthd", "--config", f"{f.daemon.files}/config.toml"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)
    equal(done.returncode, 1, done.stderr + done.stdout)
    contains(done.stderr + done.stdout, "shims: ")
    contains(done.stderr + done.stdout, f"{f.daemon.programs}/berth-shim")
    before = len(S.container.log_lines())
    wait_for("the log grows", lambda: len(S.container.log_lines()) > before + 3)
    f.rebase()


def test_the_next_daemon_goes_on(f):
    f.daemon.put_back()
    f.daemon.start()
    f.rebase()
    equal(S.container.status()["state"], "CONTAINER_RUNNING")
    still_works(f)


def test_all_can_be_removed(f):
    for call, arguments in reversed(S.undo):
        call(*arguments)
    f.rebase()


if __name__ == "__main__":
    main(sys.modules[__name__], lambda: ReplacedFixture([fixture.BUSYBOX], []))
