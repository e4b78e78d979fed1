#!/usr/bin/env python3
"""churn.py [--seconds N] [--threads N] [--seed N] [--no-faults]

Lets pods live at random in several threads: with host ports and without, with containers that are executed in, stopped and
removed, while an image is pulled and removed; meanwhile the daemon is killed at random moments, now and then a shim, and
steps of both fail. After each restart the lists must say what was acknowledged; in the end all is removed, and nothing may
be left. Needs root, and crictl as tests/clients/make builds it."""
import argparse
import errno
import pathlib
import random
import sys
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import experiment
import namespaces
from lifecycle import CALLS
from lives import Lives
from suite import Skip
from world import World

SKIPPED = 77  # what ctest is told


class Churn:
    def __init__(self, options, world):
        self.options, self.world = options, world
        self.lives = Lives(world, options.seed, errors=not options.no_faults)
        self.steps, self.armed = [], 0
        self.end = None

    def over(self):
        return time.monotonic() > self.end

    # -- threads

    def _rest(self, facts, dice):
        lives = self.lives
        if dice.random() < 0.1:
            return
        lives.create(facts)
        if dice.random() < 0.1:
            return
        lives.start(facts)
        for _ in range(dice.randrange(4)):
            lives.exec(facts)
        if dice.random() < 0.5:
            lives.stop(facts, dice.choice((0, 10)))
        if dice.random() < 0.3:
            lives.remove_container(facts)
        time.sleep(dice.uniform(0, 0.2))

    def _thread(self, number):
        dice = random.Random(f"{self.options.seed} {number}")
        try:
            while not self.over():
                if number == 0 and dice.random() < 0.5:
                    self.lives.pull_and_remove()
                else:
                    port = self.world.host_port() + 100 + number if dice.random() < 0.3 else 0
                    self.lives.live(lambda facts: self._rest(facts, dice), port)
        except Exception:
            self.lives.finding(f"the program: {traceback.format_exc()}")

    # -- what goes wrong

    def _arm(self, dice):
        if not self.steps:
            return
        step = dice.choice(self.steps)
        self.world.points.arm(step, "fail", getattr(errno, dice.choice(experiment.ERRORS)), dice.randrange(20))
        self.armed += 1

    def _trouble(self):
        dice = random.Random(f"{self.options.seed} trouble")
        while not self.over():
            time.sleep(dice.uniform(0.02, 0.3))
            kind = dice.random()
            if kind < 0.2:
                self.lives.kill_daemon()
            elif kind < 0.25:
                self.lives.kill_shim()
            elif not self.options.no_faults:
                self.fired += self.world.points.fired
                self._arm(dice)
        self.world.points.disarm()

    def run(self):
        if not self.options.no_faults:
            self.steps = sorted({step for call in CALLS for step in experiment.trace(self.world, call)})
        self.fired = 0
        self.end = time.monotonic() + self.options.seconds
        threads = [threading.Thread(target=self._thread, args=(i,)) for i in range(self.options.threads)]
        for thread in threads:
            thread.start()
        try:
            self._trouble()
        finally:
            self.end = 0
            for thread in threads:
                thread.join()
        self.lives.kill_daemon()
        self.world.new_daemon = True
        for line in self.world.leftovers(10):
            self.lives.finding(f"in the end: {line}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, metavar="N")
    parser.add_argument("--threads", type=int, default=4, metavar="N")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), metavar="N")
    parser.add_argument("--no-faults", action="store_true", help="no step fails; there are only kills")
    return parser.parse_args()


def main():
    options = parse()
    try:
        namespaces.enter("nft", "skopeo", "docker-registry")
        print(f"seed {options.seed}", flush=True)
        world = World()
    except Skip as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    churn = Churn(options, world)
    try:
        churn.run()
    finally:
        left = world.close()
    lives = churn.lives
    print(f"{lives.lifecycles} pods, {lives.calls} calls, {lives.retries} of them made again; {lives.restarts} kills of the daemon, "
          f"{lives.dead_shims} of shims, {churn.fired} of {churn.armed} failures of steps; {lives.checks} looks")
    for line in left:
        print(f"left at the end: {line}")
    findings = len(lives.findings) + len(left)
    print(f"{lives.lifecycles} passed, {findings} failed")
    return 1 if findings or not lives.lifecycles or not lives.restarts else 0


if __name__ == "__main__":
    sys.exit(main())
