#!/usr/bin/env python3
"""The life of an image, a pod and a container as crictl shows it."""
import re
import socket
import subprocess
import sys
import time

import fixture
import pod_net
from suite import contains, equal, main, wait_for
from terminal import Terminal

LABELS = {"app": "shown", "tier": "test"}
NANOS = 10**9
TRANSPORTS = ("spdy", "websocket")


def test_version(f):
    out = dict(line.split(":", 1) for line in f.crictl("version").splitlines())
    equal({k: v.strip() for k, v in out.items()}["RuntimeName"], "berth")
    equal(out["RuntimeApiVersion"].strip(), "v1")
    assert out["RuntimeVersion"].strip(), out


def test_info(f):
    info = f.crictl.json("info")
    conditions = {c["type"]: c["status"] for c in info["status"]["conditions"]}
    equal(conditions.get("RuntimeReady"), True)
    equal(conditions.get("NetworkReady"), True)


def test_pull_and_images(f):
    ref = f.registry.ref(fixture.NGINX)
    pulled = f.crictl("pull", ref)
    contains(pulled, "sha256:")
    f.cleanup(lambda: f.crictl.call("rmi", ref))
    image = f.crictl.json("images", ref)["images"]
    equal(len(image), 1)
    image = image[0]
    contains(image["repoTags"], ref)
    equal(len(image["repoDigests"]), 1)
    contains(image["repoDigests"][0], ref.rsplit(":", 1)[0] + "@sha256:")
    assert int(image["size"]) > 100_000, image
    contains(pulled, image["id"])
    everything = f.crictl.json("images")["images"]
    equal({tag for i in everything for tag in i["repoTags"]}, {ref, f.busybox})
    by_digest = f.crictl.json("inspecti", image["repoDigests"][0])["status"]
    equal(by_digest["id"], image["id"])
    f.crictl("pull", ref)
    equal(len(f.crictl.json("images")["images"]), 2, "images after a second pull")
    f.crictl("rmi", ref)
    equal(f.crictl.json("images", ref)["images"], [])
    equal([i["repoTags"] for i in f.crictl.json("images")["images"]], [[f.busybox]])


def test_image_file_system(f):
    status = f.crictl.json("imagefsinfo")["status"]
    [image] = status["imageFilesystems"]
    contains(image["fsId"]["mountpoint"], f.daemon.root)
    assert int(image["usedBytes"]["value"]) > 500_000, image
    assert int(image["inodesUsed"]["value"]) > 0, image
    assert abs(int(image["timestamp"]) / NANOS - time.time()) < 600, image
    contains(status["containerFilesystems"][0]["fsId"]["mountpoint"], f.daemon.root)


def test_pod(f):
    pod = f.run_pod(labels=LABELS, annotations={"note": "a=b, c"}, hostname="shown")
    [listed] = f.crictl.json("pods", "--id", pod.id)["items"]
    equal(listed["state"], "SANDBOX_READY")
    equal(listed["metadata"], {"name": pod.config["metadata"]["name"], "namespace": "default", "uid": pod.config["metadata"]["uid"],
                               "attempt": 0})
    equal(listed["labels"], LABELS)
    equal(listed["annotations"], {"note": "a=b, c"})
    assert abs(int(listed["createdAt"]) / NANOS - time.time()) < 60, listed
    equal([p["id"] for p in f.crictl.json("pods", "--label", "app=shown")["items"]], [pod.id])
    equal(f.crictl.json("pods", "--label", "app=other")["items"], [])
    status = pod.inspect()["status"]
    contains(status["network"]["ip"], f.daemon.subnet.rsplit(".", 2)[0] + ".")
    equal(status["linux"]["namespaces"]["options"]["network"], "POD")
    f.crictl("stopp", pod.id)
    f.crictl("stopp", pod.id)
    equal(pod.inspect()["status"]["state"], "SANDBOX_NOTREADY")
    equal([p["id"] for p in f.crictl.json("pods", "--state", "NotReady")["items"]], [pod.id])
    f.crictl("rmp", pod.id)
    equal(f.crictl.json("pods")["items"], [])
    f.crictl.call("inspectp", pod.id).refused("NotFound", pod.id)


def test_container(f):
    pod = f.run_pod()
    config = dict(labels=LABELS, annotations={"note": "x"}, envs=[{"key": "A", "value": "b"}])
    c = pod.create(["/bin/sh", "-c", "echo out; echo err >&2; exec sleep 1000"], **config)
    created = c.status()
    equal(created["state"], "CONTAINER_CREATED")
    equal(created["exitCode"], 0)
    f.crictl("start", c.id)
    status = c.status()
    equal(status["state"], "CONTAINER_RUNNING")
    equal(status["labels"], LABELS)
    equal(status["annotations"], {"note": "x"})
    equal(status["image"]["image"], f.busybox)
    contains(status["imageRef"], "sha256:")
    equal(status["logPath"], c.log)
    assert created["createdAt"] <= status["startedAt"], status
    [listed] = f.crictl.json("ps", "--id", c.id)["containers"]
    equal((listed["podSandboxId"], listed["state"], listed["metadata"]["name"]), (pod.id, "CONTAINER_RUNNING", c.config["metadata"]["name"]))
    equal(f.crictl.json("ps", "--state", "Exited")["containers"], [])
    equal(c.exec("/bin/sh", "-c", "echo $A; hostname"), f"b\n{pod.config['metadata']['name']}\n")
    failed = f.crictl.call("exec", "-s", c.id, "/bin/sh", "-c", "echo to-err >&2; exit 9")
    contains(failed.err, "to-err")
    assert failed.status != 0 and "9" in failed.err, str(failed)
    wait_for("both lines in the log", lambda: len(c.log_lines()) == 2)
    logs = f.crictl.call("logs", c.id)
    equal((logs.out, logs.err), ("out\n", "err\n"))
    f.crictl("stop", "--timeout", "0", c.id)
    f.crictl("stop", "--timeout", "0", c.id)
    ended = c.status()
    equal((ended["state"], ended["exitCode"], ended["reason"]), ("CONTAINER_EXITED", 137, "Error"))
    assert ended["startedAt"] <= ended["finishedAt"], ended
    equal([x["id"] for x in f.crictl.json("ps", "-a")["containers"]], [c.id])
    equal(f.crictl.json("ps")["containers"], [])
    f.crictl("rm", c.id)
    equal(f.crictl.json("ps", "-a")["containers"], [])
    f.crictl.call("inspect", c.id).refused("NotFound", c.id)


