#!/usr/bin/env python3
"""steps.py [--call REGEX] [--file REGEX] [--faults LIST] [--short | --sample N] [--seed N] [--jobs N] [--list] [-o json] [--markdown]
                [--spoil]

Makes every call of the CRI's lifecycle while one step of it fails with an errno, or kills or stops its process, for each
step that the call passes, in the daemon and in the pod's shim; and starts the daemon so. After each the world is looked
at: what was answered holds, what failed left nothing, the call works when made again, other pods were not touched, and
when the pod is removed, all is as before. docs/design/0043-fault-harness.md has the rest.

--call       only the calls whose name matches; --file: only the steps of files that match
--faults     of kill, stop, ENOSPC, EIO, ENOMEM, EMFILE, EINTR; separated by commas; without it, all. A process is stopped only
             in the shim, at the first step of each file
--sample     so many of all experiments; --short: as many as a minute takes
--list       prints the steps that were passed, and how often, and does nothing else
-o json      prints the results as one JSON document; --markdown: writes docs/fault-table.md
--spoil      after the call, something is done that a broken berth might do; the run passes if each is found
Needs root, and crictl as tests/clients/make builds it."""
import argparse
import collections
import dataclasses
import multiprocessing
import os
import pathlib
import random
import re
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import experiment
import known
import namespaces
import spoil
import table
from daemon import TOP
from lifecycle import CALLS
from points import Step
from suite import Skip
from world import World

SKIPPED = 77  # what ctest is told
START = "start of the daemon"
FAULTS = (*experiment.ERRORS, "kill", "stop")
SHORT = 150  # experiments that a minute has room for, on two processors
CALL = {c.name: c for c in CALLS}


@dataclasses.dataclass(frozen=True, order=True)
class Task:
    call: str
    step: Step
    fault: str
    skip: int


