#!/usr/bin/env python3
"""`berth doctor`: says what is wrong and changes nothing; removes what nothing owns when told to, and nothing else."""
import json
import os
import pathlib
import pty
import sqlite3
import subprocess
import sys
import threading
import time

import fixture
import leaks
from daemon import BIN
from suite import contains, equal, main, wait_for

TICK = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.1; done"


class Report:
    def __init__(self, done):
        self.code, self.err, self.out = done.returncode, done.stderr, done.stdout
        self.json = json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def of(self, severity):
        return {(x["check"], x["subject"]) for x in self.json.get("findings", []) if x["severity"] == severity}

    def __str__(self):
        lines = [f"{x['severity']} {x['check']} {x['what']}" for x in self.json.get("findings", []) if x["severity"] != "ok"]
        return "\n".join([f"exit code {self.code}: {self.err}", *lines, *map(str, self.json.get("done", []))])


def command(f, *arguments):
    config = () if "--config" in arguments else ("--config", f"{f.daemon.files}/config.toml")
    return [BIN / "berth", "doctor", *config, *arguments]


def doctor(f, *arguments):
    return Report(subprocess.run(command(f, "-o", "json", *arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False))


def healthy(f, *arguments):
    report = doctor(f, *arguments)
    equal((report.code, report.of("problem")), (0, set()), str(report))
    return report


def hex_id():
    return os.urandom(32).hex()


def run(*arguments):
    subprocess.run(arguments, check=True)


def tree(f):
    """All that lies below root and state, with what a write would change."""
    found = {}
    for top in (f.daemon.root, f.daemon.state):
        for directory, names, files in os.walk(top):
            for name in [*names, *files]:
                path = os.path.join(directory, name)
                st = os.lstat(path)
                found[path] = (st.st_mode, st.st_size, st.st_mtime_ns, st.st_ino)
    return found


def world(f):
    """The tree comes last, and first in same_world: the other reads databases, which writes their -shm."""
    kept = leaks.snapshot(f.daemon)
    return tree(f), kept


def same_world(f, before, what, but=()):
    now = tree(f), leaks.snapshot(f.daemon)
    changed = {p for p in before[0].keys() | now[0].keys() if before[0].get(p) != now[0].get(p)} - set(but)
    equal((changed, before[1] ^ now[1]), (set(), set()), f"what {what} changed")


def rows(f, *statements):
    with sqlite3.connect(f"{f.daemon.root}/state.db") as db:
        for sql, values in statements:
            db.execute(sql, values)
    db.close()


def test_a_running_daemon_is_not_disturbed(f):
    pod = f.run_pod()
    pod.start(["/bin/sleep", "1000"])
    before = leaks.snapshot(f.daemon)
    report = healthy(f)
    equal(report.json["daemonPid"], f.daemon.pid)
    equal(report.json["plan"], [])
    healthy(f, "--images")
    equal(leaks.snapshot(f.daemon) ^ before, set())
    text = subprocess.run(command(f), capture_output=True, text=True, check=True).stdout
    contains(text, f"process {f.daemon.pid} (berthd) answers at {f.daemon.socket}")
    contains(text, "\nhealthy")
    assert "\033" not in text, "colours without a terminal"


def test_what_is_being_made_and_removed_is_no_alarm(f):
    ending, failures = threading.Event(), []

    def churn():
        while not ending.is_set():
            try:
                pod = f.run_pod(keep=True)
                made = pod.try_create(pod.container_config(["/bin/sleep", "1000"]))
                f.crictl("start", made.out.strip())
                pod.remove()
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
                return

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(8):
            healthy(f)
    finally:
        ending.set()
        thread.join()
    equal(failures, [])


def test_no_repair_beside_a_daemon(f):
    report = doctor(f, "--repair", "--yes")
    equal(report.code, 2)
    contains(report.err, f"is locked by process {f.daemon.pid} (berthd)")


def test_a_second_daemon_is_refused(f):
    other = f"{f.daemon.files}/second.toml"
    text = pathlib.Path(f"{f.daemon.files}/config.toml").read_text(encoding="utf-8")
    for line, more in ((f'state = "{f.daemon.state}"', f'state = "{f.daemon.files}/other"'), (f'root = "{f.daemon.root}"', f'root = "{f.daemon.files}/other"')):
        pathlib.Path(other).write_text(text.replace(line, more), encoding="utf-8")
        done = subprocess.run([BIN / "berthd", "--config", other, "--socket", f"{f.daemon.files}/s.sock"], capture_output=True, text=True, timeout=20, check=False)
        equal(done.returncode, 1)
        contains(done.stderr, f"berthd.lock' is locked by process {f.daemon.pid} (berthd)")
    equal(f.crictl.call("version").status, 0)


def test_bad_configuration(f):
    equal(doctor(f, "--config", "/nowhere.toml").code, 2)
    bad = f"{f.daemon.files}/bad.toml"
    pathlib.Path(bad).write_text("rooot = 1\n", encoding="utf-8")
    report = doctor(f, "--config", bad)
    equal(report.code, 2)
    contains(report.err, "unknown key 'rooot'")
    equal(doctor(f, "--yes").code, 2)


def test_a_killed_daemon_leaves_no_problem(f):
    pod = f.run_pod()
    pod.start(["/bin/sleep", "1000"])
    f.daemon.kill()
    before = world(f)
    report = healthy(f)
    equal(report.json["daemonPid"], None)
    equal(report.of("warning") & {("daemon", f.daemon.socket)}, {("daemon", f.daemon.socket)})
    same_world(f, before, "the check")
    f.daemon.start()
    f.rebase_descriptors()


class Damage:
    """Each thing that can be left over, made by hand while no daemon runs; and what doctor is to say of it."""

    def __init__(self, f, lost, container, half):
        d = f.daemon
        self.problems = set()
        rows(f, ("DELETE FROM records WHERE id = ?", (lost.id,)), ("DELETE FROM records WHERE id = ?", (container.id,)),
             ("DELETE FROM records WHERE id = ?", (half.id,)))
        expected = {"shims": lost.id, "directories": lost.id, "namespaces": lost.id, "network": f"{d.root}/network/{lost.id}.json",
                    "mounts": f"{d.state}/pods/{lost.id}/shm", "cgroups": d.cgroup_of(lost), "layers": container.id}
        self.problems |= set(expected.items()) | {("layers", half.id), ("network", f"bv{lost.id[:12]}")}
        scope = d.parent_name.endswith(".slice")
        self.problems |= {("cgroups", f"{d.cgroup_of(c.pod) if scope else d.cgroup_parent}/{c.id}") for c in (container, half)}

        pin = self.file(f"{d.state}/netns/{hex_id()}", "namespaces")
        run("mount", "--bind", "/proc/self/ns/net", pin)
        self.file(f"{d.state}/netns/{hex_id()}", "namespaces")
        directory = f"{d.state}/pods/{hex_id()}"
        os.makedirs(f"{directory}/shm")
        run("mount", "-t", "tmpfs", "none", f"{directory}/shm")
        self.problems |= {("directories", os.path.basename(directory)), ("mounts", f"{directory}/shm")}

        link = f"bv{hex_id()[:12]}"
        run("ip", "link", "add", link, "type", "veth", "peer", "name", f"x{os.getpid()}")
        run("ip", "link", "set", link, "master", d.bridge)
        self.problems.add(("network", link))
        lease = json.loads(pathlib.Path(f"{d.root}/network/{lost.id}.json").read_text(encoding="utf-8"))
        for content in ({**lease, "pod": (other := hex_id()), "link": "bvgone", "ips": ["10.9.8.7"]}, None):
            path = f"{d.root}/network/{other if content else hex_id()}.json"
            pathlib.Path(path).write_text(json.dumps(content) if content else "garbage", encoding="utf-8")
            self.problems.add(("network", path))
        table = f"berth-{d.bridge}"
        run("nft", "add", "element", "ip", table, "any_address", "{ tcp . 45678 : 10.9.8.6 . 80 }")
        self.problems.add(("network", "tcp . 45678 : 10.9.8.6 . 80"))

        layer = hex_id()
        os.makedirs(f"{d.root}/images/snapshots/{layer}/upper")
        self.problems.add(("layers", layer))
        self.cgroup = hex_id()
        for top in ([leaks.CGROUP] if os.path.exists(f"{leaks.CGROUP}/cgroup.controllers") else
                    [f"{leaks.CGROUP}/{name}" for name in os.listdir(leaks.CGROUP) if os.path.isdir(f"{leaks.CGROUP}/{name}{d.cgroup_parent}")]):
            os.mkdir(f"{top}{d.cgroup_parent}/{self.cgroup}")
        self.problems.add(("cgroups", f"{d.cgroup_parent}/{self.cgroup}"))
        self.garbage = {hex_id(): 0, hex_id(): 1}
        rows(f, *(("INSERT INTO records VALUES (?, ?, ?)", (kind, id, b"\xff\xffgarbage")) for id, kind in self.garbage.items()))
        self.problems |= {("records", id) for id in self.garbage}
        os.chmod(d.root, 0o777)
        self.problems.add(("permissions", d.root))

    def file(self, path, check):
        pathlib.Path(path).touch()
        self.problems.add((check, os.path.basename(path)))
        return path


def at_terminal(f, answer, meanwhile=lambda: None):
    """Exit code and output of a repair whose question is answered so."""
    master, slave = pty.openpty()
    with subprocess.Popen(command(f, "--repair"), stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        output = ""
        while not output.endswith("[y/N] "):
            char = process.stdout.read(1)
            assert char, f"it did not ask: {output}"
            output += char
        meanwhile()
        os.write(master, f"{answer}\n".encode())
        output += process.stdout.read()
    os.close(master)
    os.close(slave)
    return process.returncode, output


def refused_meanwhile(f):
    done = subprocess.run([BIN / "berthd", "--config", f"{f.daemon.files}/config.toml"], capture_output=True, text=True, timeout=20, check=False)
    equal(done.returncode, 1)
    contains(done.stderr, "(berth)")
    contains(done.stderr, "is locked by process")


def test_damage_is_told_and_repaired(f):
    alive = f.run_pod()
    ticker, half = alive.start(["/bin/sh", "-c", TICK]), alive.start(["/bin/sleep", "1000"])
    lost = f.run_pod(keep=True, port_mappings=[{"container_port": 80, "host_port": 45679}])
    container = lost.start(["/bin/sleep", "1000"])
    f._undo = [(call, arguments) for call, arguments in f._undo if call not in (half.remove, container.remove)]
    kept = (ticker.process(), alive.ip())
    doomed = [container.process(), half.process()]
    f.daemon.kill()
    mode = os.stat(f.daemon.root).st_mode & 0o7777
    damage = Damage(f, lost, container, half)

    before = world(f)
    report = doctor(f)
    equal(report.code, 1, str(report))
    equal(report.of("problem"), damage.problems)
    contains(str(report), f"of pod {lost.id[:12]} and 1 process below it")
    plan = "\n".join(report.json["plan"])
    for part in (*kept, alive.id, ticker.id, alive.id[:12], ticker.id[:12]):
        assert str(part) not in plan.split(), f"the plan touches what lives: {plan}"
    same_world(f, before, "the check")
    before = world(f)
    refused = doctor(f, "--repair")
    equal(refused.code, 2, str(refused))
    contains(refused.err, "--yes")
    code, text = at_terminal(f, "n", lambda: refused_meanwhile(f))
    equal(code, 1, text)
    contains(text, "nothing was changed")
    locks = [f"{directory}/berthd.lock" for directory in (f.daemon.root, f.daemon.state)]  # name the last who held them
    same_world(f, before, "a repair that was not wanted", locks)

    repaired = doctor(f, "--repair", "--yes")
    equal([step for step in repaired.json["done"] if step["error"]], [])
    assert repaired.json["done"], "nothing was done"
    equal((repaired.code, repaired.of("problem"), repaired.json["plan"]), (0, set(), []), str(repaired))
    healthy(f)
    wait_for("what ran without a record has ended", lambda: not any(os.path.exists(f"/proc/{p}") for p in doomed))
    os.kill(kept[0], 0)
    rows(f, ("DELETE FROM damaged", ()))  # where they are kept for whoever wants to look
    equal(os.stat(f.daemon.root).st_mode & 0o022, 0)
    os.chmod(f.daemon.root, mode)

    f.daemon.start()
    f.rebase_descriptors()
    equal((ticker.process(), alive.ip()), kept)
    lines = len(ticker.log_lines())
    wait_for("its log grows", lambda: len(ticker.log_lines()) > lines + 3)
    equal(ticker.exec("/bin/echo", "hi"), "hi\n")
    equal({p["id"] for p in f.crictl.json("pods")["items"]}, {alive.id})
    time.sleep(1.5)  # a daemon that starts looks for strays by itself a moment later
    healthy(f)


def test_repair_at_a_terminal(f):
    f.daemon.kill()
    layer = f"{f.daemon.root}/images/snapshots/{hex_id()}"
    os.makedirs(f"{layer}/upper")
    code, text = at_terminal(f, "y")
    equal(code, 0, text)
    contains(text, "remove the writable layer of container")
    contains(text, ": done")
    assert not os.path.exists(layer)
    f.daemon.start()
    f.rebase_descriptors()


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def test_a_damaged_image_is_told(f):
    images = pathlib.Path(f"{f.daemon.root}/images")
    damaged = [(min((images / "content").iterdir()), -1, "document")]
    for layer in (images / "layers").glob("*/layer.erofs"):
        damaged += [(layer, 4096, "its archive does not"), (layer, 1024, "its index does not"), (layer, -1, "its index does not")]
    for path, at, what in damaged:
        flip(path, at)
        try:
            healthy(f)
            report = doctor(f, "--images")
            equal((report.code, [check for check, _ in report.of("problem")]), (1, ["images"]))
            contains(str(report), what)
        finally:
            flip(path, at)
    healthy(f, "--images")


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
