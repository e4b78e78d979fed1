#!/usr/bin/env python3
"""Nothing that runs depends on the daemon: it is killed, time passes, and a new one takes up what the old one left. One
story in cases that build on each other."""
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

import fixture
import leaks
from suite import contains, equal, main, wait_for


class Story:
    pods, containers = {}, {}


S = Story()
TICK = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.1; done"
GO = "while [ ! -e /go ]; do sleep 0.05; done; echo last words; exit 41"


def lines(name):
    return len(S.containers[name].log_lines())


def test_before_the_crash(f):
    pod = f.run_pod(labels={"a": "b"})
    S.pods["web"], S.pods["idle"] = pod, f.run_pod()
    S.containers["ticker"] = pod.start(["/bin/sh", "-c", TICK], labels={"role": "ticker"})
    S.containers["ender"] = pod.start(["/bin/sh", "-c", GO])
    S.containers["waiting"] = pod.create(["/bin/sh", "-c", "echo started late; sleep 1000"])
    S.containers["ended"] = pod.start(["/bin/sh", "-c", "exit 5"])
    S.containers["ended"].wait()
    S.ids = {name: c.id for name, c in S.containers.items()}
    S.first_status = {name: c.status() for name, c in S.containers.items()}
    S.ip, S.images = pod.ip(), f.crictl.json("images")["images"]
    S.root_of_ender = f"/proc/{S.containers['ender'].process()}/root"
    S.ticker_pid = S.containers["ticker"].process()
    wait_for("the ticker logs", lambda: lines("ticker") > 3)
    S.undo, f._undo = f._undo, []  # kept for the end of the story
    f.rebase()


def test_containers_run_and_log_without_a_daemon(f):
    f.daemon.kill()
    before = lines("ticker")
    pathlib.Path(S.root_of_ender, "go").touch()
    wait_for("30 more lines in the log", lambda: lines("ticker") >= before + 30)
    wait_for("the last words of the one that ends", lambda: "last words\n" in S.containers["ender"].output())
    wait_for("its process ends", lambda: not os.path.exists(f"{S.root_of_ender}/bin"))
    numbers = [int(text.split()[1]) for _, _, text in S.containers["ticker"].log_lines()]
    equal(numbers, list(range(1, len(numbers) + 1)), "numbered lines")
    os.kill(S.ticker_pid, 0)
    f.rebase()


def test_a_new_daemon_knows_everything(f):
    f.daemon.start()
    f.rebase()
    pods = {p["id"]: p for p in f.crictl.json("pods")["items"]}
    equal(set(pods), {p.id for p in S.pods.values()})
    equal({p["state"] for p in pods.values()}, {"SANDBOX_READY"})
    equal(pods[S.pods["web"].id]["labels"], {"a": "b"})
    equal(S.pods["web"].ip(), S.ip)
    found = {c["id"]: c["state"] for c in f.crictl.json("ps", "-a")["containers"]}
    equal(found, {S.ids["ticker"]: "CONTAINER_RUNNING", S.ids["ender"]: "CONTAINER_EXITED", S.ids["ended"]: "CONTAINER_EXITED",
                  S.ids["waiting"]: "CONTAINER_CREATED"})
    for name in ("ticker", "ended", "waiting"):
        equal(S.containers[name].status(), S.first_status[name], name)
    equal(S.containers["ticker"].process(), S.ticker_pid)


def test_the_exit_while_it_was_away_is_known(f):
    status = S.containers["ender"].status()
    equal((status["exitCode"], status["reason"]), (41, "Error"))
    assert status["startedAt"] < status["finishedAt"], status


def test_images_are_there(f):
    equal(f.crictl.json("images")["images"], S.images)
    f.crictl("pull", f.busybox)
    equal(f.crictl.json("images")["images"], S.images)


def test_exec_log_and_stats_go_on(f):
    ticker = S.containers["ticker"]
    equal(ticker.exec("/bin/sh", "-c", "echo $((6*7)); hostname"), f"42\n{S.pods['web'].config['metadata']['name']}\n")
    before = lines("ticker")
    wait_for("the log grows", lambda: lines("ticker") > before + 5)
    os.rename(ticker.log, ticker.log + ".1")
    f.crictl("logs", "--reopen", ticker.id)
    wait_for("the reopened log grows", lambda: lines("ticker") > 2)
    [stats] = f.crictl.json("stats", "--id", ticker.id)["stats"]
    assert int(stats["memory"]["workingSetBytes"]["value"]) > 0, stats
    contains(f.crictl("logs", "--tail", "1", ticker.id), "tick ")


