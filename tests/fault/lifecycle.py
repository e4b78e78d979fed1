"""The calls of the CRI's lifecycle: what each needs, how it is made, and what must hold after it, however it ended.

judge(world, subject, end) yields what is wrong. It goes by what was acknowledged: what a call answered with OK is so; of
one that failed nothing is left, or it can be told; one that was never answered did all or nothing. Then the call is made
again, and must work."""
import dataclasses
import os
import typing

import cgroups
from cri import CREATED, EXITED, NOTREADY, READY, RUNNING
from rpc import message
from suite import wait_for
from world import alive


@dataclasses.dataclass
class End:
    """How a call ended that was made with a fault."""
    answer: object
    unanswered: bool = False  # the daemon was killed, or the caller did not wait
    dead_shim: bool = False   # that of the subject's pod, which was there before
    signalled: bool = False   # some process was killed or stopped
    in_shim: bool = False     # or what it forks


@dataclasses.dataclass
class Call:
    name: str
    stage: typing.Optional[str]  # of world.STAGES: how far the subject is made before; None: it is the standing pod
    perform: typing.Callable
    judge: typing.Callable
    host_port: bool = False
    prepare: typing.Callable = lambda world, subject: None


def _named(found, name):
    """Id -> state."""
    return {i: facts[-1] for i, facts in found.items() if facts[0] == name}


def _retry(answer):
    if not answer.ok:
        yield f"the retry: {answer}"


def _made_once(what, end, found, good, first, retry, now):
    """`found`: those of the subject's name that were listed, with their states, and now() those that are after the retry; `first`:
    the id that was answered."""
    if end.answer.ok:
        if found != {first: good}:
            yield f"answered {first[:8]}, and there is {found}"
        # Told of it once, nobody needs the same again; a daemon that did not tell it itself cannot know that.
        if not (retry.ok and retry.text(1) == first or retry.code == "AlreadyExists" and first in retry.words):
            yield f"the retry of what was answered: {retry}"
        return
    if found and not end.unanswered:
        yield f"a {what} of which nobody was told is there after the failed call: {found}"
    elif good in found.values() and retry.ok and retry.text(1) not in found:
        yield f"the retry made another {what}: {retry.text(1)[:8]}, and there was {found}"
    yield from _retry(retry)
    if not retry.ok or not end.unanswered:
        return
    # A new daemon undoes what is half made while it serves already.
    try:
        wait_for("", lambda: set(now()) == {retry.text(1)}, 5)
    except AssertionError:
        yield f"a call that was not answered left a {what} that is half made: {now()}"


def _works(subject, steps):
    for step in steps:
        answer = step()
        if not answer.ok:
            yield f"{step.__name__} after the retry: {answer}"
            return
    answer = subject.world.cri.exec_sync(subject.container_id, "/bin/true")
    if not answer.ok or answer.all(3) not in ([], [0]):
        yield f"exec after the retry: {answer} {answer.all(3)}"


def _judge_run(w, s, end):
    def now():
        return _named(w.cri.pods(), s.name)
    first, found = s.pod_id, now()
    retry = s.run()
    yield from _made_once("pod", end, found, READY, first, retry, now)
    if s.pod_id:
        yield from _works(s, [s.create, s.start])


def _judge_create(w, s, end):
    def now():
        return _named(w.cri.containers(), s.container_name)
    first, found = s.container_id, now()
    if end.in_shim and list(found.values()) == [EXITED]:
        return  # the process that waited to be started is dead, and that is told
    retry = s.create()
    yield from _made_once("container", end, found, CREATED, first, retry, now)
    if s.container_id:
        broken = list(_works(s, [s.start]))
        yield from [] if broken and end.in_shim and w.cri.status(s.container_id).state == EXITED else broken


def _judge_start(w, s, end):
    status = w.cri.status(s.container_id)
    # One that is killed before its program begins may be seen as a program that was killed.
    if end.answer.ok and status.state != RUNNING and not (end.signalled and status.exit_code):
        yield f"it was started, and is in state {status.state} ({status.reason} {status.message})"
    if not end.answer.ok and not end.unanswered and status.state == RUNNING:
        yield f"the call failed ({end.answer}), and it runs"
    if status.state == CREATED:
        yield from _retry(s.start())
        status = w.cri.status(s.container_id)
    if status.state == RUNNING:
        if not alive(status.pid):
            yield f"it is said to run, and there is no process {status.pid}"
        yield from _works(s, [])
    elif status.state == EXITED:
        if status.exit_code == 0 or not status.reason:
            yield f"it never ran, and has exit code {status.exit_code}, reason '{status.reason}', message '{status.message}'"
        if s.pid and alive(s.pid):
            yield f"it has exited, and its process {s.pid} lives"


