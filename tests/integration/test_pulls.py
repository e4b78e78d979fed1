#!/usr/bin/env python3
"""Pulls from registries that ask for credentials, lie, stall or are far away, through the daemon. After each case the fixture
compares files, rows, mounts and descriptors with those before it: a pull that failed leaves nothing."""
import base64
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import threading
import time

import fixture
import registries
import rpc
from daemon import CACHE
from fixture import BUSYBOX
from lying_registry import LyingRegistry, image
from rpc import message
from suite import Skip, contains, equal, main, need_programs, wait_for

USER, PASSWORD, REFRESH = "hedwig", "p4ss-W0rd-secret", "r3fresh-secret"
PROXY_USER = "prox", "pr0xy-secret"
LAYOUT = CACHE / "images/small/layout"


class PullFixture(fixture.Fixture):
    """A daemon behind a proxy, with directories for hosts.toml of its own, that loses patience after two seconds."""

    def __init__(self):
        self.network = self.proxy = None
        need_programs("openssl", "htpasswd", "ip")
        self.network = registries.HiddenNetwork()
        self.network.__enter__()
        try:
            self.proxy = registries.proxy_into(self.network)
            url = f"http://{':'.join(PROXY_USER)}@127.0.0.1:{self.proxy.server_address[1]}"
            # Go reads the upper case, and so do we; what is excepted is not even tried through the proxy.
            os.environ |= {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": "198.51.100.128/25, .example"}
            super().__init__([], [], settings=self.settings)
        except BaseException:
            self.leave_network()
            raise

    @staticmethod
    def settings(daemon):
        return f'image.hosts_dirs = ["{daemon.files}/certs.d"]\nimage.progress_timeout = 2\nimage.range_connections = 3'

    def leave_network(self):
        if self.proxy:
            self.proxy.shutdown()
            self.proxy.server_close()
        self.network.__exit__()
        self.network = self.proxy = None

    def close(self):
        left = super().close()
        if self.network:
            self.leave_network()
        return left

    def hosts(self, name, text):
        """The hosts.toml of that host, until the end of the case."""
        directory = pathlib.Path(f"{self.daemon.files}/certs.d/{name}")
        directory.mkdir(parents=True)
        (directory / "hosts.toml").write_text(text, encoding="utf-8")
        self.cleanup(subprocess.run, ["rm", "-rf", directory])

    def pull(self, ref, **auth):
        """(code, words) of PullImage with that AuthConfig, which crictl cannot send."""
        numbers = {"username": 1, "password": 2, "auth": 3, "server_address": 4, "identity_token": 5, "registry_token": 6}
        fields = [(numbers[name], value) for name, value in auth.items()]
        return rpc.call(self.daemon.socket, "ImageService/PullImage", message((1, message((1, ref))), (2, message(*fields))))

    def pulled(self, ref, **auth):
        equal(self.pull(ref, **auth), ("OK", ""), f"pull of {ref} with {list(auth)}")
        self.crictl("rmi", ref)

    def log(self):
        return pathlib.Path(self.daemon.log).read_text(encoding="utf-8", errors="replace")

    def store_bytes(self):
        """What the image store has on disk."""
        done = subprocess.run(["du", "-s", "-B1", f"{self.daemon.root}/images"], capture_output=True, text=True, check=False)
        return int(done.stdout.split()[0])


def registry(f, name, **options):
    made = registries.DockerRegistry(f"{f.daemon.files}/{name}-{time.monotonic_ns()}", **options)
    f.cleanup(made.stop)
    return made


def need_layout():
    if not LAYOUT.exists():
        raise Skip(f"missing images: {LAYOUT} (tests/images/small/make makes them)")


# -- credentials


def test_password_of_a_registry(f):
    """Every form in which CRI has a user and a password, against a registry that checks them."""
    need_layout()
    r = registry(f, "basic", auth=registries.password_file(f"{f.daemon.files}/htpasswd", USER, PASSWORD))
    ref = r.push(LAYOUT, BUSYBOX, f"{USER}:{PASSWORD}")
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    padded = base64.b64encode(f"{USER}:{PASSWORD}\0\0\0".encode()).decode()
    f.pulled(ref, username=USER, password=PASSWORD)
    f.pulled(ref, auth=encoded)
    f.pulled(ref, auth=padded)
    f.pulled(ref, username=USER, password=PASSWORD, server_address=f"http://{r.address}/v2/")
    for wrong in ({}, {"username": USER, "password": "wr0ng-secret"}, {"auth": base64.b64encode(b"a:b").decode()},
                  {"username": USER, "password": PASSWORD, "server_address": "https://index.docker.io/v1/"}):
        code, words = f.pull(ref, **wrong)
        equal(code, "Unauthenticated", words)
        contains(words, r.address)
    for malformed in ("***", base64.b64encode(b"no colon").decode()):
        equal(f.pull(ref, auth=malformed)[0], "InvalidArgument")


def test_tokens_of_a_token_service(f):
    """The bearer flow of a real registry, which checks the signature and what the token is for."""
    need_layout()
    directory = f"{f.daemon.files}/tokens-{time.monotonic_ns()}"
    os.makedirs(directory)
    service = registries.TokenService(directory, USER, PASSWORD, REFRESH)
    f.cleanup(service.stop)
    r = registry(f, "token", auth=service.registry_auth())
    ref = r.push(LAYOUT, BUSYBOX, f"{USER}:{PASSWORD}")
    scope = f"repository:{BUSYBOX.split(':')[0]}:pull"
    service.asked.clear()
    f.pulled(ref, username=USER, password=PASSWORD)
    equal(service.asked, [("GET", True, [scope])], "one token for the whole pull")
    f.pulled(ref, username=USER, password=PASSWORD)
    equal(len(service.asked), 1, "the token is kept")
    f.pulled(ref, identity_token=REFRESH)
    equal(service.asked[-1], ("POST", False, [scope]))
    asked = len(service.asked)
    f.pulled(ref, registry_token=service.token([scope]))
    equal(len(service.asked), asked, "a registry token needs no service")
    for wrong in ({}, {"username": USER, "password": "wr0ng-secret"}, {"identity_token": "wr0ng-secret"},
                  {"registry_token": service.token(["repository:another:pull"])}):
        equal(f.pull(ref, **wrong)[0], "Unauthenticated")


def test_secrets_stay_out_of_the_log(f):
    """Of all that the cases before this one sent; the daemon logs at debug."""
    text = f.log()
    contains(text, "PullImage")
    for secret in (PASSWORD, REFRESH, "wr0ng-secret", PROXY_USER[1], "Bearer", "Basic",
                   base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), "eyJ"):
        assert secret not in text, f"{secret!r} is in the log"