def test_created_container_starts(f):
    waiting = S.containers["waiting"]
    f.crictl("start", waiting.id)
    wait_for("its first line", lambda: waiting.output() == "started late\n")
    equal(waiting.status()["state"], "CONTAINER_RUNNING")
    f.rebase()


def test_retries_get_the_same_ids(f):
    web = S.pods["web"]
    equal(f.crictl("runp", web.path).strip(), web.id)
    f.crictl.call("runp", web.path).refused("AlreadyExists", web.id)
    made = web.try_create(S.containers["ticker"].config)
    equal((made.status, made.out.strip()), (0, S.ids["ticker"]), str(made))
    equal(len(f.crictl.json("ps", "-a")["containers"]), 4)


def test_new_containers_and_pods(f):
    equal(S.pods["idle"].sh("echo new; exit 3"), (3, "new\n"))
    pod = f.run_pod()
    equal(pod.sh("hostname"), (0, pod.config["metadata"]["name"] + "\n"))
    assert pod.ip() not in (S.ip, S.pods["idle"].ip())


def test_killed_again_while_a_stop_waits(f):
    """A stop that the daemon does not survive was still a stop: the signal went out, and a second call completes it."""
    c = S.pods["idle"].start(["/bin/sh", "-c", "trap 'echo got it; sleep 1; exit 6' TERM; echo ready; while true; do sleep 0.05; done"])
    wait_for("the trap is set", lambda: c.output() == "ready\n")
    pid = os.fork()
    if pid == 0:
        f.crictl.call("stop", "--timeout", "30", c.id)
        os._exit(0)
    wait_for("the signal arrives", lambda: "got it\n" in c.output())
    f.daemon.kill()
    os.waitpid(pid, 0)
    f.daemon.start()
    equal(c.wait()["exitCode"], 6)
    c.remove()
    f.rebase()


def test_shim_killed(f):
    """Without its shim a pod is not ready, and its containers are dead and reported so; it can be removed."""
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    init, group = c.process(), f.daemon.cgroup_of(pod)
    [shim] = [p for p, name in leaks.processes_in(group) if p != init and name.startswith("berth")]
    os.kill(shim, signal.SIGKILL)
    equal(c.wait()["state"], "CONTAINER_EXITED")
    wait_for("the pod is not ready", lambda: pod.inspect()["status"]["state"] == "SANDBOX_NOTREADY")
    wait_for("no process is left", lambda: not list(leaks.processes_in(group)))
    equal((c.status()["exitCode"], c.status()["reason"]), (137, "ShimLost"))
    contains(c.status()["message"], "shim ended unexpectedly")


def test_shim_and_daemon_killed(f):
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    init, group = c.process(), f.daemon.cgroup_of(pod)
    [shim] = [p for p, name in leaks.processes_in(group) if p != init and name.startswith("berth")]
    f.daemon.kill()
    os.kill(shim, signal.SIGKILL)
    f.daemon.start()
    equal((c.status()["state"], c.status()["reason"]), ("CONTAINER_EXITED", "ShimLost"))
    equal(pod.inspect()["status"]["state"], "SANDBOX_NOTREADY")
    wait_for("no process is left", lambda: not list(leaks.processes_in(group)))
    pod.remove()
    f.rebase()


def shim_of(f, pod):
    [shim] = [p for p, name in leaks.processes_in(f.daemon.cgroup_of(pod)) if name == "berth-shim"]
    return shim


def test_shim_that_does_not_answer_at_the_start(f):
    """It lives, and so do its containers: nothing is said of them that is not known, and others do not wait."""
    pod, other = f.run_pod(), f.run_pod()
    c = pod.start(["/bin/sh", "-c", GO])
    other.start(["/bin/sleep", "1000"])
    shim = shim_of(f, pod)
    os.kill(shim, signal.SIGSTOP)
    try:
        f.daemon.kill()
        f.daemon.start()
        equal(c.status()["state"], "CONTAINER_RUNNING")
        equal(other.sh("echo fine"), (0, "fine\n"))
        contains(str(f.crictl.call("exec", c.id, "true")), "its shim does not answer")
    finally:
        os.kill(shim, signal.SIGCONT)
    wait_for("it is taken up", lambda: f.crictl.call("exec", c.id, "touch", "/go").status == 0)
    equal((c.wait()["exitCode"], c.output()), (41, "last words\n"))
    pod.remove()
    other.remove()
    f.rebase()


def test_end_while_shims_are_silent(f):
    """What is owed is left to the next daemon: an orderly end is one, whatever is under way in the background."""
    pods = [f.run_pod() for _ in range(8)]
    shims = [shim_of(f, pod) for pod in pods]
    for shim in shims:
        os.kill(shim, signal.SIGSTOP)
    try:
        f.daemon.kill()
        f.daemon.start()
        time.sleep(1.6)  # it asks them again after a second, for two
        equal(f.daemon.stop(), 0)
    finally:
        for shim in shims:
            os.kill(shim, signal.SIGCONT)
    f.daemon.start()
    for pod in pods:
        equal(pod.inspect()["status"]["state"], "SANDBOX_READY")
        pod.remove()
    f.nothing_left_but_descriptors()
    f.rebase()


