#!/usr/bin/env python3
"""A container's log, from its pipe to `berth logs`: rotation as the kubelet does it, full disks, odd directories, and a daemon
that is not there."""
import gzip
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import fixture
import rpc
from daemon import BIN
from suite import Skip, contains, equal, main, wait_for

LOST = "berth: "


def awk(lines, width=0, pause=""):
    """A program that writes numbered lines, each with so many letters behind its number."""
    return ["/bin/sh", "-c", f"x=$(yes x | head -n {width} | tr -d '\\n'); awk -v x=$x 'BEGIN {{for (i = 0; i < {lines}; ++i) print i \" \" x}}'{pause}"]


def ticker(pause="0.01"):
    return ["/bin/sh", "-c", f"i=0; while true; do echo $i; i=$((i+1)); sleep {pause}; done"]


def waits_for_go(before, after):
    return ["/bin/sh", "-c", f"{before}; while [ ! -e /go ]; do sleep 0.02; done; {after}"]


def reopen(f, container):
    return rpc.call(f.daemon.socket, "RuntimeService/ReopenContainerLog", rpc.message((1, container.id)))


def rotate(f, container, number):
    """As the kubelet does it; the name of the rotated file."""
    name = f"{container.log}.20260131-{number:06}"
    os.rename(container.log, name)
    code, words = reopen(f, container)
    if code != "OK":
        os.rename(name, container.log)
    equal(code, "OK", words)
    return name


def texts(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as log:
        return [line.rstrip("\n").split(" ", 3)[3] for line in log]


def numbers(lines):
    return [int(line.split(" ")[0]) for line in lines]


def consecutive(found, count=None):
    """Demands 0, 1, 2 and so on: nothing lost, nothing twice."""
    want = list(range(len(found) if count is None else count))
    if found != want:
        at = next((i for i, (a, b) in enumerate(zip(found, want)) if a != b), min(len(found), len(want)))
        raise AssertionError(f"{len(found)} numbers, want {len(want)}; at {at}: {found[max(0, at - 3):at + 3]}")


def need_berth():
    if not (BIN / "berth").exists():
        raise Skip(f"missing program: {BIN / 'berth'}")


def berth(f, *arguments, **more):
    need_berth()
    return subprocess.run([BIN / "berth", "--socket", f.daemon.socket, *arguments], capture_output=True, text=True, check=False,
                          timeout=60, **more)


def follow(f, container, out, *more):
    need_berth()
    return subprocess.Popen([BIN / "berth", "--socket", f.daemon.socket, "logs", "-f", *more, container.id], stdout=out,
                            stderr=subprocess.PIPE)


def test_flood_with_a_rotation_every_50_ms(f):
    """Also for one who follows, and with older files compressed meanwhile."""
    count = 1_000_000
    c = f.pod.start(awk(count, 100))
    followed = f"{f.daemon.files}/followed"
    with open(followed, "wb") as out:
        reader = follow(f, c, out)
    parts = []
    while c.status()["state"] == "CONTAINER_RUNNING" and len(parts) < 200:
        try:
            parts.append(rotate(f, c, len(parts)))
        except AssertionError as refused:
            contains(str(refused), "is not running")  # it has just ended
            break
        if len(parts) % 5 == 4:
            # One long ago: whoever follows has passed it.
            with open(parts[-3], "rb") as plain, gzip.open(f"{parts[-3]}.tmp", "wb", compresslevel=1) as packed:
                shutil.copyfileobj(plain, packed)
            os.rename(f"{parts[-3]}.tmp", f"{parts[-3]}.gz")
            os.unlink(parts[-3])
            parts[-3] += ".gz"
        time.sleep(0.05)
    c.wait(60)
    assert len(parts) > 5, f"only {len(parts)} rotations: the flood was too short"
    consecutive(numbers(line for part in [*parts, c.log] for line in texts(part)), count)
    equal(reader.wait(30), 0, reader.stderr.read())
    with open(followed, encoding="utf-8") as lines:
        consecutive(numbers(lines), count)
    done = berth(f, "logs", c.id)
    equal((done.returncode, done.stderr), (0, ""))
    consecutive(numbers(done.stdout.splitlines()), count)
    done = berth(f, "logs", "--tail", str(count - 10), c.id)
    equal(numbers(done.stdout.splitlines()), list(range(10, count)), "the tail reaches into rotated files")


def test_reopened_without_a_rename(f):
    c = f.pod.start(ticker())
    for _ in range(20):
        equal(reopen(f, c)[0], "OK")
    wait_for("some lines", lambda: len(c.log_lines()) > 20)
    consecutive(numbers(texts(c.log)))


def test_deleted_log(f):
    c = f.pod.start(ticker(), log_path="app/0.log")
    wait_for("some lines", lambda: len(c.log_lines()) > 3)
    os.unlink(c.log)
    equal(reopen(f, c)[0], "OK")
    wait_for("lines in the new file", lambda: len(c.log_lines()) > 3)
    found = numbers(texts(c.log))
    equal(found, list(range(found[0], found[0] + len(found))))


def test_daemon_dead_and_rotated_right_after(f):
    c = f.pod.start(ticker())
    wait_for("some lines", lambda: len(c.log_lines()) > 5)
    f.daemon.kill()
    before = len(c.log_lines())
    wait_for("more lines without a daemon", lambda: len(c.log_lines()) > before + 50)
    with open(f"{f.daemon.files}/followed", "wb") as out:
        f.daemon.start()
        reader = follow(f, c, out)
    wait_for("the reader has begun", lambda: os.path.getsize(f"{f.daemon.files}/followed"))
    parts = [rotate(f, c, 1)]
    f.daemon.kill()
    wait_for("lines in the new file", lambda: len(c.log_lines()) > 20)
    f.daemon.start()
    f.rebase_descriptors()
    parts.append(rotate(f, c, 2))
    wait_for("lines in the newest file", lambda: len(c.log_lines()) > 20)
    f.crictl("stop", "--timeout", "0", c.id)
    whole = numbers(line for part in [*parts, c.log] for line in texts(part))
    consecutive(whole)
    equal(reader.wait(20), 0, reader.stderr.read())
    equal(numbers(pathlib.Path(f"{f.daemon.files}/followed").read_text().splitlines()), whole, "followed over the daemon's deaths")


def small_disk(f, pod, options):
    """A tmpfs where the pod's logs are."""
    directory = pod.config["log_directory"]
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)
    f.cleanup(subprocess.run, ["umount", "-l", directory])
    return directory


