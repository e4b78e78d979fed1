#!/usr/bin/env python3
"""Nothing that runs depends on the daemon: it is killed, time passes, and a new one takes up what the old one left. One
story in cases that build on each other."""
import os
import pathlib
import signal
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
    assert c.status()["exitCode"] != 0, c.status()


def test_shim_and_daemon_killed(f):
    pod = f.run_pod()
    c = pod.start(["/bin/sleep", "1000"])
    init, group = c.process(), f.daemon.cgroup_of(pod)
    [shim] = [p for p, name in leaks.processes_in(group) if p != init and name.startswith("berth")]
    f.daemon.kill()
    os.kill(shim, signal.SIGKILL)
    f.daemon.start()
    equal(c.status()["state"], "CONTAINER_EXITED")
    equal(pod.inspect()["status"]["state"], "SANDBOX_NOTREADY")
    wait_for("no process is left", lambda: not list(leaks.processes_in(group)))
    pod.remove()
    f.rebase()


def test_killed_while_a_pod_is_made(f):
    """A retry then gets a pod that is ready, or is told of one that is not; either can be removed."""
    config = f.pod_config()
    path = f.write("retried.json", config)
    for i in range(6):
        call = subprocess.Popen([f.crictl.program, "-c", f.crictl.config, "runp", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.018 + 0.004 * i)
        f.daemon.kill()
        call.wait()
        f.daemon.start()
        states = {p["id"]: p["state"] for p in f.crictl.json("pods", "--name", config["metadata"]["name"])["items"]}
        retry = f.crictl.call("runp", path)
        if "SANDBOX_NOTREADY" in states.values():
            retry.refused("AlreadyExists", *states)
        else:
            equal(retry.status, 0, str(retry))
            states = states or {retry.out.strip(): ""}
            equal([retry.out.strip()], list(states))
        for pod in states:
            f.crictl("rmp", "-f", pod)
        f.nothing_left()


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
