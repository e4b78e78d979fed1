#!/usr/bin/env python3
"""What a container finds around itself, and how it lives and ends, as the CRI promises it to the kubelet."""
import concurrent.futures
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import fixture
import leaks
from fixture import BUSYBOX, CONTAINER, NGINX, NODE, POD
from suite import Skip, contains, equal, main, wait_for

USER_IMAGES = {f"k8s-staging-cri-tools/test-image-{name}:latest": want for name, want in (
    ("user-uid", "1002 0"), ("user-username", "33 33"), ("user-uid-group", "1003 1004"), ("user-username-group", "33 1004"))}
GROUPS_IMAGE = "k8s-staging-cri-tools/test-image-predefined-group:latest"
# What containerd grants, as bits: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
# net_raw, sys_chroot, mknod, audit_write, setfcap.
DEFAULT_CAPS = 0xa80425fb
SIGUSR1 = 29  # as the CRI numbers it, which is by the alphabet
MASKED = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/no-such", "/sys/firmware"]
READONLY = ["/proc/bus", "/proc/sys"]


def status_field(f, name, security=None, **more):
    code, out = f.pod.sh(f"grep '^{name}:' /proc/self/status", security=security, **more)
    equal(code, 0, out)
    return out.split(":")[1].strip()


def capabilities(f, which, security):
    return int(status_field(f, which, security), 16)


# -- the process


def test_command_and_args(f):
    equal(f.pod.sh("printf '%s|' \"$0\" \"$@\"", args=["a b", "", "c"])[1], "a b||c|")
    code, out = f.pod.sh("echo $#", args=["zero"])
    equal((code, out), (0, "0\n"))


def test_image_command(f):
    """nginx has an entry point of its own, and a port from its configuration."""
    pod = f.pod
    c = pod.create(None, image=f.registry.ref(NGINX))
    f.crictl("start", c.id)
    equal(c.status()["state"], "CONTAINER_RUNNING")


def test_environment(f):
    envs = [{"key": "A", "value": "1 2"}, {"key": "B", "value": "x=y"}, {"key": "A", "value": "last"}, {"key": "EMPTY", "value": ""}]
    _, out = f.pod.sh("env", envs=envs)
    env = dict(line.split("=", 1) for line in out.splitlines())
    equal((env["A"], env["B"], env["EMPTY"]), ("last", "x=y", ""))
    equal((env["HOME"], env["HOSTNAME"]), ("/root", f.pod.config["metadata"]["name"]))
    contains(env["PATH"].split(":"), "/bin")
    equal(set(env) - {"A", "B", "EMPTY", "HOME", "HOSTNAME", "PATH", "PWD", "SHLVL", "OLDPWD"}, set())
    _, out = f.pod.sh("echo $PATH", envs=[{"key": "PATH", "value": "/bin:/mine"}])
    equal(out, "/bin:/mine\n")


def test_working_directory(f):
    equal(f.pod.sh("pwd")[1], "/\n")
    equal(f.pod.sh("pwd", working_dir="/var/lib")[1], "/var/lib\n")
    equal(f.pod.sh("pwd; ls -ld .", working_dir="/made/on/demand")[1].splitlines()[0], "/made/on/demand")


def test_exec_is_like_the_container(f):
    security = {"run_as_user": {"value": 33}, "run_as_group": {"value": 44}, "no_new_privs": True,
                "capabilities": {"drop_capabilities": ["ALL"]}, "seccomp": {"profile_type": 0}}
    c = f.pod.start(["/bin/sleep", "1000"], security=security, envs=[{"key": "A", "value": "b"}], working_dir="/var")
    equal(c.exec("/bin/sh", "-c", "id -u; id -g; echo $A; pwd"), "33\n44\nb\n/var\n")
    def facts(pid):
        fields = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn")
        lines = dict(line.split(":\t", 1) for line in pid.splitlines() if ":\t" in line)
        return {k: lines[k].strip() for k in fields}
    equal(facts(c.exec("/bin/cat", "/proc/self/status")), facts(c.exec("/bin/cat", "/proc/1/status")))