def test_completed_container(f):
    c = f.pod.start(["/bin/sh", "-c", "exit 0"])
    status = c.wait()
    equal((status["exitCode"], status["reason"]), (0, "Completed"))


def test_stats(f):
    c = f.pod.start(["/bin/sh", "-c", "dd if=/dev/zero of=/f bs=1024 count=512 2>/dev/null; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 1000"])
    def used():
        found = f.crictl.json("stats", "--id", c.id)["stats"]
        equal(len(found), 1, "stats of one running container")
        ready = int(found[0]["cpu"]["usageCoreNanoSeconds"]["value"]) > 10_000_000 and int(found[0]["writableLayer"]["usedBytes"]["value"]) >= 512 << 10
        return found[0] if ready else None
    stats = wait_for("processor time and written bytes in the stats", used)
    equal(stats["attributes"]["id"], c.id)
    equal(stats["attributes"]["metadata"]["name"], c.config["metadata"]["name"])
    assert 0 < int(stats["memory"]["workingSetBytes"]["value"]) < 64 << 20, stats
    assert int(stats["writableLayer"]["inodesUsed"]["value"]) >= 1, stats


def test_pod_with_containers_is_removed_by_force(f):
    pod = f.run_pod()
    running, created = pod.start(["/bin/sleep", "1000"]), pod.create(["/bin/sleep", "1000"])
    f.crictl("stopp", pod.id)
    equal(running.status()["state"], "CONTAINER_EXITED")
    equal(created.status()["state"], "CONTAINER_EXITED")
    f.crictl("rmp", pod.id)
    equal([x["id"] for x in f.crictl.json("ps", "-a")["containers"]], [])


def at_terminal(f, *argv, **more):
    terminal = Terminal(f.crictl.argv(*argv), **more)
    f.cleanup(terminal.close)
    return terminal


def test_exec_at_a_terminal(f):
    c = f.pod.start(["/bin/sleep", "1000"])
    for transport in TRANSPORTS:
        terminal = at_terminal(f, "exec", "-it", "--transport", transport, c.id, "/bin/sh", rows=33, columns=101)
        terminal.expect("# ")
        terminal.type("until [ \"$(stty size)\" = '33 101' ]; do sleep 0.1; done; echo the-size-''is-there\r")
        terminal.expect("the-size-is-there")
        terminal.size(40, 120)
        terminal.type("until [ \"$(stty size)\" = '40 120' ]; do sleep 0.1; done; echo the-new-''size-is-there\r")
        terminal.expect("the-new-size-is-there")
        terminal.type("sleep 500\r")
        time.sleep(0.3)
        terminal.type("\x03")
        terminal.type("echo sti''ll here\r")
        terminal.expect("still here")
        terminal.type("exit\r")
        terminal.wait()


def test_exec_in_a_pipe(f):
    c = f.pod.start(["/bin/sleep", "1000"])
    for transport in TRANSPORTS:
        got = f.crictl.call("exec", "-i", "--transport", transport, c.id, "/bin/sh", "-c", "wc -c; echo to-err >&2", data=bytes(3 << 20))
        equal((got.status, got.out.strip(), got.err), (0, str(3 << 20), "to-err\n"), transport)
        got = f.crictl.call("exec", "--transport", transport, c.id, "/bin/sh", "-c", "echo out; exit 3")
        equal(got.out, "out\n", transport)
        assert got.status != 0 and "exit code 3" in got.err, str(got)
        got = f.crictl.call("exec", "--transport", transport, c.id, "/no/such")
        assert got.status != 0 and "/no/such" in got.err, str(got)


def test_attach_at_a_terminal(f):
    for transport in TRANSPORTS:
        c = f.pod.start(["/bin/sh"], stdin=True, tty=True)
        terminal = at_terminal(f, "attach", "-it", "--transport", transport, c.id)
        terminal.type("echo atta''ched; exit 5\r")
        terminal.expect("attached")
        terminal.wait()
        equal(c.wait()["exitCode"], 5)


def test_port_forward(f):
    c = f.pod.start(["/bin/sleep", "1000"])
    server = pod_net.Echo(pod_net.listen(c.process()))
    f.cleanup(server.close)
    for transport in TRANSPORTS:
        with subprocess.Popen(f.crictl.argv("port-forward", "--transport", transport, f.pod.id, f"0:{server.port}"), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as program:
            try:
                port = int(re.search(r"Forwarding from 127.0.0.1:(\d+) ->", program.stdout.readline()).group(1))
                peers = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(10)]
                for i, peer in enumerate(peers):
                    peer.sendall(b"%d" % i * 100000)
                    peer.shutdown(socket.SHUT_WR)
                for i, peer in enumerate(peers):
                    with peer:
                        equal(pod_net.read_all(peer), b"%d" % i * 100000, transport)
            finally:
                program.terminate()


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX], [fixture.NGINX]))
