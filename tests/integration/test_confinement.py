#!/usr/bin/env python3
"""What confines a container beyond namespaces, ids and capabilities: seccomp, AppArmor, SELinux."""
import errno
import json
import os
import pathlib
import platform
import subprocess
import sys

import fixture
from fixture import BUSYBOX, NODE
from seccomp_agent import Agent
from suite import Skip, contains, equal, main, wait_for

RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = 0, 1, 2
SLEEP = ["/bin/sleep", "1000"]
MKDIR = 83  # of x86-64
MOUNTS = "mount -t tmpfs none /mnt && echo mounted"
ALL = {"capabilities": {"add_capabilities": ["ALL"]}}


def refuse(f, code, *parts, pod=None, **more):
    pod = pod or f.pod
    before = f.crictl.json("ps", "-a", "--pod", pod.id)["containers"]
    pod.try_create(pod.container_config(SLEEP, **more)).refused(code, *parts)
    equal(f.crictl.json("ps", "-a", "--pod", pod.id)["containers"], before)


def profile(f, text):
    """A seccomp profile in a file of its own; its path."""
    path = f"{f.daemon.files}/{f.fresh('seccomp')}.json"
    pathlib.Path(path).write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def localhost(path):
    return {"seccomp": {"profile_type": LOCALHOST, "localhost_ref": path}}


def privileged_pod(f):
    return f.run_pod(linux={"security_context": {"privileged": True, "namespace_options": {"pid": 1}}})


# -- seccomp

SECCOMP = "grep ^Seccomp: /proc/self/status"
DENY_MKDIR = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errno": "ENOSPC"}]}


def test_seccomp_not_given_is_unconfined(f):
    for security in ({}, {"seccomp": {"profile_type": UNCONFINED}}, {"seccomp_profile_path": ""}, {"seccomp_profile_path": "unconfined"}):
        equal(f.pod.sh(SECCOMP, security=security), (0, "Seccomp:\t0\n"), str(security))


def test_seccomp_runtime_default(f):
    for security in ({"seccomp": {"profile_type": RUNTIME_DEFAULT}}, {"seccomp_profile_path": "runtime/default"},
                     {"seccomp_profile_path": "docker/default"}):
        equal(f.pod.sh(SECCOMP, security=security), (0, "Seccomp:\t2\n"), str(security))
    # The newer field counts when both are there.
    both = {"seccomp": {"profile_type": UNCONFINED}, "seccomp_profile_path": "runtime/default"}
    equal(f.pod.sh(SECCOMP, security=both), (0, "Seccomp:\t0\n"))


def test_seccomp_localhost(f):
    path = profile(f, DENY_MKDIR)
    for security in (localhost(path), {"seccomp_profile_path": f"localhost/{path}"}):
        code, out = f.pod.sh("mkdir /d 2>&1", security=security)
        equal(code, 1)
        contains(out, "No space left on device")
    c = f.pod.start(SLEEP, security={**localhost(path), "run_as_user": {"value": 1000}, "no_new_privs": True})
    contains(c.exec("/bin/sh", "-c", "mkdir /tmp/d 2>&1; true"), "No space left on device", "an exec")


def test_seccomp_privileged_has_none(f):
    pod = privileged_pod(f)
    for security in ({"seccomp": {"profile_type": RUNTIME_DEFAULT}}, localhost(profile(f, DENY_MKDIR))):
        equal(pod.sh(SECCOMP, security={"privileged": True, **security}), (0, "Seccomp:\t0\n"))


def test_profiles_of_the_pod_confine_nothing(f):
    """A pod has no process that they could confine, and its containers do not inherit them."""
    profiles = {"seccomp": {"profile_type": RUNTIME_DEFAULT}, "apparmor": {"profile_type": RUNTIME_DEFAULT}, "namespace_options": {"pid": 1}}
    pod = f.run_pod(linux={"security_context": profiles})
    equal(pod.sh(SECCOMP), (0, "Seccomp:\t0\n"))