def test_no_stray_descriptors_or_signals(f):
    c = f.pod.start(["/bin/sleep", "1000"])
    equal(sorted(os.listdir(f"/proc/{c.process()}/fd")), ["0", "1", "2"])
    # The fourth is the directory that ls reads.
    equal(c.exec("/bin/ls", "/proc/self/fd").split(), ["0", "1", "2", "3"])
    # No shell: it ignores signals of its own accord.
    of_init = pathlib.Path(f"/proc/{c.process()}/status").read_text()
    of_exec = c.exec("/bin/cat", "/proc/self/status")
    for status in (of_init, of_exec):
        equal([line.split() for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn"))],
              [["SigBlk:", "0" * 16], ["SigIgn:", "0" * 16]])


# -- who it is


def test_users_of_images(f):
    for image, want in USER_IMAGES.items():
        equal(f.pod.sh("echo $(id -u) $(id -g)", image=f.registry.ref(image)), (0, want + "\n"), image)


def test_users_of_requests(f):
    for security, want in (({}, "0 0 0"), ({"run_as_user": {"value": 33}}, "33 33 33"), ({"run_as_user": {"value": 4711}}, "4711 0 0"),
                           ({"run_as_username": "nobody"}, "65534 65534 65534"),
                           ({"run_as_user": {"value": 7}, "run_as_group": {"value": 8}, "supplemental_groups": [9, 10]}, "7 8 8 9 10")):
        equal(f.pod.sh("echo $(id -u) $(id -g) $(id -G)", security=security)[1], want + "\n", str(security))


def test_groups_of_images(f):
    user = {"run_as_user": {"value": 1000}, "supplemental_groups": [1234]}
    ref = f.registry.ref(GROUPS_IMAGE)
    _, out = f.pod.sh("id -G", image=ref, security=user)
    equal(set(out.split()) - {"1000"}, {"1234", "50000"} | set(out.split()) & {"0"}, "merged groups")
    _, out = f.pod.sh("id -G", image=ref, security={**user, "supplemental_groups_policy": 1})
    assert "50000" not in out.split() and "1234" in out.split(), out


def test_home_of_users(f):
    equal(f.pod.sh("echo $HOME", security={"run_as_user": {"value": 33}})[1], "/var/www\n")


def test_capabilities(f):
    for which in ("CapEff", "CapPrm", "CapBnd"):
        equal(hex(capabilities(f, which, {})), hex(DEFAULT_CAPS), which)
    for which in ("CapInh", "CapAmb"):
        equal(capabilities(f, which, {}), 0, which)
    equal(capabilities(f, "CapEff", {"capabilities": {"drop_capabilities": ["ALL"]}}), 0)
    equal(capabilities(f, "CapBnd", {"capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_ADMIN"]}}), 1 << 12)
    equal(capabilities(f, "CapEff", {"capabilities": {"drop_capabilities": ["CHOWN"], "add_capabilities": ["sys_time"]}}),
          DEFAULT_CAPS & ~1 | 1 << 25)
    everything = capabilities(f, "CapEff", {"capabilities": {"add_capabilities": ["ALL"]}})
    equal(everything & (1 << 12 | 1 << 21 | DEFAULT_CAPS), 1 << 12 | 1 << 21 | DEFAULT_CAPS, "add ALL")
    equal(capabilities(f, "CapEff", {"run_as_user": {"value": 33}}), 0, "of an ordinary user")


def test_no_new_privileges_and_seccomp(f):
    equal(status_field(f, "NoNewPrivs"), "0")
    equal(status_field(f, "NoNewPrivs", {"no_new_privs": True}), "1")
    equal(status_field(f, "Seccomp"), "0")
    equal(status_field(f, "Seccomp", {"seccomp": {"profile_type": 0}}), "2")
    equal(status_field(f, "Seccomp", {"seccomp": {"profile_type": 1}}), "0")
    code, _ = f.pod.sh("unshare -U true 2>/dev/null", security={"seccomp": {"profile_type": 0}})
    assert code != 0, "unshare passed the default profile"


def test_privileged(f):
    security = {"namespace_options": {"pid": CONTAINER}, "privileged": True}
    pod = f.run_pod(linux={"security_context": security})
    code, out = pod.sh("grep CapEff /proc/self/status; ls -d /dev/loop-control /dev/kmsg 2>/dev/null; mkdir /m && mount -t tmpfs x /m && echo mounted",
                       security={"privileged": True})
    contains(out, "mounted", f"exit code {code}")


# -- what it sees


