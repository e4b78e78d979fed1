"""Disks that are made of the first writes of a log: all up to a flush, and of those after it any that may have reached the
disk, in any order, as a whole or in parts of a sector's size."""
import mmap
import os
import struct
import subprocess

from calls import Calls
from daemon import BIN
from disk import attached, clone, detach
from suite import Skip, wait_for

HEADER = struct.Struct("=QQQ")
WRITE, FLUSH = 1, 2
SECTOR = 4096  # what ext4 writes at once, and what a disk does not tear


class RecordedDisk:
    """`disk`, to be attached, whose writes and flushes go into a log."""

    def __init__(self, backing):
        self.backing, self.log, self.directory = backing, f"{backing}.log", f"{backing}.recorded"
        self.disk, self.process = f"{self.directory}/disk", None

    def __enter__(self):
        program = BIN / "write_log"
        if not program.exists() or not os.path.exists("/dev/fuse"):
            raise Skip(f"no recording of writes: {program} or /dev/fuse is missing")
        os.mkdir(self.directory)
        self.process = subprocess.Popen([program, self.backing, self.log, self.directory], stdin=subprocess.DEVNULL)
        wait_for("write_log serves its file", lambda: os.path.exists(self.disk))
        return self

    def position(self):
        """Everything that was answered before is before this position of the log."""
        return os.path.getsize(self.log)

    def __exit__(self, *_):
        detach(self.directory)
        self.process.wait(20)


def read_log(path):
    """[(kind, offset, data, position of the record's end)]; the data are views of the mapped file."""
    with open(path, "rb") as f:
        memory = memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
    records, at = [], 0
    while at + HEADER.size <= len(memory):
        kind, offset, length = HEADER.unpack_from(memory, at)
        data = memory[at + HEADER.size:at + HEADER.size + (length if kind == WRITE else 0)]
        at += HEADER.size + len(data)
        records.append((kind, offset, data, at))
    return records


class Rebuilder:
    """Makes disks of `base` and growing parts of the log."""

    def __init__(self, base, records, scratch, rng):
        self.records, self.random, self.flushed = records, rng, f"{scratch}/flushed"
        clone(base, self.flushed)
        self._next, self._file = 0, open(self.flushed, "r+b", buffering=0)

    def _write(self, file, offset, data):
        assert os.pwrite(file.fileno(), data, offset) == len(data)

    def build(self, count, target):
        """The disk of the first `count` records, where any of the writes since the last flush may be missing. `count`
        must not become smaller. Returns how many writes there were since the flush, and what became of them."""
        last = next((i for i in range(count - 1, self._next - 1, -1) if self.records[i][0] == FLUSH), self._next - 1)
        for kind, offset, data, _ in self.records[self._next:last + 1]:
            if kind == WRITE:
                self._write(self._file, offset, data)
        self._next = max(self._next, last + 1)
        clone(self.flushed, target)
        pending = [r for r in self.records[self._next:count] if r[0] == WRITE]
        return len(pending), self._lose(pending, target)

    def _lose(self, pending, target):
        if not pending:
            return "none"
        how = self.random.choice(("all there", "none there", "some there", "parts there"))
        with open(target, "r+b", buffering=0) as file:
            for _, offset, data, _ in pending:
                if how == "all there" or (how == "some there" and self.random.random() < 0.5):
                    self._write(file, offset, data)
                for at in range(0, len(data) if how == "parts there" else 0, SECTOR):
                    if self.random.random() < 0.5:
                        self._write(file, offset + at, data[at:at + SECTOR])
        return how


# What needs berth's own service is left out where there is none.
STORY = """pull base:1, pull two:1, tag base:given, pull other:1, pull many:1, remove base:1, pull many:2, remove many:1, pull small:1,
remove other:1, pull many:1, prune, pull other:1, tag other:given, remove small:1, pull two:1, pull base:1"""


def record(base, new_node, registry, history):
    """Runs the story on a recorded disk that begins as `base`. Returns its log, and where calls were answered."""
    backing = f"{base}.backing"
    clone(base, backing)
    answers = []
    with RecordedDisk(backing) as recorded, attached(recorded.disk, f"{base}.live", direct=True) as directory:
        node = new_node(f"{directory}/root")
        try:
            node.start()
            calls, has_admin = Calls(node, registry, history, recorded.position), node.has_admin()
            for verb, *names in (step.split() for step in STORY.split(",")):
                if has_admin or verb in ("pull", "remove"):
                    getattr(calls, verb)(*names)
                    answers.append(recorded.position())
        finally:
            node.stop()
    return recorded.log, answers


def chosen(records, answers, count, rng):
    """How many records to keep, `count` times: those that were there when a call was answered, and any number."""
    at_answers = [sum(1 for _, _, _, end in records if end <= answer) for answer in answers]
    if count < len(at_answers):
        return sorted(rng.sample(at_answers, count))
    return sorted(at_answers + [rng.randint(1, len(records)) for _ in range(count - len(at_answers))])


def cut_prefixes(base, new_node, registry, history, check, count, rng):
    """Yields (what the disk is made of, problems) of `count` disks. `check`: the Checker's problems()."""
    log, answers = record(base, new_node, registry, history)
    records = read_log(log)
    rebuilder = Rebuilder(base, records, os.path.dirname(base), rng)
    for i, stop in enumerate(chosen(records, answers, count, rng)):
        target = f"{base}.prefix"
        pending, how = rebuilder.build(stop, target)
        position = records[stop - 1][3]
        problems = check(target, history.expected(position, position), thorough=i % 10 == 9)
        if problems:
            problems.append(f"{stop} of {len(records)} writes and flushes, {pending} of them since a flush: {how}")
        yield ("with some lost" if pending and how != "all there" else "with none lost"), problems
        os.unlink(target)