def test_seccomp_reference_without_localhost(f):
    for kind in (RUNTIME_DEFAULT, UNCONFINED):
        refuse(f, "InvalidArgument", "seccomp.localhost_ref", security={"seccomp": {"profile_type": kind, "localhost_ref": "/p.json"}})


def test_seccomp_profile_that_is_none(f):
    directory = os.path.dirname(profile(f, "{}"))
    fifo = f"{directory}/{f.fresh('fifo')}"
    os.mkfifo(fifo)
    for code, path, why in (("InvalidArgument", "", "is not an absolute path"), ("InvalidArgument", "p.json", "is not an absolute path"),
                            ("NotFound", "/no/such.json", "/no/such.json"), ("InvalidArgument", directory, "regular file"),
                            ("InvalidArgument", fifo, "regular file"), ("ResourceExhausted", profile(f, " " * ((4 << 20) + 1)), "")):
        refuse(f, code, "seccomp.localhost_ref", why, security=localhost(path))


def test_seccomp_profile_with_errors(f):
    for text, why in (('{"defaultAction": "SCMP_ACT_ALLOW",, }', "at byte 36"), ("[]", "expected an object"), ("{}", "'defaultAction'"),
                      ('{"defaultAction": "SCMP_ACT_FLY"}', "SCMP_ACT_FLY"),
                      ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}', "listenerPath")):
        path = profile(f, text)
        refuse(f, "InvalidArgument", "seccomp.localhost_ref", path, why, security=localhost(path))
    refuse(f, "InvalidArgument", "seccomp_profile_path", security={"seccomp_profile_path": "localhost"})


def test_seccomp_kills(f):
    path = profile(f, {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]})
    equal(f.pod.start(["/bin/mkdir", "/d"], security=localhost(path)).wait()["exitCode"], 128 + 31)


def agent(f, **more):
    if platform.machine() != "x86_64":
        raise Skip("the agent knows the system calls of x86-64 only")
    assert f.pod, "made before there is anything to undo"
    made = Agent(f"{f.daemon.files}/{f.fresh('agent')}.sock", {MKDIR: errno.EDOM})
    f.cleanup(made.close)
    return made, localhost(profile(f, {"listenerPath": made.path, "listenerMetadata": "who: me", **more}))


def test_seccomp_notify(f):
    """mkdir gets what the agent says, all else goes on; also what a runtime itself needs to hand the listener over."""
    names = ["mkdir", "execve", "sendmsg", "sendto", "mmap", "brk", "close", "munmap", "prctl", "chdir"]
    a, security = agent(f, defaultAction="SCMP_ACT_ALLOW", syscalls=[{"names": names, "action": "SCMP_ACT_NOTIFY"}])
    c = f.pod.start(["/bin/sh", "-c", "mkdir /d 2>&1; cd /tmp && echo there; exec sleep 1000"], security=security)
    wait_for("its output", lambda: "there" in c.output())
    contains(c.output(), "Numerical argument out of domain")
    state = a.states[0]
    equal((state["fds"], state["metadata"], state["pid"]), (["seccompFd"], "who: me", c.process()))
    equal((state["state"]["id"], state["state"]["status"], state["state"]["pid"]), (c.id, "creating", c.process()))
    assert state["ociVersion"] and state["state"]["ociVersion"]
    contains(c.exec("/bin/sh", "-c", "mkdir /e 2>&1; true"), "Numerical argument out of domain", "an exec")
    equal((len(a.states), a.states[1]["state"]["pid"], a.states[1]["state"]["status"]), (2, c.process(), "running"))
    assert a.states[1]["pid"] != c.process()


def test_seccomp_notify_everything(f):
    """Not one system call of the program, nor the one that starts it, goes on without the agent."""
    a, security = agent(f, defaultAction="SCMP_ACT_NOTIFY", syscalls=[])
    for more in ({}, {"run_as_user": {"value": 1000}}, {"no_new_privs": True}):
        equal(f.pod.sh("mkdir /tmp/x 2>/dev/null || echo refused", security={**security, **more}), (0, "refused\n"), str(more))
    equal(len(a.states), 3)
    assert len(a.asked) > 30, a.asked