def test_pods_whose_records_are_lost(f):
    """What no record speaks of is killed and removed."""
    pod, kept = f.run_pod(), f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    init, group = c.process(), f.daemon.cgroup_of(pod)
    k = kept.start(["/bin/sleep", "1000"])
    survivor = k.process()
    f.daemon.kill()
    with sqlite3.connect(f"{f.daemon.root}/state.db") as db:
        db.execute("DELETE FROM records WHERE id IN (?, ?)", (pod.id, c.id))
    db.close()
    f.daemon.start()
    wait_for("its processes are gone", lambda: not list(leaks.processes_in(group)) and not os.path.exists(f"/proc/{init}/exe"))
    equal(k.process(), survivor)
    kept.remove()
    f.nothing_left_but_descriptors()


def test_stop_that_was_begun_is_finished(f):
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    group = f.daemon.cgroup_of(pod)
    f.daemon.kill()
    # As it is between the stop's first step and its second.
    with sqlite3.connect(f"{f.daemon.root}/state.db") as db:
        [(record,)] = db.execute("SELECT data FROM records WHERE id = ?", (pod.id,))
        db.execute("UPDATE records SET data = ? WHERE id = ?", (record[6:] + b"\x18\x01", pod.id))  # without its seal
    db.close()
    f.daemon.start()
    wait_for("the pod's processes are gone", lambda: not list(leaks.processes_in(group)))
    equal(c.wait()["state"], "CONTAINER_EXITED")
    wait_for("its network too", lambda: not os.path.exists(f"{f.daemon.state}/netns/{pod.id}"))
    pod.remove()
    f.nothing_left_but_descriptors()


def test_killed_while_a_container_is_made(f):
    """A retry gets a container, the same when there was one already; what was half made is gone."""
    pod = f.run_pod()
    config = pod.container_config(["/bin/sleep", "1000"])
    f.rebase()
    for i in range(6):
        call = subprocess.Popen([f.crictl.program, "-c", f.crictl.config, "create", "--no-pull", pod.id,
                                 f.write("again.json", config), pod.path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.010 + 0.003 * i)
        f.daemon.kill()
        call.wait()
        f.daemon.start()
        there = [c["id"] for c in f.crictl.json("ps", "-a", "--pod", pod.id)["containers"]]
        made = pod.try_create(config)
        equal(made.status, 0, str(made))
        if there:
            equal([made.out.strip()], there)
        f.crictl("rm", "-f", made.out.strip())
        f.nothing_left_but_descriptors()
    pod.remove()
    f.rebase()


def test_killed_while_a_pod_is_made(f):
    """A retry then gets a pod: the same when it was ready already, else another, and the half-made one is gone."""
    config = f.pod_config()
    path = f.write("retried.json", config)
    for i in range(6):
        call = subprocess.Popen([f.crictl.program, "-c", f.crictl.config, "runp", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.018 + 0.004 * i)
        f.daemon.kill()
        call.wait()
        f.daemon.start()
        pods = f.crictl.json("pods", "--name", config["metadata"]["name"], "--state", "ready")["items"]
        made = f.crictl("runp", path).strip()
        if pods:
            equal([made], [p["id"] for p in pods])
        f.crictl("rmp", "-f", made)
        f.nothing_left_but_descriptors()


def test_orderly_end_keeps_pods(f):
    equal(f.daemon.stop(), 0)
    before = lines("ticker")
    wait_for("the log grows", lambda: lines("ticker") > before + 5)
    f.daemon.start()
    equal(S.containers["ticker"].status()["state"], "CONTAINER_RUNNING")
    f.rebase()


def test_stop_and_remove(f):
    f.crictl("stop", "--timeout", "0", S.ids["ticker"])
    equal(S.containers["ticker"].status()["exitCode"], 137)
    for call, arguments in reversed(S.undo):
        call(*arguments)
    equal(f.crictl.json("pods")["items"], [])
    equal(f.crictl.json("ps", "-a")["containers"], [])

    def left():
        return [line for line in leaks.snapshot(f.daemon) if line.startswith(("mount", "process", "link", "file /run")) or "state.db" in line
                or any(c in line for c in S.ids.values()) or any(p.id in line for p in S.pods.values())]
    # The kernel takes a network namespace and its links down in its own time.
    wait_for("nothing is left behind", lambda: not left())
    f.rebase()


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