# -- hosts.toml


def test_mirror_over_tls_with_its_own_authority(f):
    """The file is read by each pull: what it says now holds now."""
    need_layout()
    tls = registries.certificate(f.daemon.files, "mirror", "127.0.0.1")
    r = registry(f, "tls", tls=tls)
    r.push(LAYOUT, BUSYBOX)
    ref = f"registry.invalid/{BUSYBOX}"
    equal(f.pull(ref)[0], "Unknown")
    f.hosts("registry.invalid", f'[host."https://{r.address}"]\nca = "{tls[0]}"\n')
    f.pulled(ref)
    path = pathlib.Path(f"{f.daemon.files}/certs.d/registry.invalid/hosts.toml")
    path.write_text(f'server = "https://{r.address}"\n', encoding="utf-8")
    code, words = f.pull(ref)
    equal(code, "FailedPrecondition", words)
    contains(words, "certificate")
    path.write_text(f'server = "https://{r.address}"\nskip_verify = true\n', encoding="utf-8")
    f.pulled(ref)


def test_docker_style_certificates(f):
    need_layout()
    tls = registries.certificate(f.daemon.files, "docker", "127.0.0.1")
    r = registry(f, "dockertls", tls=tls)
    ref = r.push(LAYOUT, BUSYBOX)
    directory = pathlib.Path(f"{f.daemon.files}/certs.d/{r.address}")
    f.hosts(r.address, f'server = "https://{r.address}"\nca = "ca.crt"\n')
    code, words = f.pull(ref)
    equal(code, "InvalidArgument", words)
    contains(words, "ca.crt")
    (directory / "ca.crt").write_bytes(pathlib.Path(tls[0]).read_bytes())
    f.pulled(ref)