def test_seccomp_notify_in_shared_pids(f):
    a, security = agent(f, defaultAction="SCMP_ACT_ALLOW", syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}])
    pod = f.run_pod(namespaces={"pid": 0})
    equal(pod.sh("mkdir /d 2>/dev/null || echo refused", security=security), (0, "refused\n"))
    equal(len(a.states), 1)


def test_seccomp_agent_that_does_not_listen(f):
    path = f"{f.daemon.files}/nobody.sock"
    refuse(f, "FailedPrecondition", "seccomp.localhost_ref", path,
           security=localhost(profile(f, {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": path})))


def test_seccomp_agent_that_goes_away(f):
    """Between create and start: the container does not run unwatched."""
    a, security = agent(f, defaultAction="SCMP_ACT_NOTIFY")
    c = f.pod.create(SLEEP, security=security)
    a.close()
    f.crictl.call("start", c.id).refused("FailedPrecondition", "seccomp", "agent")
    equal(c.wait()["exitCode"], 128)


# -- AppArmor

APPARMOR = pathlib.Path("/sys/kernel/security/apparmor/profiles")
CURRENT = "cat /proc/self/attr/apparmor/current 2>/dev/null || cat /proc/self/attr/current"


def need_apparmor():
    if not APPARMOR.exists():
        raise Skip("the host has no AppArmor")


def confined(name):
    """Berth's words for a container's AppArmor request."""
    return {"apparmor": {"profile_type": LOCALHOST, "localhost_ref": name}}


def load(f, name, rules):
    text = f"profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  capability,\n  network,\n  signal,\n  {rules}\n}}\n"
    for option in ("--replace", "--remove"):
        run = lambda option=option: subprocess.run(["apparmor_parser", option, "--skip-cache"], input=text, text=True, check=True)
        if option == "--replace":
            run()
        else:
            f.cleanup(run)
    return name


def test_apparmor_not_given_is_the_default(f):
    need_apparmor()
    for security in ({}, {"apparmor": {"profile_type": RUNTIME_DEFAULT}}, {"apparmor_profile": "runtime/default"}):
        equal(f.pod.sh(CURRENT, security=security), (0, "berth-default (enforce)\n"), str(security))


def test_apparmor_unconfined(f):
    need_apparmor()
    for security in ({"apparmor": {"profile_type": UNCONFINED}}, {"apparmor_profile": "unconfined"}):
        equal(f.pod.sh(CURRENT, security=security)[1].split()[0], "unconfined", str(security))


def test_apparmor_privileged_has_none(f):
    need_apparmor()
    pod = privileged_pod(f)
    for security in ({}, {"apparmor": {"profile_type": RUNTIME_DEFAULT}}):
        equal(pod.sh(CURRENT, security={"privileged": True, **security})[1].split()[0], "unconfined")


def test_apparmor_localhost(f):
    need_apparmor()
    name = load(f, "berth-test-no-write", "deny /tmp/** w,")
    for security in (confined(name), {"apparmor": {"profile_type": LOCALHOST, "localhost_ref": f"localhost/{name}"}},
                     {"apparmor_profile": f"localhost/{name}"}, {**confined(name), "no_new_privs": True},
                     {**confined(name), "run_as_user": {"value": 1000}}):
        code, out = f.pod.sh(f"{CURRENT}; touch /tmp/x 2>&1", security=security)
        equal((code, out.split("\n")[0]), (1, f"{name} (enforce)"), str(security))
        contains(out, "Permission denied")
    c = f.pod.start(SLEEP, security={**confined(name), "no_new_privs": True})
    contains(c.exec("/bin/sh", "-c", CURRENT), name, "an exec")


def test_apparmor_default_confines(f):
    """With every capability and no other lock: what the profile alone denies."""
    need_apparmor()
    unconfined = {**ALL, "apparmor": {"profile_type": UNCONFINED}}
    equal(f.pod.sh(MOUNTS, security=unconfined), (0, "mounted\n"), "without the profile")
    for script, why in ((MOUNTS, "mounts"), ("echo 1 > /proc/sys/kernel/panic_on_warn", "kernel settings"),
                        ("echo x > /proc/sysrq-trigger", "sysrq"), ("head -c 1 /proc/kcore", "memory of the kernel"),
                        ("ls /sys/kernel/security/apparmor", "policy"),
                        ("for f in /sys/class/net/lo/mtu /sys/module/*/parameters/*; do echo 1 > $f && exit 0; done; false", "sysfs")):
        code, _ = f.pod.sh(f"mount -o remount,rw /sys 2>/dev/null; {script} 2>/dev/null", security=ALL)
        assert code != 0, f"{why}: allowed"
    # Ordinary things work.
    script = "sleep 100 & kill $! && wait $!; ls /proc/1/fd >/dev/null && touch /tmp/x && ps >/dev/null && cat /proc/sys/kernel/ostype"
    equal(f.pod.sh(script), (0, "Linux\n"))


def test_apparmor_default_is_stopped_and_exec(f):
    need_apparmor()
    c = f.pod.start(["/bin/sh", "-c", "trap 'exit 5' TERM; echo ready; while true; do sleep 0.05; done"])
    wait_for("the trap is set", lambda: c.output() == "ready\n")
    equal(c.exec("/bin/sh", "-c", CURRENT).strip(), "berth-default (enforce)")
    f.crictl("stop", "--timeout", "20", c.id)
    equal(c.status()["exitCode"], 5)


def test_apparmor_profile_that_is_not_loaded(f):
    need_apparmor()
    refuse(f, "FailedPrecondition", "apparmor.localhost_ref", "no-such-profile", security=confined("no-such-profile"))


def test_apparmor_default_removed_by_somebody(f):
    need_apparmor()
    subprocess.run(["apparmor_parser", "--remove"], input="profile berth-default { }\n", text=True, check=True)
    equal(f.pod.sh(CURRENT), (0, "berth-default (enforce)\n"))


def test_apparmor_words_that_are_wrong(f):
    refuse(f, "InvalidArgument", "apparmor.localhost_ref", security=confined(""))
    refuse(f, "InvalidArgument", "apparmor.localhost_ref", security=confined("a\nb"))
    refuse(f, "InvalidArgument", "apparmor.localhost_ref", security={"apparmor": {"profile_type": RUNTIME_DEFAULT, "localhost_ref": "x"}})
    refuse(f, "InvalidArgument", "apparmor_profile", security={"apparmor_profile": "what"})


def test_host_without_apparmor(f):
    if APPARMOR.exists():
        raise Skip("the host has AppArmor")
    for security in ({}, {"apparmor": {"profile_type": UNCONFINED}}, {"apparmor_profile": "unconfined"}):
        equal(f.pod.sh("true", security=security)[0], 0)
    refuse(f, "FailedPrecondition", "apparmor.profile_type", "no AppArmor", security={"apparmor": {"profile_type": RUNTIME_DEFAULT}})
    refuse(f, "FailedPrecondition", "apparmor.profile_type", security={"apparmor_profile": "runtime/default"})
    refuse(f, "FailedPrecondition", "apparmor.localhost_ref", "no AppArmor", security=confined("x"))


# -- SELinux

SELINUX = pathlib.Path("/sys/fs/selinux/enforce")
LABEL = "tr -d '\\0' < /proc/self/attr/current; echo"


def need_selinux(f):
    if not SELINUX.exists():
        raise Skip("the host has no SELinux")
    if not verbose(f)["selinux"]:
        raise Skip("the host's SELinux policy has no contexts for containers")


def level_of(label):
    return label.strip().split(":", 3)[3]


def test_selinux_pods_have_levels_of_their_own(f):
    need_selinux(f)
    one, other = f.run_pod(), f.run_pod()
    labels = [pod.sh(LABEL)[1] for pod in (one, one, other)]
    equal(labels[0], labels[1], "containers of one pod")
    assert level_of(labels[0]) != level_of(labels[2]), labels


def test_selinux_options(f):
    need_selinux(f)
    equal(level_of(f.pod.sh(LABEL, security={"selinux_options": {"level": "s0:c1,c2"}})[1]), "s0:c1,c2")
    pod = f.run_pod(linux={"security_context": {"selinux_options": {"level": "s0:c3,c4"}, "namespace_options": {"pid": 1}}})
    equal(level_of(pod.sh(LABEL)[1]), "s0:c3,c4")
    refuse(f, "InvalidArgument", "selinux_options", security={"selinux_options": {"type": "no_such_type_t"}})


def test_selinux_files_and_execs(f):
    need_selinux(f)
    c = f.pod.start(SLEEP)
    label = c.exec("/bin/sh", "-c", LABEL)
    equal(label.strip(), pathlib.Path(f"/proc/{c.process()}/attr/current").read_text().strip("\0\n"))
    for path in ("/", "/dev", "/dev/shm", "/dev/mqueue"):
        got = os.getxattr(f"/proc/{c.process()}/root{path}", "security.selinux").decode().strip("\0")
        equal(level_of(got), level_of(label), path)


def test_selinux_privileged_and_host_pids_have_no_label(f):
    need_selinux(f)
    daemon = pathlib.Path(f"/proc/{f.daemon.pid}/attr/current").read_text().strip("\0\n")
    equal(privileged_pod(f).sh(LABEL, security={"privileged": True})[1].strip(), daemon)
    equal(f.run_pod(namespaces={"pid": NODE}).sh(LABEL)[1].strip(), daemon)


def test_selinux_relabel(f):
    need_selinux(f)
    volume = pathlib.Path(f"{f.daemon.files}/{f.fresh('volume')}")
    (volume / "a").mkdir(parents=True)
    (volume / "a/file").touch()
    before = os.getxattr(volume / "a/file", "security.selinux")
    c = f.pod.create(SLEEP, mounts=[{"container_path": "/v", "host_path": str(volume)}])
    equal(os.getxattr(volume / "a/file", "security.selinux"), before, "nobody asked for it")
    c = f.pod.start(SLEEP, mounts=[{"container_path": "/v", "host_path": str(volume), "selinux_relabel": True}])
    label = c.exec("/bin/sh", "-c", LABEL)
    equal(level_of(os.getxattr(volume / "a/file", "security.selinux").decode().strip("\0")), level_of(label))
    refuse(f, "InvalidArgument", "mounts.selinux_relabel", mounts=[{"container_path": "/v", "host_path": "/etc", "selinux_relabel": True}])


def test_selinux_words_that_are_wrong(f):
    for part, value in (("user", "a b"), ("role", "r,context=x"), ("type", "t:s0"), ("level", "secret"), ("level", "s0:c1024")):
        refuse(f, "InvalidArgument", f"selinux_options.{part}", security={"selinux_options": {part: value}})
    config = f.pod_config(linux={"security_context": {"selinux_options": {"level": "c1"}}})
    f.crictl.call("runp", f.write("refused.json", config)).refused("InvalidArgument", "selinux_options.level")


def test_host_without_selinux(f):
    if SELINUX.exists():
        raise Skip("the host has SELinux")
    volume = f"{f.daemon.files}/{f.fresh('volume')}"
    options = {"selinux_options": {"user": "u", "role": "r", "type": "t", "level": "s0:c1,c2"}}
    equal(f.pod.sh("true", security=options, mounts=[{"container_path": "/v", "host_path": volume, "selinux_relabel": True}])[0], 0)
    try:
        os.getxattr(volume, "security.selinux")
    except OSError as e:
        equal(e.errno, errno.ENODATA)
    else:
        raise AssertionError("the volume was labelled")


# -- what the host has


def verbose(f):
    config = f.crictl.json("info")["config"]
    return json.loads(config) if isinstance(config, str) else config


def test_status_says_what_the_host_has(f):
    config = verbose(f)
    equal((config["seccomp"], config["apparmor"]), (True, APPARMOR.exists()))
    assert isinstance(config["selinux"], bool)


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([BUSYBOX]))
