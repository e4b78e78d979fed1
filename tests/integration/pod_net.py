"""Sockets inside a pod's network namespace, held by this process: the peers of forwarded connections."""
import ctypes
import os
import socket
import threading

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def in_namespace_of(pid, call):
    """What call() returns, or raises, on a thread in the network namespace of that process."""
    result = []

    def run():
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            if _libc.setns(fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            result.append((call(), None))
        except Exception as e:
            result.append((None, e))
        finally:
            os.close(fd)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = result[0]
    if error:
        raise error
    return value


def listen(pid, address="127.0.0.1", port=0, backlog=128):
    """A listening TCP socket there; accepting waits 15 seconds at most."""
    def make():
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(backlog)
        sock.settimeout(15)
        return sock
    return in_namespace_of(pid, make)


def accept(listener):
    sock, _ = listener.accept()
    sock.settimeout(15)
    return sock


def read_all(sock):
    """Up to the end of what the other side sends."""
    data = b""
    while more := sock.recv(262144):
        data += more
    return data


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        assert more, f"the connection ended after {len(data)} of {size} bytes"
        data += more
    return data


class Echo:
    """Answers every connection with what it sends, on a thread; `served` counts them."""

    def __init__(self, listener):
        self.listener, self.served, self.port = listener, 0, listener.getsockname()[1]
        listener.settimeout(None)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.served += 1
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    @staticmethod
    def _answer(sock):
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data)
            except OSError:
                pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