def own_bytes(path):
    """What a log has of the container's own bytes, and what it says was lost."""
    kept = lost = 0
    for line in pathlib.Path(path).read_text(errors="replace").splitlines():
        words = line.split(" ", 3)
        if len(words) < 4:
            continue
        if words[1] == "stderr" and words[3].startswith(LOST):
            contains(words[3], " bytes of output were lost: No space left on device")
            lost += int(words[3].split(" ")[1])
        else:
            kept += len(words[3]) + 1
    return kept, lost


def test_full_disk_never_stops_the_container(f):
    pod = f.run_pod()
    directory = small_disk(f, pod, "size=1m")
    filler = pathlib.Path(directory, "filler")
    filler.write_bytes(b"x" * (700 << 10))
    # 6 MB, of which 300 KiB have room.
    c = pod.start(waits_for_go("yes 0123456789abcdefghijklmnopqrstu | head -n 200000; touch /written", "echo again"))
    wait_for("all is written", lambda: c.crictl.call("exec", "-s", c.id, "ls", "/written").status == 0)
    filler.unlink()
    c.exec("touch", "/go")
    equal(c.wait()["exitCode"], 0)
    equal(c.log_lines()[-1], ("stdout", "F", "again"))
    told = [text for stream, _, text in c.log_lines() if text.startswith(LOST)]
    assert 1 <= len(told) <= 3, told
    kept, lost = own_bytes(c.log)
    assert kept > 100_000, kept
    # A line that was torn has a newline that is not its own.
    assert 200000 * 32 + 6 <= kept + lost <= 200000 * 32 + 6 + len(told), (kept, lost)
    # crictl reads as the kubelet does; both programs show what was lost, and what came then.
    shown = f.crictl.call("logs", c.id)
    equal((shown.status, shown.out.splitlines()[-1]), (0, "again"), str(shown)[-500:])
    equal([line for line in shown.err.splitlines() if line.startswith(LOST)], told)
    shown = berth(f, "logs", c.id)
    equal((shown.stdout.splitlines()[-1], shown.stderr.splitlines()), ("again", told))


def test_rotation_of_a_full_disk_tells_of_the_loss(f):
    pod = f.run_pod()
    directory = small_disk(f, pod, "size=256k")
    c = pod.start(waits_for_go("yes 0123456789abcde | head -n 100000; touch /written", "true"))
    wait_for("all is written", lambda: c.crictl.call("exec", "-s", c.id, "ls", "/written").status == 0)
    old = f"{f.daemon.files}/rotated"
    shutil.move(c.log, old)  # to another disk, as the kubelet's gzip makes room
    equal(reopen(f, c)[0], "OK")
    [(stream, tag, text)] = c.log_lines()
    equal((stream, tag), ("stderr", "F"))
    contains(text, " bytes of output were lost: No space left on device")
    kept, lost = own_bytes(old)[0], own_bytes(c.log)[1]
    assert 1_600_000 <= kept + lost <= 1_600_002, (kept, lost)
    del directory


