"""An agent for seccomp profiles that notify: takes listeners as the OCI runtime-spec describes it and answers for them."""
import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading

NOTIF, RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
RECEIVE, SEND = 0xc0502100, 0xc0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


class Agent:
    """Listens at `path`. `refused` maps numbers of system calls to errors; every other call goes on as it is."""

    def __init__(self, path, refused):
        self.path, self.refused = path, refused
        self.states, self.asked = [], []  # of each process; (process id, number) of each call
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(16)
        self._end_read, self._end_write = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self):
        if self._socket.fileno() < 0:
            return
        os.write(self._end_write, b"x")
        self._thread.join(30)
        self._socket.close()
        os.close(self._end_read)
        os.close(self._end_write)
        os.unlink(self.path)

    def _run(self):
        poll, connections, listeners = select.poll(), {}, set()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._end_read, select.POLLIN)
        while True:
            for fd, events in poll.poll():
                if fd == self._end_read:
                    for connection in connections.values():
                        connection.close()
                    for listener in listeners:
                        os.close(listener)
                    return
                if fd == self._socket.fileno():
                    connection = self._socket.accept()[0]
                    connections[connection.fileno()] = connection
                    poll.register(connection, select.POLLIN)
                elif fd in connections:
                    poll.unregister(fd)
                    with connections.pop(fd) as connection:
                        for listener in self._take(connection):
                            listeners.add(listener)
                            poll.register(listener, select.POLLIN)
                elif events & select.POLLIN:
                    self._answer(fd)
                elif events & (select.POLLHUP | select.POLLERR):  # nobody is under the filter any more
                    poll.unregister(fd)
                    listeners.remove(fd)
                    os.close(fd)

    def _take(self, connection):
        text, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        if not text:
            return []  # of a container that was never started
        assert connection.recv(1) == b"", "more than one message"
        self.states.append(json.loads(text))
        assert len(fds) == len(self.states[-1]["fds"]) == 1, fds
        return fds

    def _answer(self, listener):
        notification = bytearray(NOTIF.size)
        try:
            fcntl.ioctl(listener, RECEIVE, notification)
            number, pid, _, nr = NOTIF.unpack(notification)[:4]
            self.asked.append((pid, nr))
            error = self.refused.get(nr)
            answer = RESPONSE.pack(number, 0, -error, 0) if error else RESPONSE.pack(number, 0, 0, CONTINUE)
            fcntl.ioctl(listener, SEND, bytearray(answer))
        except OSError as e:
            if e.errno != errno.ENOENT:  # it was killed meanwhile
                raise
