"""Namespaces of its own for a program that starts daemons and may be killed at any time."""
import os
import signal
import sys

import disk
from suite import need_programs, need_root


def enter(*programs):
    """Goes on in namespaces of its own: when it ends, whatever way, so does all that it started, and nothing is left mounted. Skips
    without root, or without one of the programs that it needs."""
    need_root()
    need_programs("unshare", "ip", *programs)
    if "BERTH_FAULT_INSIDE" not in os.environ:
        os.environ["BERTH_FAULT_INSIDE"] = "1"
        # A shell is the first process there, and buries those that nobody waits for.
        os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
                              "--", "sh", "-c", '"$@" & wait $!', "sh", sys.executable, *sys.argv])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    disk.run("ip", "link", "set", "lo", "up")
