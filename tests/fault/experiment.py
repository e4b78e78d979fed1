"""One experiment: a call is made while one step of it fails, or kills or stops its process, and the world is looked at."""
import dataclasses
import errno
import os
import re
import signal
import time

import grpc_client
import leaks
from cri import EXITED, NOTREADY, READY
from lifecycle import End
from rpc import message
from suite import wait_for
from world import alive, shortened

ERRORS = ("ENOSPC", "EIO", "ENOMEM", "EMFILE", "EINTR")
# What a fault of the machine is never: the caller's mistake, or a thing that nobody has thought of.
WRONG_CODES = ("Unknown", "Unimplemented", "InvalidArgument", "NotFound", "AlreadyExists", "OutOfRange", "Unauthenticated")
# Functions of their arguments alone, which no fault of the machine makes fail, and whose errors are the caller's mistakes.
PURE = ("image/reference/", "image/content/digest.cc")
# What goes wrong with the connection to a shim is to its pod what the shim's death is.
CONNECTION = ("runtime/shim/connection.cc", "runtime/client/shim_connection.cc")
# The kubelet knows these by the beginning of the words, whatever the code.
CLASSES = ("RegistryUnavailable: ", "SignatureValidationFailed: ")
IMAGE = re.compile("row of images.db|/images/")
SETTLES = 0.05  # how long a step that is passed after the answer may take
STOPPED_SECONDS = 3  # how long a caller waits for a process that is stopped
START_SECONDS = 30
LOST_SECONDS = 1


@dataclasses.dataclass
class Result:
    outcome: str  # "ok", "finding", or "missed": the step was not passed this time; "known": a finding that is
    answer: str = ""  # what was answered; of a known finding, why it is so
    problems: tuple = ()
    ms: int = 0


def trace(world, call):
    """The steps of the call, and how often each is passed."""
    subject = _prepared(world, call)
    world.points.trace()
    answer = call.perform(world, subject)
    time.sleep(SETTLES)
    steps = world.points.traced(world.daemon.pid)
    assert answer.ok, f"{call.name}: {answer}"
    problems = [*call.judge(world, subject, End(answer)), *_cleaned(world, call, subject), *world.leftovers()]
    assert not problems, f"without a fault: {problems}"
    return steps


def trace_start(world):
    world.daemon.kill()
    world.points.trace()
    world.daemon.start()
    time.sleep(SETTLES)
    return world.points.traced(world.daemon.pid)


def _prepared(world, call):
    if call.stage is None:
        subject = world.standing
    else:
        subject = world.fresh("pod", world.host_port() if call.host_port else 0).made(call.stage)
    call.prepare(world, subject)
    return subject


def _cleaned(world, call, subject):
    if call.stage is None:
        return
    # What is there without having been told is removed too, so that the next experiment finds none of it.
    mine = [i for i, (name, _) in world.cri.pods().items() if name == subject.name]
    subject.pod_id = subject.pod_id or (mine[0] if mine else None)
    yield from subject.removed()


def run(world, call, step, fault, skip):
    """`fault`: "kill", "stop", or the name of an errno."""
    began = time.monotonic()
    subject = _prepared(world, call)
    _arm(world, step, fault, skip)
    answer = call.perform(world, subject) if fault != "stop" else _bounded(world, call, subject)
    fired = _settled(world)
    world.points.disarm()
    problems = list(after(world, call, subject, step, fault, answer)) if fired else list(_cleaned(world, call, subject))
    outcome = "finding" if problems else "ok" if fired else "missed"
    return Result(outcome, str(answer), tuple(shortened(p) for p in problems), _ms(began))


def _arm(world, step, fault, skip):
    world.new_daemon = False
    if fault in ("kill", "stop"):
        world.points.arm(step, fault, skip=skip)
    else:
        world.points.arm(step, "fail", getattr(errno, fault), skip)


def _bounded(world, call, subject):
    usual, world.cri.seconds = world.cri.seconds, STOPPED_SECONDS
    try:
        return call.perform(world, subject)
    finally:
        world.cri.seconds = usual


def _settled(world):
    end = time.monotonic() + SETTLES
    while not world.points.fired and time.monotonic() < end:
        time.sleep(0.005)
    return world.points.fired > 0


def after(world, call, subject, step, fault, answer):
    end = End(answer, signalled=fault in ("kill", "stop"), in_shim=step.program == "shim")
    if fault == "stop":
        yield from _continued(world, end)
    yield from _daemon_lives(world, step, fault, end)
    yield from _sane(answer, end)
    end.dead_shim = bool(subject.shim_pid) and _is_lost(world, subject, step, fault)
    try:
        yield from _dead_pod(world, subject) if end.dead_shim else call.judge(world, subject, end)
        yield from _cleaned(world, call, subject)
        if end.dead_shim and subject is world.standing:
            yield from world.renew_standing()
        yield from _untouched(world)
        yield from world.leftovers()
    except AssertionError as problem:
        yield str(problem)


