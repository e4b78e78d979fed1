"""A program at a terminal, as a person would use it."""
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time


class Terminal:
    """Starts the program with a terminal of its own; what it shows is in `shown`."""

    def __init__(self, argv, rows=24, columns=80):
        self.shown, self.status = b"", None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(argv[0], argv)
        self.size(rows, columns)

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def _read(self, seconds):
        """Whether there may be more."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # all that had it open are gone
            return False
        self.shown += data
        return bool(data)

    def expect(self, text, seconds=15.0):
        end = time.monotonic() + seconds
        while text.encode() not in self.shown:
            assert time.monotonic() < end and self._read(0.2), f"no {text!r} in {self.shown!r}"

    def wait(self, seconds=15.0):
        """The exit status, once it has ended by itself."""
        end = time.monotonic() + seconds
        while self._read(0.2):
            assert time.monotonic() < end, f"it goes on: {self.shown!r}"
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        return os.waitstatus_to_exitcode(status)

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
