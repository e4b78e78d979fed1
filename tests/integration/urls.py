"""The URLs of sessions, asked for as the kubelet does, and the sessions behind them."""
import rpc
import streams
from rpc import message


class Refusal(Exception):
    """The runtime gave no URL."""

    def __init__(self, code, words):
        super().__init__(f"{code}: {words}")
        self.code, self.words = code, words


def _url(f, method, request):
    code, words, fields = rpc.answer(f.daemon.socket, f"RuntimeService/{method}", request)
    if code != "OK":
        raise Refusal(code, words)
    return fields[1].decode()


def _flags(**numbers):
    return [(number, 1) for number, wanted in numbers.values() if wanted]


def exec_url(f, container, argv, tty=False, stdin=False, stdout=True, stderr=True):
    flags = _flags(tty=(3, tty), stdin=(4, stdin), stdout=(5, stdout), stderr=(6, stderr and not tty))
    return _url(f, "Exec", message((1, container), *((2, a) for a in argv), *flags))


def attach_url(f, container, tty=False, stdin=False, stdout=True, stderr=True):
    flags = _flags(stdin=(2, stdin), tty=(3, tty), stdout=(4, stdout), stderr=(5, stderr and not tty))
    return _url(f, "Attach", message((1, container), *flags))


def forward_url(f, pod, *ports):
    return _url(f, "PortForward", message((1, pod), *((2, p) for p in ports)))


def run(f, container, argv, protocols=(streams.V4,), over="spdy", tty=False, stdin=False, stdout=True, stderr=True):
    """An exec's session, closed at the end of the case."""
    wanted = {"tty": tty, "stdin": stdin, "stdout": stdout, "stderr": stderr}
    return _opened(f, exec_url(f, container.id, argv, **wanted), protocols, over, wanted)


def _opened(f, url, protocols, over, wanted):
    session = streams.Command(url, protocols, over, **wanted)
    f.cleanup(session.link.close)
    return session


def sh(f, container, script, *arguments, **more):
    return run(f, container, ["/bin/sh", "-c", script, "sh", *arguments], **more)


def attach(f, container, protocols=(streams.V4,), over="spdy", tty=False, stdin=False, stdout=True, stderr=True):
    wanted = {"tty": tty, "stdin": stdin, "stdout": stdout, "stderr": stderr}
    return _opened(f, attach_url(f, container.id, **wanted), protocols, over, wanted)


def refused(code, *parts, call, **more):
    """Demands that the call is refused with this gRPC code and each part in the words."""
    try:
        url = call(**more)
    except Refusal as e:
        assert e.code == code, f"want code {code}: {e}"
        for part in parts:
            assert part in e.words, f"want {part!r} in the words: {e}"
        return
    raise AssertionError(f"was accepted: {url}")
