"""What was asked of an image store and when it was answered, and what a cut may therefore leave. "When" is any number that
grows: a time, or a position in a log of writes."""
import dataclasses
import math
import threading


@dataclasses.dataclass
class Call:
    remove: bool
    name: str       # PATH:TAG
    begin: float
    end: float = math.inf  # of one that was not answered


@dataclasses.dataclass
class Expected:
    """The tags of one image: those that must be there, and those that may. Without tags the image is not there."""
    must: set
    may: set


class History:
    """Calls that concern one image come one after the other; others may be under way at the same time."""

    def __init__(self, ids):
        self.ids = ids  # PATH:TAG -> image id
        self._calls, self._lock = [], threading.Lock()

    def begin(self, remove, name, when):
        with self._lock:
            self._calls.append(Call(remove, name, when))
            return self._calls[-1]

    def expected(self, begin, end):
        """Image id -> Expected, for a cut that was made at some point from `begin` to `end`."""
        with self._lock:
            calls = list(self._calls)
        out = {i: Expected(set(), set()) for i in self.ids.values()}
        for call in calls:
            image = out[self.ids[call.name]]
            answered, begun = call.end <= begin, call.begin <= end
            if not begun:
                continue
            if not call.remove:
                image.may.add(call.name)
                if answered:
                    image.must.add(call.name)
            else:
                image.must.clear()
                if answered:
                    image.may.clear()
        return out