def _exec(w, s):
    return w.cri.exec_sync(s.container_id, "/bin/echo", "hi")


def _said_hi(answer):
    return answer.all(1) == [b"hi\n"] and answer.all(3) in ([], [0])


def _judge_exec(w, s, end):
    if end.answer.ok and not _said_hi(end.answer) and not end.signalled:
        yield f"OK, with output {end.answer.all(1)} {end.answer.all(2)} and exit code {end.answer.all(3)}"
    retry = _exec(w, s)
    yield from _retry(retry)
    if retry.ok and not _said_hi(retry):
        yield f"the retry: OK, with output {retry.all(1)} {retry.all(2)} and exit code {retry.all(3)}"


def _again(perform, check=lambda answer: True):
    """Judges a call that changes nothing: it works when made again."""
    def judge(w, s, end):
        if end.answer.ok and not check(end.answer):
            yield f"OK, and the answer is {end.answer.message[:80]}"
        retry = perform(w, s)
        yield from _retry(retry)
        if retry.ok and not check(retry):
            yield f"the retry: OK, and the answer is {retry.message[:80]}"
    return judge


def _url(method, *parts):
    def perform(w, s):
        return w.cri.call(method, (1, s.pod_id if method == "PortForward" else s.container_id), *parts)
    return Call(method, None, perform, _again(perform, lambda answer: answer.text(1).startswith("http")))


def _read(method, parts=lambda w, s: []):
    def perform(w, s):
        return w.cri.call(method, *parts(w, s))
    return Call(method, None, perform, _again(perform, lambda answer: answer.message))


def _reopen(w, s):
    if not os.path.exists(s.log + ".1"):
        s.ticks.renamed(s.log + ".1")
    return w.cri.call("ReopenContainerLog", (1, s.container_id))


def _judge_reopen(w, s, end):
    retry = w.cri.call("ReopenContainerLog", (1, s.container_id))
    yield from _retry(retry)
    if retry.ok:
        wait_for("the new log grows", lambda: os.path.exists(s.log) and os.path.getsize(s.log) > 0, 5, 0.01)
        yield from s.ticks.reopened(s.log)
        os.remove(s.log + ".1")


def _shares(s):
    return cgroups.weight(s.pid)


def _update(w, s):
    s.wanted = 512 if _shares(s) > 700 else 1024
    return w.cri.call("UpdateContainerResources", (1, s.container_id), (2, message((3, s.wanted))))


def _judge_update(w, s, end):
    if end.answer.ok and _shares(s) != s.wanted:
        yield f"OK, and the shares are {_shares(s)}"
    retry = w.cri.call("UpdateContainerResources", (1, s.container_id), (2, message((3, s.wanted))))
    yield from _retry(retry)
    if retry.ok and _shares(s) != s.wanted:
        yield f"the retry: OK, and the shares are {_shares(s)}"


def _update_pod(w, s):
    return w.cri.call("UpdatePodSandboxResources", (1, s.pod_id), (3, message((3, 600))))


def _state(w, s):
    found = w.cri.containers()
    return found[s.container_id][2] if s.container_id in found else None


def _stop(grace):
    def perform(w, s):
        return w.cri.stop(s.container_id, grace)

    def judge(w, s, end):
        if end.answer.ok and _state(w, s) != EXITED:
            yield f"stopped, and in state {_state(w, s)}"
        yield from _retry(perform(w, s))
        if _state(w, s) != EXITED or alive(s.pid):
            yield f"after the retry in state {_state(w, s)}, process {'lives' if alive(s.pid) else 'gone'}"
    return perform, judge


def _remove(w, s):
    return w.cri.call("RemoveContainer", (1, s.container_id))