def plan(traces, faults):
    """All tasks; those that need a new daemon come last, for it takes longer."""
    tasks = []
    for call, steps in traces.items():
        stops = {step.file: step for step in reversed(steps) if step.program == "shim" and call != START}
        for step, passed in steps.items():
            for fault in faults if not step.file.startswith(experiment.PURE) else ():
                if fault != "stop":
                    tasks += [Task(call, step, fault, skip) for skip in sorted({0, passed // 2, passed - 1})]
                elif stops.get(step.file) == step:
                    tasks.append(Task(call, step, fault, 0))
    return sorted(tasks, key=lambda t: (t.call == START, t.fault == "stop", t.fault == "kill"))


def traces_of(world, wanted):
    found = {name: experiment.trace(world, call) for name, call in CALL.items() if wanted(name)}
    if wanted(START):
        found[START] = experiment.trace_start(world)
    return found


def perform(world, task):
    if task.call == START:
        return experiment.run_start(world, task.step, task.fault, task.skip)
    return experiment.run(world, CALL[task.call], task.step, task.fault, task.skip)


def _renewed(world):
    """One in which all is well again: another one, if this cannot be mended."""
    try:
        world.renew()
        return world
    except (AssertionError, OSError):
        world.close()
        return World(world.number)


def worker(number, inbox, outbox, wanted):
    """Takes tasks until there is a None. `wanted`: the calls that it has to trace before, or None."""
    world = None
    try:
        world = World(number)
        if wanted:
            outbox.put(("traces", traces_of(world, re.compile(wanted).search)))
        while (task := inbox.get()) is not None:
            try:
                result = perform(world, task)
            except (AssertionError, OSError) as error:
                result = experiment.Result("finding", "", (f"the experiment broke off: {error}",))
            if result.outcome in ("finding", "renew"):
                world = _renewed(world)
                result.outcome = "ok" if result.outcome == "renew" else result.outcome
            outbox.put(("result", task, result))
        outbox.put(("end", number))
    except Skip as reason:
        outbox.put(("skip", str(reason)))
    except Exception:
        outbox.put(("broken", traceback.format_exc() + (world.daemon.log_tail() if world else "")))
    finally:
        if world:
            world.close()


class Run:
    def __init__(self, options):
        self.options = options
        self.context = multiprocessing.get_context("fork")
        self.inbox, self.outbox, self.workers = self.context.Queue(), self.context.Queue(), []
        self.results, self.began = [], time.monotonic()

    def _start(self, wanted=None):
        process = self.context.Process(target=worker, args=(len(self.workers), self.inbox, self.outbox, wanted))
        process.start()
        self.workers.append(process)

    def _next(self, kind):
        """The next message, which must be of that kind or a result."""
        while True:
            message = self.outbox.get(timeout=300)
            if message[0] == "skip":
                raise Skip(message[1])
            if message[0] == "broken":
                raise RuntimeError(message[1])
            if message[0] == kind:
                return message
            self._take(*message[1:])

    def _take(self, task, result):
        self.results.append((task, result))
        if result.outcome == "finding" and (why := known.reason(task.call, result.problems)):
            result.outcome = "known"
            result.answer = why
        if result.outcome == "finding":
            print(f"finding: {describe(task)}\n  " + "\n  ".join([f"answered {result.answer}", *result.problems]), flush=True)
        if len(self.results) % 100 == 0:
            self.progress()

    def progress(self):
        counts = collections.Counter(r.outcome for _, r in self.results)
        print(f"    {len(self.results)} of {self.total} after {time.monotonic() - self.began:.0f} s: "
              f"{', '.join(f'{n} {o}' for o, n in sorted(counts.items()))}", file=sys.stderr, flush=True)

    def traces(self):
        self._start(self.options.call)
        self.found = self._next("traces")[1]
        return {call: {s: n for s, n in steps.items() if re.search(self.options.file, s.file)} for call, steps in self.found.items()}

    def perform(self, tasks):
        self.total = len(tasks)
        for task in tasks:
            self.inbox.put(task)
        while len(self.workers) < self.options.jobs:
            self._start()
        self.finish()

    def finish(self):
        for _ in self.workers:
            self.inbox.put(None)
        for _ in self.workers:
            self._next("end")
        for process in self.workers:
            process.join()


def describe(task):
    return f"{task.call}: {task.fault} at {task.step}" + (f", pass {task.skip + 1}" if task.skip else "")


def list_steps(traces):
    for call, steps in traces.items():
        print(f"{call}: {len(steps)} steps")
        for step, passed in steps.items():
            print(f"  {passed:4} {step}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--call", default=".", metavar="REGEX")
    parser.add_argument("--file", default=".", metavar="REGEX")
    parser.add_argument("--faults", metavar="LIST")
    parser.add_argument("--sample", type=int, metavar="N")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), metavar="N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("-o", choices=["json", "table"], default="table", dest="output")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--spoil", action="store_true")
    options = parser.parse_args()
    options.faults = options.faults.split(",") if options.faults else FAULTS
    if unknown := set(options.faults) - set(FAULTS):
        parser.error(f"--faults: no such fault: {', '.join(sorted(unknown))}")
    return options


def main():
    options = parse()
    try:
        namespaces.enter("nft", "skopeo", "docker-registry")
        if options.spoil:
            return spoil.main(World())
        print(f"seed {options.seed}", file=sys.stderr if options.output == "json" else sys.stdout, flush=True)
        run = Run(options)
        traces = run.traces()
        if options.list:
            list_steps(traces)
            run.finish()
            return 0
        tasks = plan(traces, options.faults)
        if sample := options.sample or (SHORT if options.short else None):
            chosen = set(random.Random(options.seed).sample(range(len(tasks)), min(sample, len(tasks))))
            tasks = [t for i, t in enumerate(tasks) if i in chosen]
        run.perform(tasks)
        run.progress()
        return table.report(options, run.results, TOP)
    except Skip as reason:
        print(f"skipped: {reason}")
        return SKIPPED


if __name__ == "__main__":
    sys.exit(main())
