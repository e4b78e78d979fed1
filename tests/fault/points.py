"""The control file of fail points (runtime/base/fault.h): what was passed is read from it, and one step is armed in it."""
import collections
import dataclasses
import mmap
import struct

HEADER, ENTRY = 128, 128
# Offsets in struct Control.
ARMED, SKIP, FIRED, FIRED_PID, TRACING, PASSED, LINE, FILE = 8, 24, 28, 32, 40, 44, 48, 52
ACTIONS = {"fail": 1, "kill": 2, "stop": 3}
PROGRAMS = {"": 0, "berthd": 1, "shim": 2}


@dataclasses.dataclass(frozen=True, order=True)
class Step:
    program: str  # "berthd", or "shim": that and what it forks
    file: str
    line: int
    text: str

    def __str__(self):
        return f"{self.program} {self.file}:{self.line} {self.text}"


class Points:
    """One control file. The daemon that finds it in BERTH_FAULTS, its shims, and what they fork, follow it."""

    def __init__(self, path, room=200_000):
        self.path, self.room = path, room
        with open(path, "wb") as f:
            f.truncate(HEADER + room * ENTRY)
        with open(path, "r+b") as f:
            self._map = mmap.mmap(f.fileno(), 0)
        self._map[:8] = b"BFAULTS1"

    def _get(self, offset, kind="I"):
        return struct.unpack_from(f"<{kind}", self._map, offset)[0]

    def _put(self, offset, value, kind="I"):
        struct.pack_into(f"<{kind}", self._map, offset, value)

    def trace(self):
        """From here on what is passed is noted; what was noted before is dropped."""
        self._put(PASSED, 0)
        self._put(TRACING, 1)

    def traced(self, daemon_pid):
        """Step -> how often it was passed since trace(), in the order of the first time."""
        self._put(TRACING, 0)
        number = self._get(PASSED)
        assert number <= self.room, f"{number} steps were passed, and there is room for {self.room}"
        found = collections.Counter()
        for i in range(number):
            pid, line, file, text = struct.unpack_from("<ii56s64s", self._map, HEADER + i * ENTRY)
            name, words = (part.partition(b"\0")[0].decode("utf-8", "replace") for part in (file, text))
            if line:  # else its process was killed while it wrote it
                found[Step("berthd" if pid == daemon_pid else "shim", name, line, words)] += 1
        return found

    def arm(self, step, action, error_number=0, skip=0):
        """`skip`: how often it is passed before."""
        self.disarm()
        struct.pack_into("<Iii", self._map, 12, ACTIONS[action], error_number, PROGRAMS[step.program])
        struct.pack_into("<iIiI", self._map, SKIP, skip, 0, 0, 0)
        struct.pack_into("<i76s", self._map, LINE, step.line, step.file.encode())
        self._put(ARMED, 1)

    def disarm(self):
        self._put(ARMED, 0)

    @property
    def fired(self):
        return self._get(FIRED)

    @property
    def fired_pid(self):
        """Of the process of the last fault, as it numbers itself."""
        return self._get(FIRED_PID, "i")
