#!/usr/bin/env python3
"""What is wrong is refused with the code and the words that tell why, and leaves nothing behind. After each case the
fixture compares mounts, files, cgroups, processes, rows, links, packet rules and descriptors with those before it."""
import concurrent.futures
import socket
import sys
import time

import fixture
import rpc
from fixture import BUSYBOX, NODE
from lying_registry import LyingRegistry, digest
from rpc import message
from suite import contains, equal, main, wait_for

NOBODY = "f" * 64
SLEEP = ["/bin/sleep", "1000"]


def refuse_container(f, code, *parts, pod=None, command=SLEEP, **more):
    pod = pod or f.pod
    pod.try_create({**pod.container_config(command, **more)}).refused(code, *parts)
    equal(f.crictl.json("ps", "-a", "--pod", pod.id)["containers"], [])


def refuse_pod(f, code, *parts, **more):
    f.crictl.call("runp", f.write("refused.json", f.pod_config(**more))).refused(code, *parts)


# -- images


def test_image_unknown_to_the_registry(f):
    ref = f.registry.ref("no/such:tag")
    f.crictl.call("pull", ref).refused("NotFound", ref, "not found")
    ref = f.registry.ref(BUSYBOX.split(":")[0] + ":no-such-tag")
    f.crictl.call("pull", ref).refused("NotFound", ref)


def test_nothing_listens(f):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
        f.crictl.call("pull", f"{address}/a/b:c").unavailable(address)


def test_image_name_is_none(f):
    for name in ("a.b/UPPER", "a//b", "a b", "-", "a@sha256:12"):
        f.crictl.call("pull", "--", name).refused("InvalidArgument", name)


def pull_of_lie(f, lie, code, *parts):
    with LyingRegistry() as registry:
        ref = f"{registry.address}/{lie}:1"
        started = time.monotonic()
        result = f.crictl.call("pull", ref)
        result.unavailable(*parts) if code == "Unavailable" else result.refused(code, *parts)
        assert time.monotonic() - started < 20, "it took too long"
        assert (lie, "manifests") in registry.server.asked
        equal(f.crictl.json("images", ref)["images"], [])


def test_registry_answers_500(f):
    pull_of_lie(f, "error-500", "Unavailable", "500")


def test_layer_answers_500(f):
    pull_of_lie(f, "layer-500", "Unavailable", "500")


def test_registry_denies(f):
    pull_of_lie(f, "denied", "PermissionDenied", "denies")


def test_manifest_is_a_web_page(f):
    pull_of_lie(f, "html", "InvalidArgument", "JSON")


def test_layer_with_wrong_digest(f):
    pull_of_lie(f, "wrong-digest", "DataLoss", "sha256:")


def test_config_with_wrong_digest(f):
    pull_of_lie(f, "wrong-config-digest", "DataLoss", "sha256:")


def test_config_is_broken(f):
    pull_of_lie(f, "broken-config", "InvalidArgument")


def test_layer_is_truncated(f):
    pull_of_lie(f, "truncated", "Unavailable")


def test_layer_is_short(f):
    pull_of_lie(f, "short", "DataLoss")


def test_layer_is_long(f):
    pull_of_lie(f, "long", "DataLoss")


def test_layer_with_wrong_size(f):
    pull_of_lie(f, "wrong-size", "DataLoss")


def test_layer_is_missing(f):
    pull_of_lie(f, "missing-layer", "NotFound", "sha256:")


def test_layer_with_wrong_diff_id(f):
    pull_of_lie(f, "wrong-diff-id", "DataLoss", "diff")


def test_more_diff_ids_than_layers(f):
    pull_of_lie(f, "layer-count", "InvalidArgument")


def test_layer_is_no_archive(f):
    pull_of_lie(f, "no-archive", "InvalidArgument")


def test_layer_is_not_compressed_as_told(f):
    pull_of_lie(f, "no-gzip", "InvalidArgument")


