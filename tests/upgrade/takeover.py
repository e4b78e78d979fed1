#!/usr/bin/env python3
"""One build's daemon makes pods, is killed, and another build's takes them over, with their shims as they are. BERTH_BIN has the
programs of the one, BERTH_SUCCESSOR those of the other. One story in cases that build on each other; ./dev upgrade tells it in
both directions."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import fixture
import leaks
import pod_net
import streams
import urls
from fixture import POD
from streams import V4, V5
from suite import equal, main, wait_for

SUCCESSOR = pathlib.Path(os.environ["BERTH_SUCCESSOR"])
BOTH = (("spdy", V4), ("websocket", V5))
TICK = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.1; done"
# Wait for a file that the test puts into their root.
ENDS = "while [ ! -e /go ]; do sleep 0.05; done; echo last words; exit 41"
EATS = "while [ ! -e /go ]; do sleep 0.05; done; exec dd if=/dev/zero of=/dev/null bs=100M count=1"
PARROT = "while read -r line; do echo \"heard $line\"; done"
TRAPS = "trap 'echo got it; exit 6' TERM; echo ready; while true; do sleep 0.05; done"
LIMIT = {"memory_limit_in_bytes": 32 << 20}
# What each container is, when the successor comes.
RUNNING = ("ticker", "ends later", "eaten later", "parrot", "terminal", "traps", "in shared pids", "in user namespace")
USERNS = {"userns_options": {"mode": POD, **{ids: [{"host_id": 200000, "container_id": 0, "length": 65536}] for ids in ("uids", "gids")}}}


class Story:
    pods, containers, status, processes = {}, {}, {}, {}


S = Story()


def make_pods(f):
    S.pods["web"] = f.run_pod(labels={"a": "b"}, annotations={"c": "d"})
    S.pods["idle"] = f.run_pod()
    S.pods["stopped"] = f.run_pod()
    S.pods["shared pids"] = f.run_pod(namespaces={"pid": POD})
    if f.has_user_namespaces():
        S.pods["user namespace"] = f.run_pod(namespaces=USERNS)


def make_containers(web):
    def sh(script, **more):
        return web.start(["/bin/sh", "-c", script], **more)
    S.containers.update({
        "ticker": sh(TICK, labels={"role": "ticker"}), "ends between": sh(ENDS), "ends later": sh(ENDS),
        "eaten between": sh(EATS, resources=LIMIT), "eaten later": sh(EATS, resources=LIMIT), "parrot": sh(PARROT, stdin=True),
        "terminal": web.start(["/bin/sh"], stdin=True, tty=True), "traps": sh(TRAPS),
        "waiting": web.create(["/bin/sh", "-c", "echo started late; sleep 1000"]), "ended": sh("exit 5")})
    S.containers["ended"].wait()


def make_more_containers():
    S.containers["in shared pids"] = S.pods["shared pids"].start(["/bin/sh", "-c", TICK])
    if "user namespace" in S.pods:
        S.containers["in user namespace"] = S.pods["user namespace"].start(["/bin/sh", "-c", TICK])
    S.containers["in stopped"] = S.pods["stopped"].start(["/bin/sleep", "1000"])
    S.pods["stopped"].crictl("stopp", S.pods["stopped"].id)


def running():
    return {name: S.containers[name] for name in RUNNING if name in S.containers}


def go(name):
    pathlib.Path(f"/proc/{S.processes[name]}/root/go").touch()


def sleeping(f, seconds):
    """Processes in pods that are a `sleep` of so many."""
    return [p for p, _ in leaks.processes_in(f.daemon.cgroup_parent)
            if pathlib.Path(f"/proc/{p}/cmdline").read_bytes().endswith(b"sleep\0%d\0" % seconds)]


def gone(name):
    return not os.path.exists(f"/proc/{S.processes[name]}/root/bin")


def remember(f):
    S.status = {name: c.status() for name, c in S.containers.items()}
    S.pod_status = {name: p.inspect()["status"] for name, p in S.pods.items()}
    S.images = f.crictl.json("images")["images"]


def test_the_first_makes_pods(f):
    make_pods(f)
    make_containers(S.pods["web"])
    make_more_containers()
    S.processes = {name: c.process() for name, c in {**running(), "ends between": S.containers["ends between"],
                                                     "eaten between": S.containers["eaten between"]}.items()}
    wait_for("the ticker logs", lambda: len(S.containers["ticker"].log_lines()) > 3)
    # Under way when the daemon goes: their clients lose them, and their processes are hung up.
    session = streams.Command(urls.exec_url(f, S.containers["ticker"].id, ["/bin/sh", "-c", "echo up; sleep 987"]), (V4,))
    session.expect("up\n")
    attached = streams.Command(urls.attach_url(f, S.containers["parrot"].id, stdin=True), (V4,), stdin=True)
    attached.stdin.send(b"the first\n")
    attached.expect("heard the first\n")
    S.links = [session.link, attached.link]
    remember(f)
    S.undo, f._undo = f._undo, []  # kept for the end of the story
    f.rebase()


def test_between_the_two(f):
    f.daemon.kill()
    for link in S.links:
        link.close()
    before = len(S.containers["ticker"].log_lines())
    for name in ("ends between", "eaten between"):
        go(name)
        wait_for(f"'{name}' ends", lambda name=name: gone(name))
    wait_for("20 more lines in the log", lambda: len(S.containers["ticker"].log_lines()) >= before + 20)
    f.rebase()


def test_the_second_knows_everything(f):
    f.daemon.programs = SUCCESSOR
    f.daemon.start()
    f.rebase()
    equal({p["id"]: p["state"] for p in f.crictl.json("pods")["items"]},
          {S.pods[name].id: s["state"] for name, s in S.pod_status.items()})
    for name, pod in S.pods.items():
        equal(pod.inspect()["status"], S.pod_status[name], name)
    for name, container in S.containers.items():
        if not name.endswith("between"):
            equal(container.status(), S.status[name], name)
    equal({name: c.process() for name, c in running().items()}, {name: S.processes[name] for name in running()})
    equal(f.crictl.json("images")["images"], S.images)


def test_ends_between_the_two_are_known(f):
    for name, code, reason in (("ends between", 41, "Error"), ("eaten between", 137, "OOMKilled")):
        status = S.containers[name].status()
        equal((status["state"], status["exitCode"], status["reason"]), ("CONTAINER_EXITED", code, reason), name)
        assert status["startedAt"] < status["finishedAt"], status
        equal({**status, "state": 0, "exitCode": 0, "reason": 0, "finishedAt": 0},
              {**S.status[name], "state": 0, "exitCode": 0, "reason": 0, "finishedAt": 0}, name)


def test_execs_of_the_first_are_gone(f):
    wait_for("the exec whose client is gone has ended", lambda: not sleeping(f, 987))


def test_logs_go_on(f):
    ticker = S.containers["ticker"]
    numbers = [int(text.split()[1]) for _, _, text in ticker.log_lines()]
    equal(numbers, list(range(1, len(numbers) + 1)), "numbered lines")
    os.rename(ticker.log, ticker.log + ".1")
    f.crictl("logs", "--reopen", ticker.id)
    wait_for("the new log grows", lambda: len(ticker.log_lines()) > 2)


def test_exec(f):
    for name, container in running().items():
        equal(container.exec("/bin/sh", "-c", "echo $((6*7))"), "42\n", name)
        for over, protocol in BOTH:
            got = urls.sh(f, container, "read -r l; echo \"$l\"; echo err >&2; exit 7", over=over, protocols=(protocol,), stdin=True)
            got.stdin.send(b"line\n")
            equal(got.wait()[:3], (7, b"line\n", b"err\n"), f"{name} over {over}")
        screen = urls.sh(f, container, "until [ \"$(stty size)\" = '30 90' ]; do sleep 0.1; done; echo si''zed; exit 8", tty=True, stdin=True)
        screen.size(90, 30)
        screen.expect("sized\r\n")
        equal(screen.wait().code, 8, name)


def test_exec_sync_ends_in_time(f):
    late = f.crictl.call("exec", "-s", "--timeout", "1", S.containers["ticker"].id, "/bin/sleep", "986")
    assert late.status != 0, str(late)
    equal(sleeping(f, 986), [])


def test_execs_whose_clients_leave_are_ended(f):
    session = urls.sh(f, S.containers["traps"], "echo up; sleep 985")
    session.expect("up\n")
    session.link.abort()
    wait_for("its process is gone", lambda: not sleeping(f, 985))


def test_attach(f):
    for over, protocol in BOTH:
        session = urls.attach(f, S.containers["parrot"], over=over, protocols=(protocol,), stdin=True)
        session.stdin.send(f"over {over}\n".encode())
        session.expect(f"heard over {over}\n")
        session.link.close()
    screen = urls.attach(f, S.containers["terminal"], stdin=True, tty=True)
    screen.size(90, 30)
    screen.stdin.send(b"until [ \"$(stty size)\" = '30 90' ]; do sleep 0.1; done; echo si''zed\n")
    screen.expect("sized\r\n")
    screen.link.close()


def test_port_forward(f):
    server = pod_net.Echo(pod_net.listen(S.processes["ticker"]))
    for over in ("spdy", "tunnel"):
        session = streams.Forward(urls.forward_url(f, S.pods["web"].id), over)
        forwarded = session.open(server.port)
        forwarded.data.send(b"there and back")
        forwarded.expect(b"there and back")
        session.link.close()
    server.close()


def test_stats_and_limits(f):
    for name, container in running().items():
        [stats] = f.crictl.json("stats", "--id", container.id)["stats"]
        assert int(stats["memory"]["workingSetBytes"]["value"]) > 0 and int(stats["cpu"]["usageCoreNanoSeconds"]["value"]) > 0, (name, stats)
    f.crictl("update", "--memory", str(48 << 20), S.containers["ticker"].id)
    equal(S.containers["ticker"].status()["resources"]["linux"]["memoryLimitInBytes"], str(48 << 20))


def test_ends_under_the_second(f):
    for name, code, reason in (("ends later", 41, "Error"), ("eaten later", 137, "OOMKilled")):
        go(name)
        status = S.containers[name].wait()
        equal((status["exitCode"], status["reason"]), (code, reason), name)
    equal(S.containers["ends later"].output(), "last words\n")
    f.rebase()


def test_created_container_starts(f):
    waiting = S.containers["waiting"]
    f.crictl("start", waiting.id)
    wait_for("its first line", lambda: waiting.output() == "started late\n")
    f.rebase()


def test_retries_get_the_same_ids(f):
    web = S.pods["web"]
    equal(f.crictl("runp", web.path).strip(), web.id)
    made = web.try_create(S.containers["ticker"].config)
    equal((made.status, made.out.strip()), (0, S.containers["ticker"].id), str(made))


def test_new_containers_in_old_pods(f):
    for name, pod in S.pods.items():
        if name != "stopped":
            equal(pod.sh("cat /etc/hostname; exit 3"), (3, pod.config["metadata"]["name"] + "\n"), name)
    c = S.pods["idle"].start(["/bin/sh"], stdin=True, tty=True)
    screen = urls.attach(f, c, stdin=True, tty=True)
    screen.stdin.send(b"echo he''re; exit 4\n")
    screen.expect("here\r\n")
    equal(c.wait()["exitCode"], 4)
    eaten = S.pods["idle"].start(["/bin/sh", "-c", f"touch /go; {EATS}"], resources=LIMIT)
    equal(eaten.wait()["reason"], "OOMKilled")


def test_new_pods_beside_old_ones(f):
    pod = f.run_pod()
    equal(pod.sh("hostname"), (0, pod.config["metadata"]["name"] + "\n"))
    assert pod.ip() not in [p.ip() for p in S.pods.values()], pod.ip()


def test_nothing_was_restarted(f):
    for name, container in running().items():
        if not name.endswith("later"):
            equal((container.process(), container.status()["metadata"]["attempt"], container.status()["startedAt"]),
                  (S.processes[name], 0, S.status[name]["startedAt"]), name)


def test_stop_waits_for_the_container(f):
    f.crictl("stop", "--timeout", "20", S.containers["traps"].id)
    equal(S.containers["traps"].status()["exitCode"], 6)
    f.crictl("stop", "--timeout", "0", S.containers["ticker"].id)
    equal(S.containers["ticker"].status()["exitCode"], 137)
    f.rebase()


def test_remove(f):
    for call, arguments in reversed(S.undo):
        call(*arguments)
    equal((f.crictl.json("pods")["items"], f.crictl.json("ps", "-a")["containers"]), ([], []))
    ids = [x.id for x in (*S.pods.values(), *S.containers.values())]

    def left():
        return [line for line in leaks.snapshot(f.daemon) if line.startswith(("mount", "process", "link", "file /run")) or
                "state.db" in line or any(i in line for i in ids)]
    wait_for("nothing is left behind", lambda: not left())
    f.rebase()


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
