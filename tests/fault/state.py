#!/usr/bin/env python3
"""state.py [--changes N] [--prefixes N] [--spoil | --salvage] [--seed N]

Cuts the power of a disk on which state.db is changed, and looks at what is left: a store must open on it, report no damage, and
hold the records as they were after some number of the changes. The disks are made of the first writes of a recorded run, of
which those since the last flush may be missing (docs/design/0041-state-on-bad-disks.md).

--changes    of records in the recorded run
--prefixes   disks that are made and looked at
--salvage    the power goes while a database that was damaged is mended, all of whose records can be read: none may be lost
--spoil      a page of the database is zeroed on every disk before it is looked at: the run passes if the looking shows it
Needs root and programs: losetup, mkfs.xfs, mkfs.ext4, unshare, ip."""
import argparse
import os
import pathlib
import random
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import disk
import namespaces
from daemon import BIN
from disk import attached
from power import SKIPPED, Tally
from prefixes import Rebuilder, RecordedDisk, read_log
from suite import Skip

STORY = BIN / "state_story"
PAGE = 4096


def story(verb, directory, options):
    return subprocess.run([STORY, verb, f"{directory}/state.db", str(options.seed), str(options.changes)], capture_output=True,
                          text=True, check=False)


def damage(base, options):
    """Makes the story's end the disk's beginning, and zeroes the first page of the database."""
    with attached(base, f"{base}.made") as directory:
        done = story("write", directory, options)
        assert done.returncode == 0, done.stdout[-200:] + done.stderr
        with open(f"{directory}/state.db", "r+b") as f:
            f.write(bytes(PAGE))


def record(base, options):
    """The log of a disk that begins as `base`, on which the story happens, or what the story left is mended."""
    backing = f"{base}.backing"
    disk.clone(base, backing)
    with RecordedDisk(backing) as recorded, attached(recorded.disk, f"{base}.live", direct=True) as directory:
        done = story("salvage" if options.salvage else "write", directory, options)
        assert done.returncode == 0, done.stdout[-200:] + done.stderr
        assert done.stdout.splitlines()[-1] == str(options.changes)
    return read_log(recorded.log)


def spoil(directory):
    """Zeroes a page in the middle of the database, if it has that many."""
    path = f"{directory}/state.db"
    pages = os.path.getsize(path) // PAGE if os.path.exists(path) else 0
    if pages > 4:
        with open(path, "r+b") as f:
            f.seek(pages // 2 * PAGE)
            f.write(bytes(PAGE))


def look(target, options, counts):
    with attached(target, f"{target}.look") as directory:
        if options.spoil:
            spoil(directory)
        done = story("salvage" if options.salvage else "check", directory, options)
    if done.returncode != 0:
        return [(done.stdout + done.stderr).strip()]
    counts.append(int(done.stdout))
    return []


def cut(base, options, rng, counts):
    """Yields (what the disk is made of, problems) of each disk."""
    if options.salvage:
        damage(base, options)
    records = record(base, options)
    # Many at the beginning, where the database is made.
    early = min(len(records), 60)
    stops = sorted([rng.randint(1, early) for _ in range(options.prefixes // 4)] +
                   [rng.randint(1, len(records)) for _ in range(options.prefixes - options.prefixes // 4)])
    rebuilder = Rebuilder(base, records, os.path.dirname(base), rng)
    for stop in stops:
        target = f"{base}.prefix"
        pending, how = rebuilder.build(stop, target)
        problems = look(target, options, counts)
        if problems:
            problems.append(f"{stop} of {len(records)} writes and flushes, {pending} of them since a flush: {how}")
        yield ("with some lost" if pending and how != "all there" else "with none lost"), problems
        os.unlink(target)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=3000, metavar="N")
    parser.add_argument("--prefixes", type=int, default=200, metavar="N")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--spoil", action="store_true")
    how.add_argument("--salvage", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), metavar="N")
    return parser.parse_args()


def main():
    options = parse()
    try:
        namespaces.enter("losetup", "mkfs.xfs", "mkfs.ext4")
        print(f"seed {options.seed}", flush=True)
        counts = []
        with disk.stage() as top:
            base = disk.new_disk(f"{top}/base")
            tally = Tally("prefixes of the writes").take(cut(base, options, random.Random(options.seed), counts))
        print(tally)
        print(f"found: {', '.join(str(n) for n in sorted(set(counts))[::max(1, len(set(counts)) // 12)])} of {options.changes} changes")
        if options.spoil:
            print(f"with a spoilt page: {'the looking shows it' if tally.torn else 'nothing shows it, so the looking is worth nothing'}")
            return 0 if tally.torn else 1
        known = options.salvage or len(set(counts)) > options.prefixes // 10
        if not known:
            print("nearly all disks were alike, so nothing is known")
        print(f"{tally.whole} passed, {tally.torn + int(not known)} failed")
        return 0 if tally.torn == 0 and known else 1
    except Skip as reason:
        print(f"skipped: {reason}")
        return SKIPPED


if __name__ == "__main__":
    sys.exit(main())