def test_manifest_of_another_digest(f):
    with LyingRegistry() as registry:
        f.crictl.call("pull", f"{registry.address}/good@{digest(b'other')}").refused("DataLoss", digest(b"other"))


def test_image_without_a_command(f):
    """And the proof that the lying registry tells the truth when asked for it."""
    assert f.pod
    with LyingRegistry() as registry:
        ref = f"{registry.address}/good:1"
        f.crictl("pull", ref)
        f.cleanup(lambda: f.crictl("rmi", ref))
        refuse_container(f, "InvalidArgument", "no command", command=None, image=ref)


def test_image_not_in_the_store(f):
    refuse_container(f, "NotFound", "image.image", "no/such:1", image=f.registry.ref("no/such:1"))


def test_remove_unknown_image(f):
    result = f.crictl.call("rmi", f.registry.ref("no/such:1"))
    contains(result.err + result.out, "no such image")


# -- pods


def test_pod_exists(f):
    pod = f.run_pod()
    f.crictl.call("runp", pod.path).refused("AlreadyExists", pod.id)
    equal(pod.inspect()["status"]["state"], "SANDBOX_READY")


def test_pod_without_config_metadata_or_name(f):
    for request, words in ((b"", "config"), (message((1, b"")), "metadata"), (message((1, message((1, message((2, "uid")))))), "metadata.name")):
        code, told = rpc.call(f.daemon.socket, "RuntimeService/RunPodSandbox", request)
        equal(code, "InvalidArgument", told)
        contains(told, words)


def test_pod_with_unknown_handler(f):
    f.crictl.call("runp", "--runtime", "nope", f.write("refused.json", f.pod_config())).refused("InvalidArgument", "runtime_handler", "nope")


def test_pod_log_directory(f):
    refuse_pod(f, "InvalidArgument", "log_directory", log_directory="relative/path")
    refuse_pod(f, "InvalidArgument", "log_directory", log_directory="/var/log/../../etc")


def test_sysctl_of_the_host(f):
    refuse_pod(f, "InvalidArgument", "kernel.panic", "not namespaced", linux={"sysctls": {"kernel.panic": "1"}})
    refuse_pod(f, "InvalidArgument", "net.core.somaxconn", "host",
               linux={"sysctls": {"net.core.somaxconn": "1"}, "security_context": {"namespace_options": {"network": NODE}}})


def test_sysctl_that_does_not_exist(f):
    refuse_pod(f, "InvalidArgument", "net.no.such", "unknown to this kernel", linux={"sysctls": {"net.no.such": "1"}})


def test_sysctl_with_bad_value(f):
    refuse_pod(f, "InvalidArgument", "net.ipv4.ip_forward", linux={"sysctls": {"net.ipv4.ip_forward": "many"}})


def test_host_port_taken_by_a_pod(f):
    port = free_port()
    mapping = [{"container_port": 80, "host_port": port}]
    f.run_pod(port_mappings=mapping)
    refuse_pod(f, "AlreadyExists", str(port), port_mappings=mapping)


def test_host_port_taken_by_the_host(f):
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
        port = s.getsockname()[1]
        refuse_pod(f, "AlreadyExists", str(port), "host", port_mappings=[{"container_port": 80, "host_port": port}])


def test_same_pod_four_times_at_once(f):
    path = f.write("same.json", f.pod_config())
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: f.crictl.call("runp", path), range(4)))
    made = [r.out.strip() for r in results if r.status == 0]
    for pod in made:
        f.cleanup(f.crictl, "rmp", "-f", pod)
    equal(len(made), 1, [str(r) for r in results])
    for result in results:
        if result.status != 0:
            result.refused("AlreadyExists", made[0])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_host_port_out_of_range(f):
    refuse_pod(f, "InvalidArgument", "65536", port_mappings=[{"container_port": 80, "host_port": 65536}])


def test_cgroup_parent_of_the_other_driver(f):
    other = "/kubepods" if f.daemon.parent_name.endswith(".slice") else "kubepods.slice"
    refuse_pod(f, "InvalidArgument", "linux.cgroup_parent", linux={"cgroup_parent": other})


