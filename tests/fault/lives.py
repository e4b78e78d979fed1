"""Pods that live and go in several threads on a daemon that is killed now and then, and what is known of them: what was
acknowledged is so, and stays so through every restart."""
import contextlib
import os
import random
import signal
import threading
import time

from cri import EXITED, NOTREADY, READY, RUNNING
from experiment import WRONG_CODES
from grpc_client import DEAD
from rpc import message
from world import alive

ATTEMPTS = 60  # of one call, until the daemon has to have answered it


class Gate:
    """Calls pass it side by side; who looks at the world waits until none is under way, and holds new ones off."""

    def __init__(self):
        self._condition, self._inside, self._shut = threading.Condition(), 0, False

    @contextlib.contextmanager
    def passing(self):
        with self._condition:
            self._condition.wait_for(lambda: not self._shut)
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    @contextlib.contextmanager
    def shut(self):
        with self._condition:
            self._condition.wait_for(lambda: not self._shut)
            self._shut = True
            self._condition.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._condition:
                self._shut = False
                self._condition.notify_all()


class GaveUp(Exception):
    """A pod whose shim was killed: the rest of its life is its removal."""


class Image:
    """What is known of the image that is pulled and removed."""
    dead = False

    def __init__(self, name):
        self.name, self.there, self.pending = name, False, ""

    def problems(self, images):
        if not self.pending and self.there != (self.name in images):
            yield f"image {self.name} was acknowledged to be {'pulled' if self.there else 'removed'}, and is not"


class Facts:
    """Of one pod: what calls were answered with OK, and which one was made and not answered so."""

    def __init__(self, subject):
        self.subject, self.name = subject, subject.name
        self.pod = self.container = None  # None, or the state in the CRI's numbers
        self.pending = ""  # the call that was made, until it is answered with OK
        self.dead = False  # its shim was killed

    def problems(self, pods, containers):
        s = self.subject
        if s.pod_id is None:
            # Before the answer nobody knows the id; the name tells.
            if not self.pending and any(name == s.name for name, _ in pods.values()):
                yield f"pod {s.name} is there, and was removed or never made"
            return
        state = pods.get(s.pod_id, ("", None))[1]
        if not self.pending and not self._fits(state, self.pod, NOTREADY):
            yield f"pod {s.name} was acknowledged to be in state {self.pod}, and is in {state}"
        state = containers.get(s.container_id, ("", "", None))[2]
        if not self.pending and s.container_id and not self._fits(state, self.container, EXITED):
            yield f"container of pod {s.name} was acknowledged to be in state {self.container}, and is in {state}"

    def _fits(self, state, known, dead):
        return state == known or self.dead and known is not None and state in (known, dead)


