"""Whether the looking finds what it looks for: after a call that ended well, something is done that a broken berth might do,
and the experiment has to say so."""
import os
import pathlib
import signal
import subprocess
import time

import experiment
import leaks
from cri import PodConfig
from grpc_client import DEAD, LATE, Answer
from lifecycle import CALLS
from points import Step


def _left_mount(w, s, answer):
    directory = f"{w.daemon.state}/pods/left"
    os.makedirs(directory)
    subprocess.run(["mount", "-t", "tmpfs", "left", directory], check=True)
    w.spoiled = lambda: (subprocess.run(["umount", directory], check=True), os.rmdir(directory))


def _left_cgroup(w, s, answer):
    directory = next(iter(leaks.cgroup_dirs(w.daemon.cgroup_parent))) + "/left"
    os.mkdir(directory)
    w.spoiled = lambda: os.rmdir(directory)


def _left_file(w, s, answer):
    left = pathlib.Path(w.daemon.root, "images/staging/left")
    left.touch()
    w.spoiled = left.unlink


def _left_pod(w, s, answer):
    w.cri.run_pod(PodConfig("left", s.config.log_directory))


def _killed_bystander(w, s, answer):
    os.kill(w.bystander.pid, signal.SIGKILL)
    time.sleep(0.1)


def _killed_shim(w, s, answer):
    os.kill(w.bystander.shim_pid, signal.SIGKILL)
    time.sleep(0.1)


def _lost_line(w, s, answer):
    with open(w.bystander.log, "ab") as f:
        f.write(b"2026-01-01T00:00:00.000000000Z stdout F tick 1000000\n")


def _lost_pod(w, s, answer):
    """Acknowledged, and gone."""
    w.cri.call("RemovePodSandbox", (1, answer.text(1)))


def _failed_and_there(w, s, answer):
    return Answer("Internal", "it failed")


def _wrong_code(w, s, answer):
    return Answer("Unknown", "it failed")


def _no_words(w, s, answer):
    return Answer("Internal", "")


def _no_answer(w, s, answer):
    return Answer(LATE, "not in time")


def _dead_daemon(w, s, answer):
    w.daemon.process.kill()
    return Answer(DEAD, "closed")


# What is done after RunPodSandbox, and a part of what must be said.
SPOILS = {_left_mount: "left: mount", _left_cgroup: "left: cgroup", _left_file: "left: file", _left_pod: "left: row",
          _killed_bystander: "the bystander", _killed_shim: "the bystander", _lost_line: "its log goes from", _lost_pod: "answered",
          _failed_and_there: "nobody was told", _wrong_code: "told as", _no_words: "told as", _no_answer: "not in time",
          _dead_daemon: "the daemon ended"}


def main(world):
    """The exit status."""
    call = next(c for c in CALLS if c.name == "RunPodSandbox")
    step = Step("berthd", "", 0, "")
    failed = 0
    try:
        for spoil, words in SPOILS.items():
            problems = _spoiled(world, call, step, spoil)
            found = any(words in p for p in problems)
            failed += not found
            print(f"{spoil.__name__.strip('_')}: {'found' if found else 'not found'}: {'; '.join(problems)}", flush=True)
            world.renew()
    finally:
        world.close()
    print(f"{len(SPOILS) - failed} passed, {failed} failed")
    return int(failed > 0)


def _spoiled(world, call, step, spoil):
    """What the experiment says of a call that ended well, and after which that was done."""
    subject = world.fresh("pod")
    answer = call.perform(world, subject)
    world.spoiled, world.new_daemon = lambda: None, False
    answer = spoil(world, subject, answer) or answer
    try:
        return list(experiment.after(world, call, subject, step, "EIO", answer))
    finally:
        world.spoiled()
