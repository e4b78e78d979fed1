"""What a daemon keeps outside its memory: mounts, files, cgroups, processes, rows, links, packet rules, descriptors. Two
snapshots around a case show what it left behind."""
import collections
import glob
import os
import pathlib
import sqlite3
import subprocess

CGROUP = "/sys/fs/cgroup"
# Directories whose entries come and go with pods, containers and pulls.
WATCHED = ("state:pods", "state:netns", "root:network", "root:images/staging", "root:images/snapshots", "root:images/trash",
           "root:images/layers", "root:images/content", "root:images/fixups")


def _read(path):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _mounts(daemon):
    for line in _read("/proc/self/mountinfo").splitlines():
        where = line.split()[4]
        if any(where == d or where.startswith(d + "/") for d in (daemon.root, daemon.state)):
            yield f"mount {where}"


def _files(daemon):
    for watched in WATCHED:
        base, sub = watched.split(":")
        top = os.path.join(getattr(daemon, base), sub)
        try:
            for name in os.listdir(top):
                yield f"file {os.path.join(top, name)}"
        except OSError:
            pass


def cgroup_dirs(parent):
    """Every cgroup at and below `parent` ("/name"), in every hierarchy."""
    tops = {top for pattern in ("", "/*") for top in glob.glob(f"{CGROUP}{pattern}{parent}")}
    seen = set()
    for top in tops:
        for path, _, _ in os.walk(os.path.realpath(top)):
            if path not in seen:
                seen.add(path)
                yield path


def processes_in(parent):
    """(pid, name) of the processes in that cgroup or beneath it."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (f":{parent}/" in (text := _read(f"/proc/{entry}/cgroup")) or f":{parent}\n" in text):
            yield int(entry), _read(f"/proc/{entry}/comm").strip()


def _lasting(processes):
    """Those but the sleeps that a shell in a loop starts again and again: they are there at one look and not at the next."""
    for pid, name in processes:
        stat = _read(f"/proc/{pid}/stat")
        parent = stat.rpartition(")")[2].split()[1] if stat else "0"
        if (name, _read(f"/proc/{parent}/comm").strip()) not in (("sleep", "sh"), ("sh", "sh")):
            yield name


def _descendants(pid):
    for child in _read(f"/proc/{pid}/task/{pid}/children").split():
        yield f"process {_read(f'/proc/{child}/comm').strip()}, child of the daemon"
        yield from _descendants(child)


def _rows(path):
    if not os.path.exists(path):
        return
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall():
            columns = [c[1] for c in db.execute(f"PRAGMA table_info({table})")]
            keys = [c for c in columns if c in ("kind", "id", "ref", "image", "snapshot", "position", "diff_id", "digest")]
            if not keys:
                continue
            for row in db.execute(f"SELECT {', '.join(keys)} FROM {table}"):
                yield f"row of {os.path.basename(path)} {table} {row}"
    finally:
        db.close()


def _links(daemon):
    if os.path.exists(f"/sys/class/net/{daemon.bridge}"):
        for name in os.listdir(f"/sys/class/net/{daemon.bridge}/brif"):
            yield f"link {name} on {daemon.bridge}"


def _rules(daemon):
    if not daemon.embedded:
        return
    out = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False).stdout
    prefix = daemon.subnet.rsplit(".", 2)[0] + "."
    for line in out.splitlines():
        if daemon.bridge in line or prefix in line:
            yield f"packet rule {line.strip()}"


def _file_system(path):
    out = subprocess.run(["stat", "-f", "-c", "%t", "-L", path], capture_output=True, text=True, check=False).stdout.strip()
    return "erofs" if out == "e0f5e1e2" else out


def _descriptors(daemon):
    for fd in glob.glob(f"/proc/{daemon.pid}/fd/*"):
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        # The layers of an image stay open for its next container: as directories, those of a bounded number of images; as
        # mounts, those of the images that are there.
        if target == "/" and _file_system(fd) == "erofs":
            continue
        if target.startswith((f"{daemon.root}/images/layers/", f"{daemon.root}/images/fixups/")):
            continue
        # Those of gRPC and of the streaming server come and go with threads and clients; compiled seccomp (memfd) and device programs, of both a bounded
        # number, are kept for the next container.
        if not target.startswith(("socket:", "anon_inode:[event", "anon_inode:[timerfd", "anon_inode:bpf-prog", "/memfd:")):
            yield f"descriptor of the daemon: {target.split('[')[0] if ':' in target else 'file'}"


def descriptor_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def _counted(lines):
    """The lines as a set; the second of two equal ones says that it is."""
    for line, number in collections.Counter(lines).items():
        yield line
        yield from (f"{line} ({i})" for i in range(2, number + 1))


def snapshot(daemon):
    found = set()
    found.update(_mounts(daemon), _files(daemon), _links(daemon), _rules(daemon))
    found.update(f"cgroup {path}" for path in cgroup_dirs(daemon.cgroup_parent))
    found.update(_counted(f"process {name} in a pod" for name in _lasting(processes_in(daemon.cgroup_parent))))
    if daemon.pid:
        found.update(_counted(_descendants(daemon.pid)), _counted(_descriptors(daemon)))
    for db in (f"{daemon.root}/state.db", f"{daemon.root}/images/images.db"):
        found.update(_rows(db))
    return found