def test_disk_without_room_for_another_file(f):
    pod = f.run_pod()
    directory = small_disk(f, pod, "size=1m,nr_inodes=2")
    c = pod.start(ticker())
    wait_for("some lines", lambda: len(c.log_lines()) > 3)
    os.rename(c.log, c.log + ".1")
    code, words = reopen(f, c)
    equal(code, "ResourceExhausted", words)
    contains(words, f"{directory}/{c.config['log_path']}")
    contains(words, "No space left on device")
    os.rename(c.log + ".1", c.log)
    before = len(c.log_lines())
    wait_for("the old file is written on", lambda: len(c.log_lines()) > before + 5)
    consecutive(numbers(texts(c.log)))


def test_removed_directory(f):
    pod = f.run_pod()
    directory = pod.config["log_directory"]
    c = pod.start(ticker())
    wait_for("some lines", lambda: len(c.log_lines()) > 3)
    os.rename(directory, directory + ".away")
    f.cleanup(shutil.rmtree, directory + ".away")
    code, words = reopen(f, c)
    equal(code, "NotFound", words)
    contains(words, directory)
    os.mkdir(directory)
    equal(reopen(f, c), ("OK", ""))
    wait_for("lines in the new directory", lambda: len(c.log_lines()) > 3)
    old = f"{directory}.away/{c.config['log_path']}"
    f.crictl("stop", "--timeout", "0", c.id)
    consecutive(numbers([*texts(old), *texts(c.log)]))


def test_odd_things_in_the_logs_place_are_refused(f):
    c = f.pod.start(ticker())
    wait_for("some lines", lambda: len(c.log_lines()) > 3)
    away = c.log + ".away"
    os.rename(c.log, away)
    target = f"{c.log}.target"
    for make in (lambda: os.mkfifo(c.log), lambda: os.symlink(os.path.basename(target), c.log),
                 lambda: os.symlink(f"{f.daemon.files}/elsewhere", c.log), lambda: os.mkdir(c.log)):
        make()
        code, words = reopen(f, c)
        assert code in ("InvalidArgument", "FailedPrecondition"), f"{code}: {words}"
        contains(words, c.config["log_path"])
        (os.rmdir if os.path.isdir(c.log) else os.unlink)(c.log)
    assert not os.path.exists(target), "the link was followed"
    os.rename(away, c.log)
    before = len(c.log_lines())
    wait_for("the old file is written on", lambda: len(c.log_lines()) > before + 5)
    consecutive(numbers(texts(c.log)))


def test_line_sizes(f):
    """The bound is that of the configuration at the time of the creation."""
    script = "yes 0123456789 | head -n 2000 | tr -d '\\n'; echo; echo short"
    want = "0123456789" * 2000
    first = f.pod.create(["/bin/sh", "-c", script])
    config = pathlib.Path(f.daemon.files, "config.toml")
    before = config.read_text()
    f.cleanup(f.rebase_descriptors)
    f.cleanup(f.daemon.start)
    f.cleanup(config.write_text, before)
    f.cleanup(f.daemon.stop)

    def cut(container):
        container.wait()
        equal("".join(t for _, _, t in container.log_lines()), want + "short")
        equal(container.output("stdout"), want + "\nshort\n")
        return [(tag, len(text)) for _, tag, text in container.log_lines()]

    for size, parts in ((1000, [("P", 1000)] * 19 + [("F", 1000)]), (-1, [("F", 20000)])):
        f.daemon.stop()
        config.write_text(f"max_container_log_line_size = {size}\n{before}")
        f.daemon.start()
        c = f.pod.start(["/bin/sh", "-c", script])
        equal(cut(c), [*parts, ("F", 5)], f"line size {size}")
        c.remove()
    f.crictl("start", first.id)
    equal(cut(first), [("P", 16384), ("F", 20000 - 16384), ("F", 5)])


def test_terminal_and_no_newline(f):
    c = f.pod.start(waits_for_go("echo one; printf 'prompt> '", "printf '\\033[1mbold\\r\\n'; printf end"), tty=True)
    wait_for("the first line", lambda: c.log_lines() == [("stdout", "F", "one")])
    rotated = rotate(f, c, 1)
    c.exec("touch", "/go")
    c.wait()
    equal(texts(rotated), ["one"])
    equal(c.log_lines(), [("stdout", "F", "prompt> \x1b[1mbold"), ("stdout", "P", "end")])
    done = berth(f, "logs", c.id)
    equal((done.stdout, done.stderr), ("one\nprompt> \x1b[1mbold\nend", ""))


def test_follow_ends_with_the_container(f):
    c = f.pod.start(waits_for_go("echo one; echo two >&2", "echo three; exit 3"))
    wait_for("two lines", lambda: len(c.log_lines()) == 2)
    reader = follow(f, c, subprocess.PIPE)
    equal(reader.stdout.readline(), b"one\n")
    equal(reader.stderr.readline(), b"two\n")
    c.exec("touch", "/go")
    out, err = reader.communicate(timeout=20)
    equal((reader.returncode, out, err), (0, b"three\n", b""))