def test_client_certificate(f):
    """It is asked for of whoever connects; without one the connection is refused."""
    need_layout()
    tls = registries.certificate(f.daemon.files, "server", "127.0.0.1")
    cert, key = registries.certificate(f.daemon.files, "client")
    r = registry(f, "clients", tls=tls, clients=cert)
    ref, top = f"{r.address}/{BUSYBOX}", f'server = "https://{r.address}"\nca = "{tls[0]}"\n'
    f.hosts(r.address, top)
    equal(f.pull(ref)[0], "Unknown")
    hosts = pathlib.Path(f"{f.daemon.files}/certs.d/{r.address}/hosts.toml")
    hosts.write_text(f'{top}client = [["{cert}", "{key}"]]\n', encoding="utf-8")
    equal(f.pull(ref)[0], "NotFound", "there is no image, but one may ask")
    hosts.write_text(f'{top}client = [["{cert}", "none.pem"]]\n', encoding="utf-8")
    code, words = f.pull(ref)
    equal(code, "InvalidArgument", words)
    contains(words, "none.pem")


def test_mistakes_in_hosts_toml(f):
    for text, words in (("server = 1", "'server'"), ('[host."https://m"]\nskip_verfy = true', "unknown key 'skip_verfy'"),
                        ('capabilities = ["pul"]', "'pul'"), ('dial_timeout = "soon"', "'dial_timeout'")):
        f.hosts("wrong.example", text)
        f.crictl.call("pull", "wrong.example/a:1").refused("InvalidArgument", "certs.d/wrong.example/hosts.toml", words)
        subprocess.run(["rm", "-rf", f"{f.daemon.files}/certs.d/wrong.example"], check=True)


# -- proxies


def hidden_registry(f, tls=None):
    """The good image in the network that only the proxy reaches; its address there."""
    def make():
        lying = LyingRegistry(tls, address=f.network.address)
        lying.__enter__()
        return lying
    lying = f.network.inside(make)
    f.cleanup(lying.__exit__)
    return lying


def test_proxy_for_http(f):
    lying = hidden_registry(f)
    f.hosts(lying.address, f'server = "http://{lying.address}"\n')
    f.proxy.asked.clear()
    f.pulled(f"{lying.address}/good:1")
    equal({verb for verb, _, _ in f.proxy.asked}, {"GET"})
    equal({auth for _, _, auth in f.proxy.asked}, {"Basic " + base64.b64encode(":".join(PROXY_USER).encode()).decode()})


def test_proxy_for_https(f):
    tls = registries.certificate(f.daemon.files, "hidden", f.network.address)
    lying = hidden_registry(f, tls)
    f.hosts(lying.address, f'server = "https://{lying.address}"\nca = "{tls[0]}"\n')
    f.proxy.asked.clear()
    f.pulled(f"{lying.address}/good:1")
    equal({(verb, to) for verb, to, _ in f.proxy.asked}, {("CONNECT", lying.address)})


def test_no_proxy(f):
    """Neither what NO_PROXY names nor this machine is asked through it."""
    route = ["unreachable", "198.51.100.200/32"]
    subprocess.run(["ip", "route", "add", *route], check=True)
    f.cleanup(subprocess.run, ["ip", "route", "delete", *route])
    f.proxy.asked.clear()
    f.crictl.call("pull", "198.51.100.200/a:1").unavailable("198.51.100.200")
    with LyingRegistry() as lying:
        f.pulled(f"{lying.address}/good:1")
    equal(f.proxy.asked, [])


# -- registries that lie