def _judge_remove(w, s, end):
    if end.answer.ok and _state(w, s) is not None:
        yield "removed, and listed"
    yield from _retry(_remove(w, s))
    if _state(w, s) is not None or alive(s.pid):
        yield f"after the retry in state {_state(w, s)}, process {'lives' if alive(s.pid) else 'gone'}"


def _stop_pod(w, s):
    return w.cri.call("StopPodSandbox", (1, s.pod_id))


def _is_stopped(w, s):
    return w.cri.pods().get(s.pod_id, ("", None))[1] == NOTREADY and _state(w, s) == EXITED and not alive(s.pid)


def _judge_stop_pod(w, s, end):
    if end.answer.ok and not _is_stopped(w, s):
        yield f"stopped, and there is {w.cri.pods().get(s.pod_id)} with a container in state {_state(w, s)}"
    yield from _retry(_stop_pod(w, s))
    if not _is_stopped(w, s):
        yield f"after the retry there is {w.cri.pods().get(s.pod_id)} with a container in state {_state(w, s)}"


def _remove_pod(w, s):
    return w.cri.call("RemovePodSandbox", (1, s.pod_id))


def _judge_remove_pod(w, s, end):
    def there():
        return s.pod_id in w.cri.pods() or _state(w, s) is not None or alive(s.pid)
    if end.answer.ok and there():
        yield "removed, and still there"
    yield from _retry(_remove_pod(w, s))
    if there():
        yield "after the retry still there"


def _pull(w, s):
    return w.cri.pull(w.small)


def _remove_image(w, s):
    return w.cri.call("RemoveImage", (1, message((1, w.small))))


def _pulled(w, s):
    w.cri.must("PullImage", (1, message((1, w.small))))


def _judge_pull(w, s, end):
    if end.answer.ok and w.small not in w.cri.images():
        yield "pulled, and not listed"
    yield from _retry(_pull(w, s))
    if w.small not in w.cri.images():
        yield "after the retry not listed"
    answer = _remove_image(w, s)
    if not answer.ok:
        yield f"RemoveImage afterwards: {answer}"


def _judge_remove_image(w, s, end):
    if end.answer.ok and w.small in w.cri.images():
        yield "removed, and listed"
    yield from _retry(_remove_image(w, s))
    if w.small in w.cri.images():
        yield "after the retry listed"


def _calls():
    yield Call("RunPodSandbox", "", lambda w, s: s.run(), _judge_run, host_port=True)
    yield Call("CreateContainer", "pod", lambda w, s: s.create(), _judge_create)
    yield Call("StartContainer", "created", lambda w, s: s.start(), _judge_start)
    yield Call("ExecSync", None, _exec, _judge_exec)
    yield _url("Exec", (2, "/bin/true"), (5, 1))
    yield _url("Attach", (4, 1))
    yield _url("PortForward", (2, 80))
    yield Call("ReopenContainerLog", None, _reopen, _judge_reopen)
    yield Call("UpdateContainerResources", None, _update, _judge_update)
    yield Call("UpdatePodSandboxResources", None, _update_pod, _again(_update_pod))
    yield Call("StopContainer", "running", *_stop(10))
    yield Call("StopContainer by force", "running", *_stop(0))
    yield Call("RemoveContainer", "running", _remove, _judge_remove)
    yield Call("StopPodSandbox", "running", _stop_pod, _judge_stop_pod, host_port=True)
    yield Call("RemovePodSandbox", "stopped", _remove_pod, _judge_remove_pod)
    yield Call("RemovePodSandbox of a ready pod", "running", _remove_pod, _judge_remove_pod, host_port=True)
    yield Call("PullImage", "", _pull, _judge_pull)
    yield Call("RemoveImage", "", _remove_image, _judge_remove_image, prepare=_pulled)
    yield _read("ContainerStats", lambda w, s: [(1, s.container_id)])
    yield _read("ListContainerStats")
    yield _read("ContainerStatus", lambda w, s: [(1, s.container_id), (2, 1)])
    yield _read("PodSandboxStatus", lambda w, s: [(1, s.pod_id), (2, 1)])
    yield _read("ListContainers")
    yield _read("ListPodSandbox")
    yield _read("ListImages")
    yield _read("ImageStatus", lambda w, s: [(1, message((1, w.busybox)))])
    yield _read("ImageFsInfo")
    yield _read("Status", lambda w, s: [(1, 1)])


CALLS = list(_calls())
