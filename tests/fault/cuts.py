"""Cuts of a disk in use: images are pulled, tagged and removed, and at some instant the disk is what it is then."""
import contextlib
import os
import threading
import time

from calls import GIVEN, Calls
from disk import clone

# Images of one group share layers; each group has a caller of its own.
GROUPS = (("base:1", "base:given", "two:1", "many:1", "many:2"), ("small:1", "other:1", "other:given"))


class Load:
    """Two callers of `node`, each with one call after the other, until a cut was made."""

    def __init__(self, node, registry, history, disk, rng):
        self.calls, self.has_admin = Calls(node, registry, history, time.monotonic), node.has_admin()
        self.registry, self.history, self.disk, self.random = registry, history, disk, rng
        self.tags = set()
        self._group_locks = [threading.Lock() for _ in GROUPS]
        self._lock, self._error = threading.Lock(), None

    def cut(self, target, at_answer):
        """Works until the disk was cut, which makes the file `target`, and then ends what is under way. The cut is made
        when some call has been answered, or after a while. Returns what may be on `target`."""
        self.registry.set_rate(self.random.choice((0, 60, 30, 15)) << 20)
        self._target, self._expected, self._done = target, None, threading.Event()
        # Which answer it is: the first pull or removal of one of the callers.
        self._at = self.random.choice((False, False, False, True)) if at_answer else None
        callers = [threading.Thread(target=self._call_on, args=(number,)) for number in range(len(GROUPS))]
        for caller in callers:
            caller.start()
        if not at_answer:
            self._done.wait(self.random.uniform(0.02, 1.5))
            self._cut()
        for caller in callers:
            caller.join()
        if self._error:
            raise self._error
        return self._expected

    def _cut(self):
        with self._lock:
            if self._done.is_set():
                return
            begin = time.monotonic()
            clone(self.disk, self._target)
            self._expected = self.history.expected(begin, time.monotonic())
            self._done.set()

    def _call_on(self, number):
        try:
            while not self._done.is_set():
                if number == 0 and self.has_admin and self.random.random() < 0.15:
                    with contextlib.ExitStack() as all_groups:
                        for lock in self._group_locks:
                            all_groups.enter_context(lock)
                        self._prune()
                else:
                    with self._group_locks[number]:
                        self._one_call(self.random.choice(GROUPS[number]))
        except Exception as error:
            self._error = error
            self._done.set()

    def _answered(self, removed):
        if self._at is removed:
            self._cut()

    def _one_call(self, name):
        """Removes the image if it has this tag, and gives it the tag if not."""
        if name in self.tags:
            self.calls.remove(name)
            self._answered(True)
            self._change(set(), {n for n, i in self.history.ids.items() if i == self.history.ids[name]})
        elif name not in GIVEN:
            self.calls.pull(name)
            self._answered(False)
            self._change({name}, set())
        elif self.has_admin and GIVEN[name] in self.tags:
            self.calls.tag(name)
            self._answered(False)
            self._change({name}, set())

    def _prune(self):
        self.calls.prune()
        self._answered(True)
        self._change(set(), self.history.ids.keys())

    def _change(self, new, gone):
        with self._lock:
            self.tags = (self.tags | new) - gone


def cut_often(node, registry, history, check, disk, rounds, rng):
    """Yields (what was cut, problems) of every round. Every other cut is made as a call is answered. `check`: the Checker's
    problems()."""
    load = Load(node, registry, history, disk, rng)
    for i in range(rounds):
        target = f"{disk}.cut"
        expected = load.cut(target, at_answer=i % 2 == 0)
        registry.set_rate(0)
        yield ("as a call was answered" if i % 2 == 0 else "at random"), check(target, expected, thorough=i % 5 == 4)
        os.unlink(target)