def hostile(f, lie, outcome, *words, tls=None, **options):
    """The pull fails (or with "OK" does not), the disk never holds more than such an image takes, and when the registry has
    come to its senses the image is had."""
    canary = f"/var/tmp/berth-canary-{os.getpid()}"
    room = f.store_bytes() + (2 << 20)
    peak = [0]
    done = threading.Event()

    def watch():
        while not done.wait(0.05):
            peak[0] = max(peak[0], f.store_bytes())

    with LyingRegistry(tls, canary=canary) as lying:
        lying.server.plain = lying.address
        for key, value in options.items():
            setattr(lying.server, key, value)
        ref = f"{lying.address}/{lie}:1"
        if tls:
            f.hosts(lying.address, f'server = "https://{lying.address}"\nca = "{tls[0]}"\n')
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            result = f.crictl.call("pull", ref, timeout=60)
        finally:
            done.set()
            watcher.join()
        if outcome == "OK":
            equal(result.status, 0, str(result))
            f.crictl("rmi", ref)
        elif outcome == "Unavailable":
            result.unavailable(*words)
        else:
            result.refused(outcome, *words)
        assert peak[0] < room, f"{peak[0]} bytes on disk, at most {room} were to be expected"
        assert not os.path.exists(canary), "a layer reached a file outside"
        f.nothing_left()
        asked = len(lying.server.asked)
        lying.server.honest = True
        if lie != "long-rest":
            f.crictl("pull", ref)
            f.crictl("rmi", ref)
        return asked


def test_endless_layer(f):
    hostile(f, "endless-layer", "DataLoss", "longer than")


def test_endless_headers(f):
    hostile(f, "endless-headers", "ResourceExhausted", "headers")


def test_endless_manifest(f):
    hostile(f, "endless-manifest", "ResourceExhausted", "over")


def test_endless_refusal(f):
    hostile(f, "endless-refusal", "NotFound")


def test_manifest_too_large(f):
    hostile(f, "large-manifest", "ResourceExhausted", "over")


def test_manifest_nested_deeply(f):
    hostile(f, "deep", "InvalidArgument", "JSON")


def test_circle_of_redirects(f):
    asked = hostile(f, "circle", "FailedPrecondition", "redirects")
    assert asked <= 12, asked
    hostile(f, "layer-circle", "FailedPrecondition", "redirects")


def test_redirect_to_plain_http(f):
    tls = registries.certificate(f.daemon.files, "lying", "127.0.0.1")
    hostile(f, "to-http", "PermissionDenied", "from https to http", tls=tls)


def test_storm_of_429(f):
    asked = hostile(f, "storm", "Unavailable", "429")
    equal(asked, 5, "requests")
    asked = hostile(f, "layer-storm", "Unavailable", "429")
    assert asked <= 8, asked


def test_a_day_of_rest(f):
    """Nobody waits for it, and nobody asks again meanwhile."""
    with LyingRegistry() as lying:
        for _ in range(3):
            f.crictl.call("pull", f"{lying.address}/long-rest:1").unavailable(lying.address)
        equal(len(lying.server.asked), 1, "requests")


def test_slow_body(f):
    hostile(f, "loris", "Unavailable", "no progress for 2s")


def test_wrong_content_range(f):
    hostile(f, "wrong-range", "DataLoss", "asked from byte")


def test_connection_cut_and_gone_on(f):
    hostile(f, "cut-once", "OK")
    hostile(f, "no-range", "OK")


def test_media_types_are_named(f):
    hostile(f, "schema-1", "InvalidArgument", "schema 1", "application/vnd.docker.distribution.manifest.v1+json")
    hostile(f, "helm-chart", "OK")  # an OCI artifact
    hostile(f, "encrypted", "InvalidArgument", "tar+gzip+encrypted")
    hostile(f, "foreign-type", "OK")


def test_layers_that_lie(f):
    for lie, code in (("wrong-digest", "DataLoss"), ("short", "DataLoss"), ("long", "DataLoss"), ("wrong-size", "DataLoss"),
                      ("wrong-diff-id", "DataLoss"), ("layer-count", "InvalidArgument"), ("no-archive", "InvalidArgument"),
                      ("truncated", "Unavailable"), ("missing-layer", "NotFound")):
        hostile(f, lie, code)


