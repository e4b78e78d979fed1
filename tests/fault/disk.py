"""Disks that lose their power. The device under test is a loop device with direct I/O on a file, so that what the file
holds is what a disk would have been given; a copy of that file that shares its blocks, made in one instant, is the disk
of a machine whose power went.

All mounts are made in the mount namespace of the program, and loop devices are told to go with their mounts, so that
nothing stays whatever way it ends."""
import contextlib
import fcntl
import os
import subprocess
import tempfile
import time

from suite import Skip

FICLONE = 0x40049409
DISK_BYTES = 768 << 20
STAGE_BYTES = 12 << 30  # sparse: what is written takes room


def run(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(str(a) for a in argv)}: {done.stderr.strip()}"
    return done.stdout.strip()


def clone(source, target):
    """In one instant: the file system holds all writers of `source` off meanwhile."""
    with open(source, "rb") as old, open(target, "xb") as new:
        fcntl.ioctl(new, FICLONE, old.fileno())


def attach(file, directory, *, direct=False, kind="ext4"):
    """Mounts the file system in `file`."""
    device = run("losetup", "--find", "--show", *(["--direct-io=on"] if direct else []), file)
    try:
        os.makedirs(directory, exist_ok=True)
        run("mount", "-t", kind, device, directory)
    finally:
        # With a mount on it, the device goes when that goes.
        run("losetup", "--detach", device)


def detach(directory):
    """An unmount right after the last process that used it has ended may still find it busy."""
    for _ in range(50):
        done = subprocess.run(["umount", directory], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(done.stderr.strip())


@contextlib.contextmanager
def attached(file, directory, **options):
    attach(file, directory, **options)
    try:
        yield directory
    finally:
        detach(directory)


@contextlib.contextmanager
def stage():
    """A directory on a file system that can clone files, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="berth-fault.", dir="/var/tmp") as top:
        with open(f"{top}/stage", "wb") as f:
            f.truncate(STAGE_BYTES)
        done = subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", f"{top}/stage"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Skip(f"mkfs.xfs: {done.stderr.strip()}")
        try:
            attach(f"{top}/stage", f"{top}/xfs", kind="xfs")
        except AssertionError as error:
            raise Skip(f"no XFS on a loop device here: {error}") from error
        try:
            yield f"{top}/xfs"
        finally:
            run("umount", "-l", f"{top}/xfs")


def new_disk(path):
    """A file with an empty, journalled ext4 in it, as a node has one; nothing of it is left to be written later."""
    with open(path, "xb") as f:
        f.truncate(DISK_BYTES)
    run("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", path)
    return path
