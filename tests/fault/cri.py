"""The CRI as a kubelet speaks it, without a client program: requests in one line, answers as values."""
import json
import os

import grpc_client
from rpc import fields, message

READY, NOTREADY = 0, 1
CREATED, RUNNING, EXITED = 0, 1, 2
IMAGE_METHODS = ("PullImage", "RemoveImage", "ListImages", "ImageStatus", "ImageFsInfo")
# Every call is bounded; nothing here takes long on a machine that is not stuck.
SECONDS = 20.0


def _one(data, number, default=b""):
    values = [v for n, v in fields(data) if n == number]
    return values[-1] if values else default


def _text(data, number):
    return _one(data, number).decode()


class PodConfig:
    """A pod's name, and what else tells it from others. `host_port`: 0 = none."""

    def __init__(self, name, log_directory, host_port=0):
        self.name, self.log_directory = name, log_directory
        metadata = message((1, name), (2, f"uid-{name}"), (3, "default"))
        ports = [(5, message((2, 80), (3, host_port)))] if host_port else []
        # As the kubelet makes them: process ids are each container's own.
        namespaces = message((2, 1))
        self.encoded = message((1, metadata), (3, log_directory), *ports, (8, message((2, message((1, namespaces))))))

    def container(self, name, image, command):
        security = message((3, message((2, 1))))
        return message((1, message((1, name))), (2, message((1, image))), *((3, word) for word in command),
                       (11, f"{name}.log"), (15, message((2, security))))

    def log(self, container_name):
        return os.path.join(self.log_directory, f"{container_name}.log")


class Cri:
    def __init__(self, socket):
        self.socket, self.seconds = socket, SECONDS

    def call(self, method, *parts, seconds=None):
        service = "ImageService" if method in IMAGE_METHODS else "RuntimeService"
        return grpc_client.call(self.socket, f"{service}/{method}", message(*parts), seconds or self.seconds)

    def must(self, method, *parts):
        answer = self.call(method, *parts)
        assert answer.ok, f"{method}: {answer}"
        return answer

    # -- pods and containers

    def run_pod(self, config):
        return self.call("RunPodSandbox", (1, config.encoded))

    def create(self, pod_id, config, name, image, command):
        return self.call("CreateContainer", (1, pod_id), (2, config.container(name, image, command)), (3, config.encoded))

    def exec_sync(self, container_id, *command):
        return self.call("ExecSync", (1, container_id), *((2, word) for word in command), (3, 10))

    def stop(self, container_id, grace):
        return self.call("StopContainer", (1, container_id), (2, grace))

    def pull(self, image):
        return self.call("PullImage", (1, message((1, image))))

    # -- what is there

    def pods(self):
        """Id -> (name, state)."""
        pods = self.must("ListPodSandbox").all(1)
        return {_text(p, 1): (_text(_one(p, 2), 1), _one(p, 3, 0)) for p in pods}

    def containers(self):
        """Id -> (name, pod, state)."""
        found = self.must("ListContainers").all(1)
        return {_text(c, 1): (_text(_one(c, 3), 1), _text(c, 2), _one(c, 6, 0)) for c in found}

    def images(self):
        """The tags of all images."""
        return {tag.decode() for image in self.must("ListImages").all(1) for n, tag in fields(image) if n == 2}

    def status(self, container_id):
        return ContainerStatus(self.must("ContainerStatus", (1, container_id), (2, 1)).message)

    def shim_pid(self, pod_id):
        """0 when it has none."""
        return _info(self.must("PodSandboxStatus", (1, pod_id), (2, 1)).message)["pid"]


def _info(response):
    return json.loads(_text(next(v for n, v in fields(response) if n == 2 and _text(v, 1) == "info"), 2))


class ContainerStatus:
    def __init__(self, response):
        status = _one(response, 1)
        self.state, self.exit_code = _one(status, 3, 0), _one(status, 7, 0)
        self.reason, self.message = _text(status, 10), _text(status, 11)
        self.pid = _info(response)["pid"]