# -- containers


def test_container_in_a_stopped_pod(f):
    pod = f.run_pod()
    f.crictl("stopp", pod.id)
    refuse_container(f, "FailedPrecondition", pod.id, "not ready", pod=pod)


def test_container_without_config_metadata_name_or_image(f):
    for config, words in ((None, "config"), (b"", "metadata"), (message((1, b"")), "metadata.name"),
                          (message((1, message((1, "name")))), "image.image")):
        request = message((1, f.pod.id), *([(2, config)] if config is not None else []))
        code, told = rpc.call(f.daemon.socket, "RuntimeService/CreateContainer", request)
        equal(code, "InvalidArgument", told)
        contains(told, words)


def test_container_that_exists(f):
    c = f.pod.create(SLEEP)
    f.pod.try_create(c.config).refused("AlreadyExists", c.id)


def test_log_path_outside(f):
    for path in ("../x", "/etc/x", "a/../../x"):
        refuse_container(f, "InvalidArgument", "log_path", path, log_path=path)


def test_privileged_in_an_unprivileged_pod(f):
    refuse_container(f, "InvalidArgument", "privileged", security={"privileged": True})


def test_group_without_user(f):
    refuse_container(f, "InvalidArgument", "run_as_group", security={"run_as_group": {"value": 5}})


def test_user_twice(f):
    refuse_container(f, "InvalidArgument", "run_as_username", security={"run_as_user": {"value": 5}, "run_as_username": "nobody"})


def test_unknown_user(f):
    refuse_container(f, "InvalidArgument", "no-such-user", security={"run_as_username": "no-such-user"})


def test_unknown_capability(f):
    refuse_container(f, "InvalidArgument", "FLY", security={"capabilities": {"add_capabilities": ["FLY"]}})


def test_mount_source_that_cannot_be_made(f):
    """A missing source is made as a directory; beneath a file that fails."""
    path = f"{f.pod.path}/source"
    refuse_container(f, "FailedPrecondition", path, mounts=[{"container_path": "/m", "host_path": path}])


def test_mount_with_relative_path(f):
    refuse_container(f, "InvalidArgument", "container_path", mounts=[{"container_path": "m", "host_path": "/tmp"}])


def test_missing_seccomp_profile(f):
    refuse_container(f, "NotFound", "/no/such.json", security={"seccomp": {"profile_type": 2, "localhost_ref": "/no/such.json"}})


def test_missing_device(f):
    refuse_container(f, "NotFound", "/dev/no-such", devices=[{"container_path": "/dev/x", "host_path": "/dev/no-such", "permissions": "rwm"}])


def test_command_that_does_not_exist(f):
    c = f.pod.create(["/no/such"])
    f.crictl.call("start", c.id).refused("NotFound", "/no/such")
    status = c.status()
    equal((status["state"], status["exitCode"], status["reason"]), ("CONTAINER_EXITED", 128, "StartError"))
    contains(status["message"], "/no/such")
    f.crictl.call("start", c.id).refused("FailedPrecondition", c.id)


def test_command_that_is_no_program(f):
    c = f.pod.create(["/etc/passwd"])
    assert f.crictl.call("start", c.id).status != 0
    equal((c.status()["exitCode"], c.status()["reason"]), (128, "StartError"))


def test_working_directory_that_is_a_file(f):
    c = f.pod.try_create(f.pod.container_config(SLEEP, working_dir="/etc/passwd"))
    if c.status == 0:
        f.cleanup(lambda: f.crictl("rm", "-f", c.out.strip()))
        c = f.crictl.call("start", c.out.strip())
    assert c.status != 0 and "/etc/passwd" in c.message, str(c)


def test_started_twice(f):
    c = f.pod.start(SLEEP)
    f.crictl.call("start", c.id).refused("FailedPrecondition", "created state")
    equal(c.status()["state"], "CONTAINER_RUNNING")


