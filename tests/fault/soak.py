#!/usr/bin/env python3
"""soak.py [--pods N] [--at-once N] [--kill-every N] [--calm N] [--seed N]

Lets N pods live: run, create, start, exec, stop, remove, several at once, on a daemon that is killed now and then. Then it
must have as much as it began with: descriptors, threads, mounts, network namespaces, cgroups, processes, files, and within
five per cent the resident memory, of the daemon and of the shim of a pod that was there all the time. Memory is compared
between daemons that did as much: one that had served the first pods, and one that served as many after all others; and
between two moments of one daemon that served the last pods alone.

--pods        in all (10000)
--at-once     how many live at a time (4)
--kill-every  the daemon is killed once in so many pods, on average (100)
--calm        how many of the last pods are served by one daemon (a quarter of all)
Ctrl-C ends it with what there is by then. Needs root, and crictl as tests/clients/make builds it."""
import argparse
import concurrent.futures
import os
import pathlib
import random
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import leaks
import namespaces
from lives import Lives
from suite import Skip
from world import World

SKIPPED = 77  # what ctest is told
MEMORY_MAY_GROW = 1.05
QUIET = 60  # seconds within which all comes to rest
EQUAL = ("descriptors", "threads", "mounts", "netns", "cgroups", "processes", "files")


def resident(pid):
    """KiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no memory")


def tree_size(*tops):
    return sum(len(files) + len(directories) for top in tops for _, directories, files in os.walk(top))


class Figures:
    """What the daemon and its pods have at one moment."""

    def __init__(self, world):
        daemon = world.daemon
        self.values = {
            "descriptors": leaks.descriptor_count(daemon.pid),
            "threads": len(os.listdir(f"/proc/{daemon.pid}/task")),
            "mounts": len(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()),
            "netns": len(os.listdir(f"{daemon.state}/netns")),
            "cgroups": len(list(leaks.cgroup_dirs(daemon.cgroup_parent))),
            # But the sleeps of those that tick: they are there at one look and not at the next.
            "processes": sum(name != "sleep" for _, name in leaks.processes_in(daemon.cgroup_parent)),
            "files": tree_size(daemon.root, daemon.state),
            "daemon KiB": resident(daemon.pid),
            "shim KiB": resident(world.bystander.shim_pid),
        }

    def grown(self, before):
        """What there is more of than before."""
        for name in EQUAL:
            if self.values[name] > before.values[name]:
                yield f"{name}: {before.values[name]}, then {self.values[name]}"
        for name in ("daemon KiB", "shim KiB"):
            if self.values[name] > before.values[name] * MEMORY_MAY_GROW:
                yield f"{name}: {before.values[name]}, then {self.values[name]}"

    def __str__(self):
        return ", ".join(f"{n} {k}" for k, n in self.values.items())


class Soak:
    def __init__(self, options, world):
        self.options, self.world = options, world
        self.lives = Lives(world, options.seed)
        self.random = random.Random(options.seed)
        self.began, self.ending, self.said = time.monotonic(), threading.Event(), 0

    # -- lives

    def _live(self, number):
        if not self.ending.is_set():
            self.lives.live(lambda facts: self._rest(facts, number))

    def _rest(self, facts, number):
        lives = self.lives
        lives.create(facts)
        lives.start(facts)
        lives.exec(facts)
        if number % 2:
            lives.stop(facts, number % 4 // 2 * 10)

    def _progress(self):
        lives, seconds = self.lives, time.monotonic() - self.began
        if seconds > self.said + 10:
            self.said = seconds
            print(f"    {lives.lifecycles} pods in {seconds:.0f} s, {lives.restarts} kills, {lives.retries} calls made again, "
                  f"{len(lives.findings)} findings", file=sys.stderr, flush=True)

    def run(self, number, kills):
        """So many lives; `kills`: of the daemon, at random moments meanwhile."""
        with concurrent.futures.ThreadPoolExecutor(self.options.at_once) as pool:
            before, due = self.lives.lifecycles, sorted(self.random.randrange(number) for _ in range(kills))
            futures = [pool.submit(self._live, i) for i in range(number)]
            try:
                while not all(f.done() for f in futures):
                    self._progress()
                    if due and self.lives.lifecycles - before >= due[0] and not self.ending.is_set():
                        due.pop(0)
                        self.lives.kill_daemon()
                    time.sleep(self.random.uniform(0.01, 0.05))
            except BaseException:
                self.ending.set()
                raise
            for future in futures:
                future.result()

    # -- figures

    def at_rest(self, what, before=None):
        """The figures when nothing is under way any more; what takes time to go, as idle threads, gets it."""
        left = self.world.leftovers()
        for line in left:
            self.lives.finding(f"{what}: {line}")
        end = time.monotonic() + QUIET
        while True:
            now = Figures(self.world)
            grown = list(now.grown(before)) if before else []
            if not grown or time.monotonic() > end:
                break
            time.sleep(1)
        print(f"{what}: {now}", flush=True)
        for line in grown:
            self.lives.finding(f"{what}: {line}")
        return now

    def all(self):
        options, lives = self.options, self.lives
        first = min(200, options.pods // 4)
        calm = max(options.calm if options.calm is not None else options.pods // 4, 2 * first)
        middle = max(options.pods - calm - first, 0)
        self.world.restart()
        self.world.new_daemon = True
        self.run(first, 0)
        start = self.at_rest(f"a daemon after {first} pods")
        self.run(middle, middle // options.kill_every)
        lives.kill_daemon()
        self.run(first, 0)
        later = self.at_rest(f"one after {first} pods, {lives.lifecycles} in all", start)
        self.run(calm - first, 0)
        self.at_rest(f"the same one after {calm} pods, {lives.lifecycles} in all", later)
        lives.check()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=10000, metavar="N")
    parser.add_argument("--at-once", type=int, default=4, metavar="N")
    parser.add_argument("--kill-every", type=int, default=100, metavar="N")
    parser.add_argument("--calm", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), metavar="N")
    return parser.parse_args()


def main():
    options = parse()
    try:
        namespaces.enter("nft", "skopeo", "docker-registry")
        print(f"seed {options.seed}", flush=True)
        world = World(with_points=False)
    except Skip as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    soak = Soak(options, world)
    try:
        soak.all()
    except KeyboardInterrupt:
        print("ended before all was done", flush=True)
    finally:
        left = world.close()
    lives, seconds = soak.lives, time.monotonic() - soak.began
    print(f"{lives.lifecycles} pods in {seconds:.0f} s, {lives.lifecycles / seconds:.1f} in a second; {lives.calls} calls, {lives.retries} of them "
          f"made again; {lives.restarts} kills of the daemon, {lives.checks} looks")
    for line in left:
        print(f"left at the end: {line}")
    findings = len(lives.findings) + len(left)
    print(f"{lives.lifecycles} passed, {findings} failed")
    return 1 if findings or lives.lifecycles < options.pods else 0


if __name__ == "__main__":
    sys.exit(main())
