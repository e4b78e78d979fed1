#!/usr/bin/env python3
"""CNI plugins that hang, die or lie, behind Debian's own: what the caller is told, that nothing is left behind, and that no pod
is stuck for it."""
import os
import pathlib
import subprocess
import sys

import cni
from suite import contains, equal, main, side_by_side, wait_for

# How the plugin fails an ADD, the code of RunPodSandbox, and what its message says.
LIES = [
    ("fail with an error", "Internal", "no luck; none at all"),
    ("fail with a long error", "Internal", "looo"),
    ("fail", "Internal", "exit code 1: it broke; and said so"),
    ("die", "Internal", "ended by signal 9"),
    ("print garbage", "Internal", "its result"),
    ("print nothing", "Internal", "its result"),
    ("print 100 MB", "ResourceExhausted", "output is larger than 1048576 bytes"),
    ("print wrong types", "Internal", "field 'cniVersion': expected a string"),
    ("print a list", "Internal", "a CNI result is an object"),
    ("print an address that is none", "Internal", "'300.1.2.3/24' is not an address"),
    ("print another version", "Internal", "field 'cniVersion': unknown version '9.9.9'"),
    ("hang", "DeadlineExceeded", "did not end within 3s"),
]


def port(f):
    """A pod with a published port, so that every plugin of the chain has something to do."""
    return f.pod_config(port_mappings=[{"protocol": 0, "container_port": 80, "host_port": 8080}])


def name_of(config):
    return config["metadata"]["name"]


def try_run(f, config):
    return f.crictl.call("runp", f.write(f"{config['metadata']['name']}.json", config))


def pods(f):
    return f.crictl.json("pods")["items"]