def test_unknown_ids(f):
    f.crictl.call("inspect", NOBODY).refused("NotFound", NOBODY)
    f.crictl.call("inspectp", NOBODY).refused("NotFound", NOBODY)
    f.crictl.call("start", NOBODY).refused("NotFound", NOBODY)
    f.crictl.call("exec", "-s", NOBODY, "true").refused("NotFound", NOBODY)
    f.crictl.call("logs", "--reopen", NOBODY).refused("NotFound", NOBODY)
    f.crictl.call("create", "--no-pull", NOBODY, f.write("c.json", f.pod.container_config(SLEEP)), f.pod.path).refused("NotFound", NOBODY)
    f.crictl("stop", NOBODY)
    f.crictl("stopp", NOBODY)
    # crictl asks for the state of what it is to remove first.
    for method in ("RemoveContainer", "RemovePodSandbox", "StopContainer", "StopPodSandbox"):
        equal(rpc.call(f.daemon.socket, f"RuntimeService/{method}", message((1, NOBODY))), ("OK", ""), method)
    equal(f.crictl.json("ps", "-a", "--id", NOBODY)["containers"], [])
    equal(f.crictl.json("pods", "--id", NOBODY)["items"], [])


def test_empty_and_ambiguous_ids(f):
    f.pod.create(SLEEP), f.pod.create(SLEEP)
    for request in (b"", message((1, ""))):
        code, told = rpc.call(f.daemon.socket, "RuntimeService/StartContainer", request)
        assert code in ("InvalidArgument", "NotFound"), (code, told)


def test_negative_timeouts(f):
    c = f.pod.start(SLEEP)
    for method, request in (("StopContainer", message((1, c.id), (2, -1))), ("ExecSync", message((1, c.id), (2, "true"), (3, -1)))):
        equal(rpc.call(f.daemon.socket, f"RuntimeService/{method}", request), ("InvalidArgument", "timeout: is negative"))
    equal(c.status()["state"], "CONTAINER_RUNNING")


def test_exec_of_no_command(f):
    c = f.pod.start(SLEEP)
    equal(rpc.call(f.daemon.socket, "RuntimeService/ExecSync", message((1, c.id))), ("InvalidArgument", "cmd: is empty"))


def test_request_that_is_no_message(f):
    code, _ = rpc.call(f.daemon.socket, "RuntimeService/RunPodSandbox", b"\xff" * 40)
    assert code != "OK"  # which one is gRPC's choice
    equal(rpc.call(f.daemon.socket, "RuntimeService/NoSuchCall")[0], "Unimplemented")
    f.crictl("version")


def test_exec_in_a_stopped_container(f):
    c = f.pod.start(SLEEP)
    f.crictl("stop", "--timeout", "0", c.id)
    f.crictl.call("exec", "-s", c.id, "true").refused("FailedPrecondition", "not running")


def test_exec_of_nothing(f):
    c = f.pod.start(SLEEP)
    result = f.crictl.call("exec", "-s", c.id, "/no/such")
    assert result.status != 0 and "/no/such" in result.err, str(result)
    equal(c.status()["state"], "CONTAINER_RUNNING")


def test_exec_timeout(f):
    """The command and its children are killed, in the time that was given."""
    c = f.pod.start(SLEEP)
    started = time.monotonic()
    result = f.crictl.call("exec", "-s", "--timeout", "1", c.id, "/bin/sh", "-c", "sleep 777 & sleep 778")
    result.refused("DeadlineExceeded", "timed out", "1s")
    assert 0.9 < time.monotonic() - started < 5, time.monotonic() - started
    wait_for("no sleep of the exec is left", lambda: "77" not in c.exec("/bin/ps"))


def test_reopening_the_log_of_a_stopped_container(f):
    c = f.pod.start(["/bin/true"])
    c.wait()
    f.crictl.call("logs", "--reopen", c.id).refused("FailedPrecondition", "not running")


if __name__ == "__main__":
    main(sys.modules[__name__], fixture.make([BUSYBOX]))