def test_masked_and_readonly_paths(f):
    look = "for p in /proc/keys /proc/timer_list; do wc -c <$p; done; ls /sys/firmware | wc -l; echo 1 >/proc/sys/kernel/domainname || echo ro; ls /proc/bus >/dev/null; touch /proc/bus/x || echo ro"
    _, out = f.pod.sh(f"({look}) 2>/dev/null", security={"masked_paths": MASKED, "readonly_paths": READONLY})
    equal(out.split(), ["0", "0", "0", "ro", "ro"])
    _, out = f.pod.sh("ls /sys/firmware | wc -l; awk '$2 ~ \"^/proc/\"' /proc/mounts", security={"masked_paths": [], "readonly_paths": []})
    assert out.split()[1:] == [], f"mounts below /proc without masked or readonly paths: {out}"


def test_readonly_root_file_system(f):
    _, out = f.pod.sh("touch /x || echo refused; touch /dev/shm/y && echo shm; echo x >>/etc/hosts || echo hosts; echo >/dev/null && echo null",
                      security={"readonly_rootfs": True})
    equal(out.split(), ["refused", "shm", "hosts", "null"], "output")
    equal(f.pod.sh("touch /x && echo fine")[1], "fine\n")


def test_root_file_systems_are_apart(f):
    f.pod.sh("echo mine >/file; rm /bin/ls")
    equal(f.pod.sh("cat /file 2>/dev/null; ls -d /bin/ls"), (0, "/bin/ls\n"))


def test_hostname_hosts_and_resolv_conf(f):
    pod = f.run_pod(hostname="my-name", dns_config={"servers": ["10.0.0.10", "1.1.1.1"], "searches": ["a.local", "b"], "options": ["ndots:5"]})
    _, out = pod.sh("hostname; cat /proc/sys/kernel/hostname /etc/hostname")
    equal(out.split(), ["my-name"] * 3)
    equal(pod.sh("cat /etc/resolv.conf")[1], "search a.local b\nnameserver 10.0.0.10\nnameserver 1.1.1.1\noptions ndots:5\n")
    _, hosts = pod.sh("cat /etc/hosts")
    contains(hosts.splitlines(), f"{pod.ip()}\tmy-name")
    contains(hosts.splitlines(), "127.0.0.1\tlocalhost")


def test_shared_memory(f):
    c = f.pod.start(["/bin/sleep", "1000"])
    equal(c.exec("/bin/sh", "-c", "df -k /dev/shm | awk 'END { print $(NF-4) }'; stat -c %a /dev/shm; echo hello >/dev/shm/greeting"), "65536\n1777\n")
    equal(f.pod.sh("cat /dev/shm/greeting; rm /dev/shm/greeting")[1], "hello\n")