def in_background(f, *argv):
    process = subprocess.Popen(f.crictl.argv(*argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    f.cleanup(process.wait)
    return process


def nothing_hangs(f):
    wait_for("the plugins that hang are dead, and what they started", lambda: not f.daemon.hanging(), 5)


def removed_at_last(f, pod):
    """StopPodSandbox fails for a while, then it works, and so does RemovePodSandbox."""
    wait_for("the pod can be stopped", lambda: f.crictl.call("stopp", pod.id).status == 0, 60, 0.5)
    f.crictl("rmp", pod.id)
    assert pod.id not in [p["id"] for p in pods(f)]


def test_the_chain_works(f):
    pod = f.run_pod(port(f))
    assert pod.ip().startswith(f.daemon.subnet.rsplit(".", 2)[0]), pod.ip()
    contains("\n".join(f.daemon.world()), "rule -A CNI-DN-")
    pod.remove()
    f.daemon.clean()


def lie(f, order, code, text):
    config = port(f)
    f.daemon.order(name_of(config), ADD=order)
    try_run(f, config).refused(code, "CNI plugin fickle failed (ADD)", text)
    assert name_of(config) not in [p["metadata"]["name"] for p in pods(f)], order


def test_lies(f):
    side_by_side(**{order: lambda case=(order, code, text): lie(f, *case) for order, code, text in LIES})
    equal((f.daemon.world(), f.daemon.debts()), ([], []))
    nothing_hangs(f)


def lie_that_cannot_be_undone(f, order):
    config = port(f)
    f.daemon.order(name_of(config), ADD=order, DEL=order)
    try_run(f, config).refused("DeadlineExceeded" if order == "hang" else "Internal", "CNI plugin fickle failed (ADD)")


def test_lies_that_cannot_be_undone_at_once(f):
    """DEL fails as well: the pod is no more, and what is left of its network goes when the plugin works again."""
    side_by_side(**{order: lambda order=order: lie_that_cannot_be_undone(f, order) for order in ("fail", "hang")})
    equal(pods(f), [])
    equal(len(f.daemon.debts()), 2)
    f.daemon.no_orders()
    f.daemon.clean(20)


def test_while_one_hangs_others_go_on(f):
    config = port(f)
    f.daemon.order(name_of(config), ADD="hang")
    hanging = in_background(f, "runp", f.write("hangs.json", config))
    wait_for("the plugin hangs", f.daemon.hanging)
    for _ in range(2):
        pod = f.run_pod()
        pod.remove()
    assert hanging.poll() is None, "others waited until the plugin was killed"
    contains(hanging.communicate()[1], "did not end within 3s")


def test_a_slow_plugin_and_one_that_leaves_a_daemon(f):
    f.daemon.order(ADD="take a while")
    f.run_pod().remove()
    f.daemon.order(ADD="fork a daemon")
    f.run_pod().remove()
    left = f.daemon.hanging()
    equal(len(left), 1, "the daemon of a plugin that worked")
    os.kill(int(left[0]), 9)


def test_the_first_del_fails(f):
    """The kubelet hears of it, and the pod heals without it."""
    pod = f.run_pod(port(f))
    f.daemon.order(DEL=["fail", "fail", "ok"])
    f.crictl.call("stopp", pod.id).refused("Internal", "pod network: CNI plugin fickle failed (DEL): exit code 1: it broke")
    wait_for("the pod is on no network", lambda: not f.daemon.world(), 20)
    equal(len(f.daemon.calls("DEL", pod.id)), 3)
    assert all(c["netns"] for c in f.daemon.calls("DEL", pod.id)), "each attempt was given the namespace"
    f.crictl("stopp", pod.id)
    equal(len(f.daemon.calls("DEL", pod.id)), 3)


def every_del_fails(f, pod):
    """After a while the pod goes without its network, which is owed from then on."""
    f.daemon.order(name_of(pod.config), DEL="fail with an error")
    f.crictl.call("stopp", pod.id).refused("Internal", "CNI plugin fickle failed (DEL): no luck; none at all")
    assert pod.id not in f.daemon.debts() and pod.id in [p["id"] for p in pods(f)]
    removed_at_last(f, pod)
    assert pod.id in f.daemon.debts()
    assert not os.path.exists(f"{f.daemon.state}/netns/{pod.id}"), "its namespace is gone"
    f.run_pod().remove()


def nobody_asks_and_every_del_fails(f, pod):
    f.daemon.order(name_of(pod.config), DEL="fail")
    f.crictl.call("stopp", pod.id).refused("Internal")
    wait_for("the debt is taken", lambda: pod.id in f.daemon.debts(), 30)
    before = len(f.daemon.calls("DEL", pod.id))
    f.crictl("stopp", pod.id)
    f.crictl("rmp", pod.id)
    assert len(f.daemon.calls("DEL", pod.id)) <= before + 1, "the kubelet's calls make none"


def every_del_hangs(f, pod):
    f.daemon.order(name_of(pod.config), DEL="hang")
    stop = in_background(f, "stopp", pod.id)
    wait_for("the plugin hangs", f.daemon.hanging)
    f.run_pod().remove()
    assert stop.poll() is None, "another pod's calls waited"
    contains(stop.communicate()[1], "CNI plugin fickle failed (DEL)")
    removed_at_last(f, pod)


def test_dels_that_never_work(f):
    failing, unasked, hanging = (f.run_pod(port(f)) for _ in range(3))
    side_by_side(failing=lambda: every_del_fails(f, failing), unasked=lambda: nobody_asks_and_every_del_fails(f, unasked),
                 hanging=lambda: every_del_hangs(f, hanging))
    equal(set(f.daemon.debts()), {failing.id, unasked.id, hanging.id})
    # What is owed is so for the next daemon, too.
    f.daemon.kill()
    f.daemon.start()
    f.rebase_descriptors()
    before = len(f.daemon.calls("DEL", failing.id))
    wait_for("the new daemon tries", lambda: len(f.daemon.calls("DEL", failing.id)) > before)
    f.daemon.no_orders()
    f.daemon.clean(30)
    equal(pods(f), [])
    nothing_hangs(f)


def test_the_first_failure_counts_for_the_next_daemon_too(f):
    pod = f.run_pod(port(f))
    f.daemon.order(DEL="fail")
    f.crictl.call("stopp", pod.id).refused("Internal")
    f.daemon.kill()
    subprocess.run(["sleep", str(f.daemon.patience)], check=True)
    f.daemon.start()
    f.rebase_descriptors()
    f.crictl("stopp", pod.id)
    f.crictl("rmp", pod.id)
    equal(f.daemon.debts(), [pod.id])
    f.daemon.order()
    f.daemon.clean(20)


def test_the_plugin_is_removed_after_add(f):
    pod = f.run_pod(port(f))
    f.daemon.remove_plugin()
    try:
        f.crictl.call("stopp", pod.id).refused("FailedPrecondition", f"CNI plugin fickle is not in {f.daemon.bin}")
        removed_at_last(f, pod)
    finally:
        f.daemon.install_plugin()
    f.daemon.clean(30)


def test_the_configuration_is_changed_or_removed_after_add(f):
    pod, other = f.run_pod(port(f)), f.run_pod()
    try:
        f.daemon.write_config("1.0.0", "other", [{"type": "nothing-like-it"}])
        pod.remove()
        os.unlink(f"{f.daemon.conf}/10-chain.conflist")
        other.remove()
        f.daemon.clean()
    finally:
        f.daemon.write_chain()
    for call in f.daemon.calls("DEL", pod.id):
        equal(call["config"]["name"], "chain")
        equal(call["config"]["prevResult"]["ips"][0]["address"].split("/")[1], "16")


def test_killed_during_add(f):
    configs = {order: port(f) for order in ("hang", "take a while")}
    before, calls = len(f.daemon.calls("ADD")), []
    for order, config in configs.items():
        f.daemon.order(name_of(config), ADD=order)
        calls.append(in_background(f, "runp", f.write(f"killed-{name_of(config)}.json", config)))
    wait_for("both ADDs are at work", lambda: len(f.daemon.calls("ADD")) == before + 2)
    f.daemon.kill()
    for call in calls:
        call.wait()
    f.daemon.no_orders()
    f.daemon.start()
    f.rebase_descriptors()
    wait_for("the pods are undone", lambda: not pods(f))
    f.daemon.clean()
    nothing_hangs(f)
    for config in configs.values():
        equal(try_run(f, config).status, 0)
    f.crictl("rmp", "-f", "-a")


def test_killed_during_del(f):
    pod = f.run_pod(port(f))
    f.daemon.order(DEL="hang")
    stop = in_background(f, "stopp", pod.id)
    wait_for("DEL is at work", f.daemon.hanging)
    f.daemon.kill()
    stop.wait()
    f.daemon.order()
    f.daemon.start()
    f.rebase_descriptors()
    f.crictl("stopp", pod.id)
    f.daemon.clean()
    nothing_hangs(f)


def test_an_orderly_end_while_a_plugin_hangs(f):
    kept = f.run_pod()  # with no pod at all the daemon takes its own cgroup away
    f.daemon.order(ADD="hang")
    call = in_background(f, "runp", f.write("ends.json", port(f)))
    wait_for("ADD is at work", f.daemon.hanging)
    equal(f.daemon.stop(), 0)
    call.wait()
    f.daemon.order()
    f.daemon.start()
    f.rebase_descriptors()
    wait_for("the pod is undone", lambda: [p["id"] for p in pods(f)] == [kept.id])
    kept.remove()
    f.daemon.clean()
    nothing_hangs(f)


def test_attachments_of_pods_that_are_gone(f):
    """State was lost, the cache was not."""
    pod, kept = f.run_pod(port(f)), f.run_pod()
    cache = f"{f.daemon.root}/cni/berth"
    stray = "f" * 64
    for name in os.listdir(cache):
        if name.startswith(pod.id):
            text = pathlib.Path(cache, name).read_text(encoding="utf-8")
            pathlib.Path(cache, name.replace(pod.id, stray)).write_text(text.replace(pod.id, stray), encoding="utf-8")
    pathlib.Path(cache, f".{'e' * 64}+eth0+chain.new").write_text("{", encoding="utf-8")
    f.daemon.kill()
    f.daemon.start()
    f.rebase_descriptors()
    wait_for("the strays are gone", lambda: {n.split("+")[0] for n in os.listdir(cache)} == {pod.id, kept.id})
    equal(len(f.daemon.calls("DEL", stray)), 1)
    equal(f.daemon.calls("DEL", pod.id), [])


def test_gc_from_version_1_1_on(f):
    f.daemon.write_config("1.1.0", "young", [{"type": "fickle", "directory": f.daemon.orders}])
    try:
        pod = f.run_pod()
        equal(pod.ip(), "10.250.0.2")
        f.daemon.kill()
        f.daemon.order(GC="hang")
        f.daemon.start()
        f.rebase_descriptors()
        [call] = wait_for("GC is asked for", lambda: f.daemon.calls("GC"))
        equal(call["config"]["cni.dev/valid-attachments"], [{"containerID": pod.id, "ifname": "eth0"}])
        equal((call["container"], call["netns"]), (None, None))
        nothing_hangs(f)
        pod.remove()
    finally:
        f.daemon.write_chain()


def test_a_cache_on_a_full_disk(f):
    cache = f"{f.daemon.root}/cni/berth"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", cache], check=True)
    try:
        pathlib.Path(cache, "ballast").write_bytes(b"x" * 8192)
        before = len(f.daemon.calls())
        try_run(f, port(f)).refused("ResourceExhausted", "No space left on device")
        equal(len(f.daemon.calls("ADD")), len([c for c in f.daemon.calls()[:before] if c["command"] == "ADD"]), "no plugin ran")
        equal(os.listdir(cache), ["ballast"])
    finally:
        subprocess.run(["umount", cache], check=True)


def test_the_pin_of_the_namespace_is_not_what_it_was(f):
    def unmounted(path):
        subprocess.run(["umount", path], check=True)

    def a_directory(path):
        unmounted(path)
        os.unlink(path)
        os.makedirs(f"{path}/with/something")

    def pinned_twice(path):
        subprocess.run(["mount", "--bind", path, path], check=True)

    def missing(path):
        unmounted(path)
        os.unlink(path)
    for change in (unmounted, a_directory, pinned_twice, missing):
        pod = f.run_pod()
        change(f"{f.daemon.state}/netns/{pod.id}")
        f.crictl("rmp", "-f", pod.id)
        assert not os.path.lexists(f"{f.daemon.state}/netns/{pod.id}"), change.__name__


if __name__ == "__main__":
    main(sys.modules[__name__], cni.CniFixture)
