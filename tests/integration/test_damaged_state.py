#!/usr/bin/env python3
"""state.db is damaged while pods run: a daemon starts all the same, what can be read of it is as it was, and what cannot is named
and leaves nothing behind."""
import glob
import os
import pathlib
import sqlite3
import sys

import fixture
import leaks
from suite import contains, equal, main, wait_for

PAGE = 4096


def log(f):
    return pathlib.Path(f.daemon.log).read_text(errors="replace")


def restart(f, damage):
    """Another daemon, before which `damage` was done to the file; what its log says of the state."""
    f.daemon.kill()
    path = pathlib.Path(f.daemon.root, "state.db")
    with sqlite3.connect(path) as db:  # all of it in the file
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    damage(path)
    before = len(log(f))
    f.daemon.start()
    f.rebase_descriptors()
    return [line for line in log(f)[before:].splitlines() if " state: " in line]


def busy_pod(f):
    pod = f.run_pod()
    return pod, pod.start(["/bin/sleep", "100000"])


def forget_damage(f):
    """What was set aside is there, and does not count any more."""
    aside = glob.glob(f"{f.daemon.root}/state.db.damaged-*")
    assert aside
    for path in aside:
        os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


def expect_gone(f, pod, container, process):
    wait_for("its process is gone", lambda: not os.path.exists(f"/proc/{process}/exe"))
    equal(f.crictl.call("inspect", container.id).code, "NotFound")
    wait_for("nothing of it is left", lambda: not [line for line in leaks.snapshot(f.daemon) if container.id in line and "damaged" not in line])


def test_a_lost_first_page_costs_nothing(f):
    pod, c = busy_pod(f)
    before, process = c.status(), c.process()

    def zero(path):
        data = path.read_bytes()
        path.write_bytes(bytes(PAGE) + data[PAGE:])
    said = restart(f, zero)
    contains("\n".join(said), "set aside as")
    equal((c.status(), c.process()), (before, process))
    equal(pod.inspect()["status"]["state"], "SANDBOX_READY")
    equal(c.exec("/bin/echo", "here"), "here\n")
    equal(restart(f, lambda path: None), [])
    forget_damage(f)


def test_a_lost_record_is_named_and_its_container_removed(f):
    pod, kept = busy_pod(f)
    lost = pod.start(["/bin/sleep", "100000"])
    process = lost.process()

    def flip(path):
        data = bytearray(path.read_bytes())
        at = data.index(b"\x0a\x40" + lost.id.encode()) + 80  # the beginning of its message
        data[at] ^= 0xff
        path.write_bytes(data)
    said = "\n".join(restart(f, flip))
    contains(said, f"lost: the record of container '{lost.id}'")
    expect_gone(f, pod, lost, process)
    equal(kept.status()["state"], "CONTAINER_RUNNING")
    equal(pod.sh("echo new; exit 3"), (3, "new\n"))
    forget_damage(f)


def test_a_record_that_means_nothing_is_told_of_once(f):
    pod, c = busy_pod(f)
    other, survivor = busy_pod(f)
    process, group = c.process(), f.daemon.cgroup_of(pod)

    def garble(path):
        with sqlite3.connect(path) as db:
            db.execute("UPDATE records SET data = ? WHERE id = ?", (b"\x0a\x40" + pod.id.encode() + b"\xff\xff", pod.id))
        db.close()
    said = "\n".join(restart(f, garble))
    contains(said, f"pod '{pod.id}': its record cannot be read; set aside")
    contains(said, f"container '{c.id}': its record is of pod '{pod.id}', which has none; set aside")
    expect_gone(f, pod, c, process)
    wait_for("its pod is gone too", lambda: not list(leaks.processes_in(group)))
    equal(survivor.status()["state"], "CONTAINER_RUNNING")
    equal([p["id"] for p in f.crictl.json("pods")["items"]], [other.id])
    equal(restart(f, lambda path: None), [])
    # What was set aside stays for whoever wants to look.
    with sqlite3.connect(f"{f.daemon.root}/state.db") as db:
        equal({row[0] for row in db.execute("SELECT id FROM damaged")}, {pod.id, c.id})
        db.execute("DELETE FROM damaged")
    db.close()


def test_a_directory_in_its_place(f):
    pod, c = busy_pod(f)

    def replace(path):
        path.unlink()
        path.mkdir()
    said = "\n".join(restart(f, replace))
    contains(said, "0 records were saved")
    equal(f.crictl.json("pods")["items"], [])
    forget_damage(f)


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