def test_devices_and_mounts(f):
    _, out = f.pod.sh("ls /dev; echo $(stat -c %t:%T /dev/null /dev/zero /dev/urandom)")
    names, numbers = out.splitlines()[:-1], out.splitlines()[-1]
    equal(numbers, "1:3 1:5 1:9")
    for name in ("full", "fd", "mqueue", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"):
        contains(names, name)
    assert not {"sda", "kmsg", "mem", "kvm", "loop0"} & set(names), names


def test_volumes(f):
    volume = pathlib.Path(f.daemon.files, "volume")
    volume.mkdir(exist_ok=True)
    (volume / "given").write_text("from the host\n")
    mounts = [{"container_path": "/data", "host_path": str(volume)}, {"container_path": "/ro", "host_path": str(volume), "readonly": True},
              {"container_path": "/etc/one", "host_path": str(volume / "given")}]
    _, out = f.pod.sh("cat /data/given /etc/one; echo back >/data/made; touch /ro/x 2>/dev/null || echo refused", mounts=mounts)
    equal(out, "from the host\nfrom the host\nrefused\n")
    equal((volume / "made").read_text(), "back\n")


def test_volume_source_is_made(f):
    path = pathlib.Path(f.daemon.files, "made/by/berth")
    equal(f.pod.sh("ls -d /m", mounts=[{"container_path": "/m", "host_path": str(path)}]), (0, "/m\n"))
    assert path.is_dir()


# -- namespaces and the network


def test_pids_of_its_own(f):
    equal(f.pod.sh("echo $$")[1], "1\n")


def test_pids_shared_in_the_pod(f):
    pod = f.run_pod(namespaces={"pid": POD})
    first = pod.start(["/bin/sleep", "1001"])
    second = pod.start(["/bin/sleep", "1002"])
    seen = second.exec("/bin/ps")
    contains(seen, "sleep 1001")
    contains(seen, "sleep 1002")
    assert "1" != second.exec("/bin/sh", "-c", "pidof sleep | wc -w").strip()
    # An orphan is reaped by whoever is the pod's first process.
    first.exec("/bin/sh", "-c", "(sleep 0.2 &) ; true")
    wait_for("no zombie is left", lambda: " Z " not in first.exec("/bin/ps", "-o", "pid,stat,comm"))


def test_pids_of_the_host(f):
    pod = f.run_pod(namespaces={"pid": NODE})
    equal(pod.sh(f"ls -d /proc/{os.getpid()}"), (0, f"/proc/{os.getpid()}\n"))


def test_network_of_the_host(f):
    pod = f.run_pod(namespaces={"network": NODE})
    _, out = pod.sh("ls /sys/class/net; hostname")
    contains(out.split(), f.daemon.bridge)
    equal(out.split()[-1], socket.gethostname())
    equal(pod.inspect()["status"].get("network", {}).get("ip", ""), "")


def test_network_of_the_pod(f):
    one, other = f.run_pod(), f.run_pod()
    _, out = one.sh("ls /sys/class/net; ip -4 addr show eth0")
    equal(set(out.split()) & {"lo", "eth0", f.daemon.bridge}, {"lo", "eth0"})
    contains(out, one.ip())
    equal(one.sh(f"ping -c 1 -w 5 {other.ip()} >/dev/null")[0], 0, "ping from pod to pod")


def fetch(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/", timeout=5) as answer:
        return answer.status


def test_published_port(f):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    pod = f.run_pod(port_mappings=[{"container_port": 80, "host_port": port}])
    c = pod.create(None, image=f.registry.ref(NGINX))
    f.crictl("start", c.id)
    def answers(address):
        try:
            return fetch(address) == 200
        except OSError:
            return False
    for address in (f"{pod.ip()}:80", f"127.0.0.1:{port}"):
        wait_for(f"an answer at {address}", lambda: answers(address), 5)
    client = f.run_pod()
    equal(client.sh(f"wget -q -O /dev/null http://{pod.ip()}/")[0], 0, "from another pod")
    f.crictl("stopp", pod.id)
    assert not answers(f"127.0.0.1:{port}"), "the port is still published"


def test_sysctl_of_the_pod(f):
    pod = f.run_pod(linux={"sysctls": {"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shm_rmid_forced": "1"},
                           "security_context": {"namespace_options": {"pid": CONTAINER}}})
    equal(pod.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced")[1].split(), ["77", "1"])


def test_many_pods_at_once(f):
    def life(pod):
        pod.id = f.crictl("runp", pod.path).strip()
        made = pod.try_create(pod.container_config(["/bin/sh", "-c", "echo hi; exec sleep 1000"]))
        equal(made.status, 0, str(made))
        f.crictl("start", made.out.strip())
        out = f.crictl("exec", "-s", made.out.strip(), "/bin/hostname").strip()
        f.crictl("stopp", pod.id)
        f.crictl("rmp", pod.id)
        return out
    pods = [fixture.Pod(f, f.pod_config()) for _ in range(12)]
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        equal(list(threads.map(life, pods)), [p.config["metadata"]["name"] for p in pods])


# -- its end


def test_stop_lets_it_end(f):
    c = f.pod.start(["/bin/sh", "-c", "trap 'echo ending; exit 7' TERM; echo ready; while true; do sleep 0.05; done"])
    wait_for("the trap is set", lambda: c.output() == "ready\n")
    f.crictl("stop", "--timeout", "20", c.id)
    status = c.status()
    equal((status["state"], status["exitCode"], status["reason"]), ("CONTAINER_EXITED", 7, "Error"))
    equal(c.output(), "ready\nending\n")


def test_stop_kills_what_does_not_end(f):
    c = f.pod.start(["/bin/sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.05; done"])
    wait_for("the signal is ignored", lambda: c.output() == "ready\n")
    started = time.monotonic()
    f.crictl("stop", "--timeout", "1", c.id)
    assert 0.9 < time.monotonic() - started < 8, time.monotonic() - started
    equal((c.status()["exitCode"], c.status()["reason"]), (137, "Error"))


def test_stop_signal_of_the_request(f):
    c = f.pod.start(["/bin/sh", "-c", "trap 'exit 9' USR1; trap 'exit 8' TERM; echo ready; while true; do sleep 0.05; done"], stop_signal=SIGUSR1)
    wait_for("the traps are set", lambda: c.output() == "ready\n")
    f.crictl("stop", "--timeout", "20", c.id)
    equal(c.status()["exitCode"], 9)


def test_killed_by_a_signal(f):
    c = f.pod.start(["/bin/sh", "-c", "sleep 1000"])
    os.kill(c.process(), 9)
    equal(c.wait()["exitCode"], 137)


def test_children_end_with_it(f):
    c = f.pod.start(["/bin/sh", "-c", "sleep 54321 & sleep 0.2; exit 3"])
    equal(c.wait()["exitCode"], 3)
    def alive():
        return subprocess.run(["pgrep", "-f", "^sleep 54321"], capture_output=True, check=False).stdout
    wait_for("its child is gone", lambda: not alive())


def test_descriptors_do_not_add_up(f):
    c = f.pod.start(["/bin/sleep", "1000"])
    c.exec("/bin/true")
    shim = int(pathlib.Path(f"/proc/{c.process()}/stat").read_text().rsplit(")", 1)[1].split()[1])
    before = [leaks.descriptor_count(pid) for pid in (f.daemon.pid, shim)]
    for _ in range(25):
        c.exec("/bin/true")
    for _ in range(5):
        f.pod.create(["/bin/sleep", "1000"]).remove()
        f.crictl.call("exec", "-s", c.id, "/no/such")
    after = [leaks.descriptor_count(pid) for pid in (f.daemon.pid, shim)]
    assert after[0] < before[0] + 10 and after[1] <= before[1], f"daemon and shim had {before}, have {after}"


# -- its log


def test_long_line(f):
    c = f.pod.start(["/bin/sh", "-c", "head -c 40960 /dev/zero | tr '\\0' x; echo; echo after"])
    c.wait()
    parts = [(tag, len(text)) for _, tag, text in c.log_lines()]
    equal(parts, [("P", 16384), ("P", 16384), ("F", 8192), ("F", 5)])
    equal(f.crictl("logs", c.id), "x" * 40960 + "\nafter\n")


def test_tail_without_newline(f):
    c = f.pod.start(["/bin/sh", "-c", "echo line; printf tail"])
    c.wait()
    equal([(tag, text) for _, tag, text in c.log_lines()], [("F", "line"), ("P", "tail")])


def test_streams_and_times(f):
    c = f.pod.start(["/bin/sh", "-c", "echo out; echo err >&2"])
    c.wait()
    equal(sorted((stream, tag, text) for stream, tag, text in c.log_lines()), [("stderr", "F", "err"), ("stdout", "F", "out")])
    for line in pathlib.Path(c.log).read_text().splitlines():
        stamp = line.split(" ")[0]
        assert len(stamp) >= 30 and "T" in stamp and stamp[-1] in "Z0", line
    assert oct(os.stat(c.log).st_mode & 0o777) in ("0o640", "0o600"), oct(os.stat(c.log).st_mode)


def test_reopened_log(f):
    c = f.pod.start(["/bin/sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done"])
    wait_for("some lines", lambda: len(c.log_lines()) > 3)
    os.rename(c.log, c.log + ".old")
    f.crictl("logs", "--reopen", c.id)
    assert os.path.exists(c.log), "there is no new file when the call returns"
    old = pathlib.Path(c.log + ".old").read_text()
    wait_for("lines in the new file", lambda: len(c.log_lines()) > 3)
    equal(pathlib.Path(c.log + ".old").read_text(), old, "the old file")
    f.crictl("stop", "--timeout", "0", c.id)
    numbers = [int(line.split()[-1]) for line in (old + pathlib.Path(c.log).read_text()).splitlines()]
    equal(numbers, list(range(1, len(numbers) + 1)), "lines over both files")


def test_log_outlives_the_container(f):
    c = f.pod.start(["/bin/echo", "kept"])
    c.wait()
    f.crictl("rm", "--keep-logs", c.id)  # without it crictl removes the file itself
    equal(c.output(), "kept\n")


def test_no_log_path(f):
    config = f.pod.container_config(["/bin/sh", "-c", "echo unheard; exit 4"])
    del config["log_path"]
    made = f.pod.try_create(config)
    equal(made.status, 0, str(made))
    c = fixture.Container(f.pod, {**config, "log_path": "none"}, made.out.strip())
    f.cleanup(c.remove)
    f.crictl("start", c.id)
    equal(c.wait()["exitCode"], 4)


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([BUSYBOX, NGINX, GROUPS_IMAGE, *USER_IMAGES]))