def test_archives_that_want_out(f):
    """Whether they are refused or put into the layer is the unpacker's choice; nothing outside changes."""
    canary = f"/var/tmp/berth-canary-{os.getpid()}"
    for lie in ("tar-dots", "tar-absolute", "tar-symlink", "tar-symlink-dots", "tar-hardlink", "tar-whiteout"):
        with LyingRegistry(canary=canary) as lying:
            ref = f"{lying.address}/{lie}:1"
            if lie in ("tar-hardlink", "tar-whiteout"):
                pathlib.Path(canary).write_text("mine", encoding="utf-8")
            result = f.crictl.call("pull", ref)
            if result.status == 0:
                f.crictl("rmi", ref)
            else:
                assert result.code in ("InvalidArgument", "FailedPrecondition"), str(result)
            if os.path.exists(canary):
                equal(pathlib.Path(canary).read_text(encoding="utf-8"), "mine", lie)
                os.unlink(canary)
            else:
                assert lie not in ("tar-hardlink", "tar-whiteout"), f"{lie} removed a file outside"
            f.nothing_left()
            lying.server.honest = True
            f.pulled(ref)


# -- pulls that are large, given up, or at once


def test_large_layer_in_ranges(f):
    """Three connections at a time, each with no more than its chunk in memory."""
    def memory(key):
        text = pathlib.Path(f"/proc/{f.daemon.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(key)) << 10

    with LyingRegistry() as lying:
        ref = f"{lying.address}/large:1"
        pathlib.Path(f"/proc/{f.daemon.pid}/clear_refs").write_text("5", encoding="ascii")
        before = memory("VmRSS")
        f.crictl("pull", ref)
        grown = memory("VmHWM") - before
        f.crictl("rmi", ref)
        chunks = {f"bytes={i << 22}-{min((i + 1 << 22), len(image('large', lying.canary).layer)) - 1}" for i in range(18)}
        equal(set(lying.server.ranges), chunks)
        assert grown < 64 << 20, f"the pull took {grown >> 20} MiB of memory"


def test_caller_that_goes_away(f):
    """When the last who waits has left, the pull ends at once."""
    with LyingRegistry() as lying:
        ref = f"{lying.address}/stuck:1"
        client = subprocess.Popen([f.crictl.program, "-c", f.crictl.config, "pull", ref], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the layer is being fetched", lambda: ("stuck", "blobs") in lying.server.asked)
        client.kill()
        client.wait()
        wait_for("nothing is left of it", lambda: not staging(f), 5)
        lying.server.honest = True
        f.pulled(ref)


def test_deadline_of_the_call(f):
    with LyingRegistry() as lying:
        ref = f"{lying.address}/stuck:1"
        started = time.monotonic()
        result = f.crictl.call("pull", "--pull-timeout", "1s", ref)
        assert result.code == "DeadlineExceeded" and time.monotonic() - started < 5, str(result)
        wait_for("nothing is left of it", lambda: not staging(f), 5)


def staging(f):
    """What the store has of layers that are not whole."""
    found = []
    for name in ("staging", "layers/staging"):
        path = f"{f.daemon.root}/images/{name}"
        found += os.listdir(path) if os.path.isdir(path) else []
    return found


def test_one_layer_of_many_pulls(f):
    """Eight names of one image at once, from one registry: its layer is asked for once."""
    with LyingRegistry() as lying:
        refs = [f"{lying.address}/good:{i}" for i in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            results = list(threads.map(lambda ref: f.crictl.call("pull", ref), refs))
        for result in results:
            equal(result.status, 0, str(result))
        equal(lying.server.blobs.count(image("good", lying.canary).layer_digest), 1, "requests for the layer")
        f.crictl("rmi", refs[0])


if __name__ == "__main__":
    main(sys.modules[__name__], PullFixture)
