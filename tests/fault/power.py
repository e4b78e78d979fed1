#!/usr/bin/env python3
"""power.py [--rounds N] [--prefixes N] [--layers FORMAT] [--peer containerd] [--no-sync all|layers]
                [--spoil] [--seed N]

Cuts the power of a disk on which images are pulled, tagged, removed and pruned, and looks at what is left: a daemon must start on
it, each image whose pull was answered must be there with all its files right, each whose removal was answered must not,
and nothing half done may stay. Two ways: cuts of a disk in use, at the instant at which a call is answered or at any
(--rounds), and disks made of the first writes of a recorded run, of which those since the last flush may be missing
(--prefixes). docs/design/0033-power-cuts.md has the rest.

--layers     what the configuration's image.layers is set to; without it, the default
--peer       cuts Debian's containerd instead: what it loses is counted, and is no failure
--no-sync    the daemon's syncs do nothing, all or those of layers: the run passes if the cuts show it
--spoil      a page of a layer is zeroed on every disk before it is looked at: the run passes if the looking shows it
Needs root and programs: losetup, mkfs.xfs, mkfs.ext4, unshare, ip, and crictl as tests/clients/make builds it."""
import argparse
import functools
import os
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import disk
import images
import namespaces
from calls import GIVEN
from checks import Checker
from cuts import cut_often
from daemon import BIN
from disk import attached
from history import History
from node import Node
from peer import Containerd
from prefixes import cut_prefixes
from suite import Skip

SKIPPED = 77  # what ctest is told


class Tally:
    """Counts whole and torn disks of one way to cut, and says what is wrong with a torn one."""

    def __init__(self, what):
        self.what, self.whole, self.torn, self.kinds = what, 0, 0, {}

    def take(self, results):
        for how, problems in results:
            self.kinds[how] = self.kinds.get(how, 0) + 1
            if problems:
                self.torn += 1
                print(f"torn: {self.what} {self.whole + self.torn} ({how}):\n  " + "\n  ".join(problems[:6]), flush=True)
            else:
                self.whole += 1
            if (self.whole + self.torn) % 20 == 0:
                print(f"    {self.whole + self.torn} {self.what}", file=sys.stderr, flush=True)
        return self

    def __str__(self):
        kinds = ", ".join(f"{n} {how}" for how, n in sorted(self.kinds.items()))
        return f"{self.whole + self.torn} {self.what}: {self.whole} whole, {self.torn} torn ({kinds})"


class Run:
    def __init__(self, options, top):
        self.options, self.top, self.random = options, top, random.Random(options.seed)
        self.registry = images.SlowRegistry(images.make_images())
        self.ids = {name: image.id for name, image in self.registry.server.images.items()}
        self.whole = self._whole()
        for name, image in GIVEN.items():
            self.ids[name], self.whole[name] = self.ids[image], self.whole[image]
        self.checker = Checker(self.registry, self._node, self.whole)
        self.check = functools.partial(self.checker.problems, spoil=options.spoil)

    def _node(self, root, environment=None):
        os.makedirs(root, exist_ok=True)
        if self.options.peer:
            return Containerd(root)
        return Node(root, f'[image]\nlayers = "{self.options.layers}"\n' if self.options.layers else "", environment)

    def _victim(self, root):
        """The daemon whose disk is cut."""
        broken = {"LD_PRELOAD": str(BIN / "no_sync.so"), "BERTH_NO_SYNC": self.options.no_sync} if self.options.no_sync else None
        return self._node(root, broken)

    def _whole(self):
        """What the images are like where the power stays."""
        with attached(disk.new_disk(f"{self.top}/calm"), f"{self.top}/calm.live") as directory:
            node = self._node(f"{directory}/root")
            try:
                node.start()
                for name in self.ids:
                    node.pull(self.registry.ref(name))
                trees = node.trees([self.registry.ref(name) for name in self.ids])
            finally:
                node.stop()
        assert all(len(tree) > 5 for tree in trees.values()), "the images are not what they were made to be"
        return {name: trees[self.registry.ref(name)] for name in self.ids}

    def cuts(self):
        with attached(disk.new_disk(f"{self.top}/disk"), f"{self.top}/live", direct=True) as directory:
            node = self._victim(f"{directory}/root")
            try:
                node.start()
                results = cut_often(node, self.registry, History(self.ids), self.check, f"{self.top}/disk", self.options.rounds, self.random)
                return Tally("cuts").take(results)
            finally:
                node.stop()

    def prefixes(self):
        base = disk.new_disk(f"{self.top}/base")
        return Tally("prefixes of the writes").take(
            cut_prefixes(base, self._victim, self.registry, History(self.ids), self.check, self.options.prefixes, self.random))


def report(options, tallies, checker):
    """Whether it is as it should be; what is printed last says so in figures."""
    for tally in tallies:
        print(tally)
    print(f"compared: {checker.files} files of {checker.images} images")
    whole, torn = sum(t.whole for t in tallies), sum(t.torn for t in tallies)
    if options.peer:
        print(f"{options.peer}: {torn} of {whole + torn} cuts lost files")
        return True
    broken = {"all": "without any sync", "layers": "without syncs of layers"}.get(options.no_sync, "with spoilt layers")
    if options.no_sync or options.spoil:
        print(f"{broken}: {'the cuts show it' if torn else 'the cuts do not show it, so they show nothing'}")
        print(f"{int(torn > 0)} passed, {int(torn == 0)} failed")
        return torn > 0
    if checker.files == 0:
        print("no file was compared, so nothing is known")
    print(f"{whole} passed, {torn + int(checker.files == 0)} failed")
    return torn == 0 and checker.files > 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, metavar="N")
    parser.add_argument("--prefixes", type=int, default=120, metavar="N")
    parser.add_argument("--layers", metavar="FORMAT")
    parser.add_argument("--peer", choices=["containerd"])
    parser.add_argument("--no-sync", choices=["all", "layers"])
    parser.add_argument("--spoil", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), metavar="N")
    options = parser.parse_args()
    if options.peer and (options.no_sync or options.spoil):
        parser.error("--no-sync and --spoil are for berth")
    return options


def main():
    options = parse()
    try:
        namespaces.enter("losetup", "mkfs.xfs", "mkfs.ext4", "curl")
        print(f"seed {options.seed}", flush=True)
        with disk.stage() as top:
            run = Run(options, top)
            tallies = [run.cuts()] if options.rounds else []
            try:
                tallies += [run.prefixes()] if options.prefixes else []
            except Skip as reason:
                if not tallies:
                    raise
                print(f"without prefixes of the writes: {reason}")
        return 0 if report(options, tallies, run.checker) else 1
    except Skip as reason:
        print(f"skipped: {reason}")
        return SKIPPED


if __name__ == "__main__":
    sys.exit(main())
