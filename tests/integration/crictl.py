"""The real crictl against one daemon."""
import json
import re
import subprocess

RPC_ERROR = re.compile(r"rpc error: code = (\w+) desc = ((?:[^\"\\\n]|\\.)*)")


class Result:
    """How a call ended: status, out, err, and for a refused call the gRPC code and message."""

    def __init__(self, argv, done):
        self.argv, self.status, self.out, self.err = argv, done.returncode, done.stdout, done.stderr
        found = RPC_ERROR.search(self.err)
        self.code = found.group(1) if found else ("OK" if self.status == 0 else "none")
        self.message = found.group(2).replace('\\"', '"').replace("\\\\", "\\").strip() if found else ""

    def __str__(self):
        return f"crictl {' '.join(self.argv)}: status {self.status}, code {self.code}\n{self.out}{self.err}"

    def refused(self, code, *parts):
        """Demands this gRPC code, and each part in the message."""
        assert self.status != 0, f"was accepted: {self}"
        assert self.code == code, f"want code {code}: {self}"
        for part in parts:
            assert part in self.message, f"want {part!r} in the message: {self}"
        return self

    def unavailable(self, *parts):
        """Demands the error class by which the kubelet knows an unavailable registry. crictl has the kubelet's client: it shows
        such a message without the code in front, which is what the kubelet compares."""
        assert self.status != 0, f"was accepted: {self}"
        assert "pulling image: RegistryUnavailable: " in self.err, f"want the class RegistryUnavailable: {self}"
        for part in parts:
            assert part in self.err, f"want {part!r} in the message: {self}"
        return self


class Crictl:
    def __init__(self, program, directory, socket):
        self.program = program
        self.config = f"{directory}/crictl.yaml"
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f"runtime-endpoint: unix://{socket}\nimage-endpoint: unix://{socket}\ntimeout: 60\n")

    def call(self, *argv, timeout=90, data=None):
        argv = [str(a) for a in argv]
        done = subprocess.run([self.program, "-c", self.config, *argv], capture_output=True, timeout=timeout, check=False,
                              stdin=None if data else subprocess.DEVNULL, input=data)
        done.stdout, done.stderr = (s.decode("utf-8", "replace") for s in (done.stdout, done.stderr))
        return Result(argv, done)

    def argv(self, *argv):
        """For who starts it otherwise."""
        return [str(self.program), "-c", self.config, *(str(a) for a in argv)]

    def __call__(self, *argv, **options):
        """The standard output of a call that must succeed."""
        result = self.call(*argv, **options)
        assert result.status == 0, str(result)
        return result.out

    def json(self, verb, *argv):
        return json.loads(self(verb, "-o", "json", *argv))
