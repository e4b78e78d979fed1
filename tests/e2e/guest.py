#!/usr/bin/env python3
"""guest.py [--memory MIB] [--seconds N] [--lsm LIST] [--share DIR]... run|shell COMMAND [ARGUMENT...]

Boots a machine of its own (systemd as pid 1, cgroup v2 only), runs one command in it, passes on its output, and ends with
its exit status. Directories named by --share are mounted in the guest at the paths that they have here, writable. The
guest's disk is a snapshot that is thrown away. `shell` runs the command on this terminal.

BERTH_E2E_KERNEL and BERTH_E2E_DISK name what it boots; BERTH_E2E_ENGINE how: `uml`, a kernel that is a process.
"""
import argparse
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# What the guest has to do after its command: write its status, sync, power off.
GRACE = 60


class Uml:
    """User Mode Linux: the kernel is a program. It needs neither KVM nor privileges, and shares directories by hostfs."""

    def __init__(self, kernel, disk, job, memory):
        self.kernel, self.disk, self.job, self.memory = kernel, disk, job, memory

    def command(self, kernel_arguments, interactive):
        """The program to run, with the guest's console and, unless it is interactive, its first serial line as its
        standard output."""
        console = ["con0=fd:0,fd:1"] if interactive else ["con0=null,fd:2", "ssl0=null,fd:1"]
        return [self.kernel, f"mem={self.memory}M", f"ubd0={self.job}/disk.cow,{self.disk}", "root=/dev/ubda", "rw",
                f"uml_dir={self.job}", "umid=uml", "con=null", "ssl=null", *console, *kernel_arguments]


ENGINES = {"uml": Uml}


class Guest:
    def __init__(self, options):
        self.options = options
        self.job = tempfile.mkdtemp(prefix="berth-e2e.", dir="/var/tmp")
        self.process = None

    def _write_command(self):
        path = pathlib.Path(self.job, "command")
        path.write_text("#!/bin/bash\nexec " + shlex.join(self.options.command) + "\n", encoding="utf-8")
        path.chmod(0o755)

    def _kernel_arguments(self):
        target = "berth-guest-shell" if self.options.how == "shell" else "berth-guest"
        shares = ",".join(os.path.realpath(s) for s in self.options.share)
        return [f"systemd.unit={target}.target", f"berth.job={self.job}", f"berth.share={shares}", f"lsm={self.options.lsm}",
                "systemd.unified_cgroup_hierarchy=1", "systemd.show_status=no", "quiet", "panic=-1"]

    def _status(self):
        try:
            return int(pathlib.Path(self.job, "status").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def run(self):
        """The command's exit status; 125 if the guest did not get to its end."""
        self._write_command()
        interactive = self.options.how == "shell"
        engine = ENGINES[os.environ.get("BERTH_E2E_ENGINE") or "uml"](
            os.environ["BERTH_E2E_KERNEL"], os.environ["BERTH_E2E_DISK"], self.job, self.options.memory)
        # All of the guest's processes live in a pid namespace and go with it; its mounts likewise.
        command = ["unshare", "--pid", "--mount", "--fork", "--kill-child=KILL", "--", "sh", "-c", '"$@"; exit $?', "guest",
                   *engine.command(self._kernel_arguments(), interactive)]
        console = open(f"{self.job}/console", "wb")
        self.process = subprocess.Popen(command, stdin=None if interactive else subprocess.DEVNULL, stderr=console)
        timer = threading.Timer(self.options.seconds, self._timed_out)
        timer.daemon = True
        timer.start()
        watcher = threading.Thread(target=self._watch_end, daemon=True)
        watcher.start()
        self.process.wait()
        timer.cancel()
        console.close()
        status = self._status()
        if status is None:
            text = pathlib.Path(self.job, "console").read_text(encoding="utf-8", errors="replace")
            print("the guest did not end as it should; its console:", *text.splitlines()[-40:], sep="\n  ", file=sys.stderr)
            return 125
        return status

    def _timed_out(self):
        print(f"the guest is ended: not done within {self.options.seconds} s", file=sys.stderr, flush=True)
        self.process.kill()

    def _watch_end(self):
        """Ends a guest that has done its work and does not power off."""
        while self.process.poll() is None:
            if self._status() is not None:
                time.sleep(GRACE)
                self.process.kill()
                return
            time.sleep(0.5)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.job, ignore_errors=True)


def interrupted(number, _frame):
    raise SystemExit(128 + number)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--memory", type=int, default=3072)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--lsm", default="landlock,yama,apparmor")
    parser.add_argument("--share", action="append", default=[])
    parser.add_argument("how", choices=("run", "shell"))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    guest = Guest(parser.parse_args())
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, interrupted)
    try:
        return guest.run()
    finally:
        guest.close()


if __name__ == "__main__":
    sys.exit(main())