class Lives:
    """`errors`: whether steps fail meanwhile, so that a call may fail without a word of the killer."""

    def __init__(self, world, seed, errors=False):
        self.world, self.errors, self.random = world, errors, random.Random(seed)
        self.gate, self.up, self.lock = Gate(), threading.Event(), threading.Lock()
        self.facts, self.findings = set(), []
        self.lifecycles = self.calls = self.retries = self.restarts = self.dead_shims = self.checks = 0
        self.image = None
        self.up.set()

    def finding(self, text):
        """Said once, however often it is seen."""
        with self.lock:
            new = text not in self.findings
            if new:
                self.findings.append(text)
        if new:
            print(f"finding: {text}", flush=True)

    # -- calls

    def call(self, facts, name, perform, done):
        """Makes it until it is answered with OK, as a kubelet would; done(answer) notes what is known by that."""
        answer = None
        for attempt in range(ATTEMPTS):
            self.up.wait(60)
            with self.gate.passing():
                facts.pending = name
                answer = perform()
                self._count(attempt)
                if answer.ok:
                    done(answer)
                    facts.pending = ""
                    return answer
            if facts.dead and name not in ("StopContainer", "StopPodSandbox", "RemovePodSandbox"):
                raise GaveUp
            if answer.code != DEAD and not self.errors and self.up.is_set() and attempt > 5:
                break
            if answer.code in WRONG_CODES and not (name == "RunPodSandbox" and answer.code == "AlreadyExists"):
                break
            time.sleep(0.02 * min(attempt + 1, 10))
        self.finding(f"{name} of {facts.name}: {answer}")
        raise GaveUp

    def _count(self, attempt):
        with self.lock:
            self.calls += 1
            self.retries += attempt > 0

    # -- one life

    def live(self, rest, host_port=0):
        """A pod runs, rest(facts) is done with it, and it is removed whatever came of that."""
        with self.lock:
            facts = Facts(self.world.fresh("life", host_port))
            self.facts.add(facts)
        with contextlib.suppress(GaveUp):
            self.call(facts, "RunPodSandbox", facts.subject.run, lambda a: setattr(facts, "pod", READY))
            rest(facts)
        with contextlib.suppress(GaveUp):
            self._remove(facts)
            with self.lock:
                self.facts.discard(facts)
                self.lifecycles += 1

    def _remove(self, facts):
        subject = facts.subject
        if subject.pod_id is None:
            return
        self.call(facts, "StopPodSandbox", subject.stop_pod, lambda a: self._stopped(facts))
        self.call(facts, "RemovePodSandbox", lambda: self.world.cri.call("RemovePodSandbox", (1, subject.pod_id)), lambda a: self._gone(facts))

    @staticmethod
    def _stopped(facts):
        facts.pod, facts.container = NOTREADY, EXITED if facts.container is not None else None

    @staticmethod
    def _gone(facts):
        facts.pod = facts.container = None

    def create(self, facts):
        self.call(facts, "CreateContainer", facts.subject.create, lambda a: setattr(facts, "container", 0))

    def start(self, facts):
        """A start that was not answered may have been done: a second one is refused then. One that failed is the container's end."""
        def perform():
            answer = facts.subject.start()
            if answer.code == "FailedPrecondition":
                status = self.world.cri.status(facts.subject.container_id)
                if status.state == RUNNING:
                    answer.code = "OK"
                elif self.errors and status.state == EXITED:
                    raise GaveUp
                answer.words += f" (state {status.state}, {status.reason} {status.message})"
            return answer
        self.call(facts, "StartContainer", perform, lambda a: setattr(facts, "container", RUNNING))

    def exec(self, facts):
        said = []
        self.call(facts, "ExecSync", lambda: self.world.cri.exec_sync(facts.subject.container_id, "/bin/echo", facts.subject.name),
                  lambda a: said.extend(a.all(1)))
        if said != [f"{facts.subject.name}\n".encode()] and not facts.dead:
            self.finding(f"exec in {facts.subject.name} said {said}")

    def stop(self, facts, grace):
        self.call(facts, "StopContainer", lambda: self.world.cri.stop(facts.subject.container_id, grace),
                  lambda a: setattr(facts, "container", EXITED))

    def remove_container(self, facts):
        self.call(facts, "RemoveContainer", lambda: self.world.cri.call("RemoveContainer", (1, facts.subject.container_id)),
                  lambda a: setattr(facts, "container", None))

    def pull_and_remove(self):
        """The small image, by one thread at a time."""
        image = Image(self.world.small)
        with self.lock:
            self.image = image
        for name, there in (("PullImage", True), ("RemoveImage", False)):
            with contextlib.suppress(GaveUp):
                self.call(image, name, lambda name=name: self.world.cri.call(name, (1, message((1, image.name)))),
                          lambda a, there=there: setattr(image, "there", there))

    # -- the daemon and its shims

    def kill_daemon(self):
        """And starts another one, which must know all that was acknowledged."""
        self.up.clear()
        self.world.daemon.kill()
        try:
            self.world.daemon.start()
        finally:
            self.up.set()
        self.restarts += 1
        self.check()

    def kill_shim(self):
        """Of some pod that is ready and has no call under way."""
        with self.gate.shut():
            ready = [f for f in self.facts if f.pod == READY and not f.dead and not f.pending]
            if not ready:
                return
            facts = self.random.choice(sorted(ready, key=lambda f: f.subject.name))
            pid = self.world.cri.shim_pid(facts.subject.pod_id)
            if alive(pid):
                facts.dead = True
                os.kill(pid, signal.SIGKILL)
                self.dead_shims += 1

    def check(self):
        """What is listed is what was acknowledged, and nobody's pod is there."""
        with self.gate.shut():
            pods, containers = self.world.cri.pods(), self.world.cri.containers()
            with self.lock:
                facts = list(self.facts)
            for f in facts:
                for problem in f.problems(pods, containers):
                    self.finding(problem)
            for problem in self.image.problems(self.world.cri.images()) if self.image else ():
                self.finding(problem)
            known = {f.subject.name for f in facts} | {self.world.bystander.name, self.world.standing.name}
            for name, _ in pods.values():
                if name not in known:
                    self.finding(f"pod {name} is there, and was removed or never made")
            for problem in self.world.bystander.problems():
                self.finding(f"the bystander: {problem}")
            self.checks += 1