def _is_lost(world, subject, step, fault):
    """Whether that fault has cost the subject's pod its shim, as it may."""
    if fault == "kill":
        return not _alive_soon(subject.shim_pid)
    if step.file not in CONNECTION:
        return False
    # The daemon tries to connect once more before it says so.
    end = time.monotonic() + LOST_SECONDS
    while (ready := world.cri.pods().get(subject.pod_id, ("", READY))[1] == READY) and time.monotonic() < end:
        time.sleep(0.05)
    return not ready


def _alive_soon(pid):
    """A process that kills itself takes a moment to be gone."""
    time.sleep(0.01)
    return alive(pid)


def _continued(world, end):
    """The others are served while one is stopped; then it goes on."""
    try:
        yield from (f"while a process is stopped, the bystander: {p}" for p in world.bystander.problems())
    finally:
        for pid, _ in [*leaks.processes_in(world.daemon.cgroup_parent), (world.daemon.pid, "")]:
            os.kill(pid, signal.SIGCONT)
    end.unanswered = True
    time.sleep(0.5)


def _daemon_lives(world, step, fault, end):
    if end.answer.code == grpc_client.DEAD or fault == "kill" and step.program == "berthd":
        try:
            wait_for("the daemon ends", lambda: world.daemon.dead, 2, 0.005)
        except AssertionError:
            if end.answer.code == grpc_client.DEAD:
                yield f"the connection ended ({end.answer.words}), and the daemon lives"
    if not world.daemon.dead:
        return
    if fault != "kill" or step.program != "berthd":
        yield f"the daemon ended with {world.daemon.process.returncode}"
    end.unanswered = end.unanswered or end.answer.code == grpc_client.DEAD
    world.new_daemon = True
    world.daemon.process.wait()
    world.daemon.start()


def _sane(answer, end):
    if answer.ok or end.unanswered:
        return
    if answer.code == grpc_client.LATE:
        yield answer.words
    elif (answer.code in WRONG_CODES and not answer.words.startswith(CLASSES)) or not answer.words:
        yield f"told as {answer}"


def _dead_pod(world, subject):
    """Its shim was killed: it and its containers are said to be dead."""
    def told():
        pod, containers = world.cri.pods().get(subject.pod_id), world.cri.containers()
        states = [state for _, pod_id, state in containers.values() if pod_id == subject.pod_id]
        return (pod is None or pod[1] == NOTREADY) and all(state == EXITED for state in states)
    try:
        wait_for("the pod without its shim is not ready, and its containers have exited", told, 5)
        wait_for("its processes end", lambda: not alive(subject.pid), 5)
    except AssertionError as problem:
        yield str(problem)


def _untouched(world):
    yield from (f"the bystander: {p}" for p in world.bystander.problems())
    yield from (f"the standing pod: {p}" for p in world.standing.problems())


def run_start(world, step, fault, skip):
    """The same for the start of the daemon on what is there."""
    began = time.monotonic()
    world.daemon.kill()
    _arm(world, step, fault, skip)
    world.new_daemon = True
    problems, words = [], "serves"
    world.daemon.spawn()
    try:
        wait_for(f"the daemon neither serves nor ends in {START_SECONDS} s", lambda: world.daemon.dead or world.daemon.serves(), START_SECONDS, 0.01)
    except AssertionError as problem:
        problems.append(str(problem))
        world.daemon.kill()
    fired = _settled(world)
    world.points.disarm()
    if world.daemon.dead:
        words = f"ended with {world.daemon.process.returncode if world.daemon.process else 'a kill'}"
        if fault != "kill" and not world.daemon.log_tail(1).strip():
            problems.append(f"it {words} without a word")
        world.daemon.start()
    for one in (world.bystander, world.standing):
        if _is_lost(world, one, step, fault):
            problems += _dead_pod(world, one)
            return Result("finding" if problems else "renew", words, tuple(problems), _ms(began))
    try:
        problems += [*_untouched(world), *_healed(world)]
    except AssertionError as problem:
        problems.append(str(problem))
    outcome = "finding" if problems else "ok" if fired else "missed"
    return Result(outcome, words, tuple(problems), _ms(began))


def _healed(world):
    """What one start cannot remove the next one does. An image that cannot be read when the daemon starts is given up; it can be
    pulled again, and then all is as it was."""
    left = world.leftovers()
    if any(line.startswith("left: ") for line in left):
        world.restart()
        left = world.leftovers()
    if left and all(line.startswith("missing: ") and IMAGE.search(line) for line in left):
        world.cri.must("PullImage", (1, message((1, world.busybox))))
        left = world.leftovers()
    return left


def _ms(began):
    return int((time.monotonic() - began) * 1000)