def test_follow_interrupted_and_without_a_reader(f):
    c = f.pod.start(ticker())
    reader = follow(f, c, subprocess.PIPE)
    equal(reader.stdout.readline(), b"0\n")
    reader.send_signal(signal.SIGINT)
    equal((reader.wait(5), reader.stderr.read()), (130, b""))
    done = subprocess.run(["/bin/sh", "-c", f"{BIN}/berth --socket {f.daemon.socket} logs -f {c.id} | head -n 2"], capture_output=True,
                          check=False, timeout=20)
    equal((done.stdout, done.stderr), (b"0\n1\n", b""))
    # A shell that ignores SIGPIPE: the write fails instead.
    done = subprocess.run(["/bin/sh", "-c", f"trap '' PIPE; {BIN}/berth --socket {f.daemon.socket} logs -f {c.id} | head -n 2"],
                          capture_output=True, check=False, timeout=20)
    equal((done.stdout, done.stderr), (b"0\n1\n", b""))


def test_former_attempts_and_all_containers(f):
    """Names as the kubelet gives them: CONTAINER/ATTEMPT.log."""
    pod = f.run_pod()
    attempts = []
    for attempt in range(3):
        c = pod.start(["/bin/sh", "-c", f"echo attempt {attempt}"], log_path=f"app/{attempt}.log", metadata={"name": "app", "attempt": attempt})
        c.wait()
        attempts.append(c)
    side = pod.start(["/bin/sh", "-c", "echo side; echo error >&2"], log_path="side/0.log", metadata={"name": "side", "attempt": 0})
    side.wait()
    name = pod.config["metadata"]["name"]

    def out(*arguments):
        done = berth(f, "logs", *arguments)
        equal(done.returncode, 0, done.stderr)
        return done.stdout

    equal(out(f"{name}/app"), "attempt 2\n")
    equal(out("-p", f"{name}/app"), "attempt 1\n")
    for former in attempts[:2]:
        # crictl would remove the file, too.
        equal(rpc.call(f.daemon.socket, "RuntimeService/RemoveContainer", rpc.message((1, former.id)))[0], "OK")
    equal(out("-p", f"{name}/app"), "attempt 1\n", "the record is gone, the file is there")
    equal(out("--all-containers", name), f"[{name}/app] attempt 2\n[{name}/side] side\n")
    objects = [json.loads(line) for line in out("--all-containers", "-o", "json", name).splitlines()]
    equal(sorted((o["container"], o["stream"], o["log"]) for o in objects),
          [("app", "stdout", "attempt 2"), ("side", "stderr", "error"), ("side", "stdout", "side")])
    contains(berth(f, "logs", "-p", f"{name}/side").stderr, "no former attempt")


def test_since_and_until(f):
    c = f.pod.start(waits_for_go("echo old", "echo new"))
    wait_for("the first line", lambda: len(c.log_lines()) == 1)
    time.sleep(1.2)
    c.exec("touch", "/go")
    c.wait()
    stamp = pathlib.Path(c.log).read_text().splitlines()[1].split(" ")[0]
    equal(berth(f, "logs", "--since", stamp, c.id).stdout, "new\n")
    equal(berth(f, "logs", "--since-time", stamp, "-t", c.id).stdout, f"{stamp} new\n")
    equal(berth(f, "logs", "--until", pathlib.Path(c.log).read_text().split(" ")[0], c.id).stdout, "old\n")
    equal(berth(f, "logs", "--since", "1h", c.id).stdout, "old\nnew\n")


def test_a_reader_reads_what_crictl_reads(f):
    c = f.pod.start(["/bin/sh", "-c", "yes a | head -n 40000 | tr -d '\\n'; echo; echo err >&2; printf x"])
    c.wait()
    equal(berth(f, "logs", c.id).stdout.rstrip("\n"), f.crictl("logs", c.id).rstrip("\n"))


def test_other_containers_while_one_floods(f):
    """A flood in one container takes nothing from another one of its pod."""
    pod = f.run_pod()
    flood = pod.start(["/bin/sh", "-c", "while true; do echo flood; done & while true; do yes flood | head -n 100000; done"])
    stop = threading.Event()

    def empty():
        while not stop.wait(0.05):
            os.truncate(flood.log, 0)

    thread = threading.Thread(target=empty)
    thread.start()
    try:
        c = pod.start(["/bin/sh", "-c", "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.01; done"])
        equal(c.wait(30)["exitCode"], 0)
        consecutive(numbers(texts(c.log)), 100)
        flood.remove()
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([fixture.BUSYBOX]))
